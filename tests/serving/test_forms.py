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
"""Forms, parameters in the address and maps, through the application inside the test's process."""

import asyncio
import base64
import io

import numpy as np
import PIL.Image
import pytest
import torch
from sat_testing import tiny_model
from serving_testing import client_of, noise_image, png

from transformers_sat import SATImageProcessor, WeaklySupervisedLocalizationPipeline
from transformers_sat.model.handler import RequestError
from transformers_sat.serving import Limits, create_app
from transformers_sat.serving.forms import MAX_PARTS, parse_form, parse_query


IMAGE = png(noise_image(1))


@pytest.fixture(scope="module")
def localizer():
    size = {"height": 32, "width": 32}
    processor = SATImageProcessor(size=size, crop_size=size)
    return WeaklySupervisedLocalizationPipeline(model=tiny_model(), image_processor=processor, device="cpu")


@pytest.fixture
def post(localizer):
    """Posts several requests to one application; each is the path and httpx's arguments."""

    def post(*requests, **settings):
        async def main():
            app = create_app(localizer, "sat", Limits(max_wait_ms=0, max_request_mb=1, max_pixels=10_000), **settings)
            async with client_of(app) as client:
                return [await client.post(path, **arguments) for path, arguments in requests]

        return asyncio.run(main())

    return post


def in_json(**parameters) -> dict:
    return {"json": {"inputs": base64.b64encode(IMAGE).decode(), "parameters": parameters}}


# Forms and addresses say what JSON says.


@pytest.mark.parametrize(
    "path, arguments, parameters",
    [
        ("/", {"files": {"file": IMAGE}}, {}),
        ("/", {"files": {"image": ("bird.png", IMAGE, "image/png")}, "data": {"top_k": "3"}}, {"top_k": 3}),
        ("/", {"files": {"f": IMAGE}, "data": {"multiple_boxes": "true"}}, {"multiple_boxes": True}),
        ("/?localization_threshold=.2&top_k=2", {"content": IMAGE}, {"localization_threshold": 0.2, "top_k": 2}),
        ("/?localization_threshold=2e-1&multiple_boxes=True", in_json(), {"localization_threshold": 0.2, "multiple_boxes": True}),
        ("/?threshold=0.1", in_json(top_k=2), {"threshold": 0.1, "top_k": 2}),
        ("/?top_k=2", in_json(top_k=2), {"top_k": 2}),
        ("/?top_k=2", in_json(top_k=None), {"top_k": 2}),
        ("/?task=image-classification", {"files": {"f": IMAGE}}, {"task": "image-classification"}),
        ("/image-classification?function_to_apply=none", {"content": IMAGE}, {"task": "image-classification", "function_to_apply": "none"}),
    ],
)  # fmt: skip
def test_as_json(post, path, arguments, parameters):
    answer, expected = post((path, arguments), ("/", in_json(**parameters)))
    assert (answer.status_code, expected.status_code) == (200, 200), answer.text
    assert answer.json() == expected.json() and answer.json()


def test_base64_in_a_field(post):
    form = {"files": {"inputs": (None, base64.b64encode(IMAGE).decode()), "top_k": (None, "2")}}
    answer, expected = post(("/", form), ("/", in_json(top_k=2)))
    assert answer.json() == expected.json()


def test_several_files_are_a_list(post):
    (answer,) = post(("/", {"files": [("a", IMAGE), ("b", png(noise_image(2)))]}))
    assert [len(found) for found in answer.json()] == [1, 1]


