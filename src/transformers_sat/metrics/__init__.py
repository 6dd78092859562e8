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
"""Localization metrics whose figures can be cited: two protocols, never mixed."""

from .box_accuracy import BoxAccuracy
from .boxes import boxes_from_map, ground_truth_boxes, resized_side
from .classification import ten_crop_probabilities
from .otsu import MapHistogram
from .pixel_average_precision import PixelAveragePrecision
from .protocols import PROTOCOLS, Protocol, box_iou, get_protocol


__all__ = [
    "PROTOCOLS",
    "BoxAccuracy",
    "MapHistogram",
    "PixelAveragePrecision",
    "Protocol",
    "box_iou",
    "boxes_from_map",
    "get_protocol",
    "ground_truth_boxes",
    "resized_side",
    "ten_crop_probabilities",
]
