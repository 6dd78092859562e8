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
"""Checkpoints survive: killed or out of space at any byte, a run goes on from the newest complete one, to the same weights."""

import errno
import json
import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from broken_runs import (
    KILLED,
    KILLED_IN_A_FILE,
    fail_at_byte,
    fill_disk_at,
    kill_at_byte,
    kill_at_renaming,
    run_in_child,
)
from sat_testing import tiny_config
from small_training import small_trainer, weight_bytes

from transformers_sat.training import LocalizationTrainer, checkpoints
from transformers_sat.training.checkpoints import (
    DiskFullError,
    check_classes,
    checkpoints_in,
    fault_of,
    naming_a_full_disk,
    newest_checkpoint,
    remove_old_checkpoints,
    remove_unfinished,
    writing_checkpoint,
)
from transformers_sat.writing import UNFINISHED


FILES = [
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "complete.json",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An uninterrupted run; both checkpoints stay."""
    folder = tmp_path_factory.mktemp("whole")
    trainer = small_trainer(folder, save_total_limit=None)
    trainer.train()
    trainer.save_model()
    return folder


def train(folder: Path):
    small_trainer(folder).train()


def finish(folder: Path, **arguments) -> list[int]:
    """The same command again, told to resume, in the folder that a killed run left; returns the steps that it logged."""
    remove_unfinished(folder)
    trainer = small_trainer(folder, **arguments)
    before = trainer.state.global_step
    trainer.train(resume_from_checkpoint=True)
    trainer.save_model()
    assert before == 0
    return [entry["step"] for entry in trainer.state.log_history if "loss" in entry]


def sizes(checkpoint: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in checkpoint.iterdir()}


def test_what_a_checkpoint_holds(whole):
    assert set(sizes(whole / "checkpoint-3")) == set(FILES)
    assert fault_of(whole / "checkpoint-3") is None
    assert [path.name for path in checkpoints_in(whole)] == ["checkpoint-3", "checkpoint-4"]
    assert not list(whole.glob(f"{UNFINISHED}*"))


# Killed.


def killed_in_a_file(folder: Path, step: int, name: str, num_bytes: int):
    kill_at_byte(f"checkpoint-{step}", name, num_bytes)
    train(folder)


def killed_at_renaming(folder: Path, step: int, after: bool):
    kill_at_renaming(f"checkpoint-{step}", after)
    train(folder)


@pytest.mark.parametrize("name", FILES)
def test_killed_in_a_file(whole, tmp_path, name):
    """In the middle of each file of the second checkpoint: goes on from the first."""
    half = sizes(whole / "checkpoint-4")[name] // 2
    assert run_in_child(killed_in_a_file, tmp_path, 4, name, half) == KILLED_IN_A_FILE
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-3"
    assert list(tmp_path.glob(f"{UNFINISHED}*"))

    finish(tmp_path)
    assert weight_bytes(tmp_path) == weight_bytes(whole)
    assert not list(tmp_path.glob(f"{UNFINISHED}*"))


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 4])
@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("name", FILES)
def test_killed_in_any_file(whole, tmp_path, step, place, name):
    num_bytes = 0 if place == "first" else sizes(whole / f"checkpoint-{step}")[name] - 1
    assert run_in_child(killed_in_a_file, tmp_path, step, name, num_bytes) == KILLED_IN_A_FILE
    assert newest_checkpoint(tmp_path) == (tmp_path / "checkpoint-3" if step == 4 else None)
    finish(tmp_path)
    assert weight_bytes(tmp_path) == weight_bytes(whole)


def test_killed_in_the_first_checkpoint(whole, tmp_path):
    """There is none yet, so the same command begins anew."""
    half = sizes(whole / "checkpoint-3")["optimizer.pt"] // 2
    assert run_in_child(killed_in_a_file, tmp_path, 3, "optimizer.pt", half) == KILLED_IN_A_FILE
    assert newest_checkpoint(tmp_path) is None
    finish(tmp_path)
    assert weight_bytes(tmp_path) == weight_bytes(whole)


@pytest.mark.parametrize("after", [False, True])
def test_killed_around_the_renaming(whole, tmp_path, after):
    """Before it the older checkpoint is the newest complete one, after it the new one: the older is removed after that."""
    assert run_in_child(killed_at_renaming, tmp_path, 4, after) == KILLED
    assert newest_checkpoint(tmp_path) == tmp_path / f"checkpoint-{4 if after else 3}"
    assert (tmp_path / "checkpoint-3").is_dir()
    finish(tmp_path)
    assert weight_bytes(tmp_path) == weight_bytes(whole)


def test_resumed_at_the_end_it_makes_no_further_step(whole, tmp_path):
    """Killed after the last checkpoint, in the middle of an epoch, as while it is measured."""
    shutil.copytree(whole / "checkpoint-4", tmp_path / "checkpoint-4")
    assert finish(tmp_path) == [1, 2, 3, 4]
    assert weight_bytes(tmp_path) == weight_bytes(whole)


class FirstIsBest(LocalizationTrainer):
    """Evaluations find every step worse than the one before."""

    def evaluate(self, *args, **kwargs):
        return {"eval_loss": float(self.state.global_step)}


def test_the_best_model_is_found_after_a_resume_and_a_move(tmp_path):
    """The record of the best checkpoint is its name, so it is found in another folder too; its path is in no checkpoint."""
    arguments = {"eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "save_total_limit": 2}
    arguments |= {"load_best_model_at_end": True, "trainer_class": FirstIsBest}
    first, moved = tmp_path / "first", tmp_path / "moved"
    small_trainer(first, max_steps=3, **arguments).train()
    assert [path.name for path in checkpoints_in(first)] == ["checkpoint-1", "checkpoint-3"]
    for path in first.rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path
    best = weight_bytes(first / "checkpoint-1")
    first.rename(moved)

    trainer = small_trainer(moved, **arguments)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.best_model_checkpoint == str(moved / "checkpoint-1")
    trainer.save_model()
    assert weight_bytes(moved) == best


# A full disk.


def failing_at(folder: Path, name: str, num_bytes: int):
    fail_at_byte("checkpoint-4", name, num_bytes)
    train(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
def test_writing_that_fails(whole, tmp_path, name):
    """With the writers' own errors, from Rust, C++ and Python: the older checkpoint stays, and nothing unfinished."""
    half = sizes(whole / "checkpoint-4")[name] // 2
    assert run_in_child(failing_at, tmp_path, name, half) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]
    finish(tmp_path)
    assert weight_bytes(tmp_path) == weight_bytes(whole)


