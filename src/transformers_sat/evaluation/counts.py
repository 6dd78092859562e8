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
"""Counting what a split is measured by, batch by batch: the same for an evaluation and for Trainer's metrics."""

from collections.abc import Sequence

import numpy as np
import torch

from ..metrics import BoxAccuracy, PixelAveragePrecision, Protocol, get_protocol
from ..metrics.classification import ClassAccuracy
from ..results import with_pixels


class SplitCounts:
    """
    Boxes, pixels and classes of a split, as far as it has them. Nothing is kept of the images.

    Args:
        protocol (`str` or [`~transformers_sat.metrics.Protocol`]): `"sat"` or `"wsoleval"`.
        image_size (`int`): side of the protocol's frame in pixels.
        thresholds (`Sequence[float]`, *optional*): cuts of the map to count at; the protocol's own by default.
        has_boxes (`bool`, *optional*, defaults to `True`): whether the images have boxes.
        has_masks (`bool`, *optional*, defaults to `False`): whether they have masks.
    """

    def __init__(
        self,
        protocol: str | Protocol,
        image_size: int,
        thresholds: Sequence[float] | None = None,
        has_boxes: bool = True,
        has_masks: bool = False,
    ):
        self.protocol = get_protocol(protocol)
        self.image_size = image_size
        self.boxes = BoxAccuracy(self.protocol, thresholds, image_size=image_size) if has_boxes else None
        self.pixels = PixelAveragePrecision(image_size=image_size) if has_masks else None
        # with boxes, they are counted together with the classes
        self.classes = None if has_boxes else ClassAccuracy()

    @property
    def _metrics(self) -> list:
        return [metric for metric in (self.boxes, self.pixels, self.classes) if metric is not None]

    def update(self, maps: torch.Tensor, scores: torch.Tensor, batch: dict):
        """
        Counts a batch.

        Args:
            maps (`torch.Tensor` of shape `(batch_size, grid_height, grid_width)`): localization maps.
            scores (`torch.Tensor` of shape `(batch_size, num_labels)`): what classes are ranked by.
            batch (`dict`): `labels` and, where they are counted, `boxes`, `mask` and `ignore_mask`.
        """
        if self.boxes is not None:
            self.boxes.update(maps, batch["boxes"], scores, batch["labels"])
        else:
            self.classes.update(scores, batch["labels"])
        if self.pixels is not None:
            self.pixels.update(maps, batch["mask"], batch.get("ignore_mask"))

    def finite_maps(self, maps: torch.Tensor) -> np.ndarray:
        """Which maps of a batch are finite, boolean, as the figures take them."""
        # without boxes they are resized as for PxAP, whatever the protocol crops
        protocol = self.protocol if self.pixels is None or self.boxes is not None else self.pixels.protocol
        return protocol.finite_maps(maps, self.image_size)

    def reset(self):
        """Forgets all images."""
        for metric in self._metrics:
            metric.reset()

    def all_reduce_(self):
        """Adds up the counts of all processes, on each of them."""
        for metric in self._metrics:
            metric.all_reduce_()

    def compute(self, **given) -> dict:
        """
        Gives the figures of all images counted so far, in percent.

        Args:
            given: `threshold` and `threshold_choice` of [`~transformers_sat.metrics.BoxAccuracy.compute`].

        Returns:
            `dict`: with boxes what [`~transformers_sat.metrics.BoxAccuracy.compute`] gives and `mean_iou_levels`, the
            mean of `iou30`, `iou50` and `iou70`; with masks `pxap`, which the baselines `whole_image` and `center`
            have, too; always `protocol`, `image_size`, `num_images`, `top1_cls` and `top5_cls`.
        """
        if self.boxes is not None:
            result = self.boxes.compute(**given)
            for row in (result, result["whole_image"], result["center_box"]):
                row["mean_iou_levels"] = sum(row[name] for name in ("iou30", "iou50", "iou70")) / 3
        else:
            result = {"protocol": self.protocol.name, "image_size": self.image_size, **self.classes.compute()}
        if self.pixels is not None:
            figures = self.pixels.compute()
            result.setdefault("num_non_finite_maps", figures["num_non_finite_maps"])
            result = with_pixels(result, figures)
        return result


def logged_figures(result: dict) -> dict[str, float]:
    """What of a result goes into a log: percentages and the threshold, but no counts, and nothing of the baselines."""
    return {name: value for name, value in result.items() if isinstance(value, float)}


def figures_of(protocol: str | Protocol, num_classes: int, has_boxes: bool, has_masks: bool) -> list[str]:
    """The names of the figures that a log has of such a split, found by counting one blank image."""
    counts = SplitCounts(protocol, image_size=8, has_boxes=has_boxes, has_masks=has_masks)
    blank = np.ones((8, 8), dtype=bool)
    batch = {"labels": torch.zeros(1, dtype=torch.long), "boxes": [np.array([[0.0, 0.0, 4.0, 4.0]])], "mask": [blank]}
    counts.update(torch.rand(1, 8, 8), torch.zeros(1, num_classes), batch)
    return list(logged_figures(counts.compute()))


__all__ = ["SplitCounts", "figures_of", "logged_figures"]
