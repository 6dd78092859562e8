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

import json
import pickle

import literal_protocols as literal
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transformers_sat.metrics import BoxAccuracy, box_iou, boxes_from_map, ten_crop_probabilities


seeds = st.integers(0, 2**32 - 1)


def random_batch(seed: int, num_images: int = 12, image_size: int = 56, num_labels: int = 7) -> dict:
    """Smooth maps without ties, and true boxes around places where they are high."""
    generator = np.random.default_rng(seed)
    maps = torch.from_numpy(generator.random((num_images, 1, 4, 4), dtype=np.float32))
    maps = torch.nn.functional.interpolate(maps, size=(7, 7), mode="bicubic")[:, 0]
    maps += 0.05 * torch.from_numpy(generator.random((num_images, 7, 7), dtype=np.float32))
    boxes = []
    for localization_map in maps:
        (near,) = boxes_from_map(localization_map, [generator.uniform(0.3, 0.7)], "sat", image_size=image_size)
        near = np.stack([near] * generator.integers(1, 4))
        near = np.clip(near + generator.integers(-8, 9, near.shape), 0, image_size - 1)
        boxes.append(np.concatenate([np.minimum(near[:, :2], near[:, 2:]), np.maximum(near[:, :2], near[:, 2:])], 1))
    return {
        "localization_maps": maps,
        "boxes": boxes,
        "logits": torch.from_numpy(generator.random((num_images, num_labels), dtype=np.float32)),
        "labels": torch.from_numpy(generator.integers(0, num_labels, num_images)),
    }


def part_of(batch: dict, indices) -> dict:
    indices = list(indices)
    return {
        name: [values[index] for index in indices] if isinstance(values, list) else values[indices]
        for name, values in batch.items()
    }


def small_metric(protocol: str) -> BoxAccuracy:
    return BoxAccuracy(protocol, thresholds=np.arange(0, 1, 0.05), image_size=56)


def assert_same_counts(metric: BoxAccuracy, other: BoxAccuracy):
    assert metric.counts.keys() == other.counts.keys()
    for name, count in metric.counts.items():
        np.testing.assert_array_equal(count, other.counts[name], err_msg=name)
    assert metric.num_labels == other.num_labels


class TestAuthorsFigures:
    @pytest.mark.parametrize("run", ["multi_box", "multi_box_tencrop", "first_box_only"])
    def test_every_aggregate_is_equal(self, golden, run):
        batch = golden.batch
        if run == "multi_box_tencrop":
            batch["logits"] = ten_crop_probabilities(golden.ten_crop_logits)
        if run == "first_box_only":
            batch["boxes"] = [boxes[:1] for boxes in golden.boxes]
        metric = BoxAccuracy("sat", golden.thresholds)
        metric.update(**batch)

        expected = golden.figures[run]
        for index, threshold in enumerate(golden.thresholds):
            figures = metric.compute(threshold=threshold)
            assert figures["top1_cls"] == expected["cls_top1"]
            assert figures["top5_cls"] == expected["cls_top5"]
            assert figures["gt_known_loc"] == expected["gt_loc"][index]
            assert figures["top1_loc"] == expected["loc_top1"][index]
            assert figures["top5_loc"] == expected["loc_top5"][index]
            for ours, theirs in (("iou30", "IoU30"), ("iou50", "IoU50"), ("iou70", "IoU70")):
                assert figures[ours] == expected[theirs][index]
        chosen = metric.compute()
        assert chosen["threshold_choice"] == "oracle"
        assert {
            "gt_loc": chosen["gt_known_loc"],
            "loc_top1": chosen["top1_loc"],
            "threshold": chosen["threshold"],
        } == expected["selected"]

    def test_update_returns_the_iou_of_each_image(self, golden):
        metric = BoxAccuracy("sat", golden.thresholds)
        np.testing.assert_array_equal(metric.update(**golden.batch), golden.best_iou)

    def test_an_overlap_on_the_boundary_counts(self, golden):
        for case in golden.figures["exact_boundary_cases"]:
            metric = BoxAccuracy("sat", [case["threshold"]])
            ious = metric.update(**golden.part([case["image"]]))
            assert ious.item() == case["iou"]
            assert metric.compute()[f"iou{100 * case['iou']:.0f}"] == 100


