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

import io
from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from ...fields import checked, checked_name, field, shown
from ..archives import MAX_LIST_BYTES, Source
from ..records import ImageRecord, Reader
from .image_files import format_problem, looks_like_image
from .json_text import parse_json
from .lists import SPLITS, existing, problem_of, read_csv
from .voc_xml import read_annotation


METADATA_FILES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


class ImageFolderReader(Reader):
    """
    Images in one folder a class, with or without folders for splits, or listed in `metadata.jsonl`, `.csv` or `.parquet`,
    in the folders of the splits, below or above them.

    An image in a class folder can have an XML file beside it, as labelImg writes it: its boxes are those of the file, but
    for the ones that are marked as difficult or called after another class folder.

    A line of the metadata has `file_name`, relative to its own folder, and what is known of: `label` (the folder's name by
    default), `objects` (`bbox`: boxes x, y, width, height in pixels; or a list of objects, each with its `bbox`),
    `mask_file_name`, `ignore_mask_file_name` (a file or several), `image_id`, and `width` with `height`. In CSV, `objects`
    is JSON. `category` of the objects never makes a class; it is kept where it names classes of the images.
    """

    name = "imagefolder"
    title = "Images in folders"
    layout = """[train/ validation/ test/]<class>/<image>, with or without <image>.xml beside it
or, with boxes: {train,validation,test}/metadata.jsonl (or .csv, .parquet) and the images it names"""

    def __init__(self, source: Source):
        super().__init__(source)
        self._above: list[str] = []
        self._folders = self._find_splits()
        self._metadata = {
            folder: self._metadata_of(folder) for folders in self._folders.values() for folder in folders
        }
        columns = set()
        for folders in self._folders.values():
            for folder in folders:
                for file in self._metadata[folder]:
                    for _, line in self._read_metadata(file):
                        columns.update(name for name, value in line.items() if value not in (None, "", []))
        self._xml = self._xml_of_images()
        self.has_boxes = "objects" in columns or bool(self._xml)
        self.has_masks = "mask_file_name" in columns
        self.has_ignore_masks = "ignore_mask_file_name" in columns

    @cached_property
    def class_names(self) -> list[str]:
        """In alphabetical order; numbers, where all are, in their own."""
        names = {record.label for record in self._read() if record.problem is None}
        numbers = all(name.isdecimal() and len(name) < 20 for name in names)
        return sorted(names, key=(lambda name: (int(name), name)) if numbers else None)

    def records(self) -> Iterator[ImageRecord]:
        known = set(self.class_names)
        for record in self._read():
            if record.categories is not None and not known.issuperset(record.categories):
                record.categories = None
            yield record

    def left_over(self) -> Iterator[tuple[str, str]]:
        used, given = set(self._xml.values()), set()
        if any(self._metadata.values()):
            for record in self._read():
                used.update((record.image, *record.masks, *record.ignore_masks))
        for path in self.source.paths():
            folder = next((folder for folder in self._metadata if path.startswith(folder)), None)
            if is_metadata(path):
                continue
            if folder is None:
                yield path, "beside the folders of the splits"
            elif not looks_like_image(path):
                if path not in used:
                    yield path, "which are no images"
            elif self._metadata[folder]:
                if path not in used:
                    yield path, "images that no metadata file names"
            elif self.source.real_path(path) in given:
                yield path, "links to images that are read already"
            else:
                given.add(self.source.real_path(path))

    def _read(self) -> Iterator[ImageRecord]:
        given: set[str] = set()
        for split, folders in self._folders.items():
            for folder in folders:
                if self._metadata[folder]:
                    yield from self._listed(split, folder, self._metadata[folder])
                else:
                    yield from self._unlisted(split, folder, given)

    def _find_splits(self) -> dict[str, list[str]]:
        """Folders of each split, below whatever single folders lie around them."""
        root = ""
        while True:
            paths = [path[len(root) :] for path in self.source.folder(root)]
            paths = [path for path in paths if looks_like_image(path) or is_metadata(path)]
            if not paths:
                raise ValueError(f"{self.source.path} has no images; what is read is:\n{self.layout}")
            children = sorted({path.split("/")[0] for path in paths if "/" in path})
            splits = [child for child in children if child.lower() in SPLITS]
            if splits:
                self._above = [root + name for name in METADATA_FILES if root + name in self.source]
                folders = {}
                for child in splits:
                    folders.setdefault(SPLITS[child.lower()], []).append(f"{root}{child}/")
                return folders
            is_around = len(children) == 1 and all(path.count("/") >= 2 or is_metadata(path) for path in paths)
            if not is_around or any("/" not in path for path in paths):
                return {"train": [root]}
            root = f"{root}{children[0]}/"

    def _metadata_of(self, folder: str) -> list[str]:
        """Files of metadata in a split's folder, or else those above it that name images of it."""
        own = [path for path in self.source.folder(folder) if is_metadata(path)]
        return own or [file for file in self._above if any(self._of_folder(folder, file, self._read_metadata(file)))]

    def _of_folder(self, folder: str, file: str, lines: Iterator[tuple[str, dict]]) -> Iterator[tuple[str, dict]]:
        """The lines of a metadata file that are of a split's folder: all, unless it lies above the folder."""
        base = base_of(file)
        for where, line in lines:
            name = line.get("file_name")
            if base.startswith(folder) or (isinstance(name, str) and f"{base}{as_posix(name)}".startswith(folder)):
                yield where, line

    def _unlisted(self, split: str, folder: str, given: set[str]) -> Iterator[ImageRecord]:
        for path in self.source.folder(folder):
            real_path = self.source.real_path(path)
            if not looks_like_image(path) or real_path in given:
                continue
            given.add(real_path)
            label, problem = self._folder_class(path, folder), format_problem(path)
            if label is None:
                problem = problem or self._no_class(path)
            record = ImageRecord(split, path, path, label or "", where=path, problem=problem)
            if path in self._xml:
                self._add_boxes(record)
            yield record

    def _xml_of_images(self) -> dict[str, str]:
        """The XML files beside images of class folders, by the image."""
        files = {path.rpartition(".")[0]: path for path in self.source.paths() if path.lower().endswith(".xml")}
        found = {}
        for folder in (each for each, metadata in self._metadata.items() if not metadata):
            for path in self.source.folder(folder):
                if looks_like_image(path) and (xml := files.get(path.rpartition(".")[0])):
                    found[path] = xml
        return found

    @cached_property
    def _class_folders(self) -> set[str | None]:
        paths = (path for path in self.source.paths() if looks_like_image(path))
        return {self._folder_class(path, "") for path in paths}

    def _add_boxes(self, record: ImageRecord):
        try:
            annotation = read_annotation(self.source, self._xml[record.image])
        except ValueError as error:
            record.problem = record.problem or problem_of(error, record.where)
            return
        others = self._class_folders - {record.label}
        objects = [each for each in annotation.objects if each.name not in others and not each.is_difficult]
        record.boxes, record.size = [each.box for each in objects] or None, annotation.size

    def _listed(self, split: str, folder: str, files: list[str]) -> Iterator[ImageRecord]:
        for file in files:
            for where, line in self._of_folder(folder, file, self._read_metadata(file)):
                yield self._image(split, folder, file, where, line)

    def _image(self, split: str, folder: str, file: str, where: str, line: dict) -> ImageRecord:
        base = base_of(file)
        if line.get("file_name") in (None, ""):
            raise ValueError(f"{where}: there is no `file_name`.")
        image = existing(self.source, f"{base}{PurePosixPath(field(line, 'file_name', str, where))}")
        label = self._folder_class(image, folder)
        if line.get("label") not in (None, ""):
            label = checked_name(line["label"], "label", where)
        problem = format_problem(image) or (self._no_class(image) if label is None else None)
        boxes = categories = size = None
        try:
            boxes, categories = read_objects(where, line.get("objects"))
            if line.get("width") and line.get("height"):
                size = (field(line, "width", int, where), field(line, "height", int, where))
        except ValueError as error:
            problem = problem or problem_of(error, where)
        return ImageRecord(
            split=split,
            image_id=checked_name(line.get("image_id") or image, "image_id", where),
            image=image,
            label=label or "",
            where=where,
            boxes=boxes,
            categories=categories,
            size=size,
            masks=self._file_names(base, line, "mask_file_name", where),
            ignore_masks=self._file_names(base, line, "ignore_mask_file_name", where),
            problem=problem,
        )

    def _file_names(self, base: str, line: dict, name: str, where: str) -> tuple[str, ...]:
        """A file or several."""
        value = line.get(name)
        if not value:
            return ()
        names = value if isinstance(value, list) else [value]
        paths = (f"{base}{PurePosixPath(checked(each, name, str, where))}" for each in names)
        return tuple(existing(self.source, path) for path in paths)

    def _no_class(self, path: str) -> tuple[str, str]:
        message = (
            f"{path} lies in no class folder, and no metadata file gives its class; what is read is:\n{self.layout}"
        )
        return "unknown_class", message

    def _folder_class(self, path: str, folder: str) -> str | None:
        inside = path[len(folder) :].split("/")
        return inside[-2] if len(inside) >= 2 else None

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
                yield where, dict(zip(names, values, strict=True))
        elif file.endswith(".parquet"):
            yield from read_parquet(self.source, file)
        else:
            for where, text in self.source.lines(file):
                yield where, read_json(where, text)


