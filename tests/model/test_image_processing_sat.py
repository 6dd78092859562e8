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
"""Every kind of image that comes from outside, through both back ends."""

import json
import logging

import numpy as np
import PIL.Image
import pytest
import torch
from transformers import AutoImageProcessor

from transformers_sat import SATConfig, SATImageProcessor, SATImageProcessorPil


BACKENDS = [SATImageProcessor, SATImageProcessorPil]
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SIZE = {"height": 32, "width": 32}

# One grey level of 256 after normalization: the two back ends round resized pixels differently.
ONE_LEVEL = 1 / 255 / STD.min() + 1e-3


def photo(height: int = 30, width: int = 40, seed: int = 0) -> PIL.Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


def expected_pixels(image: PIL.Image.Image, size=(32, 32)) -> np.ndarray:
    """What the model should get: PIL's own bilinear resize, then ImageNet's mean and deviation."""
    resized = np.asarray(image.resize(size, PIL.Image.Resampling.BILINEAR))
    return ((resized / 255 - MEAN) / STD).transpose(2, 0, 1)


def assert_pixels(processor, given, expected_image: PIL.Image.Image):
    pixel_values = processor(given, return_tensors="np").pixel_values
    assert pixel_values.shape == (1, 3, 32, 32)
    np.testing.assert_allclose(pixel_values[0], expected_pixels(expected_image), atol=ONE_LEVEL)


@pytest.fixture(params=BACKENDS, ids=["torchvision", "pil"])
def processor(request):
    return request.param(size=SIZE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("localization_threshold", "0.4"),
        ("localization_threshold", float("nan")),
        ("localization_threshold", 1.5),
        ("localization_threshold", True),
        ("image_mean", [0.5]),
        ("image_mean", [0.5, 0.5, 10**30]),
        ("image_std", [0.2, 0.2, 0.0]),
        ("image_std", -1),
        ("image_std", "a"),
        ("rescale_factor", 0),
        ("rescale_factor", float("inf")),
        ("size", 20_000),
        ("size", {"height": 32, "width": 0}),
        ("size", [32]),
        ("size", {}),
        ("crop_size", {"height": 4097, "width": 32}),
        ("do_resize", "yes"),
        ("do_pad", True),
        ("resample", 99),
        ("resample", "bilinear"),
    ],
)
def test_wrong_settings(backend, field, value):
    with pytest.raises(ValueError, match=f"`{field}` must"):
        backend(**{field: value})


@pytest.mark.parametrize("backend", BACKENDS)
def test_settings_at_their_bounds(backend):
    backend(localization_threshold=0, image_mean=0.5, image_std=(1, 1, 1), rescale_factor=1, size=4096)
    backend(localization_threshold=1, size={"shortest_edge": 256}, crop_size=1, do_center_crop=True, resample=5)
    with pytest.raises(ValueError, match="`crop_size` must be a height and a width"):
        backend(do_center_crop=True, crop_size={"shortest_edge": 224})


def test_defaults():
    for backend in BACKENDS:
        processor = backend()
        assert processor.localization_threshold == 0.4
        assert not processor.do_center_crop
        pixel_values = processor(photo(), return_tensors="pt").pixel_values
        assert pixel_values.shape == (1, 3, 224, 224)
        assert pixel_values.dtype == torch.float32


def test_crop(processor):
    """Resize to 36 and the middle 32: two pixels are cut from each side."""
    image = photo()
    pixel_values = processor(
        image, size={"height": 36, "width": 36}, do_center_crop=True, crop_size=SIZE, return_tensors="np"
    ).pixel_values[0]
    expected = expected_pixels(image, (36, 36))[:, 2:34, 2:34]
    np.testing.assert_allclose(pixel_values, expected, atol=ONE_LEVEL)


# Modes of PIL images.


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "RGBA", "RGBX"])
def test_modes_with_the_same_colours(processor, mode):
    assert_pixels(processor, photo().convert(mode), photo())


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "PA", "YCbCr", "HSV"])
def test_modes_with_other_colours(processor, mode):
    image = photo().convert(mode)
    assert_pixels(processor, image, image.convert("RGB"))


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "I;16"])
def test_a_transparent_colour_is_white(processor, mode):
    """One colour of the image stands for transparency; every pixel of it is laid on white."""
    pixels = np.asarray(photo().convert("L"))
    transparent = np.zeros(pixels.shape, dtype=bool)
    transparent[3:20, 5:30] = True
    grey = np.where(transparent, np.uint8(7), np.maximum(pixels, 8))
    image, colour = PIL.Image.fromarray(grey), 7
    if mode == "P":
        image = PIL.Image.fromarray(grey).convert("P")
        colour = image.getpixel((5, 3))
    elif mode == "RGB":
        image, colour = image.convert("RGB"), (7, 7, 7)
    elif mode == "I;16":
        image, colour = PIL.Image.fromarray(grey.astype(np.uint16) * 257), 7 * 257
    image.info["transparency"] = colour
    expected = PIL.Image.fromarray(np.where(transparent, np.uint8(255), grey)).convert("RGB")
    assert_pixels(processor, image, expected)