class TestSatProtocol:
    def boxes_with_iou_above_half(self, metric: BoxAccuracy, hits: list[list[bool]], logits=None, labels=None):
        """Counts images that are right at the thresholds for which `hits` says so; the blob shrinks with each."""
        for index, image_hits in enumerate(hits):
            (right,) = {tuple(image_hits)} & {(True, False), (False, True), (True, True), (False, False)}
            localization_map = torch.zeros(8, 8)
            localization_map[0:6, 0:6] = 0.5
            localization_map[0:2, 0:2] = 1.0
            # At the first threshold the box is [0, 0, 6, 6], at the second [0, 0, 2, 2].
            true = {(True, False): [0, 0, 6, 6], (False, True): [0, 0, 2, 2]}.get(right, [7, 7, 7, 7])
            boxes = [[true]] if right != (True, True) else [[[0, 0, 6, 6], [0, 0, 2, 2]]]
            of_image = {} if logits is None else {"logits": logits[index][None], "labels": labels[index][None]}
            metric.update(localization_map[None], boxes, **of_image)

    def test_the_threshold_is_chosen_by_gt_known_plus_top1(self):
        right, wrong = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        metric = BoxAccuracy("sat", [0.25, 0.75], image_size=8)
        hits = [[True, False], [True, False], [True, False], [False, True], [False, True]]
        logits = torch.stack([wrong, wrong, wrong, right, right])
        self.boxes_with_iou_above_half(metric, hits, logits, torch.zeros(5, dtype=torch.long))
        figures = metric.compute()
        # GT-known alone would choose the first: 60 against 40. The sum is 60 + 0 against 40 + 40.
        assert (figures["threshold"], figures["gt_known_loc"], figures["top1_loc"]) == (0.75, 40, 40)
        assert metric.compute(threshold=0.25)["gt_known_loc"] == 60

    def test_without_logits_it_is_chosen_by_gt_known(self):
        metric = BoxAccuracy("sat", [0.25, 0.75], image_size=8)
        self.boxes_with_iou_above_half(metric, [[True, False], [True, False], [False, True]])
        figures = metric.compute()
        assert figures["threshold"] == 0.25
        assert {figures[name] for name in ("top1_cls", "top5_cls", "top1_loc", "top5_loc")} == {None}

    @pytest.mark.parametrize("hits", [[[True, False], [False, True]], [[False, False]], [[True, True]]])
    @pytest.mark.parametrize("thresholds", [[0.25, 0.75], [0.75, 0.25]])
    def test_of_equal_thresholds_the_first_in_the_list_is_taken(self, hits, thresholds):
        metric = BoxAccuracy("sat", thresholds, image_size=8)
        self.boxes_with_iou_above_half(metric, hits)
        assert metric.compute()["threshold"] == thresholds[0]

    def test_the_best_of_several_true_boxes_counts(self):
        metric = BoxAccuracy("sat", [0.25, 0.75], image_size=8)
        self.boxes_with_iou_above_half(metric, [[True, True]])
        assert metric.compute(threshold=0.25)["iou70"] == metric.compute(threshold=0.75)["iou70"] == 100

    def test_needs_no_opencv(self, golden, missing_opencv):
        metric = BoxAccuracy("sat")
        metric.update(**golden.part(range(3)))
        assert metric.compute()["num_images"] == 3


