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

import copy
import json
import platform
import re

import numpy as np
import pytest
import torch
from transformers import TrainingArguments

import transformers_sat
from transformers_sat.results import (
    caption,
    format_table,
    measured,
    public_name,
    read_results,
    results_record,
    summary,
    training_record,
    versions,
    with_pixels,
    write_results,
)


FIGURES = {
    "protocol": "sat",
    "image_size": 64,
    "num_images": 600,
    "threshold_choice": "validation",
    "threshold": 0.35,
    "top1_cls": 91.25,
    "gt_known_loc": 97.0,
    "top5_loc": None,
    "iou30": 100.0,
    "whole_image": {"gt_known_loc": 28.04},
    "center_box": {"side": 40, "gt_known_loc": 30.5},
}


def cells_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line]


def test_round_trip(tmp_path):
    results = {"validation": {"sat": FIGURES}, "test": {"sat": FIGURES | {"iou_threshold_choices": {"iou30": 0.1}}}}
    fields = {"command": "a script", "model": "a/b", "seed": 3, "train_seconds": 7, "license": None}
    record = results_record(results, **fields)
    assert record["schema_version"] == 1
    assert record["versions"]["transformers_sat"] == transformers_sat.__version__
    write_results(tmp_path / "results.json", record)
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert written == record == read_results(tmp_path / "results.json")
    assert written["results"] == results and fields.items() <= written.items()


VALID = {"schema_version": 1, "seed": 1, "results": {"test": {"sat": FIGURES}}}


def changed(path: str, value) -> dict:
    """The valid record with another value at a place."""
    record = copy.deepcopy(VALID)
    *folders, name = path.split("/")
    inner = record
    for folder in folders:
        inner = inner[folder]
    inner[name] = value
    return record


@pytest.mark.parametrize(
    ("record", "message"),
    [
        # what earlier versions of the two writers left: a split, or protocols, where they are no more
        (
            {"model": "a/b", "test": FIGURES},
            "`schema_version` must be 1, it has no such field.*transformers-sat evaluate",
        ),
        ({"results": {"sat": FIGURES}}, "`schema_version` must be 1"),
        (changed("results", {"sat": FIGURES}), "`results.sat.protocol` must be an object, got 'sat'"),
        (changed("schema_version", 2), "`schema_version` must be 1, got 2"),
        (changed("schema_version", True), "`schema_version` must be 1, got True"),
        (changed("schema_version", "1"), "`schema_version` must be 1, got '1'"),
        (changed("licence", "mit"), "no field 'licence' in version 1"),
        (changed("seed", "1"), "`seed` must be a number without a fraction, got '1'"),
        (changed("seed", 1.5), "`seed` must be a number"),
        (changed("training", []), "`training` must be an object"),
        (changed("results", None), "`results` must be an object, got None"),
        (changed("results/test", [FIGURES]), "`results.test` must be an object"),
        (
            changed("results/test/wsoleval", FIGURES),
            "`results.test.wsoleval.protocol` must be 'wsoleval' too, got 'sat'",
        ),
        (
            changed("results/test/sat/gt_known_loc", "97.0"),
            "`results.test.sat.gt_known_loc` must be a number, got '97.0'",
        ),
        (changed("results/test/sat/gt_known_loc", float("nan")), "`results.test.sat.gt_known_loc`.*nan"),
        (changed("results/test/sat/pxap", {"pxap": 1.0}), "`results.test.sat.pxap` must be a number"),
        (changed("results/test/sat/threshold", "oracle"), "`results.test.sat.threshold` must be a number"),
        (
            changed("results/test/sat/threshold_choice", "best"),
            "threshold_choice` must be one of validation, oracle, fixed, got 'best'",
        ),
        (changed("results/test/sat/threshold_choice", []), "threshold_choice` must be one of validation"),
        (changed("results/test/sat/num_images", "many"), "`results.test.sat.num_images` must be"),
        (changed("results/test/sat/center_box/iou30", True), "`results.test.sat.center_box.iou30` must be a number"),
        (changed("results/test/sat/whole_image", 28.0), "`results.test.sat.whole_image` must be an object"),
        ([], "must be an object, got \\[\\]"),
        ("text", "must be an object"),
    ],
)
def test_refused(tmp_path, record, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ValueError) as raised:
        read_results(path)
    text = str(raised.value)
    assert re.search(message, text) and str(path) in text and "\n" not in text
    path.unlink()
    with pytest.raises(ValueError):
        write_results(path, record)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b'{"schema_version": 1,', b"\xff\xfe", b"[" * 100_000])
def test_not_json(tmp_path, content):
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"results\.json is not JSON") as raised:
        read_results(tmp_path / "results.json")
    assert "\n" not in str(raised.value)


def test_a_name_with_more_than_one_line():
    """What somebody else wrote stands in the message, as one line."""
    with pytest.raises(ValueError) as raised:
        results_record({"te\nst": {"sat": {"gt_known_loc": "\n"}}})
    assert "\n" not in str(raised.value)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_results(tmp_path / "results.json")