def test_partly_transparent_palette(processor):
    """An opacity for each palette entry, as in many PNG files."""
    image = photo().convert("P")
    image.info["transparency"] = bytes(range(256))
    numbers, colours = np.asarray(image), np.asarray(photo().convert("P").convert("RGB")).astype(float)
    opacity = numbers[..., None] / 255
    expected = np.round(opacity * colours + (1 - opacity) * 255).astype(np.uint8)
    pixel_values = processor(image, return_tensors="np").pixel_values[0]
    np.testing.assert_allclose(
        pixel_values, expected_pixels(PIL.Image.fromarray(expected), (32, 32)), atol=2 * ONE_LEVEL
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.int32], ids=["I;16", "I"])
def test_sixteen_bit_images(processor, dtype):
    grey = photo().convert("L")
    wide = PIL.Image.fromarray((np.asarray(grey).astype(dtype)) * 257)
    assert wide.mode == {np.uint16: "I;16", np.int32: "I"}[dtype]
    assert_pixels(processor, wide, grey.convert("RGB"))


def test_sixteen_bit_png_file(processor, tmp_path):
    grey = photo().convert("L")
    PIL.Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / "grey.png")
    assert PIL.Image.open(tmp_path / "grey.png").mode.startswith("I")
    assert_pixels(processor, str(tmp_path / "grey.png"), grey.convert("RGB"))


@pytest.mark.parametrize(("low", "high"), [(-1, 100), (0, 65536)])
def test_integers_out_of_range(processor, low, high):
    values = np.full((8, 8), low, dtype=np.int32)
    values[0] = high
    with pytest.raises(ValueError, match=f"`I`.*65535.*{low} to {high}"):
        processor(PIL.Image.fromarray(values))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "CMYK", "I;16"])
def test_an_image_in_strips_is_the_whole_image(processor, mode, monkeypatch):
    """Large images are converted a few rows at a time; here it is three of 64 pixels, and a last strip of one row."""
    image = photo().resize((64, 40))
    image.putalpha(image.convert("L"))
    image = PIL.Image.fromarray(np.asarray(image)[..., 0] * np.uint16(257)) if mode == "I;16" else image.convert(mode)
    whole = processor(image, return_tensors="pt")["pixel_values"]
    monkeypatch.setattr("transformers_sat.model.post_processing_sat.PIXELS_AT_ONCE", 3 * 64 + 5)
    assert torch.equal(processor(image, return_tensors="pt")["pixel_values"], whole)


def test_floating_point_images_are_refused(processor):
    with pytest.raises(ValueError, match="mode `F`.*8 bits"):
        processor(PIL.Image.fromarray(np.random.rand(8, 8).astype(np.float32)))


# Arrays and tensors.


def test_arrays_and_tensors(processor):
    image = photo()
    channels_last = np.array(image)
    for given in (
        channels_last,
        channels_last.transpose(2, 0, 1),
        torch.from_numpy(channels_last).permute(2, 0, 1),
        np.array(image.convert("RGBA")),
        channels_last.astype(np.uint16) * 257,
        torch.from_numpy(channels_last.astype(np.uint16) * 257).permute(2, 0, 1),
    ):
        assert_pixels(processor, given, image)
    grey = image.convert("L")
    assert_pixels(processor, np.array(grey)[..., None], grey.convert("RGB"))


def test_a_batch_of_mixed_images(processor):
    images = [photo(30, 40), photo(17, 5).convert("L"), photo(64, 64).convert("RGBA")]
    pixel_values = processor(images, return_tensors="np").pixel_values
    assert pixel_values.shape == (3, 3, 32, 32)
    for values, image in zip(pixel_values, images):
        np.testing.assert_allclose(values, expected_pixels(image.convert("RGB")), atol=ONE_LEVEL)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (1000, 1), (1, 3), (3, 1), (3, 3), (3, 50), (2, 2)])
def test_extreme_shapes(processor, shape):
    """An image one or three pixels high is not one with its channels first."""
    image = photo(*shape)
    assert_pixels(processor, image, image)
    assert_pixels(processor, image.convert("L"), image.convert("L").convert("RGB"))


# Files.


