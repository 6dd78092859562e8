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
"""LocalizationTrainer as a user of Trainer expects it, on rows in the schema."""

import copy
import logging
import os
import socket

import datasets
import numpy as np
import pytest
import torch
from sat_testing import tiny_model
from small_training import PROCESSOR, SIZE, weight_bytes
from square_images import CLASS_NAMES, square_split
from transformers import EarlyStoppingCallback, TrainingArguments, ViTImageProcessor

from transformers_sat import SATImageProcessor
from transformers_sat.data import LocalizationDataset, TrainingAugmentation
from transformers_sat.evaluation import EvaluationSettings, evaluate_localization
from transformers_sat.training import LocalizationTrainer


def model_of(classes=CLASS_NAMES, **overrides):
    return tiny_model(
        gain=3.0, num_labels=len(classes), id2label=dict(enumerate(classes)), drop_path_rate=0.0, **overrides
    )


def processor_at(threshold: float) -> SATImageProcessor:
    return SATImageProcessor(size=SIZE, crop_size=SIZE, localization_threshold=threshold)


def trainer_of(output_dir, model=None, train_dataset=None, eval_dataset=None, callbacks=None, **others):
    names = (
        "augmentation",
        "evaluation_settings",
        "processing_class",
        "compute_metrics",
        "preprocess_logits_for_metrics",
    )
    given = {name: others.pop(name) for name in names if name in others}
    arguments = {
        "max_steps": 3,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "logging_steps": 1,
        "use_cpu": True,
        "disable_tqdm": True,
    } | others
    return LocalizationTrainer(
        model or model_of(),
        TrainingArguments(output_dir=str(output_dir), **arguments),
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        callbacks=callbacks,
        **({"processing_class": PROCESSOR} | given),
    )


@pytest.fixture(scope="module")
def train_rows() -> datasets.Dataset:
    return square_split(12)


@pytest.fixture(scope="module")
def eval_rows() -> datasets.Dataset:
    """An odd number: the last batch has two images."""
    return square_split(10, first=50)


# Training.


def test_rows_are_trained_on_as_the_paper_does(train_rows, tmp_path):
    """The weights of a run on rows are those of one on the data set that they are made into."""
    undecoded = train_rows.cast_column("image", datasets.Image(decode=False))
    wrapped = LocalizationDataset(undecoded, PROCESSOR, augmentation=TrainingAugmentation(32), seed=7)
    for name, data in (("rows", train_rows), ("wrapped", wrapped)):
        trainer = trainer_of(tmp_path / name, train_dataset=data, seed=7)
        trainer.train()
        trainer.save_model()
    assert weight_bytes(tmp_path / "rows") == weight_bytes(tmp_path / "wrapped")
    assert trainer.train_dataset is wrapped
    # another augmentation gives others
    trainer = trainer_of(
        tmp_path / "other", train_dataset=train_rows, seed=7, augmentation=TrainingAugmentation(32, max_rotation=40.0)
    )
    trainer.train()
    trainer.save_model()
    assert weight_bytes(tmp_path / "other") != weight_bytes(tmp_path / "rows")


def test_a_stream_of_rows(train_rows, tmp_path):
    """With as many shards as workers may want, and no known length."""
    trainer = trainer_of(tmp_path, train_dataset=train_rows.to_iterable_dataset(num_shards=3), max_steps=4)
    trainer.train()
    assert trainer.state.global_step == 4


def test_classes_have_the_models_numbers(train_rows, eval_rows, tmp_path):
    """In training and in evaluation alike."""
    classes = ["blue", "other", "red", "green"]
    trainer = trainer_of(tmp_path, model_of(classes), train_dataset=train_rows, eval_dataset=eval_rows)
    expected = [classes.index(CLASS_NAMES[label]) for label in train_rows["label"]]
    assert [trainer.train_dataset[row]["labels"].item() for row in range(len(train_rows))] == expected
    found = trainer.predict(eval_rows).label_ids
    assert found.tolist() == [classes.index(CLASS_NAMES[label]) for label in eval_rows["label"]]


# Evaluation.


def mean_loss(model, rows: datasets.Dataset, batch_size: int) -> float:
    """Over the images, each with the loss of its batch, as Trainer has it."""
    data = LocalizationDataset(rows.cast_column("image", datasets.Image(decode=False)), PROCESSOR, protocol="sat")
    total = 0.0
    for first in range(0, len(rows), batch_size):
        examples = [data[row] for row in range(first, min(first + batch_size, len(rows)))]
        batch = {name: torch.stack([example[name] for example in examples]) for name in ("pixel_values", "labels")}
        with torch.no_grad():
            total += len(examples) * model.eval()(**batch).loss.item()
    return total / len(rows)


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
def test_evaluation_of_rows(eval_rows, tmp_path, protocol):
    """The figures of `evaluate_localization` at the best threshold, with the loss; nothing of the images is kept."""
    settings = {"protocol": protocol, "localization_threshold": "oracle", "localization_thresholds": [0.3, 0.5, 0.7]}
    model = model_of()
    trainer = trainer_of(
        tmp_path,
        model,
        eval_dataset=eval_rows,
        evaluation_settings=EvaluationSettings(**settings, keep_images=False),
    )
    found = trainer.evaluate()
    expected = evaluate_localization(model, PROCESSOR, eval_rows, batch_size=4, **settings).result
    assert {"eval_gt_known_loc", "eval_top1_loc", "eval_top1_cls", "eval_threshold", "eval_iou30"} <= set(found)
    for name, value in found.items():
        figure = name.removeprefix("eval_")
        if figure in expected:
            assert value == expected[figure], name
    assert {"eval_runtime", "eval_samples_per_second"} <= set(found)
    if protocol == "sat":
        assert found["eval_loss"] == pytest.approx(mean_loss(model, eval_rows, 4), abs=1e-5)
    assert trainer.last_evaluation.result["whole_image"] == expected["whole_image"]
    assert trainer.last_evaluation.images == []
    logged = trainer.state.log_history[-1]
    assert logged["eval_gt_known_loc"] == found["eval_gt_known_loc"]


