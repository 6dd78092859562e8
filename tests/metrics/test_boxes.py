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

import cv2
import literal_protocols as literal
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transformers_sat.metrics import boxes_from_map
from transformers_sat.metrics.components import largest_component_boxes
from transformers_sat.model.localization_sat import locate


def drawn(*rows: str) -> torch.Tensor:
    """A map drawn with characters: 1 where there is a `#`."""
    return torch.tensor([[float(character == "#") for character in row] for row in rows])


def sat_box(localization_map: torch.Tensor, threshold: float = 0.5) -> list[int]:
    return boxes_from_map(localization_map, [threshold], "sat", image_size=len(localization_map))[0].tolist()


def wsoleval_box(localization_map: torch.Tensor, threshold: float = 0.5) -> list[int]:
    return boxes_from_map(localization_map, [threshold], "wsoleval", image_size=len(localization_map))[0].tolist()


class TestSatProtocol:
    def test_all_boxes_of_the_authors_evaluator(self, golden):
        boxes = np.stack([boxes_from_map(each, golden.thresholds, "sat") for each in golden.maps])
        assert boxes.shape == (200, 9, 4)
        assert boxes.dtype == np.int64
        np.testing.assert_array_equal(boxes, golden.predicted_boxes)

    def test_foreground_is_strictly_greater_in_float32(self):
        localization_map = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 1.0, 0.0]])
        middle = np.float32(0.5) / (np.float32(1.0) + np.float32(1e-5))
        assert sat_box(localization_map, float(middle)) == [1, 2, 2, 3]
        assert sat_box(localization_map, float(np.nextafter(middle, np.float32(0)))) == [1, 1, 2, 3]
        # Smaller than half a step of float32: as float64 it would be foreground.
        assert sat_box(localization_map, float(middle) - 1e-12) == [1, 2, 2, 3]

    def test_normalization_adds_an_epsilon_to_the_range(self):
        blob = drawn("....", ".##.", ".##.", "....")
        # With a range of 1e-5 the peak is one half.
        assert sat_box(blob * 1e-5, 0.4) == [1, 1, 3, 3]
        assert sat_box(blob * 1e-5, 0.6) == [0, 0, 4, 4]
        assert sat_box(blob * 1e-3, 0.6) == [1, 1, 3, 3]

    def test_normalization_comes_before_the_resize(self):
        # At 2 x 2 the peak is 1; bilinear at 3 x 3 keeps the corners only, and averages in the middle.
        localization_map = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        assert boxes_from_map(localization_map, [0.45, 0.55], "sat", image_size=3).tolist() == [
            [0, 0, 2, 2],
            [0, 0, 1, 1],
        ]

    def test_resize_is_bilinear_with_half_pixel_centres(self, golden):
        for localization_map in golden.maps[:40:3]:
            values = localization_map.numpy()
            normalized = (values - values.min()) / (values.max() - values.min() + np.float32(1e-5))
            pixels = cv2.resize(normalized, (224, 224), interpolation=cv2.INTER_LINEAR)
            expected = [locate(pixels, threshold).boxes[0].tolist() for threshold in (0.22, 0.47, 0.68)]
            assert boxes_from_map(localization_map, (0.22, 0.47, 0.68), "sat").tolist() == expected

    def test_pixels_that_touch_at_a_corner_are_one_component(self):
        assert sat_box(drawn("#....", ".#...", "..#..", "....#", "....#")) == [0, 0, 3, 3]
        assert sat_box(drawn("..#", ".#.", "#..")) == [0, 0, 3, 3]

    def test_the_component_with_the_most_pixels_is_kept(self):
        # The L spans more, the block has more pixels.
        assert sat_box(drawn("#.....", "#.....", "#..###", "#..###", "##.###", "......")) == [3, 2, 6, 5]

    def test_of_equal_components_the_scan_meets_the_topmost_first(self):
        assert sat_box(drawn(".....", "....#", "##..#", ".....", ".....")) == [4, 1, 5, 3]
        assert sat_box(drawn(".....", "#....", "#..##", ".....", ".....")) == [0, 1, 1, 3]

    def test_of_equal_components_that_start_in_a_row_the_leftmost_comes_first(self):
        assert sat_box(drawn(".....", "#.#.#", ".....", ".....", ".....")) == [0, 1, 1, 2]
        assert sat_box(drawn(".#..#", "#...#", ".....", ".....", ".....")) == [0, 0, 2, 2]

    def test_the_far_end_is_exclusive_up_to_the_border(self):
        assert sat_box(drawn("....", "..##", "..##", "..##")) == [2, 1, 4, 4]
        assert sat_box(drawn("....", ".#..", "....", "....")) == [1, 1, 2, 2]

    @pytest.mark.parametrize("value", [0.3, 0.0, float("nan"), float("inf")])
    def test_nothing_above_the_threshold_is_the_whole_image(self, value):
        localization_map = torch.full((14, 14), 0.3)
        localization_map[4, 5] = value if value != 0.0 else 0.3
        assert boxes_from_map(localization_map, [0.0, 0.5, 1.0], "sat").tolist() == [[0, 0, 224, 224]] * 3

    def test_needs_no_opencv(self, missing_opencv):
        assert sat_box(drawn("#.", "..")) == [0, 0, 1, 1]

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.4, 0.5, 0.6, 0.8]), st.tuples(*[st.integers(1, 12)] * 2))
    def test_components_equal_a_flood_fill(self, seed, density, shape):
        masks = np.random.default_rng(seed).random((20, *shape)) < density
        masks[3] = False
        expected = [literal.largest_component_box(mask) for mask in masks]
        assert largest_component_boxes(masks).tolist() == expected

    def test_components_of_windings(self):
        spiral = drawn("#######", "......#", "#####.#", "#...#.#", "#.###.#", "#.....#", "#######").numpy() > 0
        comb = drawn("#.#.#.#", "#.#.#.#", "#######", ".......", "##.##.#", "##.##.#", ".......").numpy() > 0
        masks = np.stack([spiral, comb, ~spiral, ~comb])
        assert largest_component_boxes(masks).tolist() == [literal.largest_component_box(mask) for mask in masks]


