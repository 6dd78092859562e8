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
"""The page `examples/browser` in Chromium, against the model and image processor in Python."""

import base64
import functools
import io
import json
import math
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import PIL.Image
import pytest
import torch
from transformers.utils import ModelOutput

from transformers_sat import SATImageProcessor
from transformers_sat.export import export_onnx
from transformers_sat.model.images_sat import read_image
from transformers_sat.model.localization_sat import locate, map_in_image, normalize_map


REPOSITORY = Path(__file__).parent.parent.parent
BROWSER_PAGE = REPOSITORY / "examples" / "browser"
NODE_MODULES = Path(__file__).parent / "node_modules"

# Browser and torchvision round a resized pixel differently by one level of 256 at most, which moves normalised values
# by 0.018, the map by thousandths, and an edge of the box, where the map crosses the threshold, by a pixel or so.
PIXEL_TOLERANCE = 1.01 / 255 / 0.224
BOX_TOLERANCE = 2


class PageHandler(SimpleHTTPRequestHandler):
    """Serves the page, with the packages of the tests and the model of the test."""

    extensions_map = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *arguments, folders: dict[str, Path]):
        self.folders = folders
        super().__init__(*arguments)

    def translate_path(self, path: str) -> str:
        top, _, rest = unquote(urlsplit(path).path).lstrip("/").partition("/")
        if top in self.folders:
            return str(self.folders[top] / rest)
        return str(BROWSER_PAGE / (f"{top}/{rest}".strip("/") or "index.html"))

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def model_folder(emblem_model, emblem_processor, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_onnx(emblem_model, emblem_processor, folder, quantize=True)
    return folder


@pytest.fixture(scope="module")
def address(model_folder):
    if not (NODE_MODULES / "onnxruntime-web").is_dir():
        pytest.fail(f"These tests need onnxruntime-web: run `npm ci` in {NODE_MODULES.parent}.")
    folders = {"node_modules": NODE_MODULES, "model": model_folder}
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(PageHandler, folders=folders))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def open_page(watched, address: str):
    watched.page.goto(address)
    watched.page.wait_for_selector("body[data-state=ready]")
    return watched.page


def choose(page, path: Path):
    page.set_input_files("#file", path)
    page.wait_for_selector("body[data-state=done]")


def found_by_page(page) -> dict:
    """Classes as they are shown, and box and map as the page holds them."""
    return page.evaluate(
        """async () => {
            const { page } = await import("./main.js");
            const { inPixels, box } = page.shown;
            return {
                names: [...document.querySelectorAll("#scores .name")].map((node) => node.textContent),
                scores: [...document.querySelectorAll("#scores meter")].map((node) => node.value),
                box,
                map: Array.from(inPixels.values),
                rectangle: [inPixels.x, inPixels.y, inPixels.width, inPixels.height],
                numRuns: page.model.numRuns,
            };
        }"""
    )


def found_by_python(model, processor, path: Path, threshold: float | None = None) -> dict:
    image = read_image(path, path.name)
    with torch.no_grad():
        outputs = model(**processor(image, return_tensors="pt"))
    result = processor.post_process_localization(
        outputs, target_sizes=[(image.height, image.width)], localization_threshold=threshold, top_k=5
    )[0]
    return {
        "names": [model.config.id2label[label] for label in result["labels"].tolist()],
        "scores": result["scores"].tolist(),
        "box": result["boxes"][0].tolist(),
        "map": result["localization_map"].numpy(),
    }


