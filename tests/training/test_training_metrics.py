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
"""The metrics as Trainer calls them, batch by batch, against one call on the union of the batches."""

import numpy as np
import pytest
import torch
from transformers import EvalPrediction

from transformers_sat.metrics import BoxAccuracy
from transformers_sat.results import caption
from transformers_sat.training import LocalizationMetrics


THRESHOLDS = [0.2, 0.4, 0.6, 0.8]


def predictions(num_images: int = 23, num_labels: int = 8, seed: int = 0):
    """Logits, maps, labels and one to three boxes an image in a frame of 64 pixels; some of them are hit."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_labels, num_images)
    logits = random.normal(size=(num_images, num_labels)) + np.eye(num_labels)[labels]
    maps = 0.2 * random.random((num_images, 8, 8))
    boxes = []
    for index in range(num_images):
        x, y = random.integers(0, 4, 2)
        maps[index, y : y + 4, x : x + 4] += random.random()
        shift = random.integers(-9, 10, 2)
        true = [np.clip([8 * x + shift[0], 8 * y + shift[1], 8 * x + shift[0] + 31, 8 * y + shift[1] + 31], 0, 63)]
        for _ in range(random.integers(0, 3)):
            corner = random.integers(0, 40, 2)
            true.append(np.concatenate([corner, corner + random.integers(5, 20, 2)]))
        boxes.append(np.array(true))
    return torch.from_numpy(logits).float(), torch.from_numpy(maps).float(), torch.from_numpy(labels), boxes


def in_batches(metrics: LocalizationMetrics, logits, maps, labels, boxes, batch_size: int = 4) -> dict:
    """Calls the metrics as `Trainer` does with `batch_eval_metrics`, boxes filled up with -100 to each batch's most."""
    num_images, logged = len(labels), None
    for start in range(0, num_images, batch_size):
        part = slice(start, start + batch_size)
        label_ids = labels[part]
        if boxes is not None:
            most = max(len(of_image) for of_image in boxes[part])
            padded = torch.full((len(label_ids), most, 4), -100)
            for row, of_image in enumerate(boxes[part]):
                padded[row, : len(of_image)] = torch.from_numpy(of_image)
            label_ids = (label_ids, padded)
        logged = metrics(
            EvalPrediction(predictions=(logits[part], maps[part]), label_ids=label_ids),
            compute_result=start + batch_size >= num_images,
        )
    return logged


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
@pytest.mark.parametrize("batch_size", [1, 4, 23, 100])
def test_batches_count_like_their_union(protocol, batch_size):
    logits, maps, labels, boxes = predictions()
    metrics = LocalizationMetrics(64, protocol, THRESHOLDS)
    logged = in_batches(metrics, logits, maps, labels, boxes, batch_size)
    by_hand = BoxAccuracy(protocol, thresholds=THRESHOLDS, image_size=64)
    by_hand.update(maps, boxes, logits=logits, labels=labels)
    expected = by_hand.compute()
    assert {name: metrics.result[name] for name in expected if name not in ("whole_image", "center_box")} == {
        name: value for name, value in expected.items() if name not in ("whole_image", "center_box")
    }
    assert metrics.result["num_images"] == 23
    assert metrics.result["threshold_choice"] == "oracle"
    for baseline in ("whole_image", "center_box"):
        assert expected[baseline].items() <= metrics.result[baseline].items()
    # the case is neither empty nor solved
    assert 10 < expected["gt_known_loc"] < 100 and expected["top1_loc"] < expected["gt_known_loc"]
    # what is logged are the same figures
    assert all(metrics.result[name] == value for name, value in logged.items())
    assert {"top1_cls", "top5_cls", "gt_known_loc", "top1_loc", "top5_loc", "iou30", "threshold"} <= set(logged)
    assert all(isinstance(value, (int, float)) for value in logged.values())


