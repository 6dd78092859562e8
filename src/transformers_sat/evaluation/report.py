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
"""What an evaluation leaves behind beside its figures: one row an image as Parquet, plots and drawings."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import datasets

from ..data.dataset import decode_image
from ..metrics import get_protocol
from ..visualization import Localization, contact_sheet
from ..writing import replacing_file
from .plots import plot_by_class, plot_by_size, plot_precision_recall, plot_thresholds


if TYPE_CHECKING:
    from .engine import LocalizationEvaluation
    from .pixels import PixelEvaluation


# Images on each of the two contact sheets.
NUM_CASES = 12


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
    evaluation: "LocalizationEvaluation | PixelEvaluation", class_names: dict[int, str], folder: Path
) -> dict[Path, Callable[[Path], None]]:
    """The plots of one protocol, `<what>_<protocol>.png`, for [`draw_all`]."""
    result, plots = evaluation.result, {}
    if has_boxes(evaluation):
        plots |= plots_of_maps(result, evaluation.curves, folder)
        plots[_path("by_size", result, folder)] = partial(plot_by_size, evaluation.images, _title(result))
        plots[_path("by_class", result, folder)] = partial(
            plot_by_class, evaluation.images, class_names, _title(result)
        )
    if evaluation.precision_recall is not None:
        plots |= plots_of_maps(result, evaluation.precision_recall, folder)
    return plots


def plots_of_maps(result: dict, curves: dict, folder: Path) -> dict[Path, Callable[[Path], None]]:
    """The plot of what was counted at all thresholds: of pixels, precision against recall, of boxes their accuracies."""
    if "recall" in curves:
        plot = partial(plot_precision_recall, curves, result["pxap"], _title(result))
        return {_path("precision_recall", result, folder): plot}
    plot = partial(plot_thresholds, curves, result["threshold"], _title(result))
    return {_path("thresholds", result, folder): plot}


def has_boxes(evaluation: "LocalizationEvaluation | PixelEvaluation") -> bool:
    return "threshold" in evaluation.result


def write_reports(
    evaluations: Sequence["LocalizationEvaluation | PixelEvaluation"],
    dataset: datasets.Dataset,
    class_names: dict[int, str],
    folder: Path,
):
    """
    Writes one row an image, then the plots, and drawings of the worst and best cases; nothing is drawn before the rows of
    all protocols are written.

    Args:
        evaluations (`Sequence` of [`LocalizationEvaluation`] or [`PixelEvaluation`]):
            What was found, by one protocol each; where there are boxes, with the images.
        dataset (`datasets.Dataset`): the split that was measured.
        class_names (`dict[int, str]`): name of each class of the model.
        folder (`Path`): where to write.

    Raises:
        `RuntimeError`: if some of the plots and drawings could not be made; everything else is written then.
    """
    drawings = {}
    for evaluation in evaluations:
        drawings |= plots_of(evaluation, class_names, folder)
        if not has_boxes(evaluation):
            continue
        result = evaluation.result
        write_images(evaluation.images, class_names, folder / f"images_{result['protocol']}.parquet")
        by_iou = sorted(range(len(evaluation.images)), key=lambda number: evaluation.images[number]["iou"])
        for kind, numbers in (("worst", by_iou[:NUM_CASES]), ("best", by_iou[: -NUM_CASES - 1 : -1])):
            drawings[_path(kind, result, folder)] = partial(
                draw_cases, kind, evaluation, numbers, dataset, class_names
            )
    draw_all(drawings)


def draw_cases(
    kind: str,
    evaluation: "LocalizationEvaluation",
    numbers: Sequence[int],
    dataset: datasets.Dataset,
    class_names: dict[int, str],
    path: Path,
):
    """Draws some images as the protocol shows and cuts them; `kind` says in the heading which."""
    result = evaluation.result
    protocol, image_size = get_protocol(result["protocol"]), result["image_size"]
    # decoded with our own limits
    dataset = dataset.cast_column("image", datasets.Image(decode=False))
    tiles = []
    for number in numbers:
        image = evaluation.images[number]
        photo = decode_image(dataset[image["row"]]["image"]).convert("RGB")
        is_right = "" if image["predicted_label"] == image["label"] else f" (is {class_names[image['label']]})"
        tiles.append(
            Localization(
                image=protocol.image_in_frame(photo, image_size),
                localization_map=protocol.map_in_frame(evaluation.localization_maps[number], image_size),
                predicted_boxes=[image["predicted_box"]],
                true_boxes=protocol.drawn_boxes(image["true_boxes"]),
                title=f"IoU {image['iou']:.2f}: {class_names[image['predicted_label']]}{is_right}",
            )
        )
    heading = f"protocol {protocol.name}, the {kind} {len(tiles)} of {result['num_images']}"
    contact_sheet(tiles, path, columns=4, heading=f"{heading}: true boxes green, predicted red")


def _path(name: str, result: dict, folder: Path) -> Path:
    return folder / f"{name}_{result['protocol']}.png"


def _title(result: dict) -> str:
    return f"protocol {result['protocol']}, {result['num_images']} images"


__all__ = ["draw_all", "plots_of_maps", "write_images", "write_reports"]