def assert_close(found: dict, expected: dict):
    assert found["names"][0] == expected["names"][0]
    scores = dict(zip(found["names"], found["scores"], strict=True))
    for name, score in zip(expected["names"][:3], expected["scores"], strict=False):
        assert scores[name] == pytest.approx(score, abs=0.02)
    assert found["box"] == pytest.approx(expected["box"], abs=BOX_TOLERANCE)
    x, y, width, height = found["rectangle"]
    in_pixels = np.array(found["map"]).reshape(height, width)
    seen = expected["map"][y : y + height, x : x + width]
    assert np.corrcoef(in_pixels.ravel(), seen.ravel())[0, 1] > 0.999
    assert np.abs(in_pixels - seen).max() < 0.03
    # what the page leaves out, the model did not see
    outside = expected["map"].copy()
    outside[y : y + height, x : x + width] = 0
    assert not outside.any()


@pytest.mark.parametrize("name", ["wide.png", "tall.png", "small.png", "sideways.jpg", "cutout.png"])
def test_localizes_as_python(watched, address, images, emblem_model, emblem_processor, name):
    page = open_page(watched, address)
    choose(page, images[name])
    expected = found_by_python(emblem_model, emblem_processor, images[name])
    found = found_by_page(page)
    assert_close(found, expected)
    x0, y0, x1, y1 = found["box"]
    assert page.text_content("#box") == f"({x0}, {y0}) to ({x1}, {y1}), {x1 - x0} x {y1 - y0} pixels"
    assert watched.errors == []
    assert watched.foreign == []


def test_threshold_acts_without_another_run(watched, address, images, emblem_model, emblem_processor):
    page = open_page(watched, address)
    assert float(page.input_value("#threshold")) == 0.4
    choose(page, images["wide.png"])
    boxes = []
    for threshold in (0.2, 0.4, 0.8):
        page.fill("#threshold", str(threshold))
        page.wait_for_function(
            "text => document.getElementById('threshold-value').textContent.startsWith(text)", arg=f"{threshold:.2f}"
        )
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found = found_by_page(page)
        assert_close(found, found_by_python(emblem_model, emblem_processor, images["wide.png"], threshold))
        assert found["numRuns"] == 1
        boxes.append(tuple(found["box"]))
    assert len(set(boxes)) == 3
    page.click("#own-threshold")
    assert page.text_content("#threshold-value") == "0.40 (the model's own)"
    assert watched.errors == []


def test_opacity_box_and_keyboard(watched, address, images):
    """The drawing shows the image, the map as strongly as the slider says, and the box; all within the keyboard's reach."""
    page = open_page(watched, address)
    choose(page, images["wide.png"])

    def drawing(opacity: float) -> np.ndarray:
        page.fill("#opacity", str(opacity))
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        address = page.evaluate("document.getElementById('drawing').toDataURL('image/png')")
        png = PIL.Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
        return np.asarray(png.convert("RGB"), dtype=float)

    image = np.asarray(PIL.Image.open(images["wide.png"]), dtype=int)
    plain, half = drawing(0), drawing(0.5)
    found = found_by_page(page)
    x0, y0, x1, y1 = found["box"]
    # away from the box's outline, 5 pixels wide with its dark rim, the image itself
    far = np.ones((300, 400), dtype=bool)
    far[max(y0 - 6, 0) : y1 + 6, max(x0 - 6, 0) : x1 + 6] = False
    far[y0 + 6 : y1 - 6, x0 + 6 : x1 - 6] = True
    assert np.abs(plain - image)[far].max() <= 2
    # half and half: what is not the image is the map's colour, the brighter the larger
    x, y, width, height = found["rectangle"]
    far, seen = far[y : y + height, x : x + width], (slice(y, y + height), slice(x, x + width))
    colours = (2 * half - image)[seen].sum(axis=-1)
    assert np.corrcoef(colours[far], np.array(found["map"]).reshape(height, width)[far])[0, 1] > 0.95
    middle = (y0 + y1) // 2
    red, green, blue = plain[middle, x0]
    assert green > 150 and green > red + 80

    assert page.evaluate("document.getElementById('drawing').getAttribute('aria-label')").endswith(
        f"from ({x0}, {y0}) to ({x1}, {y1})"
    )
    page.focus("#file")
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["threshold", "own-threshold", "opacity"]
    assert watched.errors == []


