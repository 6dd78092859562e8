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
"""The handler of an Inference Endpoint: what it takes, what it answers, what it refuses."""

import base64
import io
import json
import os
import random
import re
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file
from sat_testing import tiny_model
from transformers import pipeline

from transformers_sat import SATImageProcessor, WeaklySupervisedLocalizationPipeline
from transformers_sat.hub.publishing import save_with_remote_code
from transformers_sat.model.handler import (
    PARAMETERS,
    TASKS,
    EndpointHandler,
    RequestError,
    clean_message,
    decode_base64,
)


NAMES = ["ant", "bee", "cow", "dog", "elk"]
SIZES = [(70, 50), (40, 64), (33, 90)]


def photo(index: int) -> PIL.Image.Image:
    """Smooth noise."""
    coarse = np.random.default_rng(index).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return PIL.Image.fromarray(coarse).resize(SIZES[index], PIL.Image.Resampling.BICUBIC)


def as_file(image: PIL.Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def as_base64(image: PIL.Image.Image) -> str:
    return base64.b64encode(as_file(image)).decode()


@pytest.fixture(scope="module")
def localizer() -> WeaklySupervisedLocalizationPipeline:
    size = {"height": 32, "width": 32}
    return WeaklySupervisedLocalizationPipeline(
        model=tiny_model(id2label=dict(enumerate(NAMES)), label2id={name: i for i, name in enumerate(NAMES)}),
        image_processor=SATImageProcessor(size=size, crop_size=size, localization_threshold=0.55),
    )


@pytest.fixture(scope="module")
def handler(localizer):
    return EndpointHandler(localizer=localizer)


def detections(found: list[dict]) -> list[tuple]:
    """Labels and boxes, of the handler's answer or of the pipeline's."""
    return [(entry["label"], entry["box"]) for entry in found]


def scores(found: list[dict]) -> list[float]:
    return [entry["score"] for entry in found]


# The answers.


@pytest.mark.parametrize(
    "parameters, pipeline_parameters",
    [
        (None, {}),
        ({"localization_threshold": 0.9}, {"localization_threshold": 0.9}),
        ({"localization_threshold": 0}, {"localization_threshold": 0.0}),
        ({"top_k": 3}, {"top_k": 3}),
        ({"top_k": 1000}, {"top_k": 5}),
        (
            {"multiple_boxes": True, "localization_threshold": 0.8, "top_k": 2, "threshold": None},
            {"multiple_boxes": True, "localization_threshold": 0.8, "top_k": 2},
        ),
    ],
)
@pytest.mark.parametrize("index", [0, 1, 2])
def test_detections_are_those_of_the_pipeline(handler, localizer, index, parameters, pipeline_parameters):
    expected = localizer(photo(index), **pipeline_parameters)
    found = handler({"inputs": as_file(photo(index)), "parameters": parameters})
    assert detections(found) == detections(expected)
    assert scores(found) == pytest.approx(scores(expected), abs=1e-6)
    assert [list(entry) for entry in found] == [["score", "label", "box"]] * len(expected)
    assert json.loads(json.dumps(found)) == found


def test_forms_of_a_image(handler):
    """The same image in every form gives the same answer."""
    image = photo(0)
    expected = handler({"inputs": image})
    wrapped = "\n".join(textwrap.wrap(as_base64(image), 76))
    for inputs in (
        as_file(image),
        bytearray(as_file(image)),
        as_base64(image),
        wrapped,
        f"data:image/png;base64,{as_base64(image)}",
        as_file(image, "BMP"),
        as_file(image, "TIFF"),
        as_file(image, "WEBP", lossless=True),
    ):
        assert handler({"inputs": inputs}) == expected


def test_images_are_upright(handler):
    """Boxes are in the pixels of the image as it is shown."""
    image = photo(0)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    sideways = as_file(image.transpose(PIL.Image.Transpose.ROTATE_90), exif=exif)
    assert handler({"inputs": sideways}) == handler({"inputs": image})


def test_several_images(handler):
    """A list is answered by a list, in order, whatever the sizes; of one image too. More than a batch holds."""
    single = [handler({"inputs": photo(index)}) for index in range(3)]
    answers = handler({"inputs": [photo(0), as_file(photo(1)), as_base64(photo(2))] * 6})
    assert len(answers) == 18
    for answer, expected in zip(answers, single * 6):
        assert detections(answer) == detections(expected)
        assert scores(answer) == pytest.approx(scores(expected), abs=1e-5)
    assert handler({"inputs": [photo(0)]}) == [single[0]]


def test_score_threshold(handler):
    """`threshold` is the least score. The box stays the same."""
    everything = handler({"inputs": photo(0), "parameters": {"top_k": 5}})
    cut = (everything[1]["score"] + everything[2]["score"]) / 2
    assert handler({"inputs": photo(0), "parameters": {"top_k": 5, "threshold": cut}}) == everything[:2]
    assert handler({"inputs": photo(0), "parameters": {"threshold": 1}}) == []


@pytest.mark.parametrize("name", ["localization_threshold", "mask_threshold"])
def test_segmentation(handler, localizer, name):
    parameters = {"task": "image-segmentation", name: 0.7, "multiple_boxes": True, "top_k": 2}
    expected = localizer(photo(0), localization_threshold=0.7, multiple_boxes=True, top_k=2)
    found = handler({"inputs": photo(0), "parameters": parameters})
    assert [entry["label"] for entry in found] == [entry["label"] for entry in expected]
    assert scores(found) == pytest.approx(scores(expected), abs=1e-6)
    for entry, other in zip(found, expected, strict=True):
        mask = PIL.Image.open(io.BytesIO(base64.b64decode(entry["mask"])))
        assert (mask.format, mask.mode) == ("PNG", "L")
        assert np.array_equal(np.asarray(mask), np.asarray(other["mask"]))


def test_parameters_of_the_hub_that_change_nothing(handler):
    plain = {"task": "image-segmentation"}
    expected = handler({"inputs": photo(0), "parameters": plain})
    parameters = plain | {"subtask": "instance", "overlap_mask_area_threshold": 0.5}
    assert handler({"inputs": photo(0), "parameters": parameters}) == expected


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
def test_classification(handler, localizer, function):
    classifier = pipeline(
        "image-classification", model=localizer.model, image_processor=localizer.image_processor, device="cpu"
    )
    expected = classifier(photo(1), top_k=4, function_to_apply=function)
    parameters = {"task": "image-classification", "top_k": 4, "function_to_apply": function}
    found = handler({"inputs": photo(1), "parameters": parameters})
    assert [entry["label"] for entry in found] == [entry["label"] for entry in expected]
    assert scores(found) == pytest.approx(scores(expected), abs=1e-5)
    assert [set(entry) for entry in found] == [{"label", "score"}] * 4
    assert len(handler({"inputs": photo(1), "parameters": {"task": "image-classification"}})) == 5


# What a model must hold.


def localizer_of(model, **settings) -> WeaklySupervisedLocalizationPipeline:
    size = {"height": 32, "width": 32}
    return WeaklySupervisedLocalizationPipeline(model, image_processor=SATImageProcessor(**{"size": size} | settings))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["classifier.convolution.bias", "vit.layers.3.attention.k_proj.weight"])
