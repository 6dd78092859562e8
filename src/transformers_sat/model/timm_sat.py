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
What the repositories of timm say of a ViT: its sizes follow from the name of its architecture. timm itself is not needed.
"""

import re
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


# (hidden size, blocks, attention heads)
SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "medium": (512, 12, 8),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
}
# vit_base_patch16_224, deit_tiny_distilled_patch16_224, deit3_large_patch16_384, vit_small_patch14_reg4_dinov2, ...
ARCHITECTURE = re.compile(
    rf"(?P<kind>vit|deit3|deit)_(?P<size>{'|'.join(SIZES)})(?:_distilled)?_patch(?P<patch>[1-9]\d?)"
    r"(?:_(?P<side>[1-9]\d{1,3})|(?:_reg(?P<registers>[1-9]\d?))?_(?P<dinov2>dinov2))"
)
HOW_TO_NAME = (
    "`architecture` must be a ViT, DeiT, DeiT-III or DINOv2 up to huge, such as vit_base_patch16_224, "
    "deit_small_distilled_patch16_224, deit3_base_patch16_384, vit_small_patch14_dinov2 or vit_base_patch14_reg4_dinov2"
)

SIDES = int | list | tuple
# Arguments of timm's models that change what an encoder computes, and their types.
ARGUMENTS = {
    "img_size": SIDES,
    "patch_size": SIDES,
    "in_chans": int,
    "embed_dim": int,
    "depth": int,
    "num_heads": int,
    "mlp_ratio": int | float,
    "qkv_bias": bool,
    "init_values": int | float | None,
    "reg_tokens": int,
}
# Those of the classifier, and of training.
OTHER_ARGUMENTS = {
    "num_classes",
    "global_pool",
    "no_embed_class",
    "dynamic_img_size",
    "drop_rate",
    "pos_drop_rate",
    "patch_drop_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "drop_path_rate",
    "weight_init",
}
MAX_SIDE = 2**16


@strict
class TimmConfig(PreTrainedConfig):
    """
    Configuration of an encoder in a repository of timm.

    Args:
        architecture (`str`): timm's name of the model.
        model_args (`dict[str, Any]`, *optional*): arguments that differ from those of the architecture.
        pretrained_cfg (`dict[str, Any]`, *optional*): size, mean and deviation of the images that it was trained on.

    Raises:
        `ValueError`: if the architecture or an argument is not known, or an argument is not what it must be.
    """

    model_type = "timm"

    architecture: str = ""
    model_args: dict[str, Any] | None = None
    pretrained_cfg: dict[str, Any] | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        found = ARCHITECTURE.fullmatch(self.architecture)
        if found is None:
            raise ValueError(f"{HOW_TO_NAME}, got {self.architecture[:100]!r}.")
        arguments = self._arguments(found)
        self.image_size = arguments["img_size"]
        self.patch_size = arguments["patch_size"]
        self.num_channels = arguments["in_chans"]
        self.hidden_size = arguments["embed_dim"]
        self.num_hidden_layers = arguments["depth"]
        self.num_attention_heads = arguments["num_heads"]
        self.intermediate_size = int(arguments["embed_dim"] * arguments["mlp_ratio"])
        self.qkv_bias = arguments["qkv_bias"]
        self.layerscale_value = arguments["init_values"]
        self.num_register_tokens = arguments["reg_tokens"]
        self.layer_norm_eps = 1e-6

    def _arguments(self, found: re.Match) -> dict[str, Any]:
        """Arguments of the model: those of its architecture, and what differs from them."""
        hidden_size, num_layers, num_heads = SIZES[found["size"]]
        has_layer_scale = found["kind"] == "deit3" or found["dinov2"]
        own = {
            "img_size": _input_size(self.pretrained_cfg or {}) or int(found["side"] or 518),
            "patch_size": int(found["patch"]),
            "in_chans": 3,
            "embed_dim": hidden_size,
            "depth": num_layers,
            "num_heads": num_heads,
            "mlp_ratio": 4,
            "qkv_bias": True,
            "init_values": 1e-5 if has_layer_scale else None,
            "reg_tokens": int(found["registers"] or 0),
        }
        given = {name: value for name, value in (self.model_args or {}).items() if name not in OTHER_ARGUMENTS}
        for name, value in given.items():
            if name not in ARGUMENTS:
                raise ValueError(
                    f"`model_args` has {name[:100]!r}, which changes the model in a way that is not supported."
                )
            is_flag = isinstance(value, bool) != (ARGUMENTS[name] is bool)
            is_sides = ARGUMENTS[name] is not SIDES or _is_side(value) or _are_sides(value)
            if not isinstance(value, ARGUMENTS[name]) or is_flag or not is_sides:
                raise ValueError(f"`model_args`: {name!r} is not what it must be, got {str(value)[:100]}.")
        return own | given


def timm_processor_settings(fields: dict[str, Any]) -> dict[str, Any]:
    """
    Mean, deviation and size of the images, named as an image processor does, as far as a `config.json` of timm has them;
    nothing of another one. DINOv2 has no size: its 518 px are those of its positions, at which nobody trains unasked.
    """
    images, arguments = fields.get("pretrained_cfg"), fields.get("model_args")
    if not isinstance(images, dict):
        return {}
    settings = {"image_mean": images.get("mean"), "image_std": images.get("std")}
    if not str(fields.get("architecture")).endswith("dinov2"):
        given = arguments.get("img_size") if isinstance(arguments, dict) else None
        settings["size"] = given or _input_size(images)
    return {name: value for name, value in settings.items() if value is not None}


def _input_size(pretrained_cfg: dict[str, Any]) -> list[int] | None:
    """(height, width) of the images that a model was trained on, if its settings say; they name the channels first."""
    size = pretrained_cfg.get("input_size")
    is_size = isinstance(size, list | tuple) and len(size) == 3 and _are_sides(size[1:])
    return list(size[1:]) if is_size else None


def _are_sides(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(_is_side(side) for side in value)


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIDE


__all__ = ["TimmConfig", "timm_processor_settings"]
