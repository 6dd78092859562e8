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
"""Otsu's threshold of localization maps: where their values fall apart, whatever is in the images."""

import numpy as np
import torch

from .counting import CountingMetric
from .protocols import get_protocol


NUM_BINS = 256


class MapHistogram(CountingMetric):
    """
    The values of localization maps as post-processing cuts them: normalized, in pixels. No boxes, masks or classes are
    needed.

    Args:
        image_size (`int`, *optional*, defaults to 224): side of the square frame to which maps are resized.

    Example:

    ```python
    >>> import torch
    >>> from transformers_sat.metrics import MapHistogram

    >>> localization_maps = torch.zeros(1, 14, 14)
    >>> localization_maps[0, 2:8, 4:10] = 1.0
    >>> histogram = MapHistogram()
    >>> histogram.update(localization_maps)
    >>> round(histogram.otsu_threshold(), 2)
    0.46
    ```
    """

    def __init__(self, image_size: int = 224):
        self.protocol = get_protocol("sat")
        self.protocol.check_frame(image_size)
        self.image_size = image_size
        super().__init__(images=(), values=(NUM_BINS,))

    def settings(self) -> dict:
        return {"image_size": self.image_size}

    def update(self, localization_maps: torch.Tensor):
        """
        Counts the pixels of a batch.

        Args:
            localization_maps (`torch.Tensor` of shape `(batch_size, height, width)`):
                Maps of any resolution and range of values, on the CPU. Those that are not finite are left out.
        """
        maps = localization_maps[torch.from_numpy(self.protocol.finite_maps(localization_maps, self.image_size))]
        self.counts["images"] += len(maps)
        for localization_map in maps:
            values = self.protocol.map_in_frame(localization_map, self.image_size)
            self.counts["values"] += np.histogram(values, NUM_BINS, range=(0, 1))[0]

    def otsu_threshold(self) -> float:
        """
        Gives the threshold that parts all pixels into two groups with the largest variance between their means (Otsu,
        1979): the centre of the bin that is the last of the lower group.

        Raises:
            ValueError: If no map was counted, or all pixels have the same value.
        """
        values = self.counts["values"].astype(np.float64)
        if np.count_nonzero(values) < 2:
            raise ValueError("Otsu's threshold needs maps with two different values at least.")
        centers = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
        below, sums = values.cumsum()[:-1], (values * centers).cumsum()
        above = values.sum() - below
        with np.errstate(divide="ignore", invalid="ignore"):
            difference = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
        # nothing is parted where one group is empty
        between = np.where((below > 0) & (above > 0), below * above * difference**2, 0)
        return float(centers[between.argmax()])


__all__ = ["MapHistogram"]