class TestWsolevalProtocol:
    @pytest.mark.parametrize("seed", [0, 1])
    def test_counts_equal_the_literal_protocol(self, seed):
        batch = random_batch(seed, num_images=3)
        batch["localization_maps"][1] = batch["localization_maps"][1].round(decimals=1)
        thresholds = np.arange(0, 1, 0.001)
        metric = BoxAccuracy("wsoleval", image_size=56)
        np.testing.assert_array_equal(metric.thresholds, thresholds)
        metric.update(**batch)
        hits = np.zeros((2, 1000, 3), dtype=int)
        for localization_map, true_boxes in zip(batch["localization_maps"], batch["boxes"], strict=True):
            for rule, multi_contour in enumerate((False, True)):
                for index, threshold in enumerate(thresholds):
                    boxes = literal.contour_boxes(localization_map.numpy(), threshold, 56, multi_contour)
                    best = max(literal.iou(box, true_box) for box in boxes for true_box in true_boxes)
                    hits[rule, index] += [best >= 0.3, best >= 0.5, best >= 0.7]
        np.testing.assert_array_equal(metric.counts["box_hits"][:, 0], hits)
        assert hits.any(axis=(1, 2)).all()

        figures = metric.compute()
        assert figures["max_box_acc"] == figures["gt_known_loc"] == 100 * hits[0, :, 1].max() / 3
        assert figures["threshold"] == thresholds[hits[0, :, 1].argmax()]
        assert figures["max_box_acc_v2"] == pytest.approx(100 * hits[1].max(axis=0).mean() / 3, rel=1e-12)
        assert list(figures["iou_threshold_choices"].values()) == thresholds[hits[1].argmax(axis=0)].tolist()

    def test_each_iou_has_its_own_best_threshold(self):
        # A blob in a weaker one: the outer box fits one image's true box well, the inner the other's only so so.
        localization_map = torch.zeros(32, 32)
        localization_map[4:28, 4:28] = 0.5
        localization_map[8:16, 8:16] = 1.0
        metric = BoxAccuracy("wsoleval", [0.2, 0.8], image_size=32)
        boxes = [[[4, 4, 28, 28]], [[8, 8, 16, 12]], [[8, 8, 16, 12]]]
        metric.update(localization_map.expand(3, -1, -1), boxes)
        figures = metric.compute()
        assert figures["iou_threshold_choices"] == {"iou30": 0.8, "iou50": 0.8, "iou70": 0.2}
        assert (figures["iou30"], figures["iou70"]) == (pytest.approx(200 / 3), pytest.approx(100 / 3))

    def test_figures_at_a_given_threshold_are_not_called_maxima(self):
        metric = small_metric("wsoleval")
        metric.update(**random_batch(3))
        figures = metric.compute(threshold=0.4, threshold_choice="validation")
        assert "max_box_acc" not in figures
        assert "max_box_acc_v2" not in figures
        hits = metric.counts["box_hits"][:, 0, 8]
        assert figures["box_acc"] == 100 * hits[0, 1] / 12
        assert figures["box_acc_v2"] == pytest.approx(100 * hits[1].mean() / 12)
        assert set(figures["iou_threshold_choices"].values()) == {metric.thresholds[8]}

    def test_top1_counts_the_largest_contour_of_rightly_classified_images(self):
        batch = random_batch(4)
        metric = small_metric("wsoleval")
        ious = metric.update(**batch)
        figures = metric.compute()
        at = metric.thresholds.tolist().index(figures["threshold"])
        right = (batch["logits"].argmax(1) == batch["labels"]).numpy()
        assert figures["top1_loc"] == pytest.approx(100 * (right & (ious[:, at] >= 0.5)).mean())
        assert figures["top1_cls"] == pytest.approx(100 * right.mean())

    def test_needs_opencv_when_it_is_made(self, missing_opencv):
        with pytest.raises(ImportError, match=r"pip install '\.\[eval\]'"):
            BoxAccuracy("wsoleval")


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
class TestBothProtocols:
    @settings(max_examples=12, deadline=None)
    @given(seed=seeds)
    def test_order_and_batches_do_not_matter(self, protocol, seed):
        batch = random_batch(seed)
        whole, split = small_metric(protocol), small_metric(protocol)
        ious = whole.update(**batch)
        order = np.random.default_rng(seed).permutation(12)
        cuts = np.sort(np.random.default_rng(seed + 1).integers(0, 13, 3))
        parts = [split.update(**part_of(batch, part)) for part in np.split(order, cuts)]
        assert_same_counts(whole, split)
        np.testing.assert_array_equal(np.concatenate(parts), ious[order])
        assert whole.compute() == split.compute()

    def test_merge_is_the_union(self, protocol):
        batch = random_batch(5)
        whole, first, second = (small_metric(protocol) for _ in range(3))
        whole.update(**batch)
        first.update(**part_of(batch, range(5)))
        second.update(**part_of(batch, range(5, 12)))
        before = pickle.loads(pickle.dumps(second))
        assert first.merge(second).merge(small_metric(protocol)) is first
        assert_same_counts(first, whole)
        assert_same_counts(second, before)
        assert_same_counts(small_metric(protocol).merge(whole), whole)

    @settings(max_examples=15, deadline=None)
    @given(seed=seeds)
    def test_a_perfect_mask_scores_100(self, protocol, seed):
        generator = np.random.default_rng(seed)
        maps, boxes = np.zeros((6, 56, 56), dtype=np.float32), []
        for mask in maps:
            # From about eight pixels a side on, the pixel by which predictions are too large does not matter.
            start, size = generator.integers(0, 40, 2), generator.integers(8, 55, 2)
            x1, y1 = np.minimum(start + size, 55)
            mask[start[1] : y1 + 1, start[0] : x1 + 1] = 1
            boxes.append([[*start, x1, y1]])
        labels = torch.from_numpy(generator.integers(0, 6, 6))
        metric = BoxAccuracy(protocol, [0.5], image_size=56)
        metric.update(maps, boxes, torch.nn.functional.one_hot(labels, 6).float(), labels)
        figures = metric.compute()
        names = "top1_cls", "top5_cls", "gt_known_loc", "top1_loc", "top5_loc", "iou30", "iou50", "iou70"
        assert {figures[name] for name in names} == {100}
        if protocol == "wsoleval":
            assert figures["max_box_acc"] == figures["max_box_acc_v2"] == 100

    @settings(max_examples=15, deadline=None)
    @given(seed=seeds, axis=st.sampled_from([1, 2]))
    def test_flips_keep_the_counts_where_the_protocol_is_symmetric(self, protocol, seed, axis):
        # Where it is: one component, as ties go to the first; away from the rim, where far ends are clipped and near
        # ones are not; true boxes with exclusive ends, which mirror at the frame's middle as predictions do.
        generator = np.random.default_rng(seed)
        pixels = np.arange(56)
        maps, boxes = [], []
        for _ in range(12):
            (x, y), (width, height) = generator.uniform(20, 36, 2), generator.uniform(3, 15, 2)
            maps.append(-(((pixels - x) / width) ** 2) - ((pixels[:, None] - y) / height) ** 2)
            boxes.append(
                np.array([[x - width, y - height, x + width, y + height]]) + generator.integers(-4, 5, (3, 4))
            )
        maps = torch.from_numpy(np.stack(maps)).float().exp()
        boxes = [array.astype(int) for array in boxes]
        low, high = (0, 2) if axis == 2 else (1, 3)
        mirrored = [array.copy() for array in boxes]
        for before, after in zip(boxes, mirrored, strict=True):
            after[:, low], after[:, high] = 56 - before[:, high], 56 - before[:, low]
        metric, of_mirrored = (BoxAccuracy(protocol, np.arange(0.2, 1, 0.05), image_size=56) for _ in range(2))
        metric.update(maps, boxes)
        of_mirrored.update(maps.flip(axis), mirrored)
        np.testing.assert_array_equal(metric.counts["box_hits"], of_mirrored.counts["box_hits"])
        assert metric.counts["box_hits"][0, 0, :, -1].max() > 0

    def test_inclusive_true_boxes_are_not_symmetric(self, protocol):
        # The asymmetry of both protocols: a prediction reaches one pixel too far right and down, never left and up.
        mask = torch.zeros(1, 16, 16)
        mask[:, 4:9, 3:9] = 1
        metric = BoxAccuracy(protocol, [0.5], image_size=16)
        one_to_the_right = metric.update(mask, [[[4, 4, 9, 9]]]).item()
        one_to_the_left = metric.update(mask.flip(2), [[[6, 4, 11, 9]]]).item()
        assert one_to_the_right > one_to_the_left

    def test_whole_image_and_centre_box_are_scored_beside(self, protocol):
        batch = random_batch(6, num_images=40)
        metric = small_metric(protocol)
        metric.update(**batch)
        figures = metric.compute()
        right = (batch["logits"].argmax(1) == batch["labels"]).numpy()

        def best_ious(side: int) -> np.ndarray:
            start = (56 - side) // 2
            end = start + side if protocol == "sat" else min(start + side, 55)
            return np.array(
                [max(literal.iou((start, start, end, end), box) for box in each) for each in batch["boxes"]]
            )

        whole = best_ious(56)
        assert figures["whole_image"]["gt_known_loc"] == pytest.approx(100 * (whole >= 0.5).mean())
        assert figures["whole_image"]["top1_loc"] == pytest.approx(100 * (right & (whole >= 0.5)).mean())
        assert figures["whole_image"]["iou30"] == pytest.approx(100 * (whole >= 0.3).mean())
        by_side = np.array([best_ious(side) for side in range(1, 57)])
        gt_known = (by_side >= 0.5).mean(axis=1)
        score = gt_known + ((by_side >= 0.5) & right).mean(axis=1) if protocol == "sat" else gt_known
        assert figures["center_box"]["side"] == score.argmax() + 1
        assert figures["center_box"]["gt_known_loc"] == pytest.approx(100 * gt_known[score.argmax()])
        if protocol == "wsoleval":
            by_iou = [(by_side >= iou).mean(axis=1) for iou in (0.3, 0.5, 0.7)]
            assert figures["center_box"]["max_box_acc"] == pytest.approx(100 * gt_known.max())
            assert figures["center_box"]["max_box_acc_v2"] == pytest.approx(100 * np.mean([s.max() for s in by_iou]))
            assert figures["whole_image"]["max_box_acc_v2"] == pytest.approx(
                100 * np.mean([(whole >= iou).mean() for iou in (0.3, 0.5, 0.7)])
            )

    def test_the_choice_of_the_threshold_is_recorded(self, protocol):
        metric = small_metric(protocol)
        metric.update(**random_batch(7))
        assert metric.compute()["threshold_choice"] == "oracle"
        assert metric.compute(threshold=0.35)["threshold_choice"] == "fixed"
        figures = metric.compute(threshold=0.35, threshold_choice="validation")
        assert figures["threshold_choice"] == "validation"
        assert figures["threshold"] == pytest.approx(0.35)
        with pytest.raises(ValueError, match="must be one of the metric's `thresholds`, the nearest of which is 0.35"):
            metric.compute(threshold=0.36)
        with pytest.raises(ValueError, match="needs the `threshold`"):
            metric.compute(threshold_choice="validation")
        with pytest.raises(ValueError, match='"fixed" or "validation"'):
            metric.compute(threshold=0.35, threshold_choice="oracle")

    def test_fewer_than_five_classes_have_no_top5(self, protocol):
        batch = random_batch(8, num_labels=4)
        metric = small_metric(protocol)
        metric.update(**batch)
        figures = metric.compute()
        assert figures["top5_cls"] is figures["top5_loc"] is figures["whole_image"]["top5_loc"] is None
        assert figures["top1_cls"] is not None

    def test_other_iou_thresholds(self, protocol):
        metric = BoxAccuracy(protocol, [0.4], iou_thresholds=[0.75, 0.125], image_size=56)
        ious = metric.update(**random_batch(9))
        figures = metric.compute()
        assert figures["gt_known_loc"] == pytest.approx(100 * (ious >= 0.5).mean())
        assert "iou50" not in figures
        if protocol == "sat":
            assert figures["iou75"] == pytest.approx(100 * (ious >= 0.75).mean())
            assert figures["iou12.5"] == pytest.approx(100 * (ious >= 0.125).mean())

    def test_curves_hold_the_figures_at_every_threshold(self, protocol):
        metric = small_metric(protocol)
        metric.update(**random_batch(10))
        curves = metric.curves()
        assert curves["thresholds"] == metric.thresholds.tolist()
        for index in (0, 8, 15):
            figures = metric.compute(threshold=curves["thresholds"][index])
            for name in ("gt_known_loc", "iou30", "iou50", "iou70"):
                assert curves[name][index] == figures[name]

    def test_non_finite_maps_are_scored_as_nothing_and_counted(self, protocol):
        batch = random_batch(11)
        batch["localization_maps"][2, 3, 3] = float("nan")
        batch["localization_maps"][7, 0, 0] = float("inf")
        metric = small_metric(protocol)
        ious = metric.update(**batch)
        assert metric.compute()["num_non_finite_maps"] == 2
        nothing = {"sat": np.array([0, 0, 56, 56]), "wsoleval": np.zeros(4)}[protocol]
        for index in (2, 7):
            assert set(ious[index]) == {box_iou(nothing, batch["boxes"][index]).max()}

    def test_devices_dtypes_and_arrays(self, protocol):
        batch = random_batch(12)
        metric, of_arrays = small_metric(protocol), small_metric(protocol)
        metric.update(
            batch["localization_maps"].bfloat16().requires_grad_(),
            [torch.from_numpy(boxes) for boxes in batch["boxes"]],
            batch["logits"].bfloat16().requires_grad_(),
            batch["labels"].int(),
        )
        of_arrays.update(
            batch["localization_maps"].bfloat16().float().numpy(),
            [boxes.tolist() for boxes in batch["boxes"]],
            batch["logits"].bfloat16().float().numpy(),
            batch["labels"].numpy(),
        )
        assert_same_counts(metric, of_arrays)

    def test_the_state_does_not_grow_with_the_images(self, protocol):
        metric = small_metric(protocol)
        batch = random_batch(13)
        metric.update(**batch)
        size = len(pickle.dumps(metric))
        for _ in range(5):
            metric.update(**batch)
        assert len(pickle.dumps(metric)) == size
        assert metric.num_images == 72

    def test_figures_are_plain_values(self, protocol):
        metric = small_metric(protocol)
        metric.update(**random_batch(14))
        figures = metric.compute()
        assert json.loads(json.dumps(figures)) == figures
        assert figures["protocol"] == protocol
        assert figures["image_size"] == 56
        assert figures["num_images"] == 12

    def test_reset_forgets_everything(self, protocol):
        metric = small_metric(protocol)
        metric.update(**random_batch(15, num_labels=3))
        metric.reset()
        assert_same_counts(metric, small_metric(protocol))
        metric.update(**random_batch(15, num_labels=9))


