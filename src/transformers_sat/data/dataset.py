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
"""From rows of a data set in the schema to the model's inputs."""

import datasets
import numpy as np
import PIL.Image
import torch
from transformers import BaseImageProcessor

from ..metrics import Protocol, get_protocol
from ..model.images_sat import read_image
from ..model.inputs_sat import as_rgb
from .boxes import check_boxes_of_image
from .transforms import TrainingAugmentation


# Fills the rows of images with fewer boxes than the batch's largest number; what Trainer pads with, too.
NO_BOX = -100
# What a batch has beside the model's inputs: true boxes, and the number of each row.
NOT_FOR_THE_MODEL = ("boxes", "rows")


def decode_image(image: dict | None, min_side: int | None = None) -> PIL.Image.Image:
    """
    Decodes an entry of an undecoded `datasets.Image` column, upright (the EXIF orientation is applied).

    Args:
        image (`dict`): `bytes` or `path` of the file.
        min_side (`int`, *optional*):
            Lets JPEG files be decoded at a half, a quarter or an eighth of their size, as long as both sides keep that
            many pixels. It is faster, but gives other pixels than decoding and resizing.

    Returns:
        `PIL.Image.Image` in the file's own mode.

    Raises:
        `ValueError`: if it is missing or cannot be decoded, as [`~transformers_sat.model.images_sat.read_image`]; the message has
            its path.
    """
    if image is None or (image["bytes"] is None and image["path"] is None):
        raise ValueError("An image is missing: its entry in the data set is empty.")
    return read_image(
        image["path"] if image["bytes"] is None else image["bytes"], image_name(image), min_side=min_side
    )


def image_name(image: dict) -> str:
    """What errors call an entry of an undecoded `datasets.Image` column."""
    return image["path"] or "without a path"


