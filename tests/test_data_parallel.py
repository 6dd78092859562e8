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
"""Two real processes against one process on the union of their batches."""

import os
import socket
from datetime import timedelta

import pytest
import torch
from sat_testing import tiny_batch, tiny_model
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer, TrainingArguments, default_data_collator

from transformers_sat.training import LocalizationTrainer


pytestmark = pytest.mark.multiprocess

WORLD_SIZE = 2
BATCH_SIZE = 4
LEARNING_RATE = 0.1


def training_model(area_target: float):
    return tiny_model(drop_path_rate=0.0, area_target=area_target, area_loss_weight=2.0).train()


def areas_of(pixel_values) -> torch.Tensor:
    with torch.no_grad():
        return training_model(0.5)(pixel_values).localization_map.mean((1, 2))


def union_batch():
    """Eight images: those with small maps are the first process's, those with large maps the second's."""
    pixel_values, labels = tiny_batch(batch_size=WORLD_SIZE * BATCH_SIZE)
    order = areas_of(pixel_values).argsort()
    return pixel_values[order], labels[order]


def part_of(rank: int, batch):
    return tuple(tensor[rank * BATCH_SIZE : (rank + 1) * BATCH_SIZE] for tensor in batch)


def area_targets() -> dict[str, float]:
    """Below both processes' areas, above both, and between them on either side of their mean."""
    first, second = areas_of(union_batch()[0]).view(WORLD_SIZE, BATCH_SIZE).mean(1).tolist()
    return {
        "below": first - 0.1,
        "above": second + 0.1,
        "between, lower": first + 0.25 * (second - first),
        "between, upper": first + 0.75 * (second - first),
    }


TARGET_NAMES = ["below", "above", "between, lower", "between, upper"]


class Images(torch.utils.data.Dataset):
    """The union, in the order in which two processes with batches of four draw one batch each."""

    def __init__(self, batch):
        self.pixel_values, self.labels = batch

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"pixel_values": self.pixel_values[index], "labels": self.labels[index]}


class InOrder(Trainer):
    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)


class LocalizationInOrder(InOrder, LocalizationTrainer):
    pass


def trainer(
    model, folder, num_processes: int, num_micro_batches: int = 1, trainer_class: type[Trainer] = InOrder
) -> Trainer:
    """One plain gradient step on the whole union."""
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=WORLD_SIZE * BATCH_SIZE // num_processes // num_micro_batches,
        gradient_accumulation_steps=num_micro_batches,
        per_device_eval_batch_size=BATCH_SIZE,
        max_steps=1,
        optim="sgd",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
    )
    data = Images(union_batch())
    collator = default_data_collator
    return trainer_class(model, arguments, train_dataset=data, eval_dataset=data, data_collator=collator)


