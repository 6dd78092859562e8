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

from typing import Annotated

import typer

from ..escaping import on_console
from ..fields import read_class_names
from ..writing import check_folder
from .options import ListCommand


convert = typer.Typer(name="convert", help="Make a model folder from other weights.")

Output = Annotated[str, typer.Argument(help="Folder to write.", show_default=False)]


@convert.command(cls=ListCommand)
def original(
    file: Annotated[str, typer.Argument(help="The checkpoint.", show_default=False)],
    output: Output,
    num_attention_heads: Annotated[
        int | None,
        typer.Option(
            "--num_attention_heads", help="Heads of the model; hidden size / 64 by default.", show_default=False
        ),
    ] = None,
    class_names: Annotated[
        list[str] | None,
        typer.Option(
            "--class_names",
            help="Names of the classes, in the order of their numbers: the names themselves, or a text file with one a line.",
            show_default=False,
        ),
    ] = None,
):
    """Convert a checkpoint file of the authors (.pth.tar)."""
    check_folder(output)
    from ..convert import load_original_checkpoint
    from ..registration import register
    from ..saving import save_model

    register()
    names = None if class_names is None else read_class_names(class_names)
    model, processor = load_original_checkpoint(file, num_attention_heads, names)
    save_model(model, processor, output)
    print(
        f"wrote {on_console(output)}: {model.config.num_labels} classes, {model.config.image_size} px, "
        f"{model.config.num_attention_heads} attention heads"
        f"{'' if num_attention_heads else ' (hidden size / 64; the file does not tell)'}, "
        f"localization threshold {processor.localization_threshold:g}"
    )


@convert.command()
def backbone(
    model: Annotated[
        str,
        typer.Argument(
            help="Encoder to start from (ViT, DINOv2, CLIP, timm, ...): repository on the Hub or folder.",
            show_default=False,
        ),
    ],
    output: Output,
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image_size",
            help="Side of the images; that of the backbone's image processor by default, or 224 at most.",
            show_default=False,
        ),
    ] = None,
    num_labels: Annotated[int, typer.Option("--num_labels", help="Number of classes.")] = 2,
    num_spatial_layers: Annotated[
        int, typer.Option("--num_spatial_layers", help="Last blocks with a spatial mask.")
    ] = 3,
):
    """Make a SAT model to train from a ViT, DeiT, DINOv2, DINOv3, CLIP, SigLIP or timm model."""
    check_folder(output)
    from ..convert import backbone_processor, load_backbone
    from ..registration import register
    from ..saving import save_model

    register()
    overrides = {"num_labels": num_labels, "num_spatial_layers": num_spatial_layers}
    if image_size is not None:
        overrides["image_size"] = image_size
    network = load_backbone(model, **overrides)
    size = network.config.image_size
    save_model(network, backbone_processor(model, size), output)
    pixels = f"{size} px" if isinstance(size, int) else f"{size[0]} x {size[1]} px"
    print(f"wrote {on_console(output)}: {network.config.num_labels} classes, {pixels}; train it before use")


__all__ = ["convert"]
