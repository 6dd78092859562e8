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
strictly above a threshold and turns its connected components into masks and boxes.
"""

import math

import numpy as np
import torch
from scipy import ndimage


# Keeps a map without any contrast finite. The largest normalized value is range / (range + 1e-5), just below 1.
NORMALIZATION_EPSILON = 1e-5

# Pixels that touch at a corner belong together.
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


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


def connected_components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Labels the 8-connected components of a mask, largest first.

    Args:
        mask (`np.ndarray` of shape `(height, width)`):
            Non-zero where there is foreground.

    Returns:
        `tuple` of the labels, an int32 array of shape `(height, width)` with 0 for the background, 1 for the largest
        component, 2 for the next and so on, and the pixel counts of shape `(num_components,)`, so that
        `labels == k + 1` has `counts[k]` pixels. Of equally large components, the one that a scan from left to right
        and top to bottom meets first comes first.

    Raises:
        ValueError: If the mask does not have two dimensions.
    """
    mask = _as_mask(mask)
    labels, num_components = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
    counts = np.bincount(labels.ravel(), minlength=num_components + 1)[1:]
    # `ndimage.label` numbers in scan order, and a stable sort keeps that order among equals.
    largest_first = np.argsort(-counts, kind="stable")
    rank = np.zeros(num_components + 1, dtype=np.int32)
    rank[largest_first + 1] = np.arange(1, num_components + 1)
    return rank[labels], counts[largest_first]


def largest_component(mask: np.ndarray) -> np.ndarray:
    """
    Keeps the largest 8-connected component of a mask.

    Args:
        mask (`np.ndarray` of shape `(height, width)`):
            Non-zero where there is foreground.

    Returns:
        `np.ndarray` of shape `(height, width)`, boolean: the component with the most pixels, on a tie the one that a
        row by row scan meets first. All `False` if the mask is empty.
    """
    labels, _ = connected_components(mask)
    return labels == 1


def mask_to_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """
    Gives the smallest box around the foreground of a mask.

    Args:
        mask (`np.ndarray` of shape `(height, width)`):
            Non-zero where there is foreground.

    Returns:
        `tuple[int, int, int, int]`: `(x0, y0, x1, y1)` in pixels of the mask, the far ends exclusive.

    Raises:
        ValueError: If the mask does not have two dimensions, or has no foreground: an empty mask has no box.
    """
    mask = _as_mask(mask)
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        raise ValueError("`mask` has no foreground, so it has no box. Use `locate` for the whole-image fallback.")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def locate(
    normalized_map: torch.Tensor | np.ndarray, threshold: float, multiple: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """
    Cuts one normalized map, already in pixels, at a threshold.

    Foreground is strictly greater than the threshold, both taken as float32.

    Args:
        normalized_map (`torch.Tensor` or `np.ndarray` of shape `(height, width)`):
            Map with values from 0 to 1: the result of `normalize_map`, then `resize_map`.
        threshold (`float`):
            From 0 to 1.
        multiple (`bool`, *optional*, defaults to `False`):
            Whether to return every connected component, largest first, instead of the largest only.

    Returns:
        `tuple` of the boxes, an int64 array of shape `(num_boxes, 4)` with `(x0, y0, x1, y1)`, far ends exclusive, and
        the masks of their components, a boolean array of shape `(num_boxes, height, width)`. There is always at least
        one: where nothing is above the threshold, as in a constant map, the answer is the whole image, box and mask.

    Raises:
        ValueError: If the map does not have two dimensions or has no pixel, or if the threshold is not in [0, 1].
    """
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"`threshold` must be from 0 to 1, got {threshold}.")
    if isinstance(normalized_map, torch.Tensor):
        normalized_map = normalized_map.detach().float().cpu().numpy()
    normalized_map = np.asarray(normalized_map, dtype=np.float32)
    if normalized_map.ndim != 2 or normalized_map.size == 0:
        raise ValueError(f"`normalized_map` must be a non-empty (height, width) map, got {normalized_map.shape}.")
    labels, counts = connected_components(normalized_map > np.float32(threshold))
    if len(counts) == 0:
        labels, counts = np.ones_like(labels), np.array([labels.size])
    num_boxes = len(counts) if multiple else 1
    masks = labels == np.arange(1, num_boxes + 1)[:, None, None]
    boxes = np.array([mask_to_box(mask) for mask in masks], dtype=np.int64)
    return boxes, masks


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


def _as_mask(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"`mask` must have the shape (height, width), got {mask.shape}.")
    return mask.astype(bool, copy=False)


__all__ = [
    "connected_components",
    "largest_component",
    "locate",
    "map_in_image",
    "mask_to_box",
    "normalize_map",
    "resize_map",
]
