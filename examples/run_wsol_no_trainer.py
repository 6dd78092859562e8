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
SAT in a bare Accelerate loop: the same training as `run_wsol.py` in one readable function, to change as you like. Its
options are called as there.

    python examples/run_wsol_no_trainer.py --output_dir outputs/loop
    torchrun --nproc-per-node 2 examples/run_wsol_no_trainer.py --output_dir outputs/loop \\
        --per_device_train_batch_size 16
    accelerate launch --multi_gpu --num_processes 2 --mixed_precision bf16 examples/run_wsol_no_trainer.py \\
        --dataset_name data/cub --model_name_or_path facebook/deit-small-patch16-224 --image_size 224 \\
        --output_dir outputs/cub

`ACCELERATE_GRADIENT_ACCUMULATION_STEPS=4` or `--gradient_accumulation_steps 4` behind the script's name makes a step of
four batches. `accelerate launch` hands its own option of that name on to the script with DeepSpeed alone.

The area loss sees the whole batch of a step over all processes and accumulated batches, so any number of them gives the
same result. `--area_loss_per_micro_batch True` lets it see one accumulated batch at a time.
Streaming, reports and pushing to the Hub are in `run_wsol.py`.
"""

import json
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from tqdm.auto import tqdm
from transformers import HfArgumentParser, get_scheduler
from transformers.trainer_pt_utils import get_parameter_names

from transformers_sat import SATForWeaklySupervisedLocalization
from transformers_sat.data import check_training_classes, collate_localization
from transformers_sat.evaluation import EvaluationSettings, EvaluationSplit, evaluate_splits
from transformers_sat.results import (
    RESULTS_FILE,
    area_loss_record,
    hardware,
    public_name,
    results_record,
    summary,
    write_results,
)
from transformers_sat.saving import check_finite_weights, save_image_processor, save_model
from transformers_sat.training import (
    DataArguments,
    DivergenceWatch,
    EvaluationArguments,
    ModelArguments,
    count_parameters,
    look_at_whole_batch,
    set_up_model,
    set_up_splits,
    set_up_training_data,
    splits_to_measure,
    start_name,
)
from transformers_sat.training.arguments import option
from transformers_sat.training.checkpoints import remove_old_checkpoints, writing_checkpoint
from transformers_sat.training.runs import (
    begin_run,
    check_numbers,
    note_run,
    plain_last_words,
    run_folder,
    run_settings,
)
from transformers_sat.training.trainer import NO_WEIGHT_DECAY, is_new_parameter
from transformers_sat.writing import write_json


# In a checkpoint, how far the training had come.
PROGRESS_FILE = "progress.json"


@dataclass
class LoopArguments:
    """What `run_wsol.py` has of Trainer's arguments, by the same names."""

    output_dir: str = option(None, "Folder for the model and results.json.")
    num_train_epochs: int = option(3, "Passes over the training images.")
    max_steps: int = option(-1, "Ends the training after that many steps, if positive.")
    per_device_train_batch_size: int = option(32, "Images a step, on each process.")
    gradient_accumulation_steps: int = option(1, "Batches of a step; what Accelerate's environment says wins.")
    per_device_eval_batch_size: int = option(100, "Images at a time when measuring, on each process.")
    learning_rate: float = option(5e-4, "Largest learning rate.")
    weight_decay: float = option(0.05, "Weight decay of matrices and kernels.")
    lr_scheduler_type: str = option("cosine", "Schedule of the learning rate.")
    warmup_steps: int = option(30, "Steps until the learning rate is largest.")
    dataloader_num_workers: int = option(0, "Processes that load images, for each process.")
    save_steps: int = option(500, "Steps between checkpoints; each epoch ends with one, too.")
    resume_from_checkpoint: str | None = option(
        None, "`True` to go on from the newest complete checkpoint, if there is one, or the folder of one."
    )
    use_cpu: bool = option(False, "Do not use an accelerator.")
    seed: int = option(0, "Seed of everything that is random.")

    def __post_init__(self):
        if self.output_dir is None:
            raise ValueError("`--output_dir` is missing: the folder for the model and its figures.")
        if self.save_steps < 1:
            raise ValueError(f"`--save_steps` must be at least 1, got {self.save_steps}.")
        check_numbers(self)


def parse_arguments() -> tuple[DataArguments, ModelArguments, EvaluationArguments, LoopArguments]:
    parser = HfArgumentParser((DataArguments, ModelArguments, EvaluationArguments, LoopArguments))
    arguments = parser.parse_args_into_dataclasses()
    if arguments[0].streaming:
        raise ValueError("`--streaming` is not in this script: stream with `run_wsol.py`.")
    return arguments


def parameter_groups(
    model: SATForWeaklySupervisedLocalization, options: LoopArguments, new_rate: float | None = None
) -> list[dict]:
    """
    The trained parameters by weight decay, which biases, norms, tokens and positions have none of, and by learning
    rate.
    """
    decayed = set(get_parameter_names(model, [nn.LayerNorm], NO_WEIGHT_DECAY))
    groups = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            settings = (
                options.weight_decay if name in decayed else 0.0,
                (new_rate or options.learning_rate) if is_new_parameter(name) else options.learning_rate,
            )
            groups.setdefault(settings, []).append(parameter)
    return [{"params": params, "weight_decay": decay, "lr": rate} for (decay, rate), params in groups.items()]


