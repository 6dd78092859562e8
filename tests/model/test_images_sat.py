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
"""Reading images: what is read, what is refused, and that every entry does the same."""

import base64
import contextlib
import http.server
import io
import json
import os
import re
import subprocess
import sys
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hostile_images import (
    EPS,
    UNREADABLE_EXIF,
    encoded,
    exif_of_greedy_tags,
    gif_with_comment,
    heif_cut_from_large,
    heif_of_tiles_outside,
    heif_with_metadata,
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
from image_entries import through_demo, through_prepare, through_server
from sat_testing import tiny_model

import transformers_sat
from transformers_sat import SATImageProcessor, SATImageProcessorPil
from transformers_sat.cli import main
from transformers_sat.data import decode_image
from transformers_sat.model import heif_sat, images_sat
from transformers_sat.model.handler import EndpointHandler
from transformers_sat.model.images_sat import (
    IMAGE_FORMATS,
    MAX_IMAGE_PIXELS,
    ImageTooLargeError,
    has_image_suffix,
    opened_image,
    read_image,
    upright,
)
from transformers_sat.safe_loading import load_localizer


PROCESSORS = [SATImageProcessor(), SATImageProcessorPil()]
NOT_READ = "damaged at its beginning, or none of"
EXIF_FORMATS = ["AVIF", "JPEG", "PNG", "WEBP"]


@pytest.fixture(autouse=True)
def pillow_warns():
    """Pillow's own warning of large images is none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        yield


# Every entry does the same with the same file: it reads an image of that size, or refuses it in one line.

HOSTILE_FILES = {
    "whole.png": (encoded(photograph(), "PNG"), (30, 20)),
    "wrong suffix.png": (encoded(photograph(), "JPEG"), (30, 20)),
    "text.jpg": (b"This is no image.", NOT_READ),
    "empty.png": (b"", "is empty|has no body|" + NOT_READ),
    "half.png": (encoded(photograph(), "PNG")[:700], "truncated"),
    "half.jpg": (encoded(photograph(300, 200), "JPEG")[:3000], "truncated"),
    "eps.png": (EPS, NOT_READ),
    "jpeg 2000.jpg": (encoded(photograph(), "JPEG2000"), NOT_READ),
    "large.png": (png_without_pixels(10_000, 10_000), "10000 x 10000 pixels, more than"),
    "strip.png": (png_without_pixels(65_536, 1), "65536 x 1 pixels, and a side of more than 65535"),
    "scans.jpg": (jpeg_with_scans(1500), "more than 100 scans"),
    "few scans.jpg": (jpeg_with_scans(100), (30, 20)),
    "unreadable exif.jpg": (encoded(photograph(), "JPEG", exif=UNREADABLE_EXIF), (30, 20)),
    "unreadable exif.png": (encoded(photograph(), "PNG", exif=UNREADABLE_EXIF), (30, 20)),
    "unreadable exif.webp": (encoded(photograph(), "WEBP", exif=UNREADABLE_EXIF), (30, 20)),
    "unreadable exif.tif": (tiff((34665, 4, 1, 700)), (30, 20)),
    "greedy exif.jpg": (encoded(photograph(), "JPEG", exif=exif_of_greedy_tags(60_000, 100)), (30, 20)),
    "greedy exif.png": (encoded(photograph(), "PNG", exif=exif_of_greedy_tags(90_000, 100)), (30, 20)),
    "greedy.tif": (tiff_of_greedy_tags(100), "tags refer to more bytes"),
    "exif blocks.jpg": (jpeg_with_exif_blocks(3000), (30, 20)),
    "comment.gif": (gif_with_comment(1000), (30, 20)),
    "profiles.png": (png_with_profiles(101), "more than 100 profiles"),
    "tiles.tif": (tiff_of_large_tiles(), "60000 x 60000 pixels, more than"),
    "whole.heic": (encoded(photograph(), "HEIF"), (30, 20)),
    "half.heic": (encoded(photograph(), "HEIF", quality=-1)[:-300], "cannot be decoded"),
    "cut.heic": (heif_cut_from_large(), "60000 x 60000 pixels, more than"),
    "tiles.heic": (heif_of_tiles_outside(), "tiles that are outside of it"),
    "metadata.heic": (heif_with_metadata(17), "more than 16 blocks of metadata"),
    "strips.tif": (tiff_of_repeated_strips(500), "the same pixels several times"),
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    size = {"height": 32, "width": 32}
    SATImageProcessor(size=size, crop_size=size).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def localizer(model_folder):
    return load_localizer(model_folder, device="cpu")


@pytest.fixture(scope="module")
def hostile_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for name, (content, _) in HOSTILE_FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def ghostscript(tmp_path_factory):
    """Instead of Ghostscript a program that leaves a mark."""
    folder = tmp_path_factory.mktemp("bin")
    mark = folder / "started"
    (folder / "gs").write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    (folder / "gs").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield mark
    assert not mark.exists()


def through_masks(path: Path):
    from transformers_sat.evaluation.score_maps import _PixelCounter
    from transformers_sat.metrics import get_protocol

    counter = _PixelCounter(metadata=None, protocol=get_protocol("wsoleval"), mask_root=path.parent)
    assert counter._read(path.name).shape == (224, 224)
    return read_image(path, path.name)


ENTRIES = {
    "read_image": lambda localizer, path: read_image(path, path.name),
    "torchvision": lambda localizer, path: PROCESSORS[0].fetch_images(str(path)),
    "pil": lambda localizer, path: PROCESSORS[1].fetch_images([str(path)])[0],
    "base64": lambda localizer, path: PROCESSORS[0].fetch_images(base64.b64encode(path.read_bytes()).decode()),
    "pipeline": lambda localizer, path: localizer(str(path))[0]["mask"],
    "handler": lambda localizer, path: localizer.postprocess(
        EndpointHandler(localizer=localizer).forward(
            [EndpointHandler(localizer=localizer).prepare(path.read_bytes())]
        )[0]
    )[0]["mask"],
    "server": lambda localizer, path: through_server(localizer, path.read_bytes()),
    "demo": through_demo,
    "training, bytes": lambda localizer, path: decode_image({"bytes": path.read_bytes(), "path": path.name}),
    "training, path": lambda localizer, path: decode_image({"bytes": None, "path": str(path)}),
    "training, fast": lambda localizer, path: decode_image({"bytes": None, "path": str(path)}, min_side=16),
    "prepare": lambda localizer, path: through_prepare(path),
    "masks": lambda localizer, path: through_masks(path),
}


@pytest.mark.parametrize("name", HOSTILE_FILES)
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_does_the_same(localizer, hostile_files, ghostscript, entry, name):
    _, expected = HOSTILE_FILES[name]
    if isinstance(expected, tuple):
        assert ENTRIES[entry](localizer, hostile_files / name).size == expected
        return
    with pytest.raises(ValueError, match=expected) as raised:
        ENTRIES[entry](localizer, hostile_files / name)
    message = str(raised.value)
    assert "\n" not in message
    assert " at 0x" not in message
    assert len(message) < 1000


def test_predict_does_the_same_and_goes_on(model_folder, hostile_files, ghostscript, capsys):
    paths = [str(hostile_files / name) for name in HOSTILE_FILES]
    assert main(["predict", model_folder, *paths]) == 1
    printed = capsys.readouterr()
    good = [str(hostile_files / name) for name, (_, expected) in HOSTILE_FILES.items() if isinstance(expected, tuple)]
    assert [json.loads(line)["image"] for line in printed.out.splitlines()] == good
    complaints = [line for line in printed.err.splitlines() if line.startswith("transformers-sat: ")]
    expected = [(path, HOSTILE_FILES[Path(path).name][1]) for path in paths if path not in good]
    assert len(complaints) == len(expected)
    for complaint, (path, message) in zip(complaints, expected, strict=True):
        assert path in complaint
        assert re.search(message, complaint)


def test_predict_goes_on_after_any_error(model_folder, hostile_files, capsys, monkeypatch):
    """Whatever an image makes the model's code raise."""
    whole, other = str(hostile_files / "whole.png"), str(hostile_files / "wrong suffix.png")
    fetch_images = SATImageProcessor.fetch_images

    def failing(self, image):
        if image == whole:
            raise MemoryError
        return fetch_images(self, image)

    monkeypatch.setattr(SATImageProcessor, "fetch_images", failing)
    assert main(["predict", model_folder, whole, other]) == 1
    printed = capsys.readouterr()
    assert [json.loads(line)["image"] for line in printed.out.splitlines()] == [other]
    assert f"{whole}: MemoryError" in printed.err


def test_files_are_opened_in_one_place():
    """So that no entry has other limits; the example in the model's docstring is what users write."""
    found = {
        str(path.relative_to(Path(transformers_sat.__file__).parent))
        for path in Path(transformers_sat.__file__).parent.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"Image\.open\(|exif_transpose|\bload_image\(", line) and ">>>" not in line
    }
    assert found == {"model/images_sat.py"}


