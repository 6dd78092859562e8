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
from .registration import register


__version__ = "0.1.0"

register()


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