class TestWsolevalProtocol:
    THRESHOLDS = np.arange(0, 1, 0.001)

    @pytest.mark.parametrize("index", [0, 60, 75, 100, 115, 130, 150, 165, 175, 182, 188, 193, 197])
    def test_equals_one_contour_search_a_threshold(self, golden, index):
        # One map of each kind, at a size at which the literal version is bearable.
        localization_map = golden.maps[index]
        largest = boxes_from_map(localization_map, self.THRESHOLDS, "wsoleval", image_size=112)
        every = boxes_from_map(localization_map, self.THRESHOLDS, "wsoleval", image_size=112, multi_contour=True)
        assert largest.shape == (1000, 4)
        assert len(every) == 1000
        for threshold, box, boxes in zip(self.THRESHOLDS, largest, every, strict=True):
            array = localization_map.numpy()
            assert [box.tolist()] == literal.contour_boxes(array, threshold, 112, multi_contour=False).tolist()
            assert boxes.tolist() == literal.contour_boxes(array, threshold, 112, multi_contour=True).tolist()

    def test_equals_the_literal_version_at_the_published_size(self, golden):
        for index in (5, 70, 135):
            array = golden.maps[index].numpy()
            boxes = boxes_from_map(golden.maps[index], self.THRESHOLDS[::10], "wsoleval")
            expected = [
                literal.contour_boxes(array, each, 224, multi_contour=False)[0] for each in self.THRESHOLDS[::10]
            ]
            np.testing.assert_array_equal(boxes, expected)

    def test_a_threshold_is_truncated_to_a_grey_level_and_exceeded_strictly(self):
        # Grey levels 0, 127, 128 and 255; 0.5 * 255 = 127.5 counts as 127.
        localization_map = torch.tensor([[0, 127, 128, 255]] * 4) / 255 + 1e-4
        localization_map[:, 0], localization_map[:, 3] = 0.0, 1.0
        assert wsoleval_box(localization_map, 0.5) == [2, 0, 3, 3]
        assert wsoleval_box(localization_map, 0.498) == [1, 0, 3, 3]
        assert wsoleval_box(localization_map, 0.502) == [3, 0, 3, 3]

    def test_contour_area_is_not_pixel_count(self):
        # A line of seven pixels encloses nothing; the middles of the pixels of a 2 x 2 block enclose one.
        line_and_block = drawn(
            "........", ".######.", "......#.", "........", "........", "..##....", "..##....", "........"
        )
        assert wsoleval_box(line_and_block) == [2, 5, 4, 7]
        assert sat_box(line_and_block) == [1, 1, 7, 3]

    def test_far_ends_are_clipped_into_the_frame(self):
        assert wsoleval_box(drawn("......", "......", "..####", "..####", "..####", "..####")) == [2, 2, 5, 5]
        assert wsoleval_box(drawn("......", ".###..", ".###..", "......", "......", "......")) == [1, 1, 4, 3]

    @pytest.mark.parametrize("value", [0.7, float("nan"), float("inf")])
    @pytest.mark.parametrize("multi_contour", [False, True])
    def test_nothing_above_the_threshold_is_the_first_pixel(self, value, multi_contour):
        localization_map = torch.full((14, 14), 0.7)
        localization_map[2, 3] = value
        boxes = boxes_from_map(localization_map, [0.0, 0.5], "wsoleval", multi_contour=multi_contour)
        assert [np.reshape(each, (-1, 4)).tolist() for each in boxes] == [[[0, 0, 0, 0]]] * 2

    def test_all_contours_include_those_of_holes(self):
        ring = drawn(".......", ".#####.", ".#...#.", ".#...#.", ".#...#.", ".#####.", ".......")
        (boxes,) = boxes_from_map(ring, [0.5], "wsoleval", image_size=7, multi_contour=True)
        assert sorted(boxes.tolist()) == [[1, 1, 6, 6], [1, 1, 6, 6]]
        assert wsoleval_box(ring) == [1, 1, 6, 6]

    def test_normalization_comes_after_the_cubic_resize(self):
        # Cubic interpolation overshoots at the edge of the blob; the maximum that scales the threshold is the overshoot.
        blob = torch.zeros(14, 14)
        blob[4:9, 4:9] = 1.0
        scores = cv2.resize(blob.numpy(), (224, 224), interpolation=cv2.INTER_CUBIC)
        assert scores.max() > 1.05
        rows = np.flatnonzero((scores.max(axis=1) - scores.min()) / (scores.max() - scores.min()) * 255 >= 205)
        assert boxes_from_map(blob, [0.801], "wsoleval")[0, [1, 3]].tolist() == [rows[0], rows[-1] + 1]

    def test_a_map_in_float64_keeps_its_precision(self):
        # Less than half a step of float32 below the value at which a pixel becomes grey level 128.
        localization_map = torch.tensor([[0.0, 128 / 255 - 1e-12], [128 / 255 + 1e-12, 1.0]], dtype=torch.float64)
        (boxes,) = boxes_from_map(localization_map, [127.5 / 255], "wsoleval", image_size=2, multi_contour=True)
        assert boxes.tolist() == [[0, 1, 1, 1]]

    def test_without_opencv_the_error_says_what_to_install(self, missing_opencv):
        with pytest.raises(ImportError, match=r"pip install '\.\[eval\]'"):
            wsoleval_box(drawn("#.", ".."))


