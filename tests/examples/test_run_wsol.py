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
"""`examples/run_wsol.py`: trained, measured and drawn with one command, on one process or two, whole or in parts."""

import importlib.util
import json
import logging
import os
import re
import runpy
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import datasets
import PIL.Image
import pyarrow.parquet
import pytest
import torch
import transformers
import yaml
from broken_runs import KILLED_IN_A_FILE, kill_at_byte, run_in_child
from safetensors.torch import load_file
from square_images import CLASS_NAMES, draw_square, save_tiny_vit, square_split, write_class_folders
from transformers import AutoConfig, AutoModelForObjectDetection, ViTForImageClassification, ViTImageProcessor

from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor, SATModel, one_run
from transformers_sat.data import StreamedLocalizationDataset, loading, streaming
from transformers_sat.drawn import load_emblems
from transformers_sat.evaluation import engine
from transformers_sat.metrics import BoxAccuracy, ground_truth_boxes
from transformers_sat.one_run import only_run
from transformers_sat.places import NoSuchPlaceError
from transformers_sat.results import read_results
from transformers_sat.training import LocalizationTrainer
from transformers_sat.training.checkpoints import newest_checkpoint
from transformers_sat.training.runs import FolderHoldsRunError


EXAMPLES = Path(__file__).parent.parent.parent / "examples"
SCRIPT = str(EXAMPLES / "run_wsol.py")
THRESHOLDS = [step / 20 for step in range(1, 20)]

LAUNCHERS = {
    "python": [],
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "accelerate launch": [
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
    ],
}


@pytest.fixture(scope="session")
def square_folder(tmp_path_factory) -> Path:
    """Sixteen images to train, thirteen and fifteen to measure: odd numbers do not divide among processes."""
    folder = tmp_path_factory.mktemp("squares")
    splits = {
        "train": square_split(16),
        "validation": square_split(13, first=100),
        "test": square_split(15, first=200),
    }
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
    """
    Runs the script in this process with the shared settings and others; returns its results and its folder. It draws no
    plots, which take most of the time; the run of `commanded` has them.
    """
    monkeypatch.setattr(script, "write_reports", lambda *arguments: None)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    # `datasets` pauses five seconds at the end of every pass over a stream
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)
    verbosity = transformers.utils.logging.get_verbosity()
    httpx_level = logging.getLogger("httpx").level

    def prepare(output_dir: Path | None = None, **others) -> Path:
        output_dir = output_dir or tmp_path / "output"
        flags = as_flags({**settings, "output_dir": output_dir, **others})
        monkeypatch.setattr(sys, "argv", ["run_wsol.py", *flags])
        return output_dir

    def run(output_dir: Path | None = None, **others) -> tuple[dict, Path]:
        output_dir = prepare(output_dir, **others)
        script.main()
        return figures_of(output_dir), output_dir

    # for runs of the script as a program
    run.prepare = prepare
    yield run
    transformers.utils.logging.set_verbosity(verbosity)
    logging.getLogger("httpx").setLevel(httpx_level)


