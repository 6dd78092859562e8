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
"""CUB-200-2011, with the 1000 images of CUBV2 as validation split where they are given."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import PIL.Image

from ...fields import as_number, shown
from ..archives import Source
from ..records import ImageRecord
from .listed import ListedReader
from .lists import optional_root, problem_of, read_fields, required_root, without_number
from .wsoleval_split import WsolevalSplit


LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "classes.txt")
VALIDATION = "CUB/val/image_ids.txt"


class CubReader(ListedReader):
    """CUB-200-2011: one box an image, the official split, and masks if the segmentations are in the source."""

    name = "cub"
    title = "CUB-200-2011"
    homepage = "https://www.vision.caltech.edu/datasets/cub_200_2011/"
    license = "other"
    license_text = (
        "The owner grants no licence with the files; the images are their photographers'. The set is given out for "
        "non-commercial research and education; see the homepage. CUBV2, if it is part of this copy: annotations by NAVER "
        "Corp. under CC BY 2.0, images under the licences that wsolevaluation lists."
    )
    citation = """@techreport{wah2011caltech,
  title       = {The Caltech-UCSD Birds-200-2011 Dataset},
  author      = {Wah, Catherine and Branson, Steve and Welinder, Peter and Perona, Pietro and Belongie, Serge},
  institution = {California Institute of Technology},
  number      = {CNS-TR-2011-001},
  year        = {2011}
}"""
    layout = """CUB_200_2011.tgz     or unpacked: CUB_200_2011/{images.txt,classes.txt,...,images/}
segmentations.tgz    or unpacked: segmentations/<class>/<image>.png, if masks are wanted
metadata/CUB/val/    of wsolevaluation, and CUBV2.tar (or unpacked), if the validation images are wanted"""

    keeps_official_boxes = True

    def __init__(self, source: Source):
        super().__init__(source)
        self.root = required_root(source, self.layout, *LISTS)
        self.segmentations = self._find_segmentations()
        self.has_masks = self.segmentations is not None
        validation = optional_root(source, VALIDATION)
        self.validation = None if validation is None else WsolevalSplit(source, f"{validation}CUB/val/")

    @cached_property
    def class_names(self) -> list[str]:
        return list(self._classes.values())

    def records(self) -> Iterator[ImageRecord]:
        tables = [self._by_number(name) for name in LISTS[1:4]]
        for where, (number, name) in read_fields(self.source, self.root + "images.txt", 2):
            record = ImageRecord("train", name, f"{self.root}images/{name}", "", where)
            if self.has_masks:
                record.masks = (f"{self.segmentations}{name.rpartition('.')[0]}.png",)
            try:
                self._add_annotations(record, number, tables)
            except ValueError as error:
                record.problem = problem_of(error, where)
            yield record
        if self.validation is not None:
            yield from self.validation.records(self.class_names)

    def object_pixels(self, mask: PIL.Image.Image) -> np.ndarray:
        """The bird, where most of those who drew it agree: the segmentations are grey levels of agreement."""
        return np.asarray(mask.convert("L")) > 127

    @cached_property
    def _classes(self) -> dict[str, str]:
        rows = read_fields(self.source, self.root + "classes.txt", 2)
        return {number: without_number(folder) for _, (number, folder) in rows}

    def _by_number(self, name: str) -> dict[str, tuple[str, str]]:
        """Line and contents of a list, by the number of the image."""
        rows = read_fields(self.source, self.root + name, 2)
        return {number: (where, rest) for where, (number, rest) in rows}

    def _add_annotations(self, record: ImageRecord, number: str, tables: list[dict[str, tuple[str, str]]]):
        for path, table in zip(LISTS[1:4], tables):
            if number not in table:
                raise ValueError(f"{record.where}: image {number} has no line in {self.root}{path}.")
        (where, label), part, box = (table[number] for table in tables)
        record.split, record.boxes = self._split(*part), [self._box(*box)]
        record.label = self._classes.get(label, "")
        if label not in self._classes:
            record.problem = ("unknown_class", f"{where}: class {shown(label)} is not in {self.root}classes.txt.")

    def _split(self, where: str, text: str) -> str:
        if text not in ("0", "1"):
            raise ValueError(f"{where}: 0 (test) or 1 (train) expected, got {shown(text)}.")
        return "train" if text == "1" else "test"

    def _box(self, where: str, text: str) -> tuple[float, ...]:
        numbers = text.split()
        if len(numbers) != 4:
            raise ValueError(f"{where}: x, y, width and height expected, got {shown(text)}.")
        return tuple(as_number(number, where, "box", float) for number in numbers)

    def _find_segmentations(self) -> str | None:
        for path in self.source.paths():
            if path.endswith(".png") and "segmentations/" in path:
                return path[: path.rindex("segmentations/") + len("segmentations/")]
        return None


__all__ = ["CubReader"]