def test_dropped_image_and_quantized_model(watched, address, images, emblem_model, emblem_processor):
    page = open_page(watched, f"{address}?file=model_quantized.onnx")
    numbers = list(images["wide.png"].read_bytes())
    page.evaluate(
        """(numbers) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(numbers)], "dropped.png", { type: "image/png" }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }""",
        numbers,
    )
    page.wait_for_selector("body[data-state=done]")
    assert "dropped.png, 400 x 300 pixels" in page.text_content("#status")
    expected = found_by_python(emblem_model, emblem_processor, images["wide.png"])
    found = found_by_page(page)
    x, y, width, height = found["rectangle"]
    seen = expected["map"][y : y + height, x : x + width]
    assert np.corrcoef(found["map"], seen.ravel())[0, 1] > 0.99
    assert watched.errors == []


def test_what_is_no_image(watched, address, images, tmp_path):
    page = open_page(watched, address)
    (tmp_path / "words.png").write_text("no image")
    page.set_input_files("#file", tmp_path / "words.png")
    page.wait_for_selector("body[data-state=error]")
    assert "words.png cannot be localized" in page.text_content("#status")
    # and the page goes on
    choose(page, images["small.png"])
    assert "small.png, 40 x 40 pixels" in page.text_content("#status")
    assert watched.errors == []


def test_missing_model(watched, address):
    watched.page.goto(f"{address}?model=elsewhere")
    watched.page.wait_for_selector("body[data-state=error]")
    assert "elsewhere/config.json: the server answered 404" in watched.page.text_content("#status")
    assert watched.page.is_disabled("#file")


def test_nothing_can_be_sent_elsewhere(watched, address):
    """The page's security policy stops it, whatever a script may try."""
    page = open_page(watched, address)
    message = page.evaluate(
        "fetch('http://localhost:9/', { method: 'POST', body: 'image' }).then(() => 'sent', (error) => 'stopped')"
    )
    assert message == "stopped"
    assert any("Content Security Policy" in error for error in watched.errors)


# The modules by themselves.


def in_page(watched, address: str, module: str, expression: str, *arguments):
    """Evaluates an expression with the module as `it` and the arguments as `args`."""
    watched.page.goto(address)
    return watched.page.evaluate(
        f"async (args) => {{ const it = await import('./{module}'); return {expression}; }}", list(arguments)
    )


PREPARE = "Array.from(it.prepare(Uint8ClampedArray.from(args[0]), args[1], args[2], args[3]).values)"


@pytest.mark.parametrize(
    "settings, width, height",
    [
        ({}, 90, 70),
        ({}, 20, 25),
        ({"do_center_crop": True, "size": {"height": 37, "width": 37}}, 130, 50),
        ({"do_center_crop": True, "size": {"shortest_edge": 36}}, 75, 51),
        # a crop that is larger than the image is padded
        ({"do_center_crop": True, "do_resize": False}, 29, 41),
        ({"do_normalize": False}, 64, 64),
    ],
)
def test_prepare_and_seen_part(watched, address, settings, width, height):
    processor = SATImageProcessor(**{"size": square(32), "crop_size": square(32), **settings})
    image = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8), "RGBA")
    expected = processor(image.convert("RGB"), return_tensors="pt")["pixel_values"][0].numpy()
    pixels = np.asarray(image).ravel().tolist()
    settings = json.loads(processor.to_json_string())
    values = in_page(watched, address, "processing.js", PREPARE, pixels, width, height, settings)
    assert np.abs(np.array(values).reshape(expected.shape) - expected).max() <= PIXEL_TOLERANCE

    # a threshold that nothing exceeds gives the box of all that was seen: the pixels with their centre in it
    seen = watched.page.evaluate(
        "async (args) => (await import('./processing.js')).seenPart(...args)", [width, height, settings]
    )
    outputs = ModelOutput(logits=torch.zeros(1, 2), localization_map=torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]) + 1)
    result = processor.post_process_localization(outputs, target_sizes=[(height, width)], localization_threshold=1.0)[
        0
    ]
    x0, x1 = max(math.ceil(seen["x0"] - 0.5), 0), min(math.ceil(seen["x1"] - 0.5), width)
    y0, y1 = max(math.ceil(seen["y0"] - 0.5), 0), min(math.ceil(seen["y1"] - 0.5), height)
    assert result["boxes"][0].tolist() == [x0, y0, x1, y1]


