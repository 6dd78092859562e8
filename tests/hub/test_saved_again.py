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
"""A published model that is saved again is whole: whoever has Transformers alone gets pipeline, processors and handler."""

import json
import os
import subprocess
import sys

from sat_testing import tiny_model

from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor
from transformers_sat.hub.publishing import CODE_FILES, save_with_remote_code
from transformers_sat.safe_loading import load_model


WITH_TRANSFORMERS_ALONE = """
import sys
sys.modules["transformers_sat"] = None
import numpy as np
import PIL.Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection, pipeline
published, saved = sys.argv[1:]
trusted = {"trust_remote_code": True}
AutoModelForObjectDetection.from_pretrained(published, **trusted).save_pretrained(saved)
AutoImageProcessor.from_pretrained(published, **trusted).save_pretrained(saved)
for backend, name in (("torchvision", "SATImageProcessor"), ("pil", "SATImageProcessorPil")):
    assert type(AutoImageProcessor.from_pretrained(saved, backend=backend, **trusted)).__name__ == name
image = PIL.Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3))
boxes = [
    pipeline("weakly-supervised-localization", model=folder, device="cpu", **trusted)(image)[0]["box"]
    for folder in (published, saved)
]
assert boxes[0] == boxes[1], boxes
"""


def assert_whole(folder):
    assert set(CODE_FILES) <= {file.name for file in folder.iterdir()}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["auto_map"]["AutoModel"] == "modeling_sat.SATModel"
    assert config["custom_pipelines"]["weakly-supervised-localization"]["impl"].startswith("pipeline_sat.")
    settings = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    assert settings["auto_map"]["AutoImageProcessor"] == {
        "torchvision": "image_processing_sat.SATImageProcessor",
        "pil": "image_processing_pil_sat.SATImageProcessorPil",
    }


def run_with_transformers_alone(script: str, folder, *arguments):
    environment = os.environ | {"HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    environment["HF_MODULES_CACHE"] = str(folder / "home" / "modules")
    finished = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]


def publish(folder):
    save_with_remote_code(tiny_model(), SATImageProcessor(size={"height": 32, "width": 32}), folder)
    return folder


def test_saved_again_with_transformers_alone(tmp_path):
    published = publish(tmp_path / "published")
    run_with_transformers_alone(WITH_TRANSFORMERS_ALONE, tmp_path, published, tmp_path / "saved")
    assert_whole(tmp_path / "saved")
    # by the endpoint's own way, and by the commands
    check = "import sys; sys.modules['transformers_sat'] = None; sys.path.insert(0, sys.argv[1])\nimport handler\nhandler.EndpointHandler(sys.argv[1])"
    run_with_transformers_alone(check, tmp_path, tmp_path / "saved")
    load_model(tmp_path / "saved")


def test_saved_again_with_the_package(tmp_path):
    published = publish(tmp_path / "published")
    SATForWeaklySupervisedLocalization.from_pretrained(published).save_pretrained(tmp_path / "saved")
    SATImageProcessor.from_pretrained(published).save_pretrained(tmp_path / "saved")
    assert_whole(tmp_path / "saved")


def test_a_model_of_the_package_names_no_code(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    SATImageProcessor().save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    for name in ("config.json", "preprocessor_config.json"):
        assert "auto_map" not in json.loads((tmp_path / name).read_text(encoding="utf-8"))
