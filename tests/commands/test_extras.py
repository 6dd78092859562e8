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
"""With one extra installed and no other, a command works, or names the extra that it needs before it loads anything."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import PIL.Image
import pillow_heif
import pytest
from installed_packages import ROOT, closure_of, link_packages, own_requirements, run_installed
from sat_testing import FIXTURES, tiny_model
from square_images import save_tiny_vit, square_split

from transformers_sat import SATImageProcessor
from transformers_sat.extras import install_hint


EXTRAS = ["", "demo", "eval", "export", "heif", "serve", "train"]

# Words, the extra that brings what is needed ("" for none), and all extras that do. Words with `{port}` are servers. Without
# the extra of an image's format (`None`) a command goes on with the other images.
COMMANDS = [
    ("predict {model} {image}", "", EXTRAS),
    ("predict {model} {image} --output {out}/drawings", "eval", ["eval", "train"]),
    ("predict {model} {photograph}", None, ["heif"]),
    (f"convert original {FIXTURES}/sat_micro_pth_tar.pth.tar {{out}}/original --num_attention_heads 3", "", EXTRAS),
    ("convert backbone {vit} {out}/backbone --num_spatial_layers 1", "", EXTRAS),
    ("evaluate {model} {data} --batch_size 2 --output {out}/report", "eval", ["eval", "train"]),
    ("evaluate {model} {data} --batch_size 2 --protocol both", "eval", ["eval", "train"]),
    ("evaluate-maps {maps} --metadata {metadata} --output {out}/maps", "eval", ["eval", "train"]),
    ("calibrate {model} {data} --batch_size 2 --output {out}/calibrated", "eval", ["eval", "train"]),
    ("prepare imagefolder --source {images} --output {out}/prepared", "train", ["eval", "train"]),
    ("export {model} {out}/onnx --quantize", "export", ["export"]),
    ("demo {model} --port {port}", "demo", ["demo"]),
    # gradio serves with the same packages
    ("serve {model} --port {port}", "serve", ["serve", "demo"]),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    """A model, a ViT, a data set, a folder of images and one of score maps, all tiny."""
    folder = tmp_path_factory.mktemp("inputs")
    size = {"height": 32, "width": 32}
    tiny_model(id2label={0: "dark", 1: "light"}).save_pretrained(folder / "model")
    SATImageProcessor(size=size, crop_size=size).save_pretrained(folder / "model")
    splits = {"validation": square_split(2, first=100), "test": square_split(2, first=200)}
    datasets.DatasetDict(splits).save_to_disk(folder / "data")
    for label in ("ant", "bee"):
        path = folder / "images" / label / "1.png"
        path.parent.mkdir(parents=True)
        PIL.Image.new("RGB", (40, 30), (200, 100, 0)).save(path)
    pillow_heif.from_pillow(PIL.Image.new("RGB", (40, 30))).save(folder / "photograph.heic")
    (folder / "maps").mkdir()
    np.save(folder / "maps" / "a.npy", np.random.default_rng(0).random((14, 14)))
    (folder / "metadata").mkdir()
    for name, line in {
        "image_ids": "a.jpg",
        "class_labels": "a.jpg,0",
        "image_sizes": "a.jpg,100,80",
        "localization": "a.jpg,10,10,60,50",
    }.items():
        (folder / "metadata" / f"{name}.txt").write_text(line + "\n", encoding="utf-8")
    return {
        "model": folder / "model",
        "vit": save_tiny_vit(folder / "vit"),
        "data": folder / "data",
        "images": folder / "images",
        "image": folder / "images" / "ant" / "1.png",
        "photograph": folder / "photograph.heic",
        "maps": folder / "maps",
        "metadata": folder / "metadata",
    }


def free_port() -> int:
    with socket.socket() as socket_:
        socket_.bind(("127.0.0.1", 0))
        return socket_.getsockname()[1]


def run_all(extra: str, commands: list[str], inputs: dict[str, Path], folder: Path) -> list[dict]:
    ports = [free_port() if "{port}" in command else None for command in commands]
    words = [
        command.format(**inputs, out=folder, port=port).split() for command, port in zip(commands, ports, strict=True)
    ]
    site = link_packages(
        closure_of([f"transformers-sat[{extra}]" if extra else "transformers-sat"]), folder / "site-packages"
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(site)]),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "OMP_NUM_THREADS": "1",
    }
    finished = subprocess.run(
        [sys.executable, "-S", Path(__file__).parent / "every_command.py"],
        input=json.dumps(list(zip(words, ports, strict=True))),
        capture_output=True,
        text=True,
        env=environment,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_is_missing_is_named(extra, inputs, tmp_path):
    refused = [(words, needed) for words, needed, extras in COMMANDS if needed is not None and extra not in extras]
    endings = run_all(extra, [words for words, _ in refused], inputs, tmp_path)
    for (words, needed), ending in zip(refused, endings, strict=True):
        assert ending["status"] == 1, words
        assert ending["error"].startswith("transformers-sat: ") and len(ending["error"].splitlines()) == 1
        assert ending["error"].endswith(f" not installed: {install_hint(needed)}\n"), words
        # at once, which is what loading nothing is for
        assert not ending["torch"] and ending["seconds"] < 1, words


@pytest.mark.slow
@pytest.mark.parametrize("extra", EXTRAS)
def test_one_extra_alone(extra, inputs, tmp_path):
    working = [words for words, _, extras in COMMANDS if extra in extras]
    for words, ending in zip(working, run_all(extra, working, inputs, tmp_path), strict=True):
        # servers are interrupted
        assert ending["status"] in ((0, 130) if "{port}" in words else (0,)), (words, ending["error"])
    assert {path.name for path in tmp_path.iterdir()} >= {"original", "backbone"}


def test_the_embedded_data_needs_its_photographs(inputs, tmp_path):
    (ending,) = run_all("eval", ["evaluate {model} emblems"], inputs, tmp_path)
    assert ending["status"] == 1 and not ending["torch"]
    assert ending["error"] == f"transformers-sat: skimage, sklearn not installed: {install_hint('train')}\n"


def requirements_of(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]


@pytest.mark.slow
def test_space_of_the_demo(inputs, tmp_path):
    """What the Space installs is enough for its page, with the drawn example images."""
    code = """
