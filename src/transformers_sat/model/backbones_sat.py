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
Where training starts: configurations and weights of ViT, DeiT and DINOv2 models as those of a SAT model.
"""

import math

import torch
from torch import nn
from transformers import DeiTModel, Dinov2Config, Dinov2Model, PreTrainedConfig, ViTModel
from transformers.utils import logging

from .configuration_sat import MAX_INPUT_SIDE, SATConfig


logger = logging.get_logger(__name__)

BACKBONE_CLASSES = {"vit": ViTModel, "deit": DeiTModel, "dinov2": Dinov2Model}
# DINOv2's token that hides patches in pretraining
MAY_LACK = ("embeddings.mask_token",)
# Side of the images of a new run, in pixels, where a backbone does not say which: the paper's, and that of most processors.
IMAGE_SIZE = 224


def backbone_config(source: PreTrainedConfig, processor_settings: dict | None = None, **overrides) -> SATConfig:
    """
    Configuration of a SAT model to train from a backbone.

    Args:
        source ([`~transformers.PreTrainedConfig`]): of a ViT, DeiT or DINOv2 model.
        processor_settings (`dict`, *optional*): what the `preprocessor_config.json` beside it holds.
        overrides: fields that differ from the backbone's. Without `image_size` it is that of the processor's images, or
            the backbone's own up to 224 px; it is logged.

    Raises:
        `ValueError`: if the backbone is one that SAT has no counterpart for, or a field is out of its range.
    """
    names = set(SATConfig.__dataclass_fields__) - set(PreTrainedConfig.__dataclass_fields__)
    # stochastic depth belongs to the recipe, not to the backbone
    fields = {name: getattr(source, name) for name in names - {"drop_path_rate"} if hasattr(source, name)}
    if isinstance(source, Dinov2Config):
        if source.use_swiglu_ffn:
            raise ValueError(
                "DINOv2 models with a SwiGLU feed-forward (giant) are not supported; use small, base or large."
            )
        fields["intermediate_size"] = int(source.hidden_size * source.mlp_ratio)
        fields["layerscale_value"] = source.layerscale_value
    if overrides.get("image_size") is None:
        overrides["image_size"] = _new_image_size(source, processor_settings)
    return SATConfig(**(fields | overrides))


def fill_encoder(encoder: nn.Module, source: nn.Module):
    """
    Gives a [`SATModel`] the weights of a backbone, all but its spatial token with its position.

    Raises:
        `ValueError`: if the weights do not fit.
    """
    convert = convert_dinov2_state_dict if isinstance(source, Dinov2Model) else convert_vit_state_dict
    state_dict = convert(source.state_dict(), patch_grid(source.config), patch_grid(encoder.config))
    load_whole(encoder, state_dict, new=("embeddings.spatial_token", "embeddings.spatial_position_embedding"))


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


def convert_vit_state_dict(
    state_dict: dict[str, torch.Tensor], source_grid: tuple[int, int], grid: tuple[int, int]
) -> dict[str, torch.Tensor]:
    """
    Weights of a [`~transformers.ViTModel`] or [`~transformers.DeiTModel`] as weights of a [`SATModel`], all but its
    spatial token.

    Args:
        state_dict (`dict[str, torch.Tensor]`): the source's weights.
        source_grid (`tuple[int, int]`): height and width of the source's patch grid.
        grid (`tuple[int, int]`): those of the SAT model; position embeddings are resized where they differ.

    Returns:
        `dict[str, torch.Tensor]`
    """
    converted = dict(state_dict)
    positions = converted["embeddings.position_embeddings"]
    if converted.pop("embeddings.distillation_token", None) is not None:
        positions = torch.cat((positions[:, :1], positions[:, 2:]), dim=1)
    converted["embeddings.position_embeddings"] = resize_position_embeddings(positions, source_grid, grid)
    return converted


def convert_dinov2_state_dict(
    state_dict: dict[str, torch.Tensor], source_grid: tuple[int, int], grid: tuple[int, int]
) -> dict[str, torch.Tensor]:
    """
    Weights of a [`~transformers.Dinov2Model`] (small, base or large) as weights of a [`SATModel`] with LayerScale, all
    but its spatial token.

    Args:
        state_dict (`dict[str, torch.Tensor]`): the source's weights.
        source_grid (`tuple[int, int]`): height and width of the source's patch grid, (37, 37) for the published models.
        grid (`tuple[int, int]`): those of the SAT model; position embeddings are resized where they differ.

    Returns:
        `dict[str, torch.Tensor]`
    """
    converted = {}
    for name, tensor in state_dict.items():
        if name == "embeddings.mask_token":
            continue
        if name.startswith("encoder."):
            name = name.removeprefix("encoder.").replace("layer.", "layers.", 1)
        converted[name.replace("norm1.", "layernorm_before.").replace("norm2.", "layernorm_after.")] = tensor
    converted["embeddings.position_embeddings"] = resize_position_embeddings(
        converted["embeddings.position_embeddings"], source_grid, grid
    )
    return converted


def resize_position_embeddings(
    position_embeddings: torch.Tensor, source_grid: tuple[int, int], grid: tuple[int, int]
) -> torch.Tensor:
    """
    Position embeddings for another grid of patches (bicubic); the first one, of the cls token, is kept.

    Args:
        position_embeddings (`torch.Tensor` of shape `(1, 1 + source height * source width, hidden_size)`): the source's.
        source_grid (`tuple[int, int]`): height and width of their grid.
        grid (`tuple[int, int]`): height and width of the grid to resize to.

    Returns:
        `torch.Tensor` of shape `(1, 1 + height * width, hidden_size)`

    Raises:
        `ValueError`: if there are not as many position embeddings as the source's grid has patches.
    """
    # always interpolate when tracing, so that the exported model takes other sizes than the traced one
    if not torch.jit.is_tracing():
        if position_embeddings.shape[1] != 1 + math.prod(source_grid):
            raise ValueError(
                "`position_embeddings` must be those of a cls token and a grid of "
                f"{source_grid[0]}x{source_grid[1]} patches, got {position_embeddings.shape[1]}."
            )
        if tuple(grid) == tuple(source_grid):
            return position_embeddings
    dim = position_embeddings.shape[-1]
    patches = position_embeddings[:, 1:].reshape(1, *source_grid, dim).permute(0, 3, 1, 2)
    patches = nn.functional.interpolate(patches.float(), size=grid, mode="bicubic", align_corners=False)
    patches = patches.to(position_embeddings.dtype).flatten(2).transpose(1, 2)
    return torch.cat((position_embeddings[:, :1], patches), dim=1)


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
    "BACKBONE_CLASSES",
    "MAY_LACK",
    "backbone_config",
    "convert_dinov2_state_dict",
    "convert_vit_state_dict",
    "fill_encoder",
    "load_whole",
    "patch_grid",
    "resize_position_embeddings",
]
