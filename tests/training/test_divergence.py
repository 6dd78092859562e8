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
"""A training that diverges stops before the step, says where and on what, and leaves no weights that are not finite."""

import math
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from sat_testing import tiny_model
from small_training import PROCESSOR, small_trainer, training_data, weight_bytes

from transformers_sat import SATForWeaklySupervisedLocalization
from transformers_sat.data import LocalizationDataset
from transformers_sat.hub.publishing import save_with_remote_code
from transformers_sat.saving import NonFiniteWeightsError, check_finite_weights
from transformers_sat.training import DivergenceWatch, LocalizationTrainer, TrainingDivergedError
from transformers_sat.training.checkpoints import checkpoints_in


def all_weights(folder):
    for path in folder.rglob("*.safetensors"):
        for name, tensor in load_file(path).items():
            yield f"{path}: {name}", tensor


def optimizer_tensors(folder):
    for path in folder.rglob("optimizer.pt"):
        for state in torch.load(path, weights_only=True)["state"].values():
            yield from state.values()


class BadGradient(LocalizationTrainer):
    """At one backward pass, counted from 1, one number of the gradient is not finite. The loss stays what it is."""

    bad_pass, bad_value = 2, math.inf

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.passes = 0

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        self.passes += 1
        if self.passes == self.bad_pass:
            self.model.classifier.convolution.bias.grad[0] = self.bad_value
        return loss


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_gradient_that_is_not_finite(tmp_path, value):
    """The second step is not made: the weights are those that one step gives, and so is the checkpoint."""
    small_trainer(tmp_path / "one", max_steps=1, lr_scheduler_type="constant", save_steps=1).train()
    trainer_class = type("Bad", (BadGradient,), {"bad_value": value})
    output = tmp_path / "output"
    trainer = small_trainer(output, trainer_class=trainer_class, lr_scheduler_type="constant", save_steps=1)
    with pytest.raises(TrainingDivergedError) as stopped:
        trainer.train()

    said = str(stopped.value)
    assert said.startswith("Training diverged at step 2: the loss is ")
    assert f"the gradient norm {abs(value)}" in said and "The step was not made" in said
    assert str(output / "before_divergence") in said
    expected = weight_bytes(tmp_path / "one" / "checkpoint-1")
    assert weight_bytes(output / "before_divergence") == expected
    assert [path.name for path in checkpoints_in(output)] == ["checkpoint-1"]
    assert weight_bytes(output / "checkpoint-1") == expected
    # it can be loaded and used
    SATForWeaklySupervisedLocalization.from_pretrained(output / "before_divergence")


def test_a_learning_rate_that_is_too_large(tmp_path):
    trainer = small_trainer(tmp_path, max_steps=30, learning_rate=1e6, save_steps=1)
    with pytest.raises(TrainingDivergedError, match=r"diverged at step \d+: the loss is "):
        trainer.train()
    # what was logged is what was: no zero in place of a loss
    assert all(entry["loss"] > 0 and math.isfinite(entry["loss"]) for entry in trainer.state.log_history)
    written = [*all_weights(tmp_path), *(("optimizer", tensor) for tensor in optimizer_tensors(tmp_path))]
    assert written
    for name, tensor in written:
        assert tensor.isfinite().all(), name


def test_gradients_are_accumulated_before_it_is_looked(tmp_path):
    """The first of two batches of a step is enough, and the images of both are named."""
    trainer = small_trainer(
        tmp_path,
        trainer_class=type("Bad", (BadGradient,), {"bad_pass": 3}),
        gradient_accumulation_steps=2,
        per_device_train_batch_size=2,
    )
    with pytest.raises(TrainingDivergedError, match="step 2: ") as stopped:
        trainer.train()
    named = str(stopped.value).split("Images of the step: ")[1].split(".")[0].split(", ")
    assert len(named) == 4 and all(name.startswith("row ") for name in named)


class WithoutLight(LocalizationDataset):
    """One image has pixels that are not finite."""

    def __getitem__(self, index):
        example = super().__getitem__(index)
        if index == 7:
            example["pixel_values"][0, 3, 4] = torch.nan
        return example


def test_an_image_whose_pixels_are_not_finite_is_named(tmp_path):
    rows = training_data().dataset
    rows = rows.add_column("image_id", [f"photo {number}" for number in range(12)])
    data = WithoutLight(rows, PROCESSOR, augmentation=training_data().augmentation)
    with pytest.raises(TrainingDivergedError) as stopped:
        small_trainer(tmp_path, data=data).train()
    said = str(stopped.value)
    assert "Images with pixels that are not finite: row 7 (photo 7). Other images of the step: row " in said
    assert said.count("photo ") == 4
    assert "the loss is nan" in said


