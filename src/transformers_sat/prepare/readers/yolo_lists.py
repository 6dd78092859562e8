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
"""Where data for YOLO programs say which images and classes they have: in a `data.yaml`, or as labelImg writes it."""

import math
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property

import yaml

from ...fields import as_number, checked, checked_name, shown
from ..archives import MAX_NAME_CHARACTERS, Source
from .image_files import looks_like_image, stem_of
from .lists import SPLITS, missing, split_of


MAX_FILE_BYTES = 2**20

CLASSES_FILE = "classes.txt"


class YoloLists(ABC):
    """Images with their splits, and the names of the classes, of one source."""

    class_names: list[str]

    # Of key points: what a line has behind its box.
    num_further_values: int = 0

    def __init__(self, source: Source):
        self.source = source

    @abstractmethod
    def images(self) -> Iterator[tuple[str, str, str]]:
        """Split and image, and where it says so."""

    @abstractmethod
    def names_for(self, labels: str) -> tuple[str, dict[int, str]]:
        """The file that names the classes in a file of boxes, and what they are called by their numbers."""

    def not_there(self) -> Iterator[tuple[str, str, str, str]]:
        """Split and place of images that are said to be somewhere, where none are, where it says so, and what is wrong."""
        yield from ()

    def read_boxes(self, labels: str) -> list[tuple[int, tuple[float, float, float, float]]]:
        """Class and box `(x, y, width, height)`, in fractions, of each line of a file of boxes."""
        return [read_line(text, where, self.num_further_values) for where, text in self.source.lines(labels)]

    def _without_image(self, labels: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """Files of boxes for which there is no image: it is the image that is missing."""
        for path in labels:
            if path.lower().endswith(".txt") and self._has_boxes(path):
                before, found, after = f"/{path.rpartition('.')[0]}".rpartition("/labels/")
                image = f"{before}/images/{after}" if found else after
                yield split_of(path), f"{image.lstrip('/')}.jpg", path

    def _has_boxes(self, path: str) -> bool:
        """Whether a text file is one of boxes; others that lie about are not."""
        try:
            return bool(self.read_boxes(path))
        except ValueError:
            return False


def open_lists(source: Source, layout: str) -> YoloLists:
    """The lists of a source: a `data.yaml` goes first. `ValueError` with the layout that there should be if it has none."""
    found = [path for path in source.paths() if path.lower().endswith((".yaml", ".yml"))]
    contents = {path: _read_yaml(source, path) for path in found}
    files = [path for path in found if isinstance(contents[path], dict) and "names" in contents[path]]
    if len(files) == 1:
        return DataYaml(source, files[0], contents[files[0]])
    if files:
        raise missing(f"One of {', '.join(files)}, the others taken out,", layout)
    files = [path for path in source.paths() if path.rpartition("/")[2].lower() == CLASSES_FILE]
    if not files:
        raise missing(f"data.yaml, or {CLASSES_FILE} beside the files of boxes,", layout)
    return ClassesFiles(source, files)


class DataYaml(YoloLists):
    """
    A `data.yaml` with `names`, and `train`, `val` and `test`: folders, or lists of images.

    Args:
        source ([`Source`]): where the images are.
        file (`str`): path of the file.
        settings (`dict`): what it holds.
    """

    def __init__(self, source: Source, file: str, settings: dict):
        super().__init__(source)
        self.file = file
        self.root = file[: file.rfind("/") + 1]
        self.settings = settings
        self.names = _read_names(settings["names"], file)
        self.class_names = list(self.names.values())
        if settings.get("kpt_shape"):
            self.num_further_values = _num_keypoint_values(settings["kpt_shape"], file)

    def images(self) -> Iterator[tuple[str, str, str]]:
        for image, (_, split, where) in self._images.items():
            yield split, image, where
        read = {labels_of(self.source, path) for path in self.source.paths() if looks_like_image(path)}
        read.update(listed := [labels_of(self.source, image) for image in self._images])
        folders = {labels.rpartition("/")[0] for labels in listed if labels is not None}
        paths = (path for path in self.source.paths() if path.rpartition("/")[0] in folders and path not in read)
        yield from self._without_image(paths)

    def not_there(self) -> Iterator[tuple[str, str, str, str]]:
        for key, split, value in self._values():
            if not any(True for _ in self._images_at(value)):
                message = f"`{key}` is {shown(value)}, where there are no images in the source."
                yield split, value, f"{self.file}, `{key}`", message

    @cached_property
    def _images(self) -> dict[str, tuple[int, str, str]]:
        """Depth of the folder that names it, split and place of each image: the inner one of two folders has it."""
        found = {}
        for _, split, value in self._values():
            for image, depth, where in self._images_at(value):
                if image not in found or found[image][0] < depth:
                    found[image] = (depth, split, where)
        if not found:
            raise ValueError(
                f"{self.file} names no folder with images; `train`, `val` and `test` should be folders or lists of images, "
                "below the source."
            )
        return found

    def _values(self) -> Iterator[tuple[str, str, str]]:
        """Key, split and value of each folder or list."""
        for key, split in SPLITS.items():
            values = self.settings.get(key)
            for value in values if isinstance(values, list) else [values] if values else []:
                yield key, split, checked_name(value, key, self.file).replace("\\", "/")

    def names_for(self, labels: str) -> tuple[str, dict[int, str]]:
        return self.file, self.names

    def _images_at(self, value: str) -> Iterator[tuple[str, int, str]]:
        """The images of a folder or list, with the depth of the folder, and where it says so."""
        for path in self._places(value):
            if path in self.source and path.lower().endswith(".txt"):
                for where, line in self.source.lines(path):
                    name = line.strip().replace("\\", "/")
                    known = [place for place in self._places(name) if place in self.source]
                    yield (known or [posixpath.normpath(name).lstrip("/")])[0], MAX_NAME_CHARACTERS, where
                return
            if images := [image for image in self.source.folder(path) if looks_like_image(image)]:
                depth = len(path.split("/")) if path else 0
                yield from ((image, depth, image) for image in images)
                return

    def _places(self, value: str) -> Iterator[str]:
        """
        Where a path of the file may be: it is relative to the file, to its `path`, or (Roboflow) to a folder that is not
        there, or absolute on another machine.
        """
        base = self.settings.get("path")
        for folder in (str(base), "") if isinstance(base, str) else ("",):
            path = posixpath.normpath(posixpath.join(self.root, folder.replace("\\", "/"), value))
            if not path.startswith(("/", "..")):
                yield "" if path == "." else path
        parts = [part for part in value.split("/") if part not in ("", ".", "..")]
        for first in range(len(parts)):
            yield self.root + "/".join(parts[first:])


class ClassesFiles(YoloLists):
    """
    A `classes.txt` in each folder of annotations, a class on each line: labelImg adds what is drawn to that of the folder,
    so that two of them may count the same classes in another order.

    Args:
        source ([`Source`]): where the images are.
        files (`list[str]`): their paths.
    """

    def __init__(self, source: Source, files: list[str]):
        super().__init__(source)
        self.names = {file[: file.rfind("/") + 1]: (file, _read_classes(source, file)) for file in files}
        if empty := [file for file, names in self.names.values() if not names]:
            raise ValueError(f"{empty[0]} is empty: a class on each line expected.")
        self.class_names = list(dict.fromkeys(name for _, names in self.names.values() for name in names.values()))

    def images(self) -> Iterator[tuple[str, str, str]]:
        read = {file for file, _ in self.names.values()}
        for path in self.source.paths():
            if looks_like_image(path):
                read.add(labels_of(self.source, path))
                yield split_of(path), path, path
        yield from self._without_image(path for path in self.source.paths() if path not in read)

    def names_for(self, labels: str) -> tuple[str, dict[int, str]]:
        folder = labels
        while folder:
            folder = folder.rstrip("/")
            folder = folder[: folder.rfind("/") + 1]
            if folder in self.names:
                return self.names[folder]
        if len(self.names) == 1:
            return next(iter(self.names.values()))
        return f"a {CLASSES_FILE} beside it or in a folder around it", {}


def labels_of(source: Source, image: str) -> str | None:
    """The file of an image's boxes: in `labels/` where the image is in `images/`, or beside it."""
    folder, _, _ = image.rpartition("/")
    before, found, after = f"/{folder}/".rpartition("/images/")
    folders = [f"{before}/labels/{after}".strip("/")] if found else []
    for candidate in (*folders, folder):
        path = f"{candidate}/{stem_of(image)}.txt".lstrip("/")
        if path in source:
            return path
    return None


def read_line(text: str, where: str, num_further_values: int = 0) -> tuple[int, tuple[float, float, float, float]]:
    """
    Class and box `(x, y, width, height)`, in fractions, of a line; `ValueError` if it is none.

    Args:
        text (`str`): the line.
        where (`str`): file and line, for messages.
        num_further_values (`int`, *optional*, defaults to 0): number of values behind a box, which are not of it.
    """
    number, *values = text.split()
    coordinates = [as_number(value, where, "box", float) for value in values]
    if num_further_values:
        if len(coordinates) != 4 + num_further_values:
            raise ValueError(
                f"{where}: `class x y width height` and {num_further_values} values of key points expected (`kpt_shape`), "
                f"got {shown(text)}."
            )
        coordinates = coordinates[:4]
    if len(coordinates) == 4:
        x, y, width, height = coordinates
        box = (x - width / 2, y - height / 2, width, height)
    elif len(coordinates) >= 6 and len(coordinates) % 2 == 0:
        xs, ys = coordinates[::2], coordinates[1::2]
        box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    else:
        raise ValueError(f"{where}: `class x y width height` expected, or an outline, got {shown(text)}.")
    if not all(-1 <= value <= 2 for value in coordinates):
        raise ValueError(f"{where}: centre and size must be fractions of the image, got {shown(text)}.")
    # some write it as they write the others
    return checked(as_number(number, where, "class", float), "class", int, where), box


def _read_classes(source: Source, path: str) -> dict[int, str]:
    """Names of the classes by number, which is that of their line, less one: blank lines count."""
    return {int(where.rpartition(" ")[2]) - 1: line.strip() for where, line in source.lines(path)}


class _TextLoader(yaml.SafeLoader):
    """Leaves words and numbers as they are written: classes are called yes and no, too."""


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _num_keypoint_values(shape: object, file: str) -> int:
    """Number of values of the key points on a line."""
    if not isinstance(shape, list) or len(shape) != 2:
        raise ValueError(
            f"{file}: `kpt_shape` must be a number of points and one of values of each, got {shown(shape)}."
        )
    return math.prod(checked(each, "kpt_shape", int, file) for each in shape)


def _read_yaml(source: Source, path: str):
    try:
        return yaml.load(source.read(path, MAX_FILE_BYTES), Loader=_TextLoader)  # noqa: S506 (a safe one)
    except (yaml.YAMLError, RecursionError, UnicodeError) as error:
        raise ValueError(f"{path}: no valid YAML: {' '.join(str(error).split())}.") from error


def _read_names(names, file: str) -> dict[int, str]:
    """Names of the classes by number, of a list or of a mapping."""
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise ValueError(f"{file}: `names` must be a list of classes, or number them, got {shown(names)}.")
    found = {as_number(str(key), file, "names"): checked_name(name, "names", file) for key, name in names.items()}
    return dict(sorted(found.items()))


__all__ = ["YoloLists", "labels_of", "open_lists"]
