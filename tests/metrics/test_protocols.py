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

import ast
from pathlib import Path

import cv2
import literal_protocols as literal
import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transformers_sat import SATImageProcessorPil
from transformers_sat.metrics import (
    PROTOCOLS,
    BoxAccuracy,
    box_iou,
    boxes_from_map,
    get_protocol,
    ground_truth_boxes,
    resized_side,
)
from transformers_sat.metrics.protocols import SatProtocol


class TestGroundTruthBoxes:
    def test_sat_follows_the_resize_and_the_centre_crop(self):
        # 512 x 1024 pixels become 256 x 256: half in y, a quarter in x; then the crop takes 16 off.
        bbox = [[400, 100, 200, 150]]
        assert ground_truth_boxes(bbox, (512, 1024), "sat").tolist() == [[84, 34, 134, 109]]

    def test_sat_clips_to_the_crop(self):
        assert ground_truth_boxes([[0, 0, 256, 256]], (256, 256), "sat").tolist() == [[0, 0, 223, 223]]
        assert ground_truth_boxes([[10, 20, 240, 100]], (256, 256), "sat").tolist() == [[0, 4, 223, 104]]

    def test_a_box_outside_the_crop_ends_before_it_starts_and_is_met_by_nothing(self):
        boxes = ground_truth_boxes([[250, 100, 5, 50], [0, 100, 8, 50]], (256, 256), "sat")
        assert boxes.tolist() == [[234, 84, 223, 134], [0, 84, -8, 134]]
        assert box_iou(np.array([0, 0, 224, 224]), boxes).tolist() == [0.0, 0.0]

    def test_wsoleval_scales_and_does_not_clip(self):
        assert ground_truth_boxes([[400, 100, 200, 150]], (448, 896), "wsoleval").tolist() == [[100, 50, 150, 125]]
        assert ground_truth_boxes([[0, 0, 300, 200]], (200, 300), "wsoleval").tolist() == [[0, 0, 224, 224]]

    @pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
    def test_coordinates_are_truncated_toward_zero(self, protocol):
        # 99.9 -> 87.4125 or 83.9 in the frame; -3.5 + width stays on the negative side of the crop.
        expected = {"sat": [83, 83, 133, 133], "wsoleval": [87, 87, 131, 131]}
        assert ground_truth_boxes([[99.9, 99.9, 50, 50]], (256, 256), protocol).tolist() == [expected[protocol]]
        assert ground_truth_boxes([[0, 0, 15.5, 15.5]], (256, 256), "sat").tolist() == [[0, 0, 0, 0]]

    def test_smaller_frames_keep_the_proportions(self):
        assert (resized_side("sat"), resized_side("wsoleval")) == (256, 224)
        assert (resized_side("sat", 64), resized_side("wsoleval", 64)) == (73, 64)
        assert ground_truth_boxes([[0, 0, 64, 64]], (64, 64), "sat", frame_size=64).tolist() == [[0, 0, 63, 63]]
        # 32 / 64 * 73 - 4 = 32.5
        assert ground_truth_boxes([[32, 32, 16, 16]], (64, 64), "sat", frame_size=64).tolist() == [[32, 32, 50, 50]]
        assert ground_truth_boxes([[32, 32, 16, 16]], (64, 64), "wsoleval", frame_size=64).tolist() == [
            [32, 32, 48, 48]
        ]

    def test_no_box_stays_no_box(self):
        assert ground_truth_boxes([], (10, 10), "sat").shape == (0, 4)

    def test_errors(self):
        with pytest.raises(ValueError, match=r"`bbox` must have the shape \(num_boxes, 4\)"):
            ground_truth_boxes([1, 2, 3, 4], (10, 10), "sat")
        with pytest.raises(ValueError, match="no negative side"):
            ground_truth_boxes([[5, 5, -2, 3]], (10, 10), "sat")
        with pytest.raises(ValueError, match="finite"):
            ground_truth_boxes([[5, float("nan"), 2, 3]], (10, 10), "sat")
        with pytest.raises(ValueError, match="`image_size` must be a positive"):
            ground_truth_boxes([[5, 5, 2, 3]], (10, 0), "sat")
        with pytest.raises(ValueError, match="`protocol` must be one of"):
            ground_truth_boxes([[5, 5, 2, 3]], (10, 10), "SAT")


corner = st.integers(0, 12)


