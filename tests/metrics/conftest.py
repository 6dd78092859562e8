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

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch


FIXTURES = Path(__file__).parent.parent / "fixtures"


class GoldenEvaluation:
    """200 maps with the boxes and figures that the authors' evaluator gave them at 9 thresholds."""

    def __init__(self):
        arrays = np.load(FIXTURES / "eval_reference.npz")
        self.maps = torch.from_numpy(arrays["maps"])
        self.boxes = [boxes[:number] for boxes, number in zip(arrays["boxes"], arrays["n_boxes"], strict=True)]
        self.logits = torch.from_numpy(arrays["logits"])
        self.ten_crop_logits = torch.from_numpy(arrays["tencrop_logits"])
        self.labels = torch.from_numpy(arrays["labels"])
        self.thresholds = arrays["thresholds"]
        self.predicted_boxes = arrays["bbox"]
        self.best_iou = arrays["best_iou"]
        self.figures = json.loads((FIXTURES / "eval_reference.json").read_text(encoding="utf-8"))

    @property
    def batch(self) -> dict:
        return {
            "localization_maps": self.maps,
            "boxes": self.boxes,
            "logits": self.logits,
            "labels": self.labels,
        }

    def part(self, indices) -> dict:
        indices = list(indices)
        return {
            "localization_maps": self.maps[indices],
            "boxes": [self.boxes[index] for index in indices],
            "logits": self.logits[indices],
            "labels": self.labels[indices],
        }


@pytest.fixture(scope="session")
def golden() -> GoldenEvaluation:
    return GoldenEvaluation()


@pytest.fixture
def missing_opencv(monkeypatch):
    # None in `sys.modules` makes the import statement fail.
    monkeypatch.setitem(sys.modules, "cv2", None)
