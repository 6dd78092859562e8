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
"""The demo's page in Chromium: upload, sliders, downloads."""

import json
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import torch
from playwright.sync_api import expect

from transformers_sat import WeaklySupervisedLocalizationPipeline
from transformers_sat.demo import Localizer, launch_demo


@pytest.fixture(scope="module")
def model_folder(emblem_model, emblem_processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    emblem_model.save_pretrained(folder)
    emblem_processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def localizer(emblem_model, emblem_processor) -> WeaklySupervisedLocalizationPipeline:
    """The expected results."""
    return WeaklySupervisedLocalizationPipeline(model=emblem_model, image_processor=emblem_processor)


@pytest.fixture(scope="module")
def served(model_folder):
    """Address of the demo, and a list that grows by one with every forward pass."""
    forward_passes = []
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    see = Localizer.see
    monkeypatch.setattr(Localizer, "see", lambda self, image: forward_passes.append(1) or see(self, image))
    demo = launch_demo(str(model_folder), block=False)
    yield demo.local_url, forward_passes
    demo.close()
    monkeypatch.undo()


def upload(page, path):
    page.wait_for_selector("#image input[type=file]", state="attached")
    page.set_input_files("#image input[type=file]", path)
    page.wait_for_selector("#drawing img")


ROWS = """() => [...document.querySelectorAll("#boxes [role=row]:has([role=gridcell])")].map(
    (row) => [...row.querySelectorAll("[role=gridcell]")].map((cell) => cell.innerText.trim()))"""


def wait_for_boxes(page, expected: list[dict]):
    """Until the table has the classes, scores and boxes that the pipeline gives."""
    rows = [[entry["label"], f"{round(entry['score'], 3):g}", *map(str, entry["box"].values())] for entry in expected]
    page.wait_for_function(
        f"expected => JSON.stringify(({ROWS})()) === JSON.stringify(expected)",
        arg=rows,
        timeout=20_000,
    )


def set_threshold(page, threshold: float):
    page.fill("#localization_threshold input[type=number]", str(threshold))
    page.keyboard.press("Tab")


def test_upload_and_threshold(watched, served, images, localizer, tmp_path):
    """What a visitor does: an image, the threshold up and down, every part, another map, both downloads."""
    address, forward_passes = served
    page = watched.page
    page.goto(address)
    upload(page, images["wide.png"])
    image = PIL.Image.open(images["wide.png"])
    expected = localizer(image)
    wait_for_boxes(page, expected)
    assert expected[0]["label"] in page.inner_text("#classes")
    assert len(forward_passes) == 1

    found = set()
    for threshold in (0.2, 0.6, 0.8):
        set_threshold(page, threshold)
        expected = localizer(image, localization_threshold=threshold)
        wait_for_boxes(page, expected)
        found.add(tuple(expected[0]["box"].values()))
    assert len(found) == 3

    several = next(
        threshold
        for threshold in np.arange(0.05, 0.95, 0.05).round(2).tolist()
        if len(localizer(image, localization_threshold=threshold, multiple_boxes=True)) > 1
    )
    page.check("#multiple input")
    set_threshold(page, several)
    expected = localizer(image, localization_threshold=several, multiple_boxes=True)
    wait_for_boxes(page, expected)

    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "boxes.json")
    content = json.loads((tmp_path / "boxes.json").read_text(encoding="utf-8"))
    assert [entry["box"] for entry in content["objects"]] == [entry["box"] for entry in expected]
    assert content["localization_threshold"] == several
    with page.expect_download() as download:
        page.click("#drawing a[download]")
    download.value.save_as(tmp_path / "drawing.png")
    drawing = PIL.Image.open(tmp_path / "drawing.png")
    assert (drawing.format, drawing.size) == ("PNG", image.size)

    # the first of the spatial blocks, by hand
    assert page.locator("#maps img").count() == 1 + localizer.model.config.num_spatial_layers
    page.uncheck("#multiple input")
    page.check("#map input[value='block 4']")
    inputs = localizer.image_processor(image, return_tensors="pt")
    with torch.no_grad():
        outputs = localizer.model(**inputs, output_spatial_maps=True)
    outputs.localization_map = outputs.spatial_maps[0]
    result = localizer.image_processor.post_process_localization(
        outputs, [(300, 400)], localization_threshold=several
    )[0]
    box = dict(zip("abcd", result["boxes"][0].int().tolist(), strict=True))
    wait_for_boxes(page, [{**expected[0], "score": result["scores"].item(), "box": box}])
    # all of it from one forward pass
    assert len(forward_passes) == 1
    assert watched.errors == []
    assert watched.foreign == []


