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
"""Fine-tuning: a Trainer that measures localization, and what a run needs around it."""

from .accumulation import WholeBatch, look_at_whole_batch
from .arguments import DataArguments, EvaluationArguments, ModelArguments
from .divergence import DivergenceWatch, TrainingDivergedError
from .metrics import LocalizationMetrics
from .setting_up import set_up_model, set_up_splits, set_up_training_data, splits_to_measure, start_model, start_name
from .trainer import LocalizationTrainer, count_parameters, freeze_encoder


__all__ = [
    "DataArguments",
    "DivergenceWatch",
    "EvaluationArguments",
    "LocalizationMetrics",
    "LocalizationTrainer",
    "ModelArguments",
    "TrainingDivergedError",
    "WholeBatch",
    "count_parameters",
    "freeze_encoder",
    "look_at_whole_batch",
    "set_up_model",
    "set_up_splits",
    "set_up_training_data",
    "splits_to_measure",
    "start_model",
    "start_name",
]
