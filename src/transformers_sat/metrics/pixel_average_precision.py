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
"""Average precision of single pixels, for data with masks."""

from collections.abc import Sequence

import numpy as np
import torch

from .boxes import as_maps
from .counting import CountingMetric
from .protocols import get_protocol


# First axis of the histograms. Ignored pixels are sorted into a third row that is then dropped.
BACKGROUND, FOREGROUND, IGNORED = 0, 1, 2

# Finer steps than float32 has cannot be told apart.
MAX_THRESHOLDS = 1_000_000


class PixelAveragePrecision(CountingMetric):
    """
    PxAP of Choe et al. (CVPR 2020): area under the precision-recall curve of the pixels of all images together.

    Maps are resized and normalized as under the `"wsoleval"` protocol. Scores are counted in histograms, so that the
    state is a few arrays whatever the number of images.

    Args:
        num_thresholds (`int`, *optional*, defaults to 1000):
            Number of equal steps into which scores from 0 to 1 are sorted.
        image_size (`int`, *optional*, defaults to 224):
            Side of the square frame to which maps and masks are resized. Published figures have 224.

    Raises:
        ValueError: If an argument is out of range.
        ImportError: If OpenCV is not installed (the extra `eval`).
    """

    def __init__(self, num_thresholds: int = 1000, image_size: int = 224):
        self.protocol = get_protocol("wsoleval")
        self.protocol.check_frame(image_size)
        self.protocol.check_requirements()
        if not 1 <= num_thresholds <= MAX_THRESHOLDS:
            raise ValueError(f"`num_thresholds` must be from 1 to {MAX_THRESHOLDS}, got {num_thresholds}.")
        self.num_thresholds = num_thresholds
        self.image_size = image_size
        # Bins are closed below and open above. The last one is for the score 1 alone, so its end is never reached.
        self._edges = np.concatenate([np.arange(num_thresholds) * (1 / num_thresholds), [1.0, np.inf]])
        self._center_bins = self._bins(_center_map(image_size))
        histogram = (2, num_thresholds + 1)
        super().__init__(images=(), non_finite_maps=(), pixels=histogram, center_pixels=histogram)

    def settings(self) -> dict:
        return {"num_thresholds": self.num_thresholds, "image_size": self.image_size}

    def update(
        self,
        localization_maps: torch.Tensor,
        masks: Sequence[np.ndarray],
        ignore_masks: Sequence[np.ndarray] | None = None,
    ):
        """
        Counts the pixels of a batch of images.

        Args:
            localization_maps (`torch.Tensor` or `np.ndarray` of shape `(batch_size, height, width)`):
                Maps of any resolution and range of values. A map that is not finite (see `Protocol.finite_maps`) is
                scored as zeros, and counted in `num_non_finite_maps`.
            masks (`Sequence` of `np.ndarray` of shape `(height, width)`):
                For each image the union of the masks of its objects, at any resolution: foreground where above 0.5.
            ignore_masks (`Sequence` of `np.ndarray` of shape `(height, width)`, *optional*):
                For each image the pixels to leave out, likewise. Pixels of `masks` count all the same.

        Raises:
            ValueError: If the numbers of maps and masks differ or a mask is not two-dimensional; nothing is counted
                then.
        """
        maps = as_maps(localization_maps)
        kinds = self._resized_masks("masks", masks, len(maps)).view(np.uint8)
        if ignore_masks is not None:
            ignored = self._resized_masks("ignore_masks", ignore_masks, len(maps))
            kinds[ignored & (kinds == BACKGROUND)] = IGNORED
        num_bins = self.num_thresholds + 1
        for localization_map, kind in zip(maps, kinds, strict=True):
            bins = self._bins(self.protocol.map_in_frame(localization_map, self.image_size))
            histograms = np.bincount(bins + kind.ravel() * np.int64(num_bins), minlength=3 * num_bins)
            self.counts["pixels"] += histograms.reshape(3, num_bins)[:IGNORED]
        for kind in (BACKGROUND, FOREGROUND):
            # The map of this baseline is the same for all images, so their pixels can be summed before.
            weights = (kinds == kind).sum(axis=0, dtype=np.int32).ravel()
            center_pixels = np.bincount(self._center_bins, weights=weights, minlength=num_bins)
            self.counts["center_pixels"][kind] += center_pixels.astype(np.int64)
        self.counts["images"] += len(maps)
        self.counts["non_finite_maps"] += int((~self.protocol.finite_maps(maps, self.image_size)).sum())

    def compute(self) -> dict:
        """
        Gives the average precision of all pixels counted so far, in percent.

        Returns:
            `dict` with `protocol` (`"wsoleval"`), `image_size`, `num_images`, `num_non_finite_maps`, `pxap`, and the
            dictionaries `whole_image` and `center` with the `pxap` of a map that is the same everywhere, and of one
            that falls off from the centre.

        Raises:
            ValueError: If no image was counted, or no mask had a foreground pixel.
        """
        pixels = self.counts["pixels"]
        return {
            "protocol": self.protocol.name,
            "image_size": self.image_size,
            "num_images": self.num_images,
            "num_non_finite_maps": int(self.counts["non_finite_maps"]),
            "pxap": self._average_precision(pixels),
            "whole_image": {"pxap": self._average_precision(pixels.sum(axis=1, keepdims=True))},
            "center": {"pxap": self._average_precision(self.counts["center_pixels"])},
        }

    def curve(self) -> dict[str, list[float]]:
        """
        Gives the precision-recall curve.

        Returns:
            `dict` of the lists `thresholds`, `precision` and `recall`, from the highest threshold to 0. Precision and
            recall are fractions, of the pixels with a score of at least the threshold. The precision of no pixel is 1.

        Raises:
            ValueError: If no image was counted, or no mask had a foreground pixel.
        """
        precision, recall = self._precision_and_recall(self.counts["pixels"])
        thresholds = self._edges[:-1][::-1]
        return {"thresholds": thresholds.tolist(), "precision": precision.tolist(), "recall": recall.tolist()}

    def _resized_masks(self, name: str, masks: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
        """Masks of a batch in the protocol's frame, of shape `(batch_size, image_size, image_size)`, boolean."""
        if len(masks) != batch_size:
            raise ValueError(f"`{name}` has {len(masks)} masks for {batch_size} localization maps.")
        resized = np.zeros((batch_size, self.image_size, self.image_size), dtype=bool)
        for index, mask in enumerate(masks):
            mask = np.asarray(mask)
            if mask.ndim != 2 or mask.size == 0:
                raise ValueError(f"`{name}[{index}]` must have the shape (height, width), got {mask.shape}.")
            # A nearest resize only picks pixels: what is foreground can be decided before it.
            binary = mask if mask.dtype == bool else mask > 0.5
            resized[index] = self.protocol.mask_in_frame(binary, self.image_size)
        return resized

    def _bins(self, scores: np.ndarray) -> np.ndarray:
        """The bin of each pixel, flattened: the last one whose lower edge is at most the score."""
        scores = scores.ravel()
        # A little too small, so that rounding gives the right bin or the one below, which one comparison tells apart.
        bins = (scores * (self.num_thresholds * (1 - 4e-7))).astype(np.int64)
        bins += scores >= self._edges[bins + 1]
        return bins

    def _average_precision(self, histograms: np.ndarray) -> float:
        precision, recall = self._precision_and_recall(histograms)
        return float(100.0 * (precision * np.diff(recall, prepend=0.0)).sum())

    def _precision_and_recall(self, histograms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.num_images == 0:
            raise ValueError("No image has been counted: call `update` first.")
        predicted = histograms[:, ::-1].cumsum(axis=1)
        true_positives, false_positives = predicted[FOREGROUND], predicted[BACKGROUND]
        if true_positives[-1] == 0:
            raise ValueError("No mask has a foreground pixel, so precision and recall are not defined.")
        num_predicted = true_positives + false_positives
        precision = np.where(num_predicted > 0, true_positives / np.maximum(num_predicted, 1), 1.0)
        return precision, true_positives / true_positives[-1]


def pixel_ious(curve: dict[str, list[float]], thresholds: Sequence[float]) -> dict[float, float]:
    """
    Gives the IoU of all foreground pixels together with all those of the masks, in percent, where maps are cut.

    Args:
        curve (`dict`): of [`PixelAveragePrecision.curve`].
        thresholds (`Sequence[float]`): cuts of the normalized map, from 0 to 1; each stands for the nearest of the curve.

    Returns:
        `dict[float, float]`: the IoU at each threshold.
    """
    ious = {}
    for threshold in thresholds:
        at = int(np.abs(np.subtract(curve["thresholds"], threshold)).argmin())
        precision, recall = curve["precision"][at], curve["recall"][at]
        ious[threshold] = 100 / (1 / precision + 1 / recall - 1) if precision > 0 and recall > 0 else 0.0
    return ious


def _center_map(image_size: int) -> np.ndarray:
    """Scores that fall from 1 at the centre to 0 in the corners. Only their order matters to the average precision."""
    offset = np.arange(image_size) - (image_size - 1) / 2
    distance = np.hypot(offset[:, None], offset)
    return 1 - distance / distance.max()


__all__ = ["PixelAveragePrecision", "pixel_ious"]