def said_of_a_full_disk(folder: Path, name: str):
    checkpoints._can_write = lambda folder: False
    fill_disk_at("checkpoint-4", name)
    try:
        train(folder)
    except DiskFullError as error:
        assert error.errno == errno.ENOSPC
        (folder.parent / "said").write_text(str(error), encoding="utf-8")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
def test_a_full_disk_is_called_that(whole, tmp_path, name):
    output = tmp_path / "output"
    assert run_in_child(said_of_a_full_disk, output, name) == 0
    said = (tmp_path / "said").read_text(encoding="utf-8")
    assert f"No space left on the disk of {output}: checkpoint-4 could not be written" in said
    assert "checkpoint-3 is complete" in said and "Make room" in said
    assert [path.name for path in output.iterdir()] == ["checkpoint-3"]
    finish(output)
    assert weight_bytes(output) == weight_bytes(whole)


def can_mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    return shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0


def test_a_disk_that_is_really_full(whole, tmp_path):
    """On a disk with room for one checkpoint but not for two."""
    disk = tmp_path / "disk"
    disk.mkdir()
    needed = sum(sizes(whole / "checkpoint-3").values())
    assert 300_000 < needed < 550_000
    if not can_mount(disk):
        pytest.skip("only root may mount a disk; the tests above find the same without one")
    try:
        with pytest.raises(DiskFullError, match="checkpoint-4 could not be written; checkpoint-3 is complete"):
            train(disk)
        assert [path.name for path in disk.iterdir()] == ["checkpoint-3"]
        subprocess.run(["mount", "-o", "remount,size=3m", str(disk)], check=True)
        finish(disk)
        assert weight_bytes(disk) == weight_bytes(whole)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="^something else$"), naming_a_full_disk(tmp_path, "the model"):
        raise RuntimeError("something else")
    assert not list(tmp_path.iterdir())


# Damaged later, chosen and removed.


def write_checkpoint(folder: Path, step: int) -> Path:
    with writing_checkpoint(folder, step) as unfinished:
        (unfinished / "model.safetensors").write_text(f"weights of step {step}")
    return folder / f"checkpoint-{step}"


def truncate(checkpoint: Path):
    (checkpoint / "model.safetensors").write_bytes(b"weig")


def change(checkpoint: Path):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def lose(checkpoint: Path):
    (checkpoint / "model.safetensors").unlink()


def unmark(checkpoint: Path):
    (checkpoint / "complete.json").unlink()


def cut_the_marker(checkpoint: Path):
    path = checkpoint / "complete.json"
    path.write_bytes(path.read_bytes()[:20])


