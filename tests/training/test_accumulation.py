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
"""Micro-batches whose gradient is accumulated train as one batch does, the area loss of the whole batch included."""

from functools import partial

import pytest
import torch
from sat_testing import tiny_model
from small_training import small_trainer, training_data
from transformers import Trainer

from transformers_sat.data import collate_localization
from transformers_sat.training import LocalizationTrainer


# Nine images a step, and five in the last one of each epoch.
COUNT, EPOCHS = 14, 3
AS_ONE = {"per_device_train_batch_size": 9}
# 3, 3, 3 and 3, 2
ACCUMULATED = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 3}


@pytest.fixture(scope="module")
def area_target() -> float:
    """Between the areas of the images, so that micro-batches lie on both sides of it."""
    model = tiny_model(gain=10.0, num_labels=3, drop_path_rate=0.0)
    with torch.no_grad():
        maps = model(collate_localization([*training_data(COUNT)])["pixel_values"]).localization_map
    return maps.mean().item()


def trained(
    folder, area_target: float, drop_path_rate: float = 0.0, resumed: str | None = None, **arguments
) -> Trainer:
    model = tiny_model(
        gain=10.0, num_labels=3, drop_path_rate=drop_path_rate, area_target=area_target, area_loss_weight=5.0
    )
    arguments = {"max_steps": -1, "num_train_epochs": EPOCHS, "save_strategy": "no"} | arguments
    arguments |= {"optim": "sgd", "learning_rate": 0.01, "lr_scheduler_type": "constant"}
    trainer = small_trainer(folder, training_data(COUNT), model=model, **arguments)
    trainer.train(resume_from_checkpoint=resumed)
    return trainer


def logged(trainer: Trainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def largest_difference(one: Trainer, other: Trainer) -> float:
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return max((first - second).abs().max().item() for first, second in pairs)


def test_micro_batches_train_as_one_batch(tmp_path, area_target):
    """Loss, terms and weights over six steps, with a smaller last micro-batch; of each micro-batch alone they are others."""
    one = trained(tmp_path, area_target, **AS_ONE)
    accumulated = trained(tmp_path, area_target, **ACCUMULATED)
    assert one.state.global_step == accumulated.state.global_step == 2 * EPOCHS
    assert largest_difference(accumulated, one) < 1e-5
    for name in ("loss", "classification_loss", "area_loss", "normalization_loss", "grad_norm"):
        # rounded to four digits
        assert logged(accumulated, name) == pytest.approx(logged(one, name), abs=1.01e-4), name

    alone = trained(
        tmp_path,
        area_target,
        trainer_class=partial(LocalizationTrainer, area_loss_per_micro_batch=True),
        **ACCUMULATED,
    )
    plain = trained(tmp_path, area_target, trainer_class=Trainer, **ACCUMULATED)
    assert largest_difference(alone, one) > 1e-4
    assert largest_difference(alone, plain) == 0
    assert logged(alone, "area_loss")[0] > logged(one, "area_loss")[0] + 0.01


class Drawn(LocalizationTrainer):
    """Keeps what each forward pass in training drew: its maps."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if not hasattr(self, "maps"):
            self.maps, self.batch_areas = [], []
            model.register_forward_hook(self.keep, with_kwargs=True)
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def keep(self, model, args, kwargs, outputs):
        self.maps.append(outputs.localization_map.detach().clone())
        self.batch_areas.append(kwargs.get("batch_area"))


def test_the_first_look_draws_the_same_stochastic_depth(tmp_path, area_target):
    trainer = trained(tmp_path, area_target, 0.4, trainer_class=Drawn, **ACCUMULATED, max_steps=2)
    looks, passes = [0, 1, 2, 6, 7], [3, 4, 5, 8, 9]
    assert len(trainer.maps) == 10
    for look, learnt in zip(looks, passes, strict=True):
        assert trainer.batch_areas[look] is None
        assert torch.equal(trainer.maps[look], trainer.maps[learnt])
    for step in ([3, 4, 5], [8, 9]):
        area = torch.cat([trainer.maps[number] for number in step]).mean()
        for number in step:
            torch.testing.assert_close(trainer.batch_areas[number].unique(), area[None])


@pytest.mark.parametrize(
    "arguments, option",
    [
        ({"per_device_train_batch_size": 7}, False),
        ({"per_device_train_batch_size": 14, "gradient_accumulation_steps": 2}, False),
        (ACCUMULATED, True),
    ],
    ids=["no accumulation", "one batch in a step", "the option"],
)
def test_nothing_is_looked_at_in_vain(tmp_path, area_target, arguments, option):
    drawn = partial(Drawn, area_loss_per_micro_batch=option)
    trainer = trained(tmp_path, area_target, trainer_class=drawn, **arguments, max_steps=1)
    assert trainer.batch_areas == [None] * (3 if option else 1)


def test_goes_on_with_the_same_stochastic_depth(tmp_path, area_target):
    """From the middle of an epoch, where Trainer sets the random state late: the weights are those of one run."""
    saving = {**ACCUMULATED, "save_strategy": "steps", "save_steps": 3, "save_total_limit": None}
    whole = trained(tmp_path, area_target, 0.4, **saving)
    parts = trained(tmp_path, area_target, 0.4, **saving, resumed=str(tmp_path / "checkpoint-3"))
    assert len(logged(parts, "loss")) == 2 * EPOCHS
    assert largest_difference(parts, whole) == 0


def test_a_loss_of_ones_own(tmp_path, area_target):
    """`compute_loss_func` gets the loss with the whole batch's area, and weighs the micro-batches itself."""
    areas = []

    def own_loss(outputs, labels, num_items_in_batch=None):
        areas.append(outputs["loss_dict"]["area"].item())
        return outputs["loss"] * len(labels) / num_items_in_batch

    one = trained(tmp_path, area_target, **AS_ONE)
    own = trained(
        tmp_path, area_target, trainer_class=partial(LocalizationTrainer, compute_loss_func=own_loss), **ACCUMULATED
    )
    assert largest_difference(own, one) < 1e-5
    assert areas[0] == areas[1] == areas[2]
