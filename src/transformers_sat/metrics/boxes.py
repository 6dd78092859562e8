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
"""The boxes that a protocol scores, true ones and those of localization maps, for callers who have its name."""

from collections.abc import Sequence

import numpy as np
import torch

from .protocols import Protocol, get_protocol


def resized_side(protocol: str | Protocol, image_size: int = 224) -> int:
    """
    Side to which a protocol resizes an image, aspect ratio not kept, before its frame of `image_size` is cut.

    Args:
        protocol (`str` or [`Protocol`]):
            `"sat"` or `"wsoleval"`.
        image_size (`int`, *optional*, defaults to 224):
            Side of the frame in which boxes are compared: what the model sees.

    Returns:
        `int`: `"sat"` takes the central `image_size` of an image resized to `round(image_size * 256 / 224)`, 256 for
        224; `"wsoleval"` resizes to `image_size` and crops nothing.

    Raises:
        ValueError: If the protocol is not one of the two or the size is not positive.
    """
    return get_protocol(protocol).resized_side(image_size)


def ground_truth_boxes(
    bbox: np.ndarray, image_size: tuple[int, int], protocol: str | Protocol, frame_size: int = 224
) -> np.ndarray:
    """
    Brings true boxes from original pixels to the frame of a protocol.

    Under `"sat"` the boxes follow the resize and the centre crop, their starts are clipped to 0 and their ends to
    `frame_size - 1`. A box that lies outside the crop can so end before it starts: no prediction meets it, and its
    image counts as a miss. Under `"wsoleval"` they are scaled and not clipped. Both then truncate toward zero.

    Args:
        bbox (`np.ndarray` of shape `(num_boxes, 4)`):
            COCO boxes `(x, y, width, height)` in pixels of the original image.
        image_size (`tuple[int, int]`):
            Height and width of the original image.
        protocol (`str` or [`Protocol`]):
            `"sat"` or `"wsoleval"`.
        frame_size (`int`, *optional*, defaults to 224):
            Side of the protocol's square frame.

    Returns:
        `np.ndarray` of shape `(num_boxes, 4)`, int64: corners `(x0, y0, x1, y1)` in the frame.

    Raises:
        ValueError: If `bbox` has another shape, a negative width or height or a non-finite value, if a size is not
            positive, or if the protocol is not one of the two.
    """
    return get_protocol(protocol).ground_truth_boxes(bbox, image_size, frame_size)


def boxes_from_map(
    localization_map: torch.Tensor,
    thresholds: Sequence[float],
    protocol: str | Protocol,
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
        protocol (`str` or [`Protocol`]):
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
            `multi_contour` is asked of a protocol that scores one box an image, as `"sat"` does.
        ImportError: If the protocol is `"wsoleval"` and OpenCV is not installed.
    """
    protocol = get_protocol(protocol)
    protocol.check_frame(image_size)
    thresholds = as_thresholds(thresholds)
    if multi_contour and not protocol.scores_all_boxes:
        raise ValueError(f"`multi_contour` cannot be had under {protocol.name!r}, which scores one box an image.")
    maps = as_maps(torch.as_tensor(localization_map)[None])
    (boxes,) = protocol.cut(maps, thresholds, image_size)
    return boxes.of_all() if multi_contour else boxes.of_largest()


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


__all__ = ["as_maps", "as_thresholds", "boxes_from_map", "ground_truth_boxes", "resized_side"]