def test_weights_that_a_step_makes_infinite_are_not_saved(tmp_path):
    """The gradient was finite, the step too long: what is there stays, and the run ends there or at the next step."""
    settings = {"optim": "sgd", "learning_rate": 1e38, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    settings["trainer_class"] = type("Large", (BadGradient,), {"bad_pass": 1, "bad_value": 100.0})
    with pytest.raises(NonFiniteWeightsError, match="weights are NaN or infinite, `"):
        small_trainer(tmp_path / "saved", save_steps=1, **settings).train()
    assert not list((tmp_path / "saved").iterdir())
    with pytest.raises(TrainingDivergedError, match="The step before it had made weights NaN or infinite"):
        small_trainer(tmp_path / "next", save_steps=2, **settings).train()
    assert not list((tmp_path / "next").rglob("*.safetensors"))


def test_weights_that_are_not_finite_are_saved_nowhere(tmp_path):
    model = tiny_model()
    with torch.no_grad():
        model.vit.embeddings.cls_token[..., 3] = torch.nan
    with pytest.raises(
        NonFiniteWeightsError, match=r"^1 of \d+ weights are NaN or infinite, `vit.embeddings.cls_token`"
    ):
        small_trainer(tmp_path / "run", model=model).save_model()
    with pytest.raises(NonFiniteWeightsError):
        save_with_remote_code(model, PROCESSOR, tmp_path / "hub")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_weights_of_whole_numbers_are_finite():
    check_finite_weights({"steps": torch.tensor(3)})
    check_finite_weights({})


# The watch alone.


def watch_with(tmp_path, scaler=None, **others):
    accelerator = SimpleNamespace(num_processes=1, scaler=scaler, **others)
    saved = []
    return DivergenceWatch(accelerator, training_data(), tmp_path, save=saved.append), saved


def batch(rows=(0, 1)):
    return {"pixel_values": torch.zeros(2, 3, 4, 4), "rows": torch.tensor(rows)}


def test_a_scaler_may_leave_out_steps(tmp_path):
    """Gradients that overflow in float16 are its business, until nothing is scaled any more; a loss never is."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.ones(1, requires_grad=True))
    watch, saved = watch_with(tmp_path, scaler)
    for norm in (torch.tensor(torch.inf), torch.tensor(torch.nan)):
        watch.see(torch.tensor(1.0), batch())
        watch.check(1, norm)
    scaler.update(0.5)
    watch.see(torch.tensor(1.0), batch())
    with pytest.raises(TrainingDivergedError, match="step 2: the loss is 1.0, the gradient norm inf"):
        watch.check(2, torch.tensor(torch.inf))
    scaler.update(1024.0)
    watch.see(torch.tensor(torch.nan), batch())
    with pytest.raises(TrainingDivergedError, match="step 3: the loss is nan"):
        watch.check(3, torch.tensor(1.0))
    assert saved == [str(tmp_path / "before_divergence")] * 2


def test_each_step_is_looked_at_alone(tmp_path):
    """An infinite loss among finite ones is found, and forgotten with its step; many images are not all named."""
    watch, _ = watch_with(tmp_path)
    watch.see(torch.tensor(1.0), batch())
    watch.check(1, 2.0)
    for first in range(0, 60, 2):
        loss = torch.inf if first == 20 else 1.0
        watch.see(torch.tensor(loss), batch((first % 12, first % 12 + 1)))
    with pytest.raises(TrainingDivergedError, match="the loss is inf.*and 40 more"):
        watch.check(2, 2.0)
    watch.see(torch.tensor(1.0), batch())
    watch.check(3, 2.0)
    watch.check(4, None)


def test_two_numbers_are_read_a_step(tmp_path, monkeypatch):
    """Reading a number from a device waits for it. It is done for the sum of the losses and the norm, not for each batch."""
    reads = []
    for name in ("__float__", "__bool__", "item", "tolist"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, original=original, name=name: reads.append(name) or original(self)
        )
    watch, _ = watch_with(tmp_path)
    for _ in range(5):
        watch.see(torch.tensor(1.0), batch())
    assert not reads
    watch.check(1, torch.tensor(1.0))
    assert [name for name in reads if name != "item"] == ["__float__", "__float__"]
