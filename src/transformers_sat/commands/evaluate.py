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
from .options import PACKAGES_OF_PROTOCOL, MeasuredThreshold, Model, Report


DATA = "Data set"
MEASURING = "Measuring"
WORK = "Work"


@dataclass
class Evaluate:
    """
    Measure a model on a data set.

    Prints the figures and, with `--output`, writes them with plots and drawings.

    Started by `torchrun` or `accelerate launch`, all processes share the work.
    """

    model: Model
    dataset: Annotated[
        str,
        typer.Argument(
            help="`emblems` (embedded), a data set on the Hub, or a folder (saved, Parquet, imagefolder).",
            show_default=False,
        ),
    ]
    dataset_config_name: Annotated[
        str | None,
        typer.Option(
            "--dataset_config_name",
            help="Configuration of a data set on the Hub.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None
    split: Annotated[str, typer.Option("--split", help="Split to measure.", rich_help_panel=DATA)] = "test"
    image_column_name: Annotated[
        str, typer.Option("--image_column_name", help="Column of the images.", rich_help_panel=DATA)
    ] = "image"
    label_column_name: Annotated[
        str, typer.Option("--label_column_name", help="Column of the classes.", rich_help_panel=DATA)
    ] = "label"
    objects_column_name: Annotated[
        str, typer.Option("--objects_column_name", help="Column of the boxes.", rich_help_panel=DATA)
    ] = "objects"
    validation_fraction: Annotated[
        float,
        typer.Option(
            "--validation_fraction",
            help="Share of `train` set apart where there is no `validation`.",
            rich_help_panel=DATA,
        ),
    ] = 0.1
    max_samples: Annotated[
        int | None,
        typer.Option(
            "--max_samples",
            help="Only that many images of a split, drawn at random.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None
    protocol: Annotated[
        Literal["sat", "wsoleval", "both"],
        typer.Option("--protocol", help="How boxes are counted.", rich_help_panel=MEASURING),
    ] = "sat"
    localization_threshold: MeasuredThreshold = "validation"
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
    batch_size: Annotated[
        int, typer.Option("--batch_size", help="Images at a time, on each process.", rich_help_panel=WORK)
    ] = 32
    num_workers: Annotated[
        int, typer.Option("--num_workers", help="Processes that load images.", rich_help_panel=WORK)
    ] = 0
    output: Report = None

    def __post_init__(self):
        require("eval", "accelerate", "datasets", "matplotlib", *PACKAGES_OF_PROTOCOL[self.protocol])
        if self.dataset == "emblems":
            require("train", "skimage", "sklearn")
        from ..evaluation.evaluate import EvaluationOptions, evaluate_model
        from ..registration import register

        register()
        evaluate_model(EvaluationOptions(**vars(self)))


__all__ = ["Evaluate"]
