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
"""
Reading images: the one place where files are opened, whoever sent them.

What is read costs time and memory in proportion to the file's bytes and the image's pixels. Where a format, or Pillow's
reader of it, can be made to do more than that, the file is refused, or the part that does it is left out.
"""

import base64
import contextlib
import io
import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import numpy as np
import PIL.Image
from transformers.image_utils import httpx  # the client that it fetches images with

from .heif_sat import HEIF_NEEDS, HEIF_SUFFIXES, is_heif, reads_heif, stored_sizes, tamed_heif


# Formats of photographs that Pillow decodes itself. Left out are its readers that run other programs (EPS and PS through
# Ghostscript), that take any bytes for an image (TGA), that hold documents or whole other files (PDF, FPX, MIC, PSD, ICO),
# and JPEG 2000, whose decoder fills a gigabyte from 7 KB. MPO, two JPEG images in a file, is read as JPEG.
# HEIF is read where Pillow's plug-in for it is installed.
IMAGE_FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)

# Where Pillow begins to warn of decompression bombs; an image of that many pixels takes 256 MiB as RGB.
MAX_IMAGE_PIXELS = 1024 * 1024 * 1024 // 12
# What a JPEG file can have; an image that is longer is a strip, and its other side is short.
MAX_IMAGE_SIDE = 65_535
# As many pixels with four channels of 16 bits, not compressed.
MAX_IMAGE_BYTES = 8 * MAX_IMAGE_PIXELS

# A progressive JPEG goes over all pixels once a scan, however few bytes that has. Encoders write about 10 scans; 100 are
# what libjpeg's own `cjpeg` writes at most, and libtiff reads.
MAX_JPEG_SCANS = 100
# A PNG's profile and its compressed texts take up to a megabyte each when they are read; files have a handful.
MAX_PNG_BLOCKS = 100

ORIENTATION = 0x0112
TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
# The largest value of a PNG file's pixels, as Pillow names their layout, where they are decoded to 8 bits.
PNG_LEVELS = {"L;2": 3, "L;4": 15, "RGB;16B": 65_280}
# The orientations that exchange width and height.
QUARTER_TURNS = (5, 6, 7, 8)
# Where Pillow keeps what says how an image is held.
ORIENTATION_ENTRIES = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")

# JPEG: markers with a length behind them (libjpeg steps over the others), and the end.
JPEG_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"