def command(launcher: str, *arguments: str, expected_status: int = 0) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    if launcher == "accelerate launch":
        environment["ACCELERATE_USE_CPU"] = "true"
    completed = subprocess.run(
        [sys.executable, *LAUNCHERS[launcher], SCRIPT, *arguments],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert completed.returncode == expected_status, completed.stderr[-4000:]
    return completed


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def figures_of(folder: Path) -> dict:
    """`results.json`, and in it the figures of each split under the one protocol of the run."""
    record = read_results(folder / "results.json")
    figures = {}
    for split, by_protocol in record["results"].items():
        (figures[split],) = by_protocol.values()
    return record | figures


def training_log(folder: Path) -> list[dict]:
    return [entry for entry in read_json(folder / "trainer_state.json")["log_history"] if "loss" in entry]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same_bytes(folder: Path, other: Path) -> bool:
    return (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


# Two processes add gradients up in another order than one does. The optimizer divides by a gradient's own size, so where
# one is nearly zero the rounding moves a weight by about 1e-5; another order of images moves thousands of them by 4e-3.
TOLERANCE_OF_TWO_PROCESSES = 1e-4


def assert_same_weights(folder: Path, other: Path, tolerance: float):
    ours, theirs = weights(folder), weights(other)
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, atol=tolerance, rtol=0, msg=name)


# The whole command.


@pytest.fixture(scope="module")
def commanded(settings, tmp_path_factory):
    """One run as a user starts it: a recipe file, and flags after it that win over it."""
    folder = tmp_path_factory.mktemp("commanded")
    recipe = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    recipe |= {"max_steps": 1000, "output_dir": "not/here", "contact_sheet_samples": 7, "disable_tqdm": False}
    recipe |= {"report_to": "tensorboard", "save_strategy": "steps", "save_steps": 3}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    output = folder / "output"
    completed = command("python", str(folder / "recipe.yaml"), "--max_steps", "4", "--output_dir", str(output))
    return output, completed


def test_what_is_written(commanded):
    output, completed = commanded
    files = {path.name for path in output.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "results.json",
        "contact_sheet.png",
    } <= files
    assert {
        "train_results.json",
        "validation_results.json",
        "test_results.json",
        "checkpoint-3",
        "checkpoint-4",
    } <= files
    assert list(output.glob("runs/**/events.out.tfevents.*"))
    with PIL.Image.open(output / "contact_sheet.png") as sheet:
        assert sheet.format == "PNG"
        colours = sheet.convert("RGB").getcolors(sheet.width * sheet.height)
    # true and predicted boxes are on it
    assert {(0, 255, 0), (255, 0, 0)} <= {colour for _, colour in colours}
    # progress bars on the way
    assert re.search(r"\| 4/4 ", completed.stderr)
    assert "3 classes" in completed.stderr


def test_results(commanded):
    output, completed = commanded
    results = figures_of(output)
    assert results["num_processes"] == 1
    assert (results["validation"]["num_images"], results["test"]["num_images"]) == (13, 15)
    for split, choice in (("validation", "oracle"), ("test", "validation")):
        assert results[split]["protocol"] == "sat"
        assert results[split]["image_size"] == 64
        assert results[split]["threshold_choice"] == choice
        assert results[split]["threshold"] == results["validation"]["threshold"]
        for figures in (results[split], results[split]["whole_image"], results[split]["center_box"]):
            assert all(0 <= figures[name] <= 100 for name in ("gt_known_loc", "top1_loc", "iou30", "iou50", "iou70"))
    # chosen on validation, from the default steps, and stored with the model
    assert any(results["validation"]["threshold"] == pytest.approx(threshold) for threshold in THRESHOLDS)
    assert SATImageProcessor.from_pretrained(output).localization_threshold == results["validation"]["threshold"]
    # the same figures as a table, with the baselines, and what they are
    table = [line for line in completed.stdout.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in table[2:]] == [
        *("SAT, validation", "SAT, test", "whole image, test", "best centre box, test")
    ]
    cells = [cell.strip() for cell in table[3].split("|")]
    assert cells[2:4] == [f"{results['test'][name]:.1f}" for name in ("top1_cls", "gt_known_loc")]
    assert "protocol sat at 64 px" in completed.stdout
    assert "the best on these very images; 13 images in validation" in completed.stdout
    assert "chosen on the validation split; 15 images in test" in completed.stdout
    assert str(output / "contact_sheet.png") in completed.stdout


def test_results_are_those_of_the_saved_model(commanded, square_folder):
    """The figures again, image by image, from what was saved."""
    output, _ = commanded
    results = figures_of(output)
    model = AutoModelForObjectDetection.from_pretrained(output).eval()
    assert isinstance(model, SATForWeaklySupervisedLocalization)
    assert model.config.id2label == dict(enumerate(CLASS_NAMES))
    # it shows the model what the protocol does: 256 / 224 of 64 is 73
    processor = SATImageProcessor.from_pretrained(output)
    assert processor.do_center_crop
    assert (processor.size, processor.crop_size) == ({"height": 73, "width": 73}, {"height": 64, "width": 64})
    for split in ("validation", "test"):
        metric = BoxAccuracy("sat", thresholds=[results[split]["threshold"]], image_size=64)
        for row in datasets.load_from_disk(square_folder)[split]:
            with torch.no_grad():
                outputs = model(**processor(row["image"], return_tensors="pt"))
            boxes = ground_truth_boxes(row["objects"]["bbox"], (64, 64), "sat", 64)
            metric.update(outputs.localization_map, [boxes], outputs.logits, torch.tensor([row["label"]]))
        expected = metric.compute()
        for name in ("top1_cls", "gt_known_loc", "top1_loc", "iou30", "iou70", "whole_image"):
            figures = results[split][name]
            if name == "whole_image":
                assert expected[name].items() <= figures.items()
            else:
                assert figures == expected[name], name


def test_the_printed_lines_load_the_model(commanded):
    output, completed = commanded
    lines = [line.strip() for line in completed.stdout.split("load it:")[1].splitlines() if line.strip()]
    assert len(lines) == 3
    names = {}
    exec("\n".join(lines), names)
    assert isinstance(names["model"], SATModel)
    saved = weights(output)["vit.embeddings.spatial_token"]
    assert torch.equal(names["model"].embeddings.spatial_token.data, saved)
    found = names["localizer"](draw_square(0, 0)[0])
    assert found[0]["label"] in CLASS_NAMES
    assert set(found[0]["box"]) == {"xmin", "ymin", "xmax", "ymax"}


def test_what_is_logged(commanded):
    entries = training_log(commanded[0])
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4]
    for entry in entries:
        terms = sum(entry[f"{name}_loss"] for name in ("classification", "area", "normalization"))
        assert entry["loss"] == pytest.approx(terms, abs=3e-4)
    # it learns
    assert entries[-1]["loss"] < entries[0]["loss"]


@pytest.mark.multiprocess
@pytest.mark.parametrize("launcher", ["torchrun", pytest.param("accelerate launch", marks=pytest.mark.slow)])
def test_two_processes_give_the_results_of_one(commanded, settings, launcher, tmp_path):
    """Half the images on each, over two epochs; the odd numbers of measured images are counted once each."""
    alone, _ = commanded
    flags = as_flags({**settings, "max_steps": 4, "per_device_train_batch_size": 4, "output_dir": tmp_path})
    completed = command(launcher, *flags)
    results, expected = figures_of(tmp_path), figures_of(alone)
    assert results["num_processes"] == 2
    for split in ("validation", "test"):
        assert results[split] == expected[split]
    entries, expected_entries = training_log(tmp_path), training_log(alone)
    assert len(entries) == len(expected_entries) == 4
    for entry, expected_entry in zip(entries, expected_entries, strict=True):
        for name in ("loss", "classification_loss", "area_loss", "normalization_loss", "learning_rate"):
            assert entry[name] == pytest.approx(expected_entry[name], abs=1e-4)
    assert_same_weights(alone, tmp_path, tolerance=TOLERANCE_OF_TWO_PROCESSES)
    assert read_json(tmp_path / "preprocessor_config.json") == read_json(alone / "preprocessor_config.json")
    # said once, not by each
    assert completed.stdout.count("load it:") == 1


