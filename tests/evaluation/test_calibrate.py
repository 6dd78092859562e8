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
"""`transformers-sat calibrate`: what it chooses, what it writes, and what it leaves alone."""

import json
import re
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from small_evaluation import two_box_split, with_masks
from square_images import square_split

from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor, safe_loading
from transformers_sat.cli import main
from transformers_sat.evaluation import evaluate_localization
from transformers_sat.evaluation.calibrate import OTSU_SHARE
from transformers_sat.hub.publishing import save_with_remote_code
from transformers_sat.metrics import get_protocol
from transformers_sat.safe_loading import ModelFiles
from transformers_sat.saving import save_threshold


def run(*arguments) -> int:
    return main(["calibrate", *map(str, arguments)])


def threshold_of(folder: Path) -> float:
    return json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))["localization_threshold"]


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def published(saved_model, tmp_path_factory) -> Path:
    """A model folder with code, pipeline, handler and card, and its owner's file."""
    folder = tmp_path_factory.mktemp("published") / "model"
    model = SATForWeaklySupervisedLocalization.from_pretrained(saved_model)
    save_with_remote_code(model, SATImageProcessor.from_pretrained(saved_model), folder)
    (folder / "notes.txt").write_text("mine\n", encoding="utf-8")
    return folder


@pytest.fixture
def model(published, tmp_path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "model"))


def check_only_the_threshold_changed(before: dict[str, bytes], folder: Path, threshold: float):
    after = contents_of(folder)
    assert after.keys() == before.keys()
    for name, content in before.items():
        if name != "preprocessor_config.json":
            assert after[name] == content, name
    settings = json.loads(before["preprocessor_config.json"])
    assert json.loads(after["preprocessor_config.json"]) == settings | {"localization_threshold": threshold}


def test_by_boxes(model, saved_model, saved_data, capsys):
    """The threshold that a training run, or `evaluate`, would store, and the figures at both."""
    save_threshold(model, 0.33)
    before = contents_of(model)
    assert run(model, saved_data) == 0
    validation = datasets.load_from_disk(str(saved_data))["validation"]
    network, processor = (
        SATForWeaklySupervisedLocalization.from_pretrained(saved_model),
        SATImageProcessor.from_pretrained(saved_model),
    )
    expected = evaluate_localization(network, processor, validation, localization_threshold="oracle").result
    check_only_the_threshold_changed(before, model, expected["threshold"])
    printed = capsys.readouterr().out
    assert f"0.33 -> {expected['threshold']:g}, the best of 19 on the 7 images of `validation`" in printed
    at_old = evaluate_localization(network, processor, validation, localization_threshold=0.33).result
    assert "GT-known Loc" in printed
    for heading, figures in (("at 0.33", at_old), (f"at {expected['threshold']:g}", expected)):
        (row,) = [line for line in printed.splitlines() if line.startswith(f"| {heading} ")]
        assert f" {figures['gt_known_loc']:.1f} " in row and f" {figures['iou30']:.1f} " in row


def test_the_old_threshold_is_not_among_the_choices(model, saved_data):
    """What stands there does not change what is chosen."""
    save_threshold(model, 0.001)
    assert run(model, saved_data, "--localization_thresholds", 0.9, 0.95) == 0
    assert threshold_of(model) in (0.9, 0.95)


def test_a_number_needs_no_data(model, capsys):
    before = contents_of(model)
    assert run(model, "--localization_threshold", 0.25) == 0
    check_only_the_threshold_changed(before, model, 0.25)
    assert "0.4 -> 0.25, given" in capsys.readouterr().out


def test_a_number_with_its_figures(model, saved_data, capsys):
    assert run(model, saved_data, "--split", "test", "--localization_threshold", 0.25) == 0
    printed = capsys.readouterr().out
    assert threshold_of(model) == 0.25 and "| at 0.25 " in printed and "| at 0.4 " in printed


def test_by_masks_alone(model, tmp_path, capsys):
    """The threshold with the best IoU of all pixels, where boxes are lacking."""
    rows = with_masks(two_box_split(4)).remove_columns(["objects", "ignore_mask"])
    datasets.DatasetDict(validation=rows).save_to_disk(tmp_path / "data")
    assert run(model, tmp_path / "data") == 0
    evaluation = evaluate_localization(
        SATForWeaklySupervisedLocalization.from_pretrained(model), SATImageProcessor.from_pretrained(model), rows
    )
    protocol, ious = get_protocol("wsoleval"), {}
    maps = [protocol.map_in_frame(torch.from_numpy(one), 32) for one in evaluation.maps]
    # the crop that the model saw
    truth = [get_protocol("sat").mask_in_frame(np.asarray(mask) > 0, 32) for mask in rows["mask"]]
    for threshold in np.arange(1, 20) / 20:
        pairs = [(np.asarray(one) >= threshold, mask) for one, mask in zip(maps, truth, strict=True)]
        both, either = (sum(op(*pair).sum() for pair in pairs) for op in (np.logical_and, np.logical_or))
        ious[threshold] = both / either
    assert threshold_of(model) == pytest.approx(max(ious, key=ious.get))
    assert f"{100 * max(ious.values()):.1f}" in capsys.readouterr().out


