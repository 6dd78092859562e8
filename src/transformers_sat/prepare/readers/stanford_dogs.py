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
"""Stanford Dogs."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from ...fields import checked
from ..archives import Source
from ..records import ImageRecord
from .listed import ListedReader
from .lists import distinct_names, missing, required_root
from .matlab import read_variables
from .voc_xml import read_annotation


# Split and list.
LISTS = {"train": "train_list.mat", "test": "test_list.mat"}


class StanfordDogsReader(ListedReader):
    """Stanford Dogs: 120 breeds, an XML file of boxes for each image."""

    name = "stanford-dogs"
    title = "Stanford Dogs"
    homepage = "http://vision.stanford.edu/aditya86/ImageNetDogs/"
    license = "other"
    license_text = (
        "The owner grants no licence with the files; see the homepage. The images are from ImageNet, whose terms of "
        "access allow non-commercial research and educational purposes only."
    )
    citation = """@inproceedings{khosla2011novel,
  title     = {Novel Dataset for Fine-Grained Image Categorization},
  author    = {Khosla, Aditya and Jayadevaprakash, Nityananda and Yao, Bangpeng and Fei-Fei, Li},
  booktitle = {First Workshop on Fine-Grained Visual Categorization, Conference on Computer Vision and Pattern Recognition},
  year      = {2011}
}"""
    layout = """images.tar        or unpacked: Images/<synset>-<breed>/<image>.jpg
annotation.tar    or unpacked: Annotation/<synset>-<breed>/<image>, XML without an ending
lists.tar         or unpacked: train_list.mat, test_list.mat"""

    keeps_official_boxes = True

    def __init__(self, source: Source):
        super().__init__(source)
        self.lists_root = required_root(source, self.layout, *LISTS.values())
        self.images_root = self._root_of("Images/", "images.tar")
        self.boxes_root = self._root_of("Annotation/", "annotation.tar")

    @property
    def class_names(self) -> list[str]:
        return list(self._names.values())

    @cached_property
    def _names(self) -> dict[str, str]:
        """Name of each class by the folder of its images, in the order of the numbers in the lists."""
        folders = {}
        for rows in self._rows.values():
            for where, name, number in rows:
                folder = name.partition("/")[0]
                if folders.setdefault(number, folder) != folder:
                    raise ValueError(f"{where}: class {number} is {folder} here and {folders[number]} elsewhere.")
        names = {folders[number]: _breed(folders[number]) for number in sorted(folders)}
        return dict(zip(names, distinct_names(names)))

    def records(self) -> Iterator[ImageRecord]:
        for split, rows in self._rows.items():
            for where, name, _ in rows:
                label = self._names[name.partition("/")[0]]
                yield ImageRecord(split, name.rpartition(".")[0], self.images_root + name, label, where)

    def annotate(self, record: ImageRecord) -> ImageRecord:
        annotation = read_annotation(self.source, self.boxes_root + record.image_id)
        return replace(record, boxes=[entry.box for entry in annotation.objects] or None, size=annotation.size)

    @cached_property
    def _rows(self) -> dict[str, list[tuple[str, str, int]]]:
        """For each split where it says so, the image below `Images` and the number of its class."""
        return {split: list(self._read_rows(self.lists_root + name)) for split, name in LISTS.items()}

    def _read_rows(self, path: str) -> Iterator[tuple[str, str, int]]:
        files, labels = read_variables(self.source, path, "file_list", "labels").values()
        if len(files) != len(labels):
            raise ValueError(f"{path}: {len(files)} names in `file_list`, but {len(labels)} in `labels`.")
        for number, (file, label) in enumerate(zip(files, labels), start=1):
            where = f"{path}, entry {number}"
            yield where, checked(file, "file_list", str, where), checked(label, "labels", int, where)

    def _root_of(self, folder: str, archive: str) -> str:
        for path in self.source.paths():
            before, found, _ = f"/{path}".partition(f"/{folder}")
            if found:
                return f"{before}/{folder}".removeprefix("/")
        raise missing(f"{archive} ({folder})", self.layout)


def _breed(folder: str) -> str:
    """`n02113624-toy_poodle` as `toy poodle`."""
    return (folder.partition("-")[2] or folder).replace("_", " ")


__all__ = ["StanfordDogsReader"]