def test_evaluation_while_training_changes_nothing(train_rows, eval_rows, tmp_path):
    for name, others in (
        ("plain", {}),
        ("evaluated", {"eval_dataset": eval_rows, "eval_strategy": "steps", "eval_steps": 1}),
    ):
        trainer = trainer_of(tmp_path / name, train_dataset=train_rows, **others)
        trainer.train()
        trainer.save_model()
    assert weight_bytes(tmp_path / "plain") == weight_bytes(tmp_path / "evaluated")
    assert sum("eval_loss" in entry for entry in trainer.state.log_history) == 3
    assert trainer.model.training


def test_several_sets_of_rows(eval_rows, tmp_path):
    trainer = trainer_of(tmp_path, eval_dataset={"all": eval_rows, "few": eval_rows.select(range(3))})
    found = trainer.evaluate()
    single = trainer_of(tmp_path, eval_dataset=eval_rows.select(range(3))).evaluate()
    assert found["eval_few_gt_known_loc"] == single["eval_gt_known_loc"]
    assert found["eval_few_loss"] == pytest.approx(single["eval_loss"])
    assert "eval_all_gt_known_loc" in found and "eval_gt_known_loc" not in found


def test_the_best_model_and_early_stopping(train_rows, eval_rows, tmp_path):
    """With steps that are far too long, the first evaluation is not beaten: training stops, and goes back to it."""
    kept = {}

    class Keeping(LocalizationTrainer):
        def evaluate(self, *args, **kwargs):
            kept[self.state.global_step] = copy.deepcopy(self.model.state_dict())
            return super().evaluate(*args, **kwargs)

    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=9,
        per_device_train_batch_size=4,
        learning_rate=0.3,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="gt_known_loc",
        use_cpu=True,
        disable_tqdm=True,
    )
    model = model_of()
    trainer = Keeping(
        model,
        arguments,
        train_dataset=train_rows,
        eval_dataset=eval_rows,
        processing_class=PROCESSOR,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
    )
    trainer.train()
    assert trainer.state.global_step < 9
    scores = {entry["step"]: entry["eval_gt_known_loc"] for entry in trainer.state.log_history if "eval_loss" in entry}
    best = trainer.state.best_global_step
    assert scores[best] == max(scores.values()) and best < trainer.state.global_step
    for name, tensor in kept[best].items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_the_best_model_is_chosen_by_a_figure_that_there_is(eval_rows, tmp_path):
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="foo",
        use_cpu=True,
    )
    given = {"args": arguments, "processing_class": PROCESSOR}
    with pytest.raises(ValueError, match="`metric_for_best_model` must be one of loss,.* gt_known_loc,.* got foo"):
        LocalizationTrainer(model_of(), eval_dataset=eval_rows, **given)
    with pytest.raises(ValueError, match="one of small_loss, small_top1_cls"):
        LocalizationTrainer(model_of(), eval_dataset={"small": eval_rows.remove_columns("objects")}, **given)
    # all that an evaluation gives is known
    figures = LocalizationTrainer(model_of(), eval_dataset=eval_rows, **replaced(given, "loss")).evaluate()
    for name in figures:
        if not name.endswith(("epoch", "runtime", "_per_second", "preparation_time")):
            LocalizationTrainer(model_of(), eval_dataset=eval_rows, **replaced(given, name))


def replaced(given: dict, metric: str) -> dict:
    arguments = copy.copy(given["args"])
    arguments.metric_for_best_model = metric
    return given | {"args": arguments}