def empty_the_marker(checkpoint: Path):
    (checkpoint / "complete.json").write_text("[]")


@pytest.mark.parametrize(
    "damage, said",
    [
        (truncate, "model.safetensors has 4 bytes, and had 18"),
        (change, "model.safetensors is not what was written"),
        (lose, "model.safetensors is missing"),
        (unmark, "has no complete.json"),
        (cut_the_marker, "complete.json is damaged"),
        (empty_the_marker, "complete.json is damaged"),
    ],
)
def test_damaged_checkpoints_are_left_out(tmp_path, caplog, damage, said):
    older, newer = write_checkpoint(tmp_path, 9), write_checkpoint(tmp_path, 10)
    assert newest_checkpoint(tmp_path) == newer
    damage(newer)
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(tmp_path) == older
    assert f"{newer} is left out: " in caplog.text and said in caplog.text
    assert newer.is_dir()


def test_folders_without_checkpoints(tmp_path):
    (tmp_path / "checkpoint-last").mkdir()
    (tmp_path / "checkpoint-3").write_text("a file")
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "nowhere") is None


def test_a_checkpoint_takes_the_place_of_another(tmp_path):
    truncate(write_checkpoint(tmp_path, 3))
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(write_checkpoint(tmp_path, 3).parent) == tmp_path / "checkpoint-3"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]


def test_an_error_leaves_the_older_one(tmp_path):
    write_checkpoint(tmp_path, 3)
    with pytest.raises(KeyError), writing_checkpoint(tmp_path, 3) as unfinished:
        (unfinished / "model.safetensors").write_text("half")
        raise KeyError("model")
    assert fault_of(tmp_path / "checkpoint-3") is None
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]


@pytest.mark.parametrize(
    "limit, best, left",
    [(None, None, [1, 2, 3, 4, 9]), (0, None, [1, 2, 3, 4, 9]), (1, None, [4]), (2, None, [3, 4]), (2, 1, [1, 4])],
)
def test_which_are_removed(tmp_path, limit, best, left):
    """Of five, of which the last is of a run that was given up, after the fourth was written."""
    for step in (1, 2, 3, 9, 4):
        newest = write_checkpoint(tmp_path, step)
    remove_old_checkpoints(newest, limit, None if best is None else tmp_path / f"checkpoint-{best}")
    assert [path.name for path in checkpoints_in(tmp_path)] == [f"checkpoint-{step}" for step in left]


def test_what_is_unfinished_is_removed_with_a_warning(tmp_path, caplog):
    (tmp_path / f"{UNFINISHED}checkpoint-3" / "checkpoint-3").mkdir(parents=True)
    (tmp_path / f"{UNFINISHED}0123-model.safetensors").write_text("half")
    kept = write_checkpoint(tmp_path, 2)
    with caplog.at_level(logging.WARNING):
        remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]
    assert caplog.text.count("is removed") == 2
    remove_unfinished(tmp_path / "nowhere")


# Other files.


def test_metrics_are_written_whole(tmp_path, monkeypatch):
    """`all_results.json` is read by the next run: it must not be found half-written."""
    trainer = small_trainer(tmp_path)
    trainer.save_metrics("train", {"train_loss": 1.0})
    trainer.save_metrics("test", {"test_loss": 2.0})
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        trainer.save_metrics("more", {"more_loss": 3.0})
    found = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()}
    assert found == {
        "train_results.json": {"train_loss": 1.0},
        "test_results.json": {"test_loss": 2.0},
        "all_results.json": {"train_loss": 1.0, "test_loss": 2.0},
    }


def test_arguments_are_not_pickled(whole):
    assert not list(whole.rglob("training_args.bin"))


def test_a_checkpoint_of_the_model_alone_is_not_resumed_from(tmp_path):
    small_trainer(tmp_path, save_only_model=True).train()
    with pytest.raises(ValueError, match="checkpoint-4 cannot be resumed from: it has no state of an optimizer"):
        small_trainer(tmp_path).train(resume_from_checkpoint=True)


def test_a_checkpoint_of_other_classes(tmp_path):
    config = tiny_config(id2label={0: "robin", 1: "wren"}, num_labels=2)
    check_classes(tmp_path, config)
    config.save_pretrained(tmp_path)
    check_classes(tmp_path, config)
    for names in (["robin", "wren", "owl"], ["wren", "robin"]):
        other = tiny_config(id2label=dict(enumerate(names)), num_labels=len(names))
        with pytest.raises(
            ValueError, match=r"cannot be resumed from: .* 2 classes \['robin', 'wren'\], and the data"
        ):
            check_classes(tmp_path, other)
