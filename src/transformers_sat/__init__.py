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
SAT (Spatial-Aware Token) for weakly supervised object localization, for Hugging Face Transformers.

Importing the package registers the model with Transformers' Auto classes and pipelines. Metrics, data, training and the
command line are in submodules and load on their own import.
"""

import importlib
import sys
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from .model.configuration_sat import SATConfig
    from .model.image_processing_pil_sat import SATImageProcessorPil
    from .model.image_processing_sat import SATImageProcessor
    from .model.modeling_sat import (
        SATForWeaklySupervisedLocalization,
        SATForWeaklySupervisedLocalizationOutput,
        SATModel,
        SATModelOutput,
        SATPreTrainedModel,
    )
    from .model.pipeline_sat import WeaklySupervisedLocalizationPipeline


__version__ = "0.1.0"

MODULES = {
    "SATConfig": "configuration_sat",
    "SATForWeaklySupervisedLocalization": "modeling_sat",
    "SATForWeaklySupervisedLocalizationOutput": "modeling_sat",
    "SATImageProcessor": "image_processing_sat",
    "SATImageProcessorPil": "image_processing_pil_sat",
    "SATModel": "modeling_sat",
    "SATModelOutput": "modeling_sat",
    "SATPreTrainedModel": "modeling_sat",
    "WeaklySupervisedLocalizationPipeline": "pipeline_sat",
}

# The command starts in a module beside this package, which is how it is known here: it registers when it has read its
# options and runs, so that `transformers-sat --help` loads neither Transformers nor PyTorch. Everybody else can use the
# Auto classes as soon as this import is done.
if "transformers_sat_command" not in sys.modules:
    from .registration import register

    register()


def __getattr__(name: str):
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".model.{MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *MODULES})


__all__ = [
    "SATConfig",
    "SATForWeaklySupervisedLocalization",
    "SATForWeaklySupervisedLocalizationOutput",
    "SATImageProcessor",
    "SATImageProcessorPil",
    "SATModel",
    "SATModelOutput",
    "SATPreTrainedModel",
    "WeaklySupervisedLocalizationPipeline",
]
