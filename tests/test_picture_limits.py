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
"""Pictures with more pixels than are decoded."""

import io
import warnings

import PIL.Image
import pytest
from hostile_pictures import png_without_pixels

from transformers_sat import SATImageProcessor, SATImageProcessorPil
from transformers_sat.post_processing_sat import MAX_PICTURE_PIXELS, PictureTooLargeError


PROCESSORS = [SATImageProcessor(), SATImageProcessorPil()]


@pytest.fixture(autouse=True)
def pillow_warns():
    """Pillow's own warning of large pictures is none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        yield


@pytest.mark.parametrize("processor", PROCESSORS, ids=["torchvision", "pil"])
@pytest.mark.parametrize("width, height", [(10_000, 10_000), (MAX_PICTURE_PIXELS + 1, 1), (65_535, 65_535)])
def test_files(processor, tmp_path, width, height):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_without_pixels(width, height))
    with pytest.raises(PictureTooLargeError, match="bomb.png"):
        processor.fetch_images(str(path))
    # just small enough: decoded, and found to be broken
    path.write_bytes(png_without_pixels(MAX_PICTURE_PIXELS, 1))
    with pytest.raises(ValueError, match="bomb.png cannot be decoded"):
        processor.fetch_images(str(path))


def test_the_limit_holds_whatever_pillow_allows(tmp_path, monkeypatch):
    """Some applications switch Pillow's check off."""
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    path = tmp_path / "bomb.png"
    path.write_bytes(png_without_pixels(65_535, 65_535))
    with pytest.raises(PictureTooLargeError, match="65535 x 65535 pixels"):
        PROCESSORS[0].fetch_images(str(path))


@pytest.mark.parametrize("size", [(10_000, 10_000), (65_535, 65_535)])
def test_addresses(monkeypatch, size):
    """What `load_image` fetches is under the same limit."""
    monkeypatch.setattr(
        "transformers_sat.post_processing_sat.load_image",
        lambda url: PIL.Image.open(io.BytesIO(png_without_pixels(*size))),
    )
    with pytest.raises(PictureTooLargeError, match="http://127.0.0.1/bomb.png"):
        PROCESSORS[0].fetch_images("http://127.0.0.1/bomb.png")


def test_limit_and_formats_of_the_caller():
    file = io.BytesIO()
    PIL.Image.new("RGB", (30, 20), "red").save(file, format="PNG")

    def decode(**options):
        file.seek(0)
        return PROCESSORS[0].decode_picture(file, "of the test", **options)

    assert decode(max_pixels=600, formats=["PNG"]).size == (30, 20)
    with pytest.raises(PictureTooLargeError, match="of the test has 30 x 20 pixels, more than the 599"):
        decode(max_pixels=599)
    with pytest.raises(ValueError, match="of the test cannot be decoded"):
        decode(formats=["JPEG"])
