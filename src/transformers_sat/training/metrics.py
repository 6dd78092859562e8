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
"""`compute_metrics` for a plain Trainer, over the same counting as every other evaluation."""

from collections.abc import Sequence

from transformers import EvalPrediction

from ..data.dataset import NO_BOX
from ..evaluation.counts import SplitCounts, logged_figures
from ..metrics import Protocol


class LocalizationMetrics:
    """
    `compute_metrics` for [`~transformers.Trainer`], with `TrainingArguments(batch_eval_metrics=True)` and, with boxes,
    `label_names=["labels", "boxes"]`: batches are counted as they come, on any number of processes, and no map is
    kept.
    [`LocalizationTrainer`] needs none of this for rows in the schema.

    Args:
        image_size (`int`): the model's image size, which is the frame that boxes are compared in.
        protocol (`str` or [`~transformers_sat.metrics.Protocol`], *optional*, defaults to `"sat"`):
            See [`~transformers_sat.metrics.BoxAccuracy`].
        thresholds (`Sequence[float]`, *optional*): thresholds to count at; the protocol's own by default.
        with_boxes (`bool`, *optional*, defaults to `True`):
            Whether the examples have boxes. Without, only the classification is measured.

    Attributes:
        result (`dict`): all figures of the last evaluation, with their protocol and baselines.
    """

    def __init__(
        self,
        image_size: int,
        protocol: str | Protocol = "sat",
        thresholds: Sequence[float] | None = None,
        with_boxes: bool = True,
    ):
        self.result = None
        self._threshold = {}
        self._counts = SplitCounts(protocol, image_size, thresholds, has_boxes=with_boxes)

    def report_at(self, threshold: float, threshold_choice: str):
        """
        Reports at one threshold from now on, instead of the best on the evaluated split itself.

        Args:
            threshold (`float`): one of `thresholds`.
            threshold_choice (`str`): `"validation"` if it was chosen on another split, `"fixed"` if it was given.
        """
        self._threshold = {"threshold": threshold, "threshold_choice": threshold_choice}

    def __call__(self, prediction: EvalPrediction, compute_result: bool = True) -> dict[str, float]:
        logits, maps = prediction.predictions[:2]
        batch = {"labels": prediction.label_ids}
        if self._counts.boxes is not None:
            batch["labels"], boxes = prediction.label_ids
            batch["boxes"] = [rows[rows[:, 0] != NO_BOX] for rows in boxes.cpu().numpy()]
        self._counts.update(maps.cpu(), logits.cpu(), batch | {"labels": batch["labels"].cpu()})
        if not compute_result:
            return {}
        self.result = self._counts.compute(**self._threshold)
        self._counts.reset()
        # the rest, such as the baselines, stays in `result`
        return logged_figures(self.result)


__all__ = ["LocalizationMetrics"]
