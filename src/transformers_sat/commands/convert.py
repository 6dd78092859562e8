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
"""`transformers-sat convert`."""

from pathlib import Path
from typing import Annotated

import typer

from ..escaping import on_console


convert = typer.Typer(name="convert", help="Make a model folder from other weights.")

Output = Annotated[str, typer.Argument(help="Folder to write.", show_default=False)]


@convert.command()
def original(
    file: Annotated[str, typer.Argument(help="The checkpoint.", show_default=False)],
    output: Output,
    num_attention_heads: Annotated[
        int | None,
        typer.Option(
            "--num_attention_heads", help="Heads of the model; hidden size / 64 by default.", show_default=False
        ),
    ] = None,
):
    """Convert a checkpoint file of the authors (.pth.tar)."""
    check_output(output)
    from ..convert import load_original_checkpoint
    from ..registration import register
    from ..saving import save_model

    register()
    model, processor = load_original_checkpoint(file, num_attention_heads)
    save_model(model, processor, output)
    print(
        f"wrote {on_console(output)}: {model.config.num_labels} classes, {model.config.image_size} px, "
        f"localization threshold {processor.localization_threshold:g}"
    )


@convert.command()
def backbone(
    model: Annotated[
        str, typer.Argument(help="ViT, DeiT or DINOv2: repository on the Hub or folder.", show_default=False)
    ],
    output: Output,
    image_size: Annotated[
        int | None,
        typer.Option("--image_size", help="Side of the images; the backbone's own by default.", show_default=False),
    ] = None,
    num_labels: Annotated[int, typer.Option("--num_labels", help="Number of classes.")] = 2,
    num_spatial_layers: Annotated[
        int, typer.Option("--num_spatial_layers", help="Last blocks with a spatial mask.")
    ] = 3,
):
    """Make a SAT model to train from a ViT, DeiT or DINOv2 model."""
    check_output(output)
    from ..convert import load_backbone
    from ..model.image_processing_sat import SATImageProcessor
    from ..registration import register
    from ..saving import save_model

    register()
    overrides = {"num_labels": num_labels, "num_spatial_layers": num_spatial_layers}
    if image_size is not None:
        overrides["image_size"] = image_size
    network = load_backbone(model, **overrides)
    size = {"height": network.config.image_size, "width": network.config.image_size}
    save_model(network, SATImageProcessor(size=size, crop_size=size), output)
    print(
        f"wrote {on_console(output)}: {network.config.num_labels} classes, {network.config.image_size} px; "
        "train it before use"
    )


def check_output(output: str):
    if Path(output).is_file():
        raise ValueError(f"{output} is a file; give a folder to write.")


__all__ = ["convert"]