class LocalizationDataset(torch.utils.data.Dataset):
    """
    A split in the schema as inputs of the model: `pixel_values`, `labels` and, for evaluation, the true `boxes`. For
    training, `rows` beside them has the numbers of the rows, which are not for the model.

    What is random depends on nothing but the seed, the epoch and the row, so that a run gives the same result on any
    number of workers and processes, and when it is resumed.

    Args:
        dataset (`datasets.Dataset`):
            Rows with `image` (not decoded), `label` and, if boxes are asked for, `objects`.
        image_processor ([`SATImageProcessor`] or [`SATImageProcessorPil`]):
            Prepares the images. What it gives the model is square.
        augmentation ([`TrainingAugmentation`], *optional*):
            Takes the place of the processor's resize and crop, for training.
        protocol (`str` or [`~transformers_sat.metrics.Protocol`], *optional*):
            Evaluation protocol, `"sat"` or `"wsoleval"`: its resize and crop take the place of the processor's.
        with_boxes (`bool`, *optional*, defaults to `False`):
            Whether to give the true boxes, in the protocol's frame.
        seed (`int`, *optional*, defaults to 0): seed of the augmentation.
        fast_decoding (`bool`, *optional*, defaults to `False`):
            Whether to decode large JPEG files at a fraction of their size for training. It gives slightly other pixels.
        class_numbers (`list[int]`, *optional*):
            The model's number for each class of the data set, see [`class_numbers_of`]; the same numbers by default.

    Raises:
        `ValueError`: if the protocol is not known, `augmentation` is asked for together with a protocol or boxes, or
            `fast_decoding` without it: evaluation's pixels are exact.
    """

    # for the message about an image that cannot be decoded
    how_to_skip = "`--skip_undecodable`, in Python with `drop_undecodable`"

    def __init__(
        self,
        dataset: datasets.Dataset,
        image_processor: BaseImageProcessor,
        augmentation: TrainingAugmentation | None = None,
        protocol: str | Protocol | None = None,
        with_boxes: bool = False,
        seed: int = 0,
        fast_decoding: bool = False,
        class_numbers: list[int] | None = None,
    ):
        if augmentation is not None and (protocol is not None or with_boxes):
            raise ValueError("`augmentation` is for training, `protocol` and `with_boxes` are for evaluation.")
        if fast_decoding and augmentation is None:
            raise ValueError("`fast_decoding` is for training alone: it needs `augmentation`.")
        self.dataset = dataset
        self.image_processor = image_processor
        self.augmentation = augmentation
        self.protocol = None if protocol is None else get_protocol(protocol)
        self.with_boxes = with_boxes
        self.seed = seed
        self.fast_decoding = fast_decoding
        self.class_numbers = class_numbers
        self.epoch = 0

    def set_epoch(self, epoch: int):
        """Called by the data loader before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def name_of(self, index: int) -> str:
        """What messages call a row: its number, with the id and the file that the data have for it."""
        row = self.dataset[index]
        known = [str(row["image_id"])] if row.get("image_id") is not None else []
        known += [row["image"]["path"]] if (row["image"] or {}).get("path") else []
        return f"row {index}" + (f" ({', '.join(known)})" if known else "")

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.dataset[index]
        if self.augmentation is not None:
            return self._training_example(row, self.epoch, index)
        return self._example(row, index, decode_image(row["image"]))

    def _example(self, row: dict, index: int, image: PIL.Image.Image) -> dict[str, torch.Tensor]:
        """What is not for training, of the image as it is."""
        example = self._labels_of(row)
        try:
            prepared = self.image_processor(image, return_tensors="pt", **self._protocol_settings())
        except ValueError as error:
            raise ValueError(f"The image {image_name(row['image'])} cannot be used: {error}") from error
        example["pixel_values"] = prepared["pixel_values"][0]
        if self.with_boxes:
            check_boxes_of_image(row["objects"]["bbox"], image.size, "The data set", index)
            boxes = self.protocol.ground_truth_boxes(
                row["objects"]["bbox"], (image.height, image.width), self._frame_size
            )
            example["boxes"] = torch.from_numpy(boxes)
        return example

    def _training_example(self, row: dict, epoch: int, position: int) -> dict[str, torch.Tensor]:
        try:
            image = decode_image(row["image"], self.augmentation.needed_side if self.fast_decoding else None)
        except ValueError as error:
            raise ValueError(f"{error} Such images are left out with {self.how_to_skip}.") from error
        try:
            image = as_rgb(image)
        except ValueError as error:
            raise ValueError(f"The image {image_name(row['image'])} cannot be used: {error}") from error
        # rows of pixels, as PIL has them: torchvision resizes that layout fastest, to the same pixels
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        pixels = self.augmentation(pixels, seed=(self.seed, epoch, position))
        labels = self._labels_of(row)
        if not labels:
            raise ValueError(
                f"{self.name_of(position)}: `label` is empty, or -1; leave the image out, or give it a class."
            )
        example = {**labels, "pixel_values": self._normalized(pixels)}
        example["rows"] = torch.tensor(position)
        return example

    def _labels_of(self, row: dict) -> dict[str, torch.Tensor]:
        """The class by the model's number, or nothing where the data set does not tell it."""
        label = row.get("label")
        if label in (None, -1):
            return {}
        return {"labels": torch.tensor(label if self.class_numbers is None else self.class_numbers[label])}

    def _normalized(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the processor makes of pixels that have their final size, without the cost of its checks."""
        processor = self.image_processor
        if not (processor.do_rescale and processor.do_normalize):
            return processor(pixels, return_tensors="pt", do_resize=False, do_center_crop=False)["pixel_values"][0]
        mean, std = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
        levels = 1 / processor.rescale_factor
        return pixels.contiguous().float().sub_(mean * levels).div_(std * levels)

    @property
    def _frame_size(self) -> int:
        return self.image_processor.model_input_size()[0]

    def _protocol_settings(self) -> dict:
        return {} if self.protocol is None else self.protocol.processor_settings(self._frame_size)


def collate_localization(examples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """
    Batches examples of [`LocalizationDataset`].

    Returns:
        `dict` with `pixel_values` `(batch_size, num_channels, height, width)`, `labels` `(batch_size,)` and, where the
        examples have them, `rows` `(batch_size,)` and `boxes` `(batch_size, most boxes, 4)`, filled up with rows of -100.

    Raises:
        `ValueError`: if some of the images have a class, and others have none.
    """
    if len({"labels" in example for example in examples}) > 1:
        raise ValueError(
            "Some images have a class and others have none (`label` is empty, or -1): leave out the latter."
        )
    names = [name for name in ("pixel_values", "labels", "rows") if name in examples[0]]
    batch = {name: torch.stack([example[name] for example in examples]) for name in names}
    if "boxes" in examples[0]:
        batch["boxes"] = torch.nn.utils.rnn.pad_sequence(
            [example["boxes"] for example in examples], batch_first=True, padding_value=NO_BOX
        )
    return batch


__all__ = ["NO_BOX", "LocalizationDataset", "collate_localization", "decode_image", "image_name"]
