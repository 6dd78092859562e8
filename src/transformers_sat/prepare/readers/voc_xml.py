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
"""Boxes in XML files of the PASCAL VOC kind, which ImageNet and Stanford Dogs have, too."""

import codecs
import math
import re
from dataclasses import dataclass
from xml.etree import ElementTree

from ...fields import shown
from ..archives import Source
from .lists import corners_to_box


# What no honest annotation of an image comes near.
MAX_FILE_BYTES = 2**21
MAX_ELEMENTS = 50_000
MAX_DEPTH = 32

DECLARED_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
# By Python's names. Files that say GB 2312 often have characters of what came after it.
MULTI_BYTE_ENCODINGS = dict.fromkeys(("gb2312", "gbk", "gb18030"), "gb18030") | {
    name: name
    for name in (
        "big5",
        "big5hkscs",
        "cp932",
        "cp949",
        "cp950",
        "euc_jp",
        "euc_kr",
        "iso2022_jp",
        "johab",
        "shift_jis",
    )
}


@dataclass
class AnnotatedObject:
    """
    An object of an XML file.

    Attributes:
        name (`str`): its class, as the file calls it.
        box (`(x, y, width, height)`): in pixels.
        is_difficult (`bool`): whether it is marked as difficult.
    """

    name: str
    box: tuple[float, float, float, float]
    is_difficult: bool


@dataclass
class Annotation:
    """
    What an XML file tells of an image.

    Attributes:
        objects (`list[AnnotatedObject]`): in the order of the file.
        file_name (`str`): what the file says that the image is called, without folders; `""` where it does not say.
        size (`(width, height)`, *optional*): in pixels; `None` where the file does not say.
    """

    objects: list[AnnotatedObject]
    size: tuple[int, int] | None
    file_name: str = ""


def read_annotation(source: Source, path: str) -> Annotation:
    """
    Reads an XML file of boxes.

    Raises:
        `ValueError`: if it is no XML, has a document type (which could define entities without end), is larger or nested
            deeper than any annotation, or an object lacks a coordinate; the message has the path.
    """
    content = source.read(path, MAX_FILE_BYTES)
    try:
        root = ElementTree.fromstring(_as_text(content), ElementTree.XMLParser(target=_LimitedTree()))
    except _RefusedError as error:
        raise ValueError(f"{path}: {error}.") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two for encodings that are not known
        raise ValueError(f"{path}: no valid XML ({error}).") from error
    objects = [_read_object(element, path) for element in root.iter("object")]
    file_name = (root.findtext("filename") or "").strip().replace("\\", "/").rpartition("/")[2]
    return Annotation(objects, _read_size(root, path), file_name)


def _as_text(content: bytes) -> str | bytes:
    """The text of a file in one of the encodings that the XML parser lacks; what it reads itself is left to it."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if (declared := DECLARED_ENCODING.match(content)) is None:
        return content
    encoding = codecs.lookup(declared[1].decode()).name
    return content.decode(MULTI_BYTE_ENCODINGS[encoding]) if encoding in MULTI_BYTE_ENCODINGS else content


class _RefusedError(Exception):
    """The file has what no annotation of an image has."""


class _LimitedTree(ElementTree.TreeBuilder):
    def __init__(self):
        super().__init__()
        self._elements = self._depth = 0

    def doctype(self, name: str, pubid: str | None, system: str | None):
        raise _RefusedError("a document type declaration is not accepted")

    def start(self, tag: str, attributes: dict):
        self._elements += 1
        self._depth += 1
        if self._elements > MAX_ELEMENTS:
            raise _RefusedError(f"it has more than {MAX_ELEMENTS} elements")
        if self._depth > MAX_DEPTH:
            raise _RefusedError(f"it is nested more than {MAX_DEPTH} deep")
        return super().start(tag, attributes)

    def end(self, tag: str):
        self._depth -= 1
        return super().end(tag)


def _read_object(element: ElementTree.Element, path: str) -> AnnotatedObject:
    name = (element.findtext("name") or "").strip()
    corners = [_number(element.findtext(f"bndbox/{side}"), side, path) for side in ("xmin", "ymin", "xmax", "ymax")]
    return AnnotatedObject(name, corners_to_box(*corners), (element.findtext("difficult") or "").strip() == "1")


def _read_size(root: ElementTree.Element, path: str) -> tuple[int, int] | None:
    if root.find("size/width") is None or root.find("size/height") is None:
        return None
    width, height = (int(_number(root.findtext(f"size/{side}"), side, path)) for side in ("width", "height"))
    # annotation programs write zeros where they did not know
    return (width, height) if width > 0 and height > 0 else None


def _number(text: str | None, name: str, path: str) -> float:
    try:
        number = float(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: <{name}> should be a number, got {shown(text)}.") from error
    if not math.isfinite(number):
        raise ValueError(f"{path}: <{name}> should be a finite number, got {shown(text)}.")
    return number


__all__ = ["AnnotatedObject", "Annotation", "read_annotation"]
