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

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import BaseImageProcessor

from ..data.loading import MASK_COLUMNS, has_boxes
from ..metrics import (
    BoxAccuracy,
    PixelAveragePrecision,
    Protocol,
    boxes_from_map,
    get_protocol,
    ten_crop_probabilities,
)
from ..model.modeling_sat import SATForWeaklySupervisedLocalization
from ..results import with_pixels
from .images import CENTER_CROP, EvaluationImages, class_numbers_of, collate_images
from .processes import gather_lists, process_count, share_of_process


THRESHOLD_CHOICES = ("oracle", "validation")


@dataclass
class LocalizationEvaluation:
    """
    What [`evaluate_localization`] found. It is the same on every process.

    Attributes:
        result (`dict`):
            Figures of [`~transformers_sat.metrics.BoxAccuracy.compute`], with `mean_iou_levels`, the mean of `iou30`,
            `iou50` and `iou70`; `ten_crop`; `non_finite_image_ids`, if `num_non_finite_maps` counts any; for a threshold from other images `calibration`, how it did there; and with
            masks `pxap`, of the maps and, in `whole_image` and `center`, of the baselines.
        curves (`dict`): accuracies at every threshold, see [`~transformers_sat.metrics.BoxAccuracy.curves`].
        precision_recall (`dict`, *optional*):
            The pixels' curve, see [`~transformers_sat.metrics.PixelAveragePrecision.curve`].
        images (`list[dict]`):
            For each image in order `row`, `image_id` (the row where the data set has none), `label`,
            `predicted_label`, `probability` of the latter, `iou` at the result's threshold (under `"wsoleval"` of the
            largest contour), `predicted_box` and `true_boxes`, corners in the protocol's frame, and `object_share`, the
            share of the frame that the largest true box covers.
        localization_maps (`list[torch.Tensor]`): the map of each of the images, `(grid_height, grid_width)`.
    """

    result: dict
    curves: dict
    precision_recall: dict | None = None
    images: list[dict] = field(default_factory=list)
    localization_maps: list[torch.Tensor] = field(default_factory=list)


def evaluate_localization(
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    dataset: datasets.Dataset,
    protocol: str | Protocol = "sat",
    threshold: str | float = "validation",
    validation_dataset: datasets.Dataset | None = None,
    thresholds: Sequence[float] | None = None,
    ten_crop: bool = False,
    batch_size: int = 32,
    num_workers: int = 0,
    with_images: bool = True,
    show_progress: bool = False,
    on_calibration: Callable[[float], None] | None = None,
) -> LocalizationEvaluation:
    """
    Measures classification and localization of a model on a split.

    Where a process group of `torch.distributed` exists, each process measures every so many batches, and the counts are
    added up: no image is repeated or left out, and the batches are those of a single process. All processes must call this, with the same arguments.

    Args:
        model ([`SATForWeaklySupervisedLocalization`]):
            The model, on the device to use. Not wrapped for data parallelism: shares need not be even.
        image_processor ([`SATImageProcessor`] or [`SATImageProcessorPil`]):
            Normalizes the images. Resize and crop are the protocol's.
        dataset (`datasets.Dataset`):
            Rows with `image`, `label` and `objects` (`bbox`: COCO boxes in pixels), and for the average precision of
            pixels `mask` and, if there are regions to leave out, `ignore_mask`.
        protocol (`str` or [`~transformers_sat.metrics.Protocol`], *optional*, defaults to `"sat"`):
            `"sat"` or `"wsoleval"`, see [`~transformers_sat.metrics.BoxAccuracy`].
        threshold (`str` or `float`, *optional*, defaults to `"validation"`):
            Where the maps are cut: `"validation"` for the best on `validation_dataset`, `"oracle"` for the best on
            `dataset` itself, which is what papers print, or a number from 0 to 1.
        validation_dataset (`datasets.Dataset`, *optional*):
            Other images with boxes, for the threshold `"validation"`.
        thresholds (`Sequence[float]`, *optional*):
            What is chosen from: 0.05, 0.10, ..., 0.95 for `"sat"` and 0, 0.001, ..., 0.999 for `"wsoleval"` by default.
        ten_crop (`bool`, *optional*, defaults to `False`):
            Under `"sat"`, whether the class is that of ten crops, whose probabilities are averaged. The map is always
            the centre crop's.
        batch_size (`int`, *optional*, defaults to 32): number of images at a time, on each process.
        num_workers (`int`, *optional*, defaults to 0): number of further processes that load images.
        with_images (`bool`, *optional*, defaults to `True`): whether to keep what was found in each image.
        show_progress (`bool`, *optional*, defaults to `False`): whether the first process shows a bar.
        on_calibration (`Callable`, *optional*):
            Called with the threshold of `"validation"` when it is chosen, before `dataset` is measured.

    Returns:
        [`LocalizationEvaluation`]

    Raises:
        `ValueError`: if a split has no boxes or no images, the model lacks classes of it, or an argument has none of the
            described values.
    """
    protocol = get_protocol(protocol)
    check_threshold(threshold, validation_dataset)
    thresholds = protocol.thresholds_to_count(threshold, thresholds)
    image_size = model.config.image_size
    if not isinstance(image_size, int):
        raise ValueError(f"The protocols compare boxes in a square frame; the model's images are {image_size}.")

    def measure(split: datasets.Dataset, name: str, keep_images: bool) -> "_Measurement":
        split = with_undecoded_images(check_boxes(split, name))
        class_numbers = class_numbers_of(split, model.config)
        photos = EvaluationImages(split, image_processor, protocol, image_size, class_numbers, ten_crop)
        measurement = _Measurement(photos, thresholds, keep_images)
        measurement.run(model, batch_size, num_workers, f"{name}, {protocol.name}" if show_progress else None)
        return measurement

    given, calibration = {}, {}
    if threshold == "validation":
        best = measure(validation_dataset, "validation", keep_images=False).boxes.compute()
        given = {"threshold": best["threshold"], "threshold_choice": "validation"}
        kept = ("threshold", "num_images", "gt_known_loc", "top1_loc")
        calibration = {"calibration": {name: best[name] for name in kept}}
        if on_calibration is not None:
            on_calibration(best["threshold"])
    elif threshold != "oracle":
        given = {"threshold": threshold, "threshold_choice": "fixed"}

    measurement = measure(dataset, "evaluation", keep_images=with_images)
    result = measurement.boxes.compute(**given)
    for row in (result, result["whole_image"], result["center_box"]):
        row["mean_iou_levels"] = sum(row[name] for name in ("iou30", "iou50", "iou70")) / 3
    result |= {"ten_crop": ten_crop, **calibration}
    result |= ids_not_finite(measurement.non_finite_rows, measurement.photos.dataset)
    precision_recall = None
    if measurement.pixels is not None:
        result = with_pixels(result, measurement.pixels.compute())
        precision_recall = measurement.pixels.curve()
    images, maps = measurement.images_at(result["threshold"]) if with_images else ([], [])
    return LocalizationEvaluation(result, measurement.boxes.curves(), precision_recall, images, maps)


