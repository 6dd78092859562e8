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
Emblems on photographs: a localization data set with exact boxes and masks that needs no download.

Every image shows one emblem, a silhouette filled with a two-colour pattern, on a crop of a photograph. The photographs
are files inside the scikit-image and scikit-learn wheels. Everything that decides a pixel is either integer arithmetic
or an operation that IEEE 754 rounds exactly, so one seed gives one data set on every machine.
"""

from __future__ import annotations

import importlib.util
import io
import math
import operator
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..extras import install_hint
from ..model.images_sat import opened_image


if TYPE_CHECKING:
    from datasets import DatasetDict, Features


# Part of the cache key: raise it whenever a change to this file changes a pixel, a box or a label.
EMBLEMS_VERSION = "1.0.0"

LONG_SIDE_RANGE = (0.40, 0.65)
ASPECT_RANGE = (0.8, 1.0)
PATTERN_PERIOD_RANGE = (0.085, 0.12)
# The tangent of half of 15 degrees: rotations are drawn by it because sine and cosine then need no library function.
MAX_HALF_ANGLE_TANGENT = 0.1316525

SUPERSAMPLING = 4
MIN_COLOUR_CONTRAST = 90
MIN_IMAGE_SIZE = 16
PHOTOGRAPH_SHORT_SIDE = 384
CROP_RANGE = (0.3, 0.9)

# Files of the wheels, by import name of the package. Test images lie on other photographs than all the others.
PHOTOGRAPHS = {
    "train": (
        ("skimage", "data/astronaut.png"),
        ("skimage", "data/brick.png"),
        ("skimage", "data/camera.png"),
        ("skimage", "data/chelsea.png"),
        ("skimage", "data/coffee.png"),
        ("skimage", "data/grass.png"),
        ("skimage", "data/hubble_deep_field.jpg"),
        ("skimage", "data/ihc.png"),
        ("skimage", "data/motorcycle_left.png"),
        ("sklearn", "datasets/images/china.jpg"),
    ),
    "test": (
        ("skimage", "data/cell.png"),
        ("skimage", "data/coins.png"),
        ("skimage", "data/gravel.png"),
        ("skimage", "data/moon.png"),
        ("skimage", "data/retina.jpg"),
        ("skimage", "data/rocket.jpg"),
        ("sklearn", "datasets/images/flower.jpg"),
    ),
}
PHOTOGRAPHS["validation"] = PHOTOGRAPHS["train"]

# A stable number for each name that enters the random seed.
SPLITS = ("train", "validation", "test")
VARIANTS = ("standard", "pretraining")
PATTERN_SHIFT = {"standard": 0, "pretraining": 3}

IMAGES_PER_SHARD = 100


def load_emblems(
    seed: int = 0,
    image_size: int = 64,
    num_train: int = 4000,
    num_validation: int = 300,
    num_test: int = 600,
    variant: str = "standard",
    cache_dir: str | Path | None = None,
    num_proc: int | None = None,
) -> DatasetDict:
    """
    Draws the emblem data set, or reads it from the cache of `datasets` if it was drawn before.

    Args:
        seed (`int`, *optional*, defaults to 0):
            Seed of the data set, not negative. Image `i` of a split depends on nothing but the seed, the variant, the
            image size, the split and `i`, so a longer split starts with the images of a shorter one.
        image_size (`int`, *optional*, defaults to 64):
            Height and width of the images in pixels, at least 16. All lengths scale with it.
        num_train (`int`, *optional*, defaults to 4000):
            Number of training images. Classes take turns, so any multiple of ten is exactly balanced.
        num_validation (`int`, *optional*, defaults to 300):
            Number of validation images, on the same photographs as the training images.
        num_test (`int`, *optional*, defaults to 600):
            Number of test images, on other photographs.
        variant (`str`, *optional*, defaults to `"standard"`):
            `"standard"`, or `"pretraining"` for ten other emblems: the same silhouettes with their patterns exchanged,
            so that a backbone pretrained on them has seen none of the standard classes.
        cache_dir (`str` or `Path`, *optional*):
            Where `datasets` keeps the result; its own cache folder when not given.
        num_proc (`int`, *optional*):
            Number of processes that draw. The result does not depend on it.

    Returns:
        `datasets.DatasetDict`: the splits `train`, `validation` and `test` with the columns `image` (RGB), `image_id`
        (unique within the split), `label` (one of ten classes), `objects` (`bbox`: one `[x, y, width, height]` in
        pixels; `category`: its class) and `mask` (mode L, 255 where the emblem covers at least half of the pixel, else
        0). The box is the smallest one around the mask; its far end, `x + width`, is exclusive.

    Raises:
        ImportError: If `datasets`, `scikit-image` or `scikit-learn` is not installed.
        ValueError: If an argument is out of range.

    Example:

    ```python
    >>> from transformers_sat.drawn import load_emblems

    >>> emblems = load_emblems()
    >>> emblems["train"].features["label"].int2str(emblems["train"][0]["label"])
    'disc with vertical stripes'
    ```
    """
    seed = _check_integer("seed", seed, minimum=0)
    image_size = _check_integer("image_size", image_size, minimum=MIN_IMAGE_SIZE)
    split_sizes = {
        "train": _check_integer("num_train", num_train, minimum=1),
        "validation": _check_integer("num_validation", num_validation, minimum=1),
        "test": _check_integer("num_test", num_test, minimum=1),
    }
    if num_proc is not None:
        num_proc = _check_integer("num_proc", num_proc, minimum=1)
    _check_variant(variant)
    _require_packages("datasets", "skimage", "sklearn")
    from datasets import Dataset, DatasetDict, NamedSplit

    splits = {}
    for split, split_size in split_sizes.items():
        # `datasets` hands the entries of a list to its processes, and hashes all of these values for its cache.
        shards = [
            (start, min(start + IMAGES_PER_SHARD, split_size)) for start in range(0, split_size, IMAGES_PER_SHARD)
        ]
        splits[split] = Dataset.from_generator(
            generate_emblems,
            features=emblem_features(variant),
            cache_dir=None if cache_dir is None else str(cache_dir),
            gen_kwargs={
                "shards": shards,
                "split": split,
                "seed": seed,
                "image_size": image_size,
                "variant": variant,
                "version": EMBLEMS_VERSION,
            },
            num_proc=None if num_proc is None else min(num_proc, len(shards)),
            split=NamedSplit(split),
        )
    return DatasetDict(splits)


def emblem_class_names(variant: str = "standard") -> list[str]:
    """
    Names of the ten classes in the order of their labels.

    Args:
        variant (`str`, *optional*, defaults to `"standard"`):
            `"standard"` or `"pretraining"`, as in [`load_emblems`].

    Returns:
        `list[str]`: for example `"disc with vertical stripes"`.

    Raises:
        ValueError: If there is no such variant.
    """
    _check_variant(variant)
    silhouettes, patterns = list(SILHOUETTES), list(PATTERNS)
    return [
        f"{silhouette} with {patterns[pattern_of_class(label, variant)]}"
        for label, silhouette in enumerate(silhouettes)
    ]


def pattern_of_class(label: int, variant: str = "standard") -> int:
    """Index in `PATTERNS` of the pattern that fills the emblem of a class; its silhouette is the one at `label`."""
    return (label + PATTERN_SHIFT[variant]) % len(PATTERNS)


def emblem_backbone_path() -> Path:
    """
    Folder of the small ViT classifier that ships with the package, pretrained on the `"pretraining"` emblems.

    It is a repository like any other: `ViTForImageClassification.from_pretrained(emblem_backbone_path())` loads it.
    """
    return Path(__file__).parent / "emblem_backbone"


def emblem_features(variant: str = "standard") -> Features:
    """The `datasets.Features` of the data set."""
    from datasets import ClassLabel, Features, List, Value
    from datasets import Image as ImageFeature

    label = ClassLabel(names=emblem_class_names(variant))
    return Features(
        {
            "image": ImageFeature(),
            "image_id": Value("int64"),
            "label": label,
            "objects": {"bbox": List(List(Value("float32"), length=4)), "category": List(label)},
            "mask": ImageFeature(),
        }
    )


def generate_emblems(
    shards: list[tuple[int, int]], split: str, seed: int, image_size: int, variant: str, version: str
) -> Iterator[dict[str, Any]]:
    """
    Yields the examples of a split, as `datasets` encodes them.

    Args:
        shards (`list[tuple[int, int]]`):
            Ranges of image numbers, far ends exclusive.
        split (`str`), seed (`int`), image_size (`int`), variant (`str`):
            As in [`load_emblems`].
        version (`str`):
            Not used to draw: it makes the cache of `datasets` forget images that another version drew.
    """
    photographs = load_photographs(split)
    for start, stop in shards:
        for index in range(start, stop):
            random = np.random.default_rng([seed, VARIANTS.index(variant), SPLITS.index(split), index])
            label = index % len(SILHOUETTES)
            image, mask = draw_emblem(random, label, pattern_of_class(label, variant), photographs, image_size)
            yield {
                "image": {"bytes": _encode_png(image), "path": None},
                "image_id": index,
                "label": label,
                "objects": {"bbox": [box_of_mask(mask)], "category": [label]},
                "mask": {"bytes": _encode_png(mask), "path": None},
            }


def box_of_mask(mask: np.ndarray) -> tuple[int, int, int, int]:
    """
    Smallest box around the pixels of a mask.

    Args:
        mask (`np.ndarray` of shape `(height, width)`):
            Zero on the background; at least one pixel is not.

    Returns:
        `tuple[int, int, int, int]`: `(x, y, width, height)` in pixels, so that the far end `x + width` is exclusive.
    """
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


@lru_cache(maxsize=len(SPLITS))
def load_photographs(split: str) -> tuple[Image.Image, ...]:
    """
    Reads the photographs of a split from the installed packages.

    Args:
        split (`str`):
            `"train"`, `"validation"` (the same photographs) or `"test"` (other ones).

    Returns:
        `tuple[PIL.Image.Image, ...]`: RGB images whose short side is at most 384 pixels.

    Raises:
        ImportError: If `scikit-image` or `scikit-learn` is not installed.
        FileNotFoundError: If the installed version lacks one of the files.
    """
    _require_packages("skimage", "sklearn")
    photographs = []
    for package, file_name in PHOTOGRAPHS[split]:
        # Looking a package up is enough to know its folder; importing scikit-learn would take a second.
        path = Path(importlib.util.find_spec(package).origin).parent / file_name
        if not path.is_file():
            raise FileNotFoundError(
                f"The photograph {path} is missing: the installed {PACKAGE_DISTRIBUTIONS[package]} does not ship it. "
                f"Install the wheel from PyPI: `pip install --force-reinstall {PACKAGE_DISTRIBUTIONS[package]}`."
            )
        with opened_image(path, file_name) as image:
            photograph = image.convert("RGB")
        scale = PHOTOGRAPH_SHORT_SIDE / min(photograph.size)
        if scale < 1:
            size = tuple(round(side * scale) for side in photograph.size)
            photograph = photograph.resize(size, Image.Resampling.BILINEAR)
        photographs.append(photograph)
    return tuple(photographs)


def draw_emblem(
    random: np.random.Generator,
    silhouette: int,
    pattern: int,
    photographs: tuple[Image.Image, ...],
    image_size: int = 64,
    long_side_range: tuple[float, float] = LONG_SIDE_RANGE,
    period_range: tuple[float, float] = PATTERN_PERIOD_RANGE,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Draws one emblem at a random place of a random photograph.

    Args:
        random (`np.random.Generator`):
            Source of everything that is random.
        silhouette (`int`):
            Index in `SILHOUETTES`.
        pattern (`int`):
            Index in `PATTERNS`.
        photographs (`tuple[PIL.Image.Image, ...]`):
            Where the background is cut from, see [`load_photographs`].
        image_size (`int`, *optional*, defaults to 64):
            Height and width of the image in pixels.
        long_side_range (`tuple[float, float]`, *optional*, defaults to (0.40, 0.65)):
            Smallest and largest long side of the emblem before rotation, as a share of the image.
        period_range (`tuple[float, float]`, *optional*, defaults to (0.085, 0.12)):
            Smallest and largest distance after which the pattern repeats, as a share of the image.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: the image, `uint8` of shape `(image_size, image_size, 3)`, and the mask,
        `uint8` of shape `(image_size, image_size)`, 255 where the emblem covers at least half of the pixel, else 0.
    """
    background = _crop_photograph(random, photographs, image_size)
    colours = _draw_two_colours(random)

    half_width = half_height = image_size * _uniform(random, *long_side_range) / 2
    aspect = _uniform(random, *ASPECT_RANGE)
    if random.random() < 0.5:
        half_width *= aspect
    else:
        half_height *= aspect
    tangent = _uniform(random, -MAX_HALF_ANGLE_TANGENT, MAX_HALF_ANGLE_TANGENT)
    cosine = (1 - tangent * tangent) / (1 + tangent * tangent)
    sine = 2 * tangent / (1 + tangent * tangent)
    period = image_size * _uniform(random, *period_range)
    phase_x, phase_y = random.random(), random.random()

    reach_x = half_width * cosine + half_height * abs(sine)
    reach_y = half_height * cosine + half_width * abs(sine)
    centre_x = _draw_centre(random, reach_x, image_size)
    centre_y = _draw_centre(random, reach_y, image_size)

    # Only the pixels that the emblem can reach are sampled, on a regular grid of points in each pixel.
    left, right = max(0, int(centre_x - reach_x)), min(image_size, int(centre_x + reach_x) + 1)
    top, bottom = max(0, int(centre_y - reach_y)), min(image_size, int(centre_y + reach_y) + 1)
    x = ((np.arange((right - left) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING + (left - centre_x))[None, :]
    y = ((np.arange((bottom - top) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING + (top - centre_y))[:, None]
    emblem_x, emblem_y = cosine * x + sine * y, cosine * y - sine * x

    inside = _SILHOUETTE_FUNCTIONS[silhouette](emblem_x / half_width, emblem_y / half_height)
    first = _PATTERN_FUNCTIONS[pattern](emblem_x / period, emblem_y / period, phase_x, phase_y)
    covered = _count_in_pixels(inside)
    covered_by_first = _count_in_pixels(inside & first)

    # Integer arithmetic: the share of each colour in a pixel is a count of sample points.
    samples = SUPERSAMPLING * SUPERSAMPLING
    patch = background[top:bottom, left:right].astype(np.int64)
    patch *= (samples - covered)[..., None]
    patch += covered_by_first[..., None] * colours[0] + (covered - covered_by_first)[..., None] * colours[1]
    background[top:bottom, left:right] = (patch + samples // 2) // samples

    mask = np.zeros((image_size, image_size), dtype=np.uint8)
    mask[top:bottom, left:right][2 * covered >= samples] = 255
    return background, mask


def draw_pattern(
    random: np.random.Generator,
    pattern: int,
    image_size: int = 64,
    period_range: tuple[float, float] = PATTERN_PERIOD_RANGE,
) -> np.ndarray:
    """
    Fills a whole image with one pattern, turned and coloured as on an emblem.

    Args:
        random (`np.random.Generator`):
            Source of everything that is random.
        pattern (`int`):
            Index in `PATTERNS`.
        image_size (`int`, *optional*, defaults to 64):
            Height and width of the image in pixels.
        period_range (`tuple[float, float]`, *optional*, defaults to (0.085, 0.12)):
            Smallest and largest distance after which the pattern repeats, as a share of the image.

    Returns:
        `np.ndarray`: `uint8` of shape `(image_size, image_size, 3)`.
    """
    # A square emblem of twice the image's size, turned about the centre, covers the image.
    blank = (Image.new("RGB", (8, 8)),)
    square = list(SILHOUETTES).index("square")
    return draw_emblem(random, square, pattern, blank, image_size, (2.0, 2.0), period_range)[0]


def _crop_photograph(random: np.random.Generator, photographs: tuple[Image.Image, ...], size: int) -> np.ndarray:
    photograph = photographs[int(random.random() * len(photographs))]
    width, height = photograph.size
    side = max(1, int(min(width, height) * _uniform(random, *CROP_RANGE)))
    x = int(random.random() * (width - side + 1))
    y = int(random.random() * (height - side + 1))
    crop = photograph.resize((size, size), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side))
    flip = random.random() < 0.5
    pixels = np.array(crop)
    return pixels[:, ::-1].copy() if flip else pixels


def _draw_two_colours(random: np.random.Generator) -> np.ndarray:
    """Two RGB colours, `int64` of shape `(2, 3)`, that differ clearly in brightness."""
    while True:
        colours = (random.random((2, 3)) * 256).astype(np.int64)
        brightness = colours @ np.array([299, 587, 114])
        if abs(brightness[0] - brightness[1]) >= 1000 * MIN_COLOUR_CONTRAST:
            return colours


def _draw_centre(random: np.random.Generator, reach: float, image_size: int) -> float:
    """
    One coordinate of the centre, such that the emblem lies inside the image where it fits.

    Places near the edges are likelier than those in the middle (the density grows with the distance from there), so
    that a box in the middle is a bad guess although the emblems are large.
    """
    room = max(0.0, image_size / 2 - reach)
    offset = _uniform(random, -1.0, 1.0)
    return image_size / 2 + room * math.copysign(math.sqrt(abs(offset)), offset)


def _uniform(random: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * random.random()


def _count_in_pixels(samples: np.ndarray) -> np.ndarray:
    """Number of true sample points in each pixel."""
    height, width = samples.shape[0] // SUPERSAMPLING, samples.shape[1] // SUPERSAMPLING
    by_pixel = samples.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING)
    return by_pixel.sum(axis=1, dtype=np.uint8).sum(axis=2, dtype=np.int64)


def _encode_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


# Silhouettes: which points lie inside, in a frame where x points right, y points down, and the emblem fills -1..1.


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x * x + y * y <= 1


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squared_radius = x * x + y * y
    return (squared_radius <= 1) & (squared_radius >= 0.2)


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) <= 1


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (2 * np.abs(x) <= y + 1) & (y <= 1)


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return (np.minimum(x, y) <= 0.4) & (np.maximum(x, y) <= 1)


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    lobe = (x - 0.5) * (x - 0.5) + (y + 0.5) * (y + 0.5) <= 0.25
    # The tip's sides touch the lobes at (0.9, -0.2).
    tip = (4 * x + 3 * y <= 3) & (3 * y >= x - 1.5)
    return lobe | tip


def _moon(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # The horns of a disc bitten by another one end at 0.672; the frame ends there.
    x = 0.836 * (x + 1) - 1
    return (x * x + y * y <= 1) & ((x - 0.55) * (x - 0.55) + y * y >= 0.5625)


_STAR_CORNERS = (
    (0.0, -1.0),
    (0.3, -0.4),
    (1.0, -0.24),
    (0.5, 0.26),
    (0.62, 1.0),
    (0.0, 0.66),
    (-0.62, 1.0),
    (-0.5, 0.26),
    (-1.0, -0.24),
    (-0.3, -0.4),
)
_ARROW_CORNERS = ((0.0, -1.0), (1.0, 0.1), (0.45, 0.1), (0.45, 1.0), (-0.45, 1.0), (-0.45, 0.1), (-1.0, 0.1))
_BOLT_CORNERS = ((-0.5, -1.0), (0.8, -1.0), (0.4, -0.35), (1.0, -0.35), (-0.6, 1.0), (-0.3, 0.25), (-1.0, 0.25))


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _polygon(x, y, _STAR_CORNERS)


def _arrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _polygon(x, y, _ARROW_CORNERS)


def _bolt(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _polygon(x, y, _BOLT_CORNERS)


def _polygon(x: np.ndarray, y: np.ndarray, corners: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Even-odd rule: a point is inside if a ray from it crosses an odd number of sides."""
    inside = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if y0 != y1:
            inside ^= ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * ((x1 - x0) / (y1 - y0)))
    return inside


# Patterns: which points have the first colour, in units of the period from the emblem's centre, with two phases in 0..1.


def _vertical_stripes(x: np.ndarray, y: np.ndarray, phase_x: float, phase_y: float) -> np.ndarray:
    return _fraction(x + phase_x) < 0.5


def _horizontal_stripes(x: np.ndarray, y: np.ndarray, phase_x: float, phase_y: float) -> np.ndarray:
    return _fraction(y + phase_y) < 0.5


def _rising_diagonals(x: np.ndarray, y: np.ndarray, phase_x: float, phase_y: float) -> np.ndarray:
    return _fraction(0.7071 * (x + y) + phase_x) < 0.5


def _falling_diagonals(x: np.ndarray, y: np.ndarray, phase_x: float, phase_y: float) -> np.ndarray:
    return _fraction(0.7071 * (x - y) + phase_x) < 0.5


def _checks(x: np.ndarray, y: np.ndarray, phase_x: float, phase_y: float) -> np.ndarray:
    return (_fraction(0.8 * x + phase_x) < 0.5) ^ (_fraction(0.8 * y + phase_y) < 0.5)


def _dots(x: np.ndarray, y: np.ndarray, phase_x: float, phase_y: float) -> np.ndarray:
    x, y = _fraction(x + phase_x) - 0.5, _fraction(y + phase_y) - 0.5
    return x * x + y * y < 0.1


def _grid(x: np.ndarray, y: np.ndarray, phase_x: float, phase_y: float) -> np.ndarray:
    return (_fraction(0.9 * x + phase_x) < 0.3) | (_fraction(0.9 * y + phase_y) < 0.3)


def _lattice(x: np.ndarray, y: np.ndarray, phase_x: float, phase_y: float) -> np.ndarray:
    return _grid(0.7071 * (x + y), 0.7071 * (x - y), phase_x, phase_y)


def _waves(x: np.ndarray, y: np.ndarray, phase_x: float, phase_y: float) -> np.ndarray:
    zigzag = np.abs(_fraction(0.5 * x + phase_x) - 0.5)
    return _fraction(y + 1.6 * zigzag + phase_y) < 0.5


def _rings(x: np.ndarray, y: np.ndarray, phase_x: float, phase_y: float) -> np.ndarray:
    return _fraction(np.sqrt(x * x + y * y) + phase_x) < 0.5


def _fraction(value: np.ndarray) -> np.ndarray:
    return value - np.floor(value)


# Class k of the standard variant is silhouette k filled with pattern k.
SILHOUETTES: dict[str, Callable[..., np.ndarray]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "heart": _heart,
    "moon": _moon,
    "arrow": _arrow,
    "bolt": _bolt,
}
PATTERNS: dict[str, Callable[..., np.ndarray]] = {
    "vertical stripes": _vertical_stripes,
    "horizontal stripes": _horizontal_stripes,
    "rising diagonals": _rising_diagonals,
    "falling diagonals": _falling_diagonals,
    "checks": _checks,
    "dots": _dots,
    "grid": _grid,
    "lattice": _lattice,
    "waves": _waves,
    "rings": _rings,
}
_SILHOUETTE_FUNCTIONS = tuple(SILHOUETTES.values())
_PATTERN_FUNCTIONS = tuple(PATTERNS.values())

PACKAGE_DISTRIBUTIONS = {"datasets": "datasets", "skimage": "scikit-image", "sklearn": "scikit-learn"}


def _check_integer(name: str, value: int, minimum: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < minimum:
        raise ValueError(f"`{name}` must be an integer of at least {minimum}, but {value!r} was given.")
    return number


def _check_variant(variant: str) -> None:
    if variant not in VARIANTS:
        raise ValueError(f"`variant` must be one of {', '.join(map(repr, VARIANTS))}, but {variant!r} was given.")


def _require_packages(*packages: str) -> None:
    missing = [PACKAGE_DISTRIBUTIONS[package] for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ImportError(
            f"The emblem data set needs {' and '.join(missing)}, which is not installed here: {install_hint('train')}"
        )


__all__ = [
    "PATTERNS",
    "SILHOUETTES",
    "box_of_mask",
    "draw_emblem",
    "draw_pattern",
    "emblem_backbone_path",
    "emblem_class_names",
    "emblem_features",
    "load_emblems",
    "load_photographs",
    "pattern_of_class",
]
