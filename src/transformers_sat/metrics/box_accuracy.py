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
"""Localization accuracy by boxes, under the paper's protocol and under that of Choe et al. (CVPR 2020)."""

from collections.abc import Sequence

import numpy as np
import torch

from .boxes import as_maps, as_thresholds
from .classification import ranks_of_labels
from .counting import CountingMetric
from .map_boxes import MapBoxes
from .protocols import SAME_THRESHOLD, Protocol, get_protocol


# The IoU from which a box counts as right in GT-known, Top-1 and Top-5 localization and in MaxBoxAcc.
LOCALIZED_IOU = 0.5

# First axis of the hit counts: images whose class does not matter, is the first guess, is among the first five.
ANY_CLASS, TOP1, TOP5 = 0, 1, 2


class BoxAccuracy(CountingMetric):
    """
    Share of images in which the box cut from the localization map is right.

    Images are counted as they come and then forgotten: the state is a few arrays of counts whose size depends on the
    thresholds alone, so that batches, parts (`merge`) and processes (`all_reduce_`) add up exactly.

    Args:
        protocol (`str` or [`Protocol`]):
            `"sat"`, the paper's: one box an image, and one threshold for all figures. `"wsoleval"`, that of Choe et
            al., needs OpenCV (the extra `eval`): the best threshold for each IoU. The figures of
            the two cannot be compared: the centre crop of the first makes its task easier.
        thresholds (`Sequence[float]`, *optional*):
            Cuts of the normalized map to count at, from 0 to 1. Defaults to 0.30, 0.35, 0.40 and 0.45 for `"sat"`, and
            to 0, 0.001, ..., 0.999 for `"wsoleval"`.
        iou_thresholds (`Sequence[float]`, *optional*, defaults to `(0.3, 0.5, 0.7)`):
            Overlaps from which a box counts as right in `iou30`, `iou50`, ... and in the mean of MaxBoxAccV2.
        image_size (`int`, *optional*, defaults to 224):
            Side of the square frame in which boxes are compared. Published figures have 224.

    Raises:
        ValueError: If an argument has none of the described values.
        ImportError: If the protocol is `"wsoleval"` and OpenCV is not installed.

    Example:

    ```python
    >>> import torch
    >>> from transformers_sat.metrics import BoxAccuracy

    >>> localization_maps = torch.zeros(1, 14, 14)
    >>> localization_maps[0, 2:8, 4:10] = 1.0
    >>> metric = BoxAccuracy("sat", thresholds=[0.5])
    >>> metric.update(localization_maps, boxes=[[[64, 32, 159, 127]]]).round(2)
    array([[0.98]])
    >>> metric.compute()["gt_known_loc"]
    100.0
    ```
    """

    def __init__(
        self,
        protocol: str | Protocol,
        thresholds: Sequence[float] | None = None,
        iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
        image_size: int = 224,
    ):
        protocol = get_protocol(protocol)
        protocol.check_frame(image_size)
        protocol.check_requirements()
        iou_thresholds = tuple(float(iou) for iou in iou_thresholds)
        if not iou_thresholds or not all(0 < iou <= 1 for iou in iou_thresholds):
            raise ValueError(f"`iou_thresholds` must be numbers above 0 and at most 1, got {iou_thresholds}.")
        self.protocol = protocol
        self.thresholds = as_thresholds(protocol.thresholds if thresholds is None else thresholds)
        self.iou_thresholds = iou_thresholds
        self.image_size = image_size
        self._levels = np.array(sorted({LOCALIZED_IOU, *iou_thresholds}))
        self._centered_boxes = protocol.centered_boxes(image_size)
        # By the box around the largest component and, apart, by the best of all boxes.
        num_rules = 2 if protocol.scores_all_boxes else 1
        super().__init__(
            images=(),
            non_finite_maps=(),
            class_hits=(3,),
            box_hits=(num_rules, 3, len(self.thresholds), len(self._levels)),
            center_hits=(3, image_size, len(self._levels)),
        )

    def reset(self):
        super().reset()
        # None until the first images, then 0 if they come without logits.
        self.num_labels = None

    def settings(self) -> dict:
        return {
            "protocol": self.protocol.name,
            "thresholds": self.thresholds.tolist(),
            "iou_thresholds": self.iou_thresholds,
            "image_size": self.image_size,
        }

    def update(
        self,
        localization_maps: torch.Tensor,
        boxes: Sequence[np.ndarray],
        logits: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> np.ndarray:
        """
        Counts a batch of images.

        Args:
            localization_maps (`torch.Tensor` or `np.ndarray` of shape `(batch_size, height, width)`):
                Maps of any resolution and range of values, on any device. A map that is not finite (see
                `Protocol.finite_maps`) is scored as one that shows nothing, and counted in `num_non_finite_maps`.
            boxes (`Sequence` of `np.ndarray` of shape `(num_boxes, 4)`):
                True boxes of each image, at least one: corners `(x0, y0, x1, y1)` in the protocol's frame, as
                `ground_truth_boxes` gives them. The prediction is compared with each, and the best match counts.
            logits (`torch.Tensor` of shape `(batch_size, num_labels)`, *optional*):
                Logits, or the probabilities that `ten_crop_probabilities` gives. Either all images have them or none.
            labels (`torch.Tensor` of shape `(batch_size,)`, *optional*):
                True classes, needed with `logits`.

        Returns:
            `np.ndarray` of shape `(batch_size, num_thresholds)`, float64: the IoU of each image's box at each
            threshold, for a look at single images. Under `"wsoleval"` that of the largest contour.

        Raises:
            ValueError: If shapes do not fit each other, an image has no box, a box is not finite, a label is out of
                range, or logits come with some images and not with others; nothing is counted then.
        """
        maps = as_maps(localization_maps)
        true_boxes, first_box = _stack_boxes(boxes, len(maps))
        right, num_labels = self._right_classes(logits, labels, len(maps))
        num_labels = self._common_num_labels(num_labels)
        if len(maps) == 0:
            return np.zeros((0, len(self.thresholds)))

        cuts = self.protocol.cut(maps, self.thresholds, self.image_size)
        per_image = np.split(true_boxes, first_box[1:])
        best = np.stack([self._best_ious(*pair) for pair in zip(cuts, per_image, strict=True)], axis=1)
        center = np.maximum.reduceat(self.protocol.iou(self._centered_boxes, true_boxes[:, None]), first_box)

        self.num_labels = num_labels
        self.counts["images"] += len(maps)
        self.counts["non_finite_maps"] += int((~self.protocol.finite_maps(maps, self.image_size)).sum())
        self.counts["class_hits"] += right.sum(axis=1)
        for rule, rule_best in enumerate(best):
            self.counts["box_hits"][rule] += np.tensordot(right, rule_best[..., None] >= self._levels, axes=1)
        self.counts["center_hits"] += np.tensordot(right, center[..., None] >= self._levels, axes=1)
        return best[0]

    def merge(self, other: "BoxAccuracy") -> "BoxAccuracy":
        num_labels = self._common_num_labels(other.num_labels) if isinstance(other, BoxAccuracy) else None
        super().merge(other)
        self.num_labels = num_labels
        return self

    def compute(self, threshold: float | None = None, threshold_choice: str | None = None) -> dict:
        """
        Gives the figures of all images counted so far, in percent.

        Args:
            threshold (`float`, *optional*):
                One of the metric's `thresholds` to report at. By default the one that does best on these very images,
                which is what papers print.
            threshold_choice (`str`, *optional*, defaults to `"fixed"` where a threshold is given):
                How the given threshold was found: `"validation"` if on other images, `"fixed"` otherwise.

        Returns:
            `dict` with `protocol`, `image_size`, `num_images`, `num_non_finite_maps`, `threshold_choice` (`"oracle"`,
            `"validation"` or `"fixed"`), `threshold`, and in percent

            - `top1_cls`, `top5_cls`: the class is the first guess, or among the first five;
            - `gt_known_loc`: the box has an IoU of at least 0.5, whatever the class;
            - `top1_loc`, `top5_loc`: so has the box, and the class is right;
            - `iou30`, `iou50`, `iou70`: the box has at least this IoU;
            - `whole_image`, `center_box`: dictionaries with the localization figures of a box around the whole
              image and of the best centred square, whose `side` in pixels is chosen on these very images.

            Under `"sat"` all of them are at the one `threshold`, by default the first of those with the largest
            `gt_known_loc + top1_loc`. Under `"wsoleval"` `gt_known_loc`, `top1_loc` and `top5_loc` are of the largest
            contour at `threshold`, while `iou30`, ... are of all contours, each at its own best threshold in
            `iou_threshold_choices`. Then `max_box_acc` is `gt_known_loc` and `max_box_acc_v2` the mean of the others.
            If a threshold is given they are not maxima and are called `box_acc` and `box_acc_v2`.

            Classification figures are `None` without logits, and the Top-5 ones also with fewer than five classes.

        Raises:
            ValueError: If no image was counted, `threshold` is not one of the metric's, or `threshold_choice` is given
                without a threshold or is none of the described.
        """
        if self.num_images == 0:
            raise ValueError("No image has been counted: call `update` before `compute`.")
        if threshold is None and threshold_choice not in (None, "oracle"):
            raise ValueError(f"`threshold_choice` {threshold_choice!r} needs the `threshold` that was chosen.")
        if threshold is not None and threshold_choice not in (None, "fixed", "validation"):
            raise ValueError(f'`threshold_choice` must be "fixed" or "validation", got {threshold_choice!r}.')
        box_hits, center_hits = self.counts["box_hits"], self.counts["center_hits"]
        given = None if threshold is None else self._index_of(threshold)
        index = self._best(box_hits[0]) if given is None else given
        figures = {
            "protocol": self.protocol.name,
            "image_size": self.image_size,
            "num_images": self.num_images,
            "num_non_finite_maps": int(self.counts["non_finite_maps"]),
            "threshold_choice": "oracle" if given is None else threshold_choice or "fixed",
            "threshold": float(self.thresholds[index]),
            "top1_cls": self._percent(self.counts["class_hits"][TOP1], TOP1),
            "top5_cls": self._percent(self.counts["class_hits"][TOP5], TOP5),
            **self._localization_figures(box_hits[0, :, index]),
        }
        whole_image = self._localization_figures(center_hits[:, -1])
        center_index = self._best(center_hits)
        center_box = {"side": center_index + 1, **self._localization_figures(center_hits[:, center_index])}
        if self.protocol.scores_all_boxes:
            chosen = self._add_box_accuracies(figures, box_hits[0], box_hits[1], given)
            figures["iou_threshold_choices"] = {name: float(self.thresholds[at]) for name, at in chosen.items()}
            self._add_box_accuracies(whole_image, center_hits[:, -1:], center_hits[:, -1:], None)
            sides = self._add_box_accuracies(center_box, center_hits, center_hits, None)
            center_box["iou_sides"] = {name: at + 1 for name, at in sides.items()}
        return {**figures, "whole_image": whole_image, "center_box": center_box}

    def curves(self) -> dict[str, list[float]]:
        """
        Gives the accuracies at every threshold, for plots.

        Returns:
            `dict` of lists of `num_thresholds` numbers: `thresholds`, and in percent `gt_known_loc` and one `iou...` for
            each IoU threshold, which under `"wsoleval"` are of the largest contour and of all contours.

        Raises:
            ValueError: If no image was counted.
        """
        if self.num_images == 0:
            raise ValueError("No image has been counted: call `update` before `curves`.")
        shares = 100.0 * self.counts["box_hits"][:, ANY_CLASS] / self.num_images
        by_iou = {_name(iou): shares[-1, :, self._level(iou)].tolist() for iou in self.iou_thresholds}
        localized = shares[0, :, self._level(LOCALIZED_IOU)].tolist()
        return {"thresholds": self.thresholds.tolist(), "gt_known_loc": localized, **by_iou}

    def best_threshold(self, thresholds: Sequence[float]) -> float:
        """
        Gives the one of some thresholds that does best on the images counted so far, as the protocol chooses.

        Raises:
            ValueError: If one of them is not one of the metric's `thresholds`.
        """
        counted = self.counts["box_hits"][0][:, [self._index_of(threshold) for threshold in thresholds]]
        return thresholds[self._best(counted)]

    def _best_ious(self, cut: MapBoxes, true_boxes: np.ndarray) -> np.ndarray:
        """For each rule and threshold the IoU of the box that counts, of shape `(num_rules, num_thresholds)`."""
        ious = self.protocol.iou(cut.boxes[:, None], true_boxes).max(axis=1)
        by_rule = [ious[cut.largest]]
        if self.protocol.scores_all_boxes:
            by_rule.append(np.maximum.reduceat(ious, cut.first))
        return np.stack(by_rule)[:, cut.level_of_threshold]

    def _right_classes(self, logits, labels, batch_size: int) -> tuple[np.ndarray, int]:
        """For each image whether it counts for any class, Top-1 and Top-5, of shape `(3, batch_size)`."""
        right = np.zeros((3, batch_size), dtype=np.int64)
        right[ANY_CLASS] = 1
        if logits is None and labels is None:
            return right, 0
        if logits is None or labels is None:
            raise ValueError("`logits` and `labels` are needed together: classification compares one with the other.")
        ranks = ranks_of_labels(logits, labels)
        if len(ranks) != batch_size:
            raise ValueError(f"`logits` has {len(ranks)} rows for {batch_size} localization maps.")
        right[TOP1], right[TOP5] = ranks < 1, ranks < 5
        return right, int(logits.shape[1])

    def _common_num_labels(self, num_labels: int | None) -> int | None:
        if self.num_labels is None or num_labels is None:
            return num_labels if self.num_labels is None else self.num_labels
        if self.num_labels != num_labels:
            known, new = (f"{number} classes" if number else "no logits" for number in (self.num_labels, num_labels))
            raise ValueError(f"`logits` must be alike for all images: {known} so far, now {new}.")
        return num_labels

    def _localization_figures(self, hits: np.ndarray) -> dict:
        """Names the hit counts, of shape `(3, num_levels)`, of one choice of boxes."""
        at = self._level(LOCALIZED_IOU)
        figures = {
            "gt_known_loc": self._percent(hits[ANY_CLASS, at]),
            "top1_loc": self._percent(hits[TOP1, at], TOP1),
            "top5_loc": self._percent(hits[TOP5, at], TOP5),
        }
        return figures | {_name(iou): self._percent(hits[ANY_CLASS, self._level(iou)]) for iou in self.iou_thresholds}

    def _add_box_accuracies(
        self, figures: dict, largest_hits: np.ndarray, all_hits: np.ndarray, given: int | None
    ) -> dict[str, int]:
        """Adds MaxBoxAcc and V2 to `figures`, and returns which of the choices in axis 1 each IoU took."""
        names = self.protocol.box_accuracies
        of_largest, of_all = names if given is None else [name.removeprefix("max_") for name in names]
        at = self._level(LOCALIZED_IOU)
        best = self._best(largest_hits) if given is None else given
        figures[of_largest] = self._percent(largest_hits[ANY_CLASS, best, at])
        chosen = {}
        for iou in self.iou_thresholds:
            by_choice = all_hits[ANY_CLASS, :, self._level(iou)]
            chosen[_name(iou)] = int(by_choice.argmax()) if given is None else given
            figures[_name(iou)] = self._percent(by_choice[chosen[_name(iou)]])
        figures[of_all] = sum(figures[name] for name in chosen) / len(chosen)
        return chosen

    def _best(self, hits: np.ndarray) -> int:
        """The best choice in axis 1 of `hits`, as the protocol chooses."""
        localized = hits[..., self._level(LOCALIZED_IOU)]
        return self.protocol.best_choice(gt_known=localized[ANY_CLASS], top1=localized[TOP1])

    def _index_of(self, threshold: float) -> int:
        index = int(np.abs(self.thresholds - threshold).argmin())
        if abs(self.thresholds[index] - threshold) > SAME_THRESHOLD:
            raise ValueError(
                f"`threshold` {threshold} was not counted at: it must be one of the metric's `thresholds`, the nearest "
                f"of which is {self.thresholds[index]:g}."
            )
        return index

    def _level(self, iou: float) -> int:
        return int(np.searchsorted(self._levels, iou))

    def _percent(self, hits: int, kind: int = ANY_CLASS) -> float | None:
        needed_labels = {ANY_CLASS: 0, TOP1: 1, TOP5: 5}[kind]
        return None if self.num_labels < needed_labels else float(100.0 * hits / self.num_images)


def _stack_boxes(boxes: Sequence[np.ndarray], batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """All boxes of a batch in one array of shape `(num_boxes, 4)`, and the index of each image's first box."""
    if len(boxes) != batch_size:
        raise ValueError(f"`boxes` has the boxes of {len(boxes)} images for {batch_size} localization maps.")
    on_cpu = [each.detach().cpu() if isinstance(each, torch.Tensor) else each for each in boxes]
    arrays = [np.asarray(image_boxes, dtype=np.float64) for image_boxes in on_cpu]
    for index, array in enumerate(arrays):
        if array.size == 0:
            raise ValueError(
                f"`boxes[{index}]` is empty: localization cannot be scored on an image without a true box. "
                "Leave such images out."
            )
        if array.ndim != 2 or array.shape[1] != 4:
            raise ValueError(f"`boxes[{index}]` must have the shape (num_boxes, 4), got {array.shape}.")
        if not np.isfinite(array).all():
            raise ValueError(f"`boxes[{index}]` must hold finite corners, got {array.tolist()}.")
    first_box = np.cumsum([0] + [len(array) for array in arrays])[:-1]
    return np.concatenate(arrays) if arrays else np.zeros((0, 4)), first_box


def _name(iou: float) -> str:
    return f"iou{100 * iou:g}"


__all__ = ["BoxAccuracy"]
