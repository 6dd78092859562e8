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
"""What an output folder holds, and whether a run may begin or go on in it."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from transformers_sat.training import DataArguments, ModelArguments
from transformers_sat.training.checkpoints import writing_checkpoint
from transformers_sat.training.runs import (
    LEAST,
    RUN_FILE,
    FolderHoldsRunError,
    begin_run,
    check_numbers,
    note_run,
    run_settings,
)


SETTINGS = {"learning_rate": 0.1, "dataset_name": "cub"}


def with_checkpoint(folder: Path, step: int = 3) -> Path:
    with writing_checkpoint(folder, step) as checkpoint:
        (checkpoint / "optimizer.pt").write_bytes(b"state")
    return folder / f"checkpoint-{step}"


def test_an_empty_folder(tmp_path):
    for asked in (None, False, "False", True, "True"):
        assert begin_run(tmp_path / "new", SETTINGS, asked) is None
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("asked", [None, True])
@pytest.mark.parametrize(
    "name", ["results.json", "model.safetensors", "model-00001-of-00002.safetensors", "config.json"]
)
def test_a_model_is_not_replaced(tmp_path, name, asked):
    """Nor where a run is to go on and there is nothing to go on from."""
    (tmp_path / name).touch()
    with pytest.raises(
        FolderHoldsRunError, match=re.escape(f"{tmp_path} holds a model already ({name}). Give another")
    ):
        begin_run(tmp_path, SETTINGS, asked)
    assert begin_run(tmp_path, SETTINGS, None, overwrite=True) is None
    # not before all has been loaded
    assert (tmp_path / name).exists()
    note_run(tmp_path, SETTINGS, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


def test_checkpoints_are_not_left_to_another_run(tmp_path):
    checkpoint = with_checkpoint(tmp_path)
    with pytest.raises(
        FolderHoldsRunError, match="checkpoint-3 of a run that did not end.*resume_from_checkpoint True"
    ):
        begin_run(tmp_path, SETTINGS, None)
    note_run(tmp_path, SETTINGS)
    assert begin_run(tmp_path, SETTINGS, True) == str(checkpoint)
    (tmp_path / "model.safetensors").touch()
    assert begin_run(tmp_path, SETTINGS, "true") == str(checkpoint)
    note_run(tmp_path, SETTINGS, overwrite=True)
    assert not checkpoint.exists()


def test_checkpoints_of_another_run(tmp_path):
    checkpoint = with_checkpoint(tmp_path)
    # of before runs were noted
    assert begin_run(tmp_path, SETTINGS, True) == str(checkpoint)
    note_run(tmp_path, SETTINGS | {"learning_rate": 0.2})
    with pytest.raises(
        FolderHoldsRunError, match="are of another run: `learning_rate` was 0.2 and is 0.1. Give another"
    ):
        begin_run(tmp_path, SETTINGS, True)
    # one that is named is meant; its model goes where there is none
    assert begin_run(tmp_path, SETTINGS, str(checkpoint)) == str(checkpoint)
    assert begin_run(tmp_path / "other", SETTINGS, str(checkpoint)) == str(checkpoint)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").touch()
    with pytest.raises(FolderHoldsRunError, match="holds a model already"):
        begin_run(tmp_path / "other", SETTINGS, str(checkpoint))
    with pytest.raises(ValueError, match="give one of them"):
        begin_run(tmp_path, SETTINGS, True, overwrite=True)


@pytest.mark.parametrize(
    "name, value",
    [
        ("per_device_train_batch_size", 0),
        ("per_device_eval_batch_size", 0),
        ("gradient_accumulation_steps", 0),
        ("dataloader_num_workers", -1),
        ("num_train_epochs", -1),
        ("num_train_epochs", 0),
        ("max_steps", 0),
    ],
)
def test_numbers_that_no_run_can_have(tmp_path, name, value):
    numbers = dict.fromkeys(LEAST, 1) | {"num_train_epochs": 3, "max_steps": -1, "output_dir": str(tmp_path)}
    check_numbers(SimpleNamespace(**numbers))
    with pytest.raises(ValueError, match=f"`--{name}`.* got .*{value}"):
        check_numbers(SimpleNamespace(**(numbers | {name: value})))


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "taken").touch()
    numbers = dict.fromkeys(LEAST, 1) | {"num_train_epochs": 3, "max_steps": -1}
    for folder in ("taken", "taken/below"):
        with pytest.raises(ValueError, match="taken is a file"):
            check_numbers(SimpleNamespace(**numbers, output_dir=str(tmp_path / folder)))


def test_what_a_run_is(tmp_path, monkeypatch):
    """Model, data and recipe, by whatever path; not where it runs, for how long, or what is measured."""
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    options = SimpleNamespace(learning_rate=0.1, seed=3, max_steps=7, per_device_eval_batch_size=4)
    one = run_settings(DataArguments("images"), ModelArguments(token="secret"), options, 8)
    options = SimpleNamespace(learning_rate=0.1, seed=3, max_steps=9, per_device_eval_batch_size=5)
    other = run_settings(
        DataArguments(str(tmp_path / "images"), max_eval_samples=2), ModelArguments(hub_license="mit"), options, 8
    )
    assert one == other == json.loads(json.dumps(one)) and "secret" not in json.dumps(one)
    for changed in (
        run_settings(DataArguments("images", horizontal_flip=False), ModelArguments(), options, 8),
        run_settings(DataArguments("images"), ModelArguments("facebook/deit"), options, 8),
        run_settings(DataArguments("images"), ModelArguments(), SimpleNamespace(learning_rate=0.1, seed=4), 8),
        run_settings(DataArguments("images"), ModelArguments(), options, 16),
    ):
        assert changed != one
