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
"""Trainer with SAT: what is trained, how it is regularised, what is logged and what is told to the data."""

import copy

import datasets
import pytest
import torch
from sat_testing import tiny_model
from square_images import square_split
from transformers import Trainer, TrainerCallback, TrainingArguments

from transformers_sat import SATImageProcessor
from transformers_sat.data import LocalizationDataset, TrainingAugmentation, collate_localization
from transformers_sat.training import LocalizationMetrics, LocalizationTrainer, count_parameters, freeze_encoder


SIZE = {"height": 32, "width": 32}
PROCESSOR = SATImageProcessor(size=SIZE, crop_size=SIZE)


def model_to_train(**overrides):
    """Three classes, deterministic in training."""
    return tiny_model(gain=3.0, num_labels=3, drop_path_rate=0.0, **overrides)


@pytest.fixture(scope="module")
def squares():
    return square_split(12).cast_column("image", datasets.Image(decode=False))


def training_data(squares) -> LocalizationDataset:
    return LocalizationDataset(squares, PROCESSOR, augmentation=TrainingAugmentation(32))


def evaluation_data(squares) -> LocalizationDataset:
    return LocalizationDataset(squares, PROCESSOR, protocol="sat", with_boxes=True)


def trainer_for(
    model,
    output_dir,
    train_dataset,
    trainer_class=LocalizationTrainer,
    data_collator=collate_localization,
    eval_dataset=None,
    compute_metrics=None,
    **arguments,
):
    arguments = {
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
    } | arguments
    return trainer_class(
        model=model,
        args=TrainingArguments(output_dir=str(output_dir), **arguments),
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=data_collator,
        compute_metrics=compute_metrics,
    )


def logged(trainer) -> list[dict]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


# What is trained.


@pytest.mark.parametrize("trainable_layers", [0, 1, 2, 4])
def test_freezing_and_what_training_then_changes(tmp_path, squares, trainable_layers):
    model = model_to_train()
    freeze_encoder(model, trainable_layers)
    blocks = tuple(f"vit.layers.{index}." for index in range(4 - trainable_layers, 4))
    new = ("vit.embeddings.spatial_token", "vit.embeddings.spatial_position_embedding")
    expected = {
        name
        for name, _ in model.named_parameters()
        if name.startswith(("classifier.", "vit.layernorm.", *blocks)) or name in new
    }
    assert len(expected) == 2 + 2 + 2 + 16 * trainable_layers
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == expected
    total, trainable = count_parameters(model)
    assert total == sum(tensor.numel() for tensor in model.state_dict().values())
    assert trainable == sum(model.state_dict()[name].numel() for name in expected)

    before = copy.deepcopy(model.state_dict())
    trainer_for(model, tmp_path, training_data(squares), weight_decay=0.1).train()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == expected


@pytest.mark.parametrize("trainable_layers", [-1, 5])
def test_freezing_more_layers_than_there_are(trainable_layers):
    with pytest.raises(ValueError, match=f"`trainable_layers` must be between 0 and 4, got {trainable_layers}"):
        freeze_encoder(model_to_train(), trainable_layers)


def test_weight_decay_groups(tmp_path, squares):
    """Matrices and the convolutions' kernels decay; biases, norms, LayerScale, tokens and positions do not."""
    model = model_to_train(layerscale_value=0.5)
    trainer = trainer_for(model, tmp_path, training_data(squares), weight_decay=0.05)
    optimizer = trainer.create_optimizer()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {
        decay: {
            names[id(parameter)]
            for group in optimizer.param_groups
            if group["weight_decay"] == decay
            for parameter in group["params"]
        }
        for decay in (0.05, 0.0)
    }
    decaying = {"classifier.convolution.weight", "vit.embeddings.patch_embeddings.projection.weight"}
    for index in range(4):
        for matrix in (
            "attention.q_proj",
            "attention.k_proj",
            "attention.v_proj",
            "attention.o_proj",
            "mlp.fc1",
            "mlp.fc2",
        ):
            decaying.add(f"vit.layers.{index}.{matrix}.weight")
    assert groups[0.05] == decaying
    assert groups[0.0] == set(names.values()) - decaying
    assert {"vit.embeddings.cls_token", "vit.embeddings.spatial_token", "vit.embeddings.position_embeddings"} < groups[
        0.0
    ]
    assert {"vit.embeddings.spatial_position_embedding", "vit.layers.0.layer_scale1.lambda1"} < groups[0.0]


# What is logged.


