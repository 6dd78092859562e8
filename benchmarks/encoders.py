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
"""
How far the hidden states of a SAT encoder are from those of the module that its weights are from.

    python benchmarks/encoders.py

For each family: a small module of Transformers or timm with random weights, every one of them shaken, saved as its library
saves it and read by `load_backbone`. Compared are the embeddings, the output of every block as long as the spatial token
has not joined, the last block without the token, and the final normalization. The original resizes its positions to
other sizes in its own way.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import timm
import torch
import transformers
from records import add_options, measured, open_results, to_measure, write
from safetensors.torch import save_file
from torch import nn

from transformers_sat import SATForWeaklySupervisedLocalization
from transformers_sat.convert import load_backbone


SIZES = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3}
MLP = {"intermediate_size": 80}
TIMM_SIZES = {"embed_dim": 48, "depth": 4, "num_heads": 3}
# Patches of 8 px, so that the native grid is 4 x 4.
PATCHES = {"patch_size": 8, "image_size": 32}
TIMM_PATCHES = {"patch_size": 8, "img_size": 32}
NATIVE, OTHERS = (32, 32), ((48, 48), (24, 40))


@dataclass
class Original:
    """
    A module to compare with.

    Args:
        make (`Callable[[], nn.Module]`): builds it.
        norm (`str`): name of its final normalization.
        resizes_as_sat (`bool`): whether SAT resizes positions at each call as it does; all are resized alike on loading.
        options (`dict`): arguments for images of other sizes.
        arguments (`dict`, *optional*): what timm has to be told; `None` for a module of Transformers.
    """

    make: Callable[[], nn.Module]
    norm: str = "layernorm"
    resizes_as_sat: bool = True
    options: dict = field(default_factory=lambda: {"interpolate_pos_encoding": True})
    arguments: dict | None = None


def transformers_model(name: str, fields: dict, **options) -> Original:
    model_class = getattr(transformers, f"{name}Model")
    return Original(lambda: model_class(model_class.config_class(**SIZES, **PATCHES, **fields)), **options)


def nested_model(name: str) -> Original:
    """A model of images and texts, of which the images' part counts."""
    config_class = getattr(transformers, f"{name}Config")
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text |= {"vocab_size": 64, "eos_token_id": 1, "pad_token_id": 1, "bos_token_id": 0}
    vision = {**SIZES, **PATCHES, **MLP}
    return Original(
        lambda: getattr(transformers, f"{name}Model")(config_class(vision_config=vision, text_config=text)),
        norm="post_layernorm",
    )


def timm_model(architecture: str) -> Original:
    arguments = {**TIMM_SIZES, **TIMM_PATCHES}
    return Original(
        # of any size, to compare at others
        lambda: timm.create_model(architecture, **arguments, num_classes=3, dynamic_img_size=True),
        norm="norm",
        resizes_as_sat=False,
        options={},
        arguments=arguments,
    )


LARGE_DINOV3 = {"use_gated_mlp": True, "hidden_act": "silu", "query_bias": False, "value_bias": False}
DINO = {"mlp_ratio": 2, "layerscale_value": 0.5}
ORIGINALS = {
    "ViT": transformers_model("ViT", MLP),
    "DINOv2": transformers_model("Dinov2", DINO, options={}),
    "DINOv2 with registers": transformers_model("Dinov2WithRegisters", DINO, options={}, resizes_as_sat=False),
    "DINOv3": transformers_model("DINOv3ViT", MLP | {"num_register_tokens": 4}, norm="norm", options={}),
    "DINOv3, gated": transformers_model(
        "DINOv3ViT", MLP | {"num_register_tokens": 4} | LARGE_DINOV3, norm="norm", options={}
    ),
    "CLIP": nested_model("CLIP"),
    "CLIP, vision only": transformers_model("CLIPVision", MLP, norm="post_layernorm"),
    "SigLIP": nested_model("Siglip"),
    "SigLIP, vision only": transformers_model("SiglipVision", MLP, norm="post_layernorm"),
    "timm ViT": timm_model("vit_base_patch16_224"),
    "timm DeiT": timm_model("deit_small_patch16_224"),
    "timm DeiT-III": timm_model("deit3_medium_patch16_224"),
    "timm DINOv2": timm_model("vit_small_patch14_dinov2"),
    "timm DINOv2 with registers": timm_model("vit_base_patch14_reg4_dinov2"),
}


