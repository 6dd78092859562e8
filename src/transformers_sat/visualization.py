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
"""Images of what the model found."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from .escaping import on_plot
from .writing import replacing_file


if TYPE_CHECKING:
    from matplotlib.figure import Figure


# In characters; more would run into the next tile, and out of the sheet.
TITLE_LENGTH = 60
HEADING_LENGTH = 200


@dataclass
class Localization:
    """
    One tile of a contact sheet.

    Args:
        image (`PIL.Image.Image`): the image.
        localization_map (`np.ndarray` of shape `(height, width)`): normalized map, in [0, 1], of the image's size.
        predicted_boxes (`Sequence`): corners `(x0, y0, x1, y1)` in pixels, far ends exclusive.
        true_boxes (`Sequence`): likewise.
        title (`str`): written above the tile.
    """

    image: PIL.Image.Image
    localization_map: np.ndarray
    predicted_boxes: Sequence = ()
    true_boxes: Sequence = ()
    title: str = field(default="")


def contact_sheet(localizations: Sequence[Localization], path: str | os.PathLike, columns: int = 6, heading: str = ""):
    """
    Draws images side by side with their overlays: the image and true boxes (green), then the image under its map
    with true and predicted boxes (red).

    Args:
        localizations (`Sequence[Localization]`): what to draw, at least one.
        path (`str` or `os.PathLike`): image file to write; its folder is created.
        columns (`int`, *optional*, defaults to 6): images per row.
        heading (`str`, *optional*): written above the sheet.

    Raises:
        `ValueError`: if there is nothing to draw.
    """
    if not localizations:
        raise ValueError("`localizations` is empty: there is nothing to draw.")
    # an object of its own instead of pyplot: no window system, no state shared with the caller's figures
    from matplotlib.figure import Figure

    rows = math.ceil(len(localizations) / columns)
    figure = Figure(figsize=(columns * 2.6, rows * 1.5 + 0.6), layout="constrained", dpi=110)
    axes = figure.subplots(rows, columns * 2, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for tile, localization in enumerate(localizations):
        row, column = divmod(tile, columns)
        plain, overlaid = axes[row, 2 * column : 2 * column + 2]
        for axis in (plain, overlaid):
            axis.imshow(localization.image.convert("RGB"), interpolation="nearest")
            _draw_boxes(axis, localization.true_boxes, "lime")
        overlaid.imshow(localization.localization_map, cmap="jet", alpha=0.5, vmin=0, vmax=1, interpolation="nearest")
        _draw_boxes(overlaid, localization.predicted_boxes, "red")
        plain.set_title(on_plot(localization.title, TITLE_LENGTH), fontsize=6, loc="left")
    if heading:
        figure.suptitle(on_plot(heading, HEADING_LENGTH), fontsize=9)
    save_figure(figure, path)


def save_figure(figure: "Figure", path: str | os.PathLike):
    """Writes a figure as an image file, whole or not at all; its folder is created."""
    with replacing_file(path) as unfinished:
        figure.savefig(unfinished)


def _draw_boxes(axis, boxes: Sequence, color: str):
    from matplotlib.patches import Rectangle

    for x0, y0, x1, y1 in boxes:
        # pixel i is drawn from i - 0.5 to i + 0.5
        rectangle = Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=1.5)
        axis.add_patch(rectangle)


__all__ = ["Localization", "contact_sheet", "save_figure"]
