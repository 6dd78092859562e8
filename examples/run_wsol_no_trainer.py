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
SAT in a bare Accelerate loop: the same training as `run_wsol.py` in one readable function, to change as you like.

    python examples/run_wsol_no_trainer.py --output_dir outputs/loop
    torchrun --nproc-per-node 2 examples/run_wsol_no_trainer.py --output_dir outputs/loop --batch_size 16
    accelerate launch --multi_gpu --num_processes 2 --mixed_precision bf16 examples/run_wsol_no_trainer.py \\
        --dataset_name data/cub --model_name_or_path facebook/deit-small-patch16-224 --output_dir outputs/cub --image_size 224

The area loss sees the whole batch of a step over all processes, so any number of them gives the same result. Subsets,
streaming, further transforms, reports and pushing to the Hub are in `run_wsol.py`.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from tqdm.auto import tqdm
from transformers import AutoImageProcessor, get_scheduler
from transformers.trainer_pt_utils import get_parameter_names

from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor
from transformers_sat.convert import load_backbone
from transformers_sat.data import (
    EMBEDDED_DATASET,
    LocalizationDataset,
    TrainingAugmentation,
    collate_localization,
    has_boxes,
    load_localization_dataset,
)
from transformers_sat.drawn import emblem_backbone_path
from transformers_sat.evaluation import evaluate_localization
from transformers_sat.metrics import get_protocol
from transformers_sat.results import RESULTS_FILE, hardware, public_name, results_record, summary, write_results
from transformers_sat.saving import check_finite_weights, save_model
from transformers_sat.training import DivergenceWatch, count_parameters, freeze_encoder
from transformers_sat.training.checkpoints import remove_old_checkpoints, writing_checkpoint
from transformers_sat.training.runs import checkpoint_to_resume, plain_last_words, run_folder
from transformers_sat.training.trainer import NEW_PARAMETERS, NO_WEIGHT_DECAY
from transformers_sat.writing import replacing_files, write_json


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--dataset_name", default=EMBEDDED_DATASET, help="`emblems` (embedded), on the Hub, or a folder"
    )
    parser.add_argument("--model_name_or_path", help="ViT, DeiT or DINOv2; needed unless the data are embedded")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the model and results.json")
    parser.add_argument("--image_size", type=int, help="side of the model's images; the backbone's own")
    parser.add_argument("--area_target", type=float, default=0.25, help="mean share of the image that is foreground")
    parser.add_argument("--num_spatial_layers", type=int, default=3, help="last blocks with spatial-query attention")
    parser.add_argument("--drop_path_rate", type=float, default=0.1, help="stochastic depth of the last block")
    parser.add_argument("--trainable_layers", type=int, help="train only that many last blocks; all")
    parser.add_argument("--num_epochs", type=int, default=3)
    parser.add_argument("--max_steps", type=int, help="ends the training earlier")
    parser.add_argument("--batch_size", type=int, default=32, help="images a step, on each process")
    parser.add_argument("--eval_batch_size", type=int, default=100)
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    parser.add_argument("--new_parameters_learning_rate", type=float, help="of spatial token and classifier; the same")
    parser.add_argument("--weight_decay", type=float, default=0.05)
    parser.add_argument("--lr_scheduler_type", default="cosine")
    parser.add_argument("--warmup_steps", type=int, default=30)
    parser.add_argument("--no_flip", action="store_true", help="do not flip half of the training images")
    parser.add_argument("--num_workers", type=int, default=0, help="processes that load images, for each process")
    parser.add_argument("--resume", action="store_true", help="go on after the last whole epoch, if there is one")
    parser.add_argument("--cpu", action="store_true", help="do not use an accelerator")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.model_name_or_path is None:
        if options.dataset_name != EMBEDDED_DATASET:
            parser.error("--model_name_or_path is missing: SAT starts from a ViT that was trained to classify")
        options.model_name_or_path = str(emblem_backbone_path())
    return options


def parameter_groups(model: SATForWeaklySupervisedLocalization, options: argparse.Namespace) -> list[dict]:
    """The trained parameters by weight decay, which biases, norms, tokens and positions have none of, and by learning rate."""
    decayed = set(get_parameter_names(model, [nn.LayerNorm], NO_WEIGHT_DECAY))
    new_rate = options.new_parameters_learning_rate or options.learning_rate
    groups = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            settings = (
                options.weight_decay if name in decayed else 0.0,
                new_rate if name.startswith(NEW_PARAMETERS) else options.learning_rate,
            )
            groups.setdefault(settings, []).append(parameter)
    return [{"params": params, "weight_decay": decay, "lr": rate} for (decay, rate), params in groups.items()]


def normalization_of(name: str) -> dict:
    """Mean and deviation that the backbone is used to; ImageNet's, the image processor's own, where it says nothing."""
    try:
        source = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except OSError:
        return {}
    return {"image_mean": source.image_mean, "image_std": source.image_std}


