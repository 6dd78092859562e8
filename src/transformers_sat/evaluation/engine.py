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
"""Measuring a model on a split, on any number of processes."""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import datasets
import numpy as np
import torch
from accelerate.utils import gather_object
from tqdm.auto import tqdm
from transformers import BaseImageProcessor

from ..metrics import Protocol, boxes_from_map, ten_crop_probabilities
from ..model.modeling_sat import SATForWeaklySupervisedLocalization
from .counts import SplitCounts
from .images import CENTER_CROP, EvaluationImages, share_loader
from .processes import process_count
from .split import EvaluationSplit


THRESHOLD_CHOICES = ("oracle", "validation")


@dataclass(frozen=True)
class EvaluationSettings:
    """
    How a split is measured.

    Attributes:
        protocol (`str` or [`~transformers_sat.metrics.Protocol`], *optional*, defaults to `"sat"`):
            `"sat"` or `"wsoleval"`, see [`~transformers_sat.metrics.BoxAccuracy`].
        localization_threshold (`str` or `float`, *optional*, defaults to `"validation"`):
            Where the maps are cut: `"validation"` for the best on other images, `"oracle"` for the best on the
            measured images themselves, which is what papers print, or a number from 0 to 1. Without boxes no figure
            depends on it.
        localization_thresholds (`Sequence[float]`, *optional*):
            What is chosen from: 0.05, 0.10, ..., 0.95 for `"sat"` and 0, 0.001, ..., 0.999 for `"wsoleval"` by
            default.
        ten_crop (`bool`, *optional*, defaults to `False`):
            Under `"sat"`, whether the class is that of ten crops, whose probabilities (of a multi-label
            model sigmoids) are averaged. The map is always the centre crop's.
        batch_size (`int`, *optional*, defaults to 32): number of images at a time, on each process.
        num_workers (`int`, *optional*, defaults to 0): number of further processes that load images.
        keep_images (`bool`, *optional*, defaults to `True`):
            Whether to keep what was found in each image, with its map: four bytes for each patch.
        show_progress (`bool`, *optional*, defaults to `False`): whether the first process shows a bar.

    Raises:
        `ValueError`: if `localization_thresholds` are none, or not from 0 to 1.
    """

    protocol: str | Protocol = "sat"
    localization_threshold: str | float = "validation"
    localization_thresholds: Sequence[float] | None = None
    ten_crop: bool = False
    batch_size: int = 32
    num_workers: int = 0
    keep_images: bool = True
    show_progress: bool = False

    def __post_init__(self):
        thresholds = self.localization_thresholds
        # what is NaN is not in the range
        if thresholds is not None and not (len(thresholds) > 0 and all(0 <= value <= 1 for value in thresholds)):
            raise ValueError(f"`localization_thresholds` must be numbers from 0 to 1, got {list(thresholds)}.")


@dataclass
class LocalizationEvaluation:
    """
    What an evaluation found. It is the same on every process.

    Attributes:
        result (`dict`):
            Figures of what the split can be measured by, in percent, see [`SplitCounts.compute`]; `ten_crop`;
            `non_finite_image_ids`, if `num_non_finite_maps` counts any; and for a threshold from other images
            `calibration`, how it did there.
        curves (`dict`, *optional*):
            With boxes, accuracies at every threshold, see [`~transformers_sat.metrics.BoxAccuracy.curves`].
        precision_recall (`dict`, *optional*):
            With masks, the pixels' curve, see [`~transformers_sat.metrics.PixelAveragePrecision.curve`].
        images (`list[dict]`):
            For each image in order `row`, `image_id` (the row where the data set has none), `label`,
            `predicted_label`, `probability` of the latter, and `predicted_box`, corners in the protocol's frame. With
            boxes, also `true_boxes`, likewise, `iou` at the result's threshold (under `"wsoleval"` of the largest
            contour), and `object_share`, the share of the frame that the largest true box covers.
        maps (`np.ndarray` of shape `(num_images, grid_height, grid_width)`, *optional*):
            The localization map of each of `images`, float32.
        loss (`float`, *optional*): mean of the loss over the images, where the model was asked for it.
    """

    result: dict
    curves: dict | None = None
    precision_recall: dict | None = None
    images: list[dict] = field(default_factory=list)
    maps: np.ndarray | None = None
    loss: float | None = None


