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
"""PyTorch SAT model."""

import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.core_model_loading import rename_source_key
from transformers.image_processing_utils import BaseImageProcessor
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, load_state_dict
from transformers.models.auto import modeling_auto
from transformers.models.vit.modeling_vit import (
    ViTAttention,
    ViTLayer,
    ViTPatchEmbeddings,
    ViTPreTrainedModel,
)
from transformers.processing_utils import Unpack
from transformers.utils import SAFE_WEIGHTS_NAME, ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.hub import cached_file
from transformers.utils.output_capturing import capture_outputs

from .backbones_sat import Backbone, backbone_config, fill_encoder, read_backbone, resize_position_embeddings
from .configuration_sat import HOW_TO_START, SATConfig, described_type
from .timm_sat import timm_processor_settings


if TYPE_CHECKING:
    # Transformers gets and saves what a file imports together with it: with the model all of its code, for whoever has
    # Transformers alone.
    from .handler import EndpointHandler  # noqa: F401
    from .image_processing_pil_sat import SATImageProcessorPil  # noqa: F401
    from .image_processing_sat import SATImageProcessor  # noqa: F401
    from .pipeline_sat import WeaklySupervisedLocalizationPipeline  # noqa: F401


@dataclass
class SATModelOutput(ModelOutput):
    """
    Output of [`SATModel`]. `height` and `width` are those of the patch grid.

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, num_prefix_tokens + height * width + 1, hidden_size)`):
            Hidden states after the final layer normalization, in the order `[cls, registers, patches row by row, spatial]`.
            `config.num_prefix_tokens` is 1 for the paper's model, which has no registers.
        localization_map (`torch.FloatTensor` of shape `(batch_size, height, width)`):
            Foreground probability of every patch, in (0, 1): the mean of the spatial blocks' maps. At least float32,
            also when the model runs in half precision.
        spatial_maps (`tuple(torch.FloatTensor)`, *optional*, returned when `output_spatial_maps=True` is passed):
            One map of shape `(batch_size, height, width)` per spatial block, first block first.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True` is passed):
            The embeddings and the output of each block, as `last_hidden_state` without the final normalization. Before
            `config.spatial_token_layer` they have no spatial token.
        attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True` is passed):
            Softmax attention of each block before the spatial mask, of shape
            `(batch_size, num_heads, sequence_length, sequence_length)`. Only the eager attention computes it; the
            tuple is empty with the others.
    """

    last_hidden_state: torch.FloatTensor | None = None
    localization_map: torch.FloatTensor | None = None
    spatial_maps: tuple[torch.FloatTensor, ...] | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class SATForWeaklySupervisedLocalizationOutput(ModelOutput):
    """
    Output of [`SATForWeaklySupervisedLocalization`]. `height` and `width` are those of the patch grid.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
            Classification loss plus the weighted area and normalization losses.
        loss_dict (`dict[str, torch.FloatTensor]`, *optional*, returned when `labels` is provided):
            The terms of the loss before weighting, detached: `classification`, `area`, `normalization`, and
            `area_band` where its weight is not zero.
        logits (`torch.FloatTensor` of shape `(batch_size, config.num_labels)`):
            Classification scores before softmax, or before the sigmoid of a multi-label model.
        localization_map (`torch.FloatTensor` of shape `(batch_size, height, width)`):
            Foreground probability of every patch, in (0, 1), whatever the class.
        class_scores (`torch.FloatTensor` of shape `(batch_size, config.num_labels)`, *optional*, returned where
            `config.has_independent_classes`):
            Probability of each class, in [0, 1]: the sigmoid of `logits`. They tell post-processing to read each class on
            its own.
        class_maps (`torch.FloatTensor` of shape `(batch_size, config.num_labels, height, width)`, *optional*, returned
            when `output_class_maps=True` is passed, and by default as `forward` says):
            Class scores of every patch; their mean over the grid is `logits`.
        spatial_maps (`tuple(torch.FloatTensor)`, *optional*, returned when `output_spatial_maps=True` is passed):
            One map of shape `(batch_size, height, width)` per spatial block, first block first.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True` is passed):
            See [`SATModelOutput`].
        attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True` is passed):
            See [`SATModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    loss_dict: dict[str, torch.FloatTensor] | None = None
    logits: torch.FloatTensor | None = None
    localization_map: torch.FloatTensor | None = None
    class_scores: torch.FloatTensor | None = None
    class_maps: torch.FloatTensor | None = None
    spatial_maps: tuple[torch.FloatTensor, ...] | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class SATEmbeddings(nn.Module):
    """
    The ViT's embeddings `[cls, registers, patches]`, and the spatial token with a position embedding of its own. Which of
    them there are says the configuration: the paper's model has a class token and no registers.
    """

    def __init__(self, config: SATConfig):
        super().__init__()
        size = config.hidden_size
        self.cls_token = nn.Parameter(torch.randn(1, 1, size)) if config.use_class_token else None
        self.patch_embeddings = ViTPatchEmbeddings(config)
        self.image_size = self.patch_embeddings.image_size
        num_positions = int(config.use_class_token) + self.patch_embeddings.num_patches
        has_positions = config.rope_theta is None
        self.position_embeddings = nn.Parameter(torch.randn(1, num_positions, size)) if has_positions else None
        has_registers = config.num_register_tokens > 0
        self.register_tokens = (
            nn.Parameter(torch.zeros(1, config.num_register_tokens, size)) if has_registers else None
        )
        self.layernorm = nn.LayerNorm(size, eps=config.layer_norm_eps) if config.has_embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.spatial_token = nn.Parameter(torch.zeros(1, 1, size))
        self.spatial_position_embedding = nn.Parameter(torch.zeros(1, 1, size))

    def patch_grid(self, pixel_values: torch.Tensor) -> tuple[int, int]:
        """(height, width) of the patch grid of a batch of images."""
        patch_height, patch_width = self.patch_embeddings.patch_size
        height, width = pixel_values.shape[-2:]
        if height % patch_height != 0 or width % patch_width != 0:
            raise ValueError(
                f"`pixel_values` must have a height and width that are multiples of the patch size "
                f"({patch_height}x{patch_width}), got {height}x{width}. Resize the images first, for instance with "
                "the image processor's `size`."
            )
        return height // patch_height, width // patch_width

    def interpolate_pos_encoding(self, height: int, width: int) -> torch.Tensor:
        """
        Position embeddings `[cls, patches]` for images of `height` x `width` pixels, square or not: those of the
        patches are resized (bicubic) from the configuration's grid, which need not be square either.
        """
        patch_height, patch_width = self.patch_embeddings.patch_size
        old_grid = (self.image_size[0] // patch_height, self.image_size[1] // patch_width)
        new_grid = (height // patch_height, width // patch_width)
        has_class = self.cls_token is not None
        return resize_position_embeddings(self.position_embeddings, old_grid, new_grid, has_class)

    def forward(
        self, pixel_values: torch.Tensor, interpolate_pos_encoding: bool | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Returns `(batch_size, num_prefix_tokens + num_patches, hidden_size)` and the token that joins them,
        `(batch_size, 1, hidden_size)`.
        """
        batch_size, _, height, width = pixel_values.shape
        if not interpolate_pos_encoding and (height, width) != tuple(self.image_size):
            raise ValueError(
                f"`pixel_values` of {height}x{width} pixels do not fit the model's `image_size` of "
                f"{self.image_size[0]}x{self.image_size[1]}. Resize the images, or pass "
                "`interpolate_pos_encoding=True` to resize the position embeddings instead."
            )
        embeddings = self.patch_embeddings(pixel_values)
        if self.cls_token is not None:
            embeddings = torch.cat((self.cls_token.expand(batch_size, -1, -1), embeddings), dim=1)
        if self.position_embeddings is not None:
            positions = (
                self.interpolate_pos_encoding(height, width) if interpolate_pos_encoding else self.position_embeddings
            )
            embeddings = embeddings + positions
        if self.register_tokens is not None:
            # behind the class token
            num_before = 0 if self.cls_token is None else 1
            registers = self.register_tokens.expand(batch_size, -1, -1)
            embeddings = torch.cat((embeddings[:, :num_before], registers, embeddings[:, num_before:]), dim=1)
        embeddings = self.dropout(self.layernorm(embeddings))
        spatial_token = self.dropout(self.spatial_token + self.spatial_position_embedding)
        return embeddings, spatial_token.expand(batch_size, -1, -1)


