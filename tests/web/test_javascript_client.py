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
"""`transformers-sat serve` and the Hub's JavaScript client."""

import base64
import io
import json
import subprocess
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from serving_testing import noise_image, png, save_tiny_localizer, served

from transformers_sat.safe_loading import load_localizer


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict:
    """What the client received, and what the pipeline says in `expected` and, cut at 0.8, in `expected_mask`."""
    tmp_path = tmp_path_factory.mktemp("client")
    folder = save_tiny_localizer(tmp_path / "tiny-sat")
    image = noise_image(1)
    (tmp_path / "image.png").write_bytes(png(image))
    with served(folder, tmp_path / "log") as server:
        finished = subprocess.run(
            ["node", str(Path(__file__).parent / "inference_client.mjs"), server.url, str(tmp_path / "image.png")],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert finished.returncode == 0, finished.stderr
    localizer = load_localizer(folder)
    return json.loads(finished.stdout) | {
        "expected": localizer(image, top_k=5),
        "expected_mask": localizer(image, localization_threshold=0.8)[0]["mask"],
    }


@pytest.mark.parametrize("name", ["detection", "argument"])
def test_object_detection(answers, name):
    (found,), expected = answers[name], answers["expected"][0]
    assert (found["label"], found["box"]) == (expected["label"], expected["box"])
    assert found["score"] == pytest.approx(expected["score"], abs=1e-5)


def test_image_segmentation(answers):
    (found,) = answers["segmentation"]
    assert found["label"] == answers["expected"][0]["label"]
    mask = PIL.Image.open(io.BytesIO(base64.b64decode(found["mask"])))
    assert np.array_equal(np.asarray(mask), np.asarray(answers["expected_mask"]))


def test_image_classification(answers):
    assert [found["label"] for found in answers["classification"]] == [e["label"] for e in answers["expected"]]
    scores = [found["score"] for found in answers["classification"]]
    assert scores == pytest.approx([expected["score"] for expected in answers["expected"]], abs=1e-5)


def test_the_client_shows_our_errors(answers):
    assert "cannot be decoded" in answers["error"]
