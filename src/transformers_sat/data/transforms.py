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
"""Training transforms: torchvision's, whose random numbers follow from the seed of each call alone."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torchvision.transforms import v2

from ..metrics import get_protocol


# What lies outside a turned image, and on what is erased: ImageNet's mean colour, which normalization makes zero.
FILL = (124, 116, 104)

# Aspect ratios of random parts of an image, before they are made square.
CROP_RATIOS = (3 / 4, 4 / 3)
# Share of the image that is erased.
ERASED_SHARES = (0.02, 0.2)


@dataclass(frozen=True)
class TrainingAugmentation:
    """
    The paper's augmentation: resize to 256/224 of the model's size, aspect ratio not kept, random crop, random flip. The
    others are off by default.

    Args:
        image_size (`int`): side of the result, the model's image size.
        horizontal_flip (`bool`, *optional*, defaults to `True`): whether to flip half of the images.
        channel_permutation (`bool`, *optional*, defaults to `False`):
            Whether to exchange the colour channels at random, for classes that colour does not tell apart.
        min_crop_area (`float`, *optional*):
            Takes a random part of the image, of this share of its area at least and an aspect ratio of 3/4 to 4/3, in
            place of the paper's resize and crop. In (0, 1].
        color_jitter (`float`, *optional*, defaults to 0.0):
            Brightness, contrast and saturation are each multiplied by a factor in [1 - `color_jitter`, 1 +
            `color_jitter`]. In [0, 1).
        grayscale_probability (`float`, *optional*, defaults to 0.0): share of the images that lose their colours.
        max_rotation (`float`, *optional*, defaults to 0.0):
            Images are turned by up to this many degrees in either direction, at most 45; the corners are filled with
            ImageNet's mean colour.
        erasing_probability (`float`, *optional*, defaults to 0.0):
            Share of the images of which a rectangle of 2 to 20 % is filled with ImageNet's mean colour.

    Raises:
        `ValueError`: if an argument is out of its range.

    Example:

    ```python
    >>> import torch
    >>> from transformers_sat.data import TrainingAugmentation

    >>> augmentation = TrainingAugmentation(224, color_jitter=0.2)
    >>> augmentation(torch.zeros(3, 375, 500, dtype=torch.uint8), seed=(0, 0, 0)).shape
    torch.Size([3, 224, 224])
    ```
    """

    image_size: int
    horizontal_flip: bool = True
    channel_permutation: bool = False
    min_crop_area: float | None = None
    color_jitter: float = 0.0
    grayscale_probability: float = 0.0
    max_rotation: float = 0.0
    erasing_probability: float = 0.0

    def __post_init__(self):
        if self.min_crop_area is not None and not 0 < self.min_crop_area <= 1:
            raise ValueError(f"`min_crop_area` must be above 0 and at most 1, got {self.min_crop_area}.")
        if not 0 <= self.color_jitter < 1:
            raise ValueError(f"`color_jitter` must be at least 0 and below 1, got {self.color_jitter}.")
        if not 0 <= self.max_rotation <= 45:
            raise ValueError(f"`max_rotation` must be between 0 and 45 degrees, got {self.max_rotation}.")
        for name in ("grayscale_probability", "erasing_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be between 0 and 1, got {getattr(self, name)}.")

    @property
    def resized(self) -> int:
        """Side of the square from which the paper's crops are taken."""
        return get_protocol("sat").resized_side(self.image_size)

    @property
    def needed_side(self) -> int:
        """Shorter side in pixels that an image needs for no part of it to be enlarged, if it is so large."""
        if self.min_crop_area is None:
            return self.resized
        return math.ceil(self.image_size / math.sqrt(self.min_crop_area * CROP_RATIOS[0]))

    @cached_property
    def transforms(self) -> v2.Compose:
        """What is done to an image, a `uint8` tensor of shape `(3, height, width)`."""
        if self.min_crop_area is None:
            steps = [v2.Resize((self.resized, self.resized)), v2.RandomCrop(self.image_size)]
        else:
            steps = [v2.RandomResizedCrop(self.image_size, scale=(self.min_crop_area, 1.0), ratio=CROP_RATIOS)]
        if self.horizontal_flip:
            steps.append(v2.RandomHorizontalFlip())
        if self.max_rotation > 0:
            bilinear = v2.InterpolationMode.BILINEAR
            steps.append(v2.RandomRotation(self.max_rotation, interpolation=bilinear, fill=FILL))
        if self.channel_permutation:
            steps.append(v2.RandomChannelPermutation())
        if self.color_jitter > 0:
            steps.append(v2.ColorJitter(*[self.color_jitter] * 3))
        if self.grayscale_probability > 0:
            steps.append(v2.RandomGrayscale(self.grayscale_probability))
        if self.erasing_probability > 0:
            steps.append(v2.RandomErasing(self.erasing_probability, scale=ERASED_SHARES, value=FILL))
        return v2.Compose(steps)

    def __call__(self, image: torch.Tensor, seed: Sequence[int]) -> torch.Tensor:
        """
        Augments an image.

        Args:
            image (`torch.Tensor` of shape `(3, height, width)` and type uint8): the image.
            seed (`Sequence[int]`): numbers of at least 0 that what is random follows from.

        Returns:
            `torch.Tensor` of shape `(3, image_size, image_size)` and type uint8.
        """
        with seeded(seed):
            return self.transforms(image)


@contextlib.contextmanager
def seeded(seed: Sequence[int]) -> Iterator[None]:
    """PyTorch's random numbers on the CPU follow from `seed`; afterwards they go on where they were."""
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64).item()
    # not torch.manual_seed, which keeps a list of what it has to tell a GPU that is never used
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(state)
        yield


__all__ = ["TrainingAugmentation"]
