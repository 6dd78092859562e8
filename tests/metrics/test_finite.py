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
"""Maps near the largest numbers: what overflows on the way to a score is not finite, and is counted so."""

import numpy as np
import pytest
import torch

from transformers_sat.metrics import BoxAccuracy, PixelAveragePrecision
from transformers_sat.metrics.contours import resize_and_normalize
from transformers_sat.metrics.protocols import get_protocol


def checkered(value: float, dtype=np.float32) -> np.ndarray:
    """Neighbours differ as much as they can: cubic interpolation overshoots."""
    pattern = np.indices((14, 14)).sum(axis=0) % 2
    return (pattern * value).astype(dtype)


def blob(scale: float, dtype=np.float32) -> np.ndarray:
    """Smooth, so that nothing overshoots by much."""
    offset = np.arange(14) - 6.5
    return (np.exp(-(offset[:, None] ** 2 + offset**2) / 20) * scale).astype(dtype)


MAPS = {
    # name: map, and whether it is finite under sat and under wsoleval
    "small": (blob(1), True, True),
    "large and smooth": (blob(1e38), True, True),
    "range of more than the largest number": (
        np.where(checkered(1) > 0, 3e38, -3e38).astype(np.float32),
        False,
        False,
    ),
    "one cubic overshoot": (checkered(3.3e38), True, False),
    "constant": (np.full((14, 14), 3.4e38, np.float32), True, True),
    "nan": (np.where(checkered(1) > 0, np.nan, 1).astype(np.float32), False, False),
    "infinity": (np.where(checkered(1) > 0, np.inf, 1).astype(np.float32), False, False),
    # sat computes in float32, wsoleval keeps doubles
    "double": (blob(1e300, np.float64), False, True),
    "largest double": (checkered(1.7e308, np.float64), False, False),
    "half": (blob(6e4, np.float16), True, True),
}


def test_the_maps_are_what_they_are_called():
    import cv2

    with np.errstate(all="ignore"):
        assert not np.isfinite(np.ptp(MAPS["range of more than the largest number"][0]))
    assert np.isfinite(MAPS["range of more than the largest number"][0]).all()
    assert np.isfinite(MAPS["one cubic overshoot"][0]).all()
    assert not np.isfinite(cv2.resize(MAPS["one cubic overshoot"][0], (224, 224), interpolation=cv2.INTER_CUBIC)).all()
    assert np.isfinite(cv2.resize(MAPS["large and smooth"][0], (224, 224), interpolation=cv2.INTER_CUBIC)).all()


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
def test_counted_in_boxes(name, protocol):
    array, *finite = MAPS[name]
    is_finite = finite[protocol == "wsoleval"]
    assert get_protocol(protocol).finite_maps(torch.from_numpy(array)[None]).tolist() == [is_finite]
    metric = BoxAccuracy(protocol)
    box = [np.array([[0, 0, 223, 223]])]
    ious = metric.update(torch.from_numpy(array)[None], box)
    assert metric.compute()["num_non_finite_maps"] == int(not is_finite)
    if not is_finite:
        nothing = BoxAccuracy(protocol).update(torch.zeros(1, 14, 14), box)
        np.testing.assert_array_equal(ious, nothing)


@pytest.mark.parametrize("name", MAPS)
def test_counted_in_pixels(name):
    array, _, is_finite = MAPS[name]
    metric = PixelAveragePrecision()
    metric.update(torch.from_numpy(array)[None], [np.eye(14, dtype=bool)])
    assert metric.compute()["num_non_finite_maps"] == int(not is_finite)
    resized = resize_and_normalize(torch.from_numpy(array), 224)
    assert np.isfinite(resized).all() and resized.min() >= 0 and resized.max() <= 1
    assert is_finite or not resized.any()


def test_many_maps_at_once():
    maps = torch.stack([torch.from_numpy(array).float() for array, *_ in MAPS.values()][:7])
    assert get_protocol("wsoleval").finite_maps(maps).tolist() == [finite for *_, finite in MAPS.values()][:7]
    assert get_protocol("sat").finite_maps(maps[:0]).tolist() == []
