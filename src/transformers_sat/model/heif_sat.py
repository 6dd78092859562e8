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
HEIF files, what telephones call HEIC: read where the package pillow-heif is installed, and held to the limits of the other
formats before anything of them is decoded.
"""

import re
import struct

import PIL.Image


HEIF_SUFFIXES = (".heic", ".heif", ".hif")
HEIF_NEEDS = "needs another package, `pip install pillow-heif`; or convert the image to JPEG or PNG"

# What such a file begins with, at its fifth byte; the last two are also those of AVIF files, which say so behind it.
BRANDS = tuple(b"ftyp" + brand for brand in b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())
AVIF_BRAND = b"avif"

# Exif, XMP and the like, which may all be the same bytes of the file; telephones write a handful.
MAX_METADATA = 16

# The property that says how large something stored is, with version and flags; the decoder holds it to that.
STORED_SIZE = re.compile(rb"(?s)ispe\0\0\0\0(.{8})")
# An entry in the list of what is stored, up to the name of its kind.
ENTRY = rb"(?s)(infe(?:\x02.{7}|\x03.{9}))"


def is_heif(content: bytes) -> bool:
    """Whether a file is HEIF by its beginning."""
    return content[4:12] in BRANDS and AVIF_BRAND not in content[12:64]


def reads_heif() -> bool:
    """Whether HEIF files are read: Pillow's plug-in for them is registered, now if it was not before."""
    if "HEIF" not in PIL.Image.OPEN:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            return False
        register_heif_opener()
    return True


def tamed_heif(content: bytes) -> bytes:
    """
    A HEIF or AVIF file without its EXIF block. Its orientation is in `irot` and `imir`; decoders pass over the block's, and
    here over all of it.

    Raises:
        `ValueError`: if it has more metadata than is read, or is put together of images one over the other.
    """
    # each refers to its image with this
    if content.count(b"cdsc") > MAX_METADATA:
        raise ValueError(f"it has more than {MAX_METADATA} blocks of metadata.")
    if re.search(ENTRY + rb"iovl", content):
        raise ValueError("it lays images over each other, which is not read.")
    return content if b"Exif" not in content else re.sub(ENTRY + rb"Exif", rb"\1none", content)


def stored_sizes(image: PIL.Image.Image, content: bytes) -> list[tuple[int, int]]:
    """
    Widths and heights of all that a HEIF file stores: what is decoded whole and then cut to the image, tiles and thumbnails.

    Raises:
        `ValueError`: if it stores tiles that are outside of the image, each of which is decoded.
    """
    tiling = image.info.get("tiling")
    for side, count in (("width", "num_columns"), ("height", "num_rows")) if tiling else ():
        tile = tiling[f"tile_{side}"]
        # the last of them may reach past the edge
        if tiling[count] * tile >= tiling[f"image_{side}"] + tile:
            raise ValueError("it stores tiles that are outside of it.")
    return [struct.unpack(">LL", size) for size in STORED_SIZE.findall(content)]


__all__ = ["HEIF_NEEDS", "HEIF_SUFFIXES", "is_heif", "reads_heif", "stored_sizes", "tamed_heif"]