class _Measurement:
    """The counts of one split and, if they are to be kept, what each image of this process's share gave."""

    def __init__(self, photos: EvaluationImages, thresholds: Sequence[float] | None, keep_images: bool):
        self.photos = photos
        self.boxes = BoxAccuracy(photos.protocol, thresholds, image_size=photos.image_size)
        has_masks = photos.masks is not None
        self.pixels = PixelAveragePrecision(image_size=photos.image_size) if has_masks else None
        self.keep_images = keep_images
        self.images = []
        self.non_finite_rows = []

    @torch.inference_mode()
    def run(self, model: SATForWeaklySupervisedLocalization, batch_size: int, num_workers: int, title: str | None):
        share = torch.utils.data.Subset(self.photos, share_of_process(len(self.photos), batch_size))
        loader = torch.utils.data.DataLoader(
            share, batch_size=batch_size, num_workers=num_workers, collate_fn=collate_images
        )
        is_hidden = title is None or process_count()[0] > 0
        was_training = model.training
        model.eval()
        for batch in tqdm(loader, desc=title, unit="batch", file=sys.stderr, disable=is_hidden):
            maps, scores, probabilities = predict(model, batch["pixel_values"])
            self.boxes.update(maps, batch["boxes"], scores, batch["labels"])
            finite = self.photos.protocol.finite_maps(maps, self.photos.image_size)
            self.non_finite_rows += [
                row for row, is_finite in zip(batch["rows"], finite, strict=True) if not is_finite
            ]
            if self.pixels is not None:
                self.pixels.update(maps, batch["mask"], batch.get("ignore_mask"))
            if self.keep_images:
                self._keep(batch, maps, probabilities)
        model.train(was_training)
        self.boxes.all_reduce_()
        if self.pixels is not None:
            self.pixels.all_reduce_()

    def _keep(self, batch: dict, maps: torch.Tensor, probabilities: np.ndarray):
        # Maps at the grid are small. The box cannot be cut from them yet: the threshold follows from all images.
        predicted = probabilities.argmax(axis=1)
        for index, row in enumerate(batch["rows"]):
            self.images.append(
                {
                    "row": row,
                    "label": batch["labels"][index].item(),
                    "predicted_label": predicted[index].item(),
                    "probability": probabilities[index, predicted[index]].item(),
                    "true_boxes": batch["boxes"][index],
                    "localization_map": maps[index],
                }
            )

    def images_at(self, threshold: float) -> tuple[list[dict], list[torch.Tensor]]:
        """The images of all processes, in order, and their maps."""
        protocol, frame = self.photos.protocol, self.photos.image_size
        ids = image_ids(self.photos.dataset)
        records = []
        for image in self.images:
            box = boxes_from_map(image["localization_map"], [threshold], protocol, frame)[0]
            true_boxes = image["true_boxes"]
            records.append(
                {
                    "row": image["row"],
                    "image_id": ids[image["row"]],
                    **{name: image[name] for name in ("label", "predicted_label", "probability")},
                    "iou": float(protocol.iou(box, true_boxes).max()),
                    "predicted_box": box.tolist(),
                    "true_boxes": true_boxes.tolist(),
                    "object_share": protocol.largest_share(true_boxes, frame),
                }
            )
        maps = [image["localization_map"] for image in self.images]
        found = sorted(gather_lists(list(zip(records, maps))), key=lambda pair: pair[0]["row"])
        return [record for record, _ in found], [localization_map for _, localization_map in found]


