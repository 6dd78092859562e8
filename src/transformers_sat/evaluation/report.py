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
"""What an evaluation writes for people: one row an image, plots, the worst and the best cases, a contact sheet."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import numpy as np
import torch

from ..data.dataset import decode_image
from ..metrics import get_protocol
from ..model.inputs_sat import as_rgb
from ..visualization import Localization, contact_sheet
from ..writing import replacing_file
from .plots import plot_by_class, plot_by_size, plot_precision_recall, plot_thresholds
from .split import with_undecoded_images


if TYPE_CHECKING:
    from .engine import LocalizationEvaluation


# Images on each of the two sheets of cases.
NUM_CASES = 12


def write_reports(
    evaluations: Iterable["LocalizationEvaluation"],
    dataset: datasets.Dataset,
    class_names: dict[int, str],
    folder: Path,
):
    """
    Writes one row an image, then the plots, and drawings of the worst and best cases; nothing is drawn before the rows
    of all protocols are written.

    Args:
        evaluations (`Iterable[LocalizationEvaluation]`): what was found, by one protocol each, with the images.
        dataset (`datasets.Dataset`): the rows that were measured.
        class_names (`dict[int, str]`): name of each class of the model.
        folder (`Path`): where to write.

    Raises:
        `RuntimeError`: if some of the plots and drawings could not be made; everything else is written then.
    """
    drawings = {}
    for evaluation in evaluations:
        write_images(evaluation.images, class_names, folder / f"images_{evaluation.result['protocol']}.parquet")
        drawings |= drawings_of(evaluation, dataset, class_names, folder)
    draw_all(drawings)


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
    features = {
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
    rows = [
        image
        | {
            "image_id": image["image_id"] if is_number else str(image["image_id"]),
            "label_name": class_names[image["label"]],
            "predicted_label_name": class_names[image["predicted_label"]],
        }
        for image in images
    ]
    # those of boxes are missing where there are none
    features = datasets.Features({name: feature for name, feature in features.items() if name in rows[0]})
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


def drawings_of(
    evaluation: "LocalizationEvaluation", dataset: datasets.Dataset, class_names: dict[int, str], folder: Path
) -> dict[Path, Callable[[Path], None]]:
    """
    The plots and drawings of one protocol, `<what>_<protocol>.png`, as far as boxes and masks allow, for [`draw_all`].
    """
    result, images = evaluation.result, evaluation.images
    drawings = {}
    for curves in (evaluation.curves, evaluation.precision_recall):
        if curves is not None:
            drawings |= plots_of_maps(result, curves, folder)
    if evaluation.curves is not None:
        drawings[_path("by_size", result, folder)] = partial(plot_by_size, images, _title(result))
        drawings[_path("by_class", result, folder)] = partial(plot_by_class, images, class_names, _title(result))
        by_iou = sorted(range(len(images)), key=lambda place: (images[place]["iou"], images[place]["row"]))
        for kind, places in (("worst", by_iou[:NUM_CASES]), ("best", by_iou[: -NUM_CASES - 1 : -1])):
            drawings[_path(kind, result, folder)] = partial(
                _draw_cases, kind, evaluation, places, dataset, class_names
            )
    return drawings


def plots_of_maps(result: dict, curves: dict, folder: Path) -> dict[Path, Callable[[Path], None]]:
    """The plot of what was counted at all thresholds, of boxes or of pixels, for [`draw_all`]."""
    if "recall" in curves:
        name, plot = "precision_recall", partial(plot_precision_recall, curves, result["pxap"], _title(result))
    else:
        name, plot = "thresholds", partial(plot_thresholds, curves, result["threshold"], _title(result))
    return {_path(name, result, folder): plot}


def _path(name: str, result: dict, folder: Path) -> Path:
    return folder / f"{name}_{result['protocol']}.png"


def _title(result: dict) -> str:
    return f"protocol {result['protocol']}, {result['num_images']} images"


def _draw_cases(
    kind: str,
    evaluation: "LocalizationEvaluation",
    places: Sequence[int],
    dataset: datasets.Dataset,
    class_names: dict[int, str],
    path: Path,
):
    result = evaluation.result
    heading = f"protocol {result['protocol']}, the {kind} {len(places)} of {result['num_images']}"
    tiles = draw_images(evaluation, places, dataset, class_names)
    contact_sheet(tiles, path, columns=4, heading=f"{heading}: true boxes green, predicted red")


def draw_images(
    evaluation: "LocalizationEvaluation", places: Sequence[int], dataset: datasets.Dataset, class_names: dict[int, str]
) -> list[Localization]:
    """
    Tiles of a contact sheet: images as the protocol shows them, with the maps that were measured, cut as they were.

    Args:
        evaluation ([`LocalizationEvaluation`]): with its images.
        places (`Sequence[int]`): which of its images.
        dataset (`datasets.Dataset`): the rows that were measured.
        class_names (`dict[int, str]`): name of each class of the model.

    Returns:
        `list[Localization]`: for [`~transformers_sat.visualization.contact_sheet`].
    """
    protocol, frame = get_protocol(evaluation.result["protocol"]), evaluation.result["image_size"]
    dataset = with_undecoded_images(dataset)
    tiles = []
    for place in places:
        image = evaluation.images[place]
        is_right = "" if image["predicted_label"] == image["label"] else f" (is {class_names[image['label']]})"
        overlap = f"IoU {image['iou']:.2f}: " if "iou" in image else ""
        photo = as_rgb(decode_image(dataset[image["row"]]["image"]))
        tiles.append(
            Localization(
                image=protocol.image_in_frame(photo, frame),
                localization_map=protocol.map_in_frame(torch.from_numpy(evaluation.maps[place]), frame),
                predicted_boxes=[image["predicted_box"]],
                true_boxes=protocol.drawn_boxes(image["true_boxes"]) if "true_boxes" in image else [],
                title=f"{overlap}{class_names[image['predicted_label']]} {image['probability']:.2f}{is_right}",
            )
        )
    return tiles


def draw_sample(
    evaluation: "LocalizationEvaluation",
    num_images: int,
    dataset: datasets.Dataset,
    class_names: dict[int, str],
    heading: str,
    path: Path,
):
    """
    Draws some of the measured images, taken at random, always the same ones, as [`draw_images`] does.

    Args:
        evaluation, dataset, class_names: see [`draw_images`].
        num_images (`int`): how many at most.
        heading (`str`): written above the sheet.
        path (`Path`): file to write.
    """
    places = np.random.default_rng(0).permutation(len(evaluation.images))[:num_images]
    contact_sheet(draw_images(evaluation, places, dataset, class_names), path, heading=heading)


__all__ = ["draw_all", "draw_images", "draw_sample", "drawings_of", "plots_of_maps", "write_images", "write_reports"]
