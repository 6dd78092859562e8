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
"""SAT model configuration."""

from huggingface_hub.dataclasses import strict
from transformers import ViTConfig


@strict
class SATConfig(ViTConfig):
    r"""
    Configuration of a [`SATModel`] or [`SATForWeaklySupervisedLocalization`]: a ViT with one more token, the *spatial
    token*, whose attention in the last blocks is the localization map (Spatial-Aware Token, ICCV 2023,
    [arXiv 2303.10438](https://arxiv.org/abs/2303.10438)).

    It holds every field of [`~transformers.ViTConfig`], so that the configuration of a ViT or (non-distilled) DeiT
    repository reads as a SAT configuration, and the fields below. Defaults are the paper's.

    Args:
        num_spatial_layers (`int`, *optional*, defaults to 3):
            Number of last blocks in which the spatial token's attention masks the keys; between 1 and
            `num_hidden_layers`.
        area_target (`float`, *optional*, defaults to 0.25):
            Lambda of the area loss: the share of the image, in (0, 1), that the localization map should cover on
            average over a batch. The paper uses 0.25 on CUB-200-2011 and 0.35 on ImageNet.
        area_loss_weight (`float`, *optional*, defaults to 1.0):
            Weight of the area loss; not negative.
        normalization_loss_weight (`float`, *optional*, defaults to 1.0):
            Weight of the normalization loss, which pushes map values towards 0 or 1; not negative.
        area_band_loss_weight (`float`, *optional*, defaults to 0.0):
            Weight of a penalty on single images whose mean map value is further than `area_band_tolerance` from
            `area_target`; not negative. Beyond the paper, off by default: it helps when one class switches its whole
            map on or off (`docs/training.md` has the measurements).
        area_band_tolerance (`float`, *optional*, defaults to 0.1):
            Half width of the band around `area_target` in which an image's mean map value is not penalised.
        classifier_kernel_size (`int`, *optional*, defaults to 3):
            Side of the classifier's convolution over the patch grid; odd.
        drop_path_rate (`float`, *optional*, defaults to 0.1):
            Stochastic depth of the last block, in [0, 1); it grows linearly from 0 at the first block.
        layerscale_value (`float`, *optional*):
            Initial value of LayerScale. `None` builds blocks without LayerScale, as in ViT and DeiT; a number
            switches it on, as DINOv2 backbones need.
        layer_norm_eps (`float`, *optional*, defaults to 1e-6):
            Epsilon of the layer normalizations.

    Raises:
        `huggingface_hub.errors.StrictDataclassError`: if a field has the wrong type, or a value outside its range. The
            message names the field.

    Example:

    ```python
    >>> from transformers_sat import SATConfig, SATForWeaklySupervisedLocalization

    >>> configuration = SATConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_labels=200)
    >>> model = SATForWeaklySupervisedLocalization(configuration)
    ```"""

    model_type = "sat"
    # What Trainer should not gather over an evaluation: everything but the logits and the localization maps.
    keys_to_ignore_at_inference = ["loss_dict", "class_maps", "spatial_maps", "hidden_states", "attentions"]

    layer_norm_eps: float = 1e-6
    num_spatial_layers: int = 3
    area_target: float = 0.25
    area_loss_weight: float | int = 1.0
    normalization_loss_weight: float | int = 1.0
    area_band_loss_weight: float | int = 0.0
    area_band_tolerance: float | int = 0.1
    classifier_kernel_size: int = 3
    drop_path_rate: float | int = 0.1
    layerscale_value: float | int | None = None

    def validate_num_spatial_layers(self):
        if not 1 <= self.num_spatial_layers <= self.num_hidden_layers:
            raise ValueError(
                f"`num_spatial_layers` must be between 1 and `num_hidden_layers` ({self.num_hidden_layers}), "
                f"got {self.num_spatial_layers}."
            )

    def validate_heads(self):
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads != 0:
            raise ValueError(
                f"`num_attention_heads` must be positive and divide `hidden_size` ({self.hidden_size}), got "
                f"{self.num_attention_heads}."
            )

    def validate_image_and_patch_size(self):
        for name, image_side, patch_side in zip(("height", "width"), _pair(self.image_size), _pair(self.patch_size)):
            if patch_side < 1 or image_side < patch_side or image_side % patch_side != 0:
                raise ValueError(
                    f"`image_size` must be a multiple of `patch_size`, got {name} {image_side} for patches of "
                    f"{patch_side}."
                )

    def validate_ranges(self):
        if not 0.0 < self.area_target < 1.0:
            raise ValueError(f"`area_target` must be between 0 and 1 (exclusive), got {self.area_target}.")
        if not 0.0 <= self.drop_path_rate < 1.0:
            raise ValueError(f"`drop_path_rate` must be at least 0 and below 1, got {self.drop_path_rate}.")
        if self.classifier_kernel_size < 1 or self.classifier_kernel_size % 2 == 0:
            raise ValueError(f"`classifier_kernel_size` must be odd and positive, got {self.classifier_kernel_size}.")
        for name in (
            "area_loss_weight",
            "normalization_loss_weight",
            "area_band_loss_weight",
            "area_band_tolerance",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")


def _pair(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a side or a pair of sides."""
    return (size, size) if isinstance(size, int) else tuple(size)


__all__ = ["SATConfig"]