def test_loss_terms_sum_to_the_loss(tmp_path, squares):
    weights = {"area_loss_weight": 2.0, "normalization_loss_weight": 0.5, "area_band_loss_weight": 3.0}
    model = model_to_train(area_target=0.9, **weights)
    trainer = trainer_for(model, tmp_path, training_data(squares), max_steps=4, logging_steps=2)
    trainer.train()
    entries = logged(trainer)
    assert len(entries) == 2
    for entry in entries:
        terms = {name: entry[f"{name}_loss"] for name in ("classification", "area", "normalization", "area_band")}
        assert all(value > 0 for value in terms.values())
        total = terms["classification"] + sum(
            weights[f"{name}_loss_weight"] * terms[name] for name in terms if name != "classification"
        )
        assert entry["loss"] == pytest.approx(total, abs=5e-4)


def test_terms_without_weight_are_not_logged(tmp_path, squares):
    trainer = trainer_for(model_to_train(), tmp_path, training_data(squares), max_steps=1)
    trainer.train()
    (entry,) = logged(trainer)
    assert {name for name in entry if name.endswith("_loss")} == {
        "classification_loss",
        "area_loss",
        "normalization_loss",
    }


def test_label_smoothing_acts_on_the_classification_term(tmp_path, squares):
    """Trainer's own would take the logits alone, and drop the other terms."""
    model = model_to_train()
    before = copy.deepcopy(model)
    batches = []

    def collate(examples):
        batches.append(collate_localization(examples))
        return batches[-1]

    arguments = {"max_steps": 1, "label_smoothing_factor": 0.2, "data_collator": collate}
    trainer = trainer_for(model, tmp_path, training_data(squares), **arguments)
    trainer.train()
    (entry,) = logged(trainer)
    outputs = before.train()(batches[0]["pixel_values"])
    targets = torch.nn.functional.one_hot(batches[0]["labels"], 3) * 0.8 + 0.2 / 3
    expected = -(targets * outputs.logits.softmax(-1).log()).sum(-1).mean().item()
    assert entry["classification_loss"] == pytest.approx(expected, abs=1e-4)
    terms = [entry[f"{name}_loss"] for name in ("classification", "area", "normalization")]
    assert entry["loss"] == pytest.approx(sum(terms), abs=5e-4) and min(terms) > 0


@pytest.mark.parametrize(
    ("problem_type", "factor", "message"),
    [
        ("multi_label_classification", 0.1, "`label_smoothing_factor` is of one class per image"),
        (None, 1.5, "`label_smoothing_factor` must be at least 0 and below 1, got 1.5"),
    ],
)
@pytest.mark.filterwarnings("ignore:Label smoothing is not compatible")
def test_label_smoothing_that_cannot_be(tmp_path, squares, problem_type, factor, message):
    model = model_to_train(problem_type=problem_type)
    with pytest.raises(ValueError, match=message):
        trainer_for(model, tmp_path, training_data(squares), label_smoothing_factor=factor)


def test_a_plain_trainer_does_not_lose_the_other_losses(tmp_path, squares):
    """It is refused where Trainer smooths the labels itself, and keeps all losses where the model does."""
    arguments = {"trainer_class": Trainer, "max_steps": 1}
    model = model_to_train()
    trainer = trainer_for(model, tmp_path, training_data(squares), label_smoothing_factor=0.1, **arguments)
    with pytest.raises(ValueError, match="Set `model.config.label_smoothing` in its place"):
        trainer.train()
    trainer = trainer_for(model_to_train(label_smoothing=0.1), tmp_path, training_data(squares), **arguments)
    batch = collate_localization([training_data(squares)[row] for row in range(4)])
    loss, outputs = trainer.compute_loss(trainer.model.eval(), batch, return_outputs=True)
    assert loss.item() == pytest.approx(sum(outputs.loss_dict.values()).item(), rel=1e-5)


