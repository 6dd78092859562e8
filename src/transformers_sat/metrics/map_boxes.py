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
"""The boxes of one localization map at many thresholds."""

from dataclasses import dataclass

import numpy as np


@dataclass
class MapBoxes:
    """
    The boxes that are cut from one localization map. Thresholds that cut it alike share a level.

    Attributes:
        boxes (`np.ndarray` of shape `(num_boxes, 4)`):
            int64 corners `(x0, y0, x1, y1)` of the boxes of all levels, level by level.
        first (`np.ndarray` of shape `(num_levels,)`):
            Index of each level's first box. Every level has at least one.
        largest (`np.ndarray` of shape `(num_levels,)`):
            Index of the box around each level's largest component.
        level_of_threshold (`np.ndarray` of shape `(num_thresholds,)`):
            Level of each threshold.
    """

    boxes: np.ndarray
    first: np.ndarray
    largest: np.ndarray
    level_of_threshold: np.ndarray

    def of_largest(self) -> np.ndarray:
        """The box around the largest component at each threshold, of shape `(num_thresholds, 4)`."""
        return self.boxes[self.largest][self.level_of_threshold]

    def of_all(self) -> list[np.ndarray]:
        """All boxes at each threshold: `num_thresholds` arrays of shape `(num_boxes, 4)`."""
        per_level = np.split(self.boxes, self.first[1:])
        return [per_level[level] for level in self.level_of_threshold]


__all__ = ["MapBoxes"]
