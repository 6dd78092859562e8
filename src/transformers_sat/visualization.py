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
"""Drawings of what the model found."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import PIL.ImageDraw

from .escaping import on_plot
from .model.inputs_sat import as_rgb
from .writing import replacing_file


if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Longest side of a drawing in pixels: more is slow to draw and is not seen.
LONGEST_SIDE = 1280

# Colours of the map at 0, 1/4, ... 1: dark to bright, so that they are told apart without seeing hues too.
MAP_COLOURS = np.array([(20, 11, 53), (87, 15, 109), (187, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=float)
PREDICTED_COLOUR = (255, 0, 0)
TRUE_COLOUR = (0, 255, 0)
# Around the lines of boxes, so that they stand out from any image and any colour of the map.
EDGE_COLOUR = (0, 0, 0)

# In characters; more would run into the next tile, and out of the sheet.
TITLE_LENGTH = 60
HEADING_LENGTH = 200


@dataclass
class Localization:
    """
    What there is to draw of an image.

    Args:
        image (`PIL.Image.Image`): the image.
        localization_map (`np.ndarray` of shape `(height, width)`): normalized map, in [0, 1], of the image's size.
        predicted_boxes (`Sequence`): corners `(x0, y0, x1, y1)` in pixels, far ends exclusive.
        true_boxes (`Sequence`): likewise.
        title (`str`): written above the tile of a contact sheet.
    """

    image: PIL.Image.Image
    localization_map: np.ndarray
    predicted_boxes: Sequence = ()
    true_boxes: Sequence = ()
    title: str = ""


def draw_localization(localization: Localization, opacity: float = 0.5) -> PIL.Image.Image:
    """
    Draws the image under its map in colours, with true boxes (green) and predicted ones (red), made smaller if its
    longest side has more than 1280 pixels.

    Args:
        localization ([`Localization`]): what to draw.
        opacity (`float`, *optional*, defaults to 0.5): of the map, from 0 (the image alone) to 1 (the map alone).

    Returns:
        `PIL.Image.Image`: in RGB.
    """
    image = as_rgb(localization.image)
    scale = min(1.0, LONGEST_SIDE / max(image.size))
    size = tuple(max(round(side * scale), 1) for side in image.size)
    localization_map = PIL.Image.fromarray(np.asarray(localization.localization_map, dtype=np.float32))
    if scale < 1:
        image, localization_map = image.resize(size), localization_map.resize(size)
    position = np.asarray(localization_map) * (len(MAP_COLOURS) - 1)
    colours = [np.interp(position, np.arange(len(MAP_COLOURS)), channel) for channel in MAP_COLOURS.T]
    blended = (1 - opacity) * np.asarray(image) + opacity * np.stack(colours, axis=-1)
    drawing = PIL.Image.fromarray(blended.round().astype(np.uint8))
    _draw_boxes(drawing, localization.true_boxes, scale, TRUE_COLOUR)
    _draw_boxes(drawing, localization.predicted_boxes, scale, PREDICTED_COLOUR)
    return drawing


def _draw_boxes(drawing: PIL.Image.Image, boxes: Sequence, scale: float, colour: tuple[int, int, int]):
    pen = PIL.ImageDraw.Draw(drawing)
    width = max(max(drawing.size) // 160, 2)
    # the largest, which comes first, last: on top
    for box in reversed(boxes):
        x0, y0, x1, y1 = (round(side * scale) for side in box)
        x1, y1 = max(x1 - 1, x0), max(y1 - 1, y0)
        pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=EDGE_COLOUR, width=width + 2)
        pen.rectangle((x0, y0, x1, y1), outline=colour, width=width)


def contact_sheet(localizations: Sequence[Localization], path: str | os.PathLike, columns: int = 6, heading: str = ""):
    """
    Draws images side by side with their overlays: the image and true boxes (green), then the image under its map
    with true and predicted boxes (red), as [`draw_localization`].

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
        without_map = draw_localization(replace(localization, predicted_boxes=()), opacity=0)
        plain.imshow(without_map, interpolation="nearest")
        overlaid.imshow(draw_localization(localization), interpolation="nearest")
        plain.set_title(on_plot(localization.title, TITLE_LENGTH), fontsize=6, loc="left")
    if heading:
        figure.suptitle(on_plot(heading, HEADING_LENGTH), fontsize=9)
    save_figure(figure, path)


def save_figure(figure: "Figure", path: str | os.PathLike):
    """Writes a figure as an image file, whole or not at all; its folder is created."""
    with replacing_file(path) as unfinished:
        figure.savefig(unfinished)


__all__ = ["Localization", "contact_sheet", "draw_localization", "save_figure"]
