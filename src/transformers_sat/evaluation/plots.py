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
"""Plots of an evaluation. Each function writes one image file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

# an object of its own instead of pyplot: no window system, no state shared with the caller's figures
from matplotlib.figure import Figure

from ..escaping import on_plot
from ..visualization import save_figure


# Shares of the image at which objects are divided by size.
SIZE_EDGES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)

# More classes than this are drawn without their names.
MAX_NAMED_CLASSES = 50

LOCALIZED_IOU = 0.5


def plot_thresholds(curves: dict, threshold: float, title: str, path: Path):
    """
    Accuracy against the threshold, a line for each IoU.

    Args:
        curves (`dict`): see [`~transformers_sat.metrics.BoxAccuracy.curves`].
        threshold (`float`): the one that was chosen, marked.
        title (`str`): heading.
        path (`Path`): file to write.
    """
    figure, axis = _figure(title)
    for name, accuracies in curves.items():
        if name.startswith("iou"):
            axis.plot(curves["thresholds"], accuracies, label=f"IoU at least .{name[3:]}", linewidth=1.5)
    axis.axvline(threshold, color="grey", linestyle="--", linewidth=1, label=f"chosen, {threshold:g}")
    axis.set(xlabel="threshold", ylabel="boxes that are right, percent", xlim=(0, 1), ylim=(0, 100))
    axis.legend(fontsize=8)
    save_figure(figure, path)


def plot_precision_recall(curve: dict, average_precision: float, title: str, path: Path):
    """
    Precision against recall of all pixels.

    Args:
        curve (`dict`): see [`~transformers_sat.metrics.PixelAveragePrecision.curve`].
        average_precision (`float`): PxAP in percent.
        title (`str`): heading.
        path (`Path`): file to write.
    """
    figure, axis = _figure(title)
    axis.plot(curve["recall"], curve["precision"], linewidth=1.5, label=f"PxAP {average_precision:.1f}")
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axis.legend(fontsize=8)
    save_figure(figure, path)


def plot_by_size(images: Sequence[dict], title: str, path: Path):
    """
    GT-known Loc by the share of the frame that the object covers, with the number of images on each bar.

    Args:
        images (`Sequence[dict]`): see [`LocalizationEvaluation`].
        title (`str`): heading.
        path (`Path`): file to write.
    """
    right = np.array([image["iou"] >= LOCALIZED_IOU for image in images])
    shares = np.array([image["object_share"] for image in images])
    # the last bin includes its end
    bins = np.minimum(np.searchsorted(SIZE_EDGES, shares, side="right") - 1, len(SIZE_EDGES) - 2)
    names = [f"{100 * low:g} to {100 * high:g}" for low, high in zip(SIZE_EDGES, SIZE_EDGES[1:])]
    figure, axis = _figure(title)
    for number, name in enumerate(names):
        count = int((bins == number).sum())
        accuracy = 100.0 * right[bins == number].mean() if count else 0.0
        axis.bar(name, accuracy, color="tab:blue")
        axis.annotate(str(count), (number, accuracy), ha="center", va="bottom", fontsize=8)
    axis.set(xlabel="share of the image that the object covers, percent", ylabel="GT-known Loc", ylim=(0, 110))
    save_figure(figure, path)


def plot_by_class(images: Sequence[dict], class_names: dict[int, str], title: str, path: Path):
    """
    GT-known Loc and Top-1 accuracy by class, best located first.

    Args:
        images (`Sequence[dict]`): see [`LocalizationEvaluation`].
        class_names (`dict[int, str]`): name of each class.
        title (`str`): heading.
        path (`Path`): file to write.
    """
    labels = np.array([image["label"] for image in images])
    located = np.array([image["iou"] >= LOCALIZED_IOU for image in images])
    recognized = np.array([image["predicted_label"] for image in images]) == labels
    rows = [
        (label, *(100.0 * kind[labels == label].mean() for kind in (located, recognized))) for label in set(labels)
    ]
    rows.sort(key=lambda row: (-row[1], row[0]))
    figure, axis = _figure(title, width=max(5.0, 0.25 * min(len(rows), MAX_NAMED_CLASSES)))
    position = np.arange(len(rows))
    width = 1.0 if len(rows) > 100 else 0.8
    axis.bar(position, [row[1] for row in rows], color="tab:blue", width=width, label="GT-known Loc")
    axis.plot(position, [row[2] for row in rows], ".", color="tab:orange", markersize=4, label="Top-1 Cls")
    if len(rows) <= MAX_NAMED_CLASSES:
        names = [on_plot(class_names[int(row[0])]) for row in rows]
        axis.set_xticks(position, names, rotation=90, fontsize=7)
    axis.set(xlabel=f"{len(rows)} classes", ylabel="percent", ylim=(0, 105))
    axis.legend(fontsize=8, loc="lower left")
    save_figure(figure, path)


def _figure(title: str, width: float = 5.0):
    figure = Figure(figsize=(width, 3.8), layout="constrained", dpi=120)
    axis = figure.subplots()
    axis.set_title(title, fontsize=9)
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)
    return figure, axis


__all__ = ["plot_by_class", "plot_by_size", "plot_precision_recall", "plot_thresholds"]
