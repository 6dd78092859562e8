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

import numpy as np

from transformers_sat.metrics.map_boxes import MapBoxes


def test_thresholds_of_a_level_share_its_boxes():
    boxes = np.array([[0, 0, 9, 9], [1, 1, 3, 3], [4, 4, 8, 8], [2, 2, 5, 5]])
    # one box at the first level, then two, the larger of which is the second, then one
    cut = MapBoxes(
        boxes, first=np.array([0, 1, 3]), largest=np.array([0, 2, 3]), level_of_threshold=np.array([0, 1, 1, 2])
    )
    assert cut.of_largest().tolist() == [[0, 0, 9, 9], [4, 4, 8, 8], [4, 4, 8, 8], [2, 2, 5, 5]]
    both = [[1, 1, 3, 3], [4, 4, 8, 8]]
    assert [each.tolist() for each in cut.of_all()] == [[[0, 0, 9, 9]], both, both, [[2, 2, 5, 5]]]
