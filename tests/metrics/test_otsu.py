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
"""Otsu's threshold of maps, beside scikit-image's of the same values."""

import numpy as np
import pytest
import skimage.filters
import torch

from transformers_sat.metrics import MapHistogram, get_protocol


def two_level_maps(count: int, seed: int = 0) -> torch.Tensor:
    """A bright square on a dark ground, both with noise."""
    random = np.random.default_rng(seed)
    maps = random.normal(0.2, 0.05, (count, 14, 14))
    maps[:, 4:9, 3:10] = random.normal(0.8, 0.05, (count, 5, 7))
    return torch.from_numpy(maps).float()


def test_as_scikit_image():
    maps = two_level_maps(5)
    histogram = MapHistogram()
    histogram.update(maps)
    values = np.stack([get_protocol("sat").map_in_frame(one) for one in maps])
    counts, edges = np.histogram(values, 256, range=(0, 1))
    expected = skimage.filters.threshold_otsu(hist=(counts, (edges[1:] + edges[:-1]) / 2))
    assert histogram.otsu_threshold() == pytest.approx(expected)
    assert 0.3 < expected < 0.7


def test_parts_are_added():
    whole, parts = MapHistogram(64), [MapHistogram(64), MapHistogram(64)]
    whole.update(maps := two_level_maps(6))
    parts[0].update(maps[:4])
    parts[1].update(maps[4:])
    assert parts[0].merge(parts[1]).otsu_threshold() == whole.otsu_threshold()
    assert parts[0].num_images == 6


def test_maps_that_are_not_finite_are_left_out():
    histogram, clean = MapHistogram(32), MapHistogram(32)
    maps = two_level_maps(4)
    clean.update(maps)
    histogram.update(torch.cat([maps, torch.full((1, 14, 14), float("nan"))]))
    assert histogram.num_images == 4 and histogram.otsu_threshold() == clean.otsu_threshold()


@pytest.mark.parametrize("maps", [torch.zeros(0, 4, 4), torch.ones(2, 4, 4)])
def test_nothing_to_part(maps):
    histogram = MapHistogram(32)
    histogram.update(maps)
    with pytest.raises(ValueError, match="two different values"):
        histogram.otsu_threshold()