def evaluate_localization(
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    dataset: datasets.Dataset,
    validation_dataset: datasets.Dataset | None = None,
    on_calibration: Callable[[float], None] | None = None,
    **settings,
) -> LocalizationEvaluation:
    """
    Measures classification and localization of a model on a split: boxes, or where there are none the pixels of masks.

    Where a process group of `torch.distributed` exists, each process measures every so many batches, and the counts
    are added up: no image is repeated or left out, and the batches are those of a single process. All processes must
    call this, with the same arguments.

    Args:
        model ([`SATForWeaklySupervisedLocalization`]):
            The model, on the device to use. Not wrapped for data parallelism: shares need not be even.
        image_processor ([`SATImageProcessor`] or [`SATImageProcessorPil`]):
            Normalizes the images. Resize and crop are the protocol's.
        dataset (`datasets.Dataset`):
            Rows with `image`, `label` and `objects` (`bbox`: COCO boxes in pixels), and for the average precision of
            pixels (PxAP, Choe et al., CVPR 2020) `mask` and, if there are regions to leave out, `ignore_mask`.
        validation_dataset (`datasets.Dataset`, *optional*):
            Other images with boxes, for the localization threshold `"validation"`.
        on_calibration (`Callable`, *optional*):
            Called with the threshold of `"validation"` when it is chosen, before `dataset` is measured.
        settings: fields of [`EvaluationSettings`], such as `protocol`, `localization_threshold` and `batch_size`.

    Returns:
        [`LocalizationEvaluation`]

    Raises:
        `ValueError`: if a split has no images, or neither boxes nor masks for all of them, the model lacks classes of
            it, or a setting has none of the described values.
    """
    settings = EvaluationSettings(**settings)
    split = EvaluationSplit.of("evaluation", dataset, model.config, settings.protocol)
    if not split.has_masks:
        split.check_boxes()
    validation = None
    if settings.localization_threshold == "validation" and validation_dataset is not None and split.has_boxes:
        validation = EvaluationSplit.of("validation", validation_dataset, model.config, settings.protocol)
    return evaluate_split(model, image_processor, split, settings, validation, on_calibration)


def evaluate_split(
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    split: EvaluationSplit,
    settings: EvaluationSettings,
    validation: EvaluationSplit | None = None,
    on_calibration: Callable[[float], None] | None = None,
) -> LocalizationEvaluation:
    """
    Measures a model by all that a split has: boxes, masks or classes alone.

    Args:
        model, image_processor, on_calibration: see [`evaluate_localization`].
        split ([`EvaluationSplit`]): what to measure, by the protocol that it was made for.
        settings ([`EvaluationSettings`]): how.
        validation ([`EvaluationSplit`], *optional*): other images, for the localization threshold `"validation"`.

    Returns:
        [`LocalizationEvaluation`]

    Raises:
        `ValueError`: if the split has no classes, `validation` no boxes, or a setting has none of the described
        values.
    """
    split.check_labels()
    given, calibration = {}, {}
    if split.has_boxes:
        check_threshold(settings.localization_threshold, validation)
        if settings.localization_threshold == "validation":
            best = measure_split(
                model, image_processor, validation.check_boxes(), replace(settings, keep_images=False)
            )
            figures = best.counts.compute()
            given = {"threshold": figures["threshold"], "threshold_choice": "validation"}
            kept = ("threshold", "num_images", "gt_known_loc", "top1_loc")
            calibration = {"calibration": {name: figures[name] for name in kept}}
            if on_calibration is not None:
                on_calibration(figures["threshold"])
    evaluation = measure_split(model, image_processor, split, settings).evaluation(**given)
    evaluation.result |= {"ten_crop": settings.ten_crop, **calibration}
    return evaluation


def evaluate_splits(
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    splits: dict[str, EvaluationSplit],
    settings: EvaluationSettings,
) -> Iterable[tuple[str, LocalizationEvaluation]]:
    """
    Measures the splits of a run. `validation`, where it has boxes, chooses the threshold, which the image processor
    keeps; the other splits are measured at the processor's.

    Args:
        model, image_processor: see [`evaluate_localization`].
        splits (`dict[str, EvaluationSplit]`): by name, `validation` first.
        settings ([`EvaluationSettings`]): how they are measured, whatever its `localization_threshold`.

    Yields:
        The name of each split and its [`LocalizationEvaluation`].
    """
    is_calibrated = False
    for name, split in splits.items():
        chooses = name == "validation" and split.has_boxes
        threshold = "oracle" if chooses else image_processor.localization_threshold
        at = replace(settings, localization_threshold=threshold)
        evaluation = evaluate_split(model, image_processor, split, at)
        if chooses:
            image_processor.localization_threshold = evaluation.result["threshold"]
            is_calibrated = True
        elif split.has_boxes and is_calibrated:
            evaluation.result["threshold_choice"] = "validation"
        yield name, evaluation


