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
"""A model with its image processor in a folder, replaced whole or not at all."""

import os
from pathlib import Path

from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from .writing import replacing_files


# What `save_pretrained` may call weights. Those of an earlier model would win over the new ones, or lie beside them for ever.
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")


def save_model(model: PreTrainedModel, image_processor: BaseImageProcessor, folder: str | os.PathLike, **save_options):
    """
    Saves a model and its image processor. Until all of their files are complete, what is in the folder stays as it is.

    Args:
        model ([`~transformers.PreTrainedModel`]): the model.
        image_processor ([`~transformers.BaseImageProcessor`]): its image processor.
        folder (`str` or `os.PathLike`): where to write; made if it does not exist.
        save_options: of the model's `save_pretrained`, such as `max_shard_size`.

    Raises:
        `OSError`: if the files cannot be written.
    """
    with replacing_files(folder) as unfinished:
        model.save_pretrained(unfinished, **save_options)
        image_processor.save_pretrained(unfinished)
        written = {path.name for path in unfinished.iterdir()}
    for pattern in WEIGHT_FILES:
        for path in Path(folder).glob(pattern):
            if path.name not in written:
                path.unlink()


__all__ = ["save_model"]
