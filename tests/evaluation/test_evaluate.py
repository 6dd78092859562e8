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
"""`transformers-sat evaluate`, from a saved model and a saved data set to the files it leaves behind."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys

import datasets
import numpy as np
import PIL.Image
import pyarrow.parquet
import pytest
import torch
from accelerate.state import PartialState
from hostile_names import HOSTILE_NAMES
from sat_testing import tiny_model
from small_evaluation import MODEL_CLASSES, NUM_TEST_IMAGES, small_processor, two_box_split
from square_images import FEATURES, square_split
from transformers import AutoImageProcessor, ViTConfig

from transformers_sat import SATForWeaklySupervisedLocalization, saving
from transformers_sat.cli import main
from transformers_sat.commands.evaluate import EvaluationOptions
from transformers_sat.evaluation import engine as engine_module
from transformers_sat.evaluation import evaluate as evaluate_module
from transformers_sat.evaluation import evaluate_localization
from transformers_sat.evaluation import report as report_module
from transformers_sat.evaluation.evaluate import evaluate_model
from transformers_sat.metrics import box_iou
from transformers_sat.results import read_results
from transformers_sat.saving import save_threshold


PROTOCOLS = ("sat", "wsoleval")


def run(*arguments) -> int:
    return main(["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def report(saved_model, saved_data, tmp_path_factory):
    """The folder that one evaluation with everything wrote."""
    folder = tmp_path_factory.mktemp("report") / "new"
    assert run(saved_model, saved_data, "--protocol", "both", "--ten_crop", "--output", folder) == 0
    return folder


def results_of(folder, split: str = "test") -> dict:
    """The figures of a split by protocol, as the file has them."""
    record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert list(record["results"]) == [split]
    return record["results"][split]


# What it writes.


def test_results(report, saved_model, saved_data):
    record = read_results(report / "results.json")
    assert record["schema_version"] == 1
    assert (record["model"], record["dataset"]) == (str(saved_model), str(saved_data))
    assert (record["command"], record["num_processes"]) == ("transformers-sat evaluate", 1)
    assert record["arguments"]["localization_threshold"] == "validation" and record["arguments"]["ten_crop"]
    assert record["versions"]["torch"] == torch.__version__
    assert {"transformers_sat", "transformers", "datasets", "numpy", "python"} <= set(record["versions"])
    assert list(record["results"]) == ["test"] and list(record["results"]["test"]) == list(PROTOCOLS)
    for protocol, result in record["results"]["test"].items():
        assert result["protocol"] == protocol
        assert result["num_images"] == NUM_TEST_IMAGES
        assert result["threshold_choice"] == "validation"
        assert result["calibration"]["num_images"] == 7
        assert result["calibration"]["threshold"] == result["threshold"]
        assert 0 <= result["whole_image"]["gt_known_loc"] <= result["center_box"]["gt_known_loc"] <= 100
        assert 0 < result["pxap"] < 100
        assert 0 < result["whole_image"]["pxap"] < result["center"]["pxap"] < 100
        assert result["ten_crop"] == (protocol == "sat")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_row_a_image(report, protocol):
    rows = datasets.load_dataset("parquet", data_files=str(report / f"images_{protocol}.parquet"), split="train")
    assert rows.column_names == pyarrow.parquet.read_table(report / f"images_{protocol}.parquet").column_names
    result = results_of(report)[protocol]
    assert rows["row"][:] == list(range(NUM_TEST_IMAGES))
    assert rows["image_id"][:] == [f"square {index}" for index in range(NUM_TEST_IMAGES)]
    ious = np.array(rows["iou"])
    assert 100 * (ious >= 0.5).mean() == pytest.approx(result["gt_known_loc"])
    right = np.array(rows["label"]) == np.array(rows["predicted_label"])
    assert 100 * right.mean() == pytest.approx(result["top1_cls"])
    assert 100 * ((ious >= 0.5) & right).mean() == pytest.approx(result["top1_loc"])
    for row in rows:
        assert row["label_name"] == MODEL_CLASSES[row["label"]] == ["red", "green", "blue"][row["row"] % 3]
        assert row["predicted_label_name"] == MODEL_CLASSES[row["predicted_label"]]
        assert box_iou(row["predicted_box"], row["true_boxes"]).max() == pytest.approx(row["iou"])
        assert len(row["true_boxes"]) == (2 if row["row"] % 3 == 0 else 1)
        assert 0 < row["object_share"] <= 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plots_and_drawings(report, protocol):
    for name in ("thresholds", "precision_recall", "by_size", "by_class", "worst", "best"):
        with PIL.Image.open(report / f"{name}_{protocol}.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        assert min(pixels.shape[:2]) > 100
        assert pixels.std() > 5
    assert len(list(report.iterdir())) == 1 + 2 * 7


def test_what_is_drawn_is_what_was_measured(saved_model, saved_data, tmp_path, monkeypatch):
    """The model sees each image once, and the drawings have the maps and boxes of the rows."""
    seen, drawn = [], []
    forward = SATForWeaklySupervisedLocalization.forward

    def counted(self, pixel_values, **options):
        seen.append(len(pixel_values))
        return forward(self, pixel_values=pixel_values, **options)

    def noted(tiles, path, **options):
        drawn.append(tiles)

    monkeypatch.setattr(SATForWeaklySupervisedLocalization, "forward", counted)
    monkeypatch.setattr(report_module, "contact_sheet", noted)
    assert run(saved_model, saved_data, "--localization_threshold", 0.4, "--output", tmp_path) == 0
    assert sum(seen) == NUM_TEST_IMAGES
    rows = pyarrow.parquet.read_table(tmp_path / "images_sat.parquet").to_pylist()
    by_iou = sorted(rows, key=lambda row: (row["iou"], row["row"]))
    worst, best = drawn
    assert len(worst) == len(best) == NUM_TEST_IMAGES
    for tiles, ordered in ((worst, by_iou), (best, by_iou[::-1])):
        for tile, row in zip(tiles, ordered, strict=True):
            assert tile.image.size == tile.localization_map.shape == (32, 32)
            assert list(map(list, tile.predicted_boxes)) == [row["predicted_box"]]
            assert f"IoU {row['iou']:.2f}: {row['predicted_label_name']}" in tile.title
            # the box is around what is above the threshold, where anything is
            x0, y0, x1, y1 = row["predicted_box"]
            assert (tile.localization_map[y0:y1, x0:x1] > 0.4).any() or [x0, y0, x1, y1] == [0, 0, 32, 32]


def test_only_a_test_split(report, saved_model, saved_data, tmp_path, capsys):
    """What there is is measured, as with the other splits beside it; a threshold cannot be calibrated on it."""
    test = datasets.load_from_disk(str(saved_data))["test"]
    datasets.DatasetDict(test=test).save_to_disk(tmp_path / "test alone")
    assert run(saved_model, tmp_path / "test alone", "--output", tmp_path / "report") == 1
    assert "neither a `validation` split nor a `train` split" in capsys.readouterr().err
    expected = results_of(report)["sat"]
    arguments = ("--ten_crop", "--localization_threshold", expected["threshold"], "--output", tmp_path / "report")
    assert run(saved_model, tmp_path / "test alone", *arguments) == 0
    result = results_of(tmp_path / "report")["sat"]
    for name in ("num_images", "top1_cls", "gt_known_loc", "top1_loc"):
        assert result[name] == expected[name]


def test_what_is_printed(saved_model, saved_data, capsys):
    assert run(saved_model, saved_data, "--localization_threshold", 0.4, "--protocol", "both", "--max_samples", 5) == 0
    printed = capsys.readouterr().out
    for expected in ("Top-1 Cls", "GT-known Loc", "| whole image", "| best centre box", "protocol sat at 32 px"):
        assert expected in printed
    assert "protocol wsoleval at 32 px; threshold 0.4, given; 5 images in test; BoxAcc" in printed
    assert "PxAP" in printed


def test_some_of_the_images(saved_model, saved_data, tmp_path):
    assert (
        run(saved_model, saved_data, "--localization_threshold", "oracle", "--max_samples", 5, "--output", tmp_path)
        == 0
    )
    assert results_of(tmp_path)["sat"]["num_images"] == 5
    ids = pyarrow.parquet.read_table(tmp_path / "images_sat.parquet")["image_id"].to_pylist()
    # drawn from anywhere, and still known by their names
    assert len(set(ids)) == 5
    assert ids != [f"square {index}" for index in range(5)]


def test_thresholds_to_choose_from(saved_model, saved_data, tmp_path):
    assert run(saved_model, saved_data, "--localization_thresholds", 0.35, 0.65, "--output", tmp_path) == 0
    assert results_of(tmp_path)["sat"]["threshold"] in (0.35, 0.65)


def test_stored_threshold(saved_model, saved_data, tmp_path):
    shutil.copytree(saved_model, tmp_path / "model")
    output = tmp_path / "output"
    settings = ("--localization_thresholds", 0.55, 0.65, "--save_threshold", "--output", output)
    assert run(tmp_path / "model", saved_data, *settings) == 0
    threshold = results_of(output)["sat"]["threshold"]
    assert threshold in (0.55, 0.65)
    assert AutoImageProcessor.from_pretrained(tmp_path / "model").localization_threshold == threshold
    # in the file's own form: nothing else of it, or of the folder, is written anew
    for path in saved_model.iterdir():
        stored = (tmp_path / "model" / path.name).read_bytes()
        assert stored.replace(f": {threshold}".encode(), b": 0.4") == path.read_bytes()


def test_only_a_validation_split(saved_model, saved_data, tmp_path, capsys):
    """It is measured, said to be the one, and cut where the model cuts: nothing is chosen on what is measured."""
    shutil.copytree(saved_model, tmp_path / "model")
    save_threshold(tmp_path / "model", 0.55)
    rows = datasets.load_from_disk(str(saved_data))
    datasets.DatasetDict(validation=rows["validation"]).save_to_disk(tmp_path / "data")
    assert run(tmp_path / "model", tmp_path / "data", "--output", tmp_path / "report") == 0
    captured = capsys.readouterr()
    assert "has no `test` split: `validation` is measured" in captured.err
    assert "threshold 0.55, given; 7 images in validation" in captured.out
    # the same as with other splits beside it
    assert run(tmp_path / "model", saved_data, "--split", "validation", "--output", tmp_path / "second") == 0
    assert results_of(tmp_path / "report", "validation") == results_of(tmp_path / "second", "validation")
    assert run(tmp_path / "model", tmp_path / "data", "--save_threshold") == 1
    assert "transformers-sat calibrate" in capsys.readouterr().err


# What it refuses.


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--localization_threshold", "best"), "'oracle', 'validation'"),
        (("--localization_threshold", "2"), "from 0 to 1, got 2.0"),
        (("--split", "testing"), "no split `testing`.*'test'"),
        (("--split", "validation", "--localization_threshold", "validation"), "cannot be calibrated on the split"),
        (("--split", "validation", "--save_threshold"), "`save_threshold`.*transformers-sat calibrate"),
        (("--max_samples", "0"), "`max_samples`"),
        (("--save_threshold", "--localization_threshold", "oracle"), "`save_threshold`.*Got oracle"),
        (("--save_threshold", "--protocol", "wsoleval"), "`save_threshold`.*wsoleval"),
        (("--ten_crop", "--protocol", "wsoleval"), '`ten_crop` is of the "sat"'),
        (("--label_column_name", "species"), "no column `species`"),
    ],
)
def test_refused(saved_model, saved_data, capsys, arguments, message):
    assert run(saved_model, saved_data, *arguments) == 1
    assert re.search(message, capsys.readouterr().err)


def test_data_without_boxes(saved_model, tmp_path, capsys):
    without = square_split(6, with_boxes=False)
    datasets.DatasetDict(train=without, validation=without, test=square_split(3)).save_to_disk(tmp_path / "data")
    assert run(saved_model, tmp_path / "data") == 1
    assert "validation split" in (error := capsys.readouterr().err) and "`--localization_threshold` a number" in error
    assert run(saved_model, tmp_path / "data", "--split", "train", "--localization_threshold", 0.4) == 1
    assert "`objects` with `bbox`" in capsys.readouterr().err


def test_an_image_that_is_missing(saved_model, tmp_path, capsys):
    rows = two_box_split(4)
    images = [None if row == 2 else image for row, image in enumerate(rows.to_dict()["image"])]
    rows = datasets.Dataset.from_dict(rows.to_dict() | {"image": images}, features=rows.features)
    datasets.DatasetDict(test=rows).save_to_disk(tmp_path / "data")
    assert run(saved_model, tmp_path / "data", "--localization_threshold", 0.4) == 1
    assert "of the split `test` cannot be decoded: row 2: The image is missing" in capsys.readouterr().err


def test_columns_that_are_only_called_like_masks(saved_model, tmp_path):
    """Words, not images: boxes are measured and nothing else."""
    split = two_box_split(6).add_column("mask", ["none"] * 6)
    datasets.DatasetDict(train=split, validation=split, test=split).save_to_disk(tmp_path / "data")
    assert run(saved_model, tmp_path / "data", "--localization_threshold", 0.4, "--output", tmp_path / "output") == 0
    assert "pxap" not in results_of(tmp_path / "output")["sat"]
    assert not list((tmp_path / "output").glob("precision_recall*"))


def test_another_kind_of_model(saved_data, tmp_path, capsys):
    ViTConfig().save_pretrained(tmp_path / "vit")
    assert run(tmp_path / "vit", saved_data) == 1
    assert "is a `vit` model" in capsys.readouterr().err


def test_output_that_is_a_file(saved_model, saved_data, tmp_path, capsys):
    (tmp_path / "taken").write_text("", encoding="utf-8")
    assert run(saved_model, saved_data, "--output", tmp_path / "taken") == 1
    assert "is a file" in capsys.readouterr().err


# What is there after something went wrong.


class DrawingError(Exception):
    pass


def fail(*arguments, **options):
    raise DrawingError("no such glyph")


def test_a_plot_that_fails_loses_nothing(saved_model, saved_data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report_module, "plot_by_class", fail)
    assert (
        run(saved_model, saved_data, "--localization_threshold", 0.4, "--protocol", "both", "--output", tmp_path) == 1
    )
    error = capsys.readouterr().err
    assert "The results are written, but 2 of 12 files could not be drawn" in error
    assert "by_class_sat.png (no such glyph)" in error and "by_class_wsoleval.png" in error
    assert set(results_of(tmp_path)) == set(PROTOCOLS)
    written = {path.name for path in tmp_path.iterdir()}
    kinds = ("thresholds", "by_size", "precision_recall", "worst", "best")
    expected = {f"{kind}_{protocol}.png" for kind in kinds for protocol in PROTOCOLS}
    assert written == expected | {"results.json"} | {f"images_{protocol}.parquet" for protocol in PROTOCOLS}


def test_results_are_there_before_anything_is_drawn(saved_model, saved_data, tmp_path, monkeypatch):
    """Also before the rows of the single images, and after each protocol."""
    monkeypatch.setattr(report_module, "write_images", fail)
    with pytest.raises(DrawingError):
        run(saved_model, saved_data, "--localization_threshold", 0.4, "--output", tmp_path)
    assert results_of(tmp_path)["sat"]["num_images"] == NUM_TEST_IMAGES
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]

    measure = evaluate_module.evaluate_split

    def first_only(model, image_processor, split, *arguments):
        return fail() if split.protocol.name == "wsoleval" else measure(model, image_processor, split, *arguments)

    monkeypatch.setattr(evaluate_module, "evaluate_split", first_only)
    with pytest.raises(DrawingError):
        run(saved_model, saved_data, "--localization_threshold", 0.5, "--protocol", "both", "--output", tmp_path)
    assert results_of(tmp_path)["sat"]["threshold"] == 0.5


def test_a_threshold_is_stored_when_it_is_chosen(saved_model, saved_data, tmp_path, monkeypatch):
    """Not after the measured split, which may take hours and fail."""
    shutil.copytree(saved_model, tmp_path / "model")
    other_files = {path.name: path.read_bytes() for path in saved_model.iterdir() if "processor" not in path.name}
    run_measurement = engine_module.Measurement.run

    def validation_only(self, *arguments, **options):
        return run_measurement(self, *arguments, **options) if self.split.name == "validation" else fail()

    monkeypatch.setattr(engine_module.Measurement, "run", validation_only)
    with pytest.raises(DrawingError):
        run(tmp_path / "model", saved_data, "--localization_thresholds", 0.55, 0.65, "--save_threshold")
    assert AutoImageProcessor.from_pretrained(tmp_path / "model").localization_threshold in (0.55, 0.65)
    for name, content in other_files.items():
        assert (tmp_path / "model" / name).read_bytes() == content


def test_a_crash_while_the_threshold_is_stored_leaves_the_processor(saved_model, saved_data, tmp_path, monkeypatch):
    shutil.copytree(saved_model, tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}

    def half(path, value):
        path.write_bytes(json.dumps(value).encode()[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "write_json", half)
    assert run(tmp_path / "model", saved_data, "--localization_thresholds", 0.55, 0.65, "--save_threshold") == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_maps_that_overflow_are_named(saved_model, saved_data, tmp_path, capsys, monkeypatch):
    predict = engine_module.predict

    def overflowing(*arguments):
        maps, scores, loss = predict(*arguments)
        maps[0] = (torch.arange(maps[0].numel()).reshape(maps[0].shape) % 2) * 3.3e38
        return maps, scores, loss

    monkeypatch.setattr(engine_module, "predict", overflowing)
    settings = ("--localization_threshold", 0.4, "--protocol", "wsoleval", "--batch_size", 4, "--max_samples", 6)
    assert run(saved_model, saved_data, *settings, "--output", tmp_path) == 0
    result = results_of(tmp_path)["wsoleval"]
    ids = pyarrow.parquet.read_table(tmp_path / "images_wsoleval.parquet")["image_id"].to_pylist()
    assert result["num_non_finite_maps"] == 2
    assert result["non_finite_image_ids"] == [ids[0], ids[4]]
    assert f"counted as showing nothing: 2 ({ids[0]}, {ids[4]})" in capsys.readouterr().out


# Names.


def test_class_names_that_mean_something_elsewhere(tmp_path):
    names = [name or "unnamed" for name in HOSTILE_NAMES]
    splits = {}
    for number, split in enumerate(("validation", "test")):
        features = datasets.Features(FEATURES | {"label": datasets.ClassLabel(names=names)})
        rows = square_split(len(names), first=100 * number).to_list()
        splits[split] = datasets.Dataset.from_list(
            [row | {"label": label} for label, row in enumerate(rows)], features=features
        )
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "data")
    tiny_model(num_labels=len(names), id2label=dict(enumerate(names))).save_pretrained(tmp_path / "model")
    small_processor().save_pretrained(tmp_path / "model")
    assert run(tmp_path / "model", tmp_path / "data", "--protocol", "both", "--output", tmp_path / "report") == 0
    assert len(list((tmp_path / "report").glob("*.png"))) == 2 * 5
    rows = pyarrow.parquet.read_table(tmp_path / "report" / "images_sat.parquet").to_pylist()
    assert [row["label_name"] for row in rows] == names


# Several processes.


WORLD_SIZES = (3, 2, 1)

# Six batches, the last of one image: no number of processes above 1 divides the images evenly.
BATCH_SIZE = 2


def measure(model: str, data: str) -> dict:
    """What one process reports: the record with all figures, and what was found in each image."""
    record = evaluate_model(EvaluationOptions(model, data, protocol="both", batch_size=BATCH_SIZE))
    evaluation = evaluate_localization(
        SATForWeaklySupervisedLocalization.from_pretrained(model),
        AutoImageProcessor.from_pretrained(model),
        datasets.load_from_disk(data)["test"],
        localization_threshold="oracle",
        batch_size=BATCH_SIZE,
    )
    maps = evaluation.maps.tolist()
    return {"record": record, "images": evaluation.images, "maps": maps, "curve": evaluation.precision_recall}


def run_process(rank: int, ports: dict[int, int], model: str, data: str, folder: str):
    """One of three processes, which work all together, then two of them, then one."""
    torch.set_num_threads(1)
    for world_size in WORLD_SIZES:
        if rank >= world_size:
            continue
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world_size),
            "LOCAL_WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(ports[world_size]),
            "ACCELERATE_USE_CPU": "true",
        }
        seen = measure(model, data)
        assert torch.distributed.get_world_size() == PartialState().num_processes == world_size
        with open(f"{folder}/{rank}_of_{world_size}.json", "w", encoding="utf-8") as file:
            json.dump(seen, file)
        torch.distributed.destroy_process_group()
        PartialState._reset_state()


@pytest.mark.multiprocess
def test_processes_report_as_one(saved_model, saved_data, tmp_path):
    ports = {}
    for world_size in WORLD_SIZES:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports[world_size] = probe.getsockname()[1]
    arguments = (ports, str(saved_model), str(saved_data), str(tmp_path))
    torch.multiprocessing.spawn(run_process, args=arguments, nprocs=max(WORLD_SIZES))
    expected = None
    for world_size in sorted(WORLD_SIZES):
        for rank in range(world_size):
            seen = json.loads((tmp_path / f"{rank}_of_{world_size}.json").read_text(encoding="utf-8"))
            assert seen["record"].pop("num_processes") == world_size
            # every figure and every image to the last digit, on each process
            expected = expected or seen
            assert seen == expected
    assert expected["record"]["results"]["test"]["sat"]["num_images"] == NUM_TEST_IMAGES
    assert [image["row"] for image in expected["images"]] == list(range(NUM_TEST_IMAGES))


@pytest.mark.slow
@pytest.mark.multiprocess
def test_under_accelerate_launch(saved_model, saved_data, tmp_path):
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += [
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "0",
    ]
    command = [
        "-m",
        "transformers_sat.cli",
        "evaluate",
        str(saved_model),
        str(saved_data),
        "--batch_size",
        str(BATCH_SIZE),
    ]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, *command, "--output", str(tmp_path / "two")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # one of the two reports
    assert done.stdout.count("protocol sat at 32 px") == 1
    record = read_results(tmp_path / "two" / "results.json")
    assert record["num_processes"] == 2
    assert run(saved_model, saved_data, "--batch_size", str(BATCH_SIZE), "--output", tmp_path / "alone") == 0
    assert record["results"] == read_results(tmp_path / "alone" / "results.json")["results"]