class Measurement:
    """
    The counts of one split and, if they are to be kept, what each image of this process's share gave.

    Args:
        images ([`EvaluationImages`]): the split.
        settings ([`EvaluationSettings`]): `"validation"` as the threshold counts at all that there are to choose from.
    """

    def __init__(self, images: EvaluationImages, settings: EvaluationSettings):
        split = images.split
        self.images, self.split, self.settings = images, split, settings
        thresholds = split.protocol.thresholds_to_count(
            settings.localization_threshold, settings.localization_thresholds
        )
        self.counts = SplitCounts(split.protocol, split.image_size, thresholds, split.has_boxes, split.has_masks)
        self._kept = []
        self._losses = []
        self._non_finite_rows = []

    @torch.inference_mode()
    def run(
        self,
        model: SATForWeaklySupervisedLocalization,
        batches: Iterable[dict],
        forward: Callable[[torch.nn.Module, torch.Tensor, torch.Tensor | None], dict] | None = None,
        after_batch: Callable[[dict, torch.Tensor, torch.Tensor], None] | None = None,
    ):
        """
        Measures batches of the images, and adds up the counts of all processes.

        Args:
            model ([`SATForWeaklySupervisedLocalization`]): the model; it is left in the mode, training or not, it has.
            batches (`Iterable[dict]`): this process's share, as [`share_loader`] gives it.
            forward (`Callable`, *optional*):
                Called with the model, the pixels and, unless they are ten crops, the labels; gives the outputs. What
                they have as `loss` is averaged. By default the model alone, without labels.
            after_batch (`Callable`, *optional*): called with each batch, its maps and its scores.
        """
        was_training = model.training
        model.eval()
        for batch in batches:
            maps, scores, loss = predict(model, batch["pixel_values"], batch.get("labels"), forward)
            if loss is not None:
                self._losses.append((batch["rows"][0], len(maps), loss))
            if self.split.has_labels:
                self._count(batch, maps, scores, model.config.has_independent_classes)
            if after_batch is not None:
                after_batch(batch, maps, scores)
        model.train(was_training)
        self.counts.all_reduce_()

    def _count(self, batch: dict, maps: torch.Tensor, scores: torch.Tensor, has_independent_classes: bool):
        self.counts.update(maps, scores, batch)
        finite = self.counts.finite_maps(maps)
        self._non_finite_rows += [row for row, is_finite in zip(batch["rows"], finite, strict=True) if not is_finite]
        if not self.settings.keep_images:
            return
        # Maps at the grid are small. The box cannot be cut from them yet: the threshold follows from all images.
        probabilities = scores
        if not self.settings.ten_crop:
            probabilities = scores.sigmoid() if has_independent_classes else scores.softmax(dim=-1)
        best = probabilities.max(dim=-1)
        for index, row in enumerate(batch["rows"]):
            image = {
                "row": row,
                "label": batch["labels"][index].item(),
                "predicted_label": best.indices[index].item(),
                "probability": best.values[index].item(),
            }
            true_boxes = batch["boxes"][index] if self.split.has_boxes else None
            self._kept.append((image, true_boxes, maps[index]))

    @property
    def loss(self) -> float | None:
        """Mean over the images of all processes; the same for any number of them."""
        losses = sorted(gather_object(self._losses))
        if not losses:
            return None
        return math.fsum(count * loss for _, count, loss in losses) / sum(count for _, count, _ in losses)

    def evaluation(self, **given) -> LocalizationEvaluation:
        """
        All that was found. All processes must call this.

        Args:
            given: `threshold` and `threshold_choice`; those of the settings by default.
        """
        counts, wish = self.counts, self.settings.localization_threshold
        if not given and not isinstance(wish, str):
            given = {"threshold": wish, "threshold_choice": "fixed"}
        result = counts.compute(**(given if self.split.has_boxes else {}))
        rows = sorted(gather_object(self._non_finite_rows))
        if rows:
            ids = self.split.image_ids
            result["non_finite_image_ids"] = [ids[row] for row in rows]
        threshold = result.get("threshold", given.get("threshold", self.images.image_processor.localization_threshold))
        images, maps = self._images_at(threshold) if self.settings.keep_images else ([], None)
        return LocalizationEvaluation(
            result=result,
            curves=None if counts.boxes is None else counts.boxes.curves(),
            precision_recall=None if counts.pixels is None else counts.pixels.curve(),
            images=images,
            maps=maps,
            loss=self.loss,
        )

    def _images_at(self, threshold: float) -> tuple[list[dict], np.ndarray]:
        """The images of all processes, in order, and their maps."""
        protocol, frame, ids = self.split.protocol, self.split.image_size, self.split.image_ids
        records = []
        for image, true_boxes, localization_map in self._kept:
            box = boxes_from_map(localization_map, [threshold], protocol, frame)[0]
            record = {"image_id": ids[image["row"]], **image, "predicted_box": box.tolist()}
            if true_boxes is not None:
                record["iou"] = float(protocol.iou(box, true_boxes).max())
                record["true_boxes"] = true_boxes.tolist()
                record["object_share"] = protocol.largest_share(true_boxes, frame)
            records.append((record, localization_map.numpy()))
        records = sorted(gather_object(records), key=lambda pair: pair[0]["row"])
        return [record for record, _ in records], np.stack([localization_map for _, localization_map in records])


