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

from ...fields import checked, checked_name, field
from ..archives import Source
from ..records import ImageRecord, Reader
from .image_files import format_problem, looks_like_image
from .lists import SPLITS, existing, problem_of
from .metadata_files import METADATA_FILES, Line, has_boxes, is_metadata, read_label, read_metadata, read_objects
from .voc_xml import read_annotation


logger = logging.get_logger(__name__)


class ImageFolderReader(Reader):
    """
    Images in one folder a class, with or without folders for splits, or listed in `metadata.jsonl`, `.csv` or `.parquet`,
    in the folders of the splits, below or above them; of two files that name an image the nearer one counts.

    An image in a class folder can have an XML file beside it, as labelImg writes it: its boxes are those of the file, but
    for the ones that are marked as difficult or called after another class folder.

    A line of the metadata has `file_name`, relative to its own folder, and what is known of: `label` (the folder's name by
    default), `objects` (`bbox`: boxes x, y, width, height in pixels; or a list of objects, each with its `bbox`),
    `mask_file_name`, `ignore_mask_file_name` (a file or several), `image_id`, and `width` with `height`. In CSV, `objects`
    is JSON; a column of that name that holds no boxes is left alone. `category` of the objects never makes a class; it is
    kept where it names classes of the images.
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
        columns, self._reads_objects = set(), False
        for file in sorted({file for files in self._metadata.values() for file in files}):
            for line in read_metadata(source, file):
                columns.update(name for name, value in line.columns.items() if value not in (None, "", []))
                self._reads_objects = self._reads_objects or has_boxes(line.columns.get("objects"))
        if "objects" in columns and not self._reads_objects:
            logger.warning("The column `objects` of the metadata is not read, as it holds no boxes.")
        self._xml = self._xml_of_images()
        self.has_boxes = self._reads_objects or bool(self._xml)
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
        for file in self._above:
            yield from self._in_no_split(file)

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
        """Files of metadata in a split's folder, and those above it that name images of it."""
        own = [path for path in self.source.folder(folder) if is_metadata(path)]
        return own + [file for file in self._above if any(self._of_folder(folder, file))]

    def _of_folder(self, folder: str, file: str) -> Iterator[Line]:
        """The lines of a metadata file that are of a split's folder: all, unless it lies above the folder."""
        is_inside = base_of(file).startswith(folder)
        for line in read_metadata(self.source, file):
            if is_inside or self._named_path(file, line).startswith(folder):
                yield line

    def _in_no_split(self, file: str) -> Iterator[ImageRecord]:
        """The lines of a metadata file above the splits that are of none."""
        folders = tuple(folder for folders in self._folders.values() for folder in folders)
        for line in read_metadata(self.source, file):
            path = self._named_path(file, line)
            if not path.startswith(folders):
                record = self._image("train", "", file, line)
                if path:
                    message = f"{path} is in no folder of a split: {', '.join(folders)}."
                    record.problem = ("missing_file", message)
                yield record

    def _named_path(self, file: str, line: Line) -> str:
        """The image that a line names, or `""`."""
        name = line.columns.get("file_name")
        return existing(self.source, f"{base_of(file)}{as_posix(name)}") if isinstance(name, str) and name else ""

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
        objects = [
            each
            for each in annotation.objects
            if not each.is_difficult and (each.name == record.label or each.name not in self._class_folders)
        ]
        record.boxes, record.size = [each.box for each in objects] or None, annotation.size

    def _listed(self, split: str, folder: str, files: list[str]) -> Iterator[ImageRecord]:
        named = set()
        for file in files:
            # those above come last
            is_above, nearer = file in self._above, frozenset(named)
            for line in self._of_folder(folder, file):
                path = self._named_path(file, line)
                if not (is_above and path in nearer):
                    named.add(path)
                    yield self._image(split, folder, file, line)

    def _image(self, split: str, folder: str, file: str, line: Line) -> ImageRecord:
        record = ImageRecord(split, line.where, line.where, "", line.where)
        try:
            if line.error is not None:
                raise line.error
            self._add_columns(record, folder, base_of(file), line.columns)
        except ValueError as error:
            record.problem = record.problem or problem_of(error, line.where)
        return record

    def _add_columns(self, record: ImageRecord, folder: str, base: str, columns: dict):
        where = record.where
        if columns.get("file_name") in (None, ""):
            raise ValueError(f"{where}: there is no `file_name`.")
        record.image = existing(self.source, f"{base}{PurePosixPath(field(columns, 'file_name', str, where))}")
        record.image_id = record.image
        record.problem = format_problem(record.image)
        record.masks = self._file_names(base, columns, "mask_file_name", where)
        record.ignore_masks = self._file_names(base, columns, "ignore_mask_file_name", where)
        label = self._folder_class(record.image, folder)
        if columns.get("label") not in (None, ""):
            label = read_label(columns["label"], where)
        if label is None:
            record.problem = record.problem or self._no_class(record.image)
        record.label = label or ""
        record.image_id = checked_name(columns.get("image_id") or record.image, "image_id", where)
        if self._reads_objects:
            record.boxes, record.categories = read_objects(where, columns.get("objects"))
        if columns.get("width") and columns.get("height"):
            record.size = (field(columns, "width", int, where), field(columns, "height", int, where))

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


def base_of(file: str) -> str:
    """The folder of a file, with a slash at its end."""
    return file[: file.rfind("/") + 1]


def as_posix(name: str) -> str:
    """A path with slashes, wherever it was written."""
    return str(PurePosixPath(name.replace("\\", "/")))


__all__ = ["ImageFolderReader"]
