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

import io

import datasets
import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from torchvision.transforms.v2 import functional as tvF
from transformers import BaseImageProcessor

from ..metrics import ground_truth_boxes, resized_side
from ..metrics.frames import check_protocol


# Fills the rows of pictures with fewer boxes than the batch's largest number; what Trainer pads with, too.
NO_BOX = -100


def decode_image(image: dict | None) -> PIL.Image.Image:
    """
    Decodes an entry of an undecoded `datasets.Image` column, upright (the EXIF orientation is applied).

    Args:
        image (`dict`): `bytes` or `path` of the file.

    Returns:
        `PIL.Image.Image` in the file's own mode.

    Raises:
        `ValueError`: if it cannot be decoded; the message has its path.
    """
    if image is None or (image["bytes"] is None and image["path"] is None):
        raise ValueError("A picture is missing: its entry in the data set is empty.")
    try:
        source = io.BytesIO(image["bytes"]) if image["bytes"] is not None else image["path"]
        with PIL.Image.open(source) as opened:
            return PIL.ImageOps.exif_transpose(opened)
    except Exception as error:  # on damaged files Pillow's readers raise errors of any kind
        raise ValueError(f"The picture {image['path'] or 'without a path'} cannot be decoded: {error}") from error


class TrainingAugmentation:
    """
    The paper's augmentation: resize to 256/224 of the model's size, aspect ratio not kept, random crop, random flip.

    Args:
        image_size (`int`): side of the crop, the model's image size.
        horizontal_flip (`bool`, *optional*, defaults to `True`): whether to flip half of the pictures.
        channel_permutation (`bool`, *optional*, defaults to `False`):
            Whether to exchange the colour channels at random, for classes that colour does not tell apart.
    """

    def __init__(self, image_size: int, horizontal_flip: bool = True, channel_permutation: bool = False):
        self.image_size = image_size
        self.resized = resized_side("sat", image_size)
        self.horizontal_flip = horizontal_flip
        self.channel_permutation = channel_permutation

    def __call__(self, image: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        """Augments a picture `(num_channels, height, width)` to `(num_channels, image_size, image_size)`."""
        image = tvF.resize(image, [self.resized, self.resized], antialias=True)
        top, left = random.integers(0, self.resized - self.image_size + 1, size=2).tolist()
        image = tvF.crop(image, top, left, self.image_size, self.image_size)
        if self.horizontal_flip and random.random() < 0.5:
            image = tvF.horizontal_flip(image)
        if self.channel_permutation:
            image = image[random.permutation(image.shape[0]).tolist()]
        return image


class LocalizationDataset(torch.utils.data.Dataset):
    """
    A split in the schema as inputs of the model: `pixel_values`, `labels` and, for evaluation, the true `boxes`.

    What is random depends on nothing but the seed, the epoch and the row, so that a run gives the same result on any
    number of workers and processes, and when it is resumed.

    Args:
        dataset (`datasets.Dataset`):
            Rows with `image` (not decoded), `label` and, if boxes are asked for, `objects`.
        image_processor ([`SATImageProcessor`] or [`SATImageProcessorPil`]):
            Prepares the pictures. What it gives the model is square.
        augmentation ([`TrainingAugmentation`], *optional*):
            Takes the place of the processor's resize and crop, for training.
        protocol (`str`, *optional*):
            Evaluation protocol, `"sat"` or `"wsoleval"`: its resize and crop take the place of the processor's.
        with_boxes (`bool`, *optional*, defaults to `False`):
            Whether to give the true boxes in the protocol's frame.
        seed (`int`, *optional*, defaults to 0): seed of the augmentation.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        image_processor: BaseImageProcessor,
        augmentation: TrainingAugmentation | None = None,
        protocol: str | None = None,
        with_boxes: bool = False,
        seed: int = 0,
    ):
        if protocol is not None:
            check_protocol(protocol)
        self.dataset = dataset
        self.image_processor = image_processor
        self.augmentation = augmentation
        self.protocol = protocol
        self.with_boxes = with_boxes
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int):
        """Called by the data loader before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.dataset[index]
        image = decode_image(row["image"])
        example = {"labels": torch.tensor(row["label"])}
        if self.augmentation is not None:
            random = np.random.default_rng((self.seed, self.epoch, index))
            pixels = torch.as_tensor(self.image_processor.process_image(image, do_convert_rgb=True))
            settings = {"do_resize": False, "do_center_crop": False}
            example["pixel_values"] = self._prepare(self.augmentation(pixels, random), settings)
        else:
            example["pixel_values"] = self._prepare(image, self._protocol_settings())
        if self.with_boxes:
            boxes = ground_truth_boxes(
                row["objects"]["bbox"], (image.height, image.width), self.protocol, self._frame_size
            )
            example["boxes"] = torch.from_numpy(boxes)
        return example

    def _prepare(self, image: PIL.Image.Image | torch.Tensor, settings: dict) -> torch.Tensor:
        return self.image_processor(image, return_tensors="pt", **settings)["pixel_values"][0]

    @property
    def _frame_size(self) -> int:
        return self.image_processor.model_input_size()[0]

    def _protocol_settings(self) -> dict:
        if self.protocol is None:
            return {}
        frame, resized = self._frame_size, resized_side(self.protocol, self._frame_size)
        return {
            "size": {"height": resized, "width": resized},
            "do_center_crop": resized != frame,
            "crop_size": {"height": frame, "width": frame},
        }


def collate_localization(examples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """
    Batches examples of [`LocalizationDataset`].

    Returns:
        `dict` with `pixel_values` `(batch_size, num_channels, height, width)`, `labels` `(batch_size,)` and, where the
        examples have them, `boxes` `(batch_size, most boxes, 4)`, filled up with rows of -100.
    """
    batch = {name: torch.stack([example[name] for example in examples]) for name in ("pixel_values", "labels")}
    if "boxes" in examples[0]:
        batch["boxes"] = torch.nn.utils.rnn.pad_sequence(
            [example["boxes"] for example in examples], batch_first=True, padding_value=NO_BOX
        )
    return batch


__all__ = ["NO_BOX", "LocalizationDataset", "TrainingAugmentation", "collate_localization", "decode_image"]