class SATRotaryPositions(nn.Module):
    """
    Rotary positions of a grid of patches: angles that grow with the distance of a patch's centre from the image's, whose
    sides lie at -1 and 1. A quarter of a head's channels turns with the height, a quarter with the width, and the other
    half is what they turn into.
    """

    def __init__(self, config: SATConfig):
        super().__init__()
        self.theta = config.rope_theta
        self.head_dim = config.hidden_size // config.num_attention_heads

    def forward(self, grid: tuple[int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of the angles, `(height * width, head_dim)`, in float32: they come to hundreds of degrees."""
        exponents = torch.arange(0, 1, 4 / self.head_dim, device=device)
        frequencies = 2 * math.pi / self.theta**exponents
        height, width = grid
        rows = (2 * torch.arange(height, device=device) + 1) / height - 1
        columns = (2 * torch.arange(width, device=device) + 1) / width - 1
        rows, columns = rows[:, None].expand(height, width), columns[None, :].expand(height, width)
        centres = torch.stack((rows, columns), dim=-1).flatten(0, 1)
        angles = (centres[:, :, None] * frequencies).flatten(1).tile(2)
        return angles.cos(), angles.sin()


def rotate_patches(tokens: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], start: int) -> torch.Tensor:
    """
    Turns the channels of the patches, and leaves the tokens before and behind them.

    Args:
        tokens (`torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`): queries or keys, all heads.
        rotation (`tuple[torch.Tensor, torch.Tensor]`): what [`SATRotaryPositions`] gives.
        start (`int`): number of tokens before the patches.

    Returns:
        `torch.Tensor` like `tokens`.
    """
    # one for all heads
    cosines, sines = (part.unsqueeze(1) for part in rotation)
    num_patches, _, head_dim = cosines.shape
    stop = start + num_patches
    patches = tokens[:, start:stop].unflatten(-1, (-1, head_dim))
    first, second = patches.chunk(2, dim=-1)
    patches = patches * cosines + torch.cat((-second, first), dim=-1) * sines
    return torch.cat((tokens[:, :start], patches.flatten(2).to(tokens.dtype), tokens[:, stop:]), dim=1)


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Unpack[TransformersKwargs],
) -> tuple[torch.Tensor, torch.Tensor]:
    attn_weights = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask

    # unlike ViT's, this softmax keeps float64, so that the eager path can serve as a reference
    attn_weights = nn.functional.softmax(attn_weights, dim=-1, dtype=at_least_float32(query)).to(query.dtype)
    attn_weights = nn.functional.dropout(attn_weights, p=dropout, training=module.training)
    attn_output = torch.matmul(attn_weights, value).transpose(1, 2).contiguous()
    return attn_output, attn_weights


def at_least_float32(tensor: torch.Tensor) -> torch.dtype:
    """The dtype for what half precision would round too much."""
    return torch.promote_types(tensor.dtype, torch.float32)


class SATAttention(ViTAttention):
    """
    The ViT's attention and, in spatial blocks, the spatial-query attention (paper, section 3.2): the spatial token's
    query, averaged over the heads, gives every key a mask value in (0, 1) by which all heads' and queries' attention to
    that key is multiplied, without renormalisation.
    """

    def __init__(self, config: SATConfig, is_spatial: bool):
        super().__init__(config)
        self.is_spatial = is_spatial
        self.num_prefix_tokens = config.num_prefix_tokens

    def spatial_mask(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """
        Mask value of every key.

        The mean over the heads of `q . k` is the product of the concatenated heads over their number, so one
        matrix-vector product does.

        Args:
            query (`torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`): all heads, concatenated.
            key (`torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`): all heads, concatenated.

        Returns:
            `torch.Tensor` of shape `(batch_size, sequence_length)`, at least float32.
        """
        spatial_query = query[:, -1] * (self.scaling / self.num_attention_heads)
        scores = torch.matmul(key, spatial_query.unsqueeze(-1)).squeeze(-1)
        return scores.to(at_least_float32(scores)).sigmoid()

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        rotation: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        hidden_shape = (*input_shape, -1, self.head_dim)

        query = self.q_proj(hidden_states)
        key = self.k_proj(hidden_states)
        value = self.v_proj(hidden_states)
        if rotation is not None:
            query = rotate_patches(query, rotation, self.num_prefix_tokens)
            key = rotate_patches(key, rotation, self.num_prefix_tokens)

        spatial_mask = None
        if self.is_spatial:
            # (softmax(QK') * m) V = softmax(QK') (m * V): with the mask on the values any attention back end serves
            spatial_mask = self.spatial_mask(query, key)
            value = value * spatial_mask.unsqueeze(-1).to(value.dtype)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attn_output, attn_weights = attention_interface(
            self,
            query.view(hidden_shape).transpose(1, 2),
            key.view(hidden_shape).transpose(1, 2),
            value.view(hidden_shape).transpose(1, 2),
            attention_mask,
            dropout=0.0 if not self.training else self.attention_dropout,
            scaling=self.scaling,
            **kwargs,
        )
        attn_output = attn_output.reshape(*input_shape, -1).contiguous()
        return self.o_proj(attn_output), attn_weights, spatial_mask


class SATLayerScale(nn.Module):
    """A learned gain per channel of a residual branch."""

    def __init__(self, config: SATConfig):
        super().__init__()
        self.lambda1 = nn.Parameter(config.layerscale_value * torch.ones(config.hidden_size))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states * self.lambda1


class SATDropPath(nn.Module):
    """Stochastic depth: in training, drops a residual branch for whole samples with probability `drop_prob`."""

    def __init__(self, drop_prob: float):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, branch: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The sum of `residual` and what is kept of `branch`, both `(batch_size, sequence_length, hidden_size)`."""
        if self.drop_prob == 0.0 or not self.training:
            return branch + residual
        keep_prob = 1.0 - self.drop_prob
        kept = branch.new_empty(branch.shape[0], 1, 1).bernoulli_(keep_prob) / keep_prob
        # in one step: a tensor for the scaled branch would raise the peak memory
        return torch.addcmul(residual, branch, kept)

    def extra_repr(self) -> str:
        return f"p={self.drop_prob}"


class SATGatedMLP(nn.Module):
    """A feed-forward layer whose hidden channels are gated."""

    def __init__(self, config: SATConfig):
        super().__init__()
        self.activation_fn = ACT2FN[config.hidden_act]
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        gate = self.activation_fn(self.gate_proj(hidden_states))
        return self.down_proj(gate * self.up_proj(hidden_states))


class SATLayer(ViTLayer):
    """
    A ViT block with stochastic depth, LayerScale and gated feed-forward where the configuration has them, and the choice of
    attention.
    """

    def __init__(self, config: SATConfig, layer_idx: int):
        super().__init__(config)
        is_spatial = layer_idx >= config.num_hidden_layers - config.num_spatial_layers
        self.attention = SATAttention(config, is_spatial=is_spatial)
        if config.use_gated_mlp:
            self.mlp = SATGatedMLP(config)
        has_layer_scale = config.layerscale_value is not None
        self.layer_scale1 = SATLayerScale(config) if has_layer_scale else nn.Identity()
        self.layer_scale2 = SATLayerScale(config) if has_layer_scale else nn.Identity()
        self.drop_path = SATDropPath(config.drop_path_rate * layer_idx / max(config.num_hidden_layers - 1, 1))

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns the hidden states and, from a spatial block, the mask of shape `(batch_size, sequence_length)`."""
        residual = hidden_states
        hidden_states = self.layernorm_before(hidden_states)
        hidden_states, _, spatial_mask = self.attention(hidden_states, attention_mask, **kwargs)
        hidden_states = self.layer_scale1(self.dropout(hidden_states))
        hidden_states = self.drop_path(hidden_states, residual)

        residual = hidden_states
        hidden_states = self.layernorm_after(hidden_states)
        hidden_states = self.mlp(hidden_states)
        hidden_states = self.layer_scale2(self.dropout(hidden_states))
        hidden_states = self.drop_path(hidden_states, residual)

        return hidden_states, spatial_mask


class SATClassifierConvolution(nn.Conv2d):
    """A convolution with a class of its own, because it is initialized unlike the patch embedding's."""


class SATPooledConvolution(nn.Module):
    """
    The classifier: a convolution over the patch grid (zero padding), averaged over the grid (paper, section 3.1).

    The mean of a convolution is its value at one place of a small input: at the centre of the means of the grid under each
    offset of the kernel. So the logits need as many products as the kernel has offsets, instead of one per patch; the
    maps are made on request. The convolution is called either way, so that adapters, hooks and offloading act on it.
    """

    def __init__(self, config: SATConfig):
        super().__init__()
        self.padding = config.classifier_kernel_size // 2
        self.convolution = SATClassifierConvolution(
            config.hidden_size, config.num_labels, config.classifier_kernel_size, padding=self.padding
        )

    def offset_means(self, patches: torch.Tensor, dim: int) -> torch.Tensor:
        """
        Mean over `dim` of the zero padded input under each of the kernel's offsets, which take that dimension's place. An
        offset shifts as many rows (or columns) past the border as it is long, and zeros in at the other.
        """
        length = patches.shape[dim]
        sums = []
        for offset in range(-self.padding, self.padding + 1):
            start, stop = max(offset, 0), length + min(offset, 0)
            sums.append(patches.narrow(dim, min(start, length), max(stop - start, 0)).sum(dim))
        return torch.stack(sums, dim=dim) / length

    def forward(
        self, patches: torch.Tensor, output_class_maps: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Logits `(batch_size, num_labels)` from patches of shape `(batch_size, height, width, hidden_size)`, and with
        `output_class_maps` the maps `(batch_size, num_labels, height, width)`, whose mean they are.
        """
        if output_class_maps:
            class_maps = self.convolution(patches.permute(0, 3, 1, 2))
            return class_maps.mean((2, 3)), class_maps
        means = self.offset_means(self.offset_means(patches, dim=1), dim=2)
        return self.convolution(means.permute(0, 3, 1, 2))[:, :, self.padding, self.padding], None


# What a ViT has no weights for, named from the encoder.
NEW_WEIGHTS = ("embeddings.spatial_token", "embeddings.spatial_position_embedding", "classifier.")
# Of `from_pretrained`'s arguments, those that say where files are from.
FILE_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


class SATPreTrainedModel(ViTPreTrainedModel):
    """
    Weight initialization and the download and loading of pretrained models.

    The encoder keeps the ViT's names (`base_model_prefix` is `"vit"`), so that a ViT checkpoint fills all of it but the
    spatial token and its position embedding.
    """

    config: SATConfig
    _no_split_modules = ["SATEmbeddings", "SATLayer"]
    _can_record_outputs = {"hidden_states": SATLayer, "attentions": SATAttention}
    # A ViT's pooler has no counterpart here.
    _keys_to_ignore_on_load_unexpected = [r"pooler\."]

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args,
        output_loading_info: bool = False,
        **kwargs,
    ):
        """
        As [`~transformers.PreTrainedModel.from_pretrained`], of a SAT model, or of a ViT that fills the whole encoder.

        Raises:
            `ValueError`: if it is a model of another kind, or one that leaves a part of the encoder without weights; see
                [`SATForWeaklySupervisedLocalization.from_backbone`].
        """
        try:
            model, report = super().from_pretrained(
                pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
            )
        except RuntimeError:
            # weights of other shapes
            check_is_sat(pretrained_model_name_or_path, kwargs)
            raise
        missing = {name.removeprefix(f"{cls.base_model_prefix}.") for name in report["missing_keys"]}
        if any(not name.startswith(NEW_WEIGHTS) for name in missing):
            check_is_sat(pretrained_model_name_or_path, kwargs)
        return (model, report) if output_loading_info else model

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, SATEmbeddings):
            parameters = (
                module.position_embeddings,
                module.cls_token,
                module.spatial_token,
                module.spatial_position_embedding,
                module.register_tokens,
            )
            for parameter in parameters:
                if parameter is not None:
                    init.trunc_normal_(parameter, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, SATLayerScale):
            init.constant_(module.lambda1, self.config.layerscale_value)
        elif isinstance(module, SATClassifierConvolution):
            # PyTorch's default for a convolution, which is what the published models started from
            bound = 1.0 / math.sqrt(module.weight[0].numel())
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)


class SATModel(SATPreTrainedModel):
    """
    The bare SAT encoder: a ViT with a spatial token, whose attention to the patches is the localization map.

    Args:
        config ([`SATConfig`]): the model's configuration.
    """

    def __init__(self, config: SATConfig):
        super().__init__(config)
        self.embeddings = SATEmbeddings(config)
        self.rotary_positions = None if config.rope_theta is None else SATRotaryPositions(config)
        self.layers = nn.ModuleList([SATLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        # Trainer resumes with `load_state_dict`, which does not know the older names that `save_pretrained` writes
        self.register_load_state_dict_pre_hook(rename_saved_weights)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        pixel_values: torch.Tensor,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: torch.Tensor | None = None,
        output_spatial_maps: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SATModelOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`):
                Images, resized and normalised by the image processor.
            interpolate_pos_encoding (`bool`, *optional*):
                Whether to resize the position embeddings to images of another size than `config.image_size`; any
                height and width that the patch size divides will do.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_prefix_tokens + num_patches + 1)`, *optional*):
                1 for tokens that may be attended to, 0 for the others.
            output_spatial_maps (`bool`, *optional*, defaults to `False`):
                Whether to return the map of every spatial block, beside their mean.

        Returns:
            [`SATModelOutput`]

        Raises:
            `ValueError`: if the images have another number of channels than `config.num_channels`, a size that the
                patch does not divide, or another size than `config.image_size` without `interpolate_pos_encoding`.
        """
        grid = self.embeddings.patch_grid(pixel_values)
        # not of the projection, which an adapter may have wrapped
        pixel_values = pixel_values.to(self.embeddings.spatial_token.dtype)
        hidden_states, spatial_token = self.embeddings(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)
        token_layer = self.config.spatial_token_layer
        mask_before = self._attention_mask(attention_mask, hidden_states) if token_layer > 0 else None
        if self.rotary_positions is not None:
            kwargs["rotation"] = self.rotary_positions(grid, hidden_states.device)

        spatial_maps = ()
        for layer in self.layers[:token_layer]:
            hidden_states, _ = layer(hidden_states, mask_before, **kwargs)
        hidden_states = torch.cat((hidden_states, spatial_token), dim=1)
        attention_mask = self._attention_mask(attention_mask, hidden_states)
        for layer in self.layers[token_layer:]:
            hidden_states, spatial_mask = layer(hidden_states, attention_mask, **kwargs)
            if spatial_mask is not None:
                spatial_maps += (spatial_mask[:, self.config.num_prefix_tokens : -1].unflatten(1, grid),)

        return SATModelOutput(
            last_hidden_state=self.layernorm(hidden_states),
            localization_map=torch.stack(spatial_maps).mean(0),
            spatial_maps=spatial_maps if output_spatial_maps else None,
        )

    def _attention_mask(self, attention_mask: torch.Tensor | None, hidden_states: torch.Tensor) -> torch.Tensor | None:
        """The mask for the tokens that are there: the spatial token, the last of those that it is given for, may not be yet."""
        if attention_mask is not None:
            attention_mask = attention_mask[:, : hidden_states.shape[1]]
        return create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=attention_mask
        )


class SATForWeaklySupervisedLocalization(SATPreTrainedModel):
    """
    SAT with its classifier: from image labels alone it learns what an image shows (`logits`) and where
    (`localization_map`). The image processor's `post_process_localization` turns its output into boxes and masks.

    Args:
        config ([`SATConfig`]): the model's configuration.

    Example:

    ```python
    >>> from PIL import Image
    >>> from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor

    >>> processor = SATImageProcessor.from_pretrained("org/sat-deit-s-cub")
    >>> model = SATForWeaklySupervisedLocalization.from_pretrained("org/sat-deit-s-cub")

    >>> image = Image.open("bird.jpg")
    >>> outputs = model(**processor(image, return_tensors="pt"))
    >>> result = processor.post_process_localization(outputs, target_sizes=[(image.height, image.width)])[0]
    >>> label, box = model.config.id2label[result["labels"][0].item()], result["boxes"][0].tolist()
    ```"""

    # The losses are means over the batch: Trainer has to average them over accumulation steps and processes itself.
    accepts_loss_kwargs = False

    def __init__(self, config: SATConfig):
        super().__init__(config)
        # not found by the class's name; cross entropy unless the configuration's `problem_type` says otherwise
        self.loss_type = "ForImageClassification"
        self.vit = SATModel(config)
        self.classifier = SATPooledConvolution(config)
        self.post_init()

    @classmethod
    def from_backbone(
        cls, pretrained_model_name_or_path: str | os.PathLike, **overrides
    ) -> "SATForWeaklySupervisedLocalization":
        """
        A model to train, started from a repository or folder of a pretrained encoder, with any head: a ViT, DeiT, DINOv2
        (with or without registers), DINOv3, CLIP or SigLIP of Transformers, or a ViT, DeiT, DeiT-III or DINOv2 of timm.

        The encoder has all of the backbone's weights. A DeiT's distillation token is left out, position embeddings are
        resized to the model's images, and the spatial token, its position and the classifier are new.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`):
                Repository on the Hub or folder.
            overrides:
                Fields of [`SATConfig`] that differ from the backbone's, such as `num_labels`, `id2label`, `image_size` or
                `area_target`; and `token`, `revision`, `cache_dir`, `local_files_only` and the like of `from_pretrained`.
                Without `image_size` the model takes images of the size that the backbone's image processor makes, or else
                of the backbone's own up to 224 px; it is logged.

        Returns:
            [`SATForWeaklySupervisedLocalization`]: in float32 and training mode.

        Raises:
            `OSError`: if there is no such repository or folder, or it has no configuration or weights.
            `ValueError`: if it holds another kind of model, its weights are not all there or do not fit, or a field is out
                of its range.

        Example:

        ```python
        >>> model = SATForWeaklySupervisedLocalization.from_backbone("facebook/deit-small-patch16-224", num_labels=200)
        ```"""
        files = {name: overrides.pop(name) for name in FILE_OPTIONS if name in overrides}
        fields, _ = PreTrainedConfig.get_config_dict(pretrained_model_name_or_path, **files)
        try:
            backbone, source_config = read_backbone(fields)
        except ValueError as error:
            raise ValueError(f"{pretrained_model_name_or_path}: {error}") from error
        try:
            processor_settings, _ = BaseImageProcessor.get_image_processor_dict(pretrained_model_name_or_path, **files)
        except OSError:
            processor_settings = timm_processor_settings(fields)
        config = backbone_config(backbone, source_config, processor_settings, **overrides)
        state_dict = read_backbone_weights(pretrained_model_name_or_path, backbone, source_config, files)
        model = cls(config)
        fill_encoder(model.vit, backbone, source_config, state_dict)
        return model

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: torch.Tensor | None = None,
        output_class_maps: bool | None = None,
        batch_area: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SATForWeaklySupervisedLocalizationOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`):
                Images, resized and normalised by the image processor.
            labels (`torch.Tensor` of shape `(batch_size,)`, *optional*):
                Class of each image, in `[0, config.num_labels - 1]`. As floats of shape
                `(batch_size, config.num_labels)` they are the 0 or 1 of every class (multi-label), with binary cross
                entropy in the place of cross entropy; see `config.problem_type`. A model of one class takes floats.
            interpolate_pos_encoding (`bool`, *optional*):
                See [`SATModel.forward`].
            attention_mask (`torch.Tensor` of shape `(batch_size, num_prefix_tokens + num_patches + 1)`, *optional*):
                See [`SATModel.forward`].
            output_class_maps (`bool`, *optional*):
                Whether to return the classifier's maps before their mean over the grid. By default in evaluation mode
                without `labels` if `config.has_independent_classes`: each class that is found has a place of its own.
            batch_area (`torch.Tensor` of shape `()` or `(batch_size,)`, *optional*):
                Mean of the maps of the whole batch that these images are a part of, in (0, 1), for the area loss; the same
                for all images. By default that of these images, in training over all data-parallel processes.

        Returns:
            [`SATForWeaklySupervisedLocalizationOutput`]

        Raises:
            `ValueError`: as [`SATModel.forward`], and if `labels` have another shape or lie out of range, or Trainer's label
                smoothing keeps them back.
        """
        outputs: SATModelOutput = self.vit(
            pixel_values,
            interpolate_pos_encoding=interpolate_pos_encoding,
            attention_mask=attention_mask,
            **kwargs,
        )
        localization_map = outputs.localization_map
        patches = outputs.last_hidden_state[:, self.config.num_prefix_tokens : -1]
        patches = patches.unflatten(1, localization_map.shape[1:])
        if output_class_maps is None:
            output_class_maps = self.config.has_independent_classes and labels is None and not self.training
        logits, class_maps = self.classifier(patches, output_class_maps)

        loss, loss_dict = None, None
        if labels is not None:
            loss, loss_dict = self.localization_loss(logits, localization_map, labels, batch_area)
        elif self.training and not torch.compiler.is_compiling():
            check_labels_are_not_kept_back()

        class_scores = None
        if self.config.has_independent_classes:
            class_scores = logits.to(at_least_float32(logits)).sigmoid()
        return SATForWeaklySupervisedLocalizationOutput(
            loss=loss,
            loss_dict=loss_dict,
            logits=logits,
            localization_map=localization_map,
            class_scores=class_scores,
            class_maps=class_maps,
            spatial_maps=outputs.spatial_maps,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def localization_loss(
        self,
        logits: torch.Tensor,
        localization_map: torch.Tensor,
        labels: torch.Tensor,
        batch_area: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """
        The paper's loss (section 3.3) and its terms: cross entropy, area and normalization.

        Args:
            logits (`torch.Tensor` of shape `(batch_size, num_labels)`): class scores.
            localization_map (`torch.Tensor` of shape `(batch_size, height, width)`): values in (0, 1).
            labels (`torch.Tensor` of shape `(batch_size,)`): classes, or as in `forward`.
            batch_area (`torch.Tensor`, *optional*): as in `forward`.

        Returns:
            `tuple(torch.Tensor, dict[str, torch.Tensor])`: the weighted sum, and the detached terms.
        """
        config = self.config
        is_one_class = config.num_labels == 1 and config.has_independent_classes
        check_labels(labels, logits, is_one_class)
        if is_one_class:
            # there or not; Transformers would take it for a regression
            labels = labels.reshape(logits.shape)
            config.problem_type = "multi_label_classification"
        area = localization_map.mean(dim=(1, 2))
        mean_area = area.mean()
        if batch_area is not None:
            mean_area = with_value(mean_area, batch_area.mean())
        elif self.training:
            mean_area = global_batch_mean(mean_area)

        terms = {
            "classification": self.classification_loss(logits.to(localization_map.dtype), labels),
            "area": (mean_area - config.area_target).abs(),
            "normalization": normalization_loss(localization_map),
        }
        loss = (
            terms["classification"]
            + config.area_loss_weight * terms["area"]
            + config.normalization_loss_weight * terms["normalization"]
        )
        if config.area_band_loss_weight > 0:
            excess = (area - config.area_target).abs() - config.area_band_tolerance
            terms["area_band"] = excess.relu().mean()
            loss = loss + config.area_band_loss_weight * terms["area_band"]
        return loss, {name: term.detach() for name, term in terms.items()}

    def classification_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross entropy, with `config.label_smoothing`, or of labels as floats what `config.problem_type` says."""
        smoothing = self.config.label_smoothing
        if smoothing == 0:
            return self.loss_function(labels, logits, self.config)
        if labels.is_floating_point() or self.config.has_independent_classes:
            raise ValueError(
                f"`label_smoothing` is of one class per image, got {smoothing} and labels as floats, the 0 or 1 of every "
                "class. Set it to 0."
            )
        return nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)


def read_backbone_weights(
    name_or_path: str | os.PathLike, backbone: Backbone, config: PreTrainedConfig, options: dict
) -> dict[str, torch.Tensor]:
    """The weights of a backbone, with none missing where Transformers knows the model; `options` are of `from_pretrained`."""
    if backbone.model_class is None:
        return load_state_dict(cached_file(name_or_path, SAFE_WEIGHTS_NAME, **options))
    source, report = backbone.model_class.from_pretrained(
        name_or_path, config=config, output_loading_info=True, **backbone.options, **options
    )
    missing = sorted(name for name in report["missing_keys"] if not re.match(backbone.left_out, name))
    if missing:
        raise ValueError(f"{name_or_path}: {len(missing)} weights of the backbone are missing, such as {missing[0]}.")
    return source.state_dict()


def check_is_sat(name_or_path: str | os.PathLike | None, options: dict):
    """Raises `ValueError` if a repository or folder holds another kind of model; `options` are of `from_pretrained`."""
    if name_or_path is None:
        return
    options = {name: options[name] for name in FILE_OPTIONS if options.get(name) is not None}
    fields, _ = PreTrainedConfig.get_config_dict(name_or_path, **options)
    model_type = described_type(fields)
    if model_type not in (None, SATConfig.model_type):
        raise ValueError(f"{name_or_path} {HOW_TO_START.format(model_type=repr(model_type))}")


def check_labels(labels: torch.Tensor, logits: torch.Tensor, is_one_class: bool):
    """Raises `ValueError` unless `labels` are one class in range for each row of `logits`, or floats like `logits`."""
    batch_size, num_labels = logits.shape
    if labels.is_floating_point():
        if labels.shape != logits.shape and not (num_labels == 1 and labels.shape == (batch_size,)):
            raise ValueError(
                f"Floating-point `labels` must have the shape ({batch_size}, {num_labels}), a 0 or 1 for each class "
                f"(multi-label), got {tuple(labels.shape)}. For one class per image pass integers."
            )
        return
    if is_one_class:
        raise ValueError(
            "A model of one class (`num_labels=1`) learns whether it is there: `labels` must be floats, 1.0 for images that "
            "show it and 0.0 for others. To tell classes apart it needs two."
        )
    if labels.shape != (batch_size,):
        raise ValueError(
            f"Integer `labels` must have the shape ({batch_size},), one class per image, got {tuple(labels.shape)}."
        )
    # Reading values would make an accelerator wait at each step, and cannot be compiled; the loss checks them there.
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        outside = labels[(labels < 0) | (labels >= num_labels)]
        if outside.numel() > 0:
            raise ValueError(
                f"`labels` must be between 0 and {num_labels - 1}, as the model has {num_labels} classes "
                f"(`num_labels`), got {outside.unique().tolist()}."
            )


def check_labels_are_not_kept_back():
    """
    Raises `ValueError` if Trainer smooths the labels itself. It then calls the model without them and takes a loss of the
    logits alone for the whole, of which nothing tells the model but who called it.
    """
    frame = sys._getframe()
    while frame is not None:
        caller = frame.f_locals.get("self") if frame.f_code.co_name == "compute_loss" else None
        if getattr(caller, "label_smoother", None) is not None and getattr(caller, "compute_loss_func", None) is None:
            raise ValueError(
                "Trainer's `label_smoothing_factor` keeps the labels from the model, and the area and normalization losses "
                "would be lost. Set `model.config.label_smoothing` in its place, or train with "
                "`transformers_sat.training.LocalizationTrainer`, which does."
            )
        frame = frame.f_back


def global_batch_mean(local_mean: torch.Tensor) -> torch.Tensor:
    """
    Mean over the batches of all data-parallel processes, with the gradient of the local one.

    After the processes' gradients are averaged, the gradient of a function of this mean is exactly that of one process
    on the union of the batches, so the collective itself needs no gradient.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return local_mean
    global_mean = local_mean.detach().clone()
    distributed.all_reduce(global_mean)
    global_mean /= distributed.get_world_size()
    return with_value(local_mean, global_mean)


def with_value(local_mean: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The mean of a whole batch, `value`, with the gradient of that of a part of it."""
    return local_mean + (value - local_mean).detach()


def _smoothing_weights() -> tuple[float, float]:
    """
    (centre, edge) of the separable 3x3 kernel that smooths the map in the normalization loss: the normal CDF's
    differences over three equal bins on [-(6 + 13/6), 6 + 13/6], square-rooted and normalised to sum 1.
    """
    limit = (6 + 13 / 6) / 3
    centre = math.erf(limit / math.sqrt(2))
    edge = (math.erf(3 * limit / math.sqrt(2)) - centre) / 2
    total = math.sqrt(centre) + 2 * math.sqrt(edge)
    return math.sqrt(centre) / total, math.sqrt(edge) / total


def normalization_loss(localization_map: torch.Tensor) -> torch.Tensor:
    """
    Mean of `s (1 - s)` over batch and grid, `s` being the smoothed map: it pushes values away from one half.

    Args:
        localization_map (`torch.Tensor` of shape `(batch_size, height, width)`): values in (0, 1).

    Returns:
        `torch.Tensor` of shape `()`.
    """
    centre, edge = _smoothing_weights()
    smoothed = localization_map
    for dim in (1, 2):
        length = localization_map.shape[dim]
        padded = nn.functional.pad(smoothed, (1, 1) if dim == 2 else (0, 0, 1, 1))
        neighbours = padded.narrow(dim, 0, length) + padded.narrow(dim, 2, length)
        smoothed = centre * smoothed + edge * neighbours
    return (smoothed * (1 - smoothed)).mean()


def rename_saved_weights(module: nn.Module, state_dict: dict[str, torch.Tensor], prefix: str, *args):
    """Gives the weights of `module` in a state dict this version's names, as `from_pretrained` does."""
    renamings = get_checkpoint_conversion_mapping("SATModel")
    for name in list(state_dict):
        if name.startswith(prefix):
            renamed, *_ = rename_source_key(name.removeprefix(prefix), renamings, [])
            state_dict[prefix + renamed] = state_dict.pop(name)


# ViT checkpoints written before Transformers 5 have other names for the same weights. `overwrite` because a copy of this
# file that came with a checkpoint may be imported beside the installed package.
register_checkpoint_conversion_mapping("SATModel", get_checkpoint_conversion_mapping("ViTModel"), overwrite=True)

# The stock pipelines recognise the models they can run by these tables of class names, to which registering a model with an
# Auto class adds nothing: they would log an error at each use. Here, so that it also holds for a copy that came with a checkpoint.
modeling_auto.MODEL_MAPPING_NAMES["sat"] = SATModel.__name__
for names in (
    modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_IMAGE_SEGMENTATION_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES,
):
    names["sat"] = SATForWeaklySupervisedLocalization.__name__


__all__ = [
    "SATForWeaklySupervisedLocalization",
    "SATForWeaklySupervisedLocalizationOutput",
    "SATModel",
    "SATModelOutput",
    "SATPreTrainedModel",
]
