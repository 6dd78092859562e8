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
Where training starts: the encoders that a SAT model can start from, their configurations and weights as those of SAT.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    DeiTConfig,
    DeiTModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)
from transformers.utils import logging

from .configuration_sat import MAX_INPUT_SIDE, SATConfig, described_type
from .timm_sat import TimmConfig


logger = logging.get_logger(__name__)

# Side of the images of a new run, in pixels, where a backbone does not say which: the paper's, and that of most processors.
IMAGE_SIZE = 224
# What a SAT model has beside its backbone.
NEW_IN_ENCODER = ("embeddings.spatial_token", "embeddings.spatial_position_embedding")
# Of Transformers' own fields, those about the classes.
LABEL_FIELDS = {"num_labels", "id2label", "label2id", "problem_type"}
POSITIONS = "embeddings.position_embeddings"


@dataclass(frozen=True)
class Backbone:
    """
    What differs between the encoders that a SAT model can start from.

    Args:
        config_class (`type[PreTrainedConfig]`):
            Class of the configuration.
        model_class (`type[PreTrainedModel]`, *optional*):
            Class that loads the weights, in any layout that Transformers reads. `None` if they are read as they are.
        names (`tuple[tuple[str, str], ...]`, *optional*):
            Regular expressions for parts of its weights' names and what takes their place, one after the other.
        left_out (`str`, *optional*):
            Regular expression that matches the beginning of the names of weights that SAT has no use for.
        zero (`str`, *optional*):
            Regular expression for names of SAT's biases that the encoder may have without any; zeros do the same.
        fields (`Callable[[PreTrainedConfig], dict[str, Any]]`, *optional*):
            Fields of [`SATConfig`] that the configuration has no field of the same name for.
        options (`dict[str, Any]`, *optional*):
            Arguments of `model_class`.
        section (`str`, *optional*):
            Where a configuration of several models has this one.
        antialias (`bool`, *optional*, defaults to `False`):
            Whether its positions are resized with antialiasing.
    """

    config_class: type[PreTrainedConfig]
    model_class: type[PreTrainedModel] | None = None
    names: tuple[tuple[str, str], ...] = ()
    left_out: str = r"(?!)"
    zero: str = r"(?!)"
    fields: Callable[[PreTrainedConfig], dict[str, Any]] = lambda config: {}
    options: dict[str, Any] = field(default_factory=dict)
    section: str | None = None
    antialias: bool = False


def _dinov2_fields(config: PreTrainedConfig) -> dict[str, Any]:
    if config.use_swiglu_ffn:
        raise ValueError(
            "DINOv2 models with a SwiGLU feed-forward (giant) are not supported; use small, base or large."
        )
    return {"intermediate_size": int(config.hidden_size * config.mlp_ratio)}


def _clip_fields(config: PreTrainedConfig) -> dict[str, Any]:
    return {"attention_probs_dropout_prob": config.attention_dropout, "has_embedding_norm": True}


def _siglip_fields(config: PreTrainedConfig) -> dict[str, Any]:
    return {"attention_probs_dropout_prob": config.attention_dropout, "use_class_token": False}


def _dinov3_fields(config: PreTrainedConfig) -> dict[str, Any]:
    return {"attention_probs_dropout_prob": config.attention_dropout}


