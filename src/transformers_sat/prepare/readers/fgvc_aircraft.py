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
"""FGVC-Aircraft."""

from collections.abc import Iterator
from functools import cached_property

from ...fields import as_number, shown
from ..archives import Source
from ..records import ImageRecord
from .listed import ListedReader
from .lists import corners_to_box, distinct_names, problem_of, read_fields, required_root


# Split and list.
LISTS = {
    "train": "images_variant_train.txt",
    "validation": "images_variant_val.txt",
    "test": "images_variant_test.txt",
}


class AircraftReader(ListedReader):
    """FGVC-Aircraft: 100 variants, the official three splits, one box an image. The banner with the copyright stays."""

    name = "fgvc-aircraft"
    title = "FGVC-Aircraft"
    homepage = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/"
    license = "other"
    license_text = (
        "The owner states that the images were made available for non-commercial research purposes only; their "
        "photographers, named in the banner at the bottom of each, keep the copyright."
    )
    citation = """@techreport{maji2013fine,
  title       = {Fine-Grained Visual Classification of Aircraft},
  author      = {Maji, Subhransu and Rahtu, Esa and Kannala, Juho and Blaschko, Matthew and Vedaldi, Andrea},
  institution = {arXiv:1306.5151},
  year        = {2013}
}"""
    layout = """fgvc-aircraft-2013b.tar.gz    or unpacked: fgvc-aircraft-2013b/data/{images_variant_train.txt,images_variant_val.txt,
                              images_variant_test.txt,images_box.txt,variants.txt,images/*.jpg}"""

    keeps_official_boxes = True

    def __init__(self, source: Source):
        super().__init__(source)
        self.root = required_root(source, self.layout, *LISTS.values(), "images_box.txt", "variants.txt")

    @cached_property
    def class_names(self) -> list[str]:
        names = [text.strip() for _, text in self.source.lines(self.root + "variants.txt")]
        return distinct_names({str(number): name for number, name in enumerate(names)})

    def records(self) -> Iterator[ImageRecord]:
        boxes, known = self._boxes(), set(self.class_names)
        for split, path in LISTS.items():
            for where, (name, variant) in read_fields(self.source, self.root + path, 2):
                record = ImageRecord(split, name, f"{self.root}images/{name}.jpg", variant, where)
                if variant not in known:
                    record.problem = ("unknown_class", f"{shown(variant)} is not in {self.root}variants.txt.")
                elif name not in boxes:
                    record.problem = ("unreadable_annotation", f"there is no line of it in {self.root}images_box.txt.")
                else:
                    try:
                        record.boxes = [_read_box(*boxes[name])]
                    except ValueError as error:
                        record.problem = problem_of(error, where)
                yield record

    def _boxes(self) -> dict[str, tuple[str, str]]:
        """Line and corners of the box of each image."""
        rows = read_fields(self.source, self.root + "images_box.txt", 2)
        return {name: (where, corners) for where, (name, corners) in rows}


def _read_box(where: str, text: str) -> tuple[float, float, float, float]:
    corners = text.split()
    if len(corners) != 4:
        raise ValueError(f"{where}: a name and four corners expected, got {shown(text)}.")
    return corners_to_box(*(as_number(corner, where, "box", float) for corner in corners))


__all__ = ["AircraftReader"]
