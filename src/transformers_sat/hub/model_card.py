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
Model cards from what a run wrote: the figures of its `results.json`, the sizes of its configuration.

The one template is `templates/model_card.md` in the package, so that an installed package has it too.
"""

import os
import platform
import re
from pathlib import Path

import torch
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, constants
from transformers import TrainingArguments

from ..escaping import code_block, code_in_markdown, in_markdown, link_in_markdown


PAPER = "https://arxiv.org/abs/2303.10438"
TEMPLATE = Path(__file__).parent / "templates" / "model_card.md"
TASK = "object-detection"
TAGS = ["sat", "weakly-supervised-localization", "weakly-supervised-object-localization", "image-classification"]

# What is called what, in the order of the table. The figures are percent.
METRICS = {
    "top1_cls": "Top-1 Cls",
    "top5_cls": "Top-5 Cls",
    "gt_known_loc": "GT-known Loc",
    "top1_loc": "Top-1 Loc",
    "top5_loc": "Top-5 Loc",
    "max_box_acc": "MaxBoxAcc",
    "max_box_acc_v2": "MaxBoxAccV2",
    "box_acc": "BoxAcc",
    "box_acc_v2": "BoxAccV2",
    "iou30": "IoU .3",
    "iou50": "IoU .5",
    "iou70": "IoU .7",
    "mean_iou_levels": "mean IoU levels",
    "pxap": "PxAP",
}
BASELINES = {"whole_image": "whole image", "center_box": "best centre box"}
THRESHOLD_CHOICES = {
    "validation": "chosen on the validation split",
    "oracle": "the best on these very images",
    "fixed": "given",
}
# What of Trainer's arguments makes the result, in the words of a reader.
RECIPE = {
    "learning_rate": "learning rate",
    "lr_scheduler_type": "schedule",
    "warmup_steps": "warm-up",
    "weight_decay": "weight decay",
    "optim": "optimizer",
    "batch_size": "batch, over all processes and accumulated steps",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "precision": "precision",
    "seed": "seed",
}
LOSS_SETTINGS = (
    "area_target",
    "area_loss_weight",
    "normalization_loss_weight",
    "area_band_loss_weight",
    "num_spatial_layers",
    "drop_path_rate",
)
REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def training_record(training_args: TrainingArguments) -> dict:
    """
    What a reader of a card has to know of a training run, for `results.json`.

    Args:
        training_args ([`~transformers.TrainingArguments`]): Trainer's arguments.

    Returns:
        `dict` with `training`, the settings that make the result, and `hardware`, the machine in words.
    """
    training = {name: getattr(training_args, name) for name in RECIPE if hasattr(training_args, name)}
    training |= {name: str(getattr(value, "value", value)) for name, value in training.items() if not _is_plain(value)}
    training["batch_size"] = (
        training_args.train_batch_size * training_args.world_size * training_args.gradient_accumulation_steps
    )
    training["precision"] = "bfloat16" if training_args.bf16 else "float16" if training_args.fp16 else "float32"
    # Trainer's steps win over its epochs
    del training["num_train_epochs" if training["max_steps"] > 0 else "max_steps"]
    count = training_args.world_size
    if training_args.device.type == "cuda":
        hardware = f"{count} x {torch.cuda.get_device_name(training_args.device)}"
    else:
        hardware = f"{count} process{'es' if count > 1 else ''} on {platform.machine()} {training_args.device.type}"
    return {"training": training, "hardware": hardware}


def model_card(
    config: dict,
    image_processor: dict,
    results: dict | None = None,
    *,
    name: str | None = None,
    repo_id: str | None = None,
    license: str | None = None,
    example_image: str | None = None,
) -> ModelCard:
    """
    The card of a model.

    Args:
        config (`dict`):
            The model's `config.json`.
        image_processor (`dict`):
            Its `preprocessor_config.json`.
        results (`dict`, *optional*):
            `results.json` of `examples/run_wsol.py`: figures by split, and how they came about. Without it the card says
            that nothing is known of training and figures. With `source` (`name`, `url`) the figures are marked as those
            of somebody else.
        name (`str`, *optional*):
            Title; the end of `repo_id` by default.
        repo_id (`str`, *optional*):
            Repository that the card is for, `organization/name`.
        license (`str`, *optional*):
            The Hub's identifier of the licence of the weights. The card says so where none is known.
        example_image (`str`, *optional*):
            File name of an image in the repository, for the widget.

    Returns:
        [`~huggingface_hub.ModelCard`]: not yet checked by the Hub.
    """
    results = results or {}
    license = license or results.get("license")
    name = name or (repo_id or "SAT").split("/")[-1]
    splits = {split: results[split] for split in ("validation", "test") if split in results}
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=TASK,
        tags=TAGS,
        license=license,
        **({"license_name": results["license_name"]} if "license_name" in results else {}),
        base_model=_repository_or_none(results.get("model")),
        datasets=_repository_or_none(results.get("dataset")),
        widget=[_widget_example(example_image, repo_id)] if example_image else None,
        co2_eq_emissions=results.get("co2_eq_emissions"),
        model_name=name,
        # of the split that nothing was chosen on
        eval_results=_eval_results(results, *list(splits.items())[-1]) if splits else None,
    )
    return ModelCard.from_template(
        data,
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        name=name,
        repo_id=repo_id or f"your-name/{_slug(name)}",
        license=license,
        config=config,
        crop=image_processor["crop_size"] if image_processor.get("do_center_crop") else None,
        size=image_processor["size"],
        threshold=image_processor["localization_threshold"],
        results=results,
        source=results.get("source"),
        model_name=public_name(results.get("model")),
        dataset_name=public_name(results.get("dataset")),
        tables=[_table(split, result) for split, result in splits.items()],
        recipe=[
            (title, results["training"][key]) for key, title in RECIPE.items() if key in results.get("training", {})
        ],
        losses=[(key, config[key]) for key in LOSS_SETTINGS if key in config],
        num_labels=len(config["id2label"]),
        class_names=[in_markdown(each) for each in config["id2label"].values() if not each.startswith("LABEL_")][:10],
        paper=PAPER,
        # names and settings are data, whatever is in them
        text=in_markdown,
        code=code_in_markdown,
        block=code_block,
        link=link_in_markdown,
    )


def eval_result_entries(results: dict) -> list[EvalResultEntry]:
    """
    The figures of the test split for `.eval_results/*.yaml`, which the Hub shows beside a benchmark's. There are none
    unless the data set is a repository on the Hub.

    Args:
        results (`dict`): `results.json` of `examples/run_wsol.py`.

    Returns:
        `list[EvalResultEntry]`: one for each metric, with its name as `task_id`.
    """
    dataset, test = _repository_or_none(results.get("dataset")), results.get("test")
    if dataset is None or test is None:
        return []
    notes = ", ".join(f"{key} {value}" for key, value in _conditions(test).items())
    return [
        EvalResultEntry(dataset_id=dataset, task_id=metric, value=value, notes=notes or None)
        for metric, value in _figures(test).items()
    ]


def _is_plain(value) -> bool:
    return type(value) in (bool, int, float, str)


def _repository_or_none(name: str | None) -> str | None:
    """A name that can be looked up on the Hub; a folder on this machine means nothing to a reader."""
    return name if name and REPOSITORY.fullmatch(name) and not os.path.exists(name) else None


def public_name(name: str | None) -> str | None:
    """What others may read of a name: a repository's as it is, of a folder on this machine the last part."""
    return name if name is None or _repository_or_none(name) else os.path.basename(os.path.abspath(name))


