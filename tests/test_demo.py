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
"""The demo without its page: one forward pass, any number of cuts, and what is drawn and written."""

import json

import numpy as np
import PIL.Image
import pytest
import torch
from sat_testing import tiny_model

from transformers_sat import SATImageProcessor
from transformers_sat.cli import main
from transformers_sat.demo import (
    MEAN_MAP,
    Localizer,
    build_demo,
    example_images,
    place_as_json,
)
from transformers_sat.drawn import emblem_class_names
from transformers_sat.safe_loading import load_localizer


NAMES = ["ant", "bee", "cow", "dog", "elk"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model(
        id2label=dict(enumerate(NAMES)), label2id={name: label for label, name in enumerate(NAMES)}
    ).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    SATImageProcessor(size=size, crop_size=size, localization_threshold=0.55).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def pipeline(folder):
    return load_localizer(folder, device="cpu")


@pytest.fixture
def localizer(pipeline):
    return Localizer(pipeline)


@pytest.fixture
def image() -> PIL.Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return PIL.Image.fromarray(coarse).resize((70, 50), PIL.Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    "options", [{}, {"localization_threshold": 0.8}, {"localization_threshold": 0.8, "multiple_boxes": True}]
)
def test_place_is_the_pipelines(localizer, pipeline, image, options):
    place = localizer.locate(localizer.see(image), **options)
    expected = pipeline(image, **options)
    assert place.labels == [entry["label"] for entry in expected]
    assert place.scores == pytest.approx([entry["score"] for entry in expected], abs=1e-5)
    assert place.boxes == [list(entry["box"].values()) for entry in expected]
    np.testing.assert_allclose(place.localization_map, expected[0]["localization_map"], atol=1e-5)


def test_one_forward_pass_serves_all_settings(localizer, image):
    calls = []
    handle = localizer.model.register_forward_hook(lambda *arguments: calls.append(1))
    seen = localizer.see(image)
    places = [
        localizer.locate(seen, threshold, multiple_boxes, map_name)
        for threshold in (0.1, 0.5, 0.9)
        for multiple_boxes in (False, True)
        for map_name in localizer.map_names
    ]
    scores = localizer.class_scores(seen)
    handle.remove()
    assert len(calls) == 1
    assert len({str(place.boxes) for place in places}) > 3
    assert set(scores) == set(NAMES) and sum(scores.values()) == pytest.approx(1.0, abs=1e-5)
    assert max(scores, key=scores.get) == places[0].labels[0]


def test_maps_of_the_blocks(localizer, pipeline, image):
    """Named by their place in the model, which has four blocks; the first map is the mean of the others."""
    assert localizer.map_names == [MEAN_MAP, "block 3", "block 4"]
    seen = localizer.see(image)
    inputs = pipeline.image_processor(image, return_tensors="pt")
    with torch.no_grad():
        outputs = pipeline.model(**inputs, output_spatial_maps=True)
    torch.testing.assert_close(seen.maps["block 3"], outputs.spatial_maps[0])
    torch.testing.assert_close(seen.maps["block 4"], outputs.spatial_maps[1])
    torch.testing.assert_close(seen.maps[MEAN_MAP], (seen.maps["block 3"] + seen.maps["block 4"]) / 2)


def test_images_of_other_forms(localizer, image):
    """Grey, transparent, and stored sideways."""
    localizer.locate(localizer.see(image.convert("L")))
    transparent, on_white = image.convert("RGBA"), image.copy()
    transparent.paste((9, 9, 9, 0), (4, 4, 20, 20))
    on_white.paste((255, 255, 255), (4, 4, 20, 20))
    assert np.array_equal(localizer.see(transparent).image, on_white)
    deep = PIL.Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    assert np.array_equal(localizer.see(deep).image, image.convert("L").convert("RGB"))
    sideways = image.transpose(PIL.Image.Transpose.ROTATE_90)
    sideways.getexif()[0x0112] = 6
    seen = localizer.see(sideways)
    assert seen.image.size == image.size
    assert localizer.locate(seen).predicted_boxes == localizer.locate(localizer.see(image)).predicted_boxes


def test_json(localizer, image):
    seen = localizer.see(image)
    place = localizer.locate(seen, 0.8, multiple_boxes=True, map_name="block 4")
    content = json.loads(place_as_json(place, 0.8, "block 4"))
    assert (content["width"], content["height"], content["map"]) == (70, 50, "block 4")
    assert content["localization_threshold"] == 0.8
    assert [list(entry["box"].values()) for entry in content["objects"]] == place.boxes
    assert list(content["objects"][0]["box"]) == ["xmin", "ymin", "xmax", "ymax"]
    assert [entry["label"] for entry in content["objects"]] == place.labels


def test_example_images(localizer, pipeline, tmp_path, image):
    # a model of other classes has none of its own
    assert example_images(localizer) == []
    for name in ("b.png", "a.JPG"):
        image.save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert example_images(localizer, tmp_path) == [str(tmp_path / "a.JPG"), str(tmp_path / "b.png")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no image .* in the folder .*empty"):
        example_images(localizer, tmp_path / "empty")


def test_emblems_for_a_model_that_knows_them(localizer, monkeypatch):
    monkeypatch.setattr(Localizer, "class_names", emblem_class_names())
    images = example_images(localizer)
    assert [image.size for image in images] == [(560, 560)] * 3
    assert len({image.tobytes() for image in images}) == 3


def test_page_starts_at_the_stored_threshold(localizer):
    demo = build_demo(localizer)
    components = {entry["props"].get("elem_id"): entry["props"] for entry in demo.get_config_file()["components"]}
    assert components["localization_threshold"]["value"] == 0.55
    assert components["multiple"]["value"] is False
    assert [value for _, value in components["map"]["choices"]] == localizer.map_names


@pytest.mark.parametrize(
    "arguments, message", [(["{folder}/gone"], "gone"), (["{folder}", "--images", "{folder}"], "no image")]
)
def test_command_errors(folder, arguments, message, capsys):
    assert main(["demo", *(argument.format(folder=folder) for argument in arguments)]) == 1
    captured = capsys.readouterr()
    assert "transformers-sat: " in captured.err and message in captured.err
