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
The stamps: photographs made of photographs, with exact boxes and masks.

Cut-outs of real things from Debian's `tuxpaint-stamps-default` lie on photographs from four other Debian packages, that
show no thing of their own. `stamps_catalog.json` says which files are used and for which split: no photograph of the test
split's backgrounds, and with group classes none of its cut-outs, is in any image of the others.
"""

from dataclasses import dataclass

import numpy as np
import PIL.Image
import PIL.ImageEnhance

from ..model.images_sat import opened_image
from .emblems import box_of_mask
from .stamps_files import catalog_paths, read_catalog


SPLITS = ("train", "validation", "test")
VARIANTS = ("group", "species")

# Of the images, width and height.
IMAGE_SIZES = ((320, 240), (240, 320), (320, 256), (288, 288))
# Long side of the thing against the short side of the image.
OBJECT_SCALE = (0.45, 0.95)
# Most cut-outs are small (median 175 pixels): more would show their pixels.
LARGEST_UPSCALING = 2.2
LARGEST_ROTATION = 12.0
# Other things in a cluttered image: how many, and their long side against that of the thing itself.
NUM_DISTRACTORS = (1, 3)
DISTRACTOR_SCALE = (0.3, 0.6)
# Share of a distractor's box that the thing may cover.
LARGEST_COVERING = 0.2
# Share of a background's largest crop of the image's shape, by side.
CROP_SCALE = (0.45, 1.0)
# A pixel is the thing's if at least half of it is covered.
ALPHA_OF_MASK = 127
# Photographs are kept at this long side while images are drawn, about four times the images'.
PHOTOGRAPH_SIDE = 1280


@dataclass
class StampImage:
    """
    A drawn image.

    Attributes:
        image (`PIL.Image.Image`): the image.
        mask (`np.ndarray` of shape `(height, width)`, boolean): where the thing is seen.
        bbox (`(x, y, width, height)`): the mask's box in pixels.
        label (`int`): its class.
        cluttered (`bool`): whether other things lie beside it.
    """

    image: PIL.Image.Image
    mask: np.ndarray
    bbox: tuple[int, int, int, int]
    label: int
    cluttered: bool


class StampCollection:
    """
    The cut-outs and backgrounds of a variant, and the images drawn with them.

    Args:
        files (`dict[str, bytes]`): what [`read_stamp_files`] returns.
        variant (`str`, *optional*, defaults to `"group"`):
            `"group"`: twelve groups such as bird or coin, other cut-outs in test than in training. `"species"`: kinds of
            animals, the same cut-outs in all splits, on other photographs.

    Raises:
        `ValueError`: if the variant is unknown or a file is missing.
    """

    def __init__(self, files: dict[str, bytes], variant: str = "group"):
        if variant not in VARIANTS:
            raise ValueError(f"`variant` must be one of {', '.join(VARIANTS)}, got {variant!r}.")
        catalog = read_catalog()
        missing = sorted(set(catalog_paths(catalog)) - set(files))
        if missing:
            raise ValueError(
                f"{len(missing)} files of the stamps are missing, such as {missing[0]}. They are in the Debian packages "
                f"{', '.join(catalog['packages'])}."
            )
        self.files = files
        self.variant = variant
        self.class_names = list(catalog["groups" if variant == "group" else "species"])
        self._catalog = catalog
        self._opened = {}

    def cutout_paths(self, split: str) -> list[list[str]]:
        """Paths of the cut-outs of each class for a split; validation has the training split's."""
        if self.variant == "species":
            paths = self._catalog["species"].values()
        else:
            part = "test" if split == "test" else "train"
            paths = [parts[part] for parts in self._catalog["groups"].values()]
        return [[self._stamp_path(name) for name in names] for names in paths]

    def distractor_paths(self, split: str) -> list[str]:
        return [
            self._stamp_path(name) for name in self._catalog["distractors"]["test" if split == "test" else "train"]
        ]

    def background_paths(self, split: str) -> list[str]:
        return self._catalog["backgrounds"][split]

    def draw(self, split: str, index: int, cluttered_fraction: float = 0.5, seed: int = 0) -> StampImage:
        """
        Draws an image, which depends on the arguments alone (and on the version of Pillow, in the last bit).

        Args:
            split (`str`): `train`, `validation` or `test`.
            index (`int`): its number; classes take turns.
            cluttered_fraction (`float`, *optional*, defaults to 0.5): share of the images with other things in them.
            seed (`int`, *optional*, defaults to 0): seed of the set.
        """
        random = np.random.default_rng((seed, SPLITS.index(split), index))
        label, turn = index % len(self.class_names), index // len(self.class_names)
        size = IMAGE_SIZES[random.integers(len(IMAGE_SIZES))]
        canvas = self._background(random, split, size)
        paths = self.cutout_paths(split)[label]
        thing = self._cutout(paths[random.integers(len(paths))])
        thing = place_freely(random, thing, random.uniform(*OBJECT_SCALE) * min(size), size)
        cluttered = is_cluttered(turn, cluttered_fraction)
        if cluttered:
            for _ in range(random.integers(NUM_DISTRACTORS[0], NUM_DISTRACTORS[1] + 1)):
                self._add_distractor(random, canvas, split, thing)
        cutout, corner = thing
        canvas.paste(cutout, corner, cutout)
        mask = np.zeros(canvas.size[::-1], dtype=bool)
        alpha = np.asarray(cutout)[..., 3] > ALPHA_OF_MASK
        mask[corner[1] : corner[1] + alpha.shape[0], corner[0] : corner[0] + alpha.shape[1]] = alpha
        return StampImage(canvas, mask, box_of_mask(mask), label, cluttered)

    def _background(self, random: np.random.Generator, split: str, size: tuple[int, int]) -> PIL.Image.Image:
        paths = self.background_paths(split)
        photograph = self._opened_photograph(paths[random.integers(len(paths))])
        scale = random.uniform(*CROP_SCALE) * min(photograph.width / size[0], photograph.height / size[1])
        width, height = size[0] * scale, size[1] * scale
        left = random.uniform(0, photograph.width - width)
        top = random.uniform(0, photograph.height - height)
        crop = photograph.resize(size, PIL.Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
        if random.random() < 0.5:
            crop = crop.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
        return crop

    def _add_distractor(self, random: np.random.Generator, canvas: PIL.Image.Image, split: str, thing):
        paths = self.distractor_paths(split)
        cutout = self._cutout(paths[random.integers(len(paths))])
        long_side = random.uniform(*DISTRACTOR_SCALE) * max(thing[0].size)
        for _ in range(20):
            distractor, corner = place_freely(random, cutout, long_side, canvas.size)
            if covered_share((*corner, *distractor.size), (*thing[1], *thing[0].size)) <= LARGEST_COVERING:
                canvas.paste(distractor, corner, distractor)
                return

    def _cutout(self, path: str) -> PIL.Image.Image:
        if path not in self._opened:
            with opened_image(self.files[path], path) as image:
                cutout = image.convert("RGBA")
            visible = PIL.Image.fromarray(np.asarray(cutout)[..., 3] > ALPHA_OF_MASK)
            self._opened[path] = cutout.crop(visible.getbbox())
        return self._opened[path]

    def _opened_photograph(self, path: str) -> PIL.Image.Image:
        if path not in self._opened:
            with opened_image(self.files[path], path) as image:
                photograph = image.convert("RGB")
            photograph.thumbnail((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE), PIL.Image.Resampling.LANCZOS)
            self._opened[path] = photograph
        return self._opened[path]

    def _stamp_path(self, name: str) -> str:
        return f"{self._catalog['stamps_folder']}/{name}"


def is_cluttered(turn: int, fraction: float) -> bool:
    """Whether the images of that turn of the classes are cluttered, so that of all turns so far the fraction is."""
    return int((turn + 1) * fraction) > int(turn * fraction)


def place_freely(
    random: np.random.Generator, cutout: PIL.Image.Image, long_side: float, size: tuple[int, int]
) -> tuple[PIL.Image.Image, tuple[int, int]]:
    """A cut-out flipped, turned, in other light and of that size, if it may grow so much, and a place for it."""
    if random.random() < 0.5:
        cutout = cutout.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    angle = random.uniform(-LARGEST_ROTATION, LARGEST_ROTATION)
    cutout = in_other_light(random, cutout)
    # premultiplied, so that what is transparent lends no colour to the edges
    cutout = cutout.convert("RGBa")
    turned = cutout.rotate(angle, PIL.Image.Resampling.BICUBIC, expand=True)
    turned = turned.crop(turned.getchannel("a").getbbox())
    scale = min(
        long_side / max(turned.size), LARGEST_UPSCALING, (size[0] - 2) / turned.width, (size[1] - 2) / turned.height
    )
    scaled = turned.resize(
        tuple(max(1, round(side * scale)) for side in turned.size), PIL.Image.Resampling.BICUBIC
    ).convert("RGBA")
    corner = tuple(int(random.integers(0, side - own + 1)) for side, own in zip(size, scaled.size))
    return scaled, corner


def in_other_light(random: np.random.Generator, cutout: PIL.Image.Image) -> PIL.Image.Image:
    colours, alpha = cutout.convert("RGB"), cutout.getchannel("A")
    for enhance in (PIL.ImageEnhance.Brightness, PIL.ImageEnhance.Contrast, PIL.ImageEnhance.Color):
        colours = enhance(colours).enhance(random.uniform(0.8, 1.2))
    colours.putalpha(alpha)
    return colours


def covered_share(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Share of a box `(x, y, width, height)` that another covers."""
    width = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    height = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    return max(width, 0) * max(height, 0) / (box[2] * box[3])


__all__ = ["SPLITS", "VARIANTS", "StampCollection", "StampImage", "is_cluttered"]