class TestBoxIou:
    @given(st.tuples(*[corner] * 4), st.tuples(*[corner] * 4))
    def test_counts_the_pixels_of_boxes_with_both_ends_inside(self, first, second):
        boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in (first, second)]
        masks = np.zeros((2, 13, 13), dtype=bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
        expected = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
        assert box_iou(np.array(boxes[0]), np.array(boxes[1])) == expected
        assert literal.iou(*boxes) == expected

    def test_the_whole_image_does_not_quite_reach_1_under_sat(self):
        assert round(float(box_iou(np.array([0, 0, 224, 224]), np.array([0, 0, 223, 223]))), 3) == 0.991

    def test_leading_dimensions_broadcast(self):
        boxes = np.random.default_rng(0).integers(0, 20, (5, 1, 4))
        others = np.random.default_rng(1).integers(0, 20, (3, 4))
        ious = box_iou(boxes, others)
        assert ious.shape == (5, 3)
        assert ious[2, 1] == box_iou(boxes[2, 0], others[1])

    def test_two_boxes_that_end_before_they_start_have_no_overlap(self):
        assert box_iou(np.array([5, 5, 4, 4]), np.array([5, 5, 3, 9])) == 0


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
def test_centred_boxes_are_those_of_centred_squares(protocol):
    boxes = get_protocol(protocol).centered_boxes(9)
    # A square that fills the frame would be a constant map: draw it in one that is two pixels larger.
    for side in range(1, 9):
        square = np.zeros((9, 9), dtype=np.float32)
        start = (9 - side) // 2
        square[start : start + side, start : start + side] = 1
        assert boxes[side - 1].tolist() == boxes_from_map(square, [0.5], protocol, image_size=9)[0].tolist()
    assert boxes[8].tolist() == {"sat": [0, 0, 9, 9], "wsoleval": [0, 0, 8, 8]}[protocol]


class TestGetProtocol:
    def test_by_name_and_as_it_is(self):
        assert [get_protocol(name).name for name in ("sat", "wsoleval")] == ["sat", "wsoleval"]
        assert list(PROTOCOLS) == ["sat", "wsoleval"]
        for protocol in PROTOCOLS.values():
            assert get_protocol(protocol) is protocol

    @pytest.mark.parametrize("name", ["SAT", "", None, 3, ["sat"], SatProtocol])
    def test_what_is_no_protocol_is_named(self, name):
        with pytest.raises(ValueError, match=r"`protocol` must be one of \('sat', 'wsoleval'\), got ") as error:
            get_protocol(name)
        assert str(error.value).endswith(f"got {name!r}.")

    @pytest.mark.parametrize("name", ["sat", "wsoleval"])
    def test_functions_and_metrics_take_either(self, golden, name):
        protocol = get_protocol(name)
        bbox, localization_map = [[12.5, 30, 90, 41]], golden.maps[3]
        np.testing.assert_array_equal(
            ground_truth_boxes(bbox, (130, 170), protocol), ground_truth_boxes(bbox, (130, 170), name)
        )
        np.testing.assert_array_equal(
            boxes_from_map(localization_map, [0.3, 0.6], protocol), boxes_from_map(localization_map, [0.3, 0.6], name)
        )
        assert resized_side(protocol, 64) == resized_side(name, 64)
        assert BoxAccuracy(protocol, [0.5]).settings() == BoxAccuracy(name, [0.5]).settings()


class TestFrame:
    @pytest.mark.parametrize(
        ("name", "frame_size", "side", "crops"),
        [("sat", 224, 256, True), ("sat", 64, 73, True), ("wsoleval", 224, 224, False), ("wsoleval", 64, 64, False)],
    )
    def test_what_an_image_processor_is_told(self, name, frame_size, side, crops):
        assert get_protocol(name).processor_settings(frame_size) == {
            "size": {"height": side, "width": side},
            "do_center_crop": crops,
            "crop_size": {"height": frame_size, "width": frame_size},
        }

    @pytest.mark.parametrize("name", ["sat", "wsoleval"])
    def test_the_image_in_the_frame_is_what_the_processor_shows_the_model(self, name):
        pixels = np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)
        image, protocol = PIL.Image.fromarray(pixels), get_protocol(name)
        processor = SATImageProcessorPil(**protocol.processor_settings(64), do_rescale=False, do_normalize=False)
        (seen,) = processor(image, return_tensors="np")["pixel_values"]
        in_frame = protocol.image_in_frame(image, 64)
        assert in_frame.size == (64, 64)
        np.testing.assert_array_equal(np.moveaxis(np.asarray(in_frame), -1, 0), seen)

    @pytest.mark.parametrize(("name", "side", "start"), [("sat", 73, 4), ("wsoleval", 64, 0)])
    def test_a_mask_is_brought_there_by_nearest_pixel(self, name, side, start):
        mask = np.random.default_rng(0).random((90, 140)) < 0.5
        # the pixel at the whole part of each position
        rows, columns = ((np.arange(side) * length / side).astype(int) for length in mask.shape)
        expected = mask[np.ix_(rows, columns)][start : start + 64, start : start + 64]
        protocol = get_protocol(name)
        in_frame = protocol.mask_in_frame(mask, 64)
        assert in_frame.dtype == bool
        np.testing.assert_array_equal(in_frame, expected)
        # whatever its layout in memory, and numbers for bits
        np.testing.assert_array_equal(protocol.mask_in_frame(np.asfortranarray(mask), 64), expected)
        np.testing.assert_array_equal(protocol.mask_in_frame(np.uint8(255) * mask, 64), expected)

    @pytest.mark.parametrize("name", ["sat", "wsoleval"])
    def test_a_mask_lands_where_its_box_does(self, name):
        mask = np.zeros((448, 512), dtype=bool)
        mask[120:300, 160:400] = True
        in_frame = get_protocol(name).mask_in_frame(mask)
        ((x0, y0, x1, y1),) = ground_truth_boxes([[160, 120, 240, 180]], mask.shape, name)
        rows, columns = np.flatnonzero(in_frame.any(axis=1)), np.flatnonzero(in_frame.any(axis=0))
        # true boxes are truncated, and what the nearest pixel is differs by as much
        assert np.abs([columns[0] - x0, rows[0] - y0, columns[-1] + 1 - x1, rows[-1] + 1 - y1]).max() <= 1

    @pytest.mark.parametrize("name", ["sat", "wsoleval"])
    @pytest.mark.parametrize("frame_size", [1, -3, 22.4, (224, 224), None])
    def test_a_frame_that_cannot_be(self, name, frame_size):
        for ask in (get_protocol(name).resized_side, get_protocol(name).processor_settings):
            with pytest.raises(ValueError, match="side of the square frame must be an integer of at least 2"):
                ask(frame_size)


