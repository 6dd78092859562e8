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
"""Which maps are finite, also after what a protocol does to them first."""

import numpy as np
import torch

from .contours import resize_cubic
from .protocols import check_protocol


# Cubic interpolation overshoots by less than the largest value; what is smaller than this cannot overflow.
SAFE_SHARE = 1 / 8


def finite_maps(maps: torch.Tensor, protocol: str, image_size: int) -> np.ndarray:
    """
    Tells which maps of a batch are finite: their values, their range, and under `"wsoleval"` the map after the cubic
    resize too, which can be infinite where the values are near the largest number of their type. All others are scored as
    maps that show nothing.

    Args:
        maps (`torch.Tensor` of shape `(batch_size, height, width)`): maps on the CPU. What is not float64 under `"wsoleval"`
            is taken as float32, as in scoring.
        protocol (`str`): `"sat"` or `"wsoleval"`.
        image_size (`int`): side of the protocol's frame.

    Returns:
        `np.ndarray` of shape `(batch_size,)`, boolean.
    """
    check_protocol(protocol)
    keeps_double = protocol == "wsoleval" and maps.dtype == torch.float64
    values = maps.to(torch.float64 if keeps_double else torch.float32)
    smallest, largest = values.amin(dim=(-2, -1)), values.amax(dim=(-2, -1))
    # also NaN, which is both the smallest and the largest
    spread = largest - smallest
    finite = spread.isfinite().numpy()
    if protocol == "wsoleval":
        magnitude = torch.maximum(smallest.abs(), largest.abs())
        may_overflow = (magnitude > torch.finfo(values.dtype).max * SAFE_SHARE) & (spread > 0)
        for index in np.flatnonzero(finite & may_overflow.numpy()):
            resized = resize_cubic(values[index].numpy(), image_size)
            with np.errstate(over="ignore", invalid="ignore"):
                finite[index] = np.isfinite(resized.max() - resized.min())
    return finite


__all__ = ["finite_maps"]
