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
"""A training of seconds: a tiny model, twelve squares, three steps an epoch."""

from pathlib import Path

import datasets
import torch
from sat_testing import tiny_model
from square_images import square_split
from transformers import TrainingArguments

from transformers_sat import SATImageProcessor
from transformers_sat.data import LocalizationDataset, TrainingAugmentation, collate_localization
from transformers_sat.training import LocalizationTrainer


SIZE = {"height": 32, "width": 32}
PROCESSOR = SATImageProcessor(size=SIZE, crop_size=SIZE)


def training_data(count: int = 12) -> LocalizationDataset:
    squares = square_split(count).cast_column("image", datasets.Image(decode=False))
    return LocalizationDataset(squares, PROCESSOR, augmentation=TrainingAugmentation(32))


def small_trainer(
    output_dir: Path,
    data: LocalizationDataset | None = None,
    trainer_class=LocalizationTrainer,
    model=None,
    **arguments,
) -> LocalizationTrainer:
    """Four steps, with stochastic depth, so that the random state counts too; a checkpoint after the third and the last."""
    torch.manual_seed(0)
    arguments = {
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 3,
        "save_total_limit": 1,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "use_cpu": True,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
    } | arguments
    return trainer_class(
        model=tiny_model(gain=3.0, num_labels=3, drop_path_rate=0.4) if model is None else model,
        args=TrainingArguments(output_dir=str(output_dir), **arguments),
        train_dataset=training_data() if data is None else data,
        eval_dataset=training_data(4),
        data_collator=collate_localization,
        processing_class=PROCESSOR,
    )


def weight_bytes(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


__all__ = ["PROCESSOR", "small_trainer", "training_data", "weight_bytes"]
