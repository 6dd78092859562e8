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
"""Transformers' Trainer with what SAT's recipe adds to it."""

import torch
from torch import nn
from transformers import TrainerCallback
from transformers.trainer_pt_utils import get_parameter_names

from ..data.streaming import StreamedLocalizationDataset
from ..model.modeling_sat import SATForWeaklySupervisedLocalization
from .divergence import DivergenceWatch
from .publishing import PublishingTrainer


# Beside biases and normalizations, the recipe leaves tokens and position embeddings out of weight decay (section 4.1).
NO_WEIGHT_DECAY = [r"bias", r"norm", r"lambda1", r"cls_token", r"spatial_token", r"position_embedding"]

# What no ViT checkpoint fills: the spatial token with its position, and the classifier.
NEW_PARAMETERS = ("vit.embeddings.spatial_token", "vit.embeddings.spatial_position_embedding", "classifier.")


class EpochCallback(TrainerCallback):
    """
    Tells the training data the epoch. Accelerate's loaders do so themselves, but not with several processes, nor when
    training goes on in the middle of an epoch.
    """

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        if hasattr(train_dataloader.dataset, "set_epoch"):
            train_dataloader.dataset.set_epoch(int(state.epoch))


# What the data give beside the model's inputs: true boxes, and the number of each row.
NOT_FOR_THE_MODEL = ("boxes", "rows")


class LocalizationTrainer(PublishingTrainer):
    """
    [`~transformers.Trainer`] that logs each term of the loss, keeps true boxes from the model, and leaves biases,
    normalizations, tokens and position embeddings out of weight decay.

    It stops with [`TrainingDivergedError`] before the first step whose loss or gradient is not finite. Its checkpoints
    ([`SavingTrainer`]) are complete or not there, and its pushes ([`PublishingTrainer`]) hold the model alone.

    Args:
        new_parameters_learning_rate (`float`, *optional*):
            Learning rate of the spatial token, its position and the classifier; that of the rest if not given. The
            schedule scales both.
        args, kwargs: Trainer's.
    """

    def __init__(self, *args, new_parameters_learning_rate: float | None = None, **kwargs):
        self.new_parameters_learning_rate = new_parameters_learning_rate
        super().__init__(*args, **kwargs)
        self.add_callback(EpochCallback())
        # it would log a loss that is not finite as the mean of those before, and wait for the device at every batch
        self.args.logging_nan_inf_filter = False
        self._divergence = DivergenceWatch(
            self.accelerator,
            self.train_dataset,
            self.args.output_dir,
            save=lambda folder: self.save_model(folder, _internal_call=True),
        )
        self._loss_terms = {}
        self._num_loss_terms = 0

    def _get_train_sampler(self, train_dataset=None):
        train_dataset = self.train_dataset if train_dataset is None else train_dataset
        if isinstance(train_dataset, StreamedLocalizationDataset):
            return train_dataset.sampler()
        return super()._get_train_sampler(train_dataset)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        return get_parameter_names(model, [nn.LayerNorm], NO_WEIGHT_DECAY)

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        is_made_here = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_made_here and self.new_parameters_learning_rate is not None:
            named = (self.model if model is None else model).named_parameters()
            new = {
                id(parameter) for name, parameter in named if name.removeprefix("module.").startswith(NEW_PARAMETERS)
            }
            for group in list(optimizer.param_groups):
                moved = [parameter for parameter in group["params"] if id(parameter) in new]
                if moved:
                    group["params"] = [parameter for parameter in group["params"] if id(parameter) not in new]
                    optimizer.add_param_group(group | {"params": moved, "lr": self.new_parameters_learning_rate})
        return optimizer

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        known = {name: value for name, value in inputs.items() if name not in NOT_FOR_THE_MODEL}
        loss, outputs = super().compute_loss(model, known, return_outputs=True, num_items_in_batch=num_items_in_batch)
        if model.training:
            self._divergence.see(loss, inputs)
            # summed where they are: reading them at each step would make an accelerator wait
            for name, term in outputs["loss_dict"].items():
                self._loss_terms[name] = self._loss_terms.get(name, 0.0) + term
            self._num_loss_terms += 1
        return (loss, outputs) if return_outputs else loss

    def _get_grad_norm(self, model, grad_norm=None):
        # the last that Trainer does before it makes the step
        grad_norm = super()._get_grad_norm(model, grad_norm)
        self._divergence.check(self.state.global_step + 1, grad_norm)
        return grad_norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._num_loss_terms > 0:
            for name, total in self._loss_terms.items():
                mean = self.accelerator.gather(total / self._num_loss_terms).mean().item()
                logs[f"{name}_loss"] = round(mean, 4)
            self._loss_terms, self._num_loss_terms = {}, 0
        super().log(logs, start_time)


def freeze_encoder(model: SATForWeaklySupervisedLocalization, trainable_layers: int):
    """
    Leaves the last `trainable_layers` blocks, the final normalization, the spatial token with its position and the
    classifier to train, and freezes the rest of the encoder.

    Args:
        model ([`SATForWeaklySupervisedLocalization`]): the model, changed in place.
        trainable_layers (`int`): number of last blocks to train; 0 trains none.

    Raises:
        `ValueError`: if the model has fewer blocks.
    """
    num_layers = model.config.num_hidden_layers
    if not 0 <= trainable_layers <= num_layers:
        raise ValueError(f"`trainable_layers` must be between 0 and {num_layers}, got {trainable_layers}.")
    model.vit.requires_grad_(False)
    trained = [model.vit.layernorm, *model.vit.layers[num_layers - trainable_layers :]]
    for module in trained:
        module.requires_grad_(True)
    for parameter in (model.vit.embeddings.spatial_token, model.vit.embeddings.spatial_position_embedding):
        parameter.requires_grad_(True)


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Number of parameters, and of those that train."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


__all__ = ["LocalizationTrainer", "count_parameters", "freeze_encoder"]
