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

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file
from square_pictures import save_tiny_vit, square_split
from transformers import AutoImageProcessor, AutoModelForObjectDetection, TrainingArguments, ViTImageProcessor

from transformers_sat.convert import load_backbone
from transformers_sat.data import LocalizationDataset
from transformers_sat.training import LocalizationTrainer


SCRIPT = Path(__file__).parents[2] / "examples" / "run_wsol_no_trainer.py"


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("run_wsol_no_trainer", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    """Two steps make an epoch; odd numbers of measured pictures do not divide among processes."""
    folder = tmp_path_factory.mktemp("loop")
    splits = {
        "train": square_split(16),
        "validation": square_split(13, first=100),
        "test": square_split(15, first=200),
    }
    datasets.DatasetDict(splits).save_to_disk(folder / "squares")
    backbone = save_tiny_vit(folder / "vit")
    return [
        *("--dataset_name", str(folder / "squares"), "--model_name_or_path", str(backbone), "--cpu"),
        *("--num_epochs", "2", "--warmup_steps", "0", "--learning_rate", "0.003", "--num_spatial_layers", "2"),
    ]


@pytest.fixture
def run(script, monkeypatch):
    def run(output: Path, *arguments: str) -> Path:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--output_dir", str(output), *arguments])
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()
        script.main()
        return output

    yield run
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same_weights(one: Path, other: Path, tolerance: float):
    expected, found = weights(one), weights(other)
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=tolerance, rtol=0)


def test_trains_measures_and_saves(run, flags, tmp_path):
    output = run(tmp_path / "out", *flags, "--batch_size", "8")
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert results["num_processes"] == 1
    assert (results["validation"]["num_images"], results["test"]["num_images"]) == (13, 15)
    assert results["test"]["threshold"] == results["validation"]["threshold"]
    assert (results["validation"]["threshold_choice"], results["test"]["threshold_choice"]) == ("oracle", "fixed")
    assert AutoImageProcessor.from_pretrained(output).localization_threshold == results["validation"]["threshold"]
    model = AutoModelForObjectDetection.from_pretrained(output)
    assert sorted(model.config.id2label.values()) == sorted(square_split(3).features["label"].names)


def test_the_backbones_normalization_is_kept(script, tmp_path):
    ViTImageProcessor(image_mean=[0.5, 0.4, 0.3], image_std=[0.1, 0.2, 0.3]).save_pretrained(tmp_path)
    found = {name: list(value) for name, value in script.normalization_of(str(tmp_path)).items()}
    assert found == {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3]}
    (tmp_path / "bare").mkdir()
    assert script.normalization_of(str(tmp_path / "bare")) == {}


def test_goes_on_after_an_interruption(run, flags, tmp_path, monkeypatch):
    """Interrupted in the second epoch and gone on with, stochastic depth and all, the weights are those of one run."""
    arguments = [*flags, "--batch_size", "8", "--drop_path_rate", "0.4"]
    whole = run(tmp_path / "whole", *arguments)
    set_epoch = LocalizationDataset.set_epoch

    def interrupted(self, epoch):
        if epoch == 1:
            raise KeyboardInterrupt
        set_epoch(self, epoch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LocalizationDataset, "set_epoch", interrupted)
        run(tmp_path / "parts", *arguments)
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    parts = run(tmp_path / "parts", *arguments, "--resume")
    assert_same_weights(whole, parts, tolerance=1e-6)


@pytest.mark.multiprocess
def test_two_processes_give_the_results_of_one(run, flags, tmp_path):
    alone = run(tmp_path / "alone", *flags, "--batch_size", "8", "--drop_path_rate", "0")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    command += [*flags, "--batch_size", "4", "--drop_path_rate", "0", "--output_dir", str(tmp_path / "two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    results, expected = (
        json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in (tmp_path / "two", alone)
    )
    assert results["num_processes"] == 2
    for split in ("validation", "test"):
        assert results[split] == expected[split]
    assert_same_weights(alone, tmp_path / "two", tolerance=1e-5)


def test_the_optimizer_is_trainers(script, flags, tmp_path, monkeypatch):
    """Weight decay and learning rate of each parameter are those that `LocalizationTrainer` gives it."""
    monkeypatch.setattr(
        sys, "argv", [str(SCRIPT), "--output_dir", "out", *flags, "--new_parameters_learning_rate", "0.01"]
    )
    options = script.parse_arguments()
    model = load_backbone(options.model_name_or_path, num_labels=3, num_spatial_layers=1)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), learning_rate=options.learning_rate, weight_decay=options.weight_decay, use_cpu=True
    )
    trainer = LocalizationTrainer(model=model, args=arguments, new_parameters_learning_rate=0.01)

    def settings(groups) -> dict[int, tuple[float, float]]:
        return {id(param): (group["weight_decay"], group["lr"]) for group in groups for param in group["params"]}

    assert settings(script.parameter_groups(model, options)) == settings(trainer.create_optimizer().param_groups)


def test_what_is_missing_is_said_at_once(script, monkeypatch, tmp_path, capsys):
    for arguments, message in (
        (["--dataset_name", "my_pictures"], "--model_name_or_path is missing"),
        (["--resume"], "there is no state"),
    ):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--output_dir", str(tmp_path), *arguments])
        with pytest.raises(SystemExit):
            script.main()
        assert message in capsys.readouterr().err