def test_a_model_whose_values_are_not_finite(name, value):
    """It does not start; where its weights go wrong later, there is an error and no answer."""
    model = tiny_model()
    handler = EndpointHandler(localizer=localizer_of(model))
    with torch.no_grad():
        model.get_parameter(name).fill_(value)
    with pytest.raises(ValueError, match=r"first image ended in RuntimeError: .* not finite \(NaN or infinite\)"):
        EndpointHandler(localizer=localizer_of(model))
    for task in TASKS:
        with pytest.raises(RuntimeError, match="not finite"):
            handler({"inputs": photo(0), "parameters": {"task": task}})


@pytest.mark.parametrize(
    "size",
    # not the model's 32; no multiple of the patches' 8; 32 for square images alone
    [{"height": 64, "width": 64}, {"height": 30, "width": 30}, {"shortest_edge": 32}],
)
def test_model_and_image_processor_that_do_not_fit(size):
    with pytest.raises(ValueError, match="The model does not answer: .* sizes of its image processor") as raised:
        EndpointHandler(localizer=localizer_of(tiny_model(), size=size))
    assert "\n" not in str(raised.value)


def test_a_class_without_a_name():
    model = tiny_model(id2label=dict(enumerate(NAMES)), label2id={name: i for i, name in enumerate(NAMES)})
    del model.config.id2label[4]
    with pytest.raises(ValueError, match="The model does not answer: a first image ended in KeyError: 4"):
        EndpointHandler(localizer=localizer_of(model))


# What is refused.