def save_original(original: Original, folder: Path) -> nn.Module:
    """Writes a module with shaken weights into a folder, as its library does, and returns the encoder in it."""
    torch.manual_seed(0)
    model = original.make().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
            if name.endswith((".lambda1", ".gamma")):
                parameter.uniform_(0.5, 1.5)
    if original.arguments is None:
        model.save_pretrained(folder)
    else:
        save_timm_model(model, folder, original.arguments)
    return getattr(model, "vision_model", model)


def save_timm_model(model: nn.Module, folder: Path, arguments: dict):
    """The files of a repository of timm. Its own function for them fails with some versions of `huggingface_hub`."""
    settings = {name: model.pretrained_cfg[name] for name in ("input_size", "mean", "std", "interpolation")}
    config = {
        "architecture": model.pretrained_cfg["architecture"],
        "num_classes": model.num_classes,
        "global_pool": model.global_pool,
        "model_args": arguments | {"num_classes": model.num_classes, "in_chans": 3},
        "pretrained_cfg": settings | {"num_classes": model.num_classes, "first_conv": "patch_embed.proj"},
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(model.state_dict(), folder / "model.safetensors")


@torch.no_grad()
def original_states(original: Original, encoder: nn.Module, pixel_values: torch.Tensor) -> list[torch.Tensor]:
    """Embeddings, the output of each block, and the last one normalized."""
    if original.arguments is None:
        resizing = original.options if pixel_values.shape[-2:] != NATIVE else {}
        states = list(encoder(pixel_values, output_hidden_states=True, **resizing).hidden_states)
    else:
        states = []
        hooks = [encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))]
        hooks += [block.register_forward_hook(lambda *seen: states.append(seen[2])) for block in encoder.blocks]
        encoder.forward_features(pixel_values)
        for hook in hooks:
            hook.remove()
    return [*states, getattr(encoder, original.norm)(states[-1])]


@torch.no_grad()
def sat_states(model: SATForWeaklySupervisedLocalization, pixel_values: torch.Tensor) -> list[torch.Tensor]:
    """The same of a SAT model whose token joins before the last block; that block is run without it."""
    encoder = model.vit.eval()
    outputs = encoder(pixel_values, interpolate_pos_encoding=True, output_hidden_states=True)
    states = list(outputs.hidden_states)[: encoder.config.num_hidden_layers]
    last = encoder.layers[-1]
    last.attention.is_spatial = False
    rotation = None
    if encoder.rotary_positions is not None:
        rotation = encoder.rotary_positions(encoder.embeddings.patch_grid(pixel_values), pixel_values.device)
    states.append(last(states[-1], rotation=rotation)[0])
    last.attention.is_spatial = True
    return [*states, encoder.layernorm(states[-1])]


def differences(original: Original, folder: Path) -> dict[str, float]:
    """Largest difference of the hidden states by the size of the images; positions resized on loading, and at each call."""
    encoder = save_original(original, folder)
    late = {"num_spatial_layers": 1, "spatial_token_layer": SIZES["num_hidden_layers"] - 1}
    native = load_backbone(folder, image_size=NATIVE[0], **late)
    found = {}
    for size in (NATIVE, *OTHERS):
        pixel_values = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        expected = original_states(original, encoder, pixel_values)
        models = {"loaded": load_backbone(folder, image_size=size, **late)}
        if original.resizes_as_sat or size == NATIVE:
            models["resized"] = native
        for name, model in models.items():
            states = sat_states(model, pixel_values)
            pairs = list(zip(states, expected, strict=True))
            found[f"{size[0]}x{size[1]}, {name}"] = max((ours - theirs).abs().max().item() for ours, theirs in pairs)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "encoders.json")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()

    record = open_results(options.output, options.again)
    rows = record["results"]
    for name in to_measure(ORIGINALS, rows, options.again):
        with tempfile.TemporaryDirectory() as folder:
            found = differences(ORIGINALS[name], Path(folder))
        rows[name] = {"differences": found, "measured": measured(("torch", "transformers", "timm"), dtype="float32")}
        write(options.output, record, rows.values())
    print("| encoder | native size | other sizes |\n| --- | --- | --- |")
    for name, row in rows.items():
        is_native = {size: size.startswith(f"{NATIVE[0]}x") for size in row["differences"]}
        native = max(value for size, value in row["differences"].items() if is_native[size])
        others = max(value for size, value in row["differences"].items() if not is_native[size])
        print(f"| {name} | {native:.1e} | {others:.1e} |")


if __name__ == "__main__":
    main()