# Limits.


@pytest.mark.parametrize("processor", PROCESSORS, ids=["torchvision", "pil"])
@pytest.mark.parametrize("width, height", [(10_000, 10_000), (MAX_IMAGE_PIXELS + 1, 1), (65_535, 65_535), (1, 65_536)])
def test_size(processor, tmp_path, width, height):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_without_pixels(width, height))
    with pytest.raises(ImageTooLargeError, match="bomb.png"):
        processor.fetch_images(str(path))
    # just small enough: decoded, and found to be broken
    path.write_bytes(png_without_pixels(65_535, MAX_IMAGE_PIXELS // 65_535))
    with pytest.raises(ValueError, match="bomb.png cannot be decoded"):
        processor.fetch_images(str(path))


def test_the_limit_holds_whatever_pillow_allows(tmp_path, monkeypatch):
    """Some applications switch Pillow's check off."""
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    path = tmp_path / "bomb.png"
    path.write_bytes(png_without_pixels(65_535, 65_535))
    with pytest.raises(ImageTooLargeError, match="65535 x 65535 pixels"):
        PROCESSORS[0].fetch_images(str(path))


def test_limit_and_formats_of_the_caller():
    content = encoded(photograph(), "PNG")

    def decode(**options):
        return PROCESSORS[0].decode_image(io.BytesIO(content), "of the test", **options)

    assert decode(max_pixels=600, formats=["PNG"]).size == (30, 20)
    with pytest.raises(ImageTooLargeError, match="of the test has 30 x 20 pixels, more than the 599"):
        decode(max_pixels=599)
    with pytest.raises(ValueError, match="of the test cannot be decoded: .* none of JPEG[.]"):
        decode(formats=["JPEG"])
    # the list can be narrowed, not widened
    with pytest.raises(ValueError, match="cannot be decoded"):
        read_image(EPS, "program", formats=["EPS"])
    with pytest.raises(ValueError, match="none of PNG[.]"):
        read_image(EPS, "program", formats=["PNG", "EPS"])


def test_bytes_are_limited(monkeypatch, tmp_path):
    monkeypatch.setattr(images_sat, "MAX_IMAGE_BYTES", 5000)
    content = encoded(photograph(), "PNG")
    assert read_image(content, "small").size == (30, 20)
    (tmp_path / "much.png").write_bytes(content + bytes(5000))
    for file in (tmp_path / "much.png", content + bytes(5000), io.BytesIO(content + bytes(5000))):
        with pytest.raises(ImageTooLargeError, match="The image much.png has more than the 5000 bytes"):
            read_image(file, "much.png")


def test_scans_are_counted_where_they_are():
    """A film behind the image, and what a camera writes before it, can hold the same two bytes by chance."""
    looks_like_scans = b"\xff\xda\x00\x02" * 1000
    photo = encoded(photograph(), "JPEG", progressive=True)
    assert read_image(photo + looks_like_scans, "film").size == (30, 20)
    note = b"\xff\xe5" + (len(looks_like_scans) + 2).to_bytes(2, "big") + looks_like_scans
    assert read_image(photo[:2] + note + photo[2:], "note").size == (30, 20)
    # 100 are read, 101 not, wherever they begin
    first = photo.index(b"\xff\xda")
    for content in (jpeg_with_scans(101), photo[:first] + b"\xff\xfe\x00\x02" + jpeg_with_scans(101)[first:]):
        with pytest.raises(ValueError, match="more than 100 scans"):
            read_image(content, "scans")


def test_resize_to_the_shortest_edge():
    """Long strips would grow with their shorter side."""
    strip = PIL.Image.new("RGB", (60_000, 1))
    for processor_class in (SATImageProcessor, SATImageProcessorPil):
        processor = processor_class(size={"shortest_edge": 256}, do_center_crop=True)
        with pytest.raises(ImageTooLargeError, match="15360000 x 256 after the resize"):
            processor(strip, return_tensors="pt")
        assert processor(strip.crop((0, 0, 1000, 1)), return_tensors="pt")["pixel_values"].shape == (1, 3, 224, 224)
        # the size that is the same for all does not grow
        assert processor_class()(strip, return_tensors="pt")["pixel_values"].shape == (1, 3, 224, 224)


# Work and memory in proportion to the file.


def test_comments_are_not_read(monkeypatch):
    """Pillow joins the pieces of a comment one by one: a quadratic matter, so it is given none."""
    given = []
    open_image = PIL.Image.open
    monkeypatch.setattr(PIL.Image, "open", lambda file, **options: given.append(file) or open_image(file, **options))
    image = read_image(gif_with_comment(20_000), "comment.gif")
    assert len(given[0].getvalue()) < 2000
    # what is before the image and belongs to it stays
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    assert (alpha[:10, :10] == 0).all() and (alpha == 0).sum() == 100


@pytest.mark.parametrize(
    "content",
    [
        encoded(photograph(), "PNG", exif=exif_of_greedy_tags(200_000, 500)),
        encoded(photograph(), "WEBP", exif=exif_of_greedy_tags(200_000, 500)),
        encoded(photograph(), "JPEG", exif=exif_of_greedy_tags(60_000, 1500)),
        tiff_of_greedy_tags(500),
    ],
    ids=["png", "webp", "jpeg", "tiff"],
)
def test_tags_do_not_fill_the_memory(content):
    """Hundreds of tags that refer to the same bytes: Pillow copies them for each."""
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError):
            assert read_image(content, "greedy").size == (30, 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(content)


# Which way up.


@pytest.mark.parametrize("file_format", EXIF_FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(file_format, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    image = photograph(40, 24)
    content = encoded(image, file_format, exif=exif)
    with PIL.Image.open(io.BytesIO(content)) as stored:
        pixels = np.asarray(stored.convert("RGB"))
    expected = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: pixels[::-1].transpose(1, 0, 2),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: pixels[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    found = read_image(content, "camera")
    np.testing.assert_array_equal(np.asarray(found.convert("RGB")), expected)
    # it is not turned twice, here or by what comes after
    np.testing.assert_array_equal(np.asarray(upright(found).convert("RGB")), expected)
    assert found.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("file_format", EXIF_FORMATS)
@pytest.mark.parametrize(
    "block",
    [
        UNREADABLE_EXIF,
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(20),
        # orientation as a text, as a fraction of nothing, as 99
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0six\0\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\x08\0\0\0\0\0\0\0" + bytes(8),
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
    ],
)
def test_unreadable_orientation(file_format, block):
    """The pixels are whole, so the image is as it is stored."""
    if file_format == "AVIF":
        # Pillow writes none that it cannot read
        plain = PIL.Image.Exif()
        plain[0x9286] = "x" * (len(block) + 50)
        content = encoded(photograph(), file_format, exif=plain, quality=90)
        at = content.index(b"MM\0*")
        content = content[:at] + block[6:].ljust(40, b"\0") + content[at + 40 :]
    else:
        content = encoded(photograph(), file_format, exif=block)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        image = read_image(content, "camera")
    assert image.size == (30, 20)
    # nor does what comes after stumble on the block
    assert upright(image).size == (30, 20)
    assert not {"exif", "xmp"} & set(image.info)


def test_as_it_is_stored():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    with opened_image(encoded(photograph(), "PNG", exif=exif), "camera") as image:
        assert image.size == (30, 20)
        assert images_sat.orientation_of(image) == 6


# Formats.


@pytest.mark.parametrize("file_format", [*IMAGE_FORMATS, "MPO"])
def test_formats(file_format, tmp_path):
    options = {"save_all": True, "append_images": [photograph(40, 40)]} if file_format == "MPO" else {}
    content = encoded(photograph(), file_format, **options)
    (tmp_path / "image").write_bytes(content)
    for file in (content, bytearray(content), io.BytesIO(content), tmp_path / "image", str(tmp_path / "image")):
        found = read_image(file, "image")
        assert found.size == (30, 20)
        difference = np.abs(np.asarray(found.convert("RGB")).astype(int) - np.asarray(photograph()))
        assert difference.mean() < 12


def test_heif_is_read_where_its_package_is(tmp_path, monkeypatch):
    """Whether the user registered the plug-in or not."""
    content = encoded(photograph(), "HEIF")
    monkeypatch.delitem(PIL.Image.OPEN, "HEIF")
    assert read_image(content, "camera").size == (30, 20) and "HEIF" in PIL.Image.OPEN
    assert has_image_suffix("IMG_1.HEIC") and has_image_suffix("a/b.heif")


@pytest.mark.parametrize("entry", ENTRIES)
def test_without_its_package_heif_names_it(localizer, hostile_files, without_heif, entry):
    with pytest.raises(ValueError, match=r"HEIC needs .*pip install pillow-heif.*JPEG or PNG"):
        ENTRIES[entry](localizer, hostile_files / "whole.heic")
    assert not has_image_suffix("IMG_1.HEIC")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heif_is_turned_once(orientation):
    """Its writer takes the orientation of an EXIF block over into the file's own, and both are in it."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    image = photograph(300, 200)
    found = read_image(encoded(image, "HEIF", quality=90, exif=exif.tobytes()), "camera")
    expected = read_image(encoded(image, "PNG", exif=exif), "camera")
    assert found.size == expected.size
    assert np.abs(np.asarray(found).astype(int) - np.asarray(expected)).mean() < 4


def test_a_thumbnail_of_heif_is_not_taken_for_the_image(tmp_path):
    """`prepare` decodes the image itself to see that it is whole."""
    image = photograph(300, 200)
    content = encoded(image, "HEIF", thumbnails=[64])
    assert read_image(content, "camera", min_side=16).size == (300, 200)


@pytest.mark.parametrize("file_format", ["EPS", "ICO", "JPEG2000", "PCX", "PDF", "SGI", "TGA"])
def test_formats_that_are_not_read(file_format):
    options = {"sizes": [(16, 16)]} if file_format == "ICO" else {}
    with pytest.raises(ValueError, match=NOT_READ):
        read_image(encoded(photograph(), file_format, **options), "document")


def test_names_are_data():
    """Whatever a file is called, the error is one short line."""
    with pytest.raises(ValueError) as raised:
        read_image(b"x", "a\nb\r" + "c" * 10_000)
    assert "\n" not in str(raised.value) and "\r" not in str(raised.value)
    assert len(str(raised.value)) < 500


# Addresses and base64.


@pytest.fixture
def served(tmp_path):
    """A server of the test's own: its address, and what it answers to which path."""
    answers = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, content = answers.get(self.path, (404, b""))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", content.decode())
                content = b""
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", answers
        server.shutdown()
        thread.join()


def test_addresses(served, monkeypatch):
    """What is fetched is under the same limits as files."""
    address, answers = served
    answers["/whole.png"] = (200, encoded(photograph(), "PNG"))
    answers["/moved.png"] = (302, b"/whole.png")
    for name, (content, _) in HOSTILE_FILES.items():
        answers[f"/{name.replace(' ', '_')}"] = (200, content)
    for processor in PROCESSORS:
        assert processor.fetch_images(f"{address}/whole.png").size == (30, 20)
        assert processor.fetch_images(f"{address}/moved.png").size == (30, 20)
    for name, (_, expected) in HOSTILE_FILES.items():
        given = f"{address}/{name.replace(' ', '_')}"
        if isinstance(expected, tuple):
            assert PROCESSORS[0].fetch_images(given).size == expected
            continue
        with pytest.raises(ValueError, match=expected) as raised:
            PROCESSORS[0].fetch_images(given)
        assert given in str(raised.value)
    with pytest.raises(ValueError, match=f"The image {address}/gone.png cannot be fetched: .*404"):
        PROCESSORS[0].fetch_images(f"{address}/gone.png")
    monkeypatch.setattr(images_sat, "MAX_IMAGE_BYTES", 1000)
    with pytest.raises(ImageTooLargeError, match=f"The image {address}/whole.png has more than the 1000 bytes"):
        PROCESSORS[0].fetch_images(f"{address}/whole.png")


def test_base64():
    text = base64.b64encode(encoded(photograph(), "PNG")).decode()
    for given in (text, f"data:image/png;base64,{text}", f"{text[:76]}\n{text[76:]}"):
        assert PROCESSORS[0].fetch_images(given).size == (30, 20)
    with pytest.raises(ValueError, match="There is no image no/such.file: it must be the path"):
        PROCESSORS[0].fetch_images("no/such.file")
    bomb = base64.b64encode(png_without_pixels(10_000, 10_000)).decode()
    with pytest.raises(ImageTooLargeError, match="10000 x 10000 pixels"):
        PROCESSORS[0].fetch_images(f"data:image/png;base64,{bomb}")
    with pytest.raises(ValueError) as raised:
        PROCESSORS[0].fetch_images("?" * 10**6)
    assert len(str(raised.value)) < 400


# Without the package.


def test_travels_alone(tmp_path):
    """Beside published weights the files have nothing but what Transformers brings."""
    (tmp_path / "alone").mkdir()
    for source in (Path(images_sat.__file__), Path(heif_sat.__file__)):
        (tmp_path / "alone" / source.name).write_bytes(source.read_bytes())
    (tmp_path / "whole.png").write_bytes(encoded(photograph(), "PNG"))
    script = (
        "import sys; sys.modules['transformers_sat'] = None; from alone.images_sat import read_image;"
        "print(read_image('whole.png', 'whole').size)"
    )
    printed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "(30, 20)"
