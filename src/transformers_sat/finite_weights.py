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
"""Weights that are not finite are never written."""

from collections.abc import Mapping

import torch


class NonFiniteWeightsError(ValueError):
    """Weights are NaN or infinite."""


def check_finite_weights(state_dict: Mapping[str, torch.Tensor]):
    """
    Looks at all weights on their device, and waits for it once.

    Args:
        state_dict (`Mapping[str, torch.Tensor]`): weights by name, of any shapes.

    Raises:
        [`NonFiniteWeightsError`]: if any is NaN or infinite; the message has the first name.
    """
    floating = {name: tensor for name, tensor in state_dict.items() if tensor.is_floating_point()}
    if not floating:
        return
    # one number for each tensor, brought together before the first is read
    device = next(iter(floating.values())).device
    finite = torch.stack([tensor.isfinite().all().to(device) for tensor in floating.values()]).tolist()
    wrong = [name for name, is_finite in zip(floating, finite) if not is_finite]
    if wrong:
        raise NonFiniteWeightsError(
            f"{len(wrong)} of {len(state_dict)} weights are NaN or infinite, `{wrong[0]}` first: they are not saved."
        )


__all__ = ["NonFiniteWeightsError", "check_finite_weights"]