def train(accelerator: Accelerator, model, image_processor, rows, options: argparse.Namespace, resumed: str | None):
    """Trains the model in place; `output_dir/checkpoint-<step>` is what an interrupted run goes on from."""
    augmentation = TrainingAugmentation(model.config.image_size, horizontal_flip=not options.no_flip)
    dataset = LocalizationDataset(rows, image_processor, augmentation=augmentation, seed=options.seed)
    order = torch.Generator()
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=options.batch_size,
        shuffle=True,
        generator=order,
        collate_fn=collate_localization,
        num_workers=options.num_workers,
    )
    optimizer = torch.optim.AdamW(parameter_groups(model, options))
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    num_steps = options.max_steps or options.num_epochs * len(loader)
    # counted in steps of all processes: prepared, it would advance once for each of them
    scheduler = get_scheduler(options.lr_scheduler_type, optimizer, options.warmup_steps, num_steps)
    accelerator.register_for_checkpointing(scheduler)
    step = first_epoch = 0
    if resumed is not None:
        accelerator.load_state(resumed)
        progress = json.loads(Path(resumed, "progress.json").read_text(encoding="utf-8"))
        step, first_epoch = progress["steps"], progress["epochs"]

    def save(folder: str | Path):
        save_model(accelerator.unwrap_model(model), image_processor, folder, accelerator.is_main_process)

    # looks at loss and gradient before each step, and stops all processes when they are not finite
    watch = DivergenceWatch(accelerator, dataset, options.output_dir, save)

    model.train()
    with tqdm(total=num_steps, initial=step, unit="step", disable=not accelerator.is_main_process) as bar:
        for epoch in range(first_epoch, math.ceil(num_steps / len(loader))):
            # what is random in an image follows from seed, epoch and image; the order they come in from seed and epoch
            # (the loader counts epochs from where it was made, and tells the data set only in a single process)
            loader.set_epoch(epoch)
            dataset.set_epoch(epoch)
            order.manual_seed(1000 * options.seed + epoch)
            for batch in loader:
                if step == num_steps:
                    break
                outputs = model(pixel_values=batch["pixel_values"], labels=batch["labels"])
                accelerator.backward(outputs.loss)
                watch.see(outputs.loss, batch)
                watch.check(step + 1, accelerator.clip_grad_norm_(model.parameters(), 1.0))
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
                step += 1
                bar.update()
            terms = {name: f"{term.item():.3f}" for name, term in outputs.loss_dict.items()}
            accelerator.print(f"epoch {epoch + 1}: {terms}")
            check_finite_weights(model.state_dict())
            with writing_checkpoint(options.output_dir, step, accelerator.is_main_process) as folder:
                accelerator.save_state(folder)
                if accelerator.is_main_process:
                    write_json(folder / "progress.json", {"steps": step, "epochs": epoch + 1})
            if accelerator.is_main_process:
                remove_old_checkpoints(options.output_dir / folder.name, limit=1)
    # before any measuring, so that a failure there loses nothing
    save(options.output_dir)


def run_record(accelerator: Accelerator, options: argparse.Namespace) -> dict:
    """What makes the result, in the names of a `results.json`; of folders on this machine the last part."""
    settings = ("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "seed")
    length = "num_train_epochs" if options.max_steps is None else "max_steps"
    return {
        "command": "examples/run_wsol_no_trainer.py",
        "model": public_name(options.model_name_or_path),
        "dataset": public_name(options.dataset_name),
        "seed": options.seed,
        "num_processes": accelerator.num_processes,
        "hardware": hardware(accelerator.device, accelerator.num_processes),
        "training": {
            **{name: getattr(options, name) for name in settings},
            "optim": "AdamW",
            "batch_size": options.batch_size * accelerator.num_processes,
            length: options.max_steps or options.num_epochs,
        },
    }


def main():
    options = parse_arguments()
    accelerator = Accelerator(cpu=options.cpu)
    # one run at a time in a folder
    with run_folder(options.output_dir):
        resumed = checkpoint_to_resume(options.output_dir, options.resume, "--resume")
        train_and_measure(accelerator, options, resumed)
    accelerator.end_training()


def train_and_measure(accelerator: Accelerator, options: argparse.Namespace, resumed: str | None):
    set_seed(options.seed)
    # the main process writes the cache, the others read it
    with accelerator.main_process_first():
        splits = load_localization_dataset(options.dataset_name)
    class_names = splits["train"].features["label"].names
    config_fields = {
        "id2label": dict(enumerate(class_names)),
        "label2id": {name: number for number, name in enumerate(class_names)},
        "area_target": options.area_target,
        "num_spatial_layers": options.num_spatial_layers,
        "drop_path_rate": options.drop_path_rate,
    }
    if options.image_size is not None:
        config_fields["image_size"] = options.image_size
    model = load_backbone(options.model_name_or_path, **config_fields)
    if options.trainable_layers is not None:
        freeze_encoder(model, options.trainable_layers)
    side = model.config.image_size
    image_processor = SATImageProcessor(
        **get_protocol("sat").processor_settings(side),
        **normalization_of(options.model_name_or_path),
    )
    total, trainable = count_parameters(model)
    accelerator.print(f"{total / 1e6:.2f} M parameters, {trainable / 1e6:.2f} M to train; {len(class_names)} classes")

    began = time.perf_counter()
    train(accelerator, model, image_processor, splits["train"], options, resumed)
    record = results_record({}, **run_record(accelerator, options), train_seconds=time.perf_counter() - began)

    model.to(accelerator.device)
    threshold = "oracle"
    for split in ("validation", "test"):
        if split not in splits or not has_boxes(splits[split]):
            accelerator.print(f"{split}: no boxes for all of its images, localization is not measured")
            continue
        found = evaluate_localization(
            model,
            image_processor,
            splits[split],
            threshold=threshold,
            batch_size=options.eval_batch_size,
            num_workers=options.num_workers,
            with_images=False,
            show_progress=True,
        ).result
        # chosen on validation, kept by the image processor, and what the test split is measured at
        threshold = image_processor.localization_threshold = found["threshold"]
        record["results"][split] = {"sat": found}
    accelerator.print(f"\n{summary(record['results'])}")
    if accelerator.is_main_process:
        with replacing_files(options.output_dir) as folder:
            image_processor.save_pretrained(folder)
        write_results(options.output_dir / RESULTS_FILE, record)


if __name__ == "__main__":
    with plain_last_words():
        main()
