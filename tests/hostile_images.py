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
"""Image files that are small as files and huge in memory or time, or that say wrong things of themselves."""

import io
import re
import struct
import zlib

import numpy as np
import PIL.Image
import pillow_heif


# No directory of tags begins like this.
UNREADABLE_EXIF = b"Exif\0\0XX*\0\x08\0\0\0\0\0"
# Ghostscript would be run on it.
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 20\n%%EndComments\nshowpage\n%%EOF\n"


# The property of a HEIF file that says how large something in it is.
HEIF_SIZE = re.compile(rb"(?s)(ispe\0\0\0\0)(.{8})")

pillow_heif.register_heif_opener()


def photograph(width: int = 30, height: int = 20) -> PIL.Image.Image:
    """Smooth noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC)


def encoded(image: PIL.Image.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def png_without_pixels(width: int, height: int) -> bytes:
    """A PNG that says it is of that size and ends there."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def png_with_profiles(number: int) -> bytes:
    """A PNG with colour profiles of almost a megabyte each, a kilobyte in the file."""
    content = encoded(photograph(), "PNG")
    profile = b"iCCPx\0\0" + zlib.compress(bytes(1_000_000))
    chunk = struct.pack(">I", len(profile) - 4) + profile + struct.pack(">I", zlib.crc32(profile))
    return content[:33] + chunk * number + content[33:]


def jpeg_with_scans(number: int) -> bytes:
    """A progressive JPEG with its last scan again and again."""
    content = encoded(photograph(), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * (number + 1 - content.count(b"\xff\xda")) + content[-2:]


def jpeg_with_exif_blocks(number: int) -> bytes:
    """A JPEG with EXIF blocks of a byte each, which belong together."""
    content = encoded(photograph(), "JPEG")
    return content[:2] + b"\xff\xe1\x00\x09Exif\0\0a" * number + content[2:]


def gif_with_comment(number: int) -> bytes:
    """A GIF with a comment of that many pieces before its image, which is transparent in part."""
    image = PIL.Image.new("P", (30, 20), 3)
    image.paste(5, (0, 0, 10, 10))
    content = encoded(image, "GIF", transparency=5)
    # behind the table of colours
    start = 13 + (3 << (content[10] & 7) + 1)
    return content[:start] + b"!\xfe" + (b"\xff" + b"a" * 255) * number + b"\0" + content[start:]


def exif_of_greedy_tags(size: int, number: int) -> bytes:
    """An EXIF block of `size` bytes, each of whose tags refers to nearly all of them."""
    tags = b"".join(struct.pack("<HHLL", 0x8000 + tag, 7, size - 100, 8) for tag in range(number))
    return b"Exif\0\0" + (b"II*\0\x08\0\0\0" + struct.pack("<H", number) + tags).ljust(size, b"\0")


def tiff(*tags: tuple[int, int, int, int], size: tuple[int, int] = (30, 20), behind: bytes = b"") -> bytes:
    """
    A grey TIFF, not compressed.

    Args:
        tags: `(number, type, count, value or offset)`, in the place of others with the number. A negative offset counts from
            the end of the pixels, where `behind` begins.
        size: width and height.
        behind: follows the pixels.
    """
    width, height = size
    usual = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    usual += [(273, 4, 1, None), (278, 4, 1, height), (279, 4, 1, width * height)]
    entries = sorted(({tag[0]: tag for tag in usual} | {tag[0]: tag for tag in tags}).values())
    pixels_at = 8 + 2 + 12 * len(entries) + 4
    content = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    for number, kind, count, value in entries:
        if value is None:
            value = pixels_at
        elif value < 0:
            value = pixels_at + width * height
        content += struct.pack("<HHLL", number, kind, count, value)
    return content + bytes(4) + bytes(value % 251 for value in range(width * height)) + behind


def tiff_of_repeated_strips(number: int) -> bytes:
    """A TIFF that says again and again where its strips are: all but the last row, then the last row."""
    return tiff((273, 4, number, -1), (278, 4, 1, 19), behind=struct.pack("<L", 300) * number)


def tiff_of_greedy_tags(number: int) -> bytes:
    """A TIFF whose tags each refer to all of its pixels."""
    return tiff(*((0x8000 + tag, 7, 100_000, 8) for tag in range(number)), size=(400, 300))


def tiff_of_large_tiles() -> bytes:
    """A TIFF of 30 x 20 pixels, in a tile of 60000 x 60000."""
    return tiff((259, 3, 1, 8), (322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8), (325, 4, 1, 100))


def heif_cut_from_large() -> bytes:
    """A HEIF of 31 x 21 pixels, cut from 60000 x 60000."""
    return HEIF_SIZE.sub(
        lambda found: found[1] + struct.pack(">LL", 60_000, 60_000), encoded(photograph(31, 21), "HEIF")
    )


def heif_of_tiles_outside() -> bytes:
    """A HEIF of 30 x 20 pixels, stored in 3 x 3 tiles of 64 x 64."""
    content = encoded(photograph(150, 150), "HEIF", tile_size=64)
    content = content.replace(b"\x02\x02" + struct.pack(">HH", 150, 150), b"\x02\x02" + struct.pack(">HH", 30, 20))
    large, small = struct.pack(">LL", 150, 150), struct.pack(">LL", 30, 20)
    return HEIF_SIZE.sub(lambda found: found[1] + (small if found[2] == large else found[2]), content)


def heif_with_metadata(number: int) -> bytes:
    """A HEIF with as many references of metadata to its image."""
    return encoded(photograph(), "HEIF") + struct.pack(">L", 8 + 4 * number) + b"free" + b"cdsc" * number


__all__ = [
    "EPS",
    "UNREADABLE_EXIF",
    "encoded",
    "exif_of_greedy_tags",
    "gif_with_comment",
    "heif_cut_from_large",
    "heif_of_tiles_outside",
    "heif_with_metadata",
    "jpeg_with_exif_blocks",
    "jpeg_with_scans",
    "photograph",
    "png_with_profiles",
    "png_without_pixels",
    "tiff",
    "tiff_of_greedy_tags",
    "tiff_of_large_tiles",
    "tiff_of_repeated_strips",
]
