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
"""Stanford Cars."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from ...fields import checked, field
from ..archives import Source
from ..records import ImageRecord
from .listed import ListedReader
from .lists import corners_to_box, distinct_names, missing, optional_root
from .matlab import read_variables


CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


class StanfordCarsReader(ListedReader):
    """Stanford Cars: 196 classes of make, model and year; the two folders with a list each, or the one list for all."""

    name = "stanford-cars"
    title = "Stanford Cars"
    homepage = "https://ai.stanford.edu/~jkrause/cars/car_dataset.html"
    license = "other"
    license_text = (
        "The files come without a licence, and the owner's page is no longer online. Take it that they are for "
        "non-commercial research."
    )
    citation = """@inproceedings{krause20133d,
  title     = {3D Object Representations for Fine-Grained Categorization},
  author    = {Krause, Jonathan and Stark, Michael and Deng, Jia and Fei-Fei, Li},
  booktitle = {4th International IEEE Workshop on 3D Representation and Recognition (3dRR-13)},
  year      = {2013}
}"""
    layout = """either  cars_train.tgz and cars_test.tgz (or unpacked: cars_train/*.jpg, cars_test/*.jpg), car_devkit.tgz (or unpacked:
        devkit/{cars_meta,cars_train_annos}.mat) and cars_test_annos_withlabels.mat, which has the classes of test
or      car_ims.tgz (or unpacked: car_ims/*.jpg) and cars_annos.mat"""

    keeps_official_boxes = True

    def __init__(self, source: Source):
        super().__init__(source)
        self.in_one = self._path("cars_annos.mat", required=False)
        if self.in_one is None:
            self.meta = self._path("cars_meta.mat")
            self.lists = {
                "train": self._path("cars_train_annos.mat"),
                "test": self._path("cars_test_annos_withlabels.mat"),
            }

    @cached_property
    def class_names(self) -> list[str]:
        path = self.in_one or self.meta
        names = self._variable(path, "class_names")
        return distinct_names({number: checked(name, "class_names", str, path) for number, name in names})

    def records(self) -> Iterator[ImageRecord]:
        for split, name, entry, where in self._entries():
            label = field(entry, "class", int, where)
            if not 1 <= label <= len(self.class_names):
                raise ValueError(f"{where}: class {label} is not one of 1 to {len(self.class_names)}.")
            # the corners are stored in the smallest type that holds them, where differences would overflow
            corners = [field(entry, corner, float, where) for corner in CORNERS]
            yield ImageRecord(
                split=split,
                image_id=name.removesuffix(".jpg"),
                image=self._folder_of(name) + name,
                label=self.class_names[label - 1],
                where=where,
                boxes=[corners_to_box(*corners)],
            )

    def _entries(self) -> Iterator[tuple[str, str, Any, str]]:
        """Split, name of the image with its folder, struct, and where it says so."""
        if self.in_one is not None:
            for number, entry in self._variable(self.in_one, "annotations"):
                where = f"{self.in_one}, entry {number}"
                split = "test" if field(entry, "test", int, where) else "train"
                yield split, field(entry, "relative_im_path", str, where), entry, where
            return
        for split, path in self.lists.items():
            for number, entry in self._variable(path, "annotations"):
                where = f"{path}, entry {number}"
                yield split, f"cars_{split}/{field(entry, 'fname', str, where)}", entry, where

    def _variable(self, path: str, name: str) -> Iterator[tuple[int, Any]]:
        """Elements of a variable with their numbers from 1."""
        return enumerate(read_variables(self.source, path, name)[name], start=1)

    def _folder_of(self, name: str) -> str:
        folder = name.rpartition("/")[0]
        if folder not in self._roots:
            root = optional_root(self.source, name)
            if root is None:
                raise missing(f"{name} ({folder}.tgz)", self.layout)
            self._roots[folder] = root
        return self._roots[folder]

    @cached_property
    def _roots(self) -> dict[str, str]:
        """What is before each folder of images."""
        return {}

    def _path(self, name: str, required: bool = True) -> str | None:
        root = optional_root(self.source, name)
        if root is None and required:
            raise missing(name, self.layout)
        return None if root is None else root + name


__all__ = ["StanfordCarsReader"]
