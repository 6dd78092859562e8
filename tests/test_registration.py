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
"""What importing the package tells Transformers."""

import os
import subprocess
import sys

import pytest
from sat_testing import tiny_config, tiny_model
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForImageSegmentation,
    AutoModelForInstanceSegmentation,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)

from transformers_sat import (
    SATConfig,
    SATForWeaklySupervisedLocalization,
    SATImageProcessor,
    SATImageProcessorPil,
    SATModel,
)
from transformers_sat.registration import register


HEADS = [
    AutoModelForImageClassification,
    AutoModelForImageSegmentation,
    AutoModelForInstanceSegmentation,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    SATImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_configuration(folder):
    assert type(AutoConfig.from_pretrained(folder)) is SATConfig
    assert type(AutoConfig.for_model("sat", num_spatial_layers=2)) is SATConfig


def test_base_model(folder):
    assert type(AutoModel.from_pretrained(folder)) is SATModel
    assert type(AutoModel.from_config(tiny_config())) is SATModel


@pytest.mark.parametrize("auto_class", HEADS, ids=lambda auto_class: auto_class.__name__)
def test_heads(folder, auto_class):
    model, info = auto_class.from_pretrained(folder, output_loading_info=True)
    assert type(model) is SATForWeaklySupervisedLocalization
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_image_processors(folder):
    assert type(AutoImageProcessor.from_pretrained(folder)) is SATImageProcessor
    assert type(AutoImageProcessor.from_pretrained(folder, backend="pil")) is SATImageProcessorPil


def test_registering_twice_is_harmless(folder):
    register()
    assert type(AutoModel.from_pretrained(folder)) is SATModel


def test_one_import_registers_everything(folder):
    """In a fresh interpreter: without the import the model type is unknown, with it all is there and nothing is said."""
    code = """
import sys, warnings
# what Transformers deprecates; other libraries may say what they like
warnings.filterwarnings("error", category=FutureWarning, module="transformers")
from transformers import AutoConfig, AutoModelForObjectDetection, AutoImageProcessor, pipeline
try:
    AutoConfig.from_pretrained(sys.argv[1])
except ValueError:
    print("unknown")
import transformers_sat
print(type(AutoModelForObjectDetection.from_pretrained(sys.argv[1])).__name__)
print(type(AutoImageProcessor.from_pretrained(sys.argv[1])).__name__)
print(type(pipeline("weakly-supervised-localization", model=sys.argv[1])).__name__)
print(sorted(name.split(".")[1] for name in sys.modules if name.startswith("transformers_sat.")))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    finished = subprocess.run(
        [sys.executable, "-c", code, folder],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert finished.returncode == 0, finished.stderr
    *printed, modules = finished.stdout.splitlines()
    assert printed == [
        "unknown",
        "SATForWeaklySupervisedLocalization",
        "SATImageProcessor",
        "WeaklySupervisedLocalizationPipeline",
    ]
    # metrics, data, training and the command line stay unloaded until somebody wants them
    for name in ("metrics", "data", "training", "commands", "convert"):
        assert f"'{name}'" not in modules
    assert "ERROR" not in finished.stderr.upper()


def test_first_names_of_modules():
    """Scripts from before the modules had rooms import these."""
    from transformers_sat import handler, loading, safe_loading
    from transformers_sat.model.handler import EndpointHandler

    assert handler.EndpointHandler is EndpointHandler
    assert loading.load_localizer is safe_loading.load_localizer
    assert loading.load_model is safe_loading.load_model
