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

import math
import os
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import ViTConfig
from transformers.activations import ACT2FN


# Far above any ViT there is (22 billion parameters: 48 blocks, 6144 wide, MLPs of 24576; 4096 px in patches of 16), and low
# enough that a configuration of somebody else's cannot ask for all of the memory.
MAX_LAYERS = 256
MAX_WIDTH = 2**17
MAX_LABELS = 1_000_000
MAX_INPUT_SIDE = 4096
MAX_PATCHES = 2**16
MAX_REGISTER_TOKENS = 1024

# Models whose configuration reads as SAT's, field by field.
READABLE_TYPES = ("sat", "vit", "deit")
# What is said of other models.
HOW_TO_START = (
    "is a model of type {model_type}, whose weights do not fill a SAT model's encoder with this configuration. To train one "
    "from another encoder use `SATForWeaklySupervisedLocalization.from_backbone`."
)

DTYPES = ("float16", "bfloat16", "float32", "float64")


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
        spatial_token_layer (`int`, *optional*, defaults to 0):
            Block that the spatial token joins at, with its position: 0 is the input, the paper's way; at most
            `num_hidden_layers - num_spatial_layers`. The blocks before it are the backbone's own: frozen ones need no
            gradient, and give what they give in the backbone.
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
        label_smoothing (`float`, *optional*, defaults to 0.0):
            Share of each label, in [0, 1), that the classification loss spreads evenly over all classes. Beyond the
            paper, off by default; of one class per image only.
        classifier_kernel_size (`int`, *optional*, defaults to 3):
            Side of the classifier's convolution over the patch grid; odd.
        drop_path_rate (`float`, *optional*, defaults to 0.1):
            Stochastic depth of the last block, in [0, 1); it grows linearly from 0 at the first block.
        layerscale_value (`float`, *optional*):
            Initial value of LayerScale. `None` builds blocks without LayerScale, as in ViT and DeiT; a number
            switches it on, as DINOv2 backbones need.
        num_register_tokens (`int`, *optional*, defaults to 0):
            Number of register tokens: learned tokens between the class token and the patches, without positions. They are
            no part of the map. DINOv2 with registers and DINOv3 have 4.
        use_class_token (`bool`, *optional*, defaults to `True`):
            Whether the sequence begins with a class token; SigLIP has none.
        has_embedding_norm (`bool`, *optional*, defaults to `False`):
            Whether a layer normalization follows the embeddings, as in CLIP. The spatial token does not pass it.
        rope_theta (`float`, *optional*):
            Base of rotary positions, which turn queries and keys of the patches in each block, as in DINOv3 (100). `None`
            adds learned position embeddings to the patches, as in ViT.
        use_gated_mlp (`bool`, *optional*, defaults to `False`):
            Whether the feed-forward layers are gated (`down(act(gate(x)) * up(x))`), as in the largest DINOv3 models.
        layer_norm_eps (`float`, *optional*, defaults to 1e-6):
            Epsilon of the layer normalizations.

    Sizes have upper bounds that no ViT comes near: 256 blocks, widths of 131072, 1 million classes, images of 4096 px a
    side, 65536 patches and 1024 register tokens.

    Raises:
        `huggingface_hub.errors.StrictDataclassError`: if a field has the wrong type, or a value outside its range. The
            message names the field.
        `ValueError`: if `dtype`, `num_labels` or `id2label` is not what it must be.

    Example:

    ```python
    >>> from transformers_sat import SATConfig, SATForWeaklySupervisedLocalization

    >>> configuration = SATConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_labels=200)
    >>> model = SATForWeaklySupervisedLocalization(configuration)
    ```"""

    model_type = "sat"
    # What Trainer should not gather over an evaluation: everything but the logits and the localization maps.
    keys_to_ignore_at_inference = [
        "loss_dict",
        "class_scores",
        "class_maps",
        "spatial_maps",
        "hidden_states",
        "attentions",
    ]

    layer_norm_eps: float = 1e-6
    num_spatial_layers: int = 3
    spatial_token_layer: int = 0
    area_target: float = 0.25
    area_loss_weight: float | int = 1.0
    normalization_loss_weight: float | int = 1.0
    area_band_loss_weight: float | int = 0.0
    area_band_tolerance: float | int = 0.1
    label_smoothing: float | int = 0.0
    classifier_kernel_size: int = 3
    drop_path_rate: float | int = 0.1
    layerscale_value: float | int | None = None
    num_register_tokens: int = 0
    use_class_token: bool = True
    has_embedding_norm: bool = False
    rope_theta: float | int | None = None
    use_gated_mlp: bool = False

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs) -> tuple[dict, dict]:
        """As Transformers' own; stops at a model that would be filled in part, or not at all."""
        config_dict, unused = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        model_type = described_type(config_dict)
        if model_type not in (None, *READABLE_TYPES):
            raise ValueError(f"{pretrained_model_name_or_path} {HOW_TO_START.format(model_type=_short(model_type))}")
        return config_dict, unused

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs):
        """As Transformers' own; where the configuration names code, as that of a published model does, the code with it."""
        if getattr(self, "auto_map", None):
            copy_code(save_directory)
        super().save_pretrained(save_directory, **kwargs)

    @property
    def num_prefix_tokens(self) -> int:
        """Number of tokens before the patches: the class token, if there is one, and the register tokens."""
        return int(self.use_class_token) + self.num_register_tokens

    @property
    def has_independent_classes(self) -> bool:
        """
        Whether each class has a probability of its own (a sigmoid), so that an image can show several classes or none: a
        multi-label model (`problem_type`), or one of a single class unless `problem_type` says otherwise. Else the
        probabilities add up to 1 (a softmax).
        """
        is_one_class = self.num_labels == 1 and self.problem_type is None
        return self.problem_type == "multi_label_classification" or is_one_class

    def __post_init__(self, **kwargs):
        # before Transformers acts on them: it takes any name in torch for a dtype, and makes a name for each label
        dtype = kwargs.get("torch_dtype") if self.dtype is None else self.dtype
        if dtype is not None and str(dtype).removeprefix("torch.") not in DTYPES:
            raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, got {dtype!r}.")
        num_labels = kwargs.get("num_labels")
        if num_labels is not None:
            _check_whole("num_labels", num_labels, MAX_LABELS)
        if self.id2label is not None:
            self.validate_labels()
        super().__post_init__(**kwargs)

    def validate_sizes(self):
        _check_whole("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS)
        for name in ("hidden_size", "num_attention_heads", "intermediate_size", "num_channels"):
            _check_whole(name, getattr(self, name), MAX_WIDTH)

    def validate_labels(self):
        names = self.id2label
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise ValueError(f"`id2label` must have a name for each label, got {_short(names)}.")
        # in files the keys are texts
        if not 1 <= len(names) <= MAX_LABELS or {str(label) for label in names} != set(map(str, range(len(names)))):
            raise ValueError(
                f"`id2label` must name the labels 0, 1, ... without gaps, at most {MAX_LABELS}, got {_short(list(names))}."
            )
        if not isinstance(self.label2id, dict | None):
            raise ValueError(f"`label2id` must have the label of each name, got {_short(self.label2id)}.")

    def validate_hidden_act(self):
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"`hidden_act` must be an activation that Transformers knows, got {self.hidden_act!r}.")

    def validate_num_spatial_layers(self):
        if not 1 <= self.num_spatial_layers <= self.num_hidden_layers:
            raise ValueError(
                f"`num_spatial_layers` must be between 1 and `num_hidden_layers` ({self.num_hidden_layers}), "
                f"got {self.num_spatial_layers}."
            )

    def validate_spatial_token_layer(self):
        last = self.num_hidden_layers - self.num_spatial_layers
        if isinstance(self.spatial_token_layer, bool) or not 0 <= self.spatial_token_layer <= last:
            raise ValueError(
                f"`spatial_token_layer` must be between 0 and `num_hidden_layers - num_spatial_layers` ({last}), as the "
                f"spatial blocks need the token, got {self.spatial_token_layer}."
            )

    def validate_heads(self):
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads != 0:
            raise ValueError(
                f"`num_attention_heads` must be positive and divide `hidden_size` ({self.hidden_size}), got "
                f"{self.num_attention_heads}."
            )
        head_dim = self.hidden_size // self.num_attention_heads
        if self.rope_theta is not None and head_dim % 4 != 0:
            raise ValueError(
                "With rotary positions (`rope_theta`) `hidden_size / num_attention_heads` must be a multiple of 4, got "
                f"{head_dim}."
            )

    def validate_register_tokens(self):
        number = self.num_register_tokens
        if not 0 <= number <= MAX_REGISTER_TOKENS:
            raise ValueError(
                f"`num_register_tokens` must be a whole number between 0 and {MAX_REGISTER_TOKENS}, got {number}."
            )

    def validate_rope_theta(self):
        theta = self.rope_theta
        if theta is not None and not 0.0 < theta < math.inf:
            raise ValueError(f"`rope_theta` must be positive and finite, or None, got {theta}.")

    def validate_image_and_patch_size(self):
        for name in ("image_size", "patch_size"):
            if len(_pair(getattr(self, name))) != 2:
                raise ValueError(f"`{name}` must be a side or a (height, width), got {getattr(self, name)}.")
        if max(_pair(self.image_size)) > MAX_INPUT_SIDE:
            raise ValueError(f"`image_size` must be at most {MAX_INPUT_SIDE} a side, got {self.image_size}.")
        for name, image_side, patch_side in zip(("height", "width"), _pair(self.image_size), _pair(self.patch_size)):
            if patch_side < 1 or image_side < patch_side or image_side % patch_side != 0:
                raise ValueError(
                    f"`image_size` must be a multiple of `patch_size`, got {name} {image_side} for patches of "
                    f"{patch_side}."
                )
        num_patches = math.prod(_pair(self.image_size)) // math.prod(_pair(self.patch_size))
        if num_patches > MAX_PATCHES:
            raise ValueError(
                f"`image_size` must be at most {MAX_PATCHES} patches, got {self.image_size} in patches of "
                f"{self.patch_size}, which are {num_patches}."
            )

    def validate_ranges(self):
        if not 0.0 < self.area_target < 1.0:
            raise ValueError(f"`area_target` must be between 0 and 1 (exclusive), got {self.area_target}.")
        for name in ("drop_path_rate", "hidden_dropout_prob", "attention_probs_dropout_prob", "label_smoothing"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"`{name}` must be at least 0 and below 1, got {getattr(self, name)}.")
        if self.classifier_kernel_size < 1 or self.classifier_kernel_size % 2 == 0:
            raise ValueError(f"`classifier_kernel_size` must be odd and positive, got {self.classifier_kernel_size}.")
        for name in (
            "area_loss_weight",
            "normalization_loss_weight",
            "area_band_loss_weight",
            "area_band_tolerance",
            "initializer_range",
        ):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be finite and not negative, got {getattr(self, name)}.")
        if not 0.0 < self.layer_norm_eps < math.inf:
            raise ValueError(f"`layer_norm_eps` must be positive and finite, got {self.layer_norm_eps}.")
        if self.layerscale_value is not None and not math.isfinite(self.layerscale_value):
            raise ValueError(f"`layerscale_value` must be finite, got {self.layerscale_value}.")


def described_type(fields: dict) -> Any:
    """The kind of model that a `config.json` describes: its `model_type`, or `timm` where it has an architecture of timm."""
    model_type = fields.get("model_type")
    is_of_timm = "architecture" in fields and model_type in (None, "timm_wrapper")
    return "timm" if is_of_timm else model_type


def copy_code(folder: str | os.PathLike):
    """Copies the code that travels with a model, as far as it lies beside this file, into a folder."""
    os.makedirs(folder, exist_ok=True)
    for file in Path(__file__).parent.glob("*.py"):
        if file.name != "__init__.py":
            shutil.copyfile(file, Path(folder, file.name))


def _check_whole(name: str, value: int, largest: int):
    # a bool is an int to Python
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise ValueError(f"`{name}` must be a whole number between 1 and {largest}, got {_short(value)}.")


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _pair(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a side or a pair of sides."""
    return (size, size) if isinstance(size, int) else tuple(size)


__all__ = ["SATConfig"]