def measure_split(
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    split: EvaluationSplit,
    settings: EvaluationSettings,
    after_batch: Callable[[dict, torch.Tensor, torch.Tensor], None] | None = None,
) -> Measurement:
    """
    Shows a split to a model. All processes must call this.

    Args:
        model, image_processor: see [`evaluate_localization`].
        split ([`EvaluationSplit`]): what to measure.
        settings ([`EvaluationSettings`]): how.
        after_batch (`Callable`, *optional*): see [`Measurement.run`].

    Returns:
        [`Measurement`], with the counts of all processes.
    """
    images = EvaluationImages(split, image_processor, settings.ten_crop)
    loader = share_loader(images, settings.batch_size, settings.num_workers)
    is_hidden = not settings.show_progress or process_count()[0] > 0
    title = f"{split.name}, {split.protocol.name}"
    measurement = Measurement(images, settings)
    batches = tqdm(loader, desc=title, unit="batch", file=sys.stderr, disable=is_hidden)
    measurement.run(model, batches, after_batch=after_batch)
    return measurement


def predict(
    model: SATForWeaklySupervisedLocalization,
    pixel_values: torch.Tensor,
    labels: torch.Tensor | None = None,
    forward: Callable[[torch.nn.Module, torch.Tensor, torch.Tensor | None], dict] | None = None,
) -> tuple[torch.Tensor, torch.Tensor, float | None]:
    """
    Maps and scores of the classes for a batch of images.

    Args:
        model ([`SATForWeaklySupervisedLocalization`]): the model.
        pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`):
            Images, or with one more dimension before the channels ten crops of each, as `ten_crops` cuts them.
        labels (`torch.Tensor` of shape `(batch_size,)`, *optional*): classes, for `forward`.
        forward (`Callable`, *optional*): see [`Measurement.run`].

    Returns:
        `tuple`, on the CPU, of the maps `(batch_size, grid_height, grid_width)`, float32, what classes are ranked by
        `(batch_size, num_labels)`, logits or for ten crops mean probabilities, and the loss, if the outputs have one.
    """
    is_ten_crop = pixel_values.ndim == 5
    crops = pixel_values.flatten(0, 1) if is_ten_crop else pixel_values
    crops = crops.to(model.device, model.dtype)
    if forward is None:
        outputs = model(pixel_values=crops, output_class_maps=False)
    else:
        outputs = forward(model, crops, None if labels is None or is_ten_crop else labels.to(model.device))
    maps, logits = outputs["localization_map"].float().cpu(), outputs["logits"].float().cpu()
    loss = None if outputs.get("loss") is None else outputs["loss"].item()
    if not is_ten_crop:
        return maps, logits, loss
    num_crops = pixel_values.shape[1]
    maps = maps.unflatten(0, (-1, num_crops))[:, CENTER_CROP]
    logits = logits.unflatten(0, (-1, num_crops))
    return maps, ten_crop_probabilities(logits, model.config.has_independent_classes), loss


def check_threshold(threshold: str | float, validation: EvaluationSplit | None):
    if isinstance(threshold, str):
        if threshold not in THRESHOLD_CHOICES:
            raise ValueError(
                f"`localization_threshold` must be one of {THRESHOLD_CHOICES} or a number, got {threshold!r}."
            )
        if threshold == "validation" and validation is None:
            raise ValueError(
                '`localization_threshold="validation"` needs `validation_dataset`, other images with boxes to choose '
                'it on. Without such, give a number, or "oracle" for the best on the evaluated images themselves.'
            )
    elif not 0 <= threshold <= 1:
        raise ValueError(f"`localization_threshold` must be from 0 to 1, got {threshold}.")


__all__ = [
    "THRESHOLD_CHOICES",
    "EvaluationSettings",
    "LocalizationEvaluation",
    "Measurement",
    "evaluate_localization",
    "evaluate_split",
    "evaluate_splits",
    "measure_split",
    "predict",
]
