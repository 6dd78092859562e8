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
"""`examples/run_wsol.py` trains on every prepared set as it is, and measures what there is to measure."""

import importlib.util
import json
import sys
from pathlib import Path

import datasets
import pytest
import transformers
from official_trees import OFFICIAL_SETS, write_official
from square_images import save_tiny_vit

from transformers_sat.prepare import open_reader, prepare


SCRIPT = next(
    folder / "examples" / "run_wsol.py" for folder in Path(__file__).parents if (folder / "setup.cfg").exists()
)


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("run_wsol", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules["run_wsol"] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    return save_tiny_vit(tmp_path_factory.mktemp("vit"))


@pytest.fixture(autouse=True)
def same_verbosity():
    verbosity = transformers.utils.logging.get_verbosity()
    yield
    transformers.utils.logging.set_verbosity(verbosity)


@pytest.mark.parametrize("form", OFFICIAL_SETS)
def test_run_wsol_trains_on_it(form, script, backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    source, tree = write_official(form, True, tmp_path)
    prepare(open_reader(OFFICIAL_SETS[form].reader, source), tmp_path / "parquet")
    flags = {
        "dataset_name": tmp_path / "parquet",
        "model_name_or_path": backbone,
        "output_dir": tmp_path / "output",
        "num_spatial_layers": 1,
        "do_train": True,
        "max_steps": 1,
        "validation_fraction": 0.5,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "contact_sheet_samples": 0,
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["run_wsol.py", *words])
    script.main()
    results = (tmp_path / "output" / "results.json").read_text(encoding="utf-8")
    assert json.loads(results)
    assert ("gt_known_loc" in results) == any(known.boxes for known in tree.known.values())
    if form == "openimages":
        # masks and no boxes
        assert 0 <= json.loads(results)["test"]["pxap"] <= 100
