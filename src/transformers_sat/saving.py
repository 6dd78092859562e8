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
"""A model with its image processor in a folder, replaced whole or not at all, and never with weights that are not finite."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import CONFIG_NAME, IMAGE_PROCESSOR_NAME, PROCESSOR_NAME

from .writing import replacing_files, write_json


# What `save_pretrained` may call weights. Those of an earlier model would win over the new ones, or lie beside them for ever.
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
# Where a localization threshold may stand, in the order in which Transformers looks for an image processor.
SETTINGS_FILES = (PROCESSOR_NAME, IMAGE_PROCESSOR_NAME, CONFIG_NAME)


class NonFiniteWeightsError(ValueError):
    """Weights are NaN or infinite."""


def check_finite_weights(state_dict: Mapping[str, torch.Tensor]):
    """
    Looks at all weights on their device, and waits for it once.

    Args:
        state_dict (`Mapping[str, torch.Tensor]`): weights by name, of any shapes.

    Raises:
        [`NonFiniteWeightsError`]: if any is NaN or infinite; the message has the first name.
    """
    floating = {name: tensor for name, tensor in state_dict.items() if tensor.is_floating_point()}
    if not floating:
        return
    # one number for each tensor, brought together before the first is read
    device = next(iter(floating.values())).device
    finite = torch.stack([tensor.isfinite().all().to(device) for tensor in floating.values()]).tolist()
    wrong = [name for name, is_finite in zip(floating, finite) if not is_finite]
    if wrong:
        raise NonFiniteWeightsError(
            f"{len(wrong)} of {len(state_dict)} weights are NaN or infinite, `{wrong[0]}` first: they are not saved."
        )


def save_model(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor | None,
    folder: str | os.PathLike,
    is_writer: bool = True,
    **save_options,
):
    """
    Saves a model and its image processor. Until all of their files are complete, what is in the folder stays as it is.

    Args:
        model ([`~transformers.PreTrainedModel`]): the model.
        image_processor ([`~transformers.BaseImageProcessor`], *optional*): its image processor.
        folder (`str` or `os.PathLike`): where to write; made if it does not exist. Other files in it stay.
        is_writer (`bool`, *optional*, defaults to `True`):
            Whether this process writes. All processes must call this, so that all stop if there is nothing to save.
        save_options: of the model's `save_pretrained`, such as `max_shard_size` or `state_dict`.

    Raises:
        [`NonFiniteWeightsError`]: if weights are NaN or infinite.
        `OSError`: if the files cannot be written.
    """
    state_dict = save_options.get("state_dict")
    check_finite_weights(model.state_dict() if state_dict is None else state_dict)
    if not is_writer:
        return
    with replacing_files(folder) as unfinished:
        model.save_pretrained(unfinished, **save_options)
        if image_processor is not None:
            image_processor.save_pretrained(unfinished)
        written = {path.name for path in unfinished.iterdir()}
    for pattern in WEIGHT_FILES:
        for path in Path(folder).glob(pattern):
            if path.name not in written:
                path.unlink()


def save_threshold(folder: str | os.PathLike, localization_threshold: float) -> list[str]:
    """
    Sets the localization threshold of a saved model: in the image processor's file and wherever else it stands. Each
    other setting and each other file stays as it is.

    Args:
        folder (`str` or `os.PathLike`): the model's folder.
        localization_threshold (`float`): cut of the normalized map, in [0, 1].

    Returns:
        `list[str]`: names of the files that have it now.

    Raises:
        `ValueError`: if the threshold is out of range, or a file does not hold an object in JSON.
        `OSError`: if no file holds the settings of an image processor, or one cannot be written; nothing has changed then.
    """
    if not 0 <= localization_threshold <= 1:
        raise ValueError(f"`localization_threshold` must be from 0 to 1, got {localization_threshold}.")
    contents = {name: read_object(Path(folder, name)) for name in SETTINGS_FILES if Path(folder, name).is_file()}
    # of the two files that an image processor's settings may stand in, Transformers reads the first
    places = {
        name: content["image_processor"] if name == PROCESSOR_NAME else content
        for name, content in contents.items()
        if name != PROCESSOR_NAME or isinstance(content.get("image_processor"), dict)
    }
    processor = next((name for name in (PROCESSOR_NAME, IMAGE_PROCESSOR_NAME) if name in places), None)
    if processor is None:
        raise FileNotFoundError(f"{folder} has no {IMAGE_PROCESSOR_NAME}; save the model's image processor there.")
    written = [name for name, place in places.items() if name == processor or "localization_threshold" in place]
    with replacing_files(folder) as unfinished:
        for name in written:
            places[name]["localization_threshold"] = localization_threshold
            write_json(unfinished / name, contents[name])
    return written


def read_object(path: Path) -> dict:
    """The object that a file in JSON holds; `ValueError` with the file's name if it holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also text that is not UTF-8
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold an object, holds {type(content).__name__}.")
    return content


def save_image_processor(image_processor: BaseImageProcessor, folder: str | os.PathLike):
    """Saves an image processor, with its threshold, beside a model; until it is complete, the one there stays."""
    with replacing_files(folder) as unfinished:
        image_processor.save_pretrained(unfinished)


__all__ = ["NonFiniteWeightsError", "check_finite_weights", "save_image_processor", "save_model", "save_threshold"]