@pytest.mark.parametrize(
    "data, message",
    [
        ("an image", "must be an object"),
        ({}, "`inputs`"),
        ({"inputs": b""}, "empty"),
        ({"inputs": ""}, "empty"),
        ({"inputs": []}, "between 1 and 32 images, got 0"),
        ({"inputs": [b"x"] * 33}, "between 1 and 32 images, got 33"),
        ({"inputs": 3}, "got int"),
        ({"inputs": [None]}, "got NoneType"),
        ({"inputs": [["nested"]]}, "got list"),
        ({"inputs": b"no image"}, "cannot be decoded"),
        ({"inputs": "https://example.org/bird.jpg"}, "nothing is fetched"),
        ({"inputs": "http://169.254.169.254/latest/meta-data"}, "nothing is fetched"),
        ({"inputs": "file:///etc/passwd"}, "nothing is fetched"),
        ({"inputs": "/etc/passwd"}, "base64|decoded"),
        ({"inputs": "n\u00e4h"}, "not valid base64"),
        ({"inputs": "data:image/png,abc"}, "must be in base64"),
        ({"inputs": "data:image/svg+xml;base64,PHN2Zy8+"}, "cannot be decoded"),
        ({"inputs": b"x", "treshold": 0.5}, "Unknown entries in the request: 'treshold';"),
        ({"inputs": b"x", "parameters": [1]}, "`parameters` must be an object, got list"),
        ({"inputs": b"x", "parameters": {"treshold": 0.5}}, "Unknown parameters for object-detection: 'treshold';"),
        ({"inputs": b"x", "parameters": {"mask_threshold": 0.5}}, "Unknown parameters for object-detection"),
        (
            {"inputs": b"x", "parameters": {"task": "image-classification", "multiple_boxes": True}},
            "Unknown parameters for image-classification",
        ),
        ({"inputs": b"x", "parameters": {"task": "depth-estimation"}}, "`task` must be one of"),
        ({"inputs": b"x", "parameters": {"task": ["object-detection"]}}, "`task` must be one of"),
        ({"inputs": b"x", "parameters": {"threshold": 1.5}}, "`threshold` must be a number between 0 and 1, got 1.5"),
        ({"inputs": b"x", "parameters": {"threshold": float("nan")}}, "`threshold` .* got nan"),
        ({"inputs": b"x", "parameters": {"threshold": "0.5"}}, "`threshold` .* got '0.5'"),
        ({"inputs": b"x", "parameters": {"threshold": True}}, "`threshold` .* got True"),
        ({"inputs": b"x", "parameters": {"localization_threshold": -0.1}}, "`localization_threshold` .* got -0.1"),
        ({"inputs": b"x", "parameters": {"top_k": 0}}, "`top_k` must be a whole number from 1, got 0"),
        ({"inputs": b"x", "parameters": {"top_k": 2.0}}, "`top_k`"),
        ({"inputs": b"x", "parameters": {"top_k": True}}, "`top_k`"),
        ({"inputs": b"x", "parameters": {"multiple_boxes": 1}}, "`multiple_boxes` must be true or false, got 1"),
        ({"inputs": b"x", "parameters": {"task": "image-segmentation", "subtask": "semantic"}}, "'instance'"),
        (
            {"inputs": b"x", "parameters": {"task": "image-classification", "function_to_apply": "tanh"}},
            "`function_to_apply` must be one of",
        ),
        (
            {
                "inputs": b"x",
                "parameters": {"task": "image-segmentation", "mask_threshold": 0.5, "localization_threshold": 0.5},
            },
            "the same parameter",
        ),
    ],
)
def test_wrong_requests(handler, data, message):
    with pytest.raises(ValueError, match=message) as raised:
        handler(data)
    assert len(str(raised.value)) < 400


LARGE = [
    "9" * 10**6,
    "\U000e0001" * 10**6,
    10**100_000,
    -(10**5000),
    [[0] * 1000] * 1000,
    {str(number): number for number in range(1000)},
    object(),
    io.BytesIO(b"x"),
    PIL.Image.new("L", (1, 1)),
    "\ud800",
    float("inf"),
    "<b>" * 100,
]
# What Python calls its objects, such as `<_io.BytesIO object at 0x7f...>`.
OBJECT = re.compile(r" at 0x[0-9a-f]+|<[A-Za-z_]+[. >]")


@pytest.mark.parametrize("value", LARGE, ids=range(len(LARGE)))
def test_errors_are_short_and_clean(handler, value):
    """Whatever was given, an error is one line of some length, in UTF-8, without the names of objects."""
    parameters = [{name: value} for name in sorted(set().union(*PARAMETERS.values()))]
    parameters += [{"task": "image-classification", "function_to_apply": value}, value]
    requests = [{"inputs": photo(0), "parameters": given} for given in parameters]
    requests += [{"inputs": value}, {"inputs": [value]}, value, {"inputs": photo(0), "treshold": value}]
    refused = 0
    for request in requests:
        try:
            handler(request)
        except RequestError as error:
            message = str(error)
            assert 10 < len(message.encode("utf-8")) <= 1600 and len(message) <= 400
            assert "\n" not in message and not OBJECT.search(message), message
            refused += 1
    # a PIL image is no error as `inputs`
    assert refused >= len(requests) - 2