def image_ids(dataset: datasets.Dataset) -> Sequence:
    """Ids of the images of a split, its rows where it has none."""
    return dataset["image_id"] if "image_id" in dataset.column_names else range(len(dataset))


def ids_not_finite(rows: list[int], dataset: datasets.Dataset) -> dict[str, list]:
    """For a result, the ids of the images whose maps are not finite, on all processes; nothing if there are none."""
    ids, rows = image_ids(dataset), sorted(gather_lists(rows))
    return {"non_finite_image_ids": [ids[row] for row in rows]} if rows else {}


def predict(
    model: SATForWeaklySupervisedLocalization, pixel_values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """
    Maps, scores of the classes and their probabilities for a batch of images.

    Args:
        model ([`SATForWeaklySupervisedLocalization`]): the model.
        pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`):
            Images, or with one more dimension before the channels ten crops of each, as `ten_crops` cuts them.

    Returns:
        `tuple`, on the CPU, of the maps `(batch_size, grid_height, grid_width)`, float32, what classes are ranked by
        `(batch_size, num_labels)`, logits or for ten crops mean probabilities, and the probabilities as an array.
    """
    is_ten_crop = pixel_values.ndim == 5
    crops = pixel_values.flatten(0, 1) if is_ten_crop else pixel_values
    outputs = model(pixel_values=crops.to(model.device, model.dtype))
    maps, logits = outputs.localization_map.float().cpu(), outputs.logits.float().cpu()
    if not is_ten_crop:
        return maps, logits, logits.softmax(dim=-1).numpy()
    num_crops = pixel_values.shape[1]
    probabilities = ten_crop_probabilities(logits.unflatten(0, (-1, num_crops)))
    return maps.unflatten(0, (-1, num_crops))[:, CENTER_CROP], probabilities, probabilities.numpy()


def check_threshold(threshold: str | float, validation_dataset: datasets.Dataset | None):
    if isinstance(threshold, str):
        if threshold not in THRESHOLD_CHOICES:
            raise ValueError(f"`threshold` must be one of {THRESHOLD_CHOICES} or a number, got {threshold!r}.")
        if threshold == "validation" and validation_dataset is None:
            raise ValueError(
                '`threshold="validation"` needs `validation_dataset`, other images with boxes to choose it on. Without '
                'such, give a number, or "oracle" for the best on the evaluated images themselves.'
            )
    elif not 0 <= threshold <= 1:
        raise ValueError(f"`threshold` must be from 0 to 1, got {threshold}.")


def check_boxes(dataset: datasets.Dataset, name: str) -> datasets.Dataset:
    if len(dataset) == 0:
        raise ValueError(f"The {name} split has no images.")
    if not has_boxes(dataset):
        raise ValueError(
            f"Localization cannot be measured on the {name} split, because not all of its images have boxes: it needs "
            "a column `objects` with `bbox`, for each image at least one COCO box (x, y, width, height) in pixels. Its "
            f"columns are {dataset.column_names}."
        )
    return dataset


def with_undecoded_images(dataset: datasets.Dataset) -> datasets.Dataset:
    """The split with images as files, which `EvaluationImages` decodes itself."""
    for column in ("image", *MASK_COLUMNS):
        if column in dataset.column_names:
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


__all__ = [
    "THRESHOLD_CHOICES",
    "LocalizationEvaluation",
    "evaluate_localization",
    "predict",
]
