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
"""Loading of models that others made, for the commands: weights in safetensors only, and no code but this package's."""

import os

import torch
from transformers import AutoConfig, AutoImageProcessor, pipeline
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_INDEX_NAME, WEIGHTS_NAME
from transformers.utils.hub import has_file

from .configuration_sat import SATConfig
from .modeling_sat import SATForWeaklySupervisedLocalization
from .pipeline_sat import WeaklySupervisedLocalizationPipeline


def load_localizer(
    pretrained_model_name_or_path: str | os.PathLike,
    device: int | str | torch.device | None = None,
    token: str | bool | None = None,
    revision: str = "main",
) -> WeaklySupervisedLocalizationPipeline:
    """
    The `weakly-supervised-localization` pipeline with a model of the Hub or of a folder. Code that lies beside the
    weights is not run.

    Args:
        pretrained_model_name_or_path (`str` or `os.PathLike`):
            Repository on the Hub or folder of a SAT model.
        device (`int`, `str` or `torch.device`, *optional*):
            Where to run, such as `cuda:0`; Transformers chooses by default.
        token (`str` or `bool`, *optional*):
            Access token for the Hub.
        revision (`str`, *optional*, defaults to `"main"`):
            Branch, tag or commit.

    Returns:
        [`WeaklySupervisedLocalizationPipeline`]

    Raises:
        `OSError`: if there is no such repository or folder.
        `ValueError`: if it holds another kind of model, or its weights are pickled.
    """
    name = os.fspath(pretrained_model_name_or_path)
    config = AutoConfig.from_pretrained(name, token=token, revision=revision, trust_remote_code=False)
    if config.model_type != SATConfig.model_type:
        raise ValueError(
            f"{name} is a `{config.model_type}` model and has no localization map: give a SAT model, such as "
            "`transformers-sat convert backbone` makes one to train."
        )
    refuse_pickled_weights(name, token=token, revision=revision)
    model = SATForWeaklySupervisedLocalization.from_pretrained(name, dtype="auto", token=token, revision=revision)
    image_processor = AutoImageProcessor.from_pretrained(name, token=token, revision=revision, trust_remote_code=False)
    return pipeline(
        "weakly-supervised-localization",
        model=model,
        image_processor=image_processor,
        # by its class: a repository that brings a pipeline of its own would be asked for that one's code
        pipeline_class=WeaklySupervisedLocalizationPipeline,
        device=device,
    )


def refuse_pickled_weights(
    pretrained_model_name_or_path: str | os.PathLike, token: str | bool | None = None, revision: str = "main"
):
    """
    Stops where `from_pretrained` would fall back to a pickle, for want of safetensors.

    Args:
        pretrained_model_name_or_path (`str` or `os.PathLike`): repository on the Hub or folder.
        token (`str` or `bool`, *optional*): access token for the Hub.
        revision (`str`, *optional*, defaults to `"main"`): branch, tag or commit.

    Raises:
        `ValueError`: if there are pickled weights and none in safetensors. (Without any weights nothing is raised;
            `from_pretrained` says what is missing.)
    """
    name = os.fspath(pretrained_model_name_or_path)

    def found(filenames):
        return [filename for filename in filenames if has_file(name, filename, token=token, revision=revision)]

    if found((SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)):
        return
    pickled = found((WEIGHTS_NAME, WEIGHTS_INDEX_NAME))
    if pickled:
        raise ValueError(
            f"{name} has its weights as a pickle only ({pickled[0]}), which can run code when it is read; only safetensors "
            "are loaded. Ask its owner for a model.safetensors, or, if you trust the file, make one: load the model with "
            "Transformers' `from_pretrained` and save it with `save_pretrained`, which writes safetensors."
        )


__all__ = ["load_localizer", "refuse_pickled_weights"]
