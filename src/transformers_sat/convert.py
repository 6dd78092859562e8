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
"""Weights from elsewhere: the authors' checkpoints, and the encoders to start training from."""

import math
import os
import re
from collections.abc import Sequence

import torch
from transformers import PreTrainedConfig
from transformers.utils import CONFIG_NAME

from .model.backbones_sat import (
    backbone_config,
    fill_encoder,
    fit_positions,
    load_whole,
    patch_grid,
    read_backbone,
)
from .model.configuration_sat import SATConfig
from .model.image_processing_sat import SATImageProcessor
from .model.modeling_sat import SATForWeaklySupervisedLocalization
from .safe_loading import (
    ModelFiles,
    check_floating_point,
    listed,
    load_weights,
    model_from_weights,
    one_line,
    read_checked_weights,
    read_config,
    read_processor_settings,
    refusing,
)


# The authors' evaluation cuts the middle 224 x 224 out of 256 x 256.
AUTHORS_RESIZE = 256 / 224


def convert_original_state_dict(
    state_dict: dict[str, torch.Tensor], num_attention_heads: int | None = None
) -> SATForWeaklySupervisedLocalization:
    """
    A model with the weights of the authors' implementation.

    Args:
        state_dict (`dict[str, torch.Tensor]`):
            Weights under the authors' names (`blocks.0.attn.qkv.weight`, ...), with or without the `module.` prefix of
            a parallel wrapper.
        num_attention_heads (`int`, *optional*):
            Number of attention heads, which the weights do not tell; `hidden_size / 64` by default, as in DeiT.

    Returns:
        [`SATForWeaklySupervisedLocalization`]: in evaluation mode. All sizes are read from the weights; `area_target`
        is 0.35 for 1000 classes (ImageNet) and the default otherwise.

    Raises:
        `ValueError`: if weights are missing, unknown, of the wrong shape or not finite, or the number of heads does not
            divide the hidden size.
    """
    if not isinstance(state_dict, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state_dict.items()
    ):
        raise ValueError("Not a state dict of the authors' SAT: it must be a dictionary of tensors by their names.")
    state_dict = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    # the fixed smoothing kernel of the normalization loss, stored as a parameter
    state_dict.pop("weight", None)
    check_floating_point(state_dict)
    for name, tensor in state_dict.items():
        # a view can repeat a few numbers as often as it likes
        if (
            tensor.layout != torch.strided
            or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size()
        ):
            raise ValueError(
                f"Not a state dict of the authors' SAT: {one_line(name)} does not hold all of its numbers."
            )
    try:
        config = _original_config(state_dict, num_attention_heads)
    except KeyError as error:
        raise ValueError(f"Not a state dict of the authors' SAT: it has no tensor named {error}.") from error
    converted = {}
    for name, tensor in state_dict.items():
        converted.update(_convert_original_tensor(name, tensor))
    model = model_from_weights(
        SATForWeaklySupervisedLocalization, config, converted, "the authors' weights", dtype=torch.float32
    )
    unknown = converted.keys() - model.state_dict().keys()
    if unknown:
        raise ValueError(f"Not a state dict of the authors' SAT: unknown tensors, here named {listed(unknown)}.")
    return model


