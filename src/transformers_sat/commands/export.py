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
"""`transformers-sat export`."""

from typing import Annotated

import typer

from ..extras import require
from .options import Model


def export(
    model: Model,
    output: Annotated[
        str, typer.Argument(help="Folder to write: onnx/model.onnx and the configurations.", show_default=False)
    ],
    opset: Annotated[int, typer.Option("--opset", help="Version of ONNX's operators, 18 to 23.")] = 18,
    image_size: Annotated[
        list[int] | None,
        typer.Option(
            "--image_size",
            metavar="PIXELS [PIXELS]",
            help="Side, or height and width, of the images; the image processor's by default.",
            show_default=False,
            rich_help_panel="Images",
        ),
    ] = None,
    dynamic_size: Annotated[
        bool,
        typer.Option(
            "--dynamic_size", help="Take images of any size that the patch divides.", rich_help_panel="Images"
        ),
    ] = False,
    quantize: Annotated[
        bool, typer.Option("--quantize", help="Also write onnx/model_quantized.onnx, with weights of 8 bits.")
    ] = False,
):
    """Write a model as ONNX, for browsers and other runtimes."""
    require("export", "onnx", "onnxruntime", "onnxscript")
    from ..export import export_model
    from ..registration import register

    register()
    written = export_model(model, output, opset, image_size, dynamic_size, quantize)
    files = [(written.path, written.largest_difference), (written.quantized_path, written.quantized_difference)]
    for path, difference in files:
        if path is not None:
            size = path.stat().st_size / 1e6
            print(f"wrote {path}: {size:.1f} MB, largest difference from PyTorch {difference:.1e}")


__all__ = ["export"]
