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
"""What an evaluation leaves behind: figures as JSON, one row an image as Parquet, plots and drawings."""

import importlib.metadata
import platform
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import datasets
import torch
from transformers import BaseImageProcessor

from ..data.dataset import decode_image
from ..metrics import get_protocol
from ..model.modeling_sat import SATForWeaklySupervisedLocalization
from ..training.metrics import format_table, remark_on_maps
from ..visualization import Localization, contact_sheet
from ..writing import replacing_file
from .engine import LocalizationEvaluation, predict, with_undecoded_images
from .images import EvaluationImages
from .plots import plot_by_class, plot_by_size, plot_precision_recall, plot_thresholds


# Packages that figures depend on.
VERSIONS_OF = ("torchvision", "transformers", "datasets", "numpy", "scipy", "pillow", "opencv-python-headless")

CHOICES = {
    "oracle": "the best on these very images",
    "validation": "the best on the validation split",
    "fixed": "given",
}

# Images on each of the two contact sheets.
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
        f"{result['num_images']} images",
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


def write_images(images: list[dict], class_names: dict[int, str], path: Path):
    """
    Writes one row an image as Parquet.

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
    with replacing_file(path) as unfinished:
        datasets.Dataset.from_list(rows, features=features).to_parquet(unfinished)


def draw_all(drawings: dict[Path, Callable[[Path], None]]):
    """
    Writes plots and drawings; one that fails is no reason to do without the others.

    Args:
        drawings (`dict[Path, Callable]`): what writes each file, called with its path.

    Raises:
        `RuntimeError`: at the end, if some could not be drawn.
    """
    failures = {}
    for path, draw in drawings.items():
        try:
            draw(path)
        except Exception as error:  # of the plotting library, of an image that is gone, of the disk
            failures[path] = error
    if failures:
        reasons = "; ".join(f"{path} ({error})" for path, error in failures.items())
        raise RuntimeError(
            f"The results are written, but {len(failures)} of {len(drawings)} files could not be drawn: {reasons}"
        ) from next(iter(failures.values()))


def plots_of(
    evaluation: LocalizationEvaluation, class_names: dict[int, str], folder: Path
) -> dict[Path, Callable[[Path], None]]:
    """The plots of one protocol, `<what>_<protocol>.png`, for [`draw_all`]."""
    result = evaluation.result
    protocol = result["protocol"]
    title = f"protocol {protocol}, {result['num_images']} images"
    plots = {
        "thresholds": partial(plot_thresholds, evaluation.curves, result["threshold"], title),
        "by_size": partial(plot_by_size, evaluation.images, title),
        "by_class": partial(plot_by_class, evaluation.images, class_names, title),
    }
    if evaluation.precision_recall is not None:
        average_precision = result["pixel_average_precision"]["pxap"]
        plots["precision_recall"] = partial(
            plot_precision_recall, evaluation.precision_recall, average_precision, title
        )
    return {folder / f"{name}_{protocol}.png": plot for name, plot in plots.items()}


def write_report(
    evaluation: LocalizationEvaluation,
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    dataset: datasets.Dataset,
    folder: Path,
):
    """
    Writes one row an image, then the plots, and drawings of the worst and best cases.

    Args:
        evaluation ([`LocalizationEvaluation`]): with its images.
        model, image_processor, dataset: what was measured, and on what.
        folder (`Path`): where to write.

    Raises:
        `RuntimeError`: if some of the plots and drawings could not be made; everything else is written then.
    """
    write_reports([evaluation], model, image_processor, dataset, folder)


def write_reports(
    evaluations: Iterable[LocalizationEvaluation],
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    dataset: datasets.Dataset,
    folder: Path,
):
    """Several protocols' reports, as [`write_report`]: nothing is drawn before the rows of all are written."""
    class_names, drawings = model.config.id2label, {}
    for evaluation in evaluations:
        protocol = evaluation.result["protocol"]
        write_images(evaluation.images, class_names, folder / f"images_{protocol}.parquet")
        drawings |= plots_of(evaluation, class_names, folder)
        by_iou = sorted(evaluation.images, key=lambda image: (image["iou"], image["row"]))
        for kind, images in (("worst", by_iou[:NUM_CASES]), ("best", by_iou[: -NUM_CASES - 1 : -1])):
            drawings[folder / f"{kind}_{protocol}.png"] = partial(
                draw_cases, kind, images, evaluation.result, model, image_processor, dataset
            )
    draw_all(drawings)


@torch.inference_mode()
def draw_cases(
    kind: str,
    images: list[dict],
    result: dict,
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    dataset: datasets.Dataset,
    path: Path,
):
    """Draws some images as the protocol shows and cuts them; `kind` says in the heading which."""
    protocol, image_size = get_protocol(result["protocol"]), result["image_size"]
    photos = EvaluationImages(with_undecoded_images(dataset), image_processor, protocol, image_size)
    names = model.config.id2label
    tiles = []
    for image in images:
        row = photos.dataset[image["row"]]
        localization_map = predict(model, photos[image["row"]]["pixel_values"][None])[0][0]
        is_right = "" if image["predicted_label"] == image["label"] else f" (is {names[image['label']]})"
        tiles.append(
            Localization(
                image=protocol.image_in_frame(decode_image(row["image"]).convert("RGB"), image_size),
                localization_map=protocol.map_in_frame(localization_map, image_size),
                predicted_boxes=[image["predicted_box"]],
                true_boxes=protocol.drawn_boxes(image["true_boxes"]),
                title=f"IoU {image['iou']:.2f}: {names[image['predicted_label']]}{is_right}",
            )
        )
    heading = (
        f"protocol {protocol.name}, the {kind} {len(tiles)} of {result['num_images']}: true boxes green, predicted red"
    )
    contact_sheet(tiles, path, columns=4, heading=heading)


__all__ = ["caption", "draw_all", "summary", "versions", "write_images", "write_report", "write_reports"]