_BLOCK_NAMES = (
    (r"^(?:(?:encoder|model)\.)?layers?\.", "layers."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
)
_CLIP_NAMES = (
    (r"^embeddings\.class_embedding$", "embeddings.cls_token"),
    (r"^embeddings\.patch_embedding\.", "embeddings.patch_embeddings.projection."),
    (r"^embeddings\.position_embedding\.weight$", POSITIONS),
    (r"^pre_layrnorm\.", "embeddings.layernorm."),
    (r"^post_layernorm\.", "layernorm."),
    (r"^encoder\.layers\.", "layers."),
    (r"\.layer_norm1\.", ".layernorm_before."),
    (r"\.layer_norm2\.", ".layernorm_after."),
    (r"\.self_attn\.out_proj\.", ".attention.o_proj."),
    (r"\.self_attn\.", ".attention."),
)
_DINOV3_NAMES = (
    *_BLOCK_NAMES,
    (r"^embeddings\.patch_embeddings\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
)
_TIMM_NAMES = (
    # of a model that Transformers wrapped
    (r"^timm_model\.", ""),
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^reg_token$", "embeddings.register_tokens"),
    (r"^dist_token$", "embeddings.distillation_token"),
    (r"^pos_embed$", POSITIONS),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.", "layers."),
    *_BLOCK_NAMES,
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attn\.", ".attention."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"^norm\.", "layernorm."),
)
# what hides patches in pretraining
_MASK_TOKEN = r"embeddings\.mask_token"

_VIT = {"options": {"add_pooling_layer": False}, "left_out": r"pooler\."}
_DINOV2 = {"names": _BLOCK_NAMES, "left_out": _MASK_TOKEN, "fields": _dinov2_fields}
_CLIP = {"names": _CLIP_NAMES, "zero": r"embeddings\.patch_embeddings\.projection\.bias", "fields": _clip_fields}
_SIGLIP = {"names": _CLIP_NAMES, "left_out": r"head\.", "fields": _siglip_fields}

# By the `model_type` of their configurations.
BACKBONES = {
    "vit": Backbone(ViTConfig, ViTModel, **_VIT),
    "deit": Backbone(DeiTConfig, DeiTModel, **_VIT),
    "dinov2": Backbone(Dinov2Config, Dinov2Model, **_DINOV2),
    "dinov2_with_registers": Backbone(Dinov2WithRegistersConfig, Dinov2WithRegistersModel, **_DINOV2, antialias=True),
    "clip": Backbone(CLIPVisionConfig, CLIPVisionModel, **_CLIP, section="vision_config"),
    "clip_vision_model": Backbone(CLIPVisionConfig, CLIPVisionModel, **_CLIP),
    "siglip": Backbone(SiglipVisionConfig, SiglipVisionModel, **_SIGLIP, section="vision_config"),
    "siglip_vision_model": Backbone(SiglipVisionConfig, SiglipVisionModel, **_SIGLIP),
    "dinov3_vit": Backbone(
        DINOv3ViTConfig,
        DINOv3ViTModel,
        names=_DINOV3_NAMES,
        left_out=_MASK_TOKEN,
        zero=r"layers\.\d+\.(attention|mlp)\.\w+\.bias",
        fields=_dinov3_fields,
    ),
    # configurations of timm name an architecture instead
    "timm": Backbone(
        TimmConfig, names=_TIMM_NAMES, left_out=r"(timm_model\.)?(head|head_dist|fc_norm)\.", antialias=True
    ),
}


def read_backbone(fields: dict[str, Any]) -> tuple[Backbone, PreTrainedConfig]:
    """
    The kind of encoder that a `config.json` describes, and its configuration. Only the fields that describe the model are
    taken: Transformers would set any other entry as an attribute, and some of its own name code, kernels or files to load.

    Args:
        fields (`dict[str, Any]`): what the file holds.

    Raises:
        `ValueError`: if SAT has no counterpart for the model, or a field is not what it must be.
    """
    model_type = described_type(fields)
    if not isinstance(model_type, str) or model_type not in BACKBONES:
        types = ", ".join(name for name in BACKBONES if name != TimmConfig.model_type)
        raise ValueError(
            f"a model of type {repr(model_type)[:100]} is no backbone for a SAT model; `model_type` must be one of {types}, "
            "or `architecture` a ViT, DeiT, DeiT-III or DINOv2 of timm."
            + (" Go on with it by `from_pretrained`." if model_type == SATConfig.model_type else "")
        )
    backbone = BACKBONES[model_type]
    if backbone.section is not None:
        # older files have it twice; then the second one counts
        sections = [fields.get(name) or {} for name in (backbone.section, f"{backbone.section}_dict")]
        if not all(isinstance(section, dict) for section in sections):
            raise ValueError(f"`{backbone.section}` must hold an object.")
        fields = sections[0] | sections[1]
    known = backbone.config_class.__dataclass_fields__.keys() - PreTrainedConfig.__dataclass_fields__.keys()
    return backbone, backbone.config_class(**{name: value for name, value in fields.items() if name in known})


def backbone_config(
    backbone: Backbone, source: PreTrainedConfig, processor_settings: dict | None = None, **overrides
) -> SATConfig:
    """
    Configuration of a SAT model to train from a backbone.

    Args:
        backbone ([`Backbone`]): the kind of encoder.
        source ([`~transformers.PreTrainedConfig`]): its configuration.
        processor_settings (`dict`, *optional*): what the `preprocessor_config.json` beside it holds.
        overrides: fields that differ from the backbone's. Without `image_size` it is that of the processor's images, or
            the backbone's own up to 224 px; it is logged.

    Raises:
        `ValueError`: if the backbone is one that SAT has no counterpart for, or an override is no field or out of its range.
    """
    names = set(SATConfig.__dataclass_fields__) - set(PreTrainedConfig.__dataclass_fields__)
    _check_overrides(overrides, names | LABEL_FIELDS)
    # stochastic depth belongs to the recipe, not to the backbone
    fields = {name: getattr(source, name) for name in names - {"drop_path_rate"} if hasattr(source, name)}
    fields |= backbone.fields(source)
    if overrides.get("image_size") is None:
        overrides["image_size"] = _new_image_size(source, processor_settings)
    return SATConfig(**(fields | overrides))


def _check_overrides(overrides: dict, names: set[str]):
    unknown = sorted(overrides.keys() - names)
    if unknown:
        raise ValueError(
            f"{', '.join(f'`{name}`' for name in unknown)} can be set in no SAT model that starts from a backbone; what can be "
            f"set is {', '.join(sorted(names))}."
        )
    id2label, label2id = overrides.get("id2label"), overrides.get("label2id")
    if id2label is None and label2id is not None:
        overrides["id2label"] = {number: name for name, number in label2id.items()}
    num_labels = overrides.get("num_labels")
    if id2label is not None and num_labels not in (None, len(id2label)):
        raise ValueError(f"`num_labels` is {num_labels}, and `id2label` names {len(id2label)} labels; leave out one.")


def fill_encoder(
    encoder: nn.Module, backbone: Backbone, source: PreTrainedConfig, state_dict: dict[str, torch.Tensor]
):
    """
    Gives a [`SATModel`] the weights of a backbone, all but its spatial token with its position.

    Args:
        encoder ([`SATModel`]): the encoder, changed in place.
        backbone ([`Backbone`]): the kind of encoder that the weights are from.
        source ([`~transformers.PreTrainedConfig`]): its configuration.
        state_dict (`dict[str, torch.Tensor]`): its weights.

    Raises:
        `ValueError`: if the weights do not fit.
    """
    tensors = rename_weights(backbone, state_dict, encoder.config)
    tensors = fit_positions(tensors, patch_grid(source), encoder.config, backbone.antialias)
    for name, tensor in encoder.state_dict().items():
        if name not in tensors and re.fullmatch(backbone.zero, name):
            tensors[name] = torch.zeros_like(tensor)
    load_whole(encoder, tensors, new=NEW_IN_ENCODER)


def rename_weights(
    backbone: Backbone, state_dict: dict[str, torch.Tensor], config: SATConfig
) -> dict[str, torch.Tensor]:
    """The weights of a backbone under the names that they have in a [`SATModel`] of a configuration."""
    tensors = {}
    for name, tensor in state_dict.items():
        # a register token of none is no tensor here
        if re.match(backbone.left_out, name) or tensor.numel() == 0:
            continue
        for pattern, replacement in backbone.names:
            name = re.sub(pattern, replacement, name)
        if ".mlp." in name and not config.use_gated_mlp:
            name = name.replace(".up_proj.", ".fc1.").replace(".down_proj.", ".fc2.")
        if ".attention.qkv." in name:
            for part, rows in zip("qkv", tensor.chunk(3)):
                tensors[name.replace(".qkv.", f".{part}_proj.")] = rows
        else:
            tensors[name] = tensor
    if tensors.get("embeddings.cls_token") is not None:
        tensors["embeddings.cls_token"] = tensors["embeddings.cls_token"].reshape(1, 1, -1)
    return tensors


def fit_positions(
    tensors: dict[str, torch.Tensor], source_grid: tuple[int, int], config: SATConfig, antialias: bool = False
) -> dict[str, torch.Tensor]:
    """
    Weights of an encoder with positions for a configuration's images.

    Args:
        tensors (`dict[str, torch.Tensor]`):
            The weights, named as in [`SATModel`]. A DeiT's distillation token is left out with its position, and a class
            token without one, as in DeiT-III, has zeros.
        source_grid (`tuple[int, int]`): height and width of the patch grid that the positions are for.
        config ([`SATConfig`]): configuration of the encoder to fill.
        antialias (`bool`, *optional*, defaults to `False`): see [`resize_position_embeddings`].

    Returns:
        `dict[str, torch.Tensor]`
    """
    tensors = dict(tensors)
    distillation_token = tensors.pop("embeddings.distillation_token", None)
    if POSITIONS not in tensors:
        return tensors
    positions = tensors[POSITIONS].reshape(1, -1, tensors[POSITIONS].shape[-1])
    if distillation_token is not None:
        positions = torch.cat((positions[:, :1], positions[:, 2:]), dim=1)
    if config.use_class_token and positions.shape[1] == math.prod(source_grid):
        positions = torch.cat((torch.zeros_like(positions[:, :1]), positions), dim=1)
    tensors[POSITIONS] = resize_position_embeddings(
        positions, source_grid, patch_grid(config), config.use_class_token, antialias
    )
    return tensors


def load_whole(model: nn.Module, state_dict: dict[str, torch.Tensor], new: tuple[str, ...] = ()):
    """
    Loads a state dict that must fill all of the model but `new`.

    Raises:
        `ValueError`: if it does not.
    """
    try:
        missing, unexpected = model.load_state_dict(state_dict, strict=False)
    except RuntimeError as error:
        raise ValueError(f"The weights do not fit the configuration: {' '.join(str(error).split())}") from error
    missing = set(missing) - set(new)
    if missing or unexpected:
        raise ValueError(
            f"The weights do not fit the model. Missing: {_listed(missing)}. Unknown: {_listed(unexpected)}."
        )


def patch_grid(config: PreTrainedConfig) -> tuple[int, int]:
    """Height and width of the patch grid that a configuration's position embeddings are for."""
    image, patch = _pair(config.image_size), _pair(config.patch_size)
    return image[0] // patch[0], image[1] // patch[1]


def resize_position_embeddings(
    position_embeddings: torch.Tensor,
    source_grid: tuple[int, int],
    grid: tuple[int, int],
    has_class_token: bool = True,
    antialias: bool = False,
) -> torch.Tensor:
    """
    Position embeddings for another grid of patches (bicubic); the first one, of the class token, is kept.

    Args:
        position_embeddings (`torch.Tensor` of shape `(1, 1 + source height * source width, hidden_size)`): the source's.
        source_grid (`tuple[int, int]`): height and width of their grid.
        grid (`tuple[int, int]`): height and width of the grid to resize to.
        has_class_token (`bool`, *optional*, defaults to `True`): whether the first one is of a class token.
        antialias (`bool`, *optional*, defaults to `False`): whether to smooth, as some models do.

    Returns:
        `torch.Tensor` of shape `(1, 1 + height * width, hidden_size)`

    Raises:
        `ValueError`: if there are not as many position embeddings as the source's grid has patches.
    """
    num_kept = int(has_class_token)
    # always interpolate when tracing, so that the exported model takes other sizes than the traced one
    if not torch.jit.is_tracing():
        if position_embeddings.shape[1] != num_kept + math.prod(source_grid):
            raise ValueError(
                f"`position_embeddings` must be those of {'a class token and ' if has_class_token else ''}a grid of "
                f"{source_grid[0]}x{source_grid[1]} patches, got {position_embeddings.shape[1]}."
            )
        if tuple(grid) == tuple(source_grid):
            return position_embeddings
    dim = position_embeddings.shape[-1]
    patches = position_embeddings[:, num_kept:].reshape(1, *source_grid, dim).permute(0, 3, 1, 2)
    patches = nn.functional.interpolate(
        patches.float(), size=grid, mode="bicubic", align_corners=False, antialias=antialias
    )
    patches = patches.to(position_embeddings.dtype).flatten(2).transpose(1, 2)
    return torch.cat((position_embeddings[:, :num_kept], patches), dim=1)


def _new_image_size(source: PreTrainedConfig, processor_settings: dict | None) -> int | tuple[int, int]:
    own = _pair(source.image_size)
    size = _processor_size(processor_settings or {})
    origin = "its image processor's"
    if size is None:
        # a backbone of large images, such as DINOv2's 518 px, works on smaller ones, too
        size, origin = (own, "its own") if max(own) <= IMAGE_SIZE else ((IMAGE_SIZE, IMAGE_SIZE), "the default")
    patches = _pair(source.patch_size)
    # patches of no size are the configuration's to refuse
    whole = tuple(max(side // max(patch, 1), 1) * patch for side, patch in zip(size, patches))
    # resized positions are news
    log = logger.info if whole == own else logger.warning
    log(
        f"The new model takes images of {whole[0]} x {whole[1]} px ({origin} size; the backbone's positions are for "
        f"{own[0]} x {own[1]}). Another one is chosen with `image_size`."
    )
    return whole[0] if whole[0] == whole[1] else whole


def _processor_size(settings: dict) -> tuple[int, int] | None:
    """(height, width) of the images that an image processor makes; `None` if its settings do not say."""
    size = settings.get("crop_size" if settings.get("do_center_crop") else "size")
    if isinstance(size, dict):
        shortest = size.get("shortest_edge")
        size = [size.get("height", shortest), size.get("width", shortest)]
    sides = size if isinstance(size, list | tuple) else [size, size]
    is_size = len(sides) == 2 and all(type(side) is int and 1 <= side <= MAX_INPUT_SIDE for side in sides)
    return tuple(sides) if is_size else None


def _pair(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _listed(names) -> str:
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more tensors" if len(names) > 3 else "")


__all__ = [
    "BACKBONES",
    "Backbone",
    "backbone_config",
    "fill_encoder",
    "fit_positions",
    "load_whole",
    "patch_grid",
    "read_backbone",
    "resize_position_embeddings",
]