def load_original_checkpoint(
    path: str | os.PathLike, num_attention_heads: int | None = None, class_names: Sequence[str] | None = None
) -> tuple[SATForWeaklySupervisedLocalization, SATImageProcessor]:
    """
    Reads a checkpoint file of the authors (`.pth.tar`), without unpickling anything but tensors and plain values.

    Args:
        path (`str` or `os.PathLike`):
            The file: a dictionary with the weights under `model` and the threshold found on the test set under
            `best_thr`, or the weights alone.
        num_attention_heads (`int`, *optional*):
            See [`convert_original_state_dict`].
        class_names (`Sequence[str]`, *optional*):
            Names of the classes, in the order of their numbers. The file has none.

    Returns:
        `tuple` of [`SATForWeaklySupervisedLocalization`] and [`SATImageProcessor`]: the processor shows the model what
        the authors' evaluation does (resize to 256/224 of the model's size, centre crop), and holds the file's threshold,
        or keeps its default where the file has 0, which means that none was searched.

    Raises:
        `FileNotFoundError`: if there is no such file.
        `ValueError`: if the file is not such a checkpoint, or would have to run code to be read; or if there are not as
            many class names as classes, or two are the same.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"No checkpoint file at {path}.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever bytes that are no checkpoint make the reader raise
        raise ValueError(
            f"{path} is not a checkpoint that can be read safely (tensors and plain values only): {one_line(error)}"
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, expected a dictionary of weights.")

    threshold = checkpoint.get("best_thr", 0) if "model" in checkpoint else 0
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise ValueError(f"`best_thr` in {path} must be a threshold between 0 and 1, got {threshold!r}.")
    with refusing(os.fspath(path)):
        model = convert_original_state_dict(checkpoint.get("model", checkpoint), num_attention_heads)
    if class_names is not None:
        _name_classes(model.config, class_names)
    side = model.config.image_size
    resized = round(side * AUTHORS_RESIZE)
    processor = SATImageProcessor(
        size={"height": resized, "width": resized}, do_center_crop=True, crop_size={"height": side, "width": side}
    )
    if threshold > 0:
        processor.localization_threshold = float(threshold)
    return model, processor


def _name_classes(config: SATConfig, names: Sequence[str]):
    if len(names) != config.num_labels:
        raise ValueError(
            f"`class_names` must be {config.num_labels}, one for each class of the model, got {len(names)}."
        )
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise ValueError(f"`class_names` must differ, got {listed(repeated)} more than once.")
    config.id2label = dict(enumerate(names))
    config.label2id = {name: label for label, name in enumerate(names)}


def load_backbone(
    pretrained_model_name_or_path: str | os.PathLike,
    token: str | bool | None = None,
    revision: str = "main",
    **overrides,
) -> SATForWeaklySupervisedLocalization:
    """
    A SAT model to train, started from a repository or folder of one of the encoders that
    [`SATForWeaklySupervisedLocalization.from_backbone`] takes (or of a SAT model, to go on).

    Position embeddings are resized when `image_size` or `patch_size` ask for another grid, a DeiT's distillation token
    is left out, and the spatial token, its position embedding and the classifier are new. A SAT model keeps them, its
    classifier if `num_labels` stays.

    Args:
        pretrained_model_name_or_path (`str` or `os.PathLike`):
            Repository on the Hub or folder, with any head; old and new checkpoint layouts.
        token (`str` or `bool`, *optional*):
            Access token for the Hub.
        revision (`str`, *optional*, defaults to `"main"`):
            Branch, tag or commit.
        overrides:
            Fields of [`SATConfig`] that differ from the repository's, such as `num_labels`, `id2label`, `image_size` or
            `area_target`.

    Returns:
        [`SATForWeaklySupervisedLocalization`]

    Raises:
        `OSError`: if there is no such repository or folder, or it has no configuration or weights.
        `ValueError`: if the repository holds another kind of model, a damaged file, weights that are missing, do not fit
            or are not finite, or pickled weights only. The message is one line.
    """
    files = ModelFiles(pretrained_model_name_or_path, token, revision)
    source_config = read_config(files)
    if source_config.model_type == SATConfig.model_type:
        return _model_to_go_on(source_config, files, overrides)
    # before the weights are read: a backbone's own configuration has no bounds
    with refusing(f"{files.name} as a SAT model"):
        backbone, _ = read_backbone(files.read_json(CONFIG_NAME))
        config = backbone_config(backbone, source_config, read_processor_settings(files), **overrides)
    if backbone.model_class is None:
        state_dict = read_checked_weights(SATForWeaklySupervisedLocalization, config, files)
    else:
        source = load_weights(
            backbone.model_class, source_config, files, may_lack=backbone.left_out, **backbone.options
        )
        state_dict = source.state_dict()
    model = SATForWeaklySupervisedLocalization(config)
    with refusing(files.name):
        fill_encoder(model.vit, backbone, source_config, state_dict)
    return model


def _model_to_go_on(source_config: SATConfig, files: ModelFiles, overrides: dict):
    with refusing(f"{files.name} as a SAT model"):
        config = _config_to_go_on(source_config, overrides)
    source = load_weights(SATForWeaklySupervisedLocalization, source_config, files)
    model = SATForWeaklySupervisedLocalization(config)
    load_whole(model.vit, fit_positions(source.vit.state_dict(), patch_grid(source_config), config))
    if source.config.num_labels == model.config.num_labels:
        load_whole(model.classifier, source.classifier.state_dict())
    return model


def backbone_processor(
    pretrained_model_name_or_path: str | os.PathLike,
    image_size: int | tuple[int, int],
    token: str | bool | None = None,
    revision: str = "main",
) -> SATImageProcessor:
    """An image processor for a model from [`load_backbone`]: its `image_size`, and the backbone's mean and deviation."""
    settings = read_processor_settings(ModelFiles(pretrained_model_name_or_path, token, revision)) or {}
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    size = {"height": height, "width": width}
    kept = {name: settings[name] for name in ("image_mean", "image_std") if settings.get(name) is not None}
    with refusing(f"The image processor of {pretrained_model_name_or_path}"):
        return SATImageProcessor(size=size, crop_size=size, **kept)


