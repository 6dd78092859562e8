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
"""What several commands take, written once."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand


# What a protocol imports beyond the rest, by the name that is given for it: OpenCV finds contours.
PACKAGES_OF_PROTOCOL = {"sat": (), "wsoleval": ("cv2",), "both": ("cv2",)}


LARGEST_PORT = 65535


class ListCommand(TyperCommand):
    """A command whose options of lists take their values in one go, `--image_size 224 320`, as those of scripts do."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        lists = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        repeated, name = [], None
        for word in args:
            if word.startswith("--"):
                name = word if word in lists else None
            elif name is not None and repeated[-1] != name:
                repeated.append(name)
            repeated.append(word)
        return super().parse_args(ctx, repeated)


def threshold_choice(text: str) -> str | float:
    """The word or the number that was given; what fits is checked where it is used."""
    try:
        return float(text)
    except ValueError:
        return text


Model = Annotated[str, typer.Argument(help="SAT model: repository on the Hub or folder.", show_default=False)]

Device = Annotated[
    str | None,
    typer.Option(
        "--device", help="Where to run, such as cuda:0; Transformers chooses by default.", show_default=False
    ),
]

Host = Annotated[
    str,
    typer.Option("--host", help="Address to listen at; 127.0.0.1 is this machine only.", rich_help_panel="Address"),
]

Report = Annotated[
    Path | None,
    typer.Option("--output", help="Folder for results.json, tables, plots and drawings.", show_default=False),
]

# There is no score to compare here, so that `--threshold` is understood too.
MeasuredThreshold = Annotated[
    str | None,
    typer.Option(
        "--localization_threshold",
        "--threshold",
        parser=threshold_choice,
        metavar="WORD|NUMBER",
        help="Cut of the normalized map: `validation`, the best on the validation split; `oracle`, the best on what is "
        "measured; or a number in [0, 1].",
        rich_help_panel="Measuring",
    ),
]


# Of the data set, and of the work, wherever images are measured.
DatasetConfig = Annotated[
    str | None,
    typer.Option(
        "--dataset_config_name",
        help="Configuration of a data set on the Hub.",
        show_default=False,
        rich_help_panel="Data set",
    ),
]

ImageColumn = Annotated[
    str, typer.Option("--image_column_name", help="Column of the images.", rich_help_panel="Data set")
]

LabelColumn = Annotated[
    str, typer.Option("--label_column_name", help="Column of the classes.", rich_help_panel="Data set")
]

ObjectsColumn = Annotated[
    str, typer.Option("--objects_column_name", help="Column of the boxes.", rich_help_panel="Data set")
]

ValidationFraction = Annotated[
    float,
    typer.Option(
        "--validation_fraction",
        help="Share of `train` set apart where there is no `validation`.",
        rich_help_panel="Data set",
    ),
]

MaxSamples = Annotated[
    int | None,
    typer.Option(
        "--max_samples",
        help="Only that many images of a split, drawn at random.",
        show_default=False,
        rich_help_panel="Data set",
    ),
]

BatchSize = Annotated[
    int, typer.Option("--batch_size", min=1, help="Images at a time, on each process.", rich_help_panel="Work")
]

NumWorkers = Annotated[
    int, typer.Option("--num_workers", min=0, help="Processes that load images.", rich_help_panel="Work")
]


__all__ = [
    "LARGEST_PORT",
    "PACKAGES_OF_PROTOCOL",
    "BatchSize",
    "DatasetConfig",
    "Device",
    "Host",
    "ImageColumn",
    "LabelColumn",
    "ListCommand",
    "MaxSamples",
    "MeasuredThreshold",
    "Model",
    "NumWorkers",
    "ObjectsColumn",
    "Report",
    "ValidationFraction",
    "threshold_choice",
]
