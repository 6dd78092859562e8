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
from sklearn.metrics import average_precision_score

from transformers_sat.metrics import PixelAveragePrecision


def random_batch(seed: int, num_images: int = 6, image_size: int = 40) -> dict:
    generator = np.random.default_rng(seed)
    maps = generator.random((num_images, 7, 7), dtype=np.float32)
    return {
        "localization_maps": torch.from_numpy(maps),
        "masks": list(generator.random((num_images, image_size, image_size)) < 0.4),
        "ignore_masks": list(generator.random((num_images, image_size, image_size)) < 0.3),
    }


def part_of(batch: dict, indices) -> dict:
    indices = list(indices)
    return {
        name: [values[index] for index in indices] if isinstance(values, list) else values[indices]
        for name, values in batch.items()
    }


@pytest.mark.parametrize(("num_thresholds", "image_size"), [(1000, 224), (100, 40), (7, 40)])
def test_equals_the_literal_protocol(golden, num_thresholds, image_size):
    generator = np.random.default_rng(0)
    maps = golden.maps[[1, 60, 80, 112, 140, 170, 180, 190]]
    # Masks of any resolution, grey as they come from files, and ignore masks that overlap them.
    masks = [np.uint8(255 * (generator.random((31, 45)) < 0.4)) for _ in maps]
    ignored = [generator.random((300, 200)) < 0.3 for _ in maps]
    metric = PixelAveragePrecision(num_thresholds, image_size)
    metric.update(maps, masks, ignored)
    expected = literal.pixel_average_precision(maps.numpy(), masks, ignored, num_thresholds, image_size)
    assert metric.compute()["pxap"] == pytest.approx(expected, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([1_000_000, 1000, 300, 7, 1]), st.sampled_from([np.float32, np.float64])
)
def test_every_score_is_in_the_bin_of_a_histogram(seed, num_thresholds, dtype):
    edges = np.append(np.arange(num_thresholds) * (1 / num_thresholds), [1.0, 2.0])
    on_edges = edges[np.random.default_rng(seed).integers(0, num_thresholds + 1, 100)].astype(dtype)
    scores = np.concatenate([on_edges, np.nextafter(on_edges, dtype(0)), np.nextafter(on_edges, dtype(1)), [0.0, 1.0]])
    scores = np.concatenate([scores, np.random.default_rng(seed).random(98)]).astype(dtype).reshape(20, 20)
    # With 0 and 1 among the scores and nothing to resize, they stay as they are.
    metric = PixelAveragePrecision(num_thresholds, image_size=20)
    mask = np.random.default_rng(seed).random((20, 20)) < 0.5
    metric.update(scores[None], [mask])
    np.testing.assert_array_equal(metric.counts["pixels"][1], np.histogram(scores[mask], edges)[0])
    np.testing.assert_array_equal(metric.counts["pixels"][0], np.histogram(scores[~mask], edges)[0])


def test_agrees_with_scikit_learn_on_scores_that_bins_do_not_merge():
    generator = np.random.default_rng(0)
    scores = np.round(generator.random((3, 32, 32)), 2) + 0.002
    scores[:, 0, 0], scores[:, 0, 1] = 0.0, 1.0
    scores = scores.clip(0, 1)
    masks = generator.random((3, 32, 32)) < scores
    metric = PixelAveragePrecision(image_size=32)
    metric.update(scores, masks)
    assert metric.compute()["pxap"] == pytest.approx(100 * average_precision_score(masks.ravel(), scores.ravel()))


def test_images_are_pooled_not_averaged():
    # Alone each image is perfect. Together the background of the second outscores the foreground of the first.
    maps = torch.tensor([[[0.0, 0.5], [1.0, 1.0]], [[0.0, 0.6], [0.6, 1.0]]])
    masks = np.array([[[False, True], [True, True]], [[False, False], [False, True]]])
    alone = []
    for localization_map, mask in zip(maps, masks, strict=True):
        metric = PixelAveragePrecision(image_size=2)
        metric.update(localization_map[None], mask[None])
        alone.append(metric.compute()["pxap"])
    metric = PixelAveragePrecision(image_size=2)
    metric.update(maps, masks)
    assert alone == [100, 100]
    assert metric.compute()["pxap"] == pytest.approx(100 * (3 / 4 + 4 / 6 * 1 / 4))


