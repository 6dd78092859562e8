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
"""From a localization map to masks and boxes: pure functions, no state.

The usual order is `normalize_map` at the model's grid, `resize_map` to pixels, then `locate`, which keeps what is
strictly above a threshold and finds its connected components: their boxes, and their masks when they are asked for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage


# Keeps a map without any contrast finite. The largest normalized value is range / (range + 1e-5), just below 1.
NORMALIZATION_EPSILON = 1e-5

# Pixels that touch at a corner belong together.
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)

# Of a map, for what needs several bytes for each pixel.
NUM_PARTS = 16


def normalize_map(localization_map: torch.Tensor) -> torch.Tensor:
    """
    Stretches each map to the range from 0 to just below 1.

    Args:
        localization_map (`torch.Tensor` of shape `(..., height, width)`):
            Maps at the model's grid, any real dtype and any range of values.

    Returns:
        `torch.Tensor` of shape `(..., height, width)`: `(map - min) / (max - min + 1e-5)` in float32, with the minimum
        and maximum of each map. A constant map gives zeros, and so does a map that holds a NaN or an infinity.

    Raises:
        ValueError: If the input has no two trailing dimensions, or if the grid has no cell.
    """
    _check_grid(localization_map)
    localization_map = localization_map.float()
    is_finite = localization_map.isfinite().all(dim=-1, keepdim=True).all(dim=-2, keepdim=True)
    localization_map = localization_map.masked_fill(~is_finite, 0.0)
    smallest = localization_map.amin(dim=(-2, -1), keepdim=True)
    largest = localization_map.amax(dim=(-2, -1), keepdim=True)
    return (localization_map - smallest) / (largest - smallest + NORMALIZATION_EPSILON)


def class_localization_map(localization_map: torch.Tensor, class_map: torch.Tensor) -> torch.Tensor:
    """
    Where a class is: what its map has above 0, times the localization map. A class whose map is nowhere above 0 has the
    localization map itself.

    Args:
        localization_map (`torch.Tensor` of shape `(height, width)`): foreground, in (0, 1).
        class_map (`torch.Tensor` of shape `(height, width)`): the class's score of every patch.

    Returns:
        `torch.Tensor` of shape `(height, width)`, not normalized.
    """
    evidence = class_map.clamp(min=0)
    return localization_map if (evidence == 0).all() else evidence * localization_map


def resize_map(localization_map: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """
    Resizes maps bilinearly with half-pixel centres, so that every cell covers the pixels of its own patch.

    Args:
        localization_map (`torch.Tensor` of shape `(..., height, width)`):
            Maps of any real dtype.
        size (`tuple[int, int]`):
            Height and width of the result, in pixels.

    Returns:
        `torch.Tensor` of shape `(..., *size)`, in float32.

    Raises:
        ValueError: If the input has no two trailing dimensions, if the grid has no cell, or if `size` is not positive.
    """
    _check_grid(localization_map)
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"`size` must be a positive (height, width), got {tuple(size)}.")
    maps = localization_map.float().reshape(-1, 1, *localization_map.shape[-2:])
    resized = torch.nn.functional.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)
    return resized.reshape(*localization_map.shape[:-2], height, width)


# each is equal to itself alone, so that one can be a key
@dataclass(frozen=True, eq=False)
class Components:
    """
    The connected components of a map's foreground, largest first. Of equally large ones, the one that a scan from left
    to right and top to bottom meets first comes first.

    Args:
        labels (`np.ndarray` of shape `(height, width)`):
            int32: 1 on the pixels of the first component, 2 on those of the second and so on, 0 elsewhere.
        boxes (`np.ndarray` of shape `(num_components, 4)`):
            int64: smallest box `(x0, y0, x1, y1)` around each component in pixels, far ends exclusive.
    """

    labels: np.ndarray
    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def mask(self, index: int) -> np.ndarray:
        """A component's pixels: boolean, of shape `(height, width)`. It is made at each call, and kept by nobody."""
        # zeros take no memory before they are written, and there is nothing to write outside the box
        mask = np.zeros(self.labels.shape, dtype=bool)
        self.fill(index, mask, True)
        return mask

    def fill(self, index: int, pixels: np.ndarray, value: int):
        """Writes a value to a component's pixels in an array of shape `(height, width)`."""
        box, inside = self._in_box(index)
        pixels[box][inside] = value

    def peak(self, index: int, normalized_map: np.ndarray) -> np.float32:
        """The largest value of a map `(height, width)`, with values from 0, on a component's pixels."""
        box, inside = self._in_box(index)
        return normalized_map[box].max(where=inside, initial=0.0)

    def _in_box(self, index: int) -> tuple[tuple[slice, slice], np.ndarray]:
        """A component's box as rows and columns, and which of its pixels are the component's."""
        index = range(len(self))[index]
        x0, y0, x1, y1 = self.boxes[index].tolist()
        box = slice(y0, y1), slice(x0, x1)
        return box, self.labels[box] == index + 1