@pytest.mark.parametrize("orientation", range(1, 9))
def test_files_are_turned_upright(processor, tmp_path, orientation):
    """A camera stores the image as the sensor saw it and an EXIF orientation that says how to turn it."""
    upright = photo(30, 40)
    transpose = PIL.Image.Transpose
    stored = {
        1: [],
        2: [transpose.FLIP_LEFT_RIGHT],
        3: [transpose.ROTATE_180],
        4: [transpose.FLIP_TOP_BOTTOM],
        5: [transpose.TRANSPOSE],
        6: [transpose.ROTATE_90],
        7: [transpose.TRANSVERSE],
        8: [transpose.ROTATE_270],
    }[orientation]
    image = upright
    for operation in stored:
        image = image.transpose(operation)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "camera.png", exif=exif)
    assert_pixels(processor, str(tmp_path / "camera.png"), upright)
    fetched = processor.fetch_images([str(tmp_path / "camera.png")])[0]
    assert (fetched.width, fetched.height) == (40, 30)


def broken_files(folder):
    photo().save(folder / "whole.png")
    photo().save(folder / "whole.jpg")
    contents = {
        "text.jpg": b"This is no image.",
        "empty.png": b"",
        "half.png": (folder / "whole.png").read_bytes()[:1000],
        "half.jpg": (folder / "whole.jpg").read_bytes()[:700],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return list(contents)


def test_files_that_cannot_be_decoded(processor, tmp_path):
    for name in broken_files(tmp_path):
        path = str(tmp_path / name)
        for given in (path, [str(tmp_path / "whole.png"), path]):
            with pytest.raises(ValueError, match="cannot be decoded") as error:
                processor(given)
            assert path in str(error.value)


def test_a_image_too_large_to_be_safe(processor, tmp_path, monkeypatch):
    photo().save(tmp_path / "bomb.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="bomb.png"):
        processor(str(tmp_path / "bomb.png"))


def test_a_path_that_does_not_exist(processor, tmp_path):
    with pytest.raises(ValueError, match="nowhere.png"):
        processor(str(tmp_path / "nowhere.png"))


# Saving and loading.


@pytest.mark.parametrize("saved", BACKENDS, ids=["torchvision", "pil"])
@pytest.mark.parametrize(("backend", "loaded"), [("pil", SATImageProcessorPil), ("torchvision", SATImageProcessor)])
def test_one_file_serves_both_back_ends(tmp_path, saved, backend, loaded):
    settings = {"size": {"shortest_edge": 48}, "do_center_crop": True, "crop_size": SIZE}
    saved(localization_threshold=0.27, **settings).save_pretrained(tmp_path)
    content = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert content["image_processor_type"] == "SATImageProcessor"
    assert content["localization_threshold"] == 0.27
    SATConfig().save_pretrained(tmp_path)

    processor = AutoImageProcessor.from_pretrained(tmp_path, backend=backend)
    assert type(processor) is loaded
    assert processor.localization_threshold == 0.27
    assert dict(processor.size) == {"shortest_edge": 48}
    assert dict(processor.crop_size) == SIZE
    assert processor.do_center_crop
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is SATImageProcessor


def test_loading_with_another_threshold(tmp_path):
    SATImageProcessor(localization_threshold=0.3).save_pretrained(tmp_path)
    assert SATImageProcessor.from_pretrained(tmp_path).localization_threshold == 0.3
    assert SATImageProcessor.from_pretrained(tmp_path, localization_threshold=0.6).localization_threshold == 0.6


def test_a_threshold_set_later_is_saved(tmp_path):
    """Training sets the threshold that it calibrated on the processor it was given."""
    processor = SATImageProcessor()
    processor.localization_threshold = 0.33
    processor.save_pretrained(tmp_path)
    assert AutoImageProcessor.from_pretrained(tmp_path).localization_threshold == 0.33


def test_the_back_ends_agree():
    image = photo(90, 120)
    first, second = (
        backend(size={"shortest_edge": 40}, do_center_crop=True, crop_size={"height": 32, "width": 36})(
            image, return_tensors="np"
        ).pixel_values
        for backend in BACKENDS
    )
    assert first.shape == second.shape == (1, 3, 32, 36)
    np.testing.assert_allclose(first, second, atol=ONE_LEVEL)


def test_unknown_settings_are_refused(processor):
    with pytest.raises(TypeError):
        processor(photo(), localisation_threshold=0.3)


def test_values_that_are_rescaled_already_are_told_of(caplog):
    # whoever was told before
    logging.Logger.warning_once.cache_clear()
    image = np.full((32, 32, 3), 0.5, dtype=np.float32)
    with caplog.at_level("WARNING"):
        SATImageProcessor()(image)
        assert "pass `do_rescale=False`" in caplog.text
        caplog.clear()
        SATImageProcessor()(image, do_rescale=False)
        SATImageProcessor()(np.full((32, 32, 3), 100, dtype=np.uint8))
    assert caplog.text == ""