def test_ignored_pixels_are_left_out_but_where_they_are_foreground():
    localization_map = torch.tensor([[[0.0, 0.9], [0.95, 1.0]]])
    mask = np.array([[[False, False], [False, True]]])
    ignored = np.array([[[False, True], [True, True]]])
    with_ignored, without = PixelAveragePrecision(image_size=2), PixelAveragePrecision(image_size=2)
    with_ignored.update(localization_map, mask, ignored)
    without.update(localization_map, mask)
    assert with_ignored.counts["pixels"].sum(axis=1).tolist() == [1, 1]
    assert without.counts["pixels"].sum(axis=1).tolist() == [3, 1]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_perfect_mask_scores_100(seed):
    masks = np.random.default_rng(seed).random((4, 40, 40)) < 0.3
    metric = PixelAveragePrecision(image_size=40)
    metric.update(masks.astype(np.float32), masks)
    assert metric.compute()["pxap"] == pytest.approx(100, rel=1e-12)
    metric.reset()
    metric.update(1 - masks.astype(np.float32), masks)
    assert metric.compute()["pxap"] == pytest.approx(100 * masks.mean())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_batches_merges_and_flips_do_not_matter(seed):
    batch = random_batch(seed)
    order = np.random.default_rng(seed).permutation(6)
    whole, split, first, second, mirrored = (PixelAveragePrecision(100, image_size=40) for _ in range(5))
    whole.update(**batch)
    for part in np.split(order, [1, 1, 4]):
        split.update(**part_of(batch, part))
    first.update(**part_of(batch, order[:2]))
    second.update(**part_of(batch, order[2:]))
    assert first.merge(second) is first
    for name, count in whole.counts.items():
        np.testing.assert_array_equal(split.counts[name], count)
        np.testing.assert_array_equal(first.counts[name], count)
    assert whole.compute() == split.compute()

    maps = torch.nn.functional.interpolate(batch["localization_maps"][:, None], size=(40, 40), mode="bilinear")[:, 0]
    whole.reset()
    whole.update(maps, batch["masks"], batch["ignore_masks"])
    mirrored.update(maps.flip(2), np.flip(batch["masks"], 2), np.flip(batch["ignore_masks"], 2))
    for name, count in whole.counts.items():
        np.testing.assert_array_equal(mirrored.counts[name], count)


def test_baselines():
    batch = random_batch(3)
    metric = PixelAveragePrecision(image_size=40)
    metric.update(**batch)
    figures = metric.compute()
    counted = np.array(batch["masks"]) | ~np.array(batch["ignore_masks"])
    assert figures["whole_image"]["pxap"] == pytest.approx(100 * np.array(batch["masks"]).sum() / counted.sum())
    rows, columns = np.mgrid[:40, :40] - 19.5
    center = -np.sqrt(rows**2 + columns**2)
    of_center = PixelAveragePrecision(image_size=40)
    of_center.update(np.stack([center] * 6), batch["masks"], batch["ignore_masks"])
    assert figures["center"]["pxap"] == pytest.approx(of_center.compute()["pxap"], rel=1e-3)


def test_curve_ends_at_full_recall_and_holds_the_area():
    metric = PixelAveragePrecision(100, image_size=40)
    metric.update(**random_batch(4))
    curve = metric.curve()
    assert curve["thresholds"][0] == 1
    assert curve["thresholds"][-1] == 0
    assert curve["recall"][-1] == 1
    assert (np.diff(curve["recall"]) >= 0).all()
    area = np.dot(curve["precision"], np.diff(curve["recall"], prepend=0))
    assert metric.compute()["pxap"] == pytest.approx(100 * area)


def test_non_finite_maps_are_scored_as_zeros_and_counted():
    batch = random_batch(5)
    batch["localization_maps"][1, 2, 3] = float("nan")
    metric, of_zeros = PixelAveragePrecision(image_size=40), PixelAveragePrecision(image_size=40)
    metric.update(**batch)
    assert metric.compute()["num_non_finite_maps"] == 1
    batch["localization_maps"][1] = 0
    of_zeros.update(**batch)
    np.testing.assert_array_equal(metric.counts["pixels"], of_zeros.counts["pixels"])


def test_the_state_is_small_and_the_figures_are_plain():
    metric = PixelAveragePrecision(image_size=40)
    metric.update(**random_batch(6))
    size = len(pickle.dumps(metric))
    metric.update(**random_batch(7))
    assert len(pickle.dumps(metric)) == size
    figures = metric.compute()
    assert json.loads(json.dumps(figures)) == figures
    assert (figures["protocol"], figures["num_images"], figures["image_size"]) == ("wsoleval", 12, 40)


def test_errors():
    batch = random_batch(8)
    metric = PixelAveragePrecision(image_size=40)
    with pytest.raises(ValueError, match="No image has been counted"):
        metric.compute()
    with pytest.raises(ValueError, match="`masks` has 5 masks for 6 localization maps"):
        metric.update(batch["localization_maps"], batch["masks"][:5])
    with pytest.raises(ValueError, match=r"`ignore_masks\[0\]` must have the shape \(height, width\)"):
        metric.update(batch["localization_maps"], batch["masks"], np.zeros((6, 1, 40, 40)))
    with pytest.raises(ValueError, match="`localization_maps` must have the shape"):
        metric.update(batch["localization_maps"][0], batch["masks"])
    assert metric.num_images == 0
    metric.update(batch["localization_maps"], np.zeros((6, 40, 40)))
    with pytest.raises(ValueError, match="No mask has a foreground pixel"):
        metric.compute()
    with pytest.raises(ValueError, match="`num_thresholds` must be from 1 to"):
        PixelAveragePrecision(0)
    with pytest.raises(ValueError, match="`num_thresholds`: 1000 and 10"):
        metric.merge(PixelAveragePrecision(10, image_size=40))


def test_needs_opencv(missing_opencv):
    with pytest.raises(ImportError, match=r"pip install '\.\[eval\]'"):
        PixelAveragePrecision()
