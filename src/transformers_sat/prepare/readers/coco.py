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

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from transformers.utils import logging

from ...fields import checked, checked_name, field, shown
from ..archives import Source
from ..records import ImageRecord, Reader
from .image_files import looks_like_image
from .json_text import parse_json
from .lists import SPLITS, distinct_names, is_of_another_split, log_left_out, missing, problem_of, split_of


logger = logging.get_logger(__name__)

# As COCO names the files (CVAT, too), and as Roboflow does: one beside the images of each split.
BESIDE_IMAGES = re.compile(r"(?:(.*)/|)_annotations\.coco\.json")
# Annotations of COCO itself, by year.
OFFICIAL = re.compile(r"instances_(train|val)20\d\d\.json$")
INSTANCES = re.compile(r"(?:.*/|)instances_(([A-Za-z_]+?)_?(?:\d*))\.json")
# As Label Studio exports it.
RESULT = re.compile(r"(?:(.*)/|)result\.json")
# `default` is what CVAT calls data without splits.
SPLIT_NAMES = SPLITS | {"default": "train"}


class CocoReader(Reader):
    """
    Files `instances_<split>.json`, `<split>/_annotations.coco.json` or `result.json`, with their images: COCO, or anything
    in its form. An image lies beside its file, or in any folder that is not of another split.

    An image has one class here. So what is taken are the images whose annotations are all of one category, whatever
    their number, with at least one box; crowds, and boxes of no width or height, count as their category, but are left
    out. How many images and boxes that leaves out is logged.
    """

    name = "coco"
    title = "Images of one category in COCO's form"
    homepage = "https://cocodataset.org"
    license = "other"
    license_text = (
        "COCO: the annotations are licensed under CC BY 4.0 by the COCO Consortium, which does not own the copyright of "
        "the images; their use must abide by Flickr's terms."
    )
    citation = """@inproceedings{lin2014microsoft,
  title     = {{Microsoft COCO}: Common Objects in Context},
  author    = {Lin, Tsung-Yi and Maire, Michael and Belongie, Serge and Hays, James and Perona, Pietro and Ramanan, Deva and
               Doll{\\'a}r, Piotr and Zitnick, C. Lawrence},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year      = {2014}
}"""
    layout = """annotations_trainval2017.zip    or unpacked: annotations/instances_<split><year>.json
                                or <split>/_annotations.coco.json with the images beside it, or Label Studio's result.json
train2017.zip, val2017.zip      or unpacked: <split><year>/<image>, or any folder that has the images by their file_name"""

    def __init__(self, source: Source):
        super().__init__(source)
        self.files = {}
        self._categories: dict[int | str, str] | None = None
        self._named: set[str] = set()
        for path, split, folder in _files_of(source):
            if split in self.files:
                raise ValueError(f"{self.files[split][0]} and {path} are both for the split {split}; take one out.")
            self.files[split] = (path, folder)
        if not self.files:
            raise missing("instances_<split>.json, or <split>/_annotations.coco.json,", self.layout)
        if not all(OFFICIAL.search(path) for path, _ in self.files.values()):
            self.take_for_own("Images of one category, with boxes in COCO's form")

    @property
    def class_names(self) -> list[str]:
        """Names of the categories that some image is of, by their numbers in the files."""
        used = {record.label for record in self._images if record.problem is None}
        return [name for name in self._categories.values() if name in used]

    def records(self) -> Iterator[ImageRecord]:
        yield from self._images

    def left_over(self) -> Iterator[tuple[str, str]]:
        # what the files name and leave out is logged with its reason
        for path in self.source.paths():
            if looks_like_image(path) and path not in self._named:
                yield path, "which no annotation file names"

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
        found, unreadable = _group_by_image(contents, path)
        for where, problem in unreadable:
            yield ImageRecord(split, where, where, "", where, problem=problem)
        placed = [(f"{path}, image {number}", image) for number, image in enumerate(contents["images"], start=1)]
        first_of, repeated = {}, {}
        for where, image in placed:
            first = first_of.setdefault(_id_of(image), where)
            if first is not where:
                repeated.setdefault(_id_of(image), (first, where))
        left_out = Counter()
        for where, image in placed:
            record = ImageRecord(split, where, where, "", where)
            try:
                self._find_image(record, field(image, "file_name", str, where), path, folder)
                key = _key(image, "id", where)
                if key in repeated:
                    raise ValueError(f"{where}: {' and '.join(repeated[key])} have the same `id` {shown(key)}.")
                record.size = _size(image, where)
            except ValueError as error:
                record.problem = problem_of(error, where)
                yield record
                continue
            reason = self._add_annotations(record, found.get(key, []))
            if reason is None:
                yield record
            else:
                left_out[reason] += 1
        log_left_out(left_out, len(placed), path)
        if empty := sum(annotation.is_empty for annotations in found.values() for annotation in annotations):
            logger.warning(f"{path}: {empty} boxes left out, of no width or no height.")
        if lost := sum(len(annotations) for key, annotations in found.items() if key not in first_of):
            logger.warning(f"{path}: {lost} annotations left out, whose `image_id` is that of no image.")

    def _add_annotations(self, record: ImageRecord, annotations: list["_Annotation"]) -> str | None:
        """Class and boxes of an image, or why it is left out."""
        categories = {annotation.category for annotation in annotations if annotation.category is not None}
        record.boxes = [annotation.box for annotation in annotations if annotation.box is not None]
        record.problem = next((annotation.problem for annotation in annotations if annotation.problem), None)
        if len(categories) > 1:
            return "with several categories"
        if not (record.boxes or record.problem):
            return "without a box"
        for category in categories:
            record.label = self._categories.get(category, "")
            if category not in self._categories:
                record.problem = ("unknown_class", f"there is no category {shown(category)}.")
        return None

    def _read_categories(self, contents: dict, path: str):
        """Name of each category by its number in the files, which must be the same in all of them."""
        names = {}
        for number, entry in enumerate(contents["categories"], start=1):
            where = f"{path}, category {number}"
            key, name = _key(entry, "id", where), checked_name(field(entry, "name", object, where), "name", where)
            if names.setdefault(key, name) != name:
                raise ValueError(
                    f"{where}: the `id` {shown(key)} of {shown(name)} is that of {shown(names[key])}, too; files that were "
                    "put together need numbers of their own."
                )
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

    def _find_image(self, record: ImageRecord, file_name: str, path: str, folder: str):
        """
        The file of an image, beside its file of annotations or else wherever it is, but for folders of another split; each
        is looked for on its own, since data of one's own may use a name in each split.

        Raises:
            `ValueError`: if several files could be meant.
        """
        name = posixpath.normpath(file_name.replace("\\", "/"))
        beside = posixpath.normpath(f"{folder}/{name}").lstrip("/")
        record.image_id = beside
        if BESIDE_IMAGES.fullmatch(path) or beside in self.source:
            record.image = beside
        else:
            paths = self._paths_by_name.get(name.rpartition("/")[2], ())
            roots = [path[: -len(name)] for path in paths if f"/{path}".endswith(f"/{name}")]
            roots = [root for root in roots if not is_of_another_split(root, record.split)]
            if len(roots) > 1:
                names = {folder, folder.rstrip("0123456789_")}
                roots = [root for root in roots if not names.isdisjoint(root.split("/"))] or roots
            if len(roots) > 1:
                raise ValueError(f"the image {shown(file_name)} is in several folders: {', '.join(roots)}.")
            record.image = (roots[0] if roots else "") + name
        self._named.add(record.image)

    @cached_property
    def _paths_by_name(self) -> dict[str, list[str]]:
        found = {}
        for path in self.source.paths():
            if looks_like_image(path):
                found.setdefault(path.rpartition("/")[2], []).append(path)
        return found


