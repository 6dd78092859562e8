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
"""ImageNet's classification and localization set (ILSVRC 2012, CLS-LOC), in both forms that it is given out in."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from ...fields import as_number, field, shown
from ..archives import Source
from ..records import ImageRecord
from .listed import ListedReader
from .lists import distinct_names, missing, optional_root, read_fields
from .matlab import read_variables
from .voc_xml import read_annotation
from .wsoleval_split import WsolevalSplit


VALIDATION = "ILSVRC/val/image_ids.txt"

# What tells the tree with the lists from the archives by year.
TREE_LIST = "ImageSets/CLS-LOC/train_cls.txt"

TRAIN_IMAGE = re.compile(r"(.*/|)(n\d{8})/\2_\d+\.JPEG")
TRAIN_BOXES = re.compile(r"(.*/|)(n\d{8})/\2_\d+\.xml")
TEST_IMAGE = re.compile(r".*?(ILSVRC2012_val_\d{8})\.JPEG")
TEST_BOXES = re.compile(r".*?(ILSVRC2012_val_\d{8})\.xml")


class ImageNetReader(ListedReader):
    """
    ILSVRC 2012 CLS-LOC: classes in the order of their synsets, `train` with boxes where there are any, the 50 000
    validation images as `test`, which is what weakly supervised localization is measured on, and ImageNetV2 as
    `validation` where it is given.

    A million XML files are read image by image, not before.
    """

    name = "ilsvrc"
    title = "ILSVRC 2012 CLS-LOC (ImageNet)"
    homepage = "https://image-net.org/challenges/LSVRC/2012/"
    license = "other"
    license_text = (
        "ImageNet's terms of access: for non-commercial research and educational purposes only; ImageNet does not own the "
        "copyright of the images. ImageNetV2, if it is part of this copy: boxes by NAVER Corp. under CC BY 2.0, images "
        "as its homepage (https://github.com/modestyachts/ImageNetV2) states."
    )
    citation = """@article{russakovsky2015imagenet,
  title   = {{ImageNet} Large Scale Visual Recognition Challenge},
  author  = {Russakovsky, Olga and Deng, Jia and Su, Hao and Krause, Jonathan and Satheesh, Sanjeev and Ma, Sean and
             Huang, Zhiheng and Karpathy, Andrej and Khosla, Aditya and Bernstein, Michael and Berg, Alexander C. and
             Fei-Fei, Li},
  journal = {International Journal of Computer Vision},
  volume  = {115},
  number  = {3},
  pages   = {211--252},
  year    = {2015}
}"""
    layout = """either  ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, ILSVRC2012_bbox_val_v3.tgz,
        ILSVRC2012_devkit_t12.tar.gz and, for boxes in train, ILSVRC2012_bbox_train_v2.tar.gz
