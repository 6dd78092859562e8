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
"""Detection data as YOLO programs have them: a text file of boxes for each image, and what tells the classes' names."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from ...model.images_sat import opened_image, upright_size
from ..archives import Source
from ..records import ImageRecord, Reader
from .image_files import format_problem, looks_like_image
from .lists import log_left_out, problem_of
from .yolo_lists import labels_of, open_lists


class YoloReader(Reader):
    """
    What Roboflow, Ultralytics and others export for YOLO, and what labelImg writes in its form.

    An image has one class here. So what is taken are the images whose boxes are all of one class, whatever their number.
    Outlines become the boxes around them; key points (`kpt_shape`) are left out. How many images that leaves out is logged.
    """

    name = "yolo"
    title = "Images of one class in YOLO's form"
    layout = """data.yaml              names: [cat, dog], and train: images/train and the like: folders, or lists of images
images/<split>/*.jpg   or <split>/images/*.jpg
labels/<split>/*.txt   or <split>/labels/*.txt: a line `class x y width height` for each box, centre and size in fractions
or, as labelImg writes it, without data.yaml: classes.txt, a class on each line, and *.txt beside the images; a folder
train/, valid/ or test/ around them is the split"""

    def __init__(self, source: Source):
        super().__init__(source)
        self.lists = open_lists(source, self.layout)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes that some image is of, by their numbers in the file."""
        used = {record.label for record in self._images if record.problem is None}
        return [name for name in self.lists.class_names if name in used]

    def records(self) -> Iterator[ImageRecord]:
        yield from self._images

    def annotate(self, record: ImageRecord) -> ImageRecord:
        """The boxes are in fractions of the image: only its own size tells where they are."""
        content = self.source.read(record.image)
        try:
            with opened_image(content, record.image) as image:
                width, height = upright_size(image)
        except ValueError:
            # told where it is decoded
            return record
        boxes = [box for _, box in self._boxes(record.image)]
        return replace(record, boxes=[(x * width, y * height, w * width, h * height) for x, y, w, h in boxes])

    def left_over(self) -> Iterator[tuple[str, str]]:
        listed = {image for _, image, _ in self.lists.images()}
        for path in self.source.paths():
            if looks_like_image(path) and path not in listed:
                yield path, "which are in no split"

    @cached_property
    def _images(self) -> list[ImageRecord]:
        records, left_out, total = [], Counter(), 0
        for split, image, where in self.lists.images():
            total += 1
            label, problem = "", format_problem(image)
            try:
                classes = {number for number, _ in self._boxes(image)}
            except ValueError as error:
                problem = problem or problem_of(error, where)
            else:
                if len(classes) != 1:
                    left_out["with several classes" if classes else "without a box"] += 1
                    continue
                number = classes.pop()
                file, names = self.lists.names_for(labels_of(self.source, image))
                label = names.get(number, "")
                if number not in names:
                    problem = problem or ("unknown_class", f"there is no class {number} in {file}.")
            records.append(ImageRecord(split, image, image, label, where, problem=problem))
        for split, place, where, message in self.lists.not_there():
            records.append(ImageRecord(split, place, place, "", where, problem=("missing_file", message)))
        log_left_out(left_out, total)
        return records

    def _boxes(self, image: str) -> list[tuple[int, tuple[float, float, float, float]]]:
        """Class and box `(x, y, width, height)`, in fractions, of each line of an image's file."""
        labels = labels_of(self.source, image)
        return [] if labels is None else self.lists.read_boxes(labels)


__all__ = ["YoloReader"]