def test_the_order_of_the_splits():
    figures = {name: {} for name in ("sat", "wsoleval")}
    record = results_record({"validation": {"sat": {}}, "extra": {"sat": {}}, "test": figures})
    assert [(split, protocol) for split, protocol, _ in measured(record)] == [
        ("test", "sat"),
        ("test", "wsoleval"),
        ("extra", "sat"),
        ("validation", "sat"),
    ]


def test_table():
    rows = {"SAT, test": FIGURES, "whole image": FIGURES["whole_image"]}
    table = format_table(rows)
    cells = cells_of(table)
    # figures that no row has are no column, those that a row has not are a dash
    assert cells[0] == ["", "Top-1 Cls", "GT-known Loc", "IoU .3"]
    assert cells[2] == ["SAT, test", "91.2", "97.0", "100.0"]
    assert cells[3] == ["whole image", "-", "28.0", "-"]
    # readable as text, too
    assert len({len(line) for line in table.splitlines()}) == 1


def test_pixels_stand_beside_the_other_figures():
    pixels = {"pxap": 84.25, "whole_image": {"pxap": 20.0}, "center": {"pxap": 30.0}, "num_images": 9}
    figures = with_pixels(FIGURES, pixels)
    assert figures["pxap"] == 84.25 and figures["center"] == {"pxap": 30.0}
    assert figures["whole_image"] == {"gt_known_loc": 28.04, "pxap": 20.0}
    assert figures["num_images"] == 600 and "pxap" not in FIGURES["whole_image"]
    table, _ = summary({"test": {"sat": figures}}).split("\n\n")
    assert [(row[0], row[-1]) for row in cells_of(table) if "---" not in row[0]] == [
        ("", "PxAP"),
        ("SAT, test", "84.2"),
        ("whole image, test", "20.0"),
        ("best centre box, test", "-"),
        ("centred map, test", "30.0"),
    ]
    # alone, as on data that have masks and no boxes
    assert with_pixels({}, pixels) == {"pxap": 84.25, "whole_image": {"pxap": 20.0}, "center": {"pxap": 30.0}}


def test_summary():
    """A table for each protocol, and a line for each split."""
    other = FIGURES | {"protocol": "wsoleval", "threshold_choice": "oracle", "max_box_acc": 97.0, "ten_crop": True}
    chosen = FIGURES | {"threshold_choice": "oracle", "num_images": 300}
    text = summary({"validation": {"sat": chosen}, "test": {"sat": FIGURES, "wsoleval": other}})
    sat, said, wsoleval, said_too = text.split("\n\n")
    assert [row[0] for row in cells_of(sat)[2:]] == [
        *("SAT, validation", "SAT, test", "whole image, test", "best centre box, test"),
    ]
    assert said.splitlines() == [
        "percent; protocol sat at 64 px; threshold 0.35, the best on these very images; 300 images in validation",
        "percent; protocol sat at 64 px; threshold 0.35, chosen on the validation split; 600 images in test",
    ]
    assert [row[0] for row in cells_of(wsoleval)[2:]] == ["SAT, test", "whole image, test", "best centre box, test"]
    assert said_too.endswith("600 images in test; MaxBoxAcc 97.0; class of ten crops")


def test_caption_of_a_classification():
    assert caption({"num_images": 5, "top1_cls": 80.0}, "test") == "percent; 5 images in test"


@pytest.mark.parametrize("count, said", [(0, ""), (1, "; not finite: 1 map, "), (3, "; not finite: 3 maps, ")])
def test_maps_that_are_not_finite_are_spoken_of(count, said):
    text = caption(FIGURES | {"num_non_finite_maps": count}, "test")
    assert (said in text) if said else ("not finite" not in text)


def test_versions():
    found = versions()
    assert found["torch"] == torch.__version__ and found["numpy"] == np.__version__
    assert found["python"] == platform.python_version()


def test_training_record(tmp_path):
    arguments = TrainingArguments(
        str(tmp_path),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=3,
        learning_rate=0.25,
        lr_scheduler_type="cosine",
        num_train_epochs=2,
        seed=7,
        use_cpu=True,
    )
    record = training_record(arguments)
    settings = {"learning_rate": 0.25, "lr_scheduler_type": "cosine", "batch_size": 12, "num_train_epochs": 2}
    assert record["training"].items() >= (settings | {"seed": 7, "precision": "float32"}).items()
    assert "max_steps" not in record["training"]
    assert record["hardware"] == f"1 process on {platform.machine()} cpu"
    assert "area_loss" not in record["training"]
    assert training_record(arguments, area_loss_per_micro_batch=True)["training"]["area_loss"]
    # both go into a record, and that into a file
    write_results(tmp_path / "results.json", results_record({}, **record))
    arguments.gradient_accumulation_steps = 1
    assert "area_loss" not in training_record(arguments, area_loss_per_micro_batch=True)["training"]
    arguments.max_steps = 5
    assert training_record(arguments)["training"]["max_steps"] == 5
    assert "num_train_epochs" not in training_record(arguments)["training"]


def test_what_others_may_read_of_a_name(tmp_path):
    assert public_name("facebook/deit-small-patch16-224") == "facebook/deit-small-patch16-224"
    assert public_name(str(tmp_path / "my insects")) == "my insects"
    assert public_name(None) is None
