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
"""Detection data in COCO's form, as far as its images show one class."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from transformers.utils import logging

from ...fields import checked, checked_name, field, shown
from ..archives import Source
from ..records import ImageRecord, Reader
from .json_text import parse_json
from .lists import distinct_names, missing, roots_with


logger = logging.get_logger(__name__)

INSTANCES = re.compile(r"(?:.*/|)instances_(([A-Za-z_]+?)_?(?:\d*))\.json")
SPLIT_NAMES = {"val": "validation", "valid": "validation"}


class CocoReader(Reader):
    """
    Files `instances_<split>.json` with their images: COCO, or anything in its form.

    An image has one class here. So what is taken are the images whose annotations are all of one category, whatever
    their number, with at least one box; crowds count as their category, but their boxes are left out. How many images
    that leaves out is logged.
    """

    name = "coco"
    title = "Images of one category in COCO's form"
    homepage = "https://cocodataset.org"
    license = "other"
    license_text = (
        "COCO: the annotations are licensed under CC BY 4.0 by the COCO Consortium, which does not own the copyright of "
        "the images; their use must abide by Flickr's terms. Other data in this form: as their owner states."
    )
    citation = """@inproceedings{lin2014microsoft,
  title     = {{Microsoft COCO}: Common Objects in Context},
  author    = {Lin, Tsung-Yi and Maire, Michael and Belongie, Serge and Hays, James and Perona, Pietro and Ramanan, Deva and
               Doll{\\'a}r, Piotr and Zitnick, C. Lawrence},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year      = {2014}
}"""
    layout = """annotations_trainval2017.zip    or unpacked: annotations/instances_<split><year>.json
train2017.zip, val2017.zip      or unpacked: <split><year>/<image>, or any folder that has the images by their file_name"""

    def __init__(self, source: Source):
        super().__init__(source)
        self.files = {}
        self._categories: dict[int | str, str] | None = None
        for path in source.paths():
            if match := INSTANCES.fullmatch(path):
                split = SPLIT_NAMES.get(match[2].lower(), match[2].lower())
                if split in self.files:
                    raise ValueError(
                        f"{self.files[split][0]} and {path} are both for the split {split}; take one out."
                    )
                self.files[split] = (path, match[1])
        if not self.files:
            raise missing("instances_<split>.json", self.layout)

    @property
    def class_names(self) -> list[str]:
        """Names of the categories that some image is of, by their numbers in the files."""
        used = {record.label for record in self._images}
        return [name for name in self._categories.values() if name in used]

    def records(self) -> Iterator[ImageRecord]:
        yield from self._images

    @cached_property
    def _images(self) -> list[ImageRecord]:
        """Which images there are, and which categories some of them are of, only all annotations tell."""
        records = []
        for split, (path, folder) in sorted(self.files.items()):
            contents = self._read(path)
            self._read_categories(contents, path)
            records.extend(self._images_of(contents, split, path, folder))
        return records

    def _images_of(self, contents: dict, split: str, path: str, folder: str) -> Iterator[ImageRecord]:
        found = _group_by_image(contents, path)
        root, left_out = None, Counter()
        for number, image in enumerate(contents["images"], start=1):
            where = f"{path}, image {number}"
            file_name = field(image, "file_name", str, where)
            annotations = found.get(_key(image, "id", where), [])
            categories = {annotation.category for annotation in annotations}
            boxes = [annotation.box for annotation in annotations if annotation.box is not None]
            if len(categories) > 1 or not boxes:
                left_out["with several categories" if len(categories) > 1 else "without a box"] += 1
                continue
            category = categories.pop()
            if category not in self._categories:
                raise ValueError(f"{where}: there is no category {shown(category)}.")
            if root is None:
                root = self._find_images(file_name, folder, where)
            yield ImageRecord(
                split=split,
                image_id=f"{folder}/{file_name}",
                image=root + file_name,
                label=self._categories[category],
                where=where,
                boxes=boxes,
                size=_size(image, where),
            )
        if left_out:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
            logger.warning(f"{path}: {left_out.total()} of {len(contents['images'])} images left out: {reasons}.")

    def _read_categories(self, contents: dict, path: str):
        """Name of each category by its number in the files, which must be the same in all of them."""
        names = {}
        for number, entry in enumerate(contents["categories"], start=1):
            where = f"{path}, category {number}"
            names[_key(entry, "id", where)] = checked_name(field(entry, "name", object, where), "name", where)
        keys = sorted(names, key=lambda key: (isinstance(key, str), key))
        categories = dict(zip(keys, distinct_names({key: names[key] for key in keys})))
        if self._categories not in (None, categories):
            raise ValueError(f"{path} has other categories than the other files.")
        self._categories = categories

    def _read(self, path: str) -> dict:
        contents = parse_json(self.source.read(path), path, object_hook=_without_outlines)
        for name in ("images", "annotations", "categories"):
            if not isinstance(contents, dict) or not isinstance(contents.get(name), list):
                raise ValueError(f"{path}: there is no list `{name}`.")
        return contents

    def _find_images(self, file_name: str, folder: str, where: str) -> str:
        roots = roots_with(self.source, file_name)
        if len(roots) > 1:
            # data of one's own may use a name in each split
            names = {folder, folder.rstrip("0123456789_")}
            roots = [root for root in roots if not names.isdisjoint(root.split("/"))]
        if len(roots) != 1:
            problem = "not in the source" if not roots else f"in several folders: {', '.join(roots)}"
            raise ValueError(
                f"{where}: the image {shown(file_name)} is {problem}.\nThe source should hold:\n{self.layout}"
            )
        return roots[0]


def _without_outlines(fields: dict) -> dict:
    """Called for each object of the file while it is read: outlines would be most of the memory."""
    fields.pop("segmentation", None)
    return fields


@dataclass
class _Annotation:
    category: int | str
    # None for a crowd
    box: tuple[float, float, float, float] | None


def _group_by_image(contents: dict, path: str) -> dict[int | str, list[_Annotation]]:
    found = {}
    for number, annotation in enumerate(contents["annotations"], start=1):
        where = f"{path}, annotation {number}"
        box = _as_box(field(annotation, "bbox", list, where), where)
        category = _key(annotation, "category_id", where)
        is_crowd = bool(annotation.get("iscrowd"))
        found.setdefault(_key(annotation, "image_id", where), []).append(
            _Annotation(category, None if is_crowd else box)
        )
    return found


def _key(entry: dict, name: str, where: str) -> int | str:
    """What entries refer to each other by: numbers as a rule, text in some data of people's own."""
    value = field(entry, name, object, where)
    return checked(value, name, str if isinstance(value, str) else int, where)


def _size(image: dict, where: str) -> tuple[int, int] | None:
    width, height = (field(image, name, int, where, optional=True) for name in ("width", "height"))
    return (width, height) if width and height else None


def _as_box(box: list, where: str) -> tuple[float, float, float, float]:
    if len(box) != 4:
        raise ValueError(f"{where}: `bbox` must be x, y, width and height, got {shown(box)}.")
    return tuple(checked(number, "bbox", float, where) for number in box)


__all__ = ["CocoReader"]
