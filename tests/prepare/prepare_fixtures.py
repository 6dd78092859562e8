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
"""Small sources of all forms, and a reader that has its lists from the test."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image

from transformers_sat.prepare import ImageRecord, Reader, Source


def tar_bytes(files: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def zip_bytes(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def image_bytes(
    seed: int = 0,
    size: tuple[int, int] = (40, 30),
    form: str = "JPEG",
    mode: str = "RGB",
    orientation: int | None = None,
) -> bytes:
    """An image of noise; no two seeds have the same bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return encoded(PIL.Image.fromarray(pixels).convert(mode), form, orientation)


def encoded(image: PIL.Image.Image, form: str = "PNG", orientation: int | None = None) -> bytes:
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(file, form, **({"exif": exif} if orientation is not None else {}))
    return file.getvalue()


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by its path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class ListReader(Reader):
    """A data set whose lists are in memory."""

    name = "list"
    title = "Images of a test"
    homepage = "https://example.org/images"
    license = "cc-by-4.0"
    license_text = "CC BY 4.0, as example.org says."
    citation = "@misc{nobody, title={Images of a test}}"
    layout = "any"

    def __init__(self, source: Source, images: list[ImageRecord], class_names: list[str] | None = None):
        super().__init__(source)
        self._images = images
        self._class_names = class_names or sorted({image.label for image in images})
        self.has_masks = any(image.masks for image in images)
        self.has_ignore_masks = any(image.ignore_masks for image in images)

    @property
    def class_names(self) -> list[str]:
        return self._class_names

    def records(self) -> Iterator[ImageRecord]:
        return iter(self._images)


def listed(image: str, line: int = 1, **fields) -> ImageRecord:
    """An image of the class `bird` in `train`, named by line `line` of `images.txt`."""
    defaults = {"split": "train", "image_id": image, "label": "bird", "where": f"images.txt, line {line}"}
    return ImageRecord(image=image, **defaults | fields)


__all__ = [
    "ListReader",
    "contents",
    "encoded",
    "image_bytes",
    "listed",
    "tar_bytes",
    "write_files",
    "zip_bytes",
]
