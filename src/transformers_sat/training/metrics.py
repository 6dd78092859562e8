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
"""The localization metrics as Trainer's `compute_metrics`."""

from collections.abc import Sequence

import numpy as np
from transformers import EvalPrediction

from ..data.dataset import NO_BOX
from ..metrics import BoxAccuracy, Protocol
from ..metrics.classification import ranks_of_labels
from ..results import FIGURES


class LocalizationMetrics:
    """
    `compute_metrics` for [`LocalizationTrainer`], with `TrainingArguments(batch_eval_metrics=True)`: batches are counted
    as they come, on any number of processes, and no map is kept.

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
        self.with_boxes = with_boxes
        self.result = None
        self._threshold = {}
        self._boxes = BoxAccuracy(protocol, thresholds=thresholds, image_size=image_size) if with_boxes else None
        self._ranks = []

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
        if self.with_boxes:
            labels, boxes = prediction.label_ids
            boxes = boxes.cpu().numpy()
            boxes = [rows[rows[:, 0] != NO_BOX] for rows in boxes]
            self._boxes.update(maps.cpu(), boxes, logits=logits.cpu(), labels=labels.cpu())
        else:
            self._ranks.append(ranks_of_labels(logits.cpu(), prediction.label_ids.cpu()))
        if not compute_result:
            return {}
        self.result = self._localization() if self.with_boxes else self._classification(logits.shape[1])
        # the rest, such as the baselines, stays in `result`
        return {name: self.result[name] for name in ("threshold", *FIGURES) if self.result.get(name) is not None}

    def _localization(self) -> dict:
        result = self._boxes.compute(**self._threshold)
        self._boxes.reset()
        for row in (result, result["whole_image"], result["center_box"]):
            row["mean_iou_levels"] = sum(row[name] for name in ("iou30", "iou50", "iou70")) / 3
        return result

    def _classification(self, num_labels: int) -> dict:
        ranks = np.concatenate(self._ranks)
        self._ranks = []
        return {
            "num_images": len(ranks),
            "top1_cls": 100.0 * float((ranks < 1).mean()),
            # the first five of fewer classes hold any label
            "top5_cls": 100.0 * float((ranks < 5).mean()) if num_labels >= 5 else None,
        }


__all__ = ["LocalizationMetrics"]