# Interrupted runs.


@pytest.fixture
def steps(monkeypatch):
    """The training steps that are made. One that is number `steps.stop_at` is interrupted, as by a user."""
    made = SimpleNamespace(count=0, stop_at=None)
    training_step = LocalizationTrainer.training_step

    def counted(self, *args, **kwargs):
        made.count += 1
        if made.count == made.stop_at:
            raise KeyboardInterrupt
        return training_step(self, *args, **kwargs)

    monkeypatch.setattr(LocalizationTrainer, "training_step", counted)
    return made


def test_resume_after_interruption(run_wsol, tmp_path, steps):
    """Stopped in the middle of an epoch and gone on with, drop path and all, a run ends with the same weights."""
    arguments = {"max_steps": 5, "save_strategy": "steps", "save_steps": 3, "drop_path_rate": 0.4}
    expected, whole = run_wsol(tmp_path / "whole", **arguments)

    parts = tmp_path / "parts"
    steps.count, steps.stop_at = 0, 5
    with pytest.raises(KeyboardInterrupt):
        run_wsol(parts, **arguments)
    assert (parts / "checkpoint-3").is_dir() and not (parts / "results.json").exists()

    steps.count, steps.stop_at = 0, None
    results, _ = run_wsol(parts, **arguments, resume_from_checkpoint=True)
    assert steps.count == 2
    assert same_bytes(whole, parts)
    assert (results["validation"], results["test"]) == (expected["validation"], expected["test"])
    losses, expected_losses = ([entry["loss"] for entry in training_log(folder)] for folder in (parts, whole))
    assert losses == pytest.approx(expected_losses, abs=1e-6)


def test_resume_from_a_named_checkpoint(run_wsol, tmp_path, steps):
    arguments = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1}
    _, whole = run_wsol(tmp_path / "whole", **arguments)
    steps.count = 0
    _, again = run_wsol(tmp_path / "again", **arguments, resume_from_checkpoint=whole / "checkpoint-2")
    assert steps.count == 1
    assert same_bytes(whole, again)
    damaged = whole / "checkpoint-2" / "optimizer.pt"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    with pytest.raises(ValueError, match="checkpoint-2 cannot be resumed from: optimizer.pt has"):
        run_wsol(tmp_path / "again", **arguments, resume_from_checkpoint=whole / "checkpoint-2")
    with pytest.raises(ValueError, match="There is no checkpoint .*checkpoint-7 to resume from"):
        run_wsol(tmp_path / "again", **arguments, resume_from_checkpoint=whole / "checkpoint-7")


def test_the_same_command_until_it_is_done(run_wsol, tmp_path, caplog, monkeypatch):
    """Told to resume from the start: killed in its first checkpoint, in its second, and at the end, it goes on each time."""
    arguments = {
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 3,
        "drop_path_rate": 0.4,
        "save_total_limit": 1,
    }
    _, whole = run_wsol(tmp_path / "whole", **arguments)
    parts = tmp_path / "parts"

    def killed_at(step: int, name: str):
        kill_at_byte(f"checkpoint-{step}", name, 1000)
        run_wsol(parts, **arguments, resume_from_checkpoint=True)

    assert run_in_child(killed_at, 3, "optimizer.pt") == KILLED_IN_A_FILE
    assert newest_checkpoint(parts) is None
    assert run_in_child(killed_at, 4, "model.safetensors") == KILLED_IN_A_FILE
    assert newest_checkpoint(parts) == parts / "checkpoint-3"

    def killed_at_the_end():
        kill_at_byte(str(parts), "results.json", 100)
        run_wsol(parts, **arguments, resume_from_checkpoint=True)

    assert run_in_child(killed_at_the_end) == KILLED_IN_A_FILE
    assert newest_checkpoint(parts) == parts / "checkpoint-4"
    assert list(parts.glob(".unfinished-*"))
    with caplog.at_level(logging.INFO):
        run_wsol(parts, **arguments, resume_from_checkpoint=True)
    assert same_bytes(whole, parts)
    assert f"Goes on from {parts / 'checkpoint-4'}" in caplog.text and "left unfinished, is removed" in caplog.text
    assert not list(parts.glob(".unfinished-*"))


def test_a_diverging_run_ends_with_one_line(run_wsol, tmp_path, capfd):
    """Exit status 1, no model that looks trained, no figures."""

    def diverging():
        run_wsol.prepare(learning_rate=1e6, max_steps=30, save_strategy="steps", save_steps=1)
        runpy.run_path(SCRIPT, run_name="__main__")

    assert run_in_child(diverging) == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert re.match(r"run_wsol.py: Training diverged at step \d+: the loss is ", last)
    assert "Images of the step: row " in last
    output = tmp_path / "output"
    assert not (output / "results.json").exists() and not (output / "model.safetensors").exists()
    for path in output.rglob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(path).values()), path