def is_metadata(path: str) -> bool:
    return path.rsplit("/", 1)[-1] in METADATA_FILES


def read_json(where: str, text: str) -> dict:
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise ValueError(f'{where}: expected an object such as {{"file_name": ...}}, got {shown(text)}.')
    return value


def read_parquet(source: Source, file: str) -> Iterator[tuple[str, dict]]:
    """Place and columns of each row."""
    try:
        rows = pq.ParquetFile(io.BytesIO(source.read(file, MAX_LIST_BYTES))).iter_batches()
        rows = (row for batch in rows for row in batch.to_pylist())
        for number, row in enumerate(rows, start=1):
            yield f"{file}, row {number}", row
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} cannot be read as Parquet: {error}") from error


def read_objects(where: str, objects: dict | list | str | None) -> tuple[list[tuple] | None, list[str] | None]:
    """Boxes, and their classes where they are given, of a struct of lists or a list of structs, or of JSON of either."""
    if isinstance(objects, str) and objects:
        objects = parse_json(objects, f"{where}, `objects`")
    if not objects:
        return None, None
    if isinstance(objects, list) and all(isinstance(each, dict) for each in objects):
        names = [name for name in ("bbox", "category") if name in objects[0]]
        objects = {name: [each.get(name) for each in objects] for name in names}
    if not isinstance(objects, dict):
        raise ValueError(
            f'{where}: `objects` must be like {{"bbox": [[x, y, width, height], ...]}}, got {shown(objects)}.'
        )
    boxes = []
    for box in field(objects, "bbox", list, f"{where}, `objects`"):
        if not isinstance(box, list) or len(box) != 4:
            raise ValueError(f"{where}: a box must be [x, y, width, height] (`bbox`), got {shown(box)}.")
        boxes.append(tuple(checked(number, "bbox", float, where) for number in box))
    categories = objects.get("category", objects.get("categories"))
    if not isinstance(categories, list) or len(categories) != len(boxes):
        return boxes, None
    # classes of the boxes are of no use where they are not those of the images, whatever they are
    return boxes, [str(each) for each in categories]


def base_of(file: str) -> str:
    """The folder of a file, with a slash at its end."""
    return file[: file.rfind("/") + 1]


def as_posix(name: str) -> str:
    """A path with slashes, wherever it was written."""
    return str(PurePosixPath(name.replace("\\", "/")))


__all__ = ["ImageFolderReader"]
