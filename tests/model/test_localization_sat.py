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

import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from transformers_sat.model.localization_sat import (
    Masks,
    locate,
    map_in_image,
    normalize_map,
    resize_map,
)


def draw(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


class TestNormalizeMap:
    def test_stretches_each_map_by_its_own_range(self):
        maps = torch.tensor([[[0.0, 1.0], [2.0, 4.0]], [[-1.0, -1.0], [-1.0, 1.0]]])
        normalized = normalize_map(maps)
        expected = torch.tensor([[[0.0, 1.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 2.0]]])
        torch.testing.assert_close(normalized, expected / torch.tensor([4.00001, 2.00001])[:, None, None])
        assert normalized.max() < 1

    @pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 1, 3, 4)])
    def test_takes_any_leading_dimensions_and_dtypes(self, shape):
        values = torch.randn(shape)
        assert normalize_map(values).shape == shape
        assert normalize_map(values.half()).dtype == torch.float32
        assert normalize_map((values * 9).int()).dtype == torch.float32

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_a_map_with_a_non_finite_value_becomes_zeros_and_leaves_the_others(self, value):
        maps = torch.rand(3, 4, 4)
        expected = normalize_map(maps)
        maps[1, 2, 3] = value
        normalized = normalize_map(maps)
        assert torch.equal(normalized[1], torch.zeros(4, 4))
        assert torch.equal(normalized[[0, 2]], expected[[0, 2]])

    def test_a_constant_map_becomes_zeros(self):
        assert torch.equal(normalize_map(torch.full((5, 5), 0.7)), torch.zeros(5, 5))

    def test_the_input_stays_as_it_is(self):
        maps = torch.rand(2, 4, 4)
        before = maps.clone()
        normalize_map(maps)
        assert torch.equal(maps, before)

    def test_errors(self):
        with pytest.raises(ValueError, match="empty grid"):
            normalize_map(torch.zeros(2, 0, 4))
        with pytest.raises(ValueError, match=r"shape \(..., height, width\)"):
            normalize_map(torch.zeros(4))


class TestResizeMap:
    def test_cells_cover_their_patch(self):
        # Halfway between the centres of two cells lies their mean, and beyond the outer centres the value stays.
        resized = resize_map(torch.tensor([[0.0, 1.0]]), (2, 8))
        expected = torch.tensor([0.0, 0.0, 0.125, 0.375, 0.625, 0.875, 1.0, 1.0])
        torch.testing.assert_close(resized, expected.expand(2, 8))

    @pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 5, 3, 4)])
    def test_keeps_leading_dimensions(self, shape):
        values = torch.rand(shape)
        resized = resize_map(values.bfloat16(), (7, 9))
        assert resized.shape == (*shape[:-2], 7, 9)
        assert resized.dtype == torch.float32

    def test_the_same_size_changes_nothing(self):
        values = torch.rand(2, 6, 5)
        assert torch.equal(resize_map(values, (6, 5)), values)

    def test_errors(self):
        with pytest.raises(ValueError, match="empty grid"):
            resize_map(torch.zeros(0, 4), (8, 8))
        with pytest.raises(ValueError, match="`size` must be a positive"):
            resize_map(torch.zeros(4, 4), (8, 0))


def dense_weights(length: int, start: float, stop: float, num_cells: int) -> tuple[list[int], np.ndarray]:
    """Pixels whose centres lie in `[start, stop)`, and the weight of every cell for each, one by one."""
    pixels = [pixel for pixel in range(length) if start <= pixel + 0.5 < stop]
    if not pixels:
        pixels = [min(max(math.floor((start + stop) / 2), 0), length - 1)]
    weights = np.zeros((len(pixels), num_cells))
    for row, pixel in enumerate(pixels):
        position = (pixel + 0.5 - start) / (stop - start) * num_cells - 0.5
        position = min(max(position, 0), num_cells - 1)
        for cell in range(num_cells):
            weights[row, cell] = max(1 - abs(position - cell), 0)
    return pixels, weights