def _slug(name: str) -> str:
    """A name in the form of a repository's."""
    return re.sub(r"[^\w.-]+", "-", name).lstrip(".")[:96] or "unknown"


def _widget_example(example_image: str, repo_id: str | None) -> dict:
    source = f"{constants.ENDPOINT}/{repo_id}/resolve/main/{example_image}" if repo_id else example_image
    return {"src": source, "example_title": "Example"}


def _figures(result: dict) -> dict[str, float]:
    """The figures of one split, rounded as they are shown."""
    figures = result | {"pxap": result.get("pixel_average_precision", {}).get("pxap")}
    return {metric: round(figures[metric], 2) for metric in METRICS if figures.get(metric) is not None}


def _conditions(result: dict) -> dict:
    """What a figure means nothing without."""
    return {key: result[key] for key in ("protocol", "image_size", "threshold", "threshold_choice") if key in result}


def _eval_results(results: dict, split: str, result: dict) -> list[EvalResult]:
    source = results.get("source", {})
    conditions = _conditions(result)
    shown = [f"protocol {conditions['protocol']}"] if "protocol" in conditions else []
    if "threshold_choice" in conditions:
        shown.append(f"threshold {THRESHOLD_CHOICES[conditions['threshold_choice']]}")
    dataset = public_name(results.get("dataset")) or "unknown"
    return [
        EvalResult(
            task_type=TASK,
            task_name="Weakly supervised object localization",
            dataset_type=_repository_or_none(results.get("dataset")) or _slug(dataset).lower(),
            dataset_name=dataset,
            dataset_split=split,
            metric_type=metric,
            metric_name=f"{METRICS[metric]} ({', '.join(shown)})" if shown else METRICS[metric],
            metric_value=value,
            metric_args=conditions or None,
            source_name=source.get("name"),
            source_url=source.get("url"),
        )
        for metric, value in _figures(result).items()
    ]


def _table(split: str, result: dict) -> dict:
    rows = {"SAT": result} | {title: result[key] for key, title in BASELINES.items() if key in result}
    figures = {title: _figures(row) for title, row in rows.items()}
    columns = [metric for metric in METRICS if metric in figures["SAT"]]
    cells = [
        (title, [f"{row[metric]:.2f}" if metric in row else "-" for metric in columns])
        for title, row in figures.items()
    ]
    choice = THRESHOLD_CHOICES.get(result.get("threshold_choice"))
    return {
        "split": split,
        "columns": [METRICS[metric] for metric in columns],
        "rows": cells,
        "num_images": result.get("num_images"),
        "conditions": _conditions(result),
        "choice": choice,
    }


__all__ = ["eval_result_entries", "model_card", "public_name", "training_record"]