@pytest.mark.parametrize("labelled", [False, True])
def test_by_otsu(model, saved_data, tmp_path, capsys, labelled):
    """Half of the threshold that parts the values of all maps; without classes or boxes, and the same with them."""
    rows = datasets.load_from_disk(str(saved_data))["validation"]
    data = rows if labelled else rows.remove_columns(["label", "objects"]).rename_column("image", "photo")
    datasets.DatasetDict({"validation" if labelled else "train": data}).save_to_disk(tmp_path / "data")
    options = () if labelled else ("--image_column_name", "photo")
    before = contents_of(model)
    assert run(model, tmp_path / "data", "--method", "otsu", *options) == 0
    maps = evaluate_localization(
        SATForWeaklySupervisedLocalization.from_pretrained(model),
        SATImageProcessor.from_pretrained(model),
        rows,
        localization_threshold=0.4,
    ).maps
    values = np.sort(np.stack([get_protocol("sat").map_in_frame(torch.from_numpy(one), 32) for one in maps]).ravel())
    # the split of the sorted values with the least variance inside of its halves
    inside = {
        index: index * values[:index].var() + (len(values) - index) * values[index:].var()
        for index in range(1, len(values), 7)
    }
    expected = values[min(inside, key=inside.get)]
    assert threshold_of(model) == pytest.approx(OTSU_SHARE * expected, abs=0.01)
    check_only_the_threshold_changed(before, model, threshold_of(model))
    printed = capsys.readouterr().out
    assert "0.5 of Otsu's threshold" in printed and "of 7 maps" in printed
    assert ("GT-known Loc" in printed) == labelled


def test_a_copy(model, saved_data, tmp_path):
    before = contents_of(model)
    assert run(model, saved_data, "--output", tmp_path / "copy", "--localization_thresholds", 0.85) == 0
    assert contents_of(model) == before
    check_only_the_threshold_changed(before, tmp_path / "copy", 0.85)


def test_where_the_processor_stands_elsewhere(model):
    """`processor_config.json` is what Transformers reads first; the other place that names the threshold follows."""
    settings = json.loads((model / "preprocessor_config.json").read_text(encoding="utf-8"))
    (model / "processor_config.json").write_text(json.dumps({"image_processor": settings}), encoding="utf-8")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps(config | {"localization_threshold": 0.4}), encoding="utf-8")
    assert save_threshold(model, 0.7) == ["processor_config.json", "preprocessor_config.json", "config.json"]
    assert threshold_of(model) == 0.7
    processor = json.loads((model / "processor_config.json").read_text(encoding="utf-8"))["image_processor"]
    assert processor == settings | {"localization_threshold": 0.7}
    assert json.loads((model / "config.json").read_text(encoding="utf-8")) == config | {"localization_threshold": 0.7}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "Name a data set"),
        (("--localization_threshold", "1.5"), "from 0 to 1, got 1.5"),
        (("--localization_threshold", "nan"), "from 0 to 1, got nan"),
        (("{data}", "--localization_threshold", "0.3", "--method", "otsu"), "the threshold itself"),
        (("{data}", "--method", "otsu", "--localization_thresholds", "0.3"), "chooses by itself"),
        (("{data}", "--localization_thresholds", "1.5"), "numbers from 0 to 1"),
        (("{data}", "--max_samples", "0"), "`--max_samples`"),
        (("{data}", "--split", "testing"), "no split `testing`.*'test'"),
        (("{data}", "--split", "testing", "--method", "otsu"), "no split `testing`.*'test'"),
        (("{data}", "--method", "otsu", "--image_column_name", "photo"), "no column `photo`"),
        (("{data}", "--output", "{model}"), "new or empty folder"),
        (("{data}", "--output", "{model}/copy"), "outside of the model"),
    ],
)
def test_refused(model, saved_data, capsys, arguments, message):
    before = contents_of(model)
    assert run(model, *(word.format(data=saved_data, model=model) for word in arguments)) == 1
    assert re.search(message, capsys.readouterr().err)
    assert contents_of(model) == before


def test_neither_boxes_nor_masks(model, tmp_path, capsys):
    datasets.DatasetDict(validation=square_split(3, with_boxes=False)).save_to_disk(tmp_path / "data")
    assert run(model, tmp_path / "data") == 1
    assert "--method otsu" in capsys.readouterr().err
    assert run(model, tmp_path / "data", "--localization_threshold", "0.3") == 1
    assert "leave out the data set" in (said := capsys.readouterr().err) and "otsu" not in said


def test_a_model_that_is_not_here(capsys):
    assert run("org/name", "--localization_threshold", 0.3) == 1
    assert "`--output`" in capsys.readouterr().err


def test_a_copy_of_a_model_on_the_hub(published, tmp_path, monkeypatch):
    """What the Hub's cache has as links becomes files; pickles stay where they are."""
    cache = tmp_path / "snapshot"
    cache.mkdir()
    for path in published.iterdir():
        (cache / path.name).symlink_to(path)
    (cache / "pytorch_model.bin").write_bytes(b"pickle")
    monkeypatch.setattr(safe_loading, "snapshot_download", lambda name, **options: str(cache))
    ModelFiles("org/name").copy_to(tmp_path / "copy")
    assert contents_of(tmp_path / "copy") == contents_of(published)
    assert not any(path.is_symlink() for path in (tmp_path / "copy").iterdir())
