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
"""
Training transforms, with the same result on tensors (torchvision) and on PIL images.

What is random is drawn first, as numbers; they are then applied to the image, its boxes or its masks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import PIL.ImageEnhance

from ..metrics import get_protocol


if TYPE_CHECKING:
    import torch


# What lies outside a turned image, and on what is erased: ImageNet's mean colour, which normalization makes zero.
FILL = (124, 116, 104)

# Aspect ratios of random crops before they are made square, and of what is erased.
CROP_RATIOS = (3 / 4, 4 / 3)
ERASED_RATIOS = (0.3, 3.3)
# Share of the image that is erased.
ERASED_SHARES = (0.02, 0.2)

BILINEAR = PIL.Image.Resampling.BILINEAR
NEAREST = PIL.Image.Resampling.NEAREST


@dataclass(frozen=True)
class AugmentationDraw:
    """
    One draw of [`TrainingAugmentation`], in the order in which it is applied.

    Attributes:
        source (`tuple[int, int, int, int]`): left, top, width and height of the part of the image that is kept, in its
            pixels.
        resized (`int`): side to which that part is resized, aspect ratio not kept.
        offset (`tuple[int, int]`): left and top of the crop of `image_size` in the resized part.
        image_size (`int`): side of the result.
        flip (`bool`): whether it is mirrored.
        angle (`float`): degrees by which it is turned counter-clockwise around its centre.
        brightness, contrast, saturation (`float`): factors, 1 for no change.
        grayscale (`bool`): whether the colours are taken away.
        channels (`tuple[int, ...]`, *optional*): new order of the colour channels.
        erased (`tuple[int, int, int, int]`, *optional*): left, top, width and height of the rectangle that is erased.
    """

    source: tuple[int, int, int, int]
    resized: int
    offset: tuple[int, int]
    image_size: int
    flip: bool = False
    angle: float = 0.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    grayscale: bool = False
    channels: tuple[int, ...] | None = None
    erased: tuple[int, int, int, int] | None = None


class TrainingAugmentation:
    """
    The paper's augmentation: resize to 256/224 of the model's size, aspect ratio not kept, random crop, random flip. The
    others are off by default; switching one on does not change what the ones before it draw.

    Args:
        image_size (`int`): side of the result, the model's image size.
        horizontal_flip (`bool`, *optional*, defaults to `True`): whether to flip half of the images.
        channel_permutation (`bool`, *optional*, defaults to `False`):
            Whether to exchange the colour channels at random, for classes that colour does not tell apart.
        min_crop_area (`float`, *optional*):
            Takes a random part of the image, of this share of its area at least and an aspect ratio of 3/4 to 4/3 of
            its own, in place of the paper's resize and crop. In (0, 1].
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
    >>> import numpy as np
    >>> import PIL.Image
    >>> from transformers_sat.data import TrainingAugmentation

    >>> augmentation = TrainingAugmentation(224, color_jitter=0.2)
    >>> augmentation(PIL.Image.new("RGB", (500, 375)), np.random.default_rng(0)).size
    (224, 224)
    ```
    """

    def __init__(
        self,
        image_size: int,
        horizontal_flip: bool = True,
        channel_permutation: bool = False,
        min_crop_area: float | None = None,
        color_jitter: float = 0.0,
        grayscale_probability: float = 0.0,
        max_rotation: float = 0.0,
        erasing_probability: float = 0.0,
    ):
        if min_crop_area is not None and not 0 < min_crop_area <= 1:
            raise ValueError(f"`min_crop_area` must be above 0 and at most 1, got {min_crop_area}.")
        if not 0 <= color_jitter < 1:
            raise ValueError(f"`color_jitter` must be at least 0 and below 1, got {color_jitter}.")
        if not 0 <= max_rotation <= 45:
            raise ValueError(f"`max_rotation` must be between 0 and 45 degrees, got {max_rotation}.")
        for name, value in (
            ("grayscale_probability", grayscale_probability),
            ("erasing_probability", erasing_probability),
        ):
            if not 0 <= value <= 1:
                raise ValueError(f"`{name}` must be between 0 and 1, got {value}.")
        self.image_size = image_size
        self.resized = get_protocol("sat").resized_side(image_size)
        self.horizontal_flip = horizontal_flip
        self.channel_permutation = channel_permutation
        self.min_crop_area = min_crop_area
        self.color_jitter = color_jitter
        self.grayscale_probability = grayscale_probability
        self.max_rotation = max_rotation
        self.erasing_probability = erasing_probability

    @property
    def needed_side(self) -> int:
        """Shorter side in pixels that an image needs for no part of it to be enlarged, if it is so large."""
        return self.resized if self.min_crop_area is None else math.ceil(self.image_size / self._min_crop_side)

    @property
    def _min_crop_side(self) -> float:
        """The shortest side of a random part, as a share of the image's."""
        return math.sqrt(self.min_crop_area * CROP_RATIOS[0])

    def __call__(self, image: PIL.Image.Image | torch.Tensor, random: np.random.Generator):
        """
        Augments an image.

        Args:
            image (`PIL.Image.Image` in mode RGB, or `torch.Tensor` of shape `(3, height, width)` and type uint8):
                The image. Tensors are processed by torchvision.
            random (`np.random.Generator`): where the random numbers are from.

        Returns:
            The image as it was given, of `image_size` x `image_size`.
        """
        is_pil = isinstance(image, PIL.Image.Image)
        width, height = image.size if is_pil else (image.shape[-1], image.shape[-2])
        return apply_draw(image, self.draw(random, width, height))

    def draw(self, random: np.random.Generator, width: int, height: int) -> AugmentationDraw:
        """Draws what will be done to an image of `width` x `height` pixels, for [`apply_draw`] and its like."""
        # the paper's first, in the order of old, so that a seed goes on giving the same crops
        if self.min_crop_area is None:
            top, left = random.integers(0, self.resized - self.image_size + 1, size=2).tolist()
            source, resized = (0, 0, width, height), self.resized
        else:
            source, resized, left, top = self._draw_part(random, width, height), self.image_size, 0, 0
        flip = self.horizontal_flip and random.random() < 0.5
        channels = tuple(random.permutation(3).tolist()) if self.channel_permutation else None
        brightness = contrast = saturation = 1.0
        if self.color_jitter > 0:
            factors = random.uniform(1 - self.color_jitter, 1 + self.color_jitter, size=3)
            brightness, contrast, saturation = factors.tolist()
        grayscale = self.grayscale_probability > 0 and random.random() < self.grayscale_probability
        angle = random.uniform(-self.max_rotation, self.max_rotation) if self.max_rotation > 0 else 0.0
        erased = None
        if self.erasing_probability > 0 and random.random() < self.erasing_probability:
            erased = self._draw_erased(random)
        return AugmentationDraw(
            source=source,
            resized=resized,
            offset=(left, top),
            image_size=self.image_size,
            flip=bool(flip),
            angle=angle,
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            grayscale=bool(grayscale),
            channels=channels,
            erased=erased,
        )

    def _draw_part(self, random: np.random.Generator, width: int, height: int) -> tuple[int, int, int, int]:
        area = random.uniform(self.min_crop_area, 1.0)
        # within what fits: a part of most of the area cannot be much narrower than the image
        lowest, highest = max(CROP_RATIOS[0], area), min(CROP_RATIOS[1], 1 / area)
        ratio = math.exp(random.uniform(math.log(lowest), math.log(highest)))
        part_width = min(max(round(width * math.sqrt(area * ratio)), 1), width)
        part_height = min(max(round(height * math.sqrt(area / ratio)), 1), height)
        left = int(random.integers(0, width - part_width + 1))
        top = int(random.integers(0, height - part_height + 1))
        return left, top, part_width, part_height

    def _draw_erased(self, random: np.random.Generator) -> tuple[int, int, int, int]:
        area = random.uniform(*ERASED_SHARES) * self.image_size**2
        ratio = math.exp(random.uniform(*map(math.log, ERASED_RATIOS)))
        width = min(max(round(math.sqrt(area * ratio)), 1), self.image_size)
        height = min(max(round(math.sqrt(area / ratio)), 1), self.image_size)
        left = int(random.integers(0, self.image_size - width + 1))
        top = int(random.integers(0, self.image_size - height + 1))
        return left, top, width, height


def apply_draw(image: PIL.Image.Image | torch.Tensor, draw: AugmentationDraw):
    """
    Does to an image what was drawn.

    Args:
        image (`PIL.Image.Image` in mode RGB, or `torch.Tensor` of shape `(3, height, width)` and type uint8):
            The image. Tensors are processed by torchvision.
        draw ([`AugmentationDraw`]): what to do.

    Returns:
        The image as it was given, of `draw.image_size` x `draw.image_size`.
    """
    return _apply_to_pil(image, draw) if isinstance(image, PIL.Image.Image) else _apply_to_tensor(image, draw)


def apply_draw_to_mask(mask: PIL.Image.Image, draw: AugmentationDraw) -> PIL.Image.Image:
    """
    Moves a mask with its image, by nearest pixel. What comes from outside the image is 0; erasing hides the object
    but does not remove it from the mask.

    Args:
        mask (`PIL.Image.Image` in mode L): mask of the size that the image had before.
        draw ([`AugmentationDraw`]): what was done to the image.

    Returns:
        `PIL.Image.Image` in mode L, of `draw.image_size` x `draw.image_size`.
    """
    return _move(mask, draw, NEAREST, fill=0)


def apply_draw_to_boxes(bbox: np.ndarray, draw: AugmentationDraw) -> np.ndarray:
    """
    Moves boxes with their image. A turned box becomes the smallest upright one around it; all are cut to the frame.

    Args:
        bbox (`np.ndarray` of shape `(num_boxes, 4)`): COCO boxes `(x, y, width, height)` in pixels of the image.
        draw ([`AugmentationDraw`]): what was done to the image.

    Returns:
        `np.ndarray` of shape `(num_boxes, 4)`, float64: corners `(x0, y0, x1, y1)` in pixels of the result, far end
        exclusive. A box of which nothing is left has no area.
    """
    bbox = np.asarray(bbox, dtype=np.float64).reshape(-1, 4)
    size, (left, top, width, height) = draw.image_size, draw.source
    horizontal = (bbox[:, [0, 0, 0, 0]] + bbox[:, [2]] * [0, 1, 1, 0] - left) * draw.resized / width - draw.offset[0]
    vertical = (bbox[:, [1, 1, 1, 1]] + bbox[:, [3]] * [0, 0, 1, 1] - top) * draw.resized / height - draw.offset[1]
    # the image is cut before it is turned
    horizontal, vertical = horizontal.clip(0, size), vertical.clip(0, size)
    if draw.flip:
        horizontal = size - horizontal
    if draw.angle:
        cosine, sine = math.cos(math.radians(draw.angle)), math.sin(math.radians(draw.angle))
        across, down = horizontal - size / 2, vertical - size / 2
        # counter-clockwise, with rows counted downwards
        horizontal = size / 2 + cosine * across + sine * down
        vertical = size / 2 - sine * across + cosine * down
    corners = [horizontal.min(axis=1), vertical.min(axis=1), horizontal.max(axis=1), vertical.max(axis=1)]
    return np.stack(corners, axis=1).clip(0, size)


def _move(image: PIL.Image.Image, draw: AugmentationDraw, resample: int, fill) -> PIL.Image.Image:
    """The geometry on PIL. Only what the crop keeps is resized, to the same pixels as if all was."""
    left, top, width, height = draw.source
    if (left, top, width, height) != (0, 0, *image.size):
        image = image.crop((left, top, left + width, top + height))
    across, down = width / draw.resized, height / draw.resized
    (x, y), size = draw.offset, draw.image_size
    # rounding must not push the far end out of the image
    far = min((x + size) * across, width), min((y + size) * down, height)
    image = image.resize((size, size), resample, box=(x * across, y * down, *far))
    if draw.flip:
        image = image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    if draw.angle:
        image = image.rotate(draw.angle, resample, fillcolor=fill)
    return image


def _apply_to_pil(image: PIL.Image.Image, draw: AugmentationDraw) -> PIL.Image.Image:
    image = _move(image, draw, BILINEAR, FILL)
    if draw.channels is not None:
        bands = image.split()
        image = PIL.Image.merge("RGB", [bands[channel] for channel in draw.channels])
    for enhancement, factor in (
        (PIL.ImageEnhance.Brightness, draw.brightness),
        (PIL.ImageEnhance.Contrast, draw.contrast),
        (PIL.ImageEnhance.Color, draw.saturation),
    ):
        if factor != 1:
            image = enhancement(image).enhance(factor)
    if draw.grayscale:
        image = image.convert("L").convert("RGB")
    if draw.erased is not None:
        left, top, width, height = draw.erased
        image.paste(FILL, (left, top, left + width, top + height))
    return image


def _apply_to_tensor(image: torch.Tensor, draw: AugmentationDraw) -> torch.Tensor:
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as tvF

    left, top, width, height = draw.source
    image = tvF.resize(image[:, top : top + height, left : left + width], [draw.resized] * 2, antialias=True)
    (x, y), size = draw.offset, draw.image_size
    image = image[:, y : y + size, x : x + size]
    if draw.flip:
        image = tvF.horizontal_flip(image)
    if draw.angle:
        image = tvF.rotate(image, draw.angle, interpolation=InterpolationMode.BILINEAR, fill=list(FILL))
    if draw.channels is not None:
        image = image[list(draw.channels)]
    for adjust, factor in (
        (tvF.adjust_brightness, draw.brightness),
        (tvF.adjust_contrast, draw.contrast),
        (tvF.adjust_saturation, draw.saturation),
    ):
        if factor != 1:
            image = adjust(image, factor)
    if draw.grayscale:
        image = tvF.rgb_to_grayscale(image, num_output_channels=3)
    if draw.erased is not None:
        left, top, width, height = draw.erased
        fill = image.new_tensor(FILL)[:, None, None]
        image = tvF.erase(image, top, left, height, width, fill)
    return image


__all__ = [
    "AugmentationDraw",
    "TrainingAugmentation",
    "apply_draw",
    "apply_draw_to_boxes",
    "apply_draw_to_mask",
]