class TestArguments:
    @pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
    def test_arrays_and_low_precision_are_taken(self, golden, protocol):
        localization_map = golden.maps[3].bfloat16()
        expected = boxes_from_map(localization_map.float(), [0.4], protocol)
        np.testing.assert_array_equal(boxes_from_map(localization_map, [0.4], protocol), expected)
        np.testing.assert_array_equal(boxes_from_map(localization_map.float().numpy(), [0.4], protocol), expected)

    def test_errors_name_the_argument(self):
        localization_map = torch.rand(14, 14)
        with pytest.raises(ValueError, match="`protocol` must be one of"):
            boxes_from_map(localization_map, [0.5], "cub")
        with pytest.raises(ValueError, match="`thresholds` must be a list of numbers from 0 to 1"):
            boxes_from_map(localization_map, [0.5, 1.5], "sat")
        with pytest.raises(ValueError, match="`thresholds` must be a list of numbers from 0 to 1"):
            boxes_from_map(localization_map, [], "sat")
        with pytest.raises(ValueError, match="`multi_contour`"):
            boxes_from_map(localization_map, [0.5], "sat", multi_contour=True)
        with pytest.raises(ValueError, match="must have the shape"):
            boxes_from_map(localization_map[0], [0.5], "sat")
        with pytest.raises(ValueError, match="no empty side"):
            boxes_from_map(localization_map[:0], [0.5], "wsoleval")
        with pytest.raises(ValueError, match="side of the square frame"):
            boxes_from_map(localization_map, [0.5], "sat", image_size=(224, 224))
