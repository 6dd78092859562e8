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
import re
import runpy
import subprocess
import sys
from functools import partial
from pathlib import Path

import datasets
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from broken_runs import KILLED, KILLED_IN_A_FILE, fill_disk_at, kill_at_byte, kill_at_renaming, run_in_child
from safetensors.torch import load_file
from square_images import save_tiny_vit, square_split
from transformers import AutoImageProcessor, AutoModelForObjectDetection, TrainingArguments

from transformers_sat import one_run
from transformers_sat.convert import load_backbone
from transformers_sat.data import LocalizationDataset
from transformers_sat.one_run import only_run
from transformers_sat.results import read_results
from transformers_sat.training import DivergenceWatch, LocalizationTrainer, checkpoints
from transformers_sat.training.checkpoints import newest_checkpoint


SCRIPT = Path(__file__).parents[2] / "examples" / "run_wsol_no_trainer.py"


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("run_wsol_no_trainer", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    """Two steps make an epoch; odd numbers of measured images do not divide among processes."""
    folder = tmp_path_factory.mktemp("loop")
    splits = {
        "train": square_split(16),
        "validation": square_split(13, first=100),
        "test": square_split(15, first=200),
    }
    datasets.DatasetDict(splits).save_to_disk(folder / "squares")
    backbone = save_tiny_vit(folder / "vit")
    return [
        *("--dataset_name", str(folder / "squares"), "--model_name_or_path", str(backbone), "--use_cpu", "True"),
        *("--num_train_epochs", "2", "--warmup_steps", "0", "--learning_rate", "0.003", "--num_spatial_layers", "2"),
    ]


def reset_accelerate():
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def run_script(script, output: Path, *arguments: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(SCRIPT), "--output_dir", str(output), *arguments])
        reset_accelerate()
        try:
            script.main()
        finally:
            reset_accelerate()
    return output


def run_as_a_program(output: Path, *arguments: str):
    sys.argv = [str(SCRIPT), "--output_dir", str(output), *arguments]
    reset_accelerate()
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.fixture
def run(script):
    return partial(run_script, script)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same_bytes(one: Path, other: Path) -> bool:
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


# Two processes add gradients up in another order than one does. The optimizer divides by a gradient's own size, so where
# one is nearly zero the rounding moves a weight by about 1e-5; another order of images moves thousands of them by 4e-3.
TOLERANCE_OF_TWO_PROCESSES = 1e-4


def assert_same_weights(one: Path, other: Path, tolerance: float):
    expected, found = weights(one), weights(other)
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=tolerance, rtol=0)


def test_trains_measures_and_saves(run, flags, tmp_path):
    output = run(tmp_path / "out", *flags, "--per_device_train_batch_size", "8")
    results = read_results(output / "results.json")
    assert results["num_processes"] == 1
    assert (results["command"], results["dataset"]) == ("examples/run_wsol_no_trainer.py", "squares")
    assert results["training"]["batch_size"] == 8 and str(tmp_path) not in json.dumps(results)
    validation, test = (results["results"][split]["sat"] for split in ("validation", "test"))
    assert (validation["num_images"], test["num_images"]) == (13, 15)
    assert test["threshold"] == validation["threshold"]
    assert (validation["threshold_choice"], test["threshold_choice"]) == ("oracle", "validation")
    assert AutoImageProcessor.from_pretrained(output).localization_threshold == validation["threshold"]
    model = AutoModelForObjectDetection.from_pretrained(output)
    assert sorted(model.config.id2label.values()) == sorted(square_split(3).features["label"].names)


def test_goes_on_after_an_interruption(run, flags, tmp_path, monkeypatch):
    """Interrupted in the second epoch and gone on with, stochastic depth and all, the weights are those of one run."""
    arguments = [*flags, "--per_device_train_batch_size", "8", "--drop_path_rate", "0.4"]
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
    parts = run(tmp_path / "parts", *arguments, "--resume_from_checkpoint", "True")
    assert same_bytes(whole, parts)


