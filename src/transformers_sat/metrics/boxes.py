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
"""From localization maps to the boxes that a protocol scores."""

from collections.abc import Sequence

import numpy as np
import torch

from ..model.localization_sat import normalize_map, resize_map
from .components import MASKS_AT_ONCE, largest_component_boxes
from .contours import contour_boxes
from .protocols import check_frame, check_protocol


def boxes_from_map(
    localization_map: torch.Tensor,
    thresholds: Sequence[float],
    protocol: str,
    image_size: int = 224,
    multi_contour: bool = False,
) -> np.ndarray | list[np.ndarray]:
    """
    Cuts one map at several thresholds as a protocol does.

    Args:
        localization_map (`torch.Tensor` or `np.ndarray` of shape `(height, width)`):
            Map of any resolution and range of values.
        thresholds (`Sequence[float]`):
            Each from 0 to 1.
        protocol (`str`):
            `"sat"` or `"wsoleval"`.
        image_size (`int`, *optional*, defaults to 224):
            Side of the square frame that the boxes refer to.
        multi_contour (`bool`, *optional*, defaults to `False`):
            Under `"wsoleval"`, whether to return the boxes of all contours, as MaxBoxAccV2 has it, instead of the
            contour with the largest area, as MaxBoxAcc has it.

    Returns:
        `np.ndarray` of shape `(num_thresholds, 4)`, int64: corners `(x0, y0, x1, y1)` of one box for each threshold.
        With `multi_contour` a list of `num_thresholds` arrays of shape `(num_contours, 4)`. Far ends are exclusive; for
        `"wsoleval"` they are also clipped to `image_size - 1`. Where nothing is above the threshold `"sat"` answers
        the whole image and `"wsoleval"` `[0, 0, 0, 0]`.

    Raises:
        ValueError: If the map is not two-dimensional or has no cell, if a threshold is not in [0, 1], or if
            `multi_contour` is asked of the `"sat"` protocol, which scores one box an image.
        ImportError: If the protocol is `"wsoleval"` and OpenCV is not installed.
    """
    check_protocol(protocol)
    check_frame(image_size)
    thresholds = as_thresholds(thresholds)
    if multi_contour and protocol == "sat":
        raise ValueError('`multi_contour` is of the "wsoleval" protocol; "sat" scores one box an image.')
    maps = as_maps(torch.as_tensor(localization_map)[None])
    if protocol == "sat":
        return largest_boxes(maps, thresholds, image_size)[0]
    boxes, first, largest, level_of_threshold = contour_boxes(maps[0], thresholds, image_size)
    if multi_contour:
        per_level = np.split(boxes, first[1:])
        return [per_level[level] for level in level_of_threshold]
    return boxes[largest][level_of_threshold]


def largest_boxes(maps: torch.Tensor, thresholds: np.ndarray, image_size: int) -> np.ndarray:
    """
    Boxes of the largest component of maps under the `sat` protocol.

    Args:
        maps (`torch.Tensor` of shape `(batch_size, height, width)`):
            Maps at the model's grid.
        thresholds (`np.ndarray` of shape `(num_thresholds,)`):
            Cuts of the normalized maps.
        image_size (`int`):
            Side of the protocol's frame.

    Returns:
        `np.ndarray` of shape `(batch_size, num_thresholds, 4)`, int64.
    """
    thresholds = thresholds.astype(np.float32)[:, None, None]
    boxes = np.zeros((len(maps), len(thresholds), 4), dtype=np.int64)
    # A few maps at a time, or one if there are many thresholds, bound the memory that the masks take.
    num_maps = max(1, MASKS_AT_ONCE // len(thresholds))
    for first in range(0, len(maps), num_maps):
        pixels = resize_map(normalize_map(maps[first : first + num_maps]), (image_size, image_size)).numpy()
        masks = (pixels[:, None] > thresholds).reshape(-1, image_size, image_size)
        boxes[first : first + num_maps] = largest_component_boxes(masks).reshape(-1, len(thresholds), 4)
    return boxes


def as_maps(localization_maps: torch.Tensor) -> torch.Tensor:
    """Maps of a batch on the CPU, checked to have the shape `(batch_size, height, width)` and at least one cell."""
    maps = torch.as_tensor(localization_maps).detach().cpu()
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise ValueError(
            f"`localization_maps` must have the shape (batch_size, height, width) and no empty side, "
            f"got {tuple(maps.shape)}."
        )
    return maps


def as_thresholds(thresholds: Sequence[float]) -> np.ndarray:
    """Thresholds as a float64 array, checked to be a list of at least one number from 0 to 1."""
    thresholds = np.asarray(thresholds, dtype=np.float64)
    if thresholds.ndim != 1 or len(thresholds) == 0 or not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise ValueError(f"`thresholds` must be a list of numbers from 0 to 1, got {thresholds.tolist()}.")
    return thresholds


__all__ = ["as_maps", "as_thresholds", "boxes_from_map", "largest_boxes"]
