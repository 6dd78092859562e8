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

from collections import Counter

from ..box_values import EDGE_TOLERANCE, distance_past_edge, has_no_area, is_in_fractions, is_outside, numbers
from .archives import Source
from .records import ImageRecord


KINDS = {
    "duplicate_id": "an image id that was there before",
    "missing_file": "a file of the lists that is not in the source",
    "unknown_class": "a class that is not among the data set's",
    "empty_class": "a class without images",
    "unreadable_annotation": "a file of annotations that is missing or cannot be read",
    "undecodable": "an image or mask that cannot be decoded",
    "size_mismatch": "a size in the lists that is not the image's",
    "mask_size": "a mask of other proportions than the image",
    "empty_box": "a box without area, smaller than a pixel, inverted, or not of finite numbers",
    "box_outside": "a box that lies or reaches outside its image",
}

# Far beyond any image that is decoded. Official boxes may reach past the edge, but not out of the type of their column.
LARGEST_COORDINATE = 1e9

NUM_EXAMPLES = 5


class InvalidImage(ValueError):
    """
    A problem of a data set.

    Args:
        kind (`str`): one of `KINDS`.
        message (`str`): what is wrong.
        where (`str`): file and line.
        image_id (`str`, *optional*): the image's, if it is one image's problem.
        image (`str`, *optional*): path of its file in the source.
    """

    def __init__(self, kind: str, message: str, where: str, image_id: str | None = None, image: str | None = None):
        super().__init__(kind, message, where, image_id, image)
        self.kind, self.message, self.where, self.image_id, self.image = kind, message, where, image_id, image

    @classmethod
    def of(cls, record: ImageRecord, kind: str, message: str) -> "InvalidImage":
        return cls(kind, message, record.where, record.image_id, record.image)

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

    def add(self, problem: InvalidImage):
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


def check_listing(record: ImageRecord, source: Source, class_names: dict[str, int]):
    """
    Checks what the lists alone can tell of an image.

    Raises:
        [`InvalidImage`]
    """
    if record.problem is not None:
        raise InvalidImage.of(record, *record.problem)
    for file in (record.image, *record.masks, *record.ignore_masks):
        if file not in source:
            raise InvalidImage.of(record, "missing_file", f"there is no file {file} in the source.")
    check_classes(record, class_names)
    check_boxes(record, None)


def check_classes(record: ImageRecord, class_names: dict[str, int]):
    """Checks that the classes of an image and of its boxes are the data set's."""
    for label in (record.label, *(record.categories or ())):
        if label not in class_names:
            raise InvalidImage.of(
                record,
                "unknown_class",
                f"{record.image} has the class {label!r}, which the data set's classes lack.",
            )
    if record.categories is not None and len(record.categories) != len(record.boxes or ()):
        raise InvalidImage.of(
            record,
            "unreadable_annotation",
            f"{record.image} has {len(record.categories)} categories for {len(record.boxes or ())} boxes.",
        )


def check_boxes(record: ImageRecord, size: tuple[int, int] | None, keeps_official_boxes: bool = False) -> int:
    """
    Checks the boxes of an image.

    Args:
        image ([`ImageRecord`]): the image.
        size (`(width, height)`, *optional*): in pixels, as the boxes count them; only their own shape is checked without.
        keeps_official_boxes (`bool`, *optional*, defaults to `False`):
            Whether boxes may reach past the edge, as long as some of them is inside.

    Returns:
        `int`: number of boxes that reach past the edge by more than a pixel.

    Raises:
        [`InvalidImage`]
    """
    num_past_edge = 0
    for box in record.boxes or ():
        if has_no_area(box):
            raise InvalidImage.of(
                record, "empty_box", f"the box x, y, width, height = {numbers(box)} of {record.image} has no area."
            )
        if is_in_fractions(box):
            raise InvalidImage.of(
                record,
                "empty_box",
                f"the box x, y, width, height = {numbers(box)} of {record.image} lies within one pixel; multiply boxes "
                "from 0 to 1 by the image's width and height.",
            )
        if size is None:
            continue
        distance = distance_past_edge(box, size)
        past_edge = distance > EDGE_TOLERANCE
        if is_outside(box, size) or (past_edge and not keeps_official_boxes) or distance > LARGEST_COORDINATE:
            raise InvalidImage.of(
                record,
                "box_outside",
                f"the box x, y, width, height = {numbers(box)} reaches outside {record.image}, which has {size[0]} x "
                f"{size[1]} pixels.",
            )
        num_past_edge += past_edge
    return num_past_edge


__all__ = ["KINDS", "InvalidImage", "ProblemReport", "check_boxes", "check_classes", "check_listing"]
