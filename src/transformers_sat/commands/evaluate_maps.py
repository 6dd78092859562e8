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
"""`transformers-sat evaluate-maps`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..extras import require
from .options import PACKAGES_OF_PROTOCOL, MeasuredThreshold, Report


def evaluate_maps(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the maps, `<image id>.npy` or `<stem>.npy`.", show_default=False)
    ],
    metadata: Annotated[
        Path,
        typer.Option(
            "--metadata", help="The metadata folder of wsolevaluation, with image_ids.txt.", show_default=False
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="Folder below the metadata that has the image_ids.txt, such as test.",
            show_default=False,
        ),
    ] = None,
    mask_root: Annotated[
        Path | None,
        typer.Option("--mask_root", help="Folder that the metadata's mask files are relative to.", show_default=False),
    ] = None,
    protocol: Annotated[
        Literal["wsoleval", "sat"],
        typer.Option("--protocol", help="How boxes are counted.", rich_help_panel="Measuring"),
    ] = "wsoleval",
    localization_threshold: MeasuredThreshold = "oracle",
    output: Report = None,
):
    """Measure score maps that another method made."""
    require("eval", "accelerate", "datasets", "matplotlib", *PACKAGES_OF_PROTOCOL[protocol])
    from ..evaluation import evaluate

    evaluate.evaluate_maps(
        folder=folder,
        metadata=metadata,
        split=split,
        protocol=protocol,
        localization_threshold=localization_threshold,
        mask_root=mask_root,
        output=output,
    )


__all__ = ["evaluate_maps"]