@pytest.mark.slow
@pytest.mark.multiprocess
def test_processes_stop_together(settings, tmp_path):
    """The images of all processes are named, and none is left waiting for another."""
    flags = as_flags({**settings, "learning_rate": 1e6, "max_steps": 30, "output_dir": tmp_path})
    completed = command("torchrun", *flags, expected_status=1)
    (said,) = set(re.findall(r"run_wsol.py: (Training diverged at step .*)", completed.stderr))
    assert len(re.findall(r"row \d+", said)) == 16
    assert list(tmp_path.rglob("*.safetensors")) == [tmp_path / "before_divergence" / "model.safetensors"]


# One run at a time.


def test_a_second_run_into_the_folder_is_refused(run_wsol, script, tmp_path, monkeypatch, capfd):
    """Before anything is loaded, with one line."""
    monkeypatch.setattr(one_run, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(script, "set_up_splits", lambda *arguments: pytest.fail("it works"))
    output = tmp_path / "output"
    with only_run(output, output / ".run.lock"):
        refused = run_in_child(run_wsol)
        assert refused == 1

        def as_a_command():
            run_wsol.prepare()
            runpy.run_path(SCRIPT, run_name="__main__")

        capfd.readouterr()
        assert run_in_child(as_a_command) == 1
    lines = capfd.readouterr().err.strip().splitlines()
    assert [line for line in lines if "Error" in line or "Traceback" in line] == []
    assert lines[-1] == (f"run_wsol.py: Another process is writing to {output}; wait for it, or give another folder.")
    assert [path.name for path in output.iterdir()] == [".run.lock"]


@pytest.mark.slow
@pytest.mark.multiprocess
def test_a_second_run_on_two_processes_is_refused(settings, tmp_path):
    with only_run(tmp_path, tmp_path / ".run.lock"):
        completed = command("torchrun", *as_flags({**settings, "output_dir": tmp_path}), expected_status=1)
    (said,) = set(re.findall(r"run_wsol.py: (.*)", completed.stderr))
    assert said.startswith(f"Another process is writing to {tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == [".run.lock"]


# What an output folder holds.


def test_what_a_folder_holds_is_not_replaced_unasked(run_wsol):
    """A finished model stays, unless the script is told to; what it was goes with it (tests/training/test_runs.py)."""
    arguments = {"save_strategy": "steps", "save_steps": 1}
    _, output = run_wsol(**arguments)
    with pytest.raises(FolderHoldsRunError, match=r"holds a model already \(results.json\).*--overwrite_output_dir"):
        run_wsol(**arguments)
    with pytest.raises(FolderHoldsRunError, match="`learning_rate` was 0.001 and is 0.01"):
        run_wsol(**arguments, learning_rate=1e-2, resume_from_checkpoint=True)
    # a mistake in what is asked for costs nothing
    with pytest.raises(NoSuchPlaceError):
        run_wsol(dataset_name="./elsewhere", overwrite_output_dir=True)
    assert (output / "model.safetensors").exists() and (output / "checkpoint-1").exists()
    run_wsol(learning_rate=1e-2, overwrite_output_dir=True)
    assert not list(output.glob("checkpoint-*")) and figures_of(output)["training"]["learning_rate"] == 1e-2


def test_a_name_that_is_none_ends_with_one_line(run_wsol, tmp_path, capfd):
    def as_a_command(given):
        run_wsol.prepare(**given)
        runpy.run_path(SCRIPT, run_name="__main__")

    for given in ({"dataset_name": "./my_imges"}, {"model_name_or_path": "my/own/modl"}):
        assert run_in_child(as_a_command, given) == 1
        said = capfd.readouterr().err
        *_, last = said.strip().splitlines()
        assert (
            last.startswith(f"run_wsol.py: There is no folder {next(iter(given.values()))!r}")
            and "Traceback" not in said
        )


def test_what_was_found_is_not_lost(run_wsol, tmp_path, monkeypatch):
    """The test split fails: the figures and the threshold of the validation split are in the folder."""
    evaluate_split = engine.evaluate_split

    def failing(model, image_processor, split, *args, **kwargs):
        if split.name == "test":
            raise RuntimeError("no memory")
        return evaluate_split(model, image_processor, split, *args, **kwargs)

    monkeypatch.setattr(engine, "evaluate_split", failing)
    with pytest.raises(RuntimeError, match="no memory"):
        run_wsol(localization_thresholds=0.35)
    results = figures_of(tmp_path / "output")
    assert results["validation"]["threshold"] == 0.35 and "test" not in results["results"]
    assert SATImageProcessor.from_pretrained(tmp_path / "output").localization_threshold == 0.35


# Data of other kinds.


def test_without_boxes(run_wsol, tmp_path, caplog, capsys):
    """Folders of images: it trains, measures the classification, and says what cannot be measured."""
    folder = write_class_folders(tmp_path / "folders", train=16, val=7, test=5)
    with caplog.at_level(logging.WARNING):
        results, output = run_wsol(dataset_name=folder, contact_sheet_samples=3)
    assert results["validation"]["num_images"] == 7 and results["test"]["num_images"] == 5
    for split in ("validation", "test"):
        assert any(
            split in record.message
            and "no boxes" in record.message
            and "localization cannot be measured" in record.message
            for record in caplog.records
        )
        assert 0 <= results[split]["top1_cls"] <= 100
        assert not any("loc" in name or "iou" in name for name in results[split])
        # three classes have no first five
        assert results[split].get("top5_cls") is None
    printed = capsys.readouterr().out
    assert "Top-1 Cls" in printed and "Loc" not in printed.split("results:")[0].split("|", 1)[1]
    assert SATImageProcessor.from_pretrained(output).localization_threshold == 0.4
    with PIL.Image.open(output / "contact_sheet.png") as sheet:
        assert (0, 255, 0) not in {colour for _, colour in sheet.convert("RGB").getcolors(sheet.width * sheet.height)}


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
def test_boxes_for_the_test_alone(run_wsol, tmp_path, caplog, protocol):
    """The threshold cannot be chosen then, so the processor's own is measured."""
    splits = {
        name: square_split(count, with_boxes=name == "test")
        for name, count in (("train", 12), ("validation", 5), ("test", 4))
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    with caplog.at_level(logging.WARNING):
        results, output = run_wsol(dataset_name=tmp_path / "saved", protocol=protocol, contact_sheet_samples=2)
    assert "validation split has no boxes" in caplog.text and "test split has no boxes" not in caplog.text
    assert "gt_known_loc" not in results["validation"]
    assert results["test"]["threshold"] == pytest.approx(0.4)
    assert results["test"]["threshold_choice"] == "fixed"
    processor = SATImageProcessor.from_pretrained(output)
    assert processor.localization_threshold == 0.4
    # the saved processor shows the model what it was measured on
    assert (processor.size["height"], processor.do_center_crop) == ((73, True) if protocol == "sat" else (64, False))


def test_undecodable_images(run_wsol, tmp_path, caplog, monkeypatch):
    folder = write_class_folders(tmp_path / "folders", train=18, val=6)
    broken = folder / "train" / "red" / "3.png"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(ValueError, match=re.escape(f"{broken} cannot be decoded") + ".*`--skip_undecodable`"):
        run_wsol(dataset_name=folder, max_steps=3)
    unreadable = folder / "val" / "green" / "1.png"
    unreadable.write_text("no image")
    message = (
        rf"1 of the 6 images of the split `validation` cannot be decoded: row \d: The image {unreadable} .*`--skip_un"
    )
    # before the first step
    with monkeypatch.context() as patch, pytest.raises(ValueError, match=message):
        patch.setattr(LocalizationTrainer, "train", None)
        run_wsol(dataset_name=folder, max_steps=3)
    with caplog.at_level(logging.WARNING):
        results, _ = run_wsol(dataset_name=folder, max_steps=3, skip_undecodable=True)
    assert results["validation"]["num_images"] == 5
    assert str(broken) in caplog.text and str(unreadable) in caplog.text
    assert "Left out 1 of 18" in caplog.text


def test_own_columns_and_no_validation_split(run_wsol, tmp_path):
    split = square_split(24)
    names = [f"a {CLASS_NAMES[label]} thing" for label in split["label"]]
    split = (
        split.remove_columns("label").add_column("kind", names).rename_columns({"image": "photo", "objects": "boxes"})
    )
    datasets.DatasetDict(train=split).save_to_disk(tmp_path / "saved")
    results, output = run_wsol(
        dataset_name=tmp_path / "saved",
        image_column_name="photo",
        label_column_name="kind",
        objects_column_name="boxes",
        validation_fraction=0.25,
    )
    assert results["validation"]["num_images"] == 6 and "test" not in results
    assert results["validation"]["threshold_choice"] == "oracle"
    expected = {0: "a blue thing", 1: "a green thing", 2: "a red thing"}
    assert AutoConfig.from_pretrained(output).id2label == expected


# Subsets and transforms.


@pytest.fixture
def trained_on(monkeypatch) -> list:
    """The training data that runs were given."""
    seen = []
    init = LocalizationTrainer.__init__

    def noted(self, *args, train_dataset=None, **kwargs):
        seen.append(train_dataset)
        init(self, *args, train_dataset=train_dataset, **kwargs)

    monkeypatch.setattr(LocalizationTrainer, "__init__", noted)
    return seen


def test_images_per_class(run_wsol, trained_on, tmp_path):
    results, _ = run_wsol(samples_per_class=2, seed=3)
    assert (results["validation"]["num_images"], results["test"]["num_images"]) == (13, 15)
    run_wsol(tmp_path / "again", samples_per_class=2, seed=3)
    run_wsol(tmp_path / "share", train_fraction=0.5, seed=3)
    first, again, share = ({row["image"]["bytes"] for row in data.dataset} for data in trained_on)
    assert len(first) == 6 and first == again < share
    assert sorted(trained_on[0].dataset["label"]) == [0, 0, 1, 1, 2, 2]


def test_some_of_the_classes(script, settings, tmp_path, monkeypatch):
    """Named as words or in a file; the other splits have these classes alone, too."""
    names = tmp_path / "names.txt"
    names.write_text("blue\nred\n", encoding="utf-8")
    for words in (["blue", "red"], [str(names)]):
        output = tmp_path / words[0].strip("/").replace("/", "_")
        flags = as_flags({**settings, "output_dir": output})
        monkeypatch.setattr(sys, "argv", ["run_wsol.py", *flags, "--classes", *words])
        script.main()
        results = figures_of(output)
        # of 13 and 15 images whose classes take turns
        assert (results["validation"]["num_images"], results["test"]["num_images"]) == (9, 10)
        assert AutoConfig.from_pretrained(output).id2label == {0: "red", 1: "blue"}


def test_transforms(run_wsol, trained_on):
    values = {
        "min_crop_area": 0.4,
        "color_jitter": 0.2,
        "grayscale_probability": 0.1,
        "max_rotation": 10.0,
        "erasing_probability": 0.3,
        "horizontal_flip": False,
        "channel_permutation": True,
    }
    run_wsol(**values, fast_decoding=True)
    (data,) = trained_on
    assert {name: getattr(data.augmentation, name) for name in values} == values
    assert data.fast_decoding


# Streaming.


@pytest.fixture(scope="session")
def square_parquet(square_folder, tmp_path_factory) -> Path:
    """The same images as Parquet, those to train in two files of several row groups."""
    folder = tmp_path_factory.mktemp("parquet")
    for split, dataset in datasets.load_from_disk(square_folder).items():
        for part in range(2 if split == "train" else 1):
            rows = dataset.shard(2, part) if split == "train" else dataset
            rows.to_parquet(folder / f"{split}-{part:05d}.parquet", batch_size=3)
    return folder


def test_streaming_is_the_same_in_parts(run_wsol, square_parquet, tmp_path, steps, monkeypatch):
    """
    Killed in the second epoch and gone on with, drop path and all, a run sees the images that are left, decodes no
    others and ends with the same weights.
    """
    arguments = {
        "dataset_name": square_parquet,
        "streaming": True,
        "shuffle_buffer_size": 6,
        "max_steps": 6,
        "save_strategy": "steps",
        "save_steps": 3,
        "drop_path_rate": 0.4,
    }
    decoded = []
    example = StreamedLocalizationDataset.__getitem__

    def noted(self, streamed):
        decoded.append((streamed.epoch, streamed.position, streamed.row["image"]["bytes"]))
        return example(self, streamed)

    monkeypatch.setattr(StreamedLocalizationDataset, "__getitem__", noted)
    expected, whole = run_wsol(tmp_path / "whole", **arguments)
    uninterrupted, decoded[:] = list(decoded), []
    # every image once in each of the three epochs
    assert len(uninterrupted) == 48
    for epoch in range(3):
        assert len({image for of_epoch, _, image in uninterrupted if of_epoch == epoch}) == 16

    parts = tmp_path / "parts"
    steps.count, steps.stop_at = 0, 5
    with pytest.raises(KeyboardInterrupt):
        run_wsol(parts, **arguments)
    decoded.clear()
    steps.count, steps.stop_at = 0, None
    results, _ = run_wsol(parts, **arguments, resume_from_checkpoint=True)
    assert steps.count == 3
    assert decoded == uninterrupted[24:]
    assert_same_weights(whole, parts, tolerance=1e-6)
    assert (results["validation"], results["test"]) == (expected["validation"], expected["test"])


@pytest.mark.parametrize("known", [True, False])
def test_streaming_on_workers_and_without_a_length(run_wsol, square_parquet, tmp_path, known, monkeypatch, steps):
    """Workers change nothing; without a known length a run is resumed all the same."""
    arguments = {"dataset_name": square_parquet, "streaming": True, "max_steps": 5, "save_strategy": "steps"}
    if not known:
        monkeypatch.setattr(streaming, "count_rows", lambda builder, files: None)
        with pytest.raises(ValueError, match="`--max_steps`"):
            run_wsol(tmp_path / "endless", **(arguments | {"max_steps": -1}))
    _, whole = run_wsol(tmp_path / "whole", **arguments, save_steps=3)
    _, again = run_wsol(
        tmp_path / "again",
        **arguments,
        save_steps=10,
        resume_from_checkpoint=whole / "checkpoint-3",
        dataloader_num_workers=2,
    )
    assert_same_weights(whole, again, tolerance=1e-6)


@pytest.mark.multiprocess
def test_streaming_on_two_processes(run_wsol, settings, square_parquet, tmp_path):
    """Half of each batch on each, over two epochs: together they see what one process sees."""
    arguments = {"dataset_name": square_parquet, "streaming": True, "max_steps": 3, "shuffle_buffer_size": 6}
    run_wsol(tmp_path / "alone", **arguments)
    halved = arguments | {"per_device_train_batch_size": 4, "dataloader_num_workers": 1}
    command("torchrun", *as_flags({**settings, **halved, "output_dir": tmp_path / "together"}))
    results, expected = (figures_of(tmp_path / name) for name in ("together", "alone"))
    assert (results["num_processes"], expected["num_processes"]) == (2, 1)
    assert_same_weights(tmp_path / "alone", tmp_path / "together", tolerance=TOLERANCE_OF_TWO_PROCESSES)
    assert results["test"] == expected["test"]


@pytest.mark.parametrize("option", ["samples_per_class", "train_fraction", "max_train_samples", "skip_undecodable"])
def test_what_streaming_cannot_do(run_wsol, square_parquet, option):
    with pytest.raises(ValueError, match=f"`--{option}` cannot be had with `--streaming`"):
        run_wsol(dataset_name=square_parquet, streaming=True, **{option: 1})


def test_number_of_images(run_wsol):
    results, _ = run_wsol(max_train_samples=9, max_eval_samples=4)
    assert results["validation"]["num_images"] == results["test"]["num_images"] == 4


def test_embedded_data_and_backbone_are_the_default(run_wsol, monkeypatch, tmp_path):
    few = partial(load_emblems, num_train=20, num_validation=10, num_test=10, cache_dir=tmp_path / "emblems")
    monkeypatch.setattr(loading, "load_emblems", few)
    results, output = run_wsol(dataset_name=None, model_name_or_path=None, num_spatial_layers=None)
    assert results["dataset"] == "emblems"
    assert results["test"]["num_images"] == 10 and results["test"]["top5_cls"] is not None
    assert len(AutoConfig.from_pretrained(output).id2label) == 10


# The model.


def encoder_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights that a ViT has, by the names of the current version."""
    model = SATForWeaklySupervisedLocalization.from_pretrained(folder)
    return {name: tensor for name, tensor in model.vit.state_dict().items() if "spatial" not in name}


@pytest.mark.parametrize("from_scratch", [False, True])
def test_where_the_weights_come_from(run_wsol, vit_folder, from_scratch):
    """With a learning rate of 0 the encoder stays the backbone's, or what fresh weights are."""
    _, output = run_wsol(from_scratch=from_scratch, learning_rate=0.0)
    backbone = ViTForImageClassification.from_pretrained(vit_folder).vit.state_dict()
    encoder = encoder_weights(output)
    assert set(encoder) == {name for name in backbone if not name.startswith("pooler")}
    matrices = [name for name, tensor in encoder.items() if tensor.ndim > 1]
    for name in matrices:
        assert torch.equal(encoder[name], backbone[name]) != from_scratch, name


def test_frozen_layers(run_wsol, vit_folder):
    _, output = run_wsol(trainable_layers=1, weight_decay=0.1)
    backbone = ViTForImageClassification.from_pretrained(vit_folder).vit.state_dict()
    encoder = encoder_weights(output)
    unchanged = {name for name, tensor in encoder.items() if torch.equal(tensor, backbone[name])}
    assert unchanged == {name for name in encoder if not name.startswith(("layers.1.", "layernorm."))}


def test_other_image_size(run_wsol):
    results, output = run_wsol(image_size=32)
    assert results["test"]["image_size"] == 32
    assert AutoConfig.from_pretrained(output).image_size == 32
    assert SATImageProcessor.from_pretrained(output).model_input_size() == (32, 32)
    assert encoder_weights(output)["embeddings.position_embeddings"].shape == (1, 1 + 16, 32)


def test_evaluates_a_saved_model(run_wsol, commanded):
    """What was trained is measured again from its folder alone: its blocks, its threshold, its loss."""
    trained, _ = commanded
    expected = figures_of(trained)
    results, output = run_wsol(
        model_name_or_path=trained, do_train=False, num_spatial_layers=None, drop_path_rate=None
    )
    assert (results["validation"], results["test"]) == (expected["validation"], expected["test"])
    assert AutoConfig.from_pretrained(output).num_spatial_layers == 2
    assert_same_weights(trained, output, tolerance=0)


@pytest.fixture
def in_folders(square_folder, tmp_path) -> Path:
    """The same images in folders of classes, which are in another order: the alphabetical one."""
    for split, dataset in datasets.load_from_disk(square_folder).items():
        for index, row in enumerate(dataset):
            path = tmp_path / "in folders" / split / CLASS_NAMES[row["label"]] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            row["image"].save(path)
    return tmp_path / "in folders"


def test_classes_in_another_order(run_wsol, commanded, in_folders):
    trained, _ = commanded
    expected = figures_of(trained)
    others = {"model_name_or_path": trained, "num_spatial_layers": None, "dataset_name": in_folders, "do_train": False}
    results, output = run_wsol(**others)
    for split in ("validation", "test"):
        assert results[split]["top1_cls"] == pytest.approx(expected[split]["top1_cls"])
    assert AutoConfig.from_pretrained(output).id2label == dict(enumerate(CLASS_NAMES))
    assert_same_weights(trained, output, tolerance=0)


def test_other_classes_than_the_models(run_wsol, commanded, in_folders, tmp_path):
    """A class that the model has not cannot be measured with the old classifier; it can be trained, with a new one."""
    trained, _ = commanded
    for split in ("train", "validation", "test"):
        (in_folders / split / "red").rename(in_folders / split / "pink")
    others = {"model_name_or_path": trained, "num_spatial_layers": None, "dataset_name": in_folders}
    with pytest.raises(ValueError, match="no class for 1 of the data set's 3: \\['pink'\\]"):
        run_wsol(**others, do_train=False)
    _, output = run_wsol(tmp_path / "trained", **others)
    assert AutoConfig.from_pretrained(output).id2label == {0: "blue", 1: "green", 2: "pink"}


def test_fewer_classes_than_the_models(run_wsol, commanded, in_folders, tmp_path):
    """Measured, they are those of the model, which keeps all of its own; trained, the classifier is a new one for them."""
    trained, _ = commanded
    expected = pyarrow.parquet.read_table(trained / "report" / "images_sat.parquet").to_pylist()
    right = [row["label"] == row["predicted_label"] for row in expected if row["label_name"] != "red"]
    for split in ("train", "validation", "test"):
        shutil.rmtree(in_folders / split / "red")
    others = {"model_name_or_path": trained, "num_spatial_layers": None, "dataset_name": in_folders}
    results, output = run_wsol(**others, do_train=False)
    assert results["test"]["top1_cls"] == pytest.approx(100 * sum(right) / len(right))
    assert AutoConfig.from_pretrained(output).id2label == dict(enumerate(CLASS_NAMES))
    _, output = run_wsol(tmp_path / "trained", **others)
    assert AutoConfig.from_pretrained(output).id2label == {0: "blue", 1: "green"}
    assert weights(output)["classifier.convolution.bias"].shape == (2,)


def test_the_backbones_normalization_is_kept(run_wsol, vit_folder, tmp_path):
    ViTForImageClassification.from_pretrained(vit_folder).save_pretrained(tmp_path / "vit")
    ViTImageProcessor(image_mean=[0.5, 0.4, 0.3], image_std=[0.1, 0.2, 0.3]).save_pretrained(tmp_path / "vit")
    _, output = run_wsol(model_name_or_path=tmp_path / "vit")
    processor = SATImageProcessor.from_pretrained(output)
    assert (list(processor.image_mean), list(processor.image_std)) == ([0.5, 0.4, 0.3], [0.1, 0.2, 0.3])


# Arguments.


@pytest.mark.parametrize("kind", ["yaml", "json", "json with tabs"])
def test_recipe_files(script, tmp_path, monkeypatch, kind):
    """Settings as people write them, and flags after the file that win over it."""
    path = tmp_path / f"recipe.{kind.split()[0]}"
    if kind == "yaml":
        path.write_text(
            "dataset_name: my images\nimage_size: null\nlocalization_thresholds: [0.2, 0.4]\nlearning_rate: 5e-4\n"
            "do_train: true\nsave_strategy: no\nmax_steps: 10\nlr_scheduler_kwargs: {min_lr: 1.0e-6}\n",
            encoding="utf-8",
        )
    else:
        recipe = {
            "dataset_name": "my images",
            "image_size": None,
            "localization_thresholds": [0.2, 0.4],
            "learning_rate": 5e-4,
            "do_train": True,
            "save_strategy": "no",
            "max_steps": 10,
            "lr_scheduler_kwargs": {"min_lr": 1e-6},
        }
        path.write_text(json.dumps(recipe, indent="\t" if "tabs" in kind else None), encoding="utf-8")
    flags = ["--max_steps", "3", "--output_dir", str(tmp_path), "--use_cpu", "--horizontal_flip", "False"]
    monkeypatch.setattr(sys, "argv", ["run_wsol.py", str(path), *flags])
    data, model, evaluation, _, training = script.parse_arguments()
    assert (data.dataset_name, data.horizontal_flip, model.image_size) == ("my images", False, None)
    assert evaluation.localization_thresholds == [0.2, 0.4]
    assert (training.do_train, training.max_steps, training.learning_rate) == (True, 3, 5e-4)
    assert training.save_strategy == "no"
    assert training.lr_scheduler_kwargs == {"min_lr": 1e-6}


@pytest.mark.parametrize("content", ["", "just words", "- a\n- b\n"])
def test_recipe_files_of_another_kind(script, tmp_path, monkeypatch, content):
    path = tmp_path / "recipe.yaml"
    path.write_text(content, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["run_wsol.py", str(path)])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        script.parse_arguments()


@pytest.mark.parametrize("recipe", sorted(EXAMPLES.glob("recipes/*.yaml")), ids=lambda path: path.name)
def test_recipes_in_the_tree(script, recipe, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_wsol.py", str(recipe)])
    _, _, evaluation, _, training = script.parse_arguments()
    assert training.do_train and training.output_dir
    assert evaluation.localization_thresholds == pytest.approx(THRESHOLDS)


@pytest.mark.parametrize(
    "others, message",
    [
        ({"protocol": "paper"}, "`protocol` must be one of"),
        ({"localization_thresholds": 1.5}, "`localization_thresholds` must be numbers from 0 to 1"),
        ({"model_name_or_path": None}, "--model_name_or_path.* is missing"),
        ({"trainable_layers": 3}, "`trainable_layers` must be between 0 and 2"),
        ({"label_column_name": "species"}, "no column `species`"),
        ({"moustaches": 3}, "moustaches"),
        ({"classes": "rde"}, "do you mean 'red'"),
        ({"classes": "red"}, r"single class \(red\)"),
        ({"dataset_name": "./elsewhere"}, "There is no folder './elsewhere' to read the data set from"),
        ({"label_smoothing_factor": 1.5}, "`label_smoothing_factor` must be at least 0 and below 1"),
        ({"samples_per_class": 9}, "have fewer training images"),
        ({"samples_per_class": 2, "train_fraction": 0.5}, "give one of them"),
        ({"train_fraction": 1.5}, "`train_fraction`"),
        ({"color_jitter": 2}, "`color_jitter`"),
        ({"gradient_accumulation_steps": 0}, "`--gradient_accumulation_steps` must be at least 1"),
        ({"max_steps": 0}, "nothing would be trained"),
        ({"streaming": True}, "leave out `--streaming`"),
    ],
)
def test_arguments_that_are_refused(run_wsol, tmp_path, others, message):
    """Before any training."""
    with pytest.raises((ValueError, NoSuchPlaceError), match=message):
        run_wsol(**others)
    assert not (tmp_path / "output" / "model.safetensors").exists()


def test_fields_of_the_model_that_are_refused(run_wsol):
    for others, message in (({"num_spatial_layers": 3}, "num_spatial_layers"), ({"image_size": 30}, "patch_size")):
        with pytest.raises(Exception, match=message):
            run_wsol(**others)
