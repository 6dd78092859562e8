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
"""The frames of the two protocols: where true boxes land, and how boxes are compared."""

import numpy as np


PROTOCOLS = ("sat", "wsoleval")

# The paper resizes to 256 and crops the centre 224.
RESIZE_PER_CROP = 256 / 224


def resized_side(protocol: str, image_size: int = 224) -> int:
    """
    Side to which a protocol resizes a picture, aspect ratio not kept, before its frame of `image_size` is cut.

    Args:
        protocol (`str`):
            `"sat"` or `"wsoleval"`.
        image_size (`int`, *optional*, defaults to 224):
            Side of the frame in which boxes are compared: what the model sees.

    Returns:
        `int`: `"sat"` takes the central `image_size` of a picture resized to `round(image_size * 256 / 224)`, 256 for
        224; `"wsoleval"` resizes to `image_size` and crops nothing.

    Raises:
        ValueError: If the protocol is not one of the two or the size is not positive.
    """
    check_protocol(protocol)
    check_frame(image_size)
    return round(image_size * RESIZE_PER_CROP) if protocol == "sat" else image_size


def ground_truth_boxes(
    bbox: np.ndarray, image_size: tuple[int, int], protocol: str, frame_size: int = 224
) -> np.ndarray:
    """
    Brings true boxes from original pixels to the frame of a protocol.

    Under `"sat"` the boxes follow the resize and the centre crop, their starts are clipped to 0 and their ends to
    `frame_size - 1`. A box that lies outside the crop can so end before it starts: no prediction meets it, and its
    image counts as a miss. Under `"wsoleval"` they are scaled and not clipped. Both then truncate toward zero.

    Args:
        bbox (`np.ndarray` of shape `(num_boxes, 4)`):
            COCO boxes `(x, y, width, height)` in pixels of the original picture.
        image_size (`tuple[int, int]`):
            Height and width of the original picture.
        protocol (`str`):
            `"sat"` or `"wsoleval"`.
        frame_size (`int`, *optional*, defaults to 224):
            Side of the protocol's square frame.

    Returns:
        `np.ndarray` of shape `(num_boxes, 4)`, int64: corners `(x0, y0, x1, y1)` in the frame.

    Raises:
        ValueError: If `bbox` has another shape, a negative width or height or a non-finite value, if a size is not
            positive, or if the protocol is not one of the two.
    """
    bbox = np.asarray(bbox, dtype=np.float64)
    if bbox.size == 0:
        bbox = bbox.reshape(0, 4)
    if bbox.ndim != 2 or bbox.shape[1] != 4:
        raise ValueError(f"`bbox` must have the shape (num_boxes, 4), got {bbox.shape}.")
    if not np.isfinite(bbox).all() or (bbox[:, 2:] < 0).any():
        raise ValueError(f"`bbox` must hold finite (x, y, width, height) with no negative side, got {bbox.tolist()}.")
    height, width = image_size
    if height <= 0 or width <= 0:
        raise ValueError(f"`image_size` must be a positive (height, width), got {tuple(image_size)}.")
    resized = resized_side(protocol, frame_size)
    corners = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)
    original = np.array([width, height, width, height], dtype=np.float64)
    if protocol == "wsoleval":
        return np.trunc(corners * resized / original).astype(np.int64)
    # The order of the operations is the published one: it decides which integer a coordinate truncates to.
    corners = corners / original * resized - (resized - frame_size) // 2
    corners[:, :2] = corners[:, :2].clip(min=0)
    corners[:, 2:] = corners[:, 2:].clip(max=frame_size - 1)
    return np.trunc(corners).astype(np.int64)


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """
    Intersection over union as both protocols count it: with 1 added to every width and height.

    Args:
        boxes (`np.ndarray` of shape `(..., 4)`):
            Corners `(x0, y0, x1, y1)`.
        others (`np.ndarray` of shape `(..., 4)`):
            Corners to compare with; the leading dimensions broadcast.

    Returns:
        `np.ndarray` of the broadcast leading shape, float64, from 0 to 1. A box that ends before it starts has IoU 0.
    """
    boxes, others = np.asarray(boxes), np.asarray(others)
    intersection = _area(np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:]))
    union = _area(boxes[..., :2], boxes[..., 2:]) + _area(others[..., :2], others[..., 2:]) - intersection
    return intersection / np.where(union > 0, union, 1)


def centered_boxes(protocol: str, image_size: int = 224) -> np.ndarray:
    """
    The predictions that look at nothing: centred squares of every side, the last of which is the whole image.

    Returns:
        `np.ndarray` of shape `(image_size, 4)`, int64: corners as the protocol writes those of its predictions, so
        row `side - 1` is the box of a centred square mask with that many pixels a side.
    """
    side = np.arange(1, image_size + 1)
    start = (image_size - side) // 2
    end = start + side
    if protocol == "wsoleval":
        end = np.minimum(end, image_size - 1)
    return np.stack([start, start, end, end], axis=1)


def check_protocol(protocol: str):
    if protocol not in PROTOCOLS:
        raise ValueError(f"`protocol` must be one of {PROTOCOLS}, got {protocol!r}.")


def check_frame(image_size: int):
    if not isinstance(image_size, int) or image_size < 2:
        raise ValueError(f"The side of the square frame must be an integer of at least 2 pixels, got {image_size!r}.")


def _area(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(end - start + 1, 0), axis=-1)


__all__ = [
    "PROTOCOLS",
    "box_iou",
    "centered_boxes",
    "check_frame",
    "check_protocol",
    "ground_truth_boxes",
    "resized_side",
]