class Masks(Sequence):
    """
    Masks of components, each made when it is asked for.

    `masks[row]` is a `torch.BoolTensor` of shape `(height, width)`, and a slice such as `masks[:]` one of shape
    `(num_rows, height, width)`. Functions and methods of PyTorch act on `masks[:]`: `masks.float()`, `torch.any(masks)`.

    Args:
        places (`list[tuple[Components, int]]`):
            For each row the components of a map, and which of them it is. Rows of several classes can share a place.
        size (`tuple[int, int]`): height and width of each mask.
    """

    def __init__(self, places: list[tuple[Components, int]], size: tuple[int, int]):
        self.places = places
        self.size = tuple(size)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int | slice) -> torch.Tensor:
        if not isinstance(row, slice):
            components, index = self.places[row]
            return torch.from_numpy(components.mask(index))
        places = self.places[row]
        masks = np.zeros((len(places), *self.size), dtype=bool)
        for mask, (components, index) in zip(masks, places):
            components.fill(index, mask, True)
        return torch.from_numpy(masks)

    def numbered(self) -> torch.Tensor:
        """The row of each pixel's mask, the first of several, or -1: int32, of shape `(height, width)`."""
        rows = np.full(self.size, -1, dtype=np.int32)
        for row in reversed(range(len(self))):
            components, index = self.places[row]
            components.fill(index, rows, row)
        return torch.from_numpy(rows)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), *self.size))

    def __getattr__(self, name: str):
        if name.startswith("__") or name in ("places", "size"):
            raise AttributeError(name)
        return getattr(self[:], name)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        in_full = [value[:] if isinstance(value, Masks) else value for value in args]
        return function(*in_full, **(kwargs or {}))


def locate(
    normalized_map: torch.Tensor | np.ndarray,
    localization_threshold: float,
    multiple: bool = False,
    fallback_box: tuple[int, int, int, int] | None = None,
) -> Components:
    """
    Cuts one normalized map, already in pixels, at a threshold.

    Foreground is strictly greater than the threshold, both taken as float32. Pixels that touch at a corner belong
    together. The pixels are labelled once, however many components there are, in 5 bytes each beside the map.

    Args:
        normalized_map (`torch.Tensor` or `np.ndarray` of shape `(height, width)`):
            Map with values from 0 to 1: the result of `normalize_map`, then `resize_map`.
        localization_threshold (`float`):
            From 0 to 1.
        multiple (`bool`, *optional*, defaults to `False`):
            Whether to return every connected component, largest first, instead of the largest only.
        fallback_box (`tuple[int, int, int, int]`, *optional*):
            The answer where nothing is above the threshold, as in a constant map; the whole map by default.

    Returns:
        [`Components`], of which there is always at least one.

    Raises:
        ValueError: If the map does not have two dimensions or has no pixel, or if the threshold is not in [0, 1].
    """
    if not 0.0 <= localization_threshold <= 1.0:
        raise ValueError(f"`localization_threshold` must be between 0 and 1, got {localization_threshold}.")
    if isinstance(normalized_map, torch.Tensor):
        normalized_map = normalized_map.detach().float().cpu().numpy()
    normalized_map = np.asarray(normalized_map, dtype=np.float32)
    if normalized_map.ndim != 2 or normalized_map.size == 0:
        raise ValueError(f"`normalized_map` must be a non-empty (height, width) map, got {normalized_map.shape}.")
    labels, num_components = ndimage.label(
        normalized_map > np.float32(localization_threshold), structure=EIGHT_NEIGHBOURS
    )
    if num_components == 0:
        height, width = labels.shape
        x0, y0, x1, y1 = fallback_box or (0, 0, width, height)
        labels[y0:y1, x0:x1] = 1
        return Components(labels, np.array([(x0, y0, x1, y1)], dtype=np.int64))
    # in parts, as `bincount` and the look-up make copies of what they are given
    parts = np.array_split(labels.reshape(-1), NUM_PARTS)
    counts = sum(np.bincount(part, minlength=num_components + 1) for part in parts)[1:]
    # `ndimage.label` numbers in scan order, and a stable sort keeps that order among equals
    kept = np.argsort(-counts, kind="stable")[: None if multiple else 1]
    rank = np.zeros(num_components + 1, dtype=labels.dtype)
    rank[kept + 1] = np.arange(1, len(kept) + 1)
    for part in parts:
        part[:] = rank[part]
    boxes = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in ndimage.find_objects(labels)]
    return Components(labels, np.array(boxes, dtype=np.int64))