class TestMapInImage:
    @settings(max_examples=150, deadline=None)
    @given(
        grid=st.tuples(st.integers(1, 16), st.integers(1, 16)),
        size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
        corner=st.tuples(st.floats(-20, 80), st.floats(-20, 80)),
        extent=st.tuples(st.floats(0.01, 120), st.floats(0.01, 120)),
        seed=st.integers(0, 100),
    )
    def test_equals_the_dense_weights(self, grid, size, corner, extent, seed):
        cells = torch.rand(grid, generator=torch.Generator().manual_seed(seed))
        seen = (corner[1], corner[0], corner[1] + extent[1], corner[0] + extent[0])
        rows, row_weights = dense_weights(size[0], seen[1], seen[3], grid[0])
        columns, column_weights = dense_weights(size[1], seen[0], seen[2], grid[1])
        in_pixels, pixels = map_in_image(cells, size, seen)
        assert pixels == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert in_pixels.dtype == torch.float32
        np.testing.assert_allclose(
            in_pixels.numpy(), row_weights @ cells.double().numpy() @ column_weights.T, atol=1e-6
        )

    @pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (3, 40_000), (40_000, 3)])
    def test_strips(self, size):
        cells = torch.rand(14, 14, generator=torch.Generator().manual_seed(0))
        in_pixels, _ = map_in_image(cells, size)
        torch.testing.assert_close(in_pixels, resize_map(cells, size), atol=1e-4, rtol=0)

    def test_memory_is_proportional_to_the_pixels(self):
        """Weights for all cells of each pixel took hundreds of bytes a pixel of a strip, and more with a finer grid."""
        script = (
            "import resource, torch\n"
            "from transformers_sat.model.localization_sat import map_in_image\n"
            "map_in_image(torch.rand(37, 37), (30, 30))\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "for size in (1, 5_000_000), (5_000_000, 1):\n"
            "    in_pixels, _ = map_in_image(torch.rand(37, 37), size)\n"
            "    assert in_pixels.shape == size\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
        )
        printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        assert int(printed) * 1024 < 100 * 5_000_000

    @pytest.mark.parametrize("seen", [(0, 0, 0, 5), (0, 5, 5, 5), (3, 0, 2, 5), (math.nan, 0, 5, 5)])
    def test_rejects_a_part_without_area(self, seen):
        with pytest.raises(ValueError, match="`seen` must be .* positive area"):
            map_in_image(torch.rand(3, 3), (5, 5), seen)


def brute_force(normalized: np.ndarray, threshold: float, fallback: np.ndarray) -> list[np.ndarray]:
    """One mask per component, in the order of their size, then of the scan that meets them."""
    labels, num_components = ndimage.label(normalized > np.float32(threshold), structure=np.ones((3, 3)))
    masks = [labels == label for label in range(1, num_components + 1)]
    return sorted(masks, key=np.count_nonzero, reverse=True) or [fallback]