def worker(rank: int, port: int, folder: str):
    """Everything that one process does; what it saw goes to a file for the tests to judge."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(WORLD_SIZE),
        "LOCAL_WORLD_SIZE": str(WORLD_SIZE),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    distributed.init_process_group("gloo", timeout=timedelta(minutes=10))
    seen = {"world_size": distributed.get_world_size(), "training": {}}

    batch = union_batch()
    pixel_values, labels = part_of(rank, batch)
    for name, target in area_targets().items():
        model = DistributedDataParallel(training_model(target))
        outputs = model(pixel_values, labels=labels)
        outputs.loss.backward()
        seen["training"][name] = {
            "loss": outputs.loss.detach(),
            "loss_dict": outputs.loss_dict,
            "local_area": outputs.localization_map.detach().mean(),
            "gradients": {key: parameter.grad for key, parameter in model.module.named_parameters()},
        }

    # only the first process evaluates: it must not wait for the other
    if rank == 0:
        with torch.no_grad():
            seen["evaluation"] = training_model(0.3).eval()(pixel_values, labels=labels).loss_dict
    distributed.barrier()

    run = trainer(training_model(area_targets()["between, lower"]), folder, WORLD_SIZE)
    seen["trainer_world_size"] = run.args.world_size
    run.train()
    seen["trainer_loss"] = run.state.log_history[0]["loss"]
    seen["trainer_parameters"] = {key: p.detach().clone() for key, p in run.model.named_parameters()}
    seen["trainer_eval_loss"] = run.evaluate()["eval_loss"]

    model = training_model(area_targets()["between, lower"])
    run = trainer(model, folder, WORLD_SIZE, num_micro_batches=2, trainer_class=LocalizationInOrder)
    run.train()
    seen["accumulated_log"] = run.state.log_history[0]
    seen["accumulated_parameters"] = {key: p.detach().clone() for key, p in run.model.named_parameters()}

    torch.save(seen, os.path.join(folder, f"rank{rank}.pt"))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of the two processes saw."""
    folder = str(tmp_path_factory.mktemp("ranks"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(worker, args=(port, folder), nprocs=WORLD_SIZE)
    return [torch.load(os.path.join(folder, f"rank{rank}.pt"), weights_only=True) for rank in range(WORLD_SIZE)]


def test_there_are_two_processes(ranks):
    assert [seen["world_size"] for seen in ranks] == [2, 2]
    assert [seen["trainer_world_size"] for seen in ranks] == [2, 2]


@pytest.mark.parametrize("name", TARGET_NAMES)
def test_loss_and_gradients_are_those_of_the_union(ranks, name):
    target = area_targets()[name]
    local_areas = [seen["training"][name]["local_area"].item() for seen in ranks]
    assert local_areas[1] - local_areas[0] > 0.02
    if name.startswith("between"):
        assert local_areas[0] < target < local_areas[1]

    model = training_model(target)
    pixel_values, labels = union_batch()
    outputs = model(pixel_values, labels=labels)
    outputs.loss.backward()

    loss = sum(seen["training"][name]["loss"] for seen in ranks) / WORLD_SIZE
    torch.testing.assert_close(loss, outputs.loss.detach(), atol=1e-6, rtol=0)
    for seen in ranks:
        # both processes report the area of the whole batch
        area = seen["training"][name]["loss_dict"]["area"]
        torch.testing.assert_close(area, outputs.loss_dict["area"], atol=1e-6, rtol=0)
    for key, parameter in model.named_parameters():
        expected = parameter.grad
        for seen in ranks:
            gradient = seen["training"][name]["gradients"][key]
            assert (gradient - expected).abs().max() <= 1e-6 * max(expected.abs().max().item(), 1.0), key


def test_the_area_of_each_process_alone_would_be_wrong():
    """Why the global mean matters: with the processes on two sides of the target, their own area losses do not cancel."""
    target = area_targets()["between, lower"]
    model = training_model(target)
    batch = union_batch()
    union = model(batch[0], labels=batch[1]).loss
    local = sum(model(part[0], labels=part[1]).loss for part in (part_of(0, batch), part_of(1, batch))) / WORLD_SIZE
    assert (union - local).abs() > 1e-3


def test_evaluation_is_local(ranks):
    """One process evaluates alone, and gets the figures of its own images."""
    pixel_values, labels = part_of(0, union_batch())
    expected = training_model(0.3).eval()(pixel_values, labels=labels).loss_dict
    assert "evaluation" not in ranks[1]
    for name, term in ranks[0]["evaluation"].items():
        torch.testing.assert_close(term, expected[name], atol=1e-6, rtol=0)


def test_trainer_takes_the_step_of_the_union(ranks, tmp_path):
    """Trainer scales losses by the number of processes for models that ask for it; this one must not be scaled."""
    single = trainer(training_model(area_targets()["between, lower"]), tmp_path, num_processes=1)
    single.train()
    # logged with four decimals
    assert ranks[0]["trainer_loss"] == pytest.approx(single.state.log_history[0]["loss"], abs=2e-4)
    for key, parameter in single.model.named_parameters():
        for seen in ranks:
            torch.testing.assert_close(seen["trainer_parameters"][key], parameter.detach(), atol=1e-6, rtol=1e-5)
    # of two micro-batches, which lie on both sides of the target, as of one
    for seen in ranks:
        assert seen["accumulated_log"]["loss"] == pytest.approx(single.state.log_history[0]["loss"], abs=2e-4)
        for key, parameter in single.model.named_parameters():
            torch.testing.assert_close(seen["accumulated_parameters"][key], parameter.detach(), atol=1e-6, rtol=1e-5)
    area = (areas_of(union_batch()[0]).mean() - area_targets()["between, lower"]).abs().item()
    assert ranks[0]["accumulated_log"]["area_loss"] == pytest.approx(area, abs=1e-4)
    eval_loss = single.evaluate()["eval_loss"]
    # evaluation is local: with batches of four, both see the same two batches
    assert ranks[0]["trainer_eval_loss"] == pytest.approx(eval_loss, abs=1e-5)