def test_threshold_slider_by_keyboard(watched, served, images, localizer):
    """The slider itself, a step at a time: the drawing follows."""
    address, forward_passes = served
    forward_passes.clear()
    page = watched.page
    page.goto(address)
    upload(page, images["tall.png"])
    image = PIL.Image.open(images["tall.png"])
    wait_for_boxes(page, localizer(image))
    page.focus("#localization_threshold input[type=range]")
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    wait_for_boxes(page, localizer(image, localization_threshold=0.7))
    assert len(forward_passes) == 1
    assert watched.errors == []


def test_opacity_and_clearing(watched, served, images):
    address, _ = served
    page = watched.page
    page.goto(address)
    upload(page, images["wide.png"])
    page.fill("#opacity input[type=number]", "0")
    page.keyboard.press("Tab")
    image = np.asarray(PIL.Image.open(images["wide.png"]), dtype=int)
    page.wait_for_function(
        """async (expected) => {
            const image = document.querySelector("#drawing img");
            if (image === null || !image.complete) return false;
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const pixel = context.getImageData(1, 1, 1, 1).data;
            return expected.every((value, channel) => Math.abs(value - pixel[channel]) <= 2);
        }""",
        arg=image[1, 1].tolist(),
        timeout=20_000,
    )
    page.click("#image button[aria-label='Remove Image']")
    page.wait_for_selector("#drawing img", state="detached")
    # it waits: the page draws one output after the other
    expect(page.locator("#download")).to_be_disabled()
    assert watched.errors == []


def test_example(watched, served, localizer):
    """The drawn emblems of the embedded data are one click away."""
    address, _ = served
    page = watched.page
    page.goto(address)
    page.locator(".gallery-item").first.click()
    page.wait_for_selector("#drawing img")
    page.wait_for_function(f"() => ({ROWS})().length === 1")
    assert watched.errors == []


def test_what_cannot_be_decoded(watched, served, images, localizer, tmp_path):
    """A header that promises 120 million pixels and a file cut short: a message, and the page goes on."""
    address, forward_passes = served
    forward_passes.clear()
    whole = images["wide.png"].read_bytes()
    header = b"IHDR" + struct.pack(">II", 12_000, 10_000) + whole[24:29]
    (tmp_path / "bomb.png").write_bytes(whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:])
    (tmp_path / "short.png").write_bytes(whole[: len(whole) // 2])
    page = watched.page
    page.goto(address)
    for name in ("bomb.png", "short.png"):
        page.wait_for_selector("#image input[type=file]", state="attached")
        page.set_input_files("#image input[type=file]", tmp_path / name)
        page.wait_for_selector(f"[data-testid=toast-body]:has-text('{name}')")
        page.click("[data-testid=toast-close]")
    assert forward_passes == []
    page.set_input_files("#image input[type=file]", images["wide.png"])
    wait_for_boxes(page, localizer(PIL.Image.open(images["wide.png"])))


def test_sideways_jpeg(watched, served, images, localizer):
    address, _ = served
    page = watched.page
    page.goto(address)
    upload(page, images["sideways.jpg"])
    wait_for_boxes(page, localizer(str(images["sideways.jpg"])))
    assert watched.errors == []