def test_goes_on_in_the_middle_of_an_epoch(run, flags, tmp_path, monkeypatch):
    """
    Cut after the third of five batches of the second epoch, with two batches a step and an odd one at the end, as the
    option or Accelerate's environment says: the weights are those of one run.
    """
    steps = ("--gradient_accumulation_steps", "2")
    arguments = [*flags, "--per_device_train_batch_size", "3", "--max_train_samples", "15", "--save_steps", "1"]
    arguments += ["--drop_path_rate", "0.4"]
    whole = run(tmp_path / "whole", *arguments, *steps)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2")
    assert read_results(whole / "results.json")["training"]["batch_size"] == 6
    assert sorted(path.name for path in whole.glob("checkpoint-*")) == ["checkpoint-6"]
    see, seen = DivergenceWatch.see, []

    def interrupted(self, loss, batch):
        seen.append(batch["rows"].tolist())
        if len(seen) == 5 + 3:
            raise KeyboardInterrupt
        see(self, loss, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DivergenceWatch, "see", interrupted)
        run(tmp_path / "parts", *arguments)
    progress = json.loads((tmp_path / "parts" / "checkpoint-4" / "progress.json").read_text(encoding="utf-8"))
    assert progress == {"steps": 4, "epochs": 1, "batches": 2}
    parts = run(tmp_path / "parts", *arguments, "--resume_from_checkpoint", "True")
    assert same_bytes(whole, parts)


def test_accumulated_batches_train_as_one(run, flags, tmp_path):
    """
    Steps of nine and five images, in batches of 3, 3, 3 and 3, 2. The area loss of each batch alone gives other weights,
    which `results.json` says.
    """
    arguments = [*flags, "--drop_path_rate", "0", "--max_train_samples", "14", "--area_loss_weight", "5"]
    accumulated = [*arguments, "--per_device_train_batch_size", "3", "--gradient_accumulation_steps", "3"]
    one = run(tmp_path / "one", *arguments, "--per_device_train_batch_size", "9")
    together = run(tmp_path / "together", *accumulated)
    assert_same_weights(one, together, tolerance=1e-5)
    alone = run(tmp_path / "alone", *accumulated, "--area_loss_per_micro_batch", "True")
    with pytest.raises(AssertionError):
        assert_same_weights(one, alone, tolerance=1e-4)
    said = [read_results(folder / "results.json")["training"].get("area_loss") for folder in (one, together, alone)]
    assert said == [None, None, "of each micro-batch alone"]


STATE = ["model.safetensors", "optimizer.bin", "random_states_0.pkl", "custom_checkpoint_0.pkl"]


@pytest.fixture(scope="module")
def whole(flags, tmp_path_factory, script):
    """An uninterrupted run with stochastic depth, and the sizes of the files of its last checkpoint."""
    folder = tmp_path_factory.mktemp("whole")
    arguments = [*flags, "--per_device_train_batch_size", "8", "--drop_path_rate", "0.4"]
    run_script(script, folder, *arguments)
    (checkpoint,) = folder.glob("checkpoint-*")
    assert {*STATE, "progress.json", "complete.json"} <= {path.name for path in checkpoint.iterdir()}
    return folder, arguments, {path.name: path.stat().st_size for path in checkpoint.iterdir()}


