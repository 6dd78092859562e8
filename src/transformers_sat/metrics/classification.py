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
"""Classification beside localization: ranks of the true class, and ten-crop testing."""

import numpy as np
import torch

from .counting import CountingMetric


def ten_crop_probabilities(logits: torch.Tensor, has_independent_classes: bool = False) -> torch.Tensor:
    """
    Averages the class probabilities of several crops of an image.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_crops, num_labels)`):
            Logits of each crop, usually ten: four corners and the centre, and their mirror images.
        has_independent_classes (`bool`, *optional*, defaults to `False`):
            Whether each class has a probability of its own, as [`SATConfig.has_independent_classes`] says of a
            multi-label model.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_labels)`, float32: the mean over crops of the softmax of each, or of
        the sigmoids. It takes the place of `logits` in `BoxAccuracy.update`, beside the localization map of the centre crop.

    Raises:
        ValueError: If `logits` does not have three dimensions, or no crop.
    """
    logits = torch.as_tensor(logits)
    if logits.ndim != 3 or logits.shape[1] == 0:
        raise ValueError(
            f"`logits` must have the shape (batch_size, num_crops, num_labels), got {tuple(logits.shape)}."
        )
    logits = logits.float()
    probabilities = logits.sigmoid() if has_independent_classes else logits.softmax(dim=-1)
    return probabilities.mean(dim=1)


def ranks_of_labels(logits: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """
    How many classes come before the true one.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_labels)`):
            Logits or probabilities.
        labels (`torch.Tensor` of shape `(batch_size,)`):
            Indices of the true classes.

    Returns:
        `np.ndarray` of shape `(batch_size,)`, int64: 0 for the best class. Of equal classes the one with the lower
        index comes first, and a row with a NaN puts its true class last.

    Raises:
        ValueError: If the shapes do not fit each other or a label is not an index of a class.
    """
    logits, labels = torch.as_tensor(logits).detach().cpu(), torch.as_tensor(labels).detach().cpu()
    if logits.ndim != 2:
        raise ValueError(
            f"`logits` must have the shape (batch_size, num_labels), got {tuple(logits.shape)}. "
            "For several crops of an image, pass `ten_crop_probabilities(logits)`."
        )
    if labels.shape != logits.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"`labels` must hold one integer for each of the {len(logits)} rows of `logits`, "
            f"got shape {tuple(labels.shape)} and dtype {labels.dtype}."
        )
    num_labels = logits.shape[1]
    labels = labels.long()
    out_of_range = (labels < 0) | (labels >= num_labels)
    if out_of_range.any():
        raise ValueError(
            f"`labels` must be from 0 to {num_labels - 1}, as `logits` has {num_labels} classes; "
            f"got {labels[out_of_range].unique().tolist()}."
        )
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    true_logits = logits.gather(1, labels[:, None])
    ties_before = (logits == true_logits) & (torch.arange(num_labels) < labels[:, None])
    ranks = ((logits > true_logits) | ties_before).sum(dim=1)
    return ranks.masked_fill(logits.isnan().any(dim=1), num_labels).numpy()


class ClassAccuracy(CountingMetric):
    """Share of images whose class is right, for data that say nothing about places."""

    def __init__(self):
        super().__init__(images=(), top1=(), top5=(), top5_images=())

    def settings(self) -> dict:
        return {}

    def update(self, logits: torch.Tensor, labels: torch.Tensor):
        """
        Counts a batch of images.

        Args:
            logits (`torch.Tensor` of shape `(batch_size, num_labels)`): logits or probabilities.
            labels (`torch.Tensor` of shape `(batch_size,)`): indices of the true classes.
        """
        ranks = ranks_of_labels(logits, labels)
        self.counts["images"] += len(ranks)
        self.counts["top1"] += int((ranks < 1).sum())
        # the first five of fewer classes hold any label
        self.counts["top5"] += int((ranks < 5).sum()) if logits.shape[1] >= 5 else 0
        self.counts["top5_images"] += len(ranks) if logits.shape[1] >= 5 else 0

    def compute(self) -> dict:
        """
        Gives the figures of all images counted so far.

        Returns:
            `dict` with `num_images` and, in percent, `top1_cls` and `top5_cls`, which is `None` with fewer than five
            classes.
        """
        counts = {name: int(count) for name, count in self.counts.items()}
        return {
            "num_images": counts["images"],
            "top1_cls": 100.0 * counts["top1"] / counts["images"],
            "top5_cls": 100.0 * counts["top5"] / counts["top5_images"] if counts["top5_images"] else None,
        }


__all__ = ["ClassAccuracy", "ranks_of_labels", "ten_crop_probabilities"]