class TestMapInFrame:
    def test_sat_normalizes_first_and_resizes_bilinearly(self, golden):
        values = golden.maps[3].numpy()
        normalized = (values - values.min()) / (values.max() - values.min() + np.float32(1e-5))
        expected = cv2.resize(normalized, (64, 64), interpolation=cv2.INTER_LINEAR)
        in_frame = get_protocol("sat").map_in_frame(golden.maps[3], 64)
        np.testing.assert_allclose(in_frame, expected, atol=1e-6)
        assert in_frame.max() < 1

    def test_wsoleval_resizes_bicubically_and_normalizes_last(self, golden):
        in_frame = get_protocol("wsoleval").map_in_frame(golden.maps[3], 64)
        np.testing.assert_array_equal(in_frame, literal.score_map(golden.maps[3].numpy(), 64))
        assert (in_frame.min(), in_frame.max()) == (0, 1)

    @pytest.mark.parametrize("name", ["sat", "wsoleval"])
    @pytest.mark.parametrize("value", [0.7, float("nan"), float("inf")])
    def test_a_map_that_shows_nothing_is_zero(self, name, value):
        localization_map = torch.full((14, 14), 0.7)
        localization_map[2, 3] = value
        np.testing.assert_array_equal(get_protocol(name).map_in_frame(localization_map, 32), np.zeros((32, 32)))