class TestErrors:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"localization_maps": torch.rand(2, 1, 7, 7)}, "`localization_maps` must have the shape"),
            ({"localization_maps": torch.rand(2, 0, 7)}, "no empty side"),
            ({"boxes": [[[0, 0, 5, 5]]]}, "boxes of 1 images for 2 localization maps"),
            ({"boxes": [[[0, 0, 5, 5]], []]}, r"`boxes\[1\]` is empty"),
            ({"boxes": [[[0, 0, 5, 5]], [0, 0, 5, 5]]}, r"`boxes\[1\]` must have the shape \(num_boxes, 4\)"),
            ({"boxes": [[[0, 0, 5]], [[0, 0, 5, 5]]]}, r"`boxes\[0\]` must have the shape"),
            ({"boxes": [[[0, 0, float("nan"), 5]], [[0, 0, 5, 5]]]}, r"`boxes\[0\]` must hold finite corners"),
            ({"logits": torch.zeros(2, 10, 7)}, "ten_crop_probabilities"),
            ({"logits": torch.zeros(3, 7), "labels": torch.zeros(3, dtype=torch.long)}, "3 rows for 2"),
            ({"labels": torch.tensor([0, 7])}, "`labels` must be from 0 to 6"),
            ({"labels": None}, "needed together"),
            ({"logits": None}, "needed together"),
            ({"logits": None, "labels": None}, "7 classes so far, now no logits"),
            ({"logits": torch.zeros(2, 8)}, "7 classes so far, now 8 classes"),
        ],
    )
    def test_update_names_the_argument_and_counts_nothing(self, changes, message):
        metric = small_metric("sat")
        batch = {
            "localization_maps": torch.rand(2, 7, 7),
            "boxes": [[[0, 0, 5, 5]], [[10, 10, 30, 30]]],
            "logits": torch.rand(2, 7),
            "labels": torch.tensor([1, 2]),
        }
        metric.update(**batch)
        before = pickle.loads(pickle.dumps(metric))
        with pytest.raises(ValueError, match=message):
            metric.update(**batch | changes)
        assert_same_counts(metric, before)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"protocol": "clova"}, "`protocol` must be one of"),
            ({"thresholds": [0.3, 1.2]}, "`thresholds` must be a list of numbers from 0 to 1"),
            ({"thresholds": [float("nan")]}, "`thresholds` must be"),
            ({"thresholds": 0.4}, "`thresholds` must be a list"),
            ({"thresholds": []}, "`thresholds` must be a list"),
            ({"iou_thresholds": [50]}, "`iou_thresholds` must be numbers above 0 and at most 1"),
            ({"iou_thresholds": []}, "`iou_thresholds` must be"),
            ({"image_size": 0}, "side of the square frame"),
        ],
    )
    def test_settings(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            BoxAccuracy(**{"protocol": "sat"} | arguments)

    def test_nothing_counted(self):
        with pytest.raises(ValueError, match="No image has been counted"):
            small_metric("sat").compute()
        with pytest.raises(ValueError, match="No image has been counted"):
            small_metric("sat").curves()

    def test_only_like_metrics_merge(self):
        metric = small_metric("sat")
        metric.update(**random_batch(0))
        for other, message in [
            (small_metric("wsoleval"), "`protocol`: 'sat' and 'wsoleval'"),
            (BoxAccuracy("sat", [0.5], image_size=56), "`thresholds`"),
            (BoxAccuracy("sat", metric.thresholds), "`image_size`: 56 and 224"),
            (object(), "`other` must be a BoxAccuracy, got a object"),
        ]:
            before = pickle.loads(pickle.dumps(metric))
            with pytest.raises(ValueError, match=message):
                metric.merge(other)
            assert_same_counts(metric, before)
        other = small_metric("sat")
        other.update(**random_batch(0, num_labels=5))
        with pytest.raises(ValueError, match="7 classes so far, now 5 classes"):
            metric.merge(other)
