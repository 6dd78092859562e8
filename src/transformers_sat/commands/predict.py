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
"""`transformers-sat predict`."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..escaping import on_console
from ..extras import require
from ..writing import check_folder
from .options import Device, Model


# Of a file's name, in bytes, in the name of its drawing.
LONGEST_NAME = 230


def predict(
    model: Model,
    images: Annotated[list[str], typer.Argument(help="Image files.", show_default=False)],
    localization_threshold: Annotated[
        float | None,
        typer.Option(
            "--localization_threshold",
            help="Cut of the normalized map, in [0, 1]; the model's own by default.",
            show_default=False,
            rich_help_panel="What is found",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="Least score of an object, in [0, 1]; all are shown by default, and from 0.5 of a multi-label model.",
            show_default=False,
            rich_help_panel="What is found",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top_k",
            help="Number of classes; 1 by default, all that are found of a multi-label model.",
            show_default=False,
            rich_help_panel="What is found",
        ),
    ] = None,
    multiple_boxes: Annotated[
        bool,
        typer.Option("--multiple_boxes", help="A box for every connected component.", rich_help_panel="What is found"),
    ] = False,
    device: Device = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Folder for a drawing of each image, `<file name>_sat.png` (`<file name>_2_sat.png` where a name comes "
            "twice).",
            show_default=False,
        ),
    ] = None,
):
    """
    Say what is in images and where.

    Prints one line of JSON per image. An image that cannot be read is named, and the others go on.
    """
    for option, value in {"localization_threshold": localization_threshold, "threshold": threshold}.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"--{option} must be between 0 and 1, got {value}.")
    if output is not None:
        require("eval", "matplotlib")
        check_folder(output)
    from ..model.images_sat import one_line
    from ..registration import register
    from ..safe_loading import load_localizer

    register()
    localizer = load_localizer(model, device=device)
    if top_k is not None and not 1 <= top_k <= localizer.model.config.num_labels:
        raise ValueError(f"--top_k must be between 1 and {localizer.model.config.num_labels}, got {top_k}.")
    options = {
        "threshold": threshold,
        "localization_threshold": localization_threshold,
        "top_k": top_k,
        "multiple_boxes": multiple_boxes,
    }
    drawings = drawing_names(images)
    failed = False
    for path in images:
        try:
            if Path(path).is_dir():
                raise ValueError("a folder; give its files, such as with `*.jpg`.")
            if not Path(path).is_file():
                raise ValueError("no such file.")
            image = localizer.image_processor.fetch_images(path)
            outputs = localizer.forward(localizer.preprocess(image))
            found = localizer.postprocess(outputs, **options)
            if output is not None:
                # of the most probable class, found or not
                localization_map = (found or localizer.postprocess(outputs, threshold=0.0, top_k=1))[0][
                    "localization_map"
                ]
        except Exception as error:  # whatever it is, the other images can be fine
            failed = True
            print(f"transformers-sat: {on_console(f'{path}: {one_line(error)}')}", file=sys.stderr)
            continue
        objects = [{name: entry[name] for name in ("label", "score", "box")} for entry in found]
        print(json.dumps({"image": path, "objects": objects}), flush=True)
        if output is not None:
            draw(image, localization_map, objects, output / drawings[path])
    raise typer.Exit(1 if failed else 0)


def draw(image, localization_map, objects: list[dict], path: Path):
    """The image, its map and the boxes that are left of it, titled by the most probable one."""
    from ..visualization import Localization, contact_sheet

    tile = Localization(
        image=image,
        localization_map=localization_map,
        predicted_boxes=[tuple(entry["box"].values()) for entry in objects],
        title=f"{objects[0]['label']} {objects[0]['score']:.2f}" if objects else "",
    )
    contact_sheet([tile], path, columns=1)


def drawing_names(paths: list[str]) -> dict[str, str]:
    """The file name of each image's drawing; images of one name in different folders get numbers."""
    names = {}
    taken = set()
    for path in dict.fromkeys(paths):
        name, number = shortened(Path(path).name), 1
        drawing = f"{name}_sat.png"
        # without regard to case, as some file systems are
        while drawing.lower() in taken:
            number += 1
            drawing = f"{name}_{number}_sat.png"
        taken.add(drawing.lower())
        names[path] = drawing
    return names


def shortened(name: str) -> str:
    """A file name of which one with an ending behind it can be made: file systems have names of up to 255 bytes."""
    while len(os.fsencode(name)) > LONGEST_NAME:
        name = name[:-1]
    return name


__all__ = ["predict"]
