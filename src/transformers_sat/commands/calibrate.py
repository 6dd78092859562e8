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
"""`transformers-sat calibrate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..extras import require
from .options import (
    BatchSize,
    DatasetConfig,
    ImageColumn,
    LabelColumn,
    MaxSamples,
    Model,
    NumWorkers,
    ObjectsColumn,
    ValidationFraction,
)


CHOICE = "Choice"


@dataclass
class CalibrationOptions:
    """Whose localization threshold `transformers-sat calibrate` sets, and how."""

    model: Model
    dataset: Annotated[
        str | None,
        typer.Argument(
            help="`emblems` (embedded), a data set on the Hub, or a folder; none with a number.", show_default=False
        ),
    ] = None
    dataset_config_name: DatasetConfig = None
    split: Annotated[str, typer.Option("--split", help="Split to choose on.", rich_help_panel="Data set")] = (
        "validation"
    )
    image_column_name: ImageColumn = "image"
    label_column_name: LabelColumn = "label"
    objects_column_name: ObjectsColumn = "objects"
    validation_fraction: ValidationFraction = 0.1
    max_samples: MaxSamples = None
    method: Annotated[
        Literal["boxes", "otsu"],
        typer.Option(
            "--method",
            help="By the boxes of the split, or without them masks; or of images alone by half of Otsu's threshold.",
            rich_help_panel=CHOICE,
        ),
    ] = "boxes"
    localization_threshold: Annotated[
        float | None,
        typer.Option(
            "--localization_threshold",
            help="The threshold itself, in [0, 1]; nothing is chosen.",
            show_default=False,
            rich_help_panel=CHOICE,
        ),
    ] = None
    localization_thresholds: Annotated[
        list[float] | None,
        typer.Option(
            "--localization_thresholds",
            help="What is chosen from, one or more; 0.05, 0.10, ..., 0.95 by default.",
            show_default=False,
            rich_help_panel=CHOICE,
        ),
    ] = None
    batch_size: BatchSize = 32
    num_workers: NumWorkers = 0
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Folder for a copy of the whole model with the new threshold; the model's own by default.",
            show_default=False,
        ),
    ] = None


@dataclass
class Calibrate(CalibrationOptions):
    """
    Set the localization threshold of a finished model.

    Prints the old and the new one with the figures at both, and changes nothing else of the model.
    """

    def __post_init__(self):
        require("eval", "accelerate", "datasets", "matplotlib")
        if self.dataset == "emblems":
            require("train", "skimage", "sklearn")
        from ..evaluation.calibrate import calibrate_model
        from ..registration import register

        register()
        calibrate_model(self)


__all__ = ["Calibrate", "CalibrationOptions"]
