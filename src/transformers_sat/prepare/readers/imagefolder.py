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
"""Anybody's own images, in folders."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath

from transformers.utils import logging

from ...fields import checked, checked_name, field, shown
from ...model.images_sat import IMAGE_SUFFIXES
from ..archives import Source
from ..records import ImageRecord, Reader
from .json_text import parse_json
from .lists import read_csv


logger = logging.get_logger(__name__)

# What `datasets` takes for each split.
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
METADATA_FILES = ("metadata.jsonl", "metadata.csv")
# JPEG 2000 is not read: such files are named as a problem, rather than passed over.
IMAGE_SUFFIXES = (*IMAGE_SUFFIXES, ".jp2")


class ImageFolderReader(Reader):
    """
    Images in one folder a class, with or without folders for splits, or listed in `metadata.jsonl` or `metadata.csv`.

    A line of the metadata has `file_name`, relative to its own folder, and what is known of: `label` (the folder's name by
    default), `objects` (`bbox`: boxes x, y, width, height in pixels; `category`: their classes), `mask_file_name`,
    `ignore_mask_file_name` (a file or several), `image_id`, and `width` with `height`. In CSV, `objects` is JSON.
    """

    name = "imagefolder"
    title = "Images in folders"
    homepage = ""
    license = "unknown"
    license_text = "Not stated: say here under which terms the images may be used, and change `license` above."
    citation = ""
    layout = """[train/ validation/ test/]<class>/<image>