or      ILSVRC/{Data,Annotations,ImageSets}/CLS-LOC/... with LOC_synset_mapping.txt (and LOC_val_solution.csv)
with    metadata/ILSVRC/val/ of wsolevaluation and imagenetv2-threshold0.7 (.tar.gz or unpacked), if the validation
        images are wanted"""

    keeps_official_boxes = True

    def __init__(self, source: Source):
        super().__init__(source)
        self._find_files()
        tree = optional_root(source, TREE_LIST)
        self.lists = _ArchiveLists(self) if tree is None else _TreeLists(self, tree)
        validation = optional_root(source, VALIDATION)
        self.validation = None if validation is None else WsolevalSplit(source, f"{validation}ILSVRC/val/")

    @cached_property
    def class_names(self) -> list[str]:
        return distinct_names(self._words)

    def records(self) -> Iterator[ImageRecord]:
        for split, records in (("train", self.lists.train()), ("test", self.lists.test())):
            for where, synset, image in records:
                yield ImageRecord(split, _stem(image), image, self._name_of(synset, where), where)
        if self.validation is not None:
            yield from self.validation.records(self.class_names)

    def annotate(self, record: ImageRecord) -> ImageRecord:
        if record.split == "validation":
            return record
        path = self._boxes_of(record)
        if record.split == "train" and path not in self.source:
            return record
        # The names in the XML files of train are not all synsets; all objects are of the image's class.
        annotation = read_annotation(self.source, path)
        return replace(record, boxes=[entry.box for entry in annotation.objects] or None, size=annotation.size)

    @cached_property
    def _words(self) -> dict[str, str]:
        return dict(sorted(self.lists.words().items()))

    @cached_property
    def _names(self) -> dict[str, str]:
        return dict(zip(self._words, self.class_names))

    def _name_of(self, synset: str, where: str) -> str:
        if synset not in self._names:
            raise ValueError(f"{where}: {shown(synset)} is not one of the {len(self._names)} synsets.")
        return self._names[synset]

    def _boxes_of(self, record: ImageRecord) -> str:
        if record.split == "test":
            return self.test_boxes.get(record.image_id, f"{record.image_id}.xml")
        synset = record.image_id.partition("_")[0]
        return f"{self.train_boxes_root}{synset}/{record.image_id}.xml"

    def _find_files(self):
        """Where images and boxes lie: folders for train, which has too many to keep, and each file for test."""
        self.train_root = self.train_boxes_root = None
        self.test_images, self.test_boxes = {}, {}
        for path in self.source.paths():
            if path.endswith(".JPEG"):
                if self.train_root is None and (match := TRAIN_IMAGE.fullmatch(path)):
                    self.train_root = match[1]
                elif match := TEST_IMAGE.fullmatch(path):
                    self.test_images[match[1]] = path
            elif path.endswith(".xml"):
                if self.train_boxes_root is None and (match := TRAIN_BOXES.fullmatch(path)):
                    self.train_boxes_root = match[1]
                elif match := TEST_BOXES.fullmatch(path):
                    self.test_boxes[match[1]] = path
        for what, found in (
            ("ILSVRC2012_img_train.tar (nXXXXXXXX/nXXXXXXXX_*.JPEG)", self.train_root is not None),
            ("ILSVRC2012_img_val.tar (ILSVRC2012_val_*.JPEG)", self.test_images),
            ("ILSVRC2012_bbox_val_v3.tgz (ILSVRC2012_val_*.xml)", self.test_boxes),
        ):
            if not found:
                raise missing(what, self.layout)
        self.train_boxes_root = self.train_boxes_root or ""


class _ArchiveLists:
    """The archives by year: classes and the labels of the validation images are in the development kit."""

    def __init__(self, reader: ImageNetReader):
        self.source, self.reader = reader.source, reader
        self.meta = self._file("meta.mat")
        self.ground_truth = self._file("ILSVRC2012_validation_ground_truth.txt")

    def words(self) -> dict[str, str]:
        return {field(each, "WNID", str, where): field(each, "words", str, where) for where, each in self._synsets}

    def train(self) -> Iterator[tuple[str, str, str]]:
        """Yields where it says so, synset and path of each image: all that lie in the synsets' folders."""
        root = self.reader.train_root
        for synset in sorted(self.words()):
            for path in self.source.folder(f"{root}{synset}"):
                if path.endswith(".JPEG"):
                    yield path, synset, path

    def test(self) -> Iterator[tuple[str, str, str]]:
        synsets = {
            field(synset, "ILSVRC2012_ID", int, where): field(synset, "WNID", str, where)
            for where, synset in self._synsets
        }
        for number, (where, text) in enumerate(self.source.lines(self.ground_truth), start=1):
            label = as_number(text.strip(), where, "class")
            if label not in synsets:
                raise ValueError(f"{where}: there is no class {label} in {self.meta}.")
            name = f"ILSVRC2012_val_{number:08d}"
            yield where, synsets[label], self.reader.test_images.get(name, f"{name}.JPEG")

    @cached_property
    def _synsets(self) -> list[tuple[str, dict]]:
        """The classes, with where they stand. What is above them in the hierarchy, and no class, has children."""
        synsets = enumerate(read_variables(self.source, self.meta, "synsets")["synsets"], start=1)
        placed = [(f"{self.meta}, synset {number}", synset) for number, synset in synsets]
        return [(where, synset) for where, synset in placed if field(synset, "num_children", int, where) == 0]

    def _file(self, name: str) -> str:
        root = optional_root(self.source, name)
        if root is None:
            raise missing(f"{name} of ILSVRC2012_devkit_t12.tar.gz", self.reader.layout)
        return root + name


class _TreeLists:
    """The tree of Kaggle's copy: lists of the images, with the labels of the validation images apart."""

    def __init__(self, reader: ImageNetReader, root: str):
        self.source, self.reader, self.root = reader.source, reader, root
        mapping = optional_root(self.source, "LOC_synset_mapping.txt")
        if mapping is None:
            raise missing("LOC_synset_mapping.txt", reader.layout)
        self.mapping = f"{mapping}LOC_synset_mapping.txt"
        solution = optional_root(self.source, "LOC_val_solution.csv")
        self.solution = None if solution is None else f"{solution}LOC_val_solution.csv"

    def words(self) -> dict[str, str]:
        return {synset: words for _, (synset, words) in read_fields(self.source, self.mapping, 2)}

    def train(self) -> Iterator[tuple[str, str, str]]:
        """Yields where it says so, synset and path of each image."""
        for where, (name, _) in read_fields(self.source, self.root + TREE_LIST, 2):
            yield where, name.partition("/")[0], f"{self.root}Data/CLS-LOC/train/{name}.JPEG"

    def test(self) -> Iterator[tuple[str, str, str]]:
        solutions = {} if self.solution is None else self._read_solution()
        for where, (name, _) in read_fields(self.source, f"{self.root}ImageSets/CLS-LOC/val.txt", 2):
            synset = solutions.get(name) or self._synset_in_boxes(name, where)
            # as the list has it, or in a folder of its class
            yield where, synset, self.reader.test_images.get(name, f"{self.root}Data/CLS-LOC/val/{name}.JPEG")

    def _read_solution(self) -> dict[str, str]:
        rows = read_fields(self.source, self.solution, 2, ",")
        return {name: solution.partition(" ")[0] for _, (name, solution) in rows}

    def _synset_in_boxes(self, name: str, where: str) -> str:
        path = self.reader.test_boxes.get(name)
        objects = [] if path is None else read_annotation(self.source, path).objects
        if not objects:
            raise ValueError(f"{where}: the class of {name} is in no XML file; LOC_val_solution.csv has it, too.")
        return objects[0].name


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


__all__ = ["ImageNetReader"]
