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
"""What can be wrong with a data set, and with whom a message about it is any help: file, line and kind."""

import math
from collections import Counter

from .archives import Source
from .records import Picture


KINDS = {
    "duplicate_id": "an image id that was there before",
    "missing_file": "a file of the lists that is not in the source",
    "unknown_class": "a class that is not among the data set's",
    "empty_class": "a class without pictures",
    "unreadable_annotation": "a file of annotations that is missing or cannot be read",
    "undecodable": "a picture or mask that cannot be decoded",
    "size_mismatch": "a size in the lists that is not the picture's",
    "mask_size": "a mask of other proportions than the picture",
    "empty_box": "a box without area, inverted, or not of finite numbers",
    "box_outside": "a box that lies or reaches outside its picture",
}

# Far beyond any picture that is decoded. Official boxes may reach past the edge, but not out of the type of their column.
LARGEST_COORDINATE = 1e9

# Corners that count from 1, and rounded ones, may lie this far past the edge.
EDGE_TOLERANCE = 1.0

NUM_EXAMPLES = 5


class InvalidPicture(ValueError):
    """
    A problem of a data set.

    Args:
        kind (`str`): one of `KINDS`.
        message (`str`): what is wrong.
        where (`str`): file and line.
        image_id (`str`, *optional*): the picture's, if it is one picture's problem.
        image (`str`, *optional*): path of its file in the source.
    """

    def __init__(self, kind: str, message: str, where: str, image_id: str | None = None, image: str | None = None):
        super().__init__(kind, message, where, image_id, image)
        self.kind, self.message, self.where, self.image_id, self.image = kind, message, where, image_id, image

    @classmethod
    def of(cls, picture: Picture, kind: str, message: str) -> "InvalidPicture":
        return cls(kind, message, picture.where, picture.image_id, picture.image)

    def __str__(self) -> str:
        return f"{self.where}: {self.message} ({self.kind})"

    def as_record(self) -> dict[str, str]:
        """The line of `skipped.jsonl`."""
        return {name: getattr(self, name) for name in ("image_id", "image", "kind", "message", "where")}


class ProblemReport:
    """Counts problems by kind, and keeps some examples of each."""

    def __init__(self):
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return self.counts.total()

    def add(self, problem: InvalidPicture):
        self.counts[problem.kind] += 1
        examples = self.examples.setdefault(problem.kind, [])
        if len(examples) < NUM_EXAMPLES:
            examples.append(f"{problem.where}: {problem.message}")

    def __str__(self) -> str:
        lines = []
        for kind, meaning in KINDS.items():
            if count := self.counts[kind]:
                lines.append(f"{kind}: {count} ({meaning})")
                lines.extend(f"  {example}" for example in self.examples[kind])
                if count > NUM_EXAMPLES:
                    lines.append(f"  ... and {count - NUM_EXAMPLES} more")
        return "\n".join(lines)


def check_listing(picture: Picture, source: Source, class_names: dict[str, int]):
    """
    Checks what the lists alone can tell of a picture.

    Raises:
        [`InvalidPicture`]
    """
    for file in (picture.image, *picture.masks, *picture.ignore_masks):
        if file not in source:
            raise InvalidPicture.of(picture, "missing_file", f"there is no file {file} in the source.")
    check_classes(picture, class_names)
    check_boxes(picture, None)


def check_classes(picture: Picture, class_names: dict[str, int]):
    """Checks that the classes of a picture and of its boxes are the data set's."""
    for label in (picture.label, *(picture.categories or ())):
        if label not in class_names:
            raise InvalidPicture.of(
                picture,
                "unknown_class",
                f"{picture.image} has the class {label!r}, which the data set's classes lack.",
            )
    if picture.categories is not None and len(picture.categories) != len(picture.boxes or ()):
        raise InvalidPicture.of(
            picture,
            "unreadable_annotation",
            f"{picture.image} has {len(picture.categories)} categories for {len(picture.boxes or ())} boxes.",
        )


def check_boxes(picture: Picture, size: tuple[int, int] | None, keeps_official_boxes: bool = False) -> int:
    """
    Checks the boxes of a picture.

    Args:
        picture ([`Picture`]): the picture.
        size (`(width, height)`, *optional*): in pixels, as the boxes count them; only their own shape is checked without.
        keeps_official_boxes (`bool`, *optional*, defaults to `False`):
            Whether boxes may reach past the edge, as long as some of them is inside.

    Returns:
        `int`: number of boxes that reach past the edge by more than a pixel.

    Raises:
        [`InvalidPicture`]
    """
    num_past_edge = 0
    for box in picture.boxes or ():
        x, y, width, height = box
        if not all(map(math.isfinite, box)) or width <= 0 or height <= 0:
            raise InvalidPicture.of(
                picture, "empty_box", f"the box x, y, width, height = {_numbers(box)} of {picture.image} has no area."
            )
        if size is None:
            continue
        overlaps = x < size[0] and y < size[1] and x + width > 0 and y + height > 0
        distance = max(-x, -y, x + width - size[0], y + height - size[1])
        past_edge = distance > EDGE_TOLERANCE
        if not overlaps or (past_edge and not keeps_official_boxes) or distance > LARGEST_COORDINATE:
            raise InvalidPicture.of(
                picture,
                "box_outside",
                f"the box x, y, width, height = {_numbers(box)} reaches outside {picture.image}, which has {size[0]} x "
                f"{size[1]} pixels.",
            )
        num_past_edge += past_edge
    return num_past_edge


def _numbers(box: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in box)


__all__ = ["KINDS", "InvalidPicture", "ProblemReport", "check_boxes", "check_classes", "check_listing"]