or, with boxes: {train,validation,test}/metadata.jsonl (or .csv) and the images it names"""

    def __init__(self, source: Source):
        super().__init__(source)
        self._folders = self._find_splits()
        columns = set()
        for folders in self._folders.values():
            for folder in folders:
                for file in self._metadata_files(folder):
                    for _, line in self._read_metadata(file):
                        columns.update(name for name, value in line.items() if value not in (None, "", []))
        self.has_boxes = "objects" in columns
        self.has_masks = "mask_file_name" in columns
        self.has_ignore_masks = "ignore_mask_file_name" in columns

    @cached_property
    def class_names(self) -> list[str]:
        """In alphabetical order; numbers, where all are, in their own."""
        names = set()
        for record in self.records():
            names.update((record.label, *(record.categories or ())))
        numbers = all(name.isdecimal() and len(name) < 20 for name in names)
        return sorted(names, key=(lambda name: (int(name), name)) if numbers else None)

    def records(self) -> Iterator[ImageRecord]:
        for split, folders in self._folders.items():
            for folder in folders:
                metadata = self._metadata_files(folder)
                yield from self._listed(split, folder, metadata) if metadata else self._unlisted(split, folder)

    def _find_splits(self) -> dict[str, list[str]]:
        """Folders of each split, below whatever single folders lie around them."""
        root = ""
        while True:
            paths = [path[len(root) :] for path in self.source.folder(root)]
            paths = [path for path in paths if is_image(path) or PurePosixPath(path).name in METADATA_FILES]
            if not paths:
                raise ValueError(f"{self.source.path} has no images; what is read is:\n{self.layout}")
            children = sorted({path.split("/")[0] for path in paths if "/" in path})
            splits = [child for child in children if child.lower() in SPLIT_FOLDERS]
            if splits:
                if len(splits) < len(children):
                    others = sorted(set(children) - set(splits))
                    logger.warning(
                        f"Left out of {self.source.path}: folders beside those of the splits: {others[:10]}."
                    )
                folders = {}
                for child in splits:
                    folders.setdefault(SPLIT_FOLDERS[child.lower()], []).append(f"{root}{child}/")
                return folders
            is_around = len(children) == 1 and all(path.count("/") >= 2 or is_metadata(path) for path in paths)
            if not is_around or any("/" not in path for path in paths):
                return {"train": [root]}
            root = f"{root}{children[0]}/"

    def _metadata_files(self, folder: str) -> list[str]:
        return [path for path in self.source.folder(folder) if is_metadata(path)]

    def _unlisted(self, split: str, folder: str) -> Iterator[ImageRecord]:
        for path in self.source.folder(folder):
            if is_image(path):
                yield ImageRecord(split, path, path, self._folder_class(path, folder), where=path)

    def _listed(self, split: str, folder: str, files: list[str]) -> Iterator[ImageRecord]:
        listed = set()
        for file in files:
            for where, line in self._read_metadata(file):
                record = self._image(split, folder, file, where, line)
                listed.update((record.image, *record.masks, *record.ignore_masks))
                yield record
        left_out = [path for path in self.source.folder(folder) if is_image(path) and path not in listed]
        if left_out:
            logger.warning(f"Left out: {len(left_out)} images that no metadata file names, such as {left_out[0]}.")

    def _image(self, split: str, folder: str, file: str, where: str, line: dict) -> ImageRecord:
        base = file[: file.rfind("/") + 1]
        if not line.get("file_name"):
            raise ValueError(f"{where}: there is no `file_name`.")
        image = f"{base}{PurePosixPath(field(line, 'file_name', str, where))}"
        label = line.get("label")
        boxes, categories = read_objects(where, line.get("objects"))
        size = None
        if line.get("width") and line.get("height"):
            size = (field(line, "width", int, where), field(line, "height", int, where))
        return ImageRecord(
            split=split,
            image_id=checked_name(line.get("image_id") or image, "image_id", where),
            image=image,
            label=self._folder_class(image, folder) if label in (None, "") else checked_name(label, "label", where),
            where=where,
            boxes=boxes,
            categories=categories,
            size=size,
            masks=read_file_names(base, line, "mask_file_name", where),
            ignore_masks=read_file_names(base, line, "ignore_mask_file_name", where),
        )

    def _folder_class(self, path: str, folder: str) -> str:
        inside = path[len(folder) :].split("/")
        if len(inside) < 2:
            raise ValueError(
                f"{path} lies in no class folder, and no metadata file gives its class; what is read is:\n{self.layout}"
            )
        return inside[-2]

    def _read_metadata(self, file: str) -> Iterator[tuple[str, dict]]:
        """Place and columns of each line."""
        if file.endswith(".csv"):
            lines = read_csv(self.source, file)
            where, names = next(lines, (None, []))
            if not names:
                raise ValueError(f"{file} is empty.")
            if len(set(names)) < len(names):
                raise ValueError(f"{where}: a column is there twice: {shown(names)}.")
            for where, values in lines:
                if len(values) != len(names):
                    raise ValueError(f"{where}: {len(values)} values for {len(names)} columns.")
                line = dict(zip(names, values, strict=True))
                if line.get("objects"):
                    line["objects"] = read_json(f"{where}, `objects`", line["objects"])
                yield where, line
        else:
            for where, text in self.source.lines(file):
                yield where, read_json(where, text)


def is_image(path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES)


def is_metadata(path: str) -> bool:
    return path.rsplit("/", 1)[-1] in METADATA_FILES


def read_json(where: str, text: str) -> dict:
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise ValueError(f'{where}: expected an object such as {{"file_name": ...}}, got {shown(text)}.')
    return value


def read_objects(where: str, objects: dict | None) -> tuple[list[tuple] | None, list[str] | None]:
    """Boxes, and their classes where they are given."""
    if not objects:
        return None, None
    if not isinstance(objects, dict):
        raise ValueError(
            f'{where}: `objects` must be like {{"bbox": [[x, y, width, height], ...]}}, got {shown(objects)}.'
        )
    boxes = []
    for box in field(objects, "bbox", list, f"{where}, `objects`"):
        if not isinstance(box, list) or len(box) != 4:
            raise ValueError(f"{where}: a box must be [x, y, width, height], got {shown(box)}.")
        boxes.append(tuple(checked(number, "bbox", float, where) for number in box))
    name = "category" if "category" in objects else "categories"
    categories = field(objects, name, list, where, optional=True)
    return boxes, None if categories is None else [checked_name(each, name, where) for each in categories]


def read_file_names(base: str, line: dict, name: str, where: str) -> tuple[str, ...]:
    """A file or several."""
    value = line.get(name)
    if not value:
        return ()
    names = value if isinstance(value, list) else [value]
    return tuple(f"{base}{PurePosixPath(checked(each, name, str, where))}" for each in names)


__all__ = ["ImageFolderReader"]