def box_around(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


class TestLocate:
    @settings(max_examples=200, deadline=None)
    @given(
        shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        grid=st.tuples(st.integers(1, 12), st.integers(1, 12)),
        levels=st.sampled_from([2, 3, 5, 1000]),
        threshold=st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.75, 0.9, 1.0]),
        multiple=st.booleans(),
        smooth=st.booleans(),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_equals_a_mask_per_component(self, shape, grid, levels, threshold, multiple, smooth, seed):
        """Noise has many equal components; a smooth map has the shapes that are met in practice."""
        values = np.random.default_rng(seed).integers(0, levels, grid if smooth else shape) / (levels - 1)
        pixels = torch.from_numpy(values.astype(np.float32))
        normalized = (resize_map(pixels, shape) if smooth else pixels).numpy()
        masks = brute_force(normalized, threshold, np.ones(shape, dtype=bool))[: None if multiple else 1]
        found = locate(normalized, threshold, multiple)
        assert len(found) == len(masks)
        assert (found.boxes.dtype, found.labels.dtype, found.labels.shape) == (np.int64, np.int32, shape)
        assert found.boxes.tolist() == [box_around(mask) for mask in masks]
        for index, mask in enumerate(masks):
            assert np.array_equal(found.mask(index), mask)
            assert np.array_equal(found.labels == index + 1, mask)
            assert found.peak(index, normalized) == normalized[mask].max()
        assert np.array_equal(found.labels > 0, np.any(masks, axis=0))

    def test_are_ordered_by_size_then_by_scan(self):
        found = locate(draw("#..##", "....#", "##...", "..#.."), 0.5, multiple=True)
        # The last two rows join at a corner: three pixels, like the component above, which the scan meets first.
        assert found.labels.tolist() == [[3, 0, 0, 1, 1], [0, 0, 0, 0, 1], [2, 2, 0, 0, 0], [0, 0, 2, 0, 0]]
        assert found.boxes.tolist() == [[3, 0, 5, 2], [0, 2, 3, 4], [0, 0, 1, 1]]

    def test_one_box_is_that_of_the_largest_component(self):
        normalized = torch.tensor([[0.9, 0.0, 0.0, 0.0], [0.0, 0.0, 0.6, 0.6], [0.0, 0.0, 0.6, 0.3]])
        found = locate(normalized, 0.5)
        assert found.boxes.tolist() == [[2, 1, 4, 3]]
        assert found.mask(0).tolist() == draw("....", "..##", "..#.").tolist()
        assert found.mask(-1).tolist() == found.mask(0).tolist()
        with pytest.raises(IndexError):
            found.mask(1)

    @pytest.mark.parametrize("multiple", [False, True])
    def test_nothing_above_the_threshold_is_the_whole_map(self, multiple):
        found = locate(np.zeros((3, 5)), 0.0, multiple=multiple)
        assert found.boxes.tolist() == [[0, 0, 5, 3]]
        assert found.mask(0).shape == (3, 5) and found.mask(0).all()

    def test_nothing_above_the_threshold_is_what_the_caller_says(self):
        found = locate(np.zeros((3, 5)), 0.0, fallback_box=(1, 0, 4, 2))
        assert found.boxes.tolist() == [[1, 0, 4, 2]]
        assert found.mask(0).tolist() == draw(".###.", ".###.", ".....").tolist()

    def test_foreground_is_strictly_above_the_threshold_in_float32(self):
        normalized = torch.tensor([[0.4, 0.5]])
        assert locate(normalized, 0.4).boxes.tolist() == [[1, 0, 2, 1]]
        assert locate(normalized.double().numpy(), 0.4).boxes.tolist() == [[1, 0, 2, 1]]

    def test_low_precision_maps_with_gradients_are_taken(self):
        normalized = torch.tensor([[0.25, 0.75]], dtype=torch.bfloat16, requires_grad=True)
        assert locate(normalized, 0.5).boxes.tolist() == [[1, 0, 2, 1]]

    def test_memory_does_not_grow_with_the_number_of_components(self):
        """Counted by NumPy's own allocations: a byte for the foreground, four for the labels, and parts of the map."""
        side = 1000
        for every in (500, 20):
            normalized = np.zeros((side, side), dtype=np.float32)
            normalized[every // 2 :: every, every // 2 :: every] = 1.0
            tracemalloc.start()
            found = locate(normalized, 0.5, multiple=True)
            peaks = [found.peak(index, normalized) for index in range(len(found))]
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peaks == [1.0] * (side // every) ** 2
            assert peak < 7 * side**2

    def test_errors(self):
        with pytest.raises(ValueError, match="`localization_threshold` must be between 0 and 1, got 40"):
            locate(torch.zeros(4, 4), 40)
        with pytest.raises(ValueError, match="`normalized_map` must be a non-empty"):
            locate(torch.zeros(1, 4, 4), 0.5)
        with pytest.raises(ValueError, match="`normalized_map` must be a non-empty"):
            locate(torch.zeros(0, 4), 0.5)


def masks_of(normalized_map: np.ndarray, indices: list[int]) -> Masks:
    components = locate(normalized_map, 0.5, multiple=True)
    return Masks([(components, index) for index in indices], normalized_map.shape)


class TestMasks:
    def test_rows_of_several_classes_share_a_component(self):
        masks = masks_of(draw("##.", "...", "..#"), [0, 1, 0])
        large, small = draw("##.", "...", "...").tolist(), draw("...", "...", "..#").tolist()
        assert len(masks) == 3
        assert [mask.tolist() for mask in masks] == [large, small, large]
        assert masks[-2].tolist() == small and masks[0].dtype == torch.bool
        assert masks[1:].tolist() == [small, large]
        assert masks[:].shape == (3, 3, 3) and masks[3:].shape == (0, 3, 3)
        with pytest.raises(IndexError):
            masks[3]

    def test_pytorch_takes_them_for_a_tensor(self):
        masks = masks_of(draw("##.", "...", "..#"), [0, 1])
        expected = torch.from_numpy(np.stack([draw("##.", "...", "..."), draw("...", "...", "..#")]))
        assert masks.shape == (2, 3, 3) and masks.dtype == torch.bool
        assert torch.equal(masks, expected) and torch.equal(masks.float(), expected.float())
        assert torch.equal(torch.where(masks, 1, 0), expected.long())
        assert masks.sum(dim=(1, 2)).tolist() == [2, 1] and np.array_equal(masks.numpy(), expected.numpy())
        assert masks_of(draw("#."), []).shape == (0, 1, 2)

    def test_rows_by_pixel(self):
        masks = masks_of(draw("##.", "...", "..#"), [1, 0, 1])
        assert masks.numbered().tolist() == [[1, 1, -1], [-1, -1, -1], [-1, -1, 0]]
        assert masks.numbered().dtype == torch.int32
        assert masks_of(draw("#."), []).numbered().tolist() == [[-1, -1]]

    def test_rows_of_several_maps(self):
        first, second = locate(draw("##", ".."), 0.5), locate(draw(".#", ".#"), 0.5)
        masks = Masks([(first, 0), (second, 0)], (2, 2))
        assert torch.equal(masks[:], torch.from_numpy(np.stack([draw("##", ".."), draw(".#", ".#")])).bool())
        assert masks.numbered().tolist() == [[0, 0], [-1, 1]]
        # the same place is one key, and another map's another, although its index is the same
        assert len({*masks.places, (first, 0)}) == 2

    def test_a_mask_is_the_callers_own(self):
        masks = masks_of(draw("#.", ".."), [0])
        masks[0].logical_not_()
        assert masks[0].tolist() == [[True, False], [False, False]]
