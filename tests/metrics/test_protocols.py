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

import literal_protocols as literal
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformers_sat.metrics import box_iou, boxes_from_map, ground_truth_boxes, resized_side
from transformers_sat.metrics.protocols import get_protocol


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