WRONG = {
    "a threshold that is none": ("/?threshold=high", {"content": IMAGE}, "`threshold` must be a number between 0 and 1, got 'high'"),
    "nothing": ("/?threshold=", {"content": IMAGE}, "`threshold` must be a number between 0 and 1, got ''"),
    "infinity": ("/?threshold=1e999", {"content": IMAGE}, "`threshold` must be a number"),
    "not a number": ("/?threshold=nan", {"content": IMAGE}, "`threshold` must be a number"),
    "digits": ("/?top_k=" + "9" * 5000, {"content": IMAGE}, "`top_k` must be a whole number"),
    "an unknown parameter": ("/?treshold=.2", {"content": IMAGE}, "Unknown parameters for object-detection: 'treshold'; there are"),
    "twice": ("/?threshold=.2&threshold=.3", {"content": IMAGE}, "The address has 'threshold' more than once"),
    "two values": ("/?threshold=.2", in_json(threshold=0.3), "different values of 'threshold'"),
    "two tasks": ("/image-classification?task=image-segmentation", {"content": IMAGE}, "another task"),
    "many": ("/?" + "&".join(f"a{n}=1" for n in range(100)), {"content": IMAGE}, "more than the 16 parameters"),
    "yes": ("/", {"files": {"f": IMAGE}, "data": {"multiple_boxes": "yes"}}, "`multiple_boxes` must be true or false, got 'yes'"),
    "no image": ("/", {"files": {"threshold": (None, "0.2")}}, "The form has no image"),
    "an empty file": ("/", {"files": {"f": b""}}, r"empty \(0 bytes\)"),
    "no picture": ("/", {"files": {"f": b"words"}}, "cannot be decoded"),
    "an unknown field": ("/", {"files": {"f": IMAGE}, "data": {"a": "1"}}, "Unknown parameters for object-detection: 'a'"),
    "a field twice": ("/", {"files": [("f", IMAGE), ("top_k", (None, "1")), ("top_k", (None, "1"))]}, "'top_k' more than once"),
    "too many images": ("/", {"files": [("f", IMAGE)] * 33}, "between 1 and 32 images, got 33"),
    "too many parts": ("/", {"files": [("f", b"x")] * 70}, "more than the 64 parts"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_parameters(post, name):
    path, arguments, message = WRONG[name]
    (answer,) = post((path, arguments))
    assert answer.status_code == 400
    with pytest.raises(RequestError, match=message):
        raise RequestError(answer.json()["error"])


HEAD = b'--x\r\nContent-Disposition: form-data; name="f"; filename="g"\r\n\r\n'


@pytest.mark.parametrize(
    "body, content_type, message",
    [
        (HEAD + b"abc\r\n--x--\r\n", "multipart/form-data", "no `boundary`"),
        (HEAD + b"abc", "multipart/form-data; boundary=x", "cut off"),
        (HEAD, "multipart/form-data; boundary=x", "cut off"),
        (b"abc", "multipart/form-data; boundary=x", "cannot be read"),
        (b"--x\r\n\r\nabc\r\n--x--", "multipart/form-data; boundary=x", "cannot be read"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", "no image"),
        (HEAD * (MAX_PARTS + 2), "multipart/form-data; boundary=x", "more than the 64 parts"),
        (HEAD, "multipart/form-data; boundary=" + "x" * 300, "cannot be read"),
        (HEAD, "multipart/form-data" + ';"' * 5000, "more than the 1000 characters"),
    ],
)
def test_damaged_forms(body, content_type, message):
    with pytest.raises(RequestError, match=message):
        parse_form(body, content_type)


def test_a_form_keeps_every_byte():
    """Also those that look like a boundary's begin."""
    content = bytes(range(256)) * 3 + b"\r\n--y\r\n--\r\n"
    body = HEAD + content + b'\r\n--x\r\nContent-Disposition: form-data; name="threshold"\r\n\r\n.5\r\n--x--\r\n'
    assert parse_form(body, "multipart/form-data; boundary=x") == {"inputs": content, "parameters": {"threshold": 0.5}}


def test_values_of_an_address():
    assert parse_query(b"threshold=+.5&top_k=07&multiple_boxes=FALSE&subtask=in%73tance") == {
        "threshold": 0.5,
        "top_k": 7,
        "multiple_boxes": False,
        "subtask": "instance",
    }
    assert parse_query(b"threshold=0x1&top_k=1.0&multiple_boxes=1") == {
        "threshold": "0x1",
        "top_k": "1.0",
        "multiple_boxes": "1",
    }


# Maps.


def test_a_map_as_an_image(post, localizer):
    """Grey, of the image's size, dark where the map is smallest and white where it is largest."""
    for_bytes, for_form, for_json = post(
        ("/map", {"content": IMAGE}), ("/map", {"files": {"f": IMAGE}}), ("/map?format=png", in_json())
    )
    assert for_bytes.headers["content-type"] == "image/png"
    assert for_bytes.content == for_form.content == for_json.content
    grey = PIL.Image.open(io.BytesIO(for_bytes.content))
    assert (grey.mode, grey.size) == ("L", (70, 50))
    expected = localizer(noise_image(1))[0]["localization_map"]
    assert np.abs(np.asarray(grey) / 255 - np.asarray(expected)).max() < 1 / 255


def test_a_map_as_numbers(post, localizer):
    """The model's own values at its grid."""
    as_npy, as_json = post(("/map?format=npy", {"content": IMAGE}), ("/map", in_json(format="json")))
    grid = np.load(io.BytesIO(as_npy.content), allow_pickle=False)
    pixels = localizer.image_processor(noise_image(1), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = localizer.model(pixels).localization_map[0].numpy()
    assert grid.dtype == np.float32 and grid.shape == expected.shape
    np.testing.assert_allclose(grid, expected, atol=1e-6)
    np.testing.assert_allclose(as_json.json()["localization_map"], expected, atol=1e-6)


@pytest.mark.parametrize(
    "path, arguments, status, message",
    [
        ("/map?format=jpeg", {"content": IMAGE}, 400, "`format` must be one of png, npy, json, got 'jpeg'"),
        ("/map?threshold=.2", {"content": IMAGE}, 400, "no other parameter than `format`, got 'threshold'"),
        ("/map", in_json(format=["png"]), 400, "`format` must be one of"),
        ("/map", {"files": [("a", IMAGE), ("b", IMAGE)]}, 400, "A map is of one image"),
        ("/map", {"json": {"inputs": []}}, 400, "between 1 and 32 images"),
        ("/map", {"json": []}, 400, "must be an object"),
        ("/map", {"json": {"inputs": "x", "parameters": [1]}}, 400, "`parameters` must be an object"),
        ("/map", {"json": {"inputs": "http://127.0.0.1/x.png"}}, 400, "nothing is fetched"),
        ("/map", {"content": b""}, 400, "no body"),
        ("/map", {"content": b"words"}, 400, "cannot be decoded"),
        ("/map", {"content": png(noise_image(0, 101, 100))}, 413, "pixels"),
        ("/map", {"content": b"x" * 1_000_001}, 413, "larger than"),
    ],
)
def test_wrong_requests_for_a_map(post, path, arguments, status, message):
    (answer,) = post((path, arguments))
    assert answer.status_code == status and message in answer.json()["error"]


def test_a_map_that_is_not_finite(post, localizer, monkeypatch):
    def broken(outputs):
        forward = WeaklySupervisedLocalizationPipeline.forward(localizer, outputs)
        if broken.on:
            forward["localization_map"] = forward["localization_map"] * float("nan")
        return forward

    broken.on = False
    monkeypatch.setattr(localizer, "forward", broken, raising=False)

    async def main():
        async with client_of(create_app(localizer)) as client:
            broken.on = True
            return await client.post("/map", content=IMAGE)

    answer = asyncio.run(main())
    assert answer.status_code == 500 and "Internal error" in answer.json()["error"]
