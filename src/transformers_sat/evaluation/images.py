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

import numpy as np
import PIL.Image
import torch
from transformers import BaseImageProcessor

from ..data.boxes import check_mask_of_image
from ..data.dataset import LocalizationDataset, collate_localization, decode_image
from ..data.loading import MASK_COLUMNS
from ..model.images_sat import read_mask
from .processes import share_of_process
from .split import EvaluationSplit


# Which of `ten_crops` the localization map is taken from.
CENTER_CROP = 4


class EvaluationImages(LocalizationDataset):
    """
    A split for evaluation: beside what [`LocalizationDataset`] gives, the row, the masks in the protocol's frame and,
    if asked for, ten crops.

    Args:
        split ([`EvaluationSplit`]): the images, and what they can be measured by.
        image_processor ([`SATImageProcessor`] or [`SATImageProcessorPil`]):
            Normalizes the images. Resize and crop are the protocol's, whatever its settings.
        ten_crop (`bool`, *optional*, defaults to `False`):
            Whether `pixel_values` are ten crops, of shape `(10, num_channels, image_size, image_size)`.

    Raises:
        `ValueError`: if ten crops are asked of a protocol that has none, as `"wsoleval"`, which crops nothing.
    """

    def __init__(self, split: EvaluationSplit, image_processor: BaseImageProcessor, ten_crop: bool = False):
        protocol, dataset = split.protocol, split.dataset
        if ten_crop and not protocol.has_ten_crop:
            raise ValueError(f'`ten_crop` is of the "sat" protocol; {protocol.name!r} shows each image once.')
        super().__init__(
            dataset,
            image_processor,
            protocol=protocol,
            with_boxes=split.has_boxes,
            class_numbers=split.class_numbers,
        )
        self.split = split
        self.image_size = split.image_size
        self.ten_crop = ten_crop
        masks = [column for column in MASK_COLUMNS if column in dataset.column_names]
        self.masks = dataset.select_columns(masks) if split.has_masks else None

    def _example(self, row: dict, index: int, image: PIL.Image.Image) -> dict:
        example = super()._example(row, index, image)
        if self.ten_crop:
            example["pixel_values"] = ten_crops(example["pixel_values"], self.image_size)
        example["row"] = index
        if self.masks is not None:
            for column, mask in self.masks[index].items():
                example[column] = self._mask(column, mask, index, image.size)
        return example

    @property
    def _frame_size(self) -> int:
        return self.image_size

    def _protocol_settings(self) -> dict:
        settings = super()._protocol_settings() | {"do_resize": True}
        return settings | {"do_center_crop": False} if self.ten_crop else settings

    def _mask(self, column: str, image: dict | None, index: int, size: tuple[int, int]) -> np.ndarray:
        if image is None and column == "ignore_mask":
            # nothing is left out
            return np.zeros((self.image_size, self.image_size), dtype=bool)
        try:
            mask = read_mask(decode_image(image))
        except ValueError as error:
            raise ValueError(f"`{column}` of row {index}: {error}") from error
        check_mask_of_image(mask.shape[::-1], size, "The data set", index, column)
        return self.protocol.mask_in_frame(mask, self.image_size)


def share_loader(images: EvaluationImages, batch_size: int, num_workers: int = 0) -> torch.utils.data.DataLoader:
    """The batches of a split that this process measures; see [`share_of_process`]."""
    share = torch.utils.data.Subset(images, share_of_process(len(images), batch_size))
    return torch.utils.data.DataLoader(
        share, batch_size=batch_size, num_workers=num_workers, collate_fn=collate_images
    )


def ten_crops(image: torch.Tensor, size: int) -> torch.Tensor:
    """
    Cuts the four corners and the centre out of an image, and mirrors them.

    Args:
        image (`torch.Tensor` of shape `(num_channels, height, width)`): an image of at least the crops' size.
        size (`int`): side of the crops.

    Returns:
        `torch.Tensor` of shape `(10, num_channels, size, size)`: top left, top right, bottom left, bottom right,
        centre, then their mirror images.
    """
    bottom, right = image.shape[-2] - size, image.shape[-1] - size
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = torch.stack([image[:, top : top + size, left : left + size] for top, left in corners])
    return torch.cat([crops, crops.flip(-1)])


def collate_images(examples: list[dict]) -> dict:
    """
    Batches examples of [`EvaluationImages`].

    Returns:
        `dict` with the tensor `pixel_values`, the list `rows` and, where the examples have them, the tensor `labels`
        and the lists `boxes`, `mask` and `ignore_mask`.
    """
    batch = collate_localization(examples)
    if "boxes" in examples[0]:
        batch["boxes"] = [example["boxes"].numpy() for example in examples]
    batch["rows"] = [example["row"] for example in examples]
    for column in MASK_COLUMNS:
        if column in examples[0]:
            batch[column] = [example[column] for example in examples]
    return batch


__all__ = [
    "CENTER_CROP",
    "EvaluationImages",
    "collate_images",
    "share_loader",
    "ten_crops",
]