import runpy, sys
import transformers_sat.demo as demo
from transformers_sat.drawn.emblems import emblem_class_names
launch = demo.launch_demo
demo.launch_demo = lambda *arguments, **options: launch(*arguments, **options, block=False).close()
runpy.run_path(sys.argv[1], run_name="__main__")
class Emblems:
    class_names = emblem_class_names()
assert len(demo.example_images(Emblems())) == 3
"""
    finished = run_installed(
        requirements_of(ROOT / "examples" / "space" / "requirements.txt"),
        tmp_path / "site-packages",
        "-c",
        code,
        str(ROOT / "examples" / "app.py"),
        SAT_MODEL=str(inputs["model"]),
        GRADIO_SERVER_PORT=str(free_port()),
        GRADIO_ANALYTICS_ENABLED="False",
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_space_of_the_metric(tmp_path):
    """What the Space installs is enough for its page and for `evaluate.load`."""
    folder = ROOT / "metrics_space" / "wsol_localization"
    code = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
runpy.run_path(sys.argv[1] + "/app.py")["make_demo"]()
import evaluate
from tests import test_cases
case = test_cases[0]
metric = evaluate.load(sys.argv[1])
result = metric.compute(predictions=case["predictions"], references=case["references"], **case["kwargs"])
assert {name: result[name] for name in case["result"]} == case["result"]
"""
    requirements = requirements_of(folder / "requirements.txt")
    finished = run_installed(
        requirements,
        tmp_path / "site-packages",
        "-c",
        code,
        str(folder),
        HF_HOME=str(tmp_path),
        GRADIO_ANALYTICS_ENABLED="False",
    )
    assert finished.returncode == 0, finished.stderr


def test_every_extra_for_users_is_tried():
    assert set(own_requirements()) == {*EXTRAS, "dev", "web"}
