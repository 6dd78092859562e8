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
"""Boxes as the `wsoleval` protocol cuts them: contours of a map of 256 grey levels, by OpenCV."""

import numpy as np
import torch

from ..extras import install_hint
from .map_boxes import MapBoxes


def load_opencv():
    """OpenCV, which nothing but the `wsoleval` protocol needs."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            'The "wsoleval" protocol resizes maps and finds contours with OpenCV, which is not installed: '
            f"{install_hint('eval')}"
        ) from error
    return cv2


def resize_and_normalize(localization_map: torch.Tensor, image_size: int) -> np.ndarray:
    """
    Resizes one map bicubically, then stretches it to the range from 0 to 1, ends included.

    Args:
        localization_map (`torch.Tensor` of shape `(height, width)`):
            Values of any range. float64 is kept; everything else is computed in float32.
        image_size (`int`):
            Side of the protocol's frame.

    Returns:
        `np.ndarray` of shape `(image_size, image_size)`: zeros if the map is constant or holds a NaN or an infinity, be it
        after the resize only.
    """
    dtype = torch.float64 if localization_map.dtype == torch.float64 else torch.float32
    array = localization_map.to(dtype).numpy()
    # A constant map is caught before the resize, whose rounding would otherwise be stretched into a pattern.
    if not np.isfinite(array).all() or array.min() == array.max():
        return np.zeros((image_size, image_size), dtype=array.dtype)
    resized = resize_cubic(array, image_size)
    smallest, largest = resized.min(), resized.max()
    with np.errstate(over="ignore", invalid="ignore"):
        spread = largest - smallest
    if spread == 0 or not np.isfinite(spread):
        return np.zeros_like(resized)
    return (resized - smallest) / spread


def resize_cubic(array: np.ndarray, image_size: int) -> np.ndarray:
    """A map at the size of the frame. Near the largest number of its type it overflows to infinities and NaN."""
    cv2 = load_opencv()
    return cv2.resize(array, (image_size, image_size), interpolation=cv2.INTER_CUBIC)


def contour_boxes(scores: np.ndarray, thresholds: np.ndarray) -> MapBoxes:
    """
    Boxes of all contours of one map, once for each of the at most 256 grey levels that the thresholds amount to.

    Args:
        scores (`np.ndarray` of shape `(image_size, image_size)`):
            Map in the protocol's frame, from 0 to 1, as `resize_and_normalize` gives it.
        thresholds (`np.ndarray` of shape `(num_thresholds,)`):
            Fractions of the map's maximum.

    Returns:
        [`MapBoxes`]: boxes of outer and inner contours. The largest contour is the one with the largest area. Far ends
        are clipped to `image_size - 1`, and a level that nothing exceeds has the one box `[0, 0, 0, 0]`.
    """
    cv2 = load_opencv()
    grey = (scores * 255).astype(np.uint8)
    levels, level_of_threshold = np.unique((thresholds * int(grey.max())).astype(np.int64), return_inverse=True)
    # Contours are looked for only in the rows and columns that hold foreground at a level, and shifted back.
    top, bottom = _ranges_above(grey.max(axis=1), levels)
    left, right = _ranges_above(grey.max(axis=0), levels)

    rectangles, first, largest = [], [], []
    for level, x0, y0, x1, y1 in zip(levels.tolist(), left, top, right, bottom, strict=True):
        mask = (grey[y0:y1, x0:x1] > level).view(np.uint8)
        # Two results since OpenCV 4, three before; the contours are the last but one.
        contours = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))[-2] if x1 else ()
        first.append(len(rectangles))
        areas = [cv2.contourArea(contour) for contour in contours] if len(contours) > 1 else [0.0]
        largest.append(len(rectangles) + areas.index(max(areas)))
        rectangles += [cv2.boundingRect(contour) for contour in contours] or [(0, 0, 0, 0)]
    boxes = np.array(rectangles, dtype=np.int64)
    boxes[:, 2:] = np.minimum(boxes[:, :2] + boxes[:, 2:], len(scores) - 1)
    return MapBoxes(boxes, np.array(first), np.array(largest), level_of_threshold)


def _ranges_above(maxima: np.ndarray, levels: np.ndarray) -> tuple[list[int], list[int]]:
    """For each level the first of the rows or columns that exceed it, and the last plus one; 0 and 0 if none does."""
    above = maxima > levels[:, None]
    ends = np.where(above.any(axis=1), above.shape[1] - above[:, ::-1].argmax(axis=1), 0)
    return above.argmax(axis=1).tolist(), ends.tolist()


__all__ = ["contour_boxes", "load_opencv", "resize_and_normalize"]
