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
"""`transformers-sat evaluate`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from ..extras import require
from .options import (
    PACKAGES_OF_PROTOCOL,
    BatchSize,
    DatasetConfig,
    ImageColumn,
    LabelColumn,
    MaxSamples,
    MeasuredThreshold,
    Model,
    NumWorkers,
    ObjectsColumn,
    Report,
    ValidationFraction,
)


DATA = "Data set"
MEASURING = "Measuring"


@dataclass
class EvaluationOptions:
    """What `transformers-sat evaluate` measures, and how."""

    model: Model
    dataset: Annotated[
        str,
        typer.Argument(
            help="`emblems` (embedded), a data set on the Hub, or a folder (saved, Parquet, imagefolder).",
            show_default=False,
        ),
    ]
    dataset_config_name: DatasetConfig = None
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="Split to measure; test by default, or validation where there is no other.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None
    image_column_name: ImageColumn = "image"
    label_column_name: LabelColumn = "label"
    objects_column_name: ObjectsColumn = "objects"
    validation_fraction: ValidationFraction = 0.1
    max_samples: MaxSamples = None
    protocol: Annotated[
        Literal["sat", "wsoleval", "both"],
        typer.Option("--protocol", help="How boxes are counted.", rich_help_panel=MEASURING),
    ] = "sat"
    localization_threshold: MeasuredThreshold = None
    localization_thresholds: Annotated[
        list[float] | None,
        typer.Option(
            "--localization_thresholds",
            help="What is chosen from, one or more; the protocol's by default.",
            show_default=False,
            rich_help_panel=MEASURING,
        ),
    ] = None
    ten_crop: Annotated[
        bool,
        typer.Option("--ten_crop", help="Class of ten crops, for the protocol sat.", rich_help_panel=MEASURING),
    ] = False
    save_threshold: Annotated[
        bool,
        typer.Option(
            "--save_threshold", help="Store the calibrated threshold in the model folder.", rich_help_panel=MEASURING
        ),
    ] = False
    batch_size: BatchSize = 32
    num_workers: NumWorkers = 0
    output: Report = None


@dataclass
class Evaluate(EvaluationOptions):
    """
    Measure a model on a data set.

    Prints the figures and, with `--output`, writes them with plots and drawings.

    Started by `torchrun` or `accelerate launch`, all processes share the work.
    """

    def __post_init__(self):
        require("eval", "accelerate", "datasets", "matplotlib", *PACKAGES_OF_PROTOCOL[self.protocol])
        if self.dataset == "emblems":
            require("train", "skimage", "sklearn")
        from ..evaluation.evaluate import evaluate_model
        from ..registration import register

        register()
        evaluate_model(self)


__all__ = ["Evaluate", "EvaluationOptions"]