@pytest.mark.parametrize(
    "text, expected",
    [
        ("cannot identify image file <_io.BytesIO object at 0x7f3a2b>", "cannot identify image file"),
        ("got <PIL.Image.Image image mode=RGB size=70x50 at 0x7F12> here", "got here"),
        ("must be <class 'int'>, not <bytes>.", "must be, not."),
        ("<functools.partial <function f at 0x1> at 0x2> failed", "failed"),
        ("one\n  line\tonly", "one line only"),
        ("cut <_io.Bytes", "cut"),
        ("1 < 2 <= 3 > 2", "1 < 2 <= 3 > 2"),
        ("half of a pair: \ud83d", "half of a pair: \\ud83d"),
        ("a" * 1000, "a" * 397 + "..."),
    ],
)
def test_messages_are_cleaned(text, expected):
    assert clean_message(text) == expected
    assert str(RequestError(text)) == expected


def test_work_on_base64_is_proportional():
    """White space, of which base64 may have any amount, does not become objects."""
    text = " A" * 10**6
    tracemalloc.start()
    try:
        assert len(decode_base64(text)) == 750_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(text)


def test_masks_that_would_fill_the_memory(monkeypatch):
    """Every class has the masks again: their sum is limited, not what one of them may be."""
    model = tiny_model(num_labels=1000)
    handler = EndpointHandler(localizer=localizer_of(model))
    noise = PIL.Image.effect_noise((300, 300), 100).convert("RGB")
    parameters = {"task": "image-segmentation", "top_k": 1000}
    (found,) = handler({"inputs": noise, "parameters": {**parameters, "top_k": 1}})
    assert len(handler({"inputs": noise, "parameters": parameters})) == 1000
    monkeypatch.setattr("transformers_sat.model.handler.MAX_MASK_BYTES", 1000 * len(found["mask"]) - 1)
    with pytest.raises(RequestError, match=f"would take {1000 * len(found['mask'])} bytes"):
        handler({"inputs": noise, "parameters": parameters})
    assert len(handler({"inputs": noise, "parameters": {**parameters, "top_k": 999}})) == 999


def test_truncated_image(handler):
    with pytest.raises(ValueError, match="cannot be decoded"):
        handler({"inputs": as_file(photo(0))[:-200]})


def test_damaged_images(handler):
    """Whatever a file is damaged to, it is answered or refused; no other error comes out."""
    generator = random.Random(0)
    image = photo(0)
    files = [as_file(image, name) for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")]
    refused = 0
    for _ in range(300):
        content = bytearray(generator.choice(files))
        for _ in range(generator.randrange(1, 8)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        try:
            assert handler({"inputs": bytes(content)})
        except ValueError:
            refused += 1
    assert 50 < refused < 300


def test_formats_that_run_programs_are_not_read(handler):
    """Pillow hands EPS to Ghostscript."""
    with pytest.raises(ValueError, match="cannot be decoded"):
        handler({"inputs": as_file(photo(0), "EPS")})


def test_image_too_large(localizer):
    handler = EndpointHandler(localizer=localizer, max_pixels=70 * 50)
    assert handler({"inputs": as_file(photo(0))})
    handler = EndpointHandler(localizer=localizer, max_pixels=70 * 50 - 1)
    with pytest.raises(ValueError, match="70 x 50 pixels, more than the 3499"):
        handler({"inputs": as_file(photo(0))})


# In an endpoint.


def test_in_an_endpoint(tmp_path, localizer):
    """In a process of its own, imported by its path from a published folder, with no import of the package."""
    folder = tmp_path / "repository"
    save_with_remote_code(localizer.model, localizer.image_processor, folder)
    code = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("handler", sys.argv[1] + "/handler.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
data = {"inputs": json.load(sys.stdin)}
answers = [module.EndpointHandler(sys.argv[1])(data), module.EndpointHandler()(data)]
print(json.dumps(answers))
print([name for name in sys.modules if name.startswith("transformers_sat")])
"""
    finished = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        input=json.dumps([as_base64(photo(index)) for index in range(3)]),
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
    )
    assert finished.returncode == 0, finished.stderr
    answers, loaded = finished.stdout.splitlines()
    assert loaded == "[]"
    for answer in json.loads(answers):
        for found, image in zip(answer, map(photo, range(3)), strict=True):
            assert detections(found) == detections(localizer(image))


def test_an_endpoint_refuses_missing_weights(tmp_path, localizer):
    """Transformers would make them up, and answer with random classes."""
    folder = tmp_path / "repository"
    save_with_remote_code(localizer.model, localizer.image_processor, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.startswith("classifier"))
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ValueError, match=f"1 weights of the model are missing or of another shape, such as {name}"):
        EndpointHandler(str(folder))
