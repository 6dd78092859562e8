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
"""One image gives the model the same pixels, or is refused in the same words, whichever way it takes."""

import base64
import contextlib
import io
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import PIL.Image
import pytest
import torch
from hostile_images import UNREADABLE_EXIF, encoded
from image_entries import prepared_bytes, through_demo, through_server
from sat_testing import tiny_model
from transformers import pipeline

from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor, SATImageProcessorPil
from transformers_sat.cli import main
from transformers_sat.data.dataset import LocalizationDataset
from transformers_sat.model.handler import EndpointHandler
from transformers_sat.model.inputs_sat import as_rgb, to_image
from transformers_sat.model.pipeline_sat import WeaklySupervisedLocalizationPipeline
from transformers_sat.safe_loading import load_localizer


# Of the images, and of the model: nothing is resized.
SIDE = 32
RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(20, 236, (SIDE, SIDE, 3), dtype=np.uint8)
GREY = RANDOM.integers(20, 236, (SIDE, SIDE), dtype=np.uint8)
# Transparent are a part of the middle, whose colours nobody may see, and nothing of the edge.
TRANSPARENT = np.zeros((SIDE, SIDE), dtype=bool)
TRANSPARENT[5:20, 9:30] = True
HIDDEN = (255, 0, 255)
COLOURS_ON_WHITE = np.where(TRANSPARENT[..., None], np.uint8(255), COLOURS)
GREY_ON_WHITE = np.where(TRANSPARENT, np.uint8(255), GREY)


