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
"""Damaged and hostile files of every format: `read_image` gives an image, or one line that says what is wrong."""

import random
import resource
import time
import warnings

import numpy as np
import PIL.Image
import pytest
from hostile_images import (
    EPS,
    UNREADABLE_EXIF,
    encoded,
    exif_of_greedy_tags,
    gif_with_comment,
    jpeg_with_exif_blocks,
    jpeg_with_scans,
    photograph,
    png_with_profiles,
    png_without_pixels,
    tiff,
    tiff_of_greedy_tags,
    tiff_of_large_tiles,
    tiff_of_repeated_strips,
)

from transformers_sat.model.images_sat import IMAGE_FORMATS, ImageTooLargeError, read_image


SECONDS = 12
# Far more than any of the files needs, far less than a bomb takes.
MEGABYTES = 500
MAX_PIXELS = 2_000_000

GREY = PIL.Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30))
SEEDS = {
    **{name: encoded(photograph(), name) for name in IMAGE_FORMATS},
    "JPEG, progressive": encoded(photograph(90, 60), "JPEG", progressive=True),
    "JPEG, EXIF": encoded(photograph(), "JPEG", exif=exif_of_greedy_tags(900, 20)),
    "PNG, EXIF": encoded(photograph(), "PNG", exif=exif_of_greedy_tags(900, 20)),
    "PNG, palette": encoded(photograph().convert("P"), "PNG", transparency=0),
    "PNG, 16 bits": encoded(GREY, "PNG"),
    "GIF, comment": gif_with_comment(2),
    "BMP, run lengths": b"BM"
    + (66).to_bytes(4, "little")
    + bytes(4)
    + (62).to_bytes(4, "little")
    + (40).to_bytes(4, "little")
    + (30).to_bytes(4, "little")
    + (20).to_bytes(4, "little")
    + b"\x01\0\x08\0"
    + (1).to_bytes(4, "little")
    + bytes(12)
    + (2).to_bytes(4, "little")
    + bytes(4)
    + bytes(8)
    + b"\x1e\x01\0\0" * 20
    + b"\0\x01",
    "WEBP, lossless": encoded(photograph(), "WEBP", lossless=True, exif=UNREADABLE_EXIF),
    "TIFF, plain": tiff((34665, 4, 1, -1), (274, 3, 1, 6), behind=bytes(60)),
    **{
        f"TIFF, {compression}": encoded(photograph(), "TIFF", compression=compression)
        for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
    },
    "TIFF, fax": encoded(photograph().convert("1"), "TIFF", compression="group4"),
    "PPM, text": b"P3\n# text\n3 2\n200\n" + b"1 2 3\n" * 6,
}
BOMBS = [
    EPS,
    png_without_pixels(60_000, 60_000),
    png_without_pixels(1, 70_000),
    png_with_profiles(3000),
    jpeg_with_scans(3000),
    jpeg_with_exif_blocks(20_000),
    gif_with_comment(20_000),
    tiff_of_greedy_tags(3000),
    tiff_of_large_tiles(),
    tiff_of_repeated_strips(100_000),
    encoded(photograph(), "PNG", exif=exif_of_greedy_tags(500_000, 3000)),
    encoded(photograph(), "JPEG", exif=exif_of_greedy_tags(60_000, 3000)),
    encoded(photograph(), "WEBP", exif=exif_of_greedy_tags(500_000, 3000)),
]


def damaged(generator: random.Random, content: bytes) -> bytes:
    """The file cut off, with other bytes, with bytes left out, with a part twice, or with the end of another file."""
    changed = bytearray(content)
    # mostly where formats say what there is
    span = min(len(changed), generator.choice([30, 200, len(changed)]))
    kind = generator.randrange(5)
    if kind == 0:
        return bytes(changed[: generator.randrange(len(changed))])
    for _ in range(generator.randrange(1, 9)):
        at = generator.randrange(span)
        if kind == 1:
            changed[at] = generator.choice([0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)])
        elif kind == 2:
            del changed[at : at + generator.randrange(1, 5)]
            changed += bytes(4)
        elif kind == 3:
            part = changed[at : at + generator.randrange(1, 60)]
            changed[at:at] = part * generator.randrange(1, 4)
        else:
            other = generator.choice(list(SEEDS.values()))
            changed[at:] = other[generator.randrange(len(other)) :] or b"\0"
            span = min(span, len(changed))
    return bytes(changed)


def outcome_of(content: bytes) -> str:
    try:
        image = read_image(content, "fuzzed.png", max_pixels=MAX_PIXELS)
    except ValueError as error:
        message = str(error)
        assert message.startswith("The image fuzzed.png "), message
        assert "\n" not in message and " at 0x" not in message and len(message) < 500, message
        return "too large" if isinstance(error, ImageTooLargeError) else "refused"
    assert 0 < image.width * image.height <= MAX_PIXELS
    np.asarray(image)
    return "read"


@pytest.mark.slow
def test_read_image(report_counts):
    generator = random.Random(0)
    counts = dict.fromkeys(("read", "refused", "too large"), 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in SEEDS.values():
            assert outcome_of(content) == "read"
        for content in BOMBS:
            counts[outcome_of(content)] += 1
        end = time.monotonic() + SECONDS
        attempts = 0
        while attempts < 500 or (time.monotonic() < end and attempts < 20_000):
            counts[
                outcome_of(
                    damaged(
                        generator,
                        generator.choice([*SEEDS.values(), jpeg_with_scans(150), tiff_of_repeated_strips(50)]),
                    )
                )
            ] += 1
            attempts += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    report_counts("damaged image files", tried=attempts, **counts, megabytes_grown=round(grown))
    assert grown < MEGABYTES
    # both ways were gone often
    assert counts["read"] > attempts / 20
    assert counts["refused"] > attempts / 4
