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
"""A training that diverges stops at the first loss or gradient that is not finite, before it can ruin the weights."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from ..data.dataset import LocalizationDataset
from ..saving import NonFiniteWeightsError


# Folder of the weights from before the step that was not made.
LAST_WEIGHTS = "before_divergence"
# A message names so many images at most.
MOST_NAMED = 20


class TrainingDivergedError(ArithmeticError):
    """A loss or the gradient norm is not finite, or weights are not."""


class DivergenceWatch:
    """
    Looks at the losses and the gradient norm of every step, before its optimizer step is made.

    It waits for the device once a step, for two numbers, where Trainer's `logging_nan_inf_filter` waits for every
    batch; on several processes one more number is added up. That keeps the queue of work for an accelerator from
    reaching beyond the backward pass, so that it idles while the optimizer's first kernels are launched.

    Under a gradient scaler (float16), gradients that overflow are not divergence: the scaler leaves out the step and
    tries a smaller scale. They are once the scale is below 1, as nothing is scaled up any more.

    Args:
        accelerator ([`~accelerate.Accelerator`]): of the training.
        dataset ([`LocalizationDataset`]): the training images, to name them.
        output_dir (`str` or `Path`): the run's folder; the last weights go to `before_divergence` in it.
        save (`Callable[[str], None]`): writes the model into a folder; called on all processes.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        dataset: LocalizationDataset,
        output_dir: str | Path,
        save: Callable[[str], None],
    ):
        self.accelerator = accelerator
        self.dataset = dataset
        self.output_dir = output_dir
        self.save = save
        self._batches = []

    @torch.no_grad()
    def see(self, loss: torch.Tensor, batch: dict[str, torch.Tensor]):
        """
        Notes a batch of the step; nothing is read yet.

        Args:
            loss (`torch.Tensor`): its loss.
            batch (`dict[str, torch.Tensor]`):
                `pixel_values` of shape `(batch_size, num_channels, height, width)` and, if the images can be named,
                `rows` of shape `(batch_size,)`, see [`LocalizationDataset`].
        """
        has_finite_pixels = batch["pixel_values"].isfinite().flatten(1).all(dim=1)
        self._batches.append((loss.detach().float().sum(), has_finite_pixels, batch.get("rows")))

    def forget(self):
        """Drops what was noted: a training begins, perhaps after one whose batches did not fit in memory."""
        self._batches = []

    def check(self, step: int, grad_norm: torch.Tensor | float | None):
        """
        Ends the step's batches. All processes must call it, and all stop together.

        Args:
            step (`int`): number of the step, from 1, for the message.
            grad_norm (`torch.Tensor` or `float`): norm of the gradient over all processes, before it was clipped.

        Raises:
            [`TrainingDivergedError`]: if a loss on any process or the norm is not finite.
        """
        batches, self._batches = self._batches, []
        loss = float(torch.stack([loss for loss, _, _ in batches]).mean()) if batches else 0.0
        grad_norm = 0.0 if grad_norm is None else float(grad_norm)
        is_finite = math.isfinite(loss) and (math.isfinite(grad_norm) or self._scaler_leaves_out_the_step())
        if not self._on_any_process(not is_finite):
            return
        raise TrainingDivergedError(
            f"Training diverged at step {step}: the loss is {self._worst(loss)}, the gradient norm "
            f"{self._worst(grad_norm)}. The step was not made. {self._keep_weights()} {self._describe(batches)} Check "
            "them, or lower the learning rate."
        )

    def _scaler_leaves_out_the_step(self) -> bool:
        scaler = self.accelerator.scaler
        return scaler is not None and scaler.is_enabled() and scaler.get_scale() >= 1

    def _on_any_process(self, condition: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return condition
        count = torch.tensor(float(condition), device=self.accelerator.device)
        return self.accelerator.reduce(count, "sum").item() > 0

    def _worst(self, value: float) -> float:
        """That of the first process where it is not finite."""
        values = gather_object([value])
        return next((each for each in values if not math.isfinite(each)), values[0])

    def _keep_weights(self) -> str:
        folder = Path(self.output_dir, LAST_WEIGHTS)
        try:
            self.save(str(folder))
        except NonFiniteWeightsError:
            return "The step before it had made weights NaN or infinite, which are not saved."
        return f"The weights from before it are in {folder}."

    def _describe(self, batches: list) -> str:
        """The images of the step on all processes, those whose pixels are not finite first."""
        name_of = getattr(self.dataset, "name_of", "row {}".format)
        broken, others = [], []
        for _, has_finite_pixels, rows in batches:
            if rows is not None:
                for row, is_finite in zip(rows.tolist(), has_finite_pixels.tolist()):
                    (others if is_finite else broken).append(name_of(row))
        broken, others = gather_object(broken), gather_object(others)
        parts = [f"Images with pixels that are not finite: {_listed(broken)}."] if broken else []
        parts += [f"{'Other images' if broken else 'Images'} of the step: {_listed(others)}."] if others else []
        return " ".join(parts) or "Its images are not known."


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


__all__ = ["DivergenceWatch", "TrainingDivergedError"]