class TestThresholds:
    def test_those_that_are_counted_at_by_default(self):
        assert get_protocol("sat").thresholds == (0.3, 0.35, 0.4, 0.45)
        np.testing.assert_array_equal(get_protocol("wsoleval").thresholds, np.arange(0, 1, 0.001))

    @pytest.mark.parametrize("threshold", ["oracle", "validation"])
    def test_those_that_one_is_chosen_from(self, threshold):
        chosen_from = get_protocol("sat").thresholds_to_count(threshold)
        assert list(chosen_from) == pytest.approx(np.linspace(0.05, 0.95, 19))
        assert set(get_protocol("sat").thresholds) <= set(chosen_from)
        np.testing.assert_array_equal(get_protocol("wsoleval").thresholds_to_count(threshold), np.arange(0, 1, 0.001))
        assert get_protocol("wsoleval").thresholds_to_count(threshold, [0.2, 0.1]) == [0.2, 0.1]

    @pytest.mark.parametrize(("name", "number"), [("sat", 20), ("wsoleval", 1001)])
    def test_a_given_one_is_put_among_them(self, name, number):
        thresholds = get_protocol(name).thresholds_to_count(0.1234)
        assert len(thresholds) == number
        assert thresholds == sorted(thresholds)
        assert 0.1234 in thresholds

    def test_a_given_one_takes_the_place_of_its_equal(self):
        near = 0.4 + 1e-12
        assert get_protocol("sat").thresholds_to_count(near, [0.3, 0.4, 0.5]) == [0.3, near, 0.5]

    def test_which_is_best(self):
        gt_known, top1 = np.array([3, 5, 4, 4]), np.array([1, 0, 3, 3])
        assert get_protocol("sat").best_choice(gt_known, top1) == 2
        assert get_protocol("wsoleval").best_choice(gt_known, top1) == 1
        for protocol in PROTOCOLS.values():
            assert protocol.best_choice(np.array([2, 2]), np.array([1, 1])) == 0


def test_share_of_the_frame_that_the_largest_true_box_covers():
    for protocol in PROTOCOLS.values():
        # corners are inside, so half of the frame ends on column 111
        assert protocol.largest_share(np.array([[3, 3, 9, 9], [0, 0, 111, 223]])) == 0.5
        assert protocol.largest_share(np.array([[-50, -50, 400, 111]])) == 0.5
        # outside the crop: it ends before it starts
        assert protocol.largest_share(np.array([[234, 84, 223, 83]])) == 0


def test_true_boxes_are_drawn_with_their_last_pixel():
    for protocol in PROTOCOLS.values():
        assert protocol.drawn_boxes([[3, 4, 9, 10], [0, 0, 223, 223]]) == [[3, 4, 10, 11], [0, 0, 224, 224]]
        assert protocol.drawn_boxes([]) == []


def test_only_wsoleval_needs_opencv(missing_opencv):
    get_protocol("sat").check_requirements()
    with pytest.raises(ImportError, match=r"pip install '\.\[eval\]'"):
        get_protocol("wsoleval").check_requirements()


def test_a_protocol_of_ones_own_needs_nothing_but_its_object():
    """What differs is asked of the object, whatever its name: here an IoU without the pixel that is added."""

    class PlainIou(SatProtocol):
        name = "plain"
        thresholds = (0.5,)

        def iou(self, boxes, true_boxes):
            width, height = (
                np.minimum(boxes[..., axis + 2], true_boxes[..., axis + 2])
                - np.maximum(boxes[..., axis], true_boxes[..., axis])
                for axis in (0, 1)
            )
            area = np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)
            both = np.maximum(width, 0) * np.maximum(height, 0)
            return both / (area + np.prod(true_boxes[..., 2:] - true_boxes[..., :2], axis=-1) - both)

    localization_map = torch.zeros(1, 8, 8)
    localization_map[0, 2:4, 2:6] = 1
    metric = BoxAccuracy(PlainIou(), image_size=8)
    assert metric.update(localization_map, [[[2, 2, 6, 4], [2, 3, 6, 6]]]).tolist() == [[1.0]]
    assert metric.update(localization_map, [[[2, 3, 6, 5]]]).tolist() == [[4 / 12]]
    figures = metric.compute()
    assert (figures["protocol"], figures["gt_known_loc"], figures["iou30"]) == ("plain", 50, 100)
    with pytest.raises(ValueError, match="`protocol`: 'plain' and 'sat'"):
        metric.merge(BoxAccuracy("sat", [0.5], image_size=8))


def test_no_code_compares_the_name_of_a_protocol():
    """What differs between protocols is in their objects alone."""
    root = Path(__file__).parents[2]
    files = [
        file for folder in ("src", "examples", "benchmarks", "metrics_space") for file in (root / folder).rglob("*.py")
    ]
    assert len(files) > 50
    found = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare | ast.MatchValue):
                constants = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
                if not constants.isdisjoint(PROTOCOLS):
                    found.append(f"{file.relative_to(root)}:{node.lineno}")
    assert found == []
