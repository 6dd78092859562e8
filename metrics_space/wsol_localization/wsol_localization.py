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
"""Weakly supervised object localization as a metric for `evaluate`: the figures of `transformers_sat.metrics`."""

import datasets
import evaluate
import numpy as np
import torch

from transformers_sat.metrics import BoxAccuracy, ground_truth_boxes


_DESCRIPTION = """
Whether the box that is cut from a localization map is right, under one of two protocols of weakly supervised object
localization: "sat", that of the SAT paper, and "wsoleval", that of Choe et al. (CVPR 2020) with MaxBoxAcc and MaxBoxAccV2.
Their figures cannot be compared with each other.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `dict`): for each image
        - `localization_map`: rows of numbers, any resolution and range. It shows what the protocol shows: for "sat" the
          centre 7/8 of the image's sides, for "wsoleval" all of it.
        - `scores` (optional): a number for each class, the largest for the most likely. Or
        - `label` (optional): the most likely class.
    references (`list` of `dict`): for each image
        - `boxes`: true boxes (x, y, width, height) in pixels, at least one.
        - `image_size`: height and width in pixels.
        - `label`: the true class. Read only where the predictions have `scores` or `label`.
    protocol (`str`): "sat" (default) or "wsoleval".
    threshold (`float`): where the maps are cut. By default the best for these very images, as papers print it.
    thresholds (`list` of `float`): what the best is chosen from, the protocol's own by default.
    image_size (`int`): side of the square in which boxes are compared (224, that of published figures).
Returns:
    `dict` of figures in percent: `gt_known_loc`, `top1_loc`, `top5_loc`, `top1_cls`, `top5_cls`, `iou30`, `iou50`,
    `iou70`, under "wsoleval" also `max_box_acc` and `max_box_acc_v2` (`box_acc` and `box_acc_v2` at a given threshold);
    `protocol`, `threshold`, `threshold_choice` and `num_images`; `whole_image` and `center_box`, the figures of two
    boxes that look at nothing.
Examples:
    >>> import evaluate
    >>> metric = evaluate.load("metrics_space/wsol_localization")
    >>> localization_map = [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    >>> result = metric.compute(
    ...     predictions=[{"localization_map": localization_map, "label": 3}],
    ...     references=[{"boxes": [[28, 28, 44, 44]], "image_size": [100, 100], "label": 3}],
    ...     threshold=0.5,
    ... )
    >>> result["gt_known_loc"], result["top1_loc"], result["iou70"]
    (100.0, 100.0, 100.0)
"""

_CITATION = """
@inproceedings{wu2023spatial,
    title = {Spatial-Aware Token for Weakly Supervised Object Localization},
    author = {Wu, Pingyu and Zhai, Wei and Cao, Yang and Luo, Jiebo and Zha, Zheng-Jun},
    booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
    year = {2023}
}
@inproceedings{choe2020evaluating,
    title = {Evaluating Weakly Supervised Object Localization Methods Right},
    author = {Choe, Junsuk and Oh, Seong Joon and Lee, Seungho and Chun, Sanghyuk and Akata, Zeynep and Shim, Hyunjung},
    booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
    year = {2020}
}
"""

# What may be said of an image, and which of it may be left out.
PREDICTION = {
    "localization_map": datasets.Sequence(datasets.Sequence(datasets.Value("float32"))),
    "scores": datasets.Sequence(datasets.Value("float32")),
    "label": datasets.Value("int64"),
}
REFERENCE = {
    "boxes": datasets.Sequence(datasets.Sequence(datasets.Value("float64"), length=4)),
    "image_size": datasets.Sequence(datasets.Value("int64"), length=2),
    "label": datasets.Value("int64"),
}
OPTIONAL = ("scores", "label")


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class WsolLocalization(evaluate.Metric):
    """Figures of `transformers_sat.metrics.BoxAccuracy`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": PREDICTION, "references": REFERENCE}),
            reference_urls=["https://arxiv.org/abs/2303.10438", "https://arxiv.org/abs/2001.07437"],
        )

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Adds the predictions and references of some images."""
        predictions = [_completed(entry, "predictions", PREDICTION) for entry in predictions]
        references = [_completed(entry, "references", REFERENCE) for entry in references]
        super().add_batch(predictions=predictions, references=references, **kwargs)

    def add(self, *, prediction=None, reference=None, **kwargs):
        """Adds the prediction and the reference of an image."""
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def _compute(self, predictions, references, protocol="sat", threshold=None, thresholds=None, image_size=224):
        if thresholds is None and threshold is not None:
            thresholds = [threshold]
        metric = BoxAccuracy(protocol, thresholds, image_size=image_size)
        # one by one: maps may differ in resolution
        for prediction, reference in zip(predictions, references):
            localization_map = torch.tensor(prediction["localization_map"], dtype=torch.float32)
            boxes = ground_truth_boxes(np.array(reference["boxes"]), reference["image_size"], protocol, image_size)
            logits, labels = _classification(prediction, reference)
            metric.update(localization_map[None], [boxes], logits, labels)
        return metric.compute(threshold)


def _completed(entry: dict, name: str, features: dict) -> dict:
    """The entry with `None` for what may be left out: `evaluate` knows no optional entries."""
    expected = ", ".join(f"`{key}`" + " (optional)" * (key in OPTIONAL) for key in features)
    missing = [key for key in features if key not in OPTIONAL and (not isinstance(entry, dict) or key not in entry)]
    if missing or not entry.keys() <= features.keys():
        given = list(entry) if isinstance(entry, dict) else entry
        raise ValueError(f"`{name}` must be dictionaries with {expected}; got {given}.")
    return {key: entry.get(key) for key in features}


def _classification(prediction: dict, reference: dict):
    """Scores of the classes and the true class, or nothing."""
    if prediction["scores"] is None and prediction["label"] is None:
        return None, None
    if reference["label"] is None:
        raise ValueError("`references` must have a `label` each, as the predictions say a class.")
    if prediction["scores"] is not None:
        return torch.tensor([prediction["scores"]]), torch.tensor([reference["label"]])
    # two classes, the true one and the others: that leaves Top-5 undefined, as it is
    is_right = prediction["label"] == reference["label"]
    return torch.tensor([[float(is_right), float(not is_right)]]), torch.tensor([0])