@pytest.mark.parametrize("name", [*STATE, "progress.json", "complete.json"])
def test_killed_in_a_file(script, whole, tmp_path, name):
    """In the middle of each file of the second checkpoint: the first is still there, and leads to the same weights."""
    folder, arguments, sizes = whole

    def killed():
        kill_at_byte("checkpoint-4", name, sizes[name] // 2)
        run_script(script, tmp_path, *arguments, "--resume_from_checkpoint", "True")

    assert run_in_child(killed) == KILLED_IN_A_FILE
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    run_script(script, tmp_path, *arguments, "--resume_from_checkpoint", "True")
    assert same_bytes(folder, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*check*")) == ["checkpoint-4"]


@pytest.mark.parametrize("after", [False, True])
def test_killed_around_the_renaming(script, whole, tmp_path, after):
    folder, arguments, _ = whole

    def killed():
        kill_at_renaming("checkpoint-4", after)
        run_script(script, tmp_path, *arguments)

    assert run_in_child(killed) == KILLED
    assert newest_checkpoint(tmp_path) == tmp_path / f"checkpoint-{4 if after else 2}"
    run_script(script, tmp_path, *arguments, "--resume_from_checkpoint", "True")
    assert same_bytes(folder, tmp_path)


def test_killed_in_the_first_checkpoint(script, whole, tmp_path):
    """With no checkpoint yet, the same command begins anew."""
    folder, arguments, sizes = whole

    def killed():
        kill_at_byte("checkpoint-2", "optimizer.bin", sizes["optimizer.bin"] // 2)
        run_script(script, tmp_path, *arguments, "--resume_from_checkpoint", "True")

    assert run_in_child(killed) == KILLED_IN_A_FILE
    run_script(script, tmp_path, *arguments, "--resume_from_checkpoint", "True")
    assert same_bytes(folder, tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin"])
def test_a_full_disk_ends_with_one_line(script, whole, tmp_path, name, capfd):
    folder, arguments, _ = whole

    def full():
        checkpoints._can_write = lambda folder: False
        fill_disk_at("checkpoint-4", name)
        run_as_a_program(tmp_path, *arguments)

    assert run_in_child(full) == 1
    err = capfd.readouterr().err
    last = err.strip().splitlines()[-1]
    assert last.startswith("run_wsol_no_trainer.py: ")
    assert (
        f"No space left on the disk of {tmp_path}: checkpoint-4 could not be written; checkpoint-2 is complete" in last
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run.json", ".run.lock", "checkpoint-2"]
    run_script(script, tmp_path, *arguments, "--resume_from_checkpoint", "True")
    assert same_bytes(folder, tmp_path)


def test_a_diverging_run_ends_with_one_line(flags, tmp_path, capfd):
    assert (
        run_in_child(
            run_as_a_program, tmp_path, *flags, "--per_device_train_batch_size", "2", "--learning_rate", "1e6"
        )
        == 1
    )
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert re.match(r"run_wsol_no_trainer.py: Training diverged at step \d+: the loss is ", last)
    assert len(re.findall(r"row \d+", last)) == 2
    assert not (tmp_path / "results.json").exists() and not (tmp_path / "model.safetensors").exists()
    written = list(tmp_path.rglob("*.safetensors"))
    assert tmp_path / "before_divergence" / "model.safetensors" in written
    for path in written:
        assert all(tensor.isfinite().all() for tensor in load_file(path).values()), path


def test_a_second_run_into_the_folder_is_refused(script, flags, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(one_run, "LOCK_SECONDS", 0.1)
    with only_run(tmp_path, tmp_path / ".run.lock"):
        assert run_in_child(run_as_a_program, tmp_path, *flags) == 1
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert (
        said.strip()
        .splitlines()[-1]
        .startswith(f"run_wsol_no_trainer.py: Another process is writing to {tmp_path}; wait for it")
    )
    assert [path.name for path in tmp_path.iterdir()] == [".run.lock"]


@pytest.mark.multiprocess
def test_two_processes_give_the_results_of_one(run, flags, tmp_path):
    """One batch of eight images is a step, or two batches of two on each of two processes."""
    alone = run(tmp_path / "alone", *flags, "--per_device_train_batch_size", "8", "--drop_path_rate", "0")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    command += [
        *flags,
        "--per_device_train_batch_size",
        "2",
        "--gradient_accumulation_steps",
        "2",
        "--drop_path_rate",
        "0",
        "--output_dir",
        str(tmp_path / "two"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    results, expected = (
        json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in (tmp_path / "two", alone)
    )
    assert results["num_processes"] == 2
    assert results["training"]["batch_size"] == 8 and results["results"].keys() == {"validation", "test"}
    assert results["results"] == expected["results"]
    assert_same_weights(alone, tmp_path / "two", tolerance=TOLERANCE_OF_TWO_PROCESSES)


def test_the_optimizer_is_trainers(script, flags, tmp_path, monkeypatch):
    """Weight decay and learning rate of each parameter are those that `LocalizationTrainer` gives it."""
    monkeypatch.setattr(
        sys, "argv", [str(SCRIPT), "--output_dir", "out", *flags, "--new_parameters_learning_rate", "0.01"]
    )
    _, model_args, _, options = script.parse_arguments()
    model = load_backbone(model_args.model_name_or_path, num_labels=3, num_spatial_layers=1)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), learning_rate=options.learning_rate, weight_decay=options.weight_decay, use_cpu=True
    )
    trainer = LocalizationTrainer(model=model, args=arguments, new_parameters_learning_rate=0.01)

    def settings(groups) -> dict[int, tuple[float, float]]:
        return {id(param): (group["weight_decay"], group["lr"]) for group in groups for param in group["params"]}

    assert settings(script.parameter_groups(model, options, model_args.new_parameters_learning_rate)) == settings(
        trainer.create_optimizer().param_groups
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--output_dir", "out", "--dataset_name", "my_images"], "--model_name_or_path` is missing"),
        (["--dataset_name", "my_images"], "--output_dir` is missing"),
        (["--output_dir", "out", "--save_steps", "0"], "`--save_steps` must be at least 1, got 0"),
        (["--output_dir", "out", "--num_train_epochs", "-1"], "nothing would be trained"),
        (["--output_dir", "out", "--per_device_eval_batch_size", "0"], "`--per_device_eval_batch_size` must be"),
        (["--output_dir", "out", "--streaming", "True"], "stream with `run_wsol.py`"),
    ],
)
def test_what_is_missing_is_said_at_once(script, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    with pytest.raises(ValueError, match=message):
        script.main()
    assert not (tmp_path / "out").exists()