def train(
    accelerator: Accelerator,
    model,
    image_processor,
    dataset,
    groups: list[dict],
    options: LoopArguments,
    area_loss_per_micro_batch: bool,
    resumed: str | None,
):
    """Trains the model in place; `output_dir/checkpoint-<step>` is what an interrupted run goes on from."""
    output_dir = Path(options.output_dir)
    order = torch.Generator()
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=options.per_device_train_batch_size,
        shuffle=True,
        generator=order,
        collate_fn=collate_localization,
        num_workers=options.dataloader_num_workers,
    )
    optimizer = torch.optim.AdamW(groups)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    steps_per_epoch = math.ceil(len(loader) / accelerator.gradient_accumulation_steps)
    num_steps = options.max_steps if options.max_steps > 0 else options.num_train_epochs * steps_per_epoch
    # counted in steps of all processes: prepared, it would advance once for each of them
    scheduler = get_scheduler(options.lr_scheduler_type, optimizer, options.warmup_steps, num_steps)
    accelerator.register_for_checkpointing(scheduler)
    step = first_epoch = num_done = 0
    if resumed is not None:
        accelerator.load_state(resumed)
        progress = json.loads(Path(resumed, PROGRESS_FILE).read_text(encoding="utf-8"))
        step, first_epoch, num_done = progress["steps"], progress["epochs"], progress["batches"]

    def save(folder: str | Path):
        save_model(accelerator.unwrap_model(model), image_processor, folder, accelerator.is_main_process)

    # looks at loss and gradient before each step, and stops all processes when they are not finite
    watch = DivergenceWatch(accelerator, dataset, output_dir, save)

    model.train()
    with tqdm(total=num_steps, initial=step, unit="step", disable=not accelerator.is_main_process) as bar:
        for epoch in range(first_epoch, math.ceil(num_steps / steps_per_epoch)):
            for number, batches in steps_of_epoch(accelerator, loader, order, options.seed, epoch, num_done):
                if step == num_steps:
                    break
                terms = accumulate_gradient(accelerator, model, batches, watch, area_loss_per_micro_batch)
                watch.check(step + 1, accelerator.clip_grad_norm_(model.parameters(), 1.0))
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
                step += 1
                bar.update()
                is_whole = number == len(loader)
                if is_whole:
                    values = {name: f"{term.item():.3f}" for name, term in terms.items()}
                    accelerator.print(f"epoch {epoch + 1}: {values}")
                if is_whole or step == num_steps or step % options.save_steps == 0:
                    check_finite_weights(model.state_dict())
                    where = {"epochs": epoch + is_whole, "batches": 0 if is_whole else number}
                    save_checkpoint(accelerator, output_dir, {"steps": step} | where)
            num_done = 0
    # before any measuring, so that a failure there loses nothing
    save(output_dir)


def steps_of_epoch(
    accelerator: Accelerator, loader, order: torch.Generator, seed: int, epoch: int, num_done: int
) -> Iterator[tuple[int, list[dict]]]:
    """
    The batches of an epoch after the first `num_done`, those of a step together, each step with the number of batches
    until its end. What is random in an image follows from seed, epoch and image; the order they come in from seed and
    epoch.
    """
    batches = accelerator.skip_first_batches(loader, num_done) if num_done > 0 else loader
    # the loader counts epochs from where it was made, and tells the data set only in a single process
    batches.set_epoch(epoch)
    loader.dataset.set_epoch(epoch)
    order.manual_seed(1000 * seed + epoch)
    batches = iter(batches)
    while step := list(islice(batches, accelerator.gradient_accumulation_steps)):
        num_done += len(step)
        yield num_done, step


def accumulate_gradient(
    accelerator: Accelerator, model, batches: list[dict], watch: DivergenceWatch, area_loss_per_micro_batch: bool
) -> dict[str, torch.Tensor]:
    """Adds up the gradient of the batches of a step, as if they were one; gives the terms of the loss."""
    whole_batch = None
    if len(batches) > 1 and not area_loss_per_micro_batch:
        whole_batch = look_at_whole_batch(accelerator, model, batches)
    terms = {}
    for number, batch in enumerate(batches, start=1):
        # processes add up their gradients once a step
        accelerator.sync_gradients = number == len(batches)
        inputs = {"pixel_values": batch["pixel_values"], "labels": batch["labels"]}
        weight = 1 / len(batches)
        if whole_batch is not None:
            inputs |= whole_batch.inputs_for(batch)
            weight = weight * whole_batch.weight_of(batch)
        with nullcontext() if accelerator.sync_gradients else accelerator.no_sync(model):
            outputs = model(**inputs)
            # Accelerate divides by the number of batches that a step usually has
            accelerator.backward(outputs.loss * weight * accelerator.gradient_accumulation_steps)
        watch.see(outputs.loss, batch)
        for name, term in outputs.loss_dict.items():
            terms[name] = terms.get(name, 0.0) + term * weight
    return terms