def map_in_image(
    localization_map: torch.Tensor,
    image_size: tuple[int, int],
    seen: tuple[float, float, float, float] | None = None,
) -> tuple[torch.Tensor, tuple[int, int, int, int]]:
    """
    Lays a map over the image it was made from, undoing the resize and crop before the model: bilinear between the
    centres of the grid's cells, constant beyond the outermost centres, as `resize_map` (which it equals when the model
    saw the whole image). It takes memory in proportion to the pixels, however long and narrow the image is.

    Args:
        localization_map (`torch.Tensor` of shape `(height, width)`):
            Map at the model's grid.
        image_size (`tuple[int, int]`):
            Height and width of the image, in pixels.
        seen (`tuple[float, float, float, float]`, *optional*):
            The part of the image that the grid covers, as `(x0, y0, x1, y1)` in the image's pixels; it may reach
            beyond the image, where a crop was padded. The whole image by default.

    Returns:
        `tuple` of the map in pixels, a float32 tensor of shape `(y1 - y0, x1 - x0)`, and the pixels `(x0, y0, x1, y1)`
        that it lies on, far ends exclusive: those with their centre in `seen`, at least one.

    Raises:
        ValueError: If the map has no cell, or if `image_size` or the area of `seen` is not positive.
    """
    _check_grid(localization_map)
    height, width = image_size
    if height < 1 or width < 1:
        raise ValueError(f"`image_size` must be a positive (height, width), got {tuple(image_size)}.")
    x0, y0, x1, y1 = seen if seen is not None else (0.0, 0.0, width, height)
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"`seen` must be (x0, y0, x1, y1) with a positive area, got {(x0, y0, x1, y1)}.")
    first_row, row_positions = _positions(height, y0, y1, localization_map.shape[0])
    first_column, column_positions = _positions(width, x0, x1, localization_map.shape[1])
    # first the side that leaves less between the two: a strip must not be widened to the grid while it is long
    sides = [(0, row_positions), (1, column_positions)]
    if len(row_positions) > localization_map.shape[0]:
        sides.reverse()
    in_pixels = localization_map.float()
    for dim, positions in sides:
        in_pixels = _interpolate(in_pixels, dim, positions)
    pixels = (
        first_column,
        first_row,
        first_column + len(column_positions),
        first_row + len(row_positions),
    )
    return in_pixels, pixels


def _positions(length: int, start: float, stop: float, num_cells: int) -> tuple[int, torch.Tensor]:
    """
    Along one side of an image of `length` pixels: the first pixel whose centre lies in `[start, stop)`, and where on the
    grid such pixels lie, as float64: 0 is the centre of the first of `num_cells` cells of equal size between `start` and
    `stop`. Beyond the outermost centres the position is theirs.
    """
    first, last = max(math.ceil(start - 0.5), 0), min(math.ceil(stop - 0.5), length)
    if last <= first:
        # a part narrower than a pixel, between two centres: the pixel that holds its middle
        first = min(max(math.floor((start + stop) / 2), 0), length - 1)
        last = first + 1
    centres = torch.arange(first, last, dtype=torch.float64) + 0.5
    position = (centres - start) / (stop - start) * num_cells - 0.5
    return first, position.clamp_(0, num_cells - 1)


def _interpolate(cells: torch.Tensor, dim: int, positions: torch.Tensor) -> torch.Tensor:
    """Values at `positions` along one dimension of `cells`, each from the two cells around it."""
    lower = positions.long()
    share = (positions - lower).to(cells)
    lower = lower.to(cells.device)
    upper = (lower + 1).clamp_(max=cells.shape[dim] - 1)
    interpolated = cells.index_select(dim, lower)
    return interpolated.lerp_(cells.index_select(dim, upper), share[:, None] if dim == 0 else share)


def _check_grid(localization_map: torch.Tensor):
    if localization_map.ndim < 2:
        raise ValueError(
            "`localization_map` must have the shape (..., height, width), "
            f"got {localization_map.ndim} dimension(s): {tuple(localization_map.shape)}."
        )
    if 0 in localization_map.shape[-2:]:
        raise ValueError(f"`localization_map` has an empty grid: its shape is {tuple(localization_map.shape)}.")


__all__ = [
    "Components",
    "Masks",
    "class_localization_map",
    "locate",
    "map_in_image",
    "normalize_map",
    "resize_map",
]