def test_a_loss_of_ones_own_has_all_terms(tmp_path, squares):
    """`compute_loss_func` gets the labels and the outputs with the model's own loss; its value is what is trained on."""
    seen = []

    def twice(outputs, labels, num_items_in_batch=None):
        seen.append((labels.shape, outputs.loss.item(), set(outputs.loss_dict)))
        return 2 * outputs.loss

    arguments = {"max_steps": 1, "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1}
    trainer = LocalizationTrainer(
        model_to_train(),
        TrainingArguments(tmp_path, per_device_train_batch_size=4, **arguments),
        train_dataset=training_data(squares),
        compute_loss_func=twice,
    )
    trainer.train()
    ((shape, loss, terms),) = seen
    assert shape == (4,) and terms == {"classification", "area", "normalization"}
    assert logged(trainer)[0]["loss"] == pytest.approx(2 * loss, rel=1e-4)
    assert logged(trainer)[0]["area_loss"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"use_liger_kernel": True}, "there are no Liger kernels for SAT"),
        ({"train_sampling_strategy": "group_by_length"}, "must be `random` or `sequential`, got `group_by_length`"),
    ],
)
def test_arguments_that_images_have_no_use_for(tmp_path, squares, arguments, message):
    with pytest.raises(ValueError, match=message):
        trainer_for(model_to_train(), tmp_path, training_data(squares), **arguments)


