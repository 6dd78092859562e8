# Copyright 2026 The transformers-sat authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Images as a protocol shows them, with all that is known to be true about them."""

import datasets
import numpy as np
import torch
from transformers import BaseImageProcessor, PreTrainedConfig
from transformers.utils import logging

from ..data.dataset import LocalizationDataset, collate_localization, decode_image
from ..data.loading import MASK_COLUMNS, has_masks
from ..metrics import Protocol, get_protocol
from ..model.images_sat import read_mask


logger = logging.get_logger(__name__)

# Which of `ten_crops` the localization map is taken from.
CENTER_CROP = 4


class EvaluationImages(LocalizationDataset):
    """
    A split for evaluation: beside what [`LocalizationDataset`] gives, the row, the masks in the protocol's frame and, if
    asked for, ten crops.

    Args:
        dataset (`datasets.Dataset`):
            Rows with `image` (not decoded), `label`, `objects` and, if pixels are to be measured, `mask` and
            `ignore_mask` (not decoded).
        image_processor ([`SATImageProcessor`] or [`SATImageProcessorPil`]):
            Normalizes the images. Resize and crop are the protocol's, whatever its settings.
        protocol (`str` or [`~transformers_sat.metrics.Protocol`]): `"sat"` or `"wsoleval"`.
        image_size (`int`): side of the images that the model sees, which is the protocol's frame.
        class_numbers (`list[int]`, *optional*):
            The model's number for each class of the data set; the same numbers by default.
        ten_crop (`bool`, *optional*, defaults to `False`):
            Whether `pixel_values` are ten crops, of shape `(10, num_channels, image_size, image_size)`.
        with_boxes (`bool`, *optional*, defaults to `True`): whether the rows have boxes.

    Raises:
        `ValueError`: if ten crops are asked of a protocol that has none, as `"wsoleval"`, which crops nothing.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        image_processor: BaseImageProcessor,
        protocol: str | Protocol,
        image_size: int,
        class_numbers: list[int] | None = None,
        ten_crop: bool = False,
        with_boxes: bool = True,
    ):
        protocol = get_protocol(protocol)
        if ten_crop and not protocol.has_ten_crop:
            raise ValueError(f'`ten_crop` is of the "sat" protocol; {protocol.name!r} shows each image once.')
        super().__init__(dataset, image_processor, protocol=protocol, with_boxes=with_boxes)
        self.image_size = image_size
        self.class_numbers = class_numbers
        self.ten_crop = ten_crop
        masks = [column for column in MASK_COLUMNS if column in dataset.column_names]
        self.masks = dataset.select_columns(masks) if has_masks(dataset) else None

    def __getitem__(self, index: int) -> dict:
        example = super().__getitem__(index)
        if self.class_numbers is not None:
            example["labels"] = torch.tensor(self.class_numbers[example["labels"]])
        if self.ten_crop:
            example["pixel_values"] = ten_crops(example["pixel_values"], self.image_size)
        example["row"] = index
        if self.masks is not None:
            for column, image in self.masks[index].items():
                example[column] = self._mask(column, image, index)
        return example

    @property
    def _frame_size(self) -> int:
        return self.image_size

    def _protocol_settings(self) -> dict:
        settings = super()._protocol_settings() | {"do_resize": True}
        return settings | {"do_center_crop": False} if self.ten_crop else settings

    def _mask(self, column: str, image: dict | None, index: int) -> np.ndarray:
        if image is None and column == "ignore_mask":
            # nothing is left out
            return np.zeros((self.image_size, self.image_size), dtype=bool)
        try:
            mask = read_mask(decode_image(image))
        except ValueError as error:
            raise ValueError(f"`{column}` of row {index}: {error}") from error
        return self.protocol.mask_in_frame(mask, self.image_size)


def ten_crops(image: torch.Tensor, size: int) -> torch.Tensor:
    """
    Cuts the four corners and the centre out of an image, and mirrors them.

    Args:
        image (`torch.Tensor` of shape `(num_channels, height, width)`): an image of at least the crops' size.
        size (`int`): side of the crops.

    Returns:
        `torch.Tensor` of shape `(10, num_channels, size, size)`: top left, top right, bottom left, bottom right, centre,
        then their mirror images.
    """
    bottom, right = image.shape[-2] - size, image.shape[-1] - size
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = torch.stack([image[:, top : top + size, left : left + size] for top, left in corners])
    return torch.cat([crops, crops.flip(-1)])


def collate_images(examples: list[dict]) -> dict:
    """
    Batches examples of [`EvaluationImages`].

    Returns:
        `dict` with the tensors `pixel_values` and `labels`, and the lists `rows` and, where the examples have them, `boxes`,
        `mask` and `ignore_mask`.
    """
    batch = collate_localization(examples)
    if "boxes" in examples[0]:
        batch["boxes"] = [example["boxes"].numpy() for example in examples]
    batch["rows"] = [example["row"] for example in examples]
    for column in MASK_COLUMNS:
        if column in examples[0]:
            batch[column] = [example[column] for example in examples]
    return batch


def class_numbers_of(dataset: datasets.Dataset, config: PreTrainedConfig) -> list[int] | None:
    """
    The model's number for each class of a data set, matched by name.

    Args:
        dataset (`datasets.Dataset`): split with class labels in `label`.
        config ([`~transformers.PreTrainedConfig`]): configuration of the model.

    Returns:
        `list[int]`, or `None` where the numbers are the same.

    Raises:
        `ValueError`: if the model knows some of the classes but not all, or has fewer.
    """
    names = getattr(dataset.features["label"], "names", None)
    model_names = [config.id2label[number] for number in range(config.num_labels)]
    if names is None or names == model_names[: len(names)]:
        return None
    known = [name for name in names if name in model_names]
    if len(known) == len(names):
        return [model_names.index(name) for name in names]
    if known or len(names) > len(model_names):
        unknown = [name for name in names if name not in model_names]
        raise ValueError(
            f"The model has no class for {len(unknown)} of the data set's {len(names)}: {unknown[:10]}. Its own are "
            f"{model_names[:10]}{'...' if len(model_names) > 10 else ''}"
        )
    logger.warning("No class of the data set has a name that the model knows: classes are matched by their numbers.")
    return None


__all__ = [
    "CENTER_CROP",
    "EvaluationImages",
    "class_numbers_of",
    "collate_images",
    "ten_crops",
]
