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
"""Detection data as YOLO programs have them: a `data.yaml`, and a text file of boxes for each image."""

import posixpath
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import yaml

from ...fields import as_number, checked_name, shown
from ...model.images_sat import opened_image, upright_size
from ..archives import Source
from ..records import ImageRecord, Reader
from .image_files import format_problem, looks_like_image, stem_of
from .lists import SPLITS, log_left_out, missing, problem_of


MAX_FILE_BYTES = 2**20


class YoloReader(Reader):
    """
    What Roboflow, Ultralytics and others export for YOLO.

    An image has one class here. So what is taken are the images whose boxes are all of one class, whatever their number.
    Outlines become the boxes around them. How many images that leaves out is logged.
    """

    name = "yolo"
    title = "Images of one class in YOLO's form"
    homepage = ""
    license = "unknown"
    license_text = "Not stated: say here under which terms the images may be used, and change `license` above."
    citation = ""
    layout = """data.yaml              names: [cat, dog], and train: images/train and the like: folders, or lists of images
images/<split>/*.jpg   or <split>/images/*.jpg
labels/<split>/*.txt   or <split>/labels/*.txt: a line `class x y width height` for each box, centre and size in fractions"""

    def __init__(self, source: Source):
        super().__init__(source)
        found = [path for path in source.paths() if path.lower().endswith((".yaml", ".yml"))]
        contents = {path: _read_yaml(source, path) for path in found}
        self.files = [path for path in found if isinstance(contents[path], dict) and "names" in contents[path]]
        if len(self.files) != 1:
            what = "data.yaml" if not self.files else f"One of {', '.join(self.files)}, the others taken out,"
            raise missing(what, self.layout)
        self.file = self.files[0]
        self.root = self.file[: self.file.rfind("/") + 1]
        self.settings = contents[self.file]
        self.names = _read_names(self.settings["names"], self.file)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes that some image is of, by their numbers in the file."""
        used = {record.label for record in self._images if record.problem is None}
        return [name for name in self.names.values() if name in used]

    def records(self) -> Iterator[ImageRecord]:
        yield from self._images

    def annotate(self, record: ImageRecord) -> ImageRecord:
        """The boxes are in fractions of the image: only its own size tells where they are."""
        content = self.source.read(record.image)
        try:
            with opened_image(content, record.image) as image:
                width, height = upright_size(image)
        except ValueError:
            # told where it is decoded
            return record
        boxes = [box for _, box in self._boxes(record.image)]
        return replace(record, boxes=[(x * width, y * height, w * width, h * height) for x, y, w, h in boxes])

    def left_over(self) -> Iterator[tuple[str, str]]:
        listed = {image for _, image, _ in self._listed()}
        for path in self.source.paths():
            if looks_like_image(path) and path not in listed:
                yield path, "which are in no split"

    @cached_property
    def _images(self) -> list[ImageRecord]:
        records, left_out, total = [], Counter(), 0
        for split, image, where in self._listed():
            total += 1
            label, problem = "", format_problem(image)
            try:
                classes = {number for number, _ in self._boxes(image)}
            except ValueError as error:
                problem = problem or problem_of(error, where)
            else:
                if len(classes) != 1:
                    left_out["with several classes" if classes else "without a box"] += 1
                    continue
                number = classes.pop()
                label = self.names.get(number, "")
                if number not in self.names:
                    problem = problem or ("unknown_class", f"there is no class {number} in {self.file}.")
            records.append(ImageRecord(split, image, image, label, where, problem=problem))
        log_left_out(left_out, total)
        return records

    def _listed(self) -> Iterator[tuple[str, str, str]]:
        """Split and image, and where it says so."""
        given = set()
        for key, split in SPLITS.items():
            values = self.settings.get(key)
            for value in values if isinstance(values, list) else [values] if values else []:
                for image, where in self._images_at(checked_name(value, key, self.file), key):
                    if image not in given:
                        given.add(image)
                        yield split, image, where
        if not given:
            raise ValueError(f"{self.file} names no folder with images.\nThe source should hold:\n{self.layout}")

    def _images_at(self, value: str, key: str) -> Iterator[tuple[str, str]]:
        value = value.replace("\\", "/")
        for path in self._places(value):
            if path in self.source and path.lower().endswith(".txt"):
                for where, line in self.source.lines(path):
                    name = line.strip().replace("\\", "/")
                    known = [place for place in self._places(name) if place in self.source]
                    yield (known or [posixpath.normpath(name).lstrip("/")])[0], where
                return
            if images := [image for image in self.source.folder(path) if looks_like_image(image)]:
                yield from ((image, image) for image in images)
                return
        raise ValueError(f"{self.file}: `{key}` is {shown(value)}, where there are no images in the source.")

    def _places(self, value: str) -> Iterator[str]:
        """
        Where a path of the file may be: it is relative to the file, to its `path`, or (Roboflow) to a folder that is not
        there, or absolute on another machine.
        """
        base = self.settings.get("path")
        for folder in (str(base), "") if isinstance(base, str) else ("",):
            path = posixpath.normpath(posixpath.join(self.root, folder.replace("\\", "/"), value))
            if not path.startswith(("/", "..")) and path != ".":
                yield path
        parts = [part for part in value.split("/") if part not in ("", ".", "..")]
        for first in range(len(parts)):
            yield self.root + "/".join(parts[first:])

    def _boxes(self, image: str) -> list[tuple[int, tuple[float, float, float, float]]]:
        """Class and box `(x, y, width, height)`, in fractions, of each line of an image's file."""
        folder, _, _ = image.rpartition("/")
        before, found, after = f"/{folder}/".rpartition("/images/")
        folders = [f"{before}/labels/{after}".strip("/")] if found else []
        for candidate in (*folders, folder):
            path = f"{candidate}/{stem_of(image)}.txt".lstrip("/")
            if path in self.source:
                return [_read_line(text, where) for where, text in self.source.lines(path)]
        return []


def _read_line(text: str, where: str) -> tuple[int, tuple[float, float, float, float]]:
    number, *values = text.split()
    coordinates = [as_number(value, where, "box", float) for value in values]
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
    return as_number(number, where, "class"), box


def _read_yaml(source: Source, path: str):
    try:
        return yaml.safe_load(source.read(path, MAX_FILE_BYTES))
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


__all__ = ["YoloReader"]
