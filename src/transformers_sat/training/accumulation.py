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
"""
The whole batch of a step whose gradient is accumulated over micro-batches.

The area loss is the distance of one mean, over all images of a step, from its target. The gradient of a micro-batch
depends on the others through the side of the target on which that mean lies. So their maps are looked at before.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import nn

from ..data.dataset import NOT_FOR_THE_MODEL


@dataclass(frozen=True)
class WholeBatch:
    """
    What the micro-batches of a step make together, over all processes.

    Args:
        area (`torch.Tensor` of shape `()`): mean of the localization maps of all images, in (0, 1).
        mean_size (`torch.Tensor` of shape `()`): images of a micro-batch, on average.
    """

    area: torch.Tensor
    mean_size: torch.Tensor

    def inputs_for(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the model has to know for the loss of a micro-batch."""
        # one for each image, which wrappers can split among devices
        return {"batch_area": self.area.expand(len(batch["pixel_values"]))}

    def weight_of(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The factor `()` of a micro-batch's loss in the mean over micro-batches and processes; 1 if all are equally large."""
        return len(batch["pixel_values"]) / self.mean_size


@torch.no_grad()
def look_at_whole_batch(
    accelerator: Accelerator, model: nn.Module, batches: Iterable[dict[str, torch.Tensor]]
) -> WholeBatch:
    """
    Looks at the maps of all images of a step, by a forward pass without gradient. The random state is set back: training
    on the same batches in the same order draws the same stochastic depth and dropout.

    Args:
        accelerator ([`~accelerate.Accelerator`]): of the training. All processes must call this.
        model (`nn.Module`): [`SATForWeaklySupervisedLocalization`], as it was prepared.
        batches (`Iterable[dict[str, torch.Tensor]]`):
            What [`collate_localization`] gives, the step's micro-batches on this process, on its device.

    Returns:
        [`WholeBatch`]
    """
    device = accelerator.device
    # MPS has a random state without devices, of which PyTorch's `fork_rng` knows nothing
    devices = [] if device.type in ("cpu", "mps") else [device]
    areas = []
    with torch.random.fork_rng(devices, device_type=device.type):
        for batch in batches:
            inputs = {name: value for name, value in batch.items() if name not in (*NOT_FOR_THE_MODEL, "labels")}
            maps = model(**inputs, output_class_maps=False).localization_map
            areas.append(maps.mean(dim=(1, 2)))
    area = torch.cat(areas)
    counted = torch.tensor([len(area), len(areas)], dtype=area.dtype, device=area.device)
    total, num_images, num_batches = accelerator.reduce(torch.cat((area.sum()[None], counted)), "sum")
    return WholeBatch(area=total / num_images, mean_size=num_images / num_batches)


__all__ = ["WholeBatch", "look_at_whole_batch"]
