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
"""What the numbers of a true box `(x, y, width, height)`, or the sides of a mask, tell by themselves."""

import json
import math
from typing import Any


Box = tuple[float, float, float, float]

# Corners that count from 1, and rounded ones, may lie this far past the edge, in pixels.
EDGE_TOLERANCE = 1.0

# What boxes, or one of their sides, are called in other forms.
BOX_NAMES = {"bbox", "bboxes", "box", "boxes"}
SIDE_NAMES = ({"xmin", "ymin"}, {"x_min", "y_min"}, {"x0", "y0"}, {"x1", "y1"}, {"x", "y"}, {"left", "top"})

# What rounding adds to fractions of an image.
FRACTION_TOLERANCE = 0.01


def has_no_area(box: Box) -> bool:
    """Whether a box has no area, is inverted, or not of finite numbers."""
    return not all(map(math.isfinite, box)) or box[2] <= 0 or box[3] <= 0


def is_in_fractions(box: Box) -> bool:
    """Whether a box is in fractions of its image: no object of a photograph is smaller than a pixel."""
    x, y, width, height = box
    return x >= 0 and y >= 0 and max(x + width, y + height) <= 1 + FRACTION_TOLERANCE


def is_outside(box: Box, size: tuple[int, int]) -> bool:
    """Whether nothing of a box is in an image of that width and height."""
    x, y, width, height = box
    return x >= size[0] or y >= size[1] or x + width <= 0 or y + height <= 0


def distance_past_edge(box: Box, size: tuple[int, int]) -> float:
    """By how many pixels a box reaches past the edge of an image of that width and height; negative if it does not."""
    x, y, width, height = box
    return max(-x, -y, x + width - size[0], y + height - size[1])


def have_same_proportions(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether an image of one width and height is a scaled copy of the other, give or take a pixel of either."""
    return abs(size[0] * other[1] - size[1] * other[0]) <= max(*size, *other)


def numbers(box: Box) -> str:
    """A box for a message."""
    return ", ".join(f"{number:g}" for number in box)


def looks_like_boxes(value: Any) -> bool:
    """Whether a value of a column of objects is one box or several, in any form."""
    if isinstance(value, str):
        inside = from_json(value)
        if isinstance(inside, list | dict):
            return looks_like_boxes(inside)
        return _is_box(value.strip("[]() ").replace(",", " ").split())
    if isinstance(value, dict):
        names = {name.lower() for name, inside in value.items() if inside not in (None, [], "")}
        return not names.isdisjoint(BOX_NAMES) or any(names >= sides for sides in SIDE_NAMES)
    return isinstance(value, list) and (_is_box(value) or (len(value) > 0 and all(map(looks_like_boxes, value))))


def from_json(text: str) -> Any:
    """What a text holds as JSON; the text itself if it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _is_box(values: list) -> bool:
    """Whether these are four numbers, which may stand as text."""
    try:
        return len(values) == 4 and all(float(value) == float(value) for value in values)
    except (TypeError, ValueError):
        return False


__all__ = [
    "EDGE_TOLERANCE",
    "distance_past_edge",
    "from_json",
    "has_no_area",
    "have_same_proportions",
    "is_in_fractions",
    "is_outside",
    "looks_like_boxes",
    "numbers",
]
