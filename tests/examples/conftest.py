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
"""The example scripts, run here or as commands, on squares with a backbone of two blocks: seconds instead of minutes."""

import importlib.util
import json
import logging
import sys
from pathlib import Path

import datasets
import pytest
import transformers
from square_pictures import save_tiny_vit, square_split


EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture(scope="session")
def square_folder(tmp_path_factory) -> Path:
    """Sixteen pictures to train, thirteen and fifteen to measure: odd numbers do not divide among processes."""
    folder = tmp_path_factory.mktemp("squares")
    splits = {"train": square_split(16), "validation": square_split(13, first=100), "test": square_split(15, first=200)}
    datasets.DatasetDict(splits).save_to_disk(folder)
    return folder


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory) -> Path:
    return save_tiny_vit(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="session")
def settings(square_folder, vit_folder) -> dict:
    """What all runs share; two steps make an epoch."""
    return {
        "dataset_name": square_folder,
        "model_name_or_path": vit_folder,
        "num_spatial_layers": 2,
        "drop_path_rate": 0.0,
        "do_train": True,
        "max_steps": 1,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "contact_sheet_samples": 0,
    }


def as_flags(settings: dict) -> list[str]:
    return [word for name, value in settings.items() if value is not None for word in (f"--{name}", str(value))]


@pytest.fixture(scope="session")
def script():
    """`examples/run_wsol.py` as a module."""
    spec = importlib.util.spec_from_file_location("run_wsol", EXAMPLES / "run_wsol.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_wsol"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_wsol(script, settings, tmp_path, monkeypatch):
    """Runs the script in this process with the shared settings and others; returns its results and its folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    verbosity = transformers.utils.logging.get_verbosity()
    httpx_level = logging.getLogger("httpx").level

    def run(output_dir: Path | None = None, **others) -> tuple[dict, Path]:
        output_dir = output_dir or tmp_path / "output"
        flags = as_flags({**settings, "output_dir": output_dir, **others})
        monkeypatch.setattr(sys, "argv", ["run_wsol.py", *flags])
        script.main()
        return json.loads((output_dir / "results.json").read_text(encoding="utf-8")), output_dir

    yield run
    transformers.utils.logging.set_verbosity(verbosity)
    logging.getLogger("httpx").setLevel(httpx_level)
