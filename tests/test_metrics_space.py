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
"""The `evaluate` module as its users load it: from its folder."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
import yaml

from transformers_sat.metrics import BoxAccuracy, ground_truth_boxes


SPACE = Path(__file__).parent.parent / "metrics_space" / "wsol_localization"


def cases() -> list[dict]:
    spec = importlib.util.spec_from_file_location("cases_of_the_space", SPACE / "tests.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.test_cases


@pytest.fixture
def metric(tmp_path, monkeypatch):
    # the script is copied to a cache before it is imported
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("evaluate.loading.HF_MODULES_CACHE", str(tmp_path / "modules"), raising=False)
    return evaluate.load(str(SPACE), cache_dir=str(tmp_path / "cache"))


def random_images(count: int, num_labels: int = 6):
    random = np.random.default_rng(0)
    predictions, references = [], []
    for index in range(count):
        height, width = random.integers(60, 200, 2)
        number = 1 + index % 3
        corner = random.uniform(0, 0.5, (number, 2)) * (width, height)
        size = random.uniform(0.2, 0.5, (number, 2)) * (width, height)
        side = 7 if index % 2 else 14
        scores = random.random(num_labels).astype(np.float32)
        predictions.append({"localization_map": random.random((side, side)).astype(np.float32), "scores": scores})
        references.append(
            {
                "boxes": np.concatenate([corner, size], axis=1),
                "image_size": [int(height), int(width)],
                "label": int(random.integers(num_labels)),
            }
        )
    return predictions, references


def counted_directly(predictions, references, protocol, thresholds=None) -> BoxAccuracy:
    metric = BoxAccuracy(protocol, thresholds)
    for prediction, reference in zip(predictions, references, strict=True):
        boxes = ground_truth_boxes(reference["boxes"], reference["image_size"], protocol)
        logits, labels = torch.from_numpy(prediction["scores"])[None], torch.tensor([reference["label"]])
        metric.update(torch.from_numpy(prediction["localization_map"])[None], [boxes], logits, labels)
    return metric


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
def test_equals_the_metric(metric, protocol):
    """Several true boxes an image, maps of several sizes, all at once and in batches."""
    predictions, references = random_images(8)
    expected = counted_directly(predictions, references, protocol).compute()
    assert metric.compute(predictions=predictions, references=references, protocol=protocol) == expected
    for first in (0, 3, 6):
        part = slice(first, first + 3)
        metric.add_batch(predictions=predictions[part], references=references[part])
    assert metric.compute(protocol=protocol) == expected


def test_thresholds(metric):
    predictions, references = random_images(5)
    given = {"predictions": predictions, "references": references}
    fixed = metric.compute(**given, threshold=0.35)
    assert fixed == counted_directly(predictions, references, "sat", [0.35]).compute(0.35)
    assert fixed["threshold_choice"] == "fixed"
    chosen = metric.compute(**given, thresholds=[0.2, 0.7])
    assert chosen == counted_directly(predictions, references, "sat", [0.2, 0.7]).compute()
    assert chosen["threshold_choice"] == "oracle"


def test_a_class_instead_of_scores(metric):
    predictions, references = random_images(6)
    expected = counted_directly(predictions, references, "sat", [0.5]).compute(0.5)
    guesses = [
        {"localization_map": each["localization_map"], "label": int(each["scores"].argmax())} for each in predictions
    ]
    result = metric.compute(predictions=guesses, references=references, threshold=0.5)
    for name in ("top1_cls", "top1_loc", "gt_known_loc", "iou30"):
        assert result[name] == expected[name]
    # the classes after the first are not known
    assert result["top5_cls"] is None and result["top5_loc"] is None


@pytest.mark.parametrize("case", cases(), ids=["sat", "wsoleval", "nothing above the threshold"])
def test_cases_of_the_space(metric, case):
    result = metric.compute(predictions=case["predictions"], references=case["references"], **case["kwargs"])
    assert {name: result[name] for name in case["result"]} == case["result"]
    assert case.keys() == {"predictions", "references", "kwargs", "result"}


def test_plain_json(metric):
    """What the page takes: lists of numbers, as JSON has them."""
    case = json.loads(json.dumps(cases()[0]))
    result = metric.compute(predictions=case["predictions"], references=case["references"], threshold=0.5)
    assert result["gt_known_loc"] == 100.0


def test_errors_name_what_is_wrong(metric):
    predictions, references = random_images(1)
    with pytest.raises(ValueError, match="`protocol` must be one of"):
        metric.compute(predictions=predictions, references=references, protocol="cub")
    without_label = [{name: reference[name] for name in ("boxes", "image_size")} for reference in references]
    with pytest.raises(ValueError, match="must have a `label` each"):
        metric.compute(predictions=predictions, references=without_label)
    for wrong in (0.5, {"map": [[1.0]]}, predictions[0] | {"box": [0, 0, 1, 1]}):
        with pytest.raises(
            ValueError, match="`predictions` must be dictionaries with `localization_map`, `scores` .opt"
        ):
            metric.compute(predictions=[wrong], references=references)


def test_one_by_one(metric):
    predictions, references = random_images(3)
    for prediction, reference in zip(predictions, references, strict=True):
        metric.add(prediction=prediction, reference=reference)
    assert metric.compute() == counted_directly(predictions, references, "sat").compute()


def test_card():
    _, front_matter, card = (SPACE / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    settings = yaml.safe_load(front_matter)
    assert settings["sdk"] == "gradio"
    assert settings["tags"] == ["evaluate", "metric"]
    assert (SPACE / settings["app_file"]).is_file()
    for section in (
        "Metric Description",
        "How to Use",
        "Inputs",
        "Output Values",
        "Values from Popular Papers",
        "Examples",
        "Limitations and Bias",
        "Citation",
    ):
        assert f"# {section}\n" in card


def test_example_of_the_card_runs(monkeypatch):
    """As it is written, from the root of a checkout."""
    monkeypatch.chdir(SPACE.parent.parent)
    card = (SPACE / "README.md").read_text(encoding="utf-8")
    example = card.split("### Examples")[1].split("```python\n")[1].split("```")[0]
    names = {}
    exec(example, names)
    assert (names["result"]["gt_known_loc"], names["result"]["top1_loc"]) == (100.0, 100.0)


class SpaceServer(BaseHTTPRequestHandler):
    """The one address of the Hub that `evaluate.load` reads a Space's files from."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts = self.path.strip("/").split("/")
        path = SPACE / parts[-1]
        found = parts[:4] == ["spaces", "somebody", SPACE.name, "resolve"] and parts[4] == "main" and path.is_file()
        body = path.read_bytes() if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def test_loads_from_a_space(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), SpaceServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    script = (
        "import evaluate, json\n"
        f"metric = evaluate.load('somebody/{SPACE.name}')\n"
        "maps = [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]\n"
        "references = [{'boxes': [[28, 28, 44, 44]], 'image_size': [100, 100], 'label': 3}]\n"
        "predictions = [{'localization_map': maps, 'label': 3}]\n"
        "print(json.dumps(metric.compute(predictions=predictions, references=references, threshold=0.5)))\n"
    )
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "0",
    }
    try:
        finished = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    finally:
        server.shutdown()
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout.splitlines()[-1])["gt_known_loc"] == 100.0
