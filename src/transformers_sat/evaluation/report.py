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
"""What an evaluation leaves behind: figures as JSON, one row a picture as Parquet, plots and drawings."""

import importlib.metadata
import json
import platform
from pathlib import Path

import datasets
import PIL.Image
import torch
from transformers import BaseImageProcessor

from ..data.dataset import decode_image
from ..localization_sat import normalize_map, resize_map
from ..metrics import resized_side
from ..metrics.contours import resize_and_normalize
from ..modeling_sat import SATForWeaklySupervisedLocalization
from ..training.metrics import format_table, remark_on_maps
from ..visualization import Localization, contact_sheet
from .engine import LocalizationEvaluation, predict, with_undecoded_pictures
from .pictures import EvaluationPictures
from .plots import plot_by_class, plot_by_size, plot_precision_recall, plot_thresholds


# Packages that figures depend on.
VERSIONS_OF = ("torchvision", "transformers", "datasets", "numpy", "scipy", "pillow", "opencv-python-headless")

CHOICES = {
    "oracle": "the best on these very pictures",
    "validation": "the best on the validation split",
    "fixed": "given",
}

# Pictures on each of the two contact sheets.
NUM_CASES = 12


def versions() -> dict[str, str]:
    """The versions of everything that the figures depend on, as far as it is installed."""
    from .. import __version__

    # with the build: it names the accelerator's libraries
    found = {"transformers_sat": __version__, "python": platform.python_version(), "torch": torch.__version__}
    for name in VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def summary(evaluations: dict[str, LocalizationEvaluation]) -> str:
    """
    The figures for people.

    Args:
        evaluations (`dict[str, LocalizationEvaluation]`): by protocol.

    Returns:
        `str`: for each protocol a Markdown table and a line about how it was measured.
    """
    parts = []
    for protocol, evaluation in evaluations.items():
        result = evaluation.result
        rows = {protocol: result, "whole image": result["whole_image"], "best centre box": result["center_box"]}
        parts.append(f"{format_table(rows)}\n\n{caption(result)}")
    return "\n\n".join(parts)


def caption(result: dict) -> str:
    """One line about how a result was measured, and the figures that the table has no column for."""
    parts = [
        f"percent; protocol {result['protocol']} at {result['image_size']} px",
        f"threshold {result['threshold']:g}, {CHOICES[result['threshold_choice']]}",
        f"{result['num_images']} pictures",
    ]
    named = {
        "max_box_acc": "MaxBoxAcc",
        "max_box_acc_v2": "MaxBoxAccV2",
        "box_acc": "BoxAcc",
        "box_acc_v2": "BoxAccV2",
    }
    parts += [f"{title} {result[name]:.1f}" for name, title in named.items() if name in result]
    if result.get("ten_crop"):
        parts.append("class of ten crops")
    pixels = result.get("pixel_average_precision")
    if pixels is not None:
        parts.append(f"PxAP {pixels['pxap']:.1f} (constant map {pixels['whole_image']['pxap']:.1f})")
    return "; ".join(parts) + remark_on_maps(result)