def test_mean_over_the_levels():
    metrics = LocalizationMetrics(64, "sat", THRESHOLDS)
    in_batches(metrics, *predictions())
    for row in (metrics.result, metrics.result["whole_image"], metrics.result["center_box"]):
        assert row["mean_iou_levels"] == pytest.approx(np.mean([row["iou30"], row["iou50"], row["iou70"]]))


def test_a_threshold_that_was_chosen_before():
    validation, test = predictions(seed=1), predictions(seed=2)
    by_hand = BoxAccuracy("sat", thresholds=THRESHOLDS, image_size=64)
    by_hand.update(test[1], test[3], logits=test[0], labels=test[2])
    chosen = LocalizationMetrics(64, "sat", THRESHOLDS)
    in_batches(chosen, *validation)
    for threshold in THRESHOLDS:
        metrics = LocalizationMetrics(64, "sat", THRESHOLDS)
        metrics.report_at(threshold, "validation")
        in_batches(metrics, *test)
        assert metrics.result["threshold"] == threshold
        assert metrics.result["threshold_choice"] == "validation"
        expected = by_hand.compute(threshold=threshold)
        for name in ("gt_known_loc", "top1_loc", "iou30", "iou70"):
            assert metrics.result[name] == expected[name]
    metrics.report_at(chosen.result["threshold"], "fixed")
    in_batches(metrics, *test)
    assert metrics.result["threshold_choice"] == "fixed"


def test_a_second_evaluation_starts_afresh():
    metrics = LocalizationMetrics(64, "sat", THRESHOLDS)
    first = in_batches(metrics, *predictions(seed=1))
    other = in_batches(metrics, *predictions(num_images=10, seed=2))
    assert metrics.result["num_images"] == 10 and other != first
    assert in_batches(metrics, *predictions(seed=1)) == first


def test_without_boxes():
    logits, maps, labels, _ = predictions()
    metrics = LocalizationMetrics(64, "sat", THRESHOLDS, with_boxes=False)
    for _ in range(2):
        logged = in_batches(metrics, logits, maps, labels, None)
        top5 = logits.argsort(dim=1, descending=True)[:, :5]
        assert logged["top1_cls"] == pytest.approx(100 * (top5[:, 0] == labels).float().mean().item(), abs=1e-4)
        assert logged["top5_cls"] == pytest.approx(
            100 * (top5 == labels[:, None]).any(1).float().mean().item(), abs=1e-4
        )
        assert set(logged) == {"top1_cls", "top5_cls"}
        assert metrics.result["num_images"] == 23


@pytest.mark.parametrize("with_boxes", [True, False])
def test_fewer_than_five_classes_have_no_top5(with_boxes):
    logits, maps, labels, boxes = predictions(num_labels=4)
    metrics = LocalizationMetrics(64, "sat", THRESHOLDS, with_boxes=with_boxes)
    logged = in_batches(metrics, logits, maps, labels, boxes if with_boxes else None)
    assert "top1_cls" in logged
    assert not any("top5" in name for name in logged)


def test_arguments_are_checked_at_once():
    with pytest.raises(ValueError, match="`protocol`"):
        LocalizationMetrics(64, "paper")
    with pytest.raises(ValueError, match="`thresholds`"):
        LocalizationMetrics(64, "sat", [0.5, 1.5])


@pytest.mark.parametrize("count, said", [(0, ""), (1, "; not finite: 1 map, "), (3, "; not finite: 3 maps, ")])
def test_maps_that_are_not_finite_are_spoken_of(count, said):
    """In the line below the figures, by their number."""
    maps = torch.rand(4, 4, 4)
    maps[:count, 1, 2] = torch.tensor([torch.nan, torch.inf, -torch.inf])[:count]
    boxes = torch.tensor([[[2, 3, 20, 20]]] * 4)
    metrics = LocalizationMetrics(32, thresholds=[0.5])
    metrics(EvalPrediction((torch.rand(4, 3), maps), (torch.zeros(4, dtype=torch.long), boxes)))
    text = caption(metrics.result, "test")
    assert (said in text) if said else ("not finite" not in text)