def square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


@pytest.mark.parametrize(
    "size, seen",
    [((30, 40), None), ((33, 20), (-3.2, 4.1, 25.0, 31.7)), ((9, 5), (2.6, 0.0, 2.9, 9.0)), ((3, 2), None)],
)
def test_map_in_image_and_box(watched, address, size, seen):
    """Against the Python functions, on maps with several components and with ties."""
    height, width = size
    localization_map = torch.randn(6, 7, generator=torch.Generator().manual_seed(3))
    expected, (x0, y0, x1, y1) = map_in_image(normalize_map(localization_map), size, seen)
    corners = dict(zip(("x0", "y0", "x1", "y1"), seen or (0, 0, width, height)))
    found = in_page(
        watched,
        address,
        "localization.js",
        """(() => {
            const map = it.normalizeMap(Float32Array.from(args[0]));
            const inPixels = it.mapInImage(map, { width: 7, height: 6 }, args[1], args[2], args[3]);
            const boxes = args[4].map((threshold) => it.locate(inPixels, threshold));
            return { ...inPixels, values: Array.from(inPixels.values), boxes };
        })()""",
        localization_map.flatten().tolist(),
        width,
        height,
        corners,
        [0.1, 0.45, 0.6, 0.9, 1.0],
    )
    assert (found["x"], found["y"], found["x"] + found["width"], found["y"] + found["height"]) == (x0, y0, x1, y1)
    np.testing.assert_allclose(np.array(found["values"]).reshape(expected.shape), expected.numpy(), atol=1e-6)
    for threshold, box in zip([0.1, 0.45, 0.6, 0.9, 1.0], found["boxes"], strict=True):
        assert box == (locate(expected, threshold).boxes[0] + np.array([x0, y0, x0, y0])).tolist()


def test_maps_that_say_nothing(watched, address):
    """A constant map, or one with a NaN: the whole of what was seen."""
    boxes = in_page(
        watched,
        address,
        "localization.js",
        """[0.7, NaN].map((value) => {
            const map = it.normalizeMap(Float32Array.from([0.7, 0.7, 0.7, value]));
            const seen = { x0: 2, y0: 0, x1: 8, y1: 5 };
            return it.locate(it.mapInImage(map, { width: 2, height: 2 }, 10, 5, seen), 0);
        })""",
    )
    assert boxes == [[2, 0, 8, 5], [2, 0, 8, 5]]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"do_resize": True, "resample": 3, "size": square(32), "localization_threshold": 0.4}, "bilinear"),
        (
            {"do_resize": True, "resample": 2, "size": {"longest_edge": 9}, "localization_threshold": 0.4},
            "shortest_edge",
        ),
        ({"do_resize": True, "resample": 2, "size": square(32)}, "localization_threshold"),
    ],
)
def test_settings_that_the_page_cannot_follow(watched, address, settings, message):
    expression = "(() => { try { it.checkSettings(args[0]); } catch (error) { return error.message; } })()"
    assert message in in_page(watched, address, "processing.js", expression, settings)


def test_versions_agree():
    """The page is tested with the version of onnxruntime-web that it installs."""
    versions = {
        json.loads(Path(folder, "package.json").read_text(encoding="utf-8"))["dependencies"]["onnxruntime-web"]
        for folder in (BROWSER_PAGE, NODE_MODULES.parent)
    }
    assert len(versions) == 1