# TIFF files and EXIF blocks: `struct`'s name of the byte order, bytes of a value of each type, names of the integer ones.
BYTE_ORDERS = {b"II": "<", b"MM": ">"}
TAG_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
INTEGER_TAGS = {3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q"}
TILE_WIDTH, TILE_LENGTH = 322, 323
# The tags that say where Pillow finds more tags: of the camera, the place and how files go together.
DIRECTORY_TAGS = (34665, 34853, 40965)

SECONDS_TO_FETCH = 60


class ImageTooLargeError(ValueError):
    """An image with more pixels, or a longer side, than is decoded."""


def read_image(
    file: str | os.PathLike | bytes | BinaryIO,
    name: str,
    max_pixels: int = MAX_IMAGE_PIXELS,
    formats: Sequence[str] = IMAGE_FORMATS,
    min_side: int | None = None,
) -> PIL.Image.Image:
    """
    Reads an image, upright. Its size is looked at before it is decoded.

    Args:
        file (`str`, `os.PathLike`, `bytes` or binary file): path or content.
        name (`str`): what errors call it.
        max_pixels (`int`, *optional*, defaults to `MAX_IMAGE_PIXELS`): width times height, at most.
        formats (`Sequence[str]`, *optional*, defaults to `IMAGE_FORMATS`): those of them to accept.
        min_side (`int`, *optional*):
            Lets JPEG files be decoded at a half, a quarter or an eighth of their size, as long as both sides keep that
            many pixels. It is faster, but gives other pixels than decoding and resizing.

    Returns:
        `PIL.Image.Image` in the file's own mode; the first one of an animation.

    Raises:
        [`ImageTooLargeError`]: if it has more pixels than `max_pixels`, or a side of more than `MAX_IMAGE_SIDE`.
        `ValueError`: if it cannot be decoded. Both are one line with the name.
    """
    with opened_image(file, name, max_pixels, formats) as image:
        if min_side is not None:
            draft_jpeg(image, min_side)
        return upright(image)


@contextlib.contextmanager
def opened_image(
    file: str | os.PathLike | bytes | BinaryIO,
    name: str,
    max_pixels: int = MAX_IMAGE_PIXELS,
    formats: Sequence[str] = IMAGE_FORMATS,
) -> Iterator[PIL.Image.Image]:
    """
    For what [`read_image`] does not do: an image as it is stored, its size known and its pixels not decoded yet. Errors in
    the body of the `with` count as errors of the image.

    Args:
        file, name, max_pixels, formats: as those of [`read_image`].

    Raises:
        [`ImageTooLargeError`], `ValueError`: as [`read_image`].
    """
    readable = []
    with _errors_of_image(name, readable):
        content = _tamed(_content(file))
        readable += _readable(content, formats)
        with PIL.Image.open(io.BytesIO(content), formats=readable) as image:
            _check_size(image, content, max_pixels)
            yield image


def check_header(file: str | os.PathLike | BinaryIO, name: str):
    """
    Opens an image as far as its size is known. Of a file that is whole up to there and damaged behind it, nothing is said.

    Args:
        file (`str`, `os.PathLike` or binary file): path, or what reads the content.
        name (`str`): what errors call it.

    Raises:
        [`ImageTooLargeError`], `ValueError`: as [`read_image`].
    """
    readable = []
    with _errors_of_image(name, readable):
        beginning = _beginning(file)
        readable += _readable(beginning, IMAGE_FORMATS)
        # the plug-in for HEIF reads such a file whole in any case
        opened = opened_image(file, name) if is_heif(beginning) else PIL.Image.open(file, formats=readable)
        with opened as image:
            _check_size(image, beginning, MAX_IMAGE_PIXELS)


def _beginning(file: str | os.PathLike | BinaryIO) -> bytes:
    """As much of a file as tells HEIF from others."""
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as opened:
            return opened.read(64)
    beginning = file.read(64)
    file.seek(0)
    return beginning


def _readable(content: bytes, formats: Sequence[str]) -> list[str]:
    """Those of the formats that Pillow reads here; `ValueError` if the content is HEIF, and that is not one of them."""
    if not content:
        raise ValueError("it is empty (0 bytes).")
    PIL.Image.init()
    if is_heif(content) and "HEIF" in formats and not reads_heif():
        raise ValueError(f"HEIC {HEIF_NEEDS}.")
    return [format for format in IMAGE_FORMATS if format in formats and format in PIL.Image.OPEN]


@contextlib.contextmanager
def _errors_of_image(name: str, readable: list[str]) -> Iterator[None]:
    """Errors in the block are those of [`read_image`]; `readable` has the formats that were tried."""
    name = one_line(name)
    try:
        yield
    except ImageTooLargeError as error:
        raise ImageTooLargeError(f"The image {name} {error}") from error
    except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError) as error:
        raise ImageTooLargeError(f"The image {name} is too large: {one_line(error)}") from error
    except PIL.UnidentifiedImageError as error:
        # its own message names a Python object
        raise ValueError(
            f"The image {name} cannot be decoded: it is damaged at its beginning, or none of {', '.join(readable)}."
        ) from error
    except Exception as error:  # on damaged files Pillow's readers raise errors of any kind
        raise ValueError(f"The image {name} cannot be decoded: {one_line(error)}") from error


def draft_jpeg(image: PIL.Image.Image, min_side: int):
    """
    Lets a JPEG file that was opened be decoded at a half, a quarter or an eighth of its size, as long as both sides keep
    that many pixels. Of HEIF files Pillow would take a thumbnail, which says nothing about the image.
    """
    if image.format == "JPEG":
        image.draft(None, (min_side, min_side))