def write_json(record: dict, path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def write_images(images: list[dict], class_names: dict[int, str], path: Path):
    """
    Writes one row a picture as Parquet.

    Args:
        images (`list[dict]`): see [`LocalizationEvaluation`].
        class_names (`dict[int, str]`): name of each class of the model; they are added to the numbers.
        path (`Path`): file to write.
    """
    is_number = isinstance(images[0]["image_id"], int)
    box = datasets.List(datasets.Value("int64"), length=4)
    features = datasets.Features(
        {
            "row": datasets.Value("int64"),
            "image_id": datasets.Value("int64" if is_number else "string"),
            "label": datasets.Value("int64"),
            "label_name": datasets.Value("string"),
            "predicted_label": datasets.Value("int64"),
            "predicted_label_name": datasets.Value("string"),
            "probability": datasets.Value("float32"),
            "iou": datasets.Value("float64"),
            "predicted_box": box,
            "true_boxes": datasets.List(box),
            "object_share": datasets.Value("float64"),
        }
    )
    rows = [
        image
        | {
            "image_id": image["image_id"] if is_number else str(image["image_id"]),
            "label_name": class_names[image["label"]],
            "predicted_label_name": class_names[image["predicted_label"]],
        }
        for image in images
    ]
    datasets.Dataset.from_list(rows, features=features).to_parquet(path)


def write_plots(evaluation: LocalizationEvaluation, class_names: dict[int, str], folder: Path):
    """Writes the plots of one protocol, `<what>_<protocol>.png`."""
    result = evaluation.result
    protocol = result["protocol"]
    title = f"protocol {protocol}, {result['num_images']} pictures"
    plot_thresholds(evaluation.curves, result["threshold"], title, folder / f"thresholds_{protocol}.png")
    plot_by_size(evaluation.images, title, folder / f"by_size_{protocol}.png")
    plot_by_class(evaluation.images, class_names, title, folder / f"by_class_{protocol}.png")
    if evaluation.precision_recall is not None:
        average_precision = result["pixel_average_precision"]["pxap"]
        path = folder / f"precision_recall_{protocol}.png"
        plot_precision_recall(evaluation.precision_recall, average_precision, title, path)


def write_report(
    evaluation: LocalizationEvaluation,
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    dataset: datasets.Dataset,
    folder: Path,
):
    """
    Writes one row a picture, the plots, and drawings of the worst and best cases.

    Args:
        evaluation ([`LocalizationEvaluation`]): with its images.
        model, image_processor, dataset: what was measured, and on what.
        folder (`Path`): where to write.
    """
    class_names = model.config.id2label
    folder.mkdir(parents=True, exist_ok=True)
    write_images(evaluation.images, class_names, folder / f"images_{evaluation.result['protocol']}.parquet")
    write_plots(evaluation, class_names, folder)
    draw_cases(evaluation, model, image_processor, dataset, folder)


def draw_cases(
    evaluation: LocalizationEvaluation,
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    dataset: datasets.Dataset,
    folder: Path,
):
    """
    Draws the pictures with the smallest and with the largest IoU, as the protocol shows and cuts them:
    `worst_<protocol>.png` and `best_<protocol>.png`.
    """
    result = evaluation.result
    protocol, image_size = result["protocol"], result["image_size"]
    pictures = EvaluationPictures(with_undecoded_pictures(dataset), image_processor, protocol, image_size)
    names = model.config.id2label
    by_iou = sorted(evaluation.images, key=lambda image: (image["iou"], image["row"]))
    for kind, images in (("worst", by_iou[:NUM_CASES]), ("best", by_iou[: -NUM_CASES - 1 : -1])):
        tiles = []
        for image in images:
            is_right = "" if image["predicted_label"] == image["label"] else f" (is {names[image['label']]})"
            tiles.append(
                Localization(
                    image=picture_in_frame(pictures.dataset[image["row"]]["image"], protocol, image_size),
                    localization_map=map_in_frame(model, pictures[image["row"]]["pixel_values"], protocol, image_size),
                    predicted_boxes=[image["predicted_box"]],
                    # true boxes end on their last pixel, predicted ones behind it
                    true_boxes=[(x0, y0, x1 + 1, y1 + 1) for x0, y0, x1, y1 in image["true_boxes"]],
                    title=f"IoU {image['iou']:.2f}: {names[image['predicted_label']]}{is_right}",
                )
            )
        heading = (
            f"protocol {protocol}, the {kind} {len(tiles)} of {result['num_images']}: true boxes green, predicted red"
        )
        contact_sheet(tiles, folder / f"{kind}_{protocol}.png", columns=4, heading=heading)


def picture_in_frame(image: dict, protocol: str, image_size: int) -> PIL.Image.Image:
    """A picture, resized and cropped as the protocol does it."""
    side = resized_side(protocol, image_size)
    start = (side - image_size) // 2
    resized = decode_image(image).convert("RGB").resize((side, side), PIL.Image.Resampling.BILINEAR)
    return resized.crop((start, start, start + image_size, start + image_size))


@torch.inference_mode()
def map_in_frame(
    model: SATForWeaklySupervisedLocalization, pixel_values: torch.Tensor, protocol: str, image_size: int
):
    """The map of one picture, normalized and resized as the protocol does it, `(image_size, image_size)`."""
    localization_map = predict(model, pixel_values[None])[0][0]
    if protocol == "wsoleval":
        return resize_and_normalize(localization_map, image_size)
    return resize_map(normalize_map(localization_map), (image_size, image_size)).numpy()


__all__ = ["caption", "draw_cases", "summary", "versions", "write_images", "write_json", "write_plots"]