@dataclass
class File:
    """
    An image's file.

    Attributes:
        content (`bytes`): of the file.
        pixels (`np.ndarray`): what the model is to see, of shape `(height, width, 3)`.
        tolerance (`int`): by how many levels of 255 it may differ.
        refusal (`str`, *optional*): what is said instead of an answer.
    """

    content: bytes
    pixels: np.ndarray | None = None
    tolerance: int = 0
    refusal: str | None = None

    def __post_init__(self):
        if self.pixels is not None and self.pixels.ndim == 2:
            self.pixels = np.repeat(self.pixels[..., None], 3, axis=-1)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with_colour(values: np.ndarray, bits: int, transparent: tuple[int, ...]) -> bytes:
    """A PNG of `values` of shape `(height, width)` or `(height, width, 3)`, one of which is transparent (`tRNS`)."""
    height, width = values.shape[:2]
    if bits == 16:
        rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    else:
        binary = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        rows = np.packbits(binary.reshape(height, -1), axis=-1)
    header = struct.pack(">IIBBBBB", width, height, bits, 2 if values.ndim == 3 else 0, 0, 0, 0)
    pixels = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    colour = struct.pack(f">{len(transparent)}H", *transparent)
    chunks = chunk(b"IHDR", header) + chunk(b"tRNS", colour) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def turned(orientation: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


def with_opacity(opacity: int = 0) -> PIL.Image.Image:
    """The colours, with that opacity where the image is transparent: full transparency hides another colour."""
    colours = np.where(TRANSPARENT[..., None] & (opacity == 0), np.uint8(HIDDEN), COLOURS)
    alpha = np.where(TRANSPARENT, np.uint8(opacity), np.uint8(255))
    return PIL.Image.fromarray(np.dstack([colours, alpha]))


def palette_image() -> tuple[PIL.Image.Image, np.ndarray]:
    """An image of 64 colours, number 7 where it is transparent, and its colours on white."""
    numbers = np.where(TRANSPARENT, 7, np.where(GREY % 64 == 7, 8, GREY % 64)).astype(np.uint8)
    colours = RANDOM.integers(0, 256, (256, 3), dtype=np.uint8)
    colours[7] = HIDDEN
    image = PIL.Image.fromarray(numbers)
    image.putpalette(colours.tobytes())
    return image, np.where(TRANSPARENT[..., None], np.uint8(255), colours[numbers])


PALETTE, PALETTE_ON_WHITE = palette_image()
HALF = np.where(TRANSPARENT[..., None], np.round(COLOURS * (100 / 255) + 155), COLOURS).astype(np.uint8)
MARKED = np.where(TRANSPARENT[..., None], np.uint8(HIDDEN), COLOURS)
# in steps that 2 bits, and the high byte of 16, tell apart
STEPS = np.where(TRANSPARENT, 1, np.where(GREY % 3 == 1, 3, GREY % 3)).astype(np.uint8)
GREY_AND_ALPHA = PIL.Image.merge(
    "LA",
    (PIL.Image.fromarray(np.where(TRANSPARENT, np.uint8(3), GREY)), PIL.Image.fromarray(~TRANSPARENT * np.uint8(255))),
)
FILES = {
    "rgba.png": File(encoded(with_opacity(), "PNG"), COLOURS_ON_WHITE),
    "rgba, half.png": File(encoded(with_opacity(100), "PNG"), HALF, tolerance=1),
    "rgba.webp": File(encoded(with_opacity(), "WEBP", lossless=True, exact=True), COLOURS_ON_WHITE),
    "rgba.avif": File(
        encoded(with_opacity(), "AVIF", quality=100, subsampling="4:4:4"), COLOURS_ON_WHITE, tolerance=4
    ),
    "rgba.heic": File(encoded(with_opacity(), "HEIF", quality=-1, chroma=444), COLOURS_ON_WHITE, tolerance=4),
    "rgba.tif": File(encoded(with_opacity(), "TIFF"), COLOURS_ON_WHITE),
    "grey and alpha.png": File(encoded(GREY_AND_ALPHA, "PNG"), GREY_ON_WHITE),
    "palette with a colour.png": File(encoded(PALETTE, "PNG", transparency=7), PALETTE_ON_WHITE),
    "palette with opacities.png": File(
        encoded(PALETTE, "PNG", transparency=bytes(0 if number == 7 else 255 for number in range(64))),
        PALETTE_ON_WHITE,
    ),
    "palette.gif": File(encoded(PALETTE, "GIF", transparency=7), PALETTE_ON_WHITE),
    "grey with a colour.png": File(png_with_colour(np.where(TRANSPARENT, 7, GREY), 8, (7,)), GREY_ON_WHITE),
    "2 bits with a colour.png": File(
        png_with_colour(STEPS, 2, (1,)), np.where(TRANSPARENT, np.uint8(255), STEPS * np.uint8(85))
    ),
    "1 bit with a colour.png": File(
        png_with_colour(~TRANSPARENT * np.uint8(1), 1, (0,)), np.full((SIDE, SIDE), 255, dtype=np.uint8)
    ),
    "rgb with a colour.png": File(png_with_colour(MARKED, 8, HIDDEN), COLOURS_ON_WHITE),
    "rgb of 16 bits with a colour.png": File(
        png_with_colour(MARKED.astype(np.uint16) * 257, 16, tuple(257 * value for value in HIDDEN)), COLOURS_ON_WHITE
    ),
    "grey of 16 bits with a colour.png": File(
        png_with_colour(np.where(TRANSPARENT, 7, GREY).astype(np.uint16) * 257, 16, (7 * 257,)), GREY_ON_WHITE
    ),
    "grey of 16 bits.png": File(encoded(PIL.Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"), GREY),
    "grey.png": File(encoded(PIL.Image.fromarray(GREY), "PNG"), GREY),
    "black and white.png": File(encoded(PIL.Image.fromarray(TRANSPARENT), "PNG"), TRANSPARENT * np.uint8(255)),
    "palette.bmp": File(encoded(PALETTE, "BMP"), np.asarray(PALETTE.convert("RGB"))),
    # without black, each ink takes its own light away
    "cmyk.tif": File(
        encoded(PIL.Image.fromarray(np.dstack([255 - COLOURS, 0 * GREY]), "CMYK"), "TIFF"), COLOURS, tolerance=1
    ),
    "turned.png": File(encoded(PIL.Image.fromarray(np.rot90(COLOURS).copy()), "PNG", exif=turned(6)), COLOURS),
    "turned, rgba.webp": File(
        encoded(with_opacity().transpose(PIL.Image.Transpose.ROTATE_180), "WEBP", lossless=True, exif=turned(3)),
        COLOURS_ON_WHITE,
    ),
    "unreadable exif.png": File(encoded(with_opacity(), "PNG", exif=UNREADABLE_EXIF), COLOURS_ON_WHITE),
    "camera.heic": File(encoded(PIL.Image.fromarray(COLOURS), "HEIF", quality=-1, chroma=444), COLOURS, tolerance=4),
    "float.tif": File(
        encoded(PIL.Image.fromarray(COLOURS[..., 0].astype(np.float32)), "TIFF"),
        refusal="no known range; convert them",
    ),
    "text.png": File(b"This is no image.", refusal="cannot be decoded|cannot identify image"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[Path, File]:
    folder = tmp_path_factory.mktemp("files")
    for name, file in FILES.items():
        (folder / name).write_bytes(file.content)
    return {folder / name: file for name, file in FILES.items()}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    SATImageProcessor(size=size, crop_size=size).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def localizer(model_folder):
    localizer = load_localizer(model_folder, device="cpu")
    localizer.model.name_or_path = model_folder
    return localizer


@pytest.fixture
def seen(monkeypatch) -> list[torch.Tensor]:
    """What the model was given, of any model in this process."""
    given = []
    forward = SATForWeaklySupervisedLocalization.forward

    def looking(self, pixel_values=None, **kwargs):
        given.append(pixel_values)
        return forward(self, pixel_values, **kwargs)

    monkeypatch.setattr(SATForWeaklySupervisedLocalization, "forward", looking)
    return given


def pixels_of(pixel_values: torch.Tensor, processor) -> np.ndarray:
    """Levels from 0 to 255, of shape `(height, width, 3)`."""
    mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
    return ((pixel_values[0].float().cpu().movedim(0, -1) * std + mean) * 255).round().numpy()


def row_of(content: bytes) -> datasets.Dataset:
    """A data set of one image, not decoded."""
    image = {"image": [{"bytes": content, "path": None}], "label": [0]}
    return datasets.Dataset.from_dict(image).cast_column("image", datasets.Image(decode=False))


class Unchanged:
    """A training transform that leaves the pixels alone."""

    def __call__(self, pixels, seed):
        return pixels


def of_data_set(localizer, content: bytes, **settings):
    example = LocalizationDataset(row_of(content), localizer.image_processor, **settings)[0]
    localizer.model(example["pixel_values"][None])


def predict(localizer, path: Path):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = main(["predict", localizer.model.name_or_path, str(path)])
    if status:
        raise ValueError(errors.getvalue())


def handle(localizer, inputs):
    handler = EndpointHandler(localizer=localizer)
    handler.forward([handler.prepare(inputs)])


def with_pil_processor(localizer) -> WeaklySupervisedLocalizationPipeline:
    size = {"height": SIDE, "width": SIDE}
    processor = SATImageProcessorPil(size=size, crop_size=size)
    return WeaklySupervisedLocalizationPipeline(localizer.model, image_processor=processor)


ENTRIES = {
    "pipeline, path": lambda localizer, path: localizer(str(path)),
    "pipeline, Path": lambda localizer, path: localizer(path, timeout=5),
    "pipeline, bytes": lambda localizer, path: localizer(path.read_bytes()),
    "pipeline, PIL": lambda localizer, path: localizer(images=PIL.Image.open(path)),
    "pipeline, base64": lambda localizer, path: localizer(base64.b64encode(path.read_bytes()).decode()),
    "pipeline, list": lambda localizer, path: localizer([path]),
    "pipeline, generator": lambda localizer, path: list(localizer(each for each in (path,))),
    "pipeline, rows": lambda localizer, path: list(localizer(row_of(path.read_bytes()))),
    "pipeline on PIL": lambda localizer, path: with_pil_processor(localizer)(path),
    "processor": lambda localizer, path: localizer.model(**localizer.image_processor(str(path), return_tensors="pt")),
    "predict": predict,
    "handler, bytes": lambda localizer, path: handle(localizer, path.read_bytes()),
    "handler, base64": lambda localizer, path: handle(localizer, base64.b64encode(path.read_bytes()).decode()),
    "server": lambda localizer, path: through_server(localizer, path.read_bytes()),
    "demo": through_demo,
    "evaluation": lambda localizer, path: of_data_set(localizer, path.read_bytes()),
    "training": lambda localizer, path: of_data_set(localizer, path.read_bytes(), augmentation=Unchanged()),
    "prepare": lambda localizer, path: of_data_set(localizer, prepared_bytes(path)),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_model_sees_the_same_pixels(localizer, files, seen, entry):
    wrong = []
    for path, file in files.items():
        seen.clear()
        try:
            ENTRIES[entry](localizer, path)
        except Exception as error:
            if file.refusal is None or not re.search(file.refusal, str(error)):
                wrong.append(f"{path.name}: {type(error).__name__}: {error}")
            continue
        if file.refusal is not None:
            wrong.append(f"{path.name}: not refused")
            continue
        difference = np.abs(pixels_of(seen[-1], localizer.image_processor) - file.pixels).max()
        if difference > file.tolerance:
            wrong.append(f"{path.name}: pixels differ by {difference}")
    assert not wrong, "\n".join(wrong)


# What docs/pipelines.md says of the pipelines that are not of this package.

STOCK = ("object-detection", "image-segmentation", "image-classification")


@pytest.fixture(scope="module")
def stock(model_folder):
    return {task: pipeline(task, model=model_folder) for task in STOCK}


@pytest.mark.parametrize("task", STOCK)
def test_stock_pipelines_see_the_same_of_images_that_the_package_opened(stock, files, seen, task):
    for path, file in files.items():
        if file.refusal is None:
            stock[task](as_rgb(to_image(path)))
            found = pixels_of(seen[-1], stock[task].image_processor)
            assert np.abs(found - file.pixels).max() <= file.tolerance, path.name


@pytest.mark.parametrize("task", STOCK)
def test_stock_pipelines_on_their_own(stock, files, seen, task):
    expected = {
        "rgba.png": MARKED,
        # a colour stays with the image, and is laid on white by the image processor
        "palette with a colour.png": PALETTE_ON_WHITE,
        "rgb with a colour.png": COLOURS_ON_WHITE,
        "turned.png": COLOURS,
        "grey of 16 bits.png": np.full((SIDE, SIDE, 3), 255),
        "float.tif": np.repeat(COLOURS[..., :1], 3, axis=-1),
    }
    for path in files:
        if path.name in expected:
            stock[task](str(path))
            assert np.array_equal(pixels_of(seen[-1], stock[task].image_processor), expected[path.name]), path.name
            with pytest.raises((TypeError, AttributeError)):
                stock[task](path)
            with pytest.raises((TypeError, AttributeError)):
                stock[task](path.read_bytes())


@pytest.mark.parametrize("task", STOCK)
def test_stock_pipelines_read_what_they_can(stock, files, task):
    """However they convert an image, what is left of its transparency is no error of the image processor."""
    for path, file in files.items():
        if path.name not in ("text.png", "unreadable exif.png"):
            stock[task](str(path))
    with pytest.raises(SyntaxError, match="not a TIFF file"):
        stock[task](str(path.with_name("unreadable exif.png")))


def test_stock_pipelines_on_arrays(stock, seen):
    for task in STOCK[:2]:
        with pytest.raises(TypeError, match="Incorrect format used for image"):
            stock[task](COLOURS)
    classifier = stock["image-classification"]
    for values in (COLOURS, COLOURS.astype(np.float32)):
        classifier(values)
        assert np.abs(pixels_of(seen[-1], classifier.image_processor) - COLOURS).max() <= 1
    classifier((COLOURS / 255).astype(np.float32))
    assert pixels_of(seen[-1], classifier.image_processor).max() <= 1