def has_image_suffix(path: str) -> bool:
    """Whether a file's name is that of a format that is read."""
    path = path.lower()
    return path.endswith(IMAGE_SUFFIXES) or (path.endswith(HEIF_SUFFIXES) and reads_heif())


def upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """
    Turns an image as its EXIF block (or XMP) says that it is held.

    Args:
        image (`PIL.Image.Image`): as it is stored.

    Returns:
        `PIL.Image.Image`: a copy, without what said so: it is not turned twice. An orientation that cannot be read is 1.
    """
    _scale_transparency(image)
    image.load()
    turn = TURNS.get(orientation_of(image))
    turned = image.copy() if turn is None else image.transpose(turn)
    for entry in ORIENTATION_ENTRIES:
        turned.info.pop(entry, None)
    return turned


def _scale_transparency(image: PIL.Image.Image):
    """
    Brings the colour that a PNG file says is transparent to the 8 bits that its pixels will have, before they are decoded:
    Pillow leaves it as it stands in the file.
    """
    layout = image.tile[0].args if image.format == "PNG" and getattr(image, "tile", None) else None
    transparent, levels = image.info.get("transparency"), PNG_LEVELS.get(layout if isinstance(layout, str) else None)
    if levels is None or transparent is None or isinstance(transparent, bytes):
        return
    if isinstance(transparent, tuple):
        image.info["transparency"] = tuple(value * 255 // levels for value in transparent)
    else:
        image.info["transparency"] = transparent * 255 // levels


def upright_size(image: PIL.Image.Image) -> tuple[int, int]:
    """Width and height that an image has once it is [`upright`]; its pixels are not decoded for it."""
    return image.size[::-1] if orientation_of(image) in QUARTER_TURNS else image.size


def orientation_of(image: PIL.Image.Image) -> int:
    """EXIF orientation of an image, 1 to 8; 1 where there is none, or none that can be read."""
    try:
        block = image.info.get("exif")
        if block is None and "Raw profile type exif" in image.info:
            block = bytes.fromhex("".join(image.info["Raw profile type exif"].split("\n")[3:]))
        if block is not None and _refers_too_often(block):
            return 1
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # the pixels are whole, whatever is wrong with what is said of them
        return 1
    return orientation if orientation in TURNS else 1


def fetch_file(source: str, timeout: float | None = None) -> bytes:
    """
    Content of the image file that a text stands for, with at most `MAX_IMAGE_BYTES`.

    Args:
        source (`str`): address that starts with `http://` or `https://`, or the file in base64, with or without a `data:`
            header.
        timeout (`float`, *optional*): seconds to wait for an address; 60 by default.

    Raises:
        [`ImageTooLargeError`]: if it has more bytes.
        `ValueError`: if it is neither, or cannot be fetched.
    """
    name = one_line(source, 100)
    if source.startswith(("http://", "https://")):
        try:
            with httpx.stream(
                "GET", source, timeout=SECONDS_TO_FETCH if timeout is None else timeout, follow_redirects=True
            ) as response:
                response.raise_for_status()
                return _gathered(response.iter_bytes())
        except ImageTooLargeError as error:
            raise ImageTooLargeError(f"The image {name} {error}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ValueError(f"The image {name} cannot be fetched: {one_line(error)}") from error
    text = source.partition(",")[2] if source.startswith("data:image/") else source
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise ValueError(
            f"There is no image {name}: it must be the path of a file, an address that starts with http:// or https://, or "
            "a file in base64."
        ) from error


def one_line(text: object, length: int = 300) -> str:
    """A name or an error for a message: short, without line breaks and control characters, whatever a file or a client put in."""
    printable = "".join(character if character.isprintable() else " " for character in str(text))
    line = " ".join(printable.split()) or type(text).__name__
    return line if len(line) <= length else f"{line[: length - 3]}..."


def _content(file: str | os.PathLike | bytes | BinaryIO) -> bytes:
    """All of a file: what is looked at is what is decoded, even if somebody writes to it meanwhile."""
    if isinstance(file, (bytes, bytearray)):
        return _gathered([bytes(file)])
    if hasattr(file, "read"):
        return _gathered(iter(lambda: file.read(2**20), b""))
    with open(file, "rb") as opened:
        return _content(opened)


def _gathered(parts: Iterable[bytes]) -> bytes:
    """The parts of a file as one, as long as they are not too many."""
    gathered, length = [], 0
    for part in parts:
        gathered.append(part)
        length += len(part)
        if length > MAX_IMAGE_BYTES:
            raise ImageTooLargeError(f"has more than the {MAX_IMAGE_BYTES} bytes that are read.")
    return gathered[0] if len(gathered) == 1 else b"".join(gathered)


def _check_size(image: PIL.Image.Image, content: bytes, max_pixels: int):
    """Stops before an image that was opened, and not decoded yet, fills the memory."""
    sizes = [image.size]
    if image.format == "TIFF":
        # the tiles that it is stored in are decoded whole, and may be larger than the image
        sizes.append([image.tag_v2.get(tag, 0) for tag in (TILE_WIDTH, TILE_LENGTH)])
    if image.format == "HEIF":
        sizes += stored_sizes(image, content)
    for width, height in sizes:
        if width * height > max_pixels:
            raise ImageTooLargeError(
                f"has {width} x {height} pixels, more than the {max_pixels} that are decoded; make it smaller first."
            )
        if max(width, height) > MAX_IMAGE_SIDE:
            raise ImageTooLargeError(
                f"has {width} x {height} pixels, and a side of more than {MAX_IMAGE_SIDE}; make it smaller first."
            )
    covered = sum((x1 - x0) * (y1 - y0) for _, (x0, y0, x1, y1), *_ in image.tile)
    if covered > len(image.getbands()) * image.width * image.height:
        raise ValueError("it stores the same pixels several times.")


def _tamed(content: bytes) -> bytes:
    """
    The file without the metadata that Pillow would spend more time and memory on than in proportion to their bytes.

    Raises:
        `ValueError`: if the image itself is such.
    """
    if content.startswith(b"\xff\xd8"):
        return _tamed_jpeg(content)
    if content.startswith(b"GIF8"):
        return _tamed_gif(content)
    if content[4:8] == b"ftyp":
        return tamed_heif(content)
    if content.startswith(b"\x89PNG") and sum(map(content.count, (b"iCCP", b"zTXt", b"iTXt"))) > MAX_PNG_BLOCKS:
        raise ValueError(f"it has more than {MAX_PNG_BLOCKS} profiles and compressed texts.")
    if content[:2] in BYTE_ORDERS and _refers_too_often(content):
        raise ValueError("its tags refer to more bytes than it has.")
    return content


def _tamed_jpeg(content: bytes) -> bytes:
    """
    A JPEG file with one EXIF block at most, the first, if that is sound, and as one image. Pillow joins the blocks, and
    copies all that it has for each.
    """
    # most often these two bytes are those of scans, and few
    if content.count(START_OF_SCAN) > MAX_JPEG_SCANS and _has_too_many_scans(content):
        raise ValueError(f"it has more than {MAX_JPEG_SCANS} scans.")
    exif = _named_segments(content, b"\xff\xe1", b"Exif\0")
    unwanted = exif[1:] + _named_segments(content, b"\xff\xe2", b"MPF\0")
    if exif:
        length = int.from_bytes(content[exif[0] - 2 : exif[0]], "big")
        if _refers_too_often(content[exif[0] : exif[0] + length - 2]):
            unwanted.append(exif[0])
    if not unwanted:
        return content
    tamed = bytearray(content)
    for place in unwanted:
        tamed[place] = 0  # the first letter: nobody knows the segment then
    return bytes(tamed)


def _named_segments(content: bytes, marker: bytes, name: bytes) -> list[int]:
    """Where the names stand that follow a JPEG marker and the two bytes of its length."""
    places = []
    place = content.find(name)
    while place >= 0:
        if content[place - 4 : place - 2] == marker:
            places.append(place)
        place = content.find(name, place + 1)
    return places


def _has_too_many_scans(content: bytes) -> bool:
    """Goes from marker to marker as libjpeg does: elsewhere, as in a film behind the image, the same bytes are none."""
    position, scans = 0, 0
    while scans <= MAX_JPEG_SCANS and (marker := JPEG_MARKER.search(content, position)) and marker[0] != END_OF_IMAGE:
        scans += marker[0] == START_OF_SCAN
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return scans > MAX_JPEG_SCANS


def _tamed_gif(content: bytes) -> bytes:
    """A GIF file without what comes before its first image, but for the transparency: Pillow joins comments bit by bit."""
    try:
        start = position = 13 + (3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0)
        transparency = b""
        while content[position] not in b",;":
            extension = position
            position += 1
            if content[extension] != ord("!"):
                continue
            position += 1
            while content[position]:
                position += 1 + content[position]
            position += 1
            if content[extension + 1 : extension + 3] == b"\xf9\x04":
                transparency = content[extension:position]
    except IndexError as error:
        raise ValueError("it ends before its first image.") from error
    return content[:start] + transparency[:8] + content[position:]


def _refers_too_often(block: bytes) -> bool:
    """
    Whether the tags of a TIFF file or EXIF block refer to more bytes than it has. Pillow copies the bytes for each tag, and
    thousands of tags can refer to the same megabytes.
    """
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = BYTE_ORDERS.get(block[:2])
    if order is None:
        return False
    # Pillow looks for BigTIFF's 43 in one of these bytes, whatever their order
    for is_big in {43 in block[2:4], block[2:3] == b"+"}:
        try:
            (first,) = struct.unpack_from(order + ("Q" if is_big else "L"), block, 8 if is_big else 4)
            total, places = _directory(block, first, order, is_big)
            total += sum(_directory(block, place, order, is_big)[0] for place in places)
        except struct.error:
            continue
        # one may be too long by mistake; reading ends there
        if total > 2 * len(block):
            return True
    return False


def _directory(block: bytes, position: int, order: str, is_big: bool) -> tuple[int, set[int]]:
    """Number of bytes that the tags of a directory refer to, and where the directories are that Pillow follows them to."""
    entry = struct.Struct(order + ("HHQ8s" if is_big else "HHL4s"))
    (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), block, position)
    position += 8 if is_big else 2
    total, places = 0, {}
    for start in range(position, min(position + count * entry.size, len(block) - entry.size + 1), entry.size):
        tag, kind, number, value = entry.unpack_from(block, start)
        size = number * TAG_SIZES.get(kind, 0)
        if size > len(value):
            (offset,) = struct.unpack(order + ("Q" if is_big else "L"), value)
            value = block[offset : offset + 8] if size == 8 else b""
            held = max(len(block) - offset, 0)
            total += min(size, held)
            if size > held:
                break
        if tag in DIRECTORY_TAGS and number == 1 and kind in INTEGER_TAGS and len(value) >= size:
            (places[tag],) = struct.unpack_from(order + INTEGER_TAGS[kind], value)
    return total, {place for place in places.values() if 0 <= place < len(block) - 1}


def read_mask(image: PIL.Image.Image) -> np.ndarray:
    """A mask of shape `(height, width)`, boolean: the pixels of a PIL image that are not black."""
    # modes that hold numbers keep them: the usual conversion would cut 16 bits off at 255
    plain = image if image.mode in ("1", "L", "F") or image.mode.startswith("I") else image.convert("L")
    return np.asarray(plain) > 0


__all__ = [
    "IMAGE_FORMATS",
    "IMAGE_SUFFIXES",
    "MAX_IMAGE_BYTES",
    "MAX_IMAGE_PIXELS",
    "MAX_IMAGE_SIDE",
    "QUARTER_TURNS",
    "TURNS",
    "ImageTooLargeError",
    "draft_jpeg",
    "fetch_file",
    "has_image_suffix",
    "one_line",
    "opened_image",
    "orientation_of",
    "read_image",
    "read_mask",
    "upright",
    "upright_size",
]