def test_rows_without_boxes(eval_rows, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = trainer_of(tmp_path, eval_dataset=eval_rows.remove_columns("objects"))
    assert "localization cannot be measured" in caplog.text and "only the classification" in caplog.text
    found = trainer.evaluate()
    figures = {name for name in found if name.endswith(("_cls", "_loc", "_loss")) or "iou" in name}
    assert figures == {"eval_top1_cls", "eval_loss"}


# Prediction.


def test_prediction_of_rows(eval_rows, tmp_path):
    """Logits and maps in the order of the rows, and the figures at the processor's threshold."""
    model, processor = model_of(), processor_at(0.55)
    trainer = trainer_of(tmp_path, model, processing_class=processor)
    found = trainer.predict(eval_rows)
    logits, maps = found.predictions
    data = LocalizationDataset(eval_rows.cast_column("image", datasets.Image(decode=False)), processor, protocol="sat")
    for row in range(len(eval_rows)):
        with torch.no_grad():
            outputs = model.eval()(pixel_values=data[row]["pixel_values"][None])
        np.testing.assert_allclose(logits[row], outputs.logits[0], atol=1e-5)
        np.testing.assert_allclose(maps[row], outputs.localization_map[0], atol=1e-5)
    assert found.label_ids.tolist() == eval_rows["label"][:]
    expected = evaluate_localization(model, processor, eval_rows, localization_threshold=0.55, batch_size=4).result
    assert found.metrics["test_threshold"] == 0.55
    assert found.metrics["test_gt_known_loc"] == expected["gt_known_loc"]
    assert found.metrics["test_top1_cls"] == expected["top1_cls"]

    unlabelled = trainer.predict(eval_rows.select_columns("image"))
    assert unlabelled.label_ids is None
    for one, other in zip(unlabelled.predictions, found.predictions, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not any("loss" in name or "loc" in name or "cls" in name for name in unlabelled.metrics)


# What is refused.


def with_value(rows: datasets.Dataset, column: str, value) -> datasets.Dataset:
    """The rows, with another value in the second one."""
    rows = rows.cast_column("image", datasets.Image(decode=False))
    feature = rows.features[column]
    values = rows[column][:]
    values[1] = value
    return rows.remove_columns(column).add_column(column, values, feature=feature)


MULTI_LABEL = model_of(problem_type="multi_label_classification")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"train_dataset": square_split(3).rename_column("label", "kind")}, "`train_dataset` has no column `label`"),
        ({"train_dataset": square_split(3).rename_column("image", "photo")}, "`train_dataset` has no column `image`"),
        ({"eval_dataset": square_split(3).remove_columns("label")}, "row 0 has no class.*`label`"),
        ({"eval_dataset": square_split(3).select([])}, "has no images"),
        ({"eval_dataset": square_split(3).to_iterable_dataset()}, "A stream cannot be measured"),
        ({"train_dataset": square_split(3), "processing_class": None}, "SATImageProcessor.*got NoneType"),
        ({"eval_dataset": square_split(3), "processing_class": ViTImageProcessor()}, "SATImageProcessor"),
        ({"eval_dataset": square_split(3), "compute_metrics": lambda prediction: {}}, "`compute_metrics`"),
        ({"eval_dataset": square_split(3), "preprocess_logits_for_metrics": max}, "`preprocess_logits_for_metrics`"),
        ({"train_dataset": square_split(4).select([])}, "`train_dataset` has no images"),
        ({"train_dataset": square_split(4).select([0, 3])}, r"a single class \(red\)"),
        ({"train_dataset": with_value(square_split(3), "label", -1)}, "`train_dataset`, row 1: `label` is -1"),
        ({"train_dataset": with_value(square_split(3), "image", None)}, "1 of the 3 images of `train_dataset`.*row 1"),
        ({"eval_dataset": with_value(square_split(3), "image", None)}, "1 of the 3 images of `eval_dataset`.*row 1"),
        ({"train_dataset": square_split(3), "model": MULTI_LABEL}, "is multi-label, and rows have one class each"),
        ({"eval_dataset": square_split(3), "model": MULTI_LABEL}, "is multi-label"),
        ({"train_dataset": square_split(3), "model": model_of(["red", "pink", "grey"])}, "no class for 2"),
    ],
)
def test_what_is_refused_before_any_training(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        trainer_of(tmp_path, **given)


# Several processes.


def test_batches_that_are_larger_than_the_data(tmp_path):
    trainer = trainer_of(tmp_path, train_dataset=square_split(3), dataloader_drop_last=True)
    with pytest.raises(ValueError, match="`dataloader_drop_last` leaves nothing to train on: a batch is 4 .* are 3"):
        trainer.train()


def measured(folder: str) -> dict:
    trainer = trainer_of(folder, processing_class=processor_at(0.55))
    rows = square_split(10, first=50)
    metrics = trainer.evaluate(rows)
    prediction = trainer.predict(rows)
    figures = {name: value for name, value in (metrics | prediction.metrics).items() if "per_second" not in name}
    return {
        "figures": {name: value for name, value in figures.items() if "time" not in name},
        "predictions": [array.tolist() for array in prediction.predictions],
        "labels": prediction.label_ids.tolist(),
    }


def run_process(rank: int, port: int, folder: str):
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.save(measured(folder), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.multiprocess
def test_two_processes_measure_as_one(tmp_path):
    """Three batches, the last one smaller: each image once, to the last digit, on each process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(run_process, args=(port, str(tmp_path)), nprocs=2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = measured(str(tmp_path))
    torch.set_num_threads(threads)
    assert {"eval_loss", "eval_gt_known_loc", "test_top1_loc"} <= set(expected["figures"])
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == expected