def save_checkpoint(accelerator: Accelerator, output_dir: Path, progress: dict[str, int]):
    """
    The state of the training, with the steps made, the whole epochs, and the batches of the next; the last one stays.
    """
    with writing_checkpoint(output_dir, progress["steps"], accelerator.is_main_process) as folder:
        accelerator.save_state(folder)
        if accelerator.is_main_process:
            write_json(folder / PROGRESS_FILE, progress)
    if accelerator.is_main_process:
        remove_old_checkpoints(output_dir / folder.name, limit=1)


def measure(
    accelerator: Accelerator, model, image_processor, splits: dict[str, EvaluationSplit], settings, folder: Path, about
) -> dict:
    """
    The figures of each split; validation chooses the threshold, which the image processor keeps. What is found is written
    into the folder at once, with what it is `about`.
    """
    results = {}
    for split, evaluation in evaluate_splits(model, image_processor, splits, settings):
        results[split] = {evaluation.result["protocol"]: evaluation.result}
        if accelerator.is_main_process:
            save_image_processor(image_processor, folder)
            write_results(folder / RESULTS_FILE, results_record(results, **about))
    return results


def total_batch_size(accelerator: Accelerator, options: LoopArguments) -> int:
    """Images of a step, over all processes and accumulated batches."""
    return options.per_device_train_batch_size * accelerator.num_processes * accelerator.gradient_accumulation_steps


def record_of(accelerator: Accelerator, data_args: DataArguments, model_args: ModelArguments, options: LoopArguments):
    """What makes the result, in the names of a `results.json`; of folders on this machine the last part."""
    settings = ("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "seed")
    length = "max_steps" if options.max_steps > 0 else "num_train_epochs"
    return {
        "command": "examples/run_wsol_no_trainer.py",
        "model": public_name(model_args.model_name_or_path) or "the embedded backbone",
        "dataset": public_name(data_args.dataset_name),
        "config_name": data_args.dataset_config_name,
        "seed": options.seed,
        "num_processes": accelerator.num_processes,
        "license": model_args.hub_license,
        "hardware": hardware(accelerator.device, accelerator.num_processes),
        "training": {
            **{name: getattr(options, name) for name in (*settings, length)},
            "optim": "AdamW",
            "batch_size": total_batch_size(accelerator, options),
            **area_loss_record(accelerator.gradient_accumulation_steps, model_args.area_loss_per_micro_batch),
        },
    }


def main():
    data_args, model_args, evaluation_args, options = parse_arguments()
    name = start_name(data_args, model_args)
    accelerator = Accelerator(cpu=options.use_cpu, gradient_accumulation_steps=options.gradient_accumulation_steps)
    # one run at a time in a folder
    with run_folder(options.output_dir):
        batch_size = total_batch_size(accelerator, options)
        run, overwrite = run_settings(data_args, model_args, options, batch_size), model_args.overwrite_output_dir
        resumed = begin_run(options.output_dir, run, options.resume_from_checkpoint, overwrite)
        set_seed(options.seed)
        # the main process writes the cache, the others read it
        with accelerator.main_process_first():
            rows, num_rows = set_up_splits(data_args, options.seed, model_args.token)
        check_training_classes(rows["train"], "The training split")
        class_names = rows["train"].features["label"].names
        model, image_processor = set_up_model(name, class_names, model_args, evaluation_args.protocol, is_trained=True)
        total, trainable = count_parameters(model)
        accelerator.print(
            f"{total / 1e6:.2f} M parameters, {trainable / 1e6:.2f} M to train; {len(class_names)} classes"
        )
        dataset = set_up_training_data(rows["train"], num_rows, model, image_processor, data_args, options.seed)
        splits = splits_to_measure(rows, model.config, image_processor, evaluation_args.protocol)

        note_run(options.output_dir, run, overwrite)
        began = time.perf_counter()
        groups = parameter_groups(model, options, model_args.new_parameters_learning_rate)
        per_micro_batch = model_args.area_loss_per_micro_batch
        train(accelerator, model, image_processor, dataset, groups, options, per_micro_batch, resumed)
        seconds = time.perf_counter() - began

        settings = EvaluationSettings(
            protocol=evaluation_args.protocol,
            localization_thresholds=evaluation_args.localization_thresholds,
            batch_size=options.per_device_eval_batch_size,
            num_workers=options.dataloader_num_workers,
            keep_images=False,
            show_progress=True,
        )
        about = record_of(accelerator, data_args, model_args, options) | {"train_seconds": seconds}
        model.to(accelerator.device)
        results = measure(accelerator, model, image_processor, splits, settings, Path(options.output_dir), about)
        accelerator.print(f"\n{summary(results)}")
    accelerator.end_training()


if __name__ == "__main__":
    with plain_last_words():
        main()
