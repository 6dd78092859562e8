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
"""Images annotated with Label Studio, as its JSON and JSON-MIN exports have them."""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property

from ..archives import Source
from ..records import ImageRecord, Reader
from .image_files import format_problem, looks_like_image
from .json_text import parse_json
from .label_studio_images import TaskImages
from .label_studio_tasks import Annotation, annotation_of, is_task, tasks_of
from .lists import log_left_out, missing, problem_of, split_of


class LabelStudioReader(Reader):
    """
    The files that Label Studio exports as JSON or JSON-MIN, one or several, with their images.

    An image has one class here: what was chosen for it (`choices`), or else what all of its regions are labelled. Images
    with several classes, or without a box where no class was chosen, are left out; how many is logged. Rectangles are
    boxes, turned ones and polygons become the boxes around them; other regions count as their class, and have no box.
    """

    name = "label-studio"
    title = "Images of one class annotated with Label Studio"
    layout = """<export>.json      as Label Studio exports it: JSON or JSON-MIN; train.json, valid.json and test.json are splits
<image>            the images by name, in any folder; with or without the eight characters that an upload puts before it"""

    def __init__(self, source: Source):
        super().__init__(source)
        self._named: set[str] = set()
        self.files = {}
        for path in source.paths():
            if path.lower().endswith(".json"):
                contents = parse_json(source.read(path), path)
                if isinstance(contents, list) and any(map(is_task, contents)):
                    self.files[path] = tasks_of(contents, path)
        if not self.files:
            raise missing("A list of tasks, as Label Studio exports it as JSON,", self.layout)

    @cached_property
    def class_names(self) -> list[str]:
        return sorted({record.label for record in self._images if record.problem is None})

    def records(self) -> Iterator[ImageRecord]:
        yield from self._images

    def left_over(self) -> Iterator[tuple[str, str]]:
        for path in self.source.paths():
            if looks_like_image(path) and path not in self._named:
                yield path, "which no task names"

    @cached_property
    def _images(self) -> list[ImageRecord]:
        records, left_out, total = [], Counter(), 0
        images = TaskImages(self.source)
        for file, tasks in self.files.items():
            for where, task in tasks:
                total += 1
                annotation, problem = None, None
                image = where
                try:
                    image = images.find(task, where)
                    self._named.add(image)
                    annotation = annotation_of(task, where)
                except ValueError as error:
                    problem = problem_of(error, where)
                reason = _reason_to_leave_out(annotation) if problem is None else None
                if reason is None:
                    records.append(_record(file, image, where, annotation or Annotation(), problem))
                else:
                    left_out[reason] += 1
        log_left_out(left_out, total)
        return records


def _reason_to_leave_out(annotation: Annotation | None) -> str | None:
    if annotation is None:
        return "without an annotation"
    if len(annotation.classes) != 1:
        return "with several classes" if annotation.classes else "without a class"
    return None if annotation.boxes or annotation.is_chosen else "without a box"


def _record(file: str, image: str, where: str, annotation: Annotation, problem: tuple[str, str] | None) -> ImageRecord:
    return ImageRecord(
        split=split_of(image, default=split_of(f"{file.rpartition('.')[0]}/")),
        image_id=image,
        image=image,
        label="".join(annotation.classes),
        where=where,
        boxes=annotation.boxes or None,
        size=annotation.size,
        problem=format_problem(image) or problem,
    )


__all__ = ["LabelStudioReader"]