def test_a_batch_size_that_is_found(tmp_path, squares):
    """What is logged and looked at has nothing of the batches that did not fit."""

    class SmallMemory(LocalizationTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            found = super().compute_loss(model, inputs, *args, **kwargs)
            if len(inputs["pixel_values"]) > 3:
                raise RuntimeError("CUDA out of memory.")
            return found

    trainer = trainer_for(
        model_to_train(), tmp_path, training_data(squares), SmallMemory, auto_find_batch_size=True, max_steps=1
    )
    trainer.train()
    (entry,) = logged(trainer)
    terms = [entry[f"{name}_loss"] for name in ("classification", "area", "normalization")]
    assert entry["loss"] == pytest.approx(sum(terms), abs=2e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"activation_checkpointing": True},
        {"include_for_metrics": ["inputs", "loss"]},
        {"bf16": True},
        {"torch_empty_cache_steps": 1},
        {"dataloader_drop_last": True},
        {"accelerator_config": {"dispatch_batches": True}},
        {"include_num_input_tokens_seen": "all"},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_arguments_that_change_nothing(tmp_path, squares, arguments):
    """They save memory or time, or concern evaluation: the losses are those of a run without them."""
    losses = []
    for name, given in {"without": {}, "with": arguments}.items():
        trainer = trainer_for(model_to_train(), tmp_path / name, training_data(squares), **given)
        trainer.train()
        losses.append([entry["loss"] for entry in logged(trainer)])
    assert losses[1] == pytest.approx(losses[0], abs=2e-3 if "bf16" in arguments else 1e-6)


def test_noise_on_the_embeddings(tmp_path, squares):
    """NEFTune acts on the patches' embeddings while training, and leaves the model as it was."""
    model = model_to_train()
    trainer = trainer_for(model, tmp_path, training_data(squares), neftune_noise_alpha=5.0, max_steps=1)
    without = trainer_for(model_to_train(), tmp_path, training_data(squares), max_steps=1)
    trainer.train(), without.train()
    assert logged(trainer)[0]["loss"] != logged(without)[0]["loss"]
    assert not model.get_input_embeddings()._forward_hooks


def test_evaluation_leaves_the_training_terms_alone(tmp_path, squares):
    """Boxes reach the metrics but not the model, and an evaluation between two logs does not enter their means."""
    metrics = LocalizationMetrics(32, "sat", [0.3, 0.6])
    plain = trainer_for(model_to_train(), tmp_path / "plain", training_data(squares), max_steps=4, logging_steps=4)
    plain.train()
    arguments = {
        "max_steps": 4,
        "logging_steps": 4,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "batch_eval_metrics": True,
        "label_names": ["labels", "boxes"],
        "per_device_eval_batch_size": 5,
    }
    evaluated = trainer_for(
        model_to_train(),
        tmp_path / "evaluated",
        training_data(squares),
        eval_dataset=evaluation_data(squares),
        compute_metrics=metrics,
        **arguments,
    )
    evaluated.train()
    figures = [entry for entry in evaluated.state.log_history if "eval_loss" in entry]
    assert len(figures) == 4
    assert {"eval_gt_known_loc", "eval_top1_cls", "eval_threshold"} <= set(figures[0])
    assert metrics.result["num_images"] == 12
    for name in ("loss", "classification_loss", "area_loss", "normalization_loss"):
        assert logged(evaluated)[0][name] == pytest.approx(logged(plain)[0][name], abs=1e-6)


# Epochs and checkpoints.


class Watched(LocalizationDataset):
    """Remembers in which epoch each row was read."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.read = []

    def __getitem__(self, index):
        self.read.append((self.epoch, index))
        return super().__getitem__(index)


def test_each_epoch_has_its_own_augmentation(tmp_path, squares):
    watched = Watched(squares, PROCESSOR, augmentation=TrainingAugmentation(32))
    trainer_for(model_to_train(), tmp_path, watched, max_steps=9).train()
    assert sorted(watched.read) == [(epoch, index) for epoch in range(3) for index in range(12)]


def test_a_resumed_epoch_is_the_epoch_it_was(tmp_path, squares):
    """Resumed in the middle of the second epoch, the run reads the rest of the second epoch's images."""
    whole, first, second = (Watched(squares, PROCESSOR, augmentation=TrainingAugmentation(32)) for _ in range(3))
    arguments = {"save_strategy": "steps", "save_steps": 4}
    trainer_for(model_to_train(), tmp_path / "whole", whole, max_steps=9, **arguments).train()
    trainer_for(model_to_train(), tmp_path / "parts", first, max_steps=4, **arguments).train()
    resumed = trainer_for(model_to_train(), tmp_path / "parts", second, max_steps=9, **arguments)
    resumed.train(resume_from_checkpoint=True)
    assert second.read[-20:] == whole.read[-20:]
    assert {epoch for epoch, _ in second.read[-20:]} == {1, 2}


@pytest.mark.parametrize("trainer_class", [Trainer, LocalizationTrainer])
def test_a_checkpoint_is_loaded_whole(tmp_path, squares, trainer_class):
    """
    Also by Transformers' own Trainer. `save_pretrained` writes the weights under the names of older versions, and
    Trainer loads them with a plain `load_state_dict`.
    """
    model = model_to_train()
    arguments = {"save_strategy": "steps", "save_steps": 1, "max_steps": 1, "learning_rate": 0.01}
    trainer_for(model, tmp_path, training_data(squares), trainer_class, **arguments).train()
    other = tiny_model(seed=1, gain=3.0, num_labels=3, drop_path_rate=0.0)
    loaded = {}

    class Keeping(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **kwargs):
            loaded.update(copy.deepcopy(model.state_dict()))

    trainer = trainer_for(other, tmp_path, training_data(squares), trainer_class, **arguments)
    trainer.add_callback(Keeping())
    trainer.train(resume_from_checkpoint=True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


def test_the_best_model_is_loaded_whole(tmp_path, squares):
    kept = {}

    class Keeping(LocalizationTrainer):
        def evaluate(self, *args, **kwargs):
            kept[self.state.global_step] = copy.deepcopy(self.model.state_dict())
            return super().evaluate(*args, **kwargs)

    model = model_to_train()
    trainer = trainer_for(
        model,
        tmp_path,
        training_data(squares),
        Keeping,
        eval_dataset=evaluation_data(squares),
        compute_metrics=LocalizationMetrics(32, "sat", [0.3, 0.6]),
        max_steps=4,
        # steps that are far too long: the first evaluation is not beaten
        learning_rate=0.3,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="gt_known_loc",
        batch_eval_metrics=True,
        label_names=["labels", "boxes"],
    )
    trainer.train()
    scores = {entry["step"]: entry["eval_gt_known_loc"] for entry in trainer.state.log_history if "eval_loss" in entry}
    best = trainer.state.best_global_step
    assert scores[best] == max(scores.values()) and best != 4
    for name, tensor in kept[best].items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_new_parameters_have_their_own_learning_rate(squares, tmp_path):
    """With plain gradient descent and one step, each parameter moves by its own rate times its gradient."""
    arguments = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0, "weight_decay": 0.0}
    moves = []
    for rates in ({}, {"new_parameters_learning_rate": 5.0}):
        model = model_to_train()
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

        class OwnRate(LocalizationTrainer):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **rates, **kwargs)

        trainer_for(model, tmp_path, training_data(squares), OwnRate, **arguments).train()
        moves.append({name: parameter.detach() - before[name] for name, parameter in model.named_parameters()})
    same, own = moves
    new = {
        "vit.embeddings.spatial_token",
        "vit.embeddings.spatial_position_embedding",
        "classifier.convolution.weight",
        "classifier.convolution.bias",
    }
    for name, move in same.items():
        factor = 5 if name in new else 1
        torch.testing.assert_close(
            own[name], factor * move, rtol=1e-3, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    # Five times a move tells itself from once the move, but for a key's bias where nothing is masked: it adds the same to
    # all scores of a query, softmax takes it out again, and its gradient is rounding.
    still = {name for name, move in same.items() if move.abs().max() < 1e-5}
    assert still <= {f"vit.layers.{number}.attention.k_proj.bias" for number in (0, 1)}
