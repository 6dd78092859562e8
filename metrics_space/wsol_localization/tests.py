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
"""Cases with known results, as Spaces of metrics have them."""

MAP = [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]

# The map's object is in the middle of the image. The second image has two true boxes, of which one is met.
EXAMPLE = {
    "predictions": [{"localization_map": MAP, "label": 3}, {"localization_map": MAP, "label": 1}],
    "references": [
        {"boxes": [[28, 28, 44, 44]], "image_size": [100, 100], "label": 3},
        {"boxes": [[0, 0, 20, 20], [56, 28, 88, 44]], "image_size": [100, 200], "label": 0},
    ],
}

test_cases = [
    {
        **EXAMPLE,
        "kwargs": {"protocol": "sat", "threshold": 0.5},
        "result": {"gt_known_loc": 100.0, "top1_cls": 50.0, "top1_loc": 50.0, "top5_loc": None, "num_images": 2},
    },
    {
        **EXAMPLE,
        "kwargs": {"protocol": "wsoleval"},
        "result": {"max_box_acc": 100.0, "top1_cls": 50.0, "top1_loc": 50.0, "threshold_choice": "oracle"},
    },
    {
        # a map that shows nothing is the whole image under this protocol
        "predictions": [{"localization_map": [[1.0, 1.0], [1.0, 1.0]]}],
        "references": [{"boxes": [[0, 0, 50, 50]], "image_size": [50, 50]}],
        "kwargs": {"protocol": "sat", "threshold": 0.5},
        "result": {"gt_known_loc": 100.0, "top1_cls": None, "top1_loc": None, "threshold_choice": "fixed"},
    },
]