def _config_to_go_on(source: SATConfig, overrides: dict) -> SATConfig:
    names = set(SATConfig.__dataclass_fields__) - set(PreTrainedConfig.__dataclass_fields__)
    # other classes than the source's have no names
    names |= set() if "num_labels" in overrides else {"id2label", "label2id"}
    return SATConfig(**({name: getattr(source, name) for name in names} | overrides))


def _original_config(state_dict: dict[str, torch.Tensor], num_attention_heads: int | None) -> SATConfig:
    dimensions = {"patch_embed.proj.weight": 4, "head.weight": 4, "pos_embed": 3, "blocks.0.mlp.fc1.weight": 2}
    for name, num_dimensions in dimensions.items():
        if state_dict[name].ndim != num_dimensions:
            raise ValueError(f"`{name}` must have {num_dimensions} dimensions, got {tuple(state_dict[name].shape)}.")
    hidden_size, num_channels, patch_height, patch_width = state_dict["patch_embed.proj.weight"].shape
    num_labels = state_dict["head.weight"].shape[0]
    if num_attention_heads is None:
        num_attention_heads = max(hidden_size // 64, 1)
    if num_attention_heads < 1 or hidden_size % num_attention_heads != 0:
        raise ValueError(
            f"`num_attention_heads` must divide the hidden size of {hidden_size}, got {num_attention_heads}."
        )
    return SATConfig(
        hidden_size=hidden_size,
        num_channels=num_channels,
        patch_size=patch_height if patch_height == patch_width else (patch_height, patch_width),
        image_size=patch_height * math.isqrt(state_dict["pos_embed"].shape[1] - 1),
        num_hidden_layers=sum(name.endswith("attn.qkv.weight") for name in state_dict),
        num_attention_heads=num_attention_heads,
        intermediate_size=state_dict["blocks.0.mlp.fc1.weight"].shape[0],
        qkv_bias=any(name.endswith("attn.qkv.bias") for name in state_dict),
        classifier_kernel_size=state_dict["head.weight"].shape[-1],
        num_labels=num_labels,
        **({"area_target": 0.35} if num_labels == 1000 else {}),
    )


# The authors' name -> ours; a name that ends in a dot is a prefix.
_ORIGINAL_NAMES = {
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "loc_token": "vit.embeddings.spatial_token",
    "loc_embed": "vit.embeddings.spatial_position_embedding",
    "patch_embed.proj.": "vit.embeddings.patch_embeddings.projection.",
    "norm.": "vit.layernorm.",
    "head.": "classifier.convolution.",
}
_ORIGINAL_BLOCK_NAMES = {
    "norm1.": "layernorm_before.",
    "norm2.": "layernorm_after.",
    "attn.proj.": "attention.o_proj.",
    "mlp.": "mlp.",
}


def _convert_original_tensor(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """One tensor of the authors' as one of ours, or three: their queries, keys and values are fused."""
    prefix, names = "", _ORIGINAL_NAMES
    if re.fullmatch(r"blocks\.\d+\..+", name):
        _, index, name = name.split(".", 2)
        prefix, names = f"vit.layers.{index}.", _ORIGINAL_BLOCK_NAMES
        if name.startswith("attn.qkv."):
            if tensor.ndim == 0 or len(tensor) == 0 or len(tensor) % 3 != 0:
                raise ValueError(
                    f"Not a state dict of the authors' SAT: blocks.{index}.{name} has shape {tuple(tensor.shape)}, which is "
                    "not that of queries, keys and values."
                )
            kind = name.removeprefix("attn.qkv.")
            projections = zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True)
            return {f"{prefix}attention.{projection}.{kind}": part.clone() for projection, part in projections}
    for original, ours in names.items():
        if name == original or (original.endswith(".") and name.startswith(original)):
            return {prefix + ours + name.removeprefix(original): tensor}
    raise ValueError(
        f"Not a state dict of the authors' SAT: unknown tensor {prefix and 'in a block: '}{one_line(repr(name))}."
    )


__all__ = [
    "backbone_processor",
    "convert_original_state_dict",
    "load_backbone",
    "load_original_checkpoint",
    "patch_grid",
]