def _files_of(source: Source) -> Iterator[tuple[str, str, str]]:
    """The files of annotations, with the split and the folder of the images of each."""
    results = []
    is_alone = True
    for path in source.paths():
        if match := INSTANCES.fullmatch(path):
            yield path, SPLIT_NAMES.get(match[2].lower(), match[2].lower()), match[1]
        elif match := BESIDE_IMAGES.fullmatch(path):
            folder = match[1] or ""
            split = folder.rpartition("/")[2].lower() or "train"
            yield path, SPLIT_NAMES.get(split, split), folder
        else:
            results += [(path, split_of(path), match[1] or "")] if (match := RESULT.fullmatch(path)) else []
            continue
        is_alone = False
    # which other programs use for other things
    yield from results if is_alone else ()


def _without_outlines(fields: dict) -> dict:
    """Called for each object of the file while it is read: outlines would be most of the memory."""
    fields.pop("segmentation", None)
    return fields


@dataclass
class _Annotation:
    # None where it cannot be read
    category: int | str | None
    # None for a crowd, a box without area and one that cannot be read
    box: tuple[float, float, float, float] | None = None
    is_empty: bool = False
    problem: tuple[str, str] | None = None


def _group_by_image(
    contents: dict, path: str
) -> tuple[dict[int | str, list[_Annotation]], list[tuple[str, tuple[str, str]]]]:
    """Annotations by the id of their image, and the places and problems of those without one that can be read."""
    found, unreadable = {}, []
    for number, annotation in enumerate(contents["annotations"], start=1):
        where = f"{path}, annotation {number}"
        try:
            image = _key(annotation, "image_id", where)
        except ValueError as error:
            unreadable.append((where, problem_of(error, where)))
            continue
        found.setdefault(image, []).append(_read_annotation(annotation, where))
    return found, unreadable


def _read_annotation(annotation: dict, where: str) -> _Annotation:
    category = None
    try:
        category = _key(annotation, "category_id", where)
        if annotation.get("iscrowd") in (1, True, "1"):
            return _Annotation(category)
        box = _as_box(field(annotation, "bbox", list, where), where)
    except ValueError as error:
        return _Annotation(category, problem=("unreadable_annotation", str(error)))
    # COCO itself has some, of objects of a line of pixels
    is_empty = min(box[2:]) == 0 and max(box[2:]) >= 0
    return _Annotation(category, None if is_empty else box, is_empty)


def _id_of(image: object) -> int | str | object:
    """The id of an image; one that cannot be read is like no other."""
    try:
        return _key(image, "id", "")
    except ValueError:
        return object()


def _key(entry: dict, name: str, where: str) -> int | str:
    """What entries refer to each other by: numbers, which some programs write as text, or text."""
    value = field(entry, name, object, where)
    found = checked(value, name, str if isinstance(value, str) else int, where)
    return int(found) if isinstance(found, str) and found.isdecimal() and str(int(found)) == found else found


def _size(image: dict, where: str) -> tuple[int, int] | None:
    width, height = (field(image, name, int, where, optional=True) for name in ("width", "height"))
    return (width, height) if width and height else None


def _as_box(box: list, where: str) -> tuple[float, float, float, float]:
    if len(box) != 4:
        raise ValueError(f"{where}: `bbox` must be x, y, width and height, got {shown(box)}.")
    return tuple(checked(number, "bbox", float, where) for number in box)


__all__ = ["CocoReader"]
