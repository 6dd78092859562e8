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
Figures and the file they are kept in: what they are called, their order, their table, and the one schema of
`results.json`.

The scripts, `transformers-sat evaluate` and `transformers-sat evaluate-maps` write the schema; the model card reads it:

```python
{
    "schema_version": 1,
    "command": "examples/run_wsol.py",  # and what else `FIELDS` lists, all optional
    "results": {"test": {"sat": {"num_images": 600, "threshold": 0.35, "gt_known_loc": 98.7}}},
}
```
"""

import importlib.metadata
import json
import math
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from .escaping import in_markdown, visible
from .fields import EXPECTED, shown
from .writing import write_json


RESULTS_FILE = "results.json"
SCHEMA_VERSION = 1

# Figures in percent, in the order of the table, and how they are headed.
FIGURES = {
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
    "mean_iou_levels": "mean .3/.5/.7",
    "pxap": "PxAP",
    "pixel_iou": "pixel IoU",
}
# What wsolevaluation calls `gt_known_loc` and `mean_iou_levels`: on a console below the table, which is wide without them.
SECOND_NAMES = ("max_box_acc", "max_box_acc_v2", "box_acc", "box_acc_v2")

# What figures are compared with. Their figures stand in those of the model, under these names.
BASELINES = {"whole_image": "whole image", "center_box": "best centre box", "center": "centred map"}

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
    "area_loss": "area loss",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "precision": "precision",
    "seed": "seed",
}

# What a record may have beside `schema_version` and `results`. All of it may be missing or null.
FIELDS = {
    "command": str,  # what wrote it
    "model": str,  # what `training` started from; without `training`, what was measured
    "dataset": str,
    "config_name": str,
    "score_maps": str,  # in place of a model and a data set: maps of another method,
    "metadata": str,  # and the folder of wsolevaluation that says what is true about them
    "seed": int,
    "num_processes": int,
    "versions": dict,
    "arguments": dict,
    "training": dict,  # names of `RECIPE`
    "hardware": str,
    "train_seconds": float,
    "license": str,
    "license_name": str,
    "license_notice": str,  # Markdown, as `notice`
    "notice": str,
    "source": dict,  # `name` and `url` of whoever measured the figures, if it was somebody else
    "reproduce": str,  # a shell command
    "co2_eq_emissions": dict,
}

# Packages that figures depend on.
VERSIONS_OF = ("torchvision", "transformers", "datasets", "numpy", "scipy", "pillow", "opencv-python-headless")

REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def results_record(results: dict[str, dict[str, dict]], **fields) -> dict:
    """
    What belongs in `results.json`, with the versions of all packages that figures depend on.

    Args:
        results (`dict[str, dict[str, dict]]`):
            Figures by split and protocol: the `result` of [`~transformers_sat.evaluation.evaluate_localization`].
            More may be added to the record later.
        fields: what `FIELDS` lists.

    Raises:
        `ValueError`: see [`check_results`].
    """
    record = {"schema_version": SCHEMA_VERSION, "versions": versions(), **fields, "results": results}
    return check_results(record)


def write_results(path: str | os.PathLike, record: dict):
    """Checks a record and writes it, whole or not at all."""
    write_json(path, check_results(record))


def read_results(path: str | os.PathLike) -> dict:
    """
    Reads a `results.json`.

    Args:
        path (`str` or `os.PathLike`): the file.

    Raises:
        `FileNotFoundError`: if there is no such file.
        `ValueError`: if it is not JSON, or see [`check_results`]; the message is one line with the file and the field.
    """
    where = visible(str(path))
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also text that is not UTF-8
        raise ValueError(f"{where} is not JSON: {error}.") from error
    return check_results(record, where)


def check_results(record: Any, where: str = "results") -> dict:
    """
    Checks that a record has the schema.

    Args:
        record (`dict`): what was read, of any type.
        where (`str`, *optional*, defaults to `"results"`): the file, for messages.

    Returns:
        `dict`: the record.

    Raises:
        `ValueError`: if it has another version or another shape; the message is one line and names the field.
    """
    _check(record, dict, where, "the record")
    version = record.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        found = "it has no such field" if version is None else f"got {shown(version)}"
        raise ValueError(
            f"{where}: `schema_version` must be {SCHEMA_VERSION}, {found}. Measure again with this version, for example "
            "with `transformers-sat evaluate MODEL DATASET --output FOLDER`, which writes such a file."
        )
    for name, value in record.items():
        if name in FIELDS:
            if value is not None:
                _check(value, FIELDS[name], where, name)
        elif name not in ("schema_version", "results"):
            raise ValueError(f"{where}: there is no field {shown(name)} in version {SCHEMA_VERSION} of the schema.")
    for split, by_protocol in _check(record.get("results"), dict, where, "results").items():
        for protocol, figures in _check(by_protocol, dict, where, f"results.{split}").items():
            _check_figures(figures, where, f"results.{split}.{protocol}")
            if figures.get("protocol", protocol) != protocol:
                raise ValueError(
                    f"{where}: `results.{visible(split)}.{visible(protocol)}.protocol` must be {shown(protocol)} too, "
                    f"got {shown(figures['protocol'])}."
                )
    return record


def measured(record: dict) -> Iterator[tuple[str, str, dict]]:
    """Yields split, protocol and figures of a record: the test split first, and last the one that choices are made on."""
    places = {"test": 0, "validation": 2}
    for split in sorted(record["results"], key=lambda split: places.get(split, 1)):
        for protocol, figures in record["results"][split].items():
            yield split, protocol, figures


def with_pixels(figures: dict, pixels: dict) -> dict:
    """
    Figures with those of pixels, in the same shape: a number for the maps, and one in the row of each baseline.

    Args:
        figures (`dict`): of [`~transformers_sat.metrics.BoxAccuracy.compute`], or of the classification.
        pixels (`dict`): of [`~transformers_sat.metrics.PixelAveragePrecision.compute`].

    Returns:
        `dict` with `pxap`, and `pxap` in `whole_image` (a constant map) and `center` (a centred map).
    """
    rows = {name: figures.get(name, {}) | {"pxap": pixels[name]["pxap"]} for name in ("whole_image", "center")}
    return figures | {"pxap": pixels["pxap"]} | rows


def table_cells(
    rows: dict[str, dict], names=tuple(FIGURES), digits: int = 1
) -> tuple[list[str], dict[str, list[str]]]:
    """
    The cells of a table, as text.

    Args:
        rows (`dict[str, dict]`): figures by the row's heading.
        names (`Sequence[str]`, *optional*): figures that may have a column; one that no row has gets none.
        digits (`int`, *optional*, defaults to 1): digits behind the point.

    Returns:
        `tuple` of the columns' headings and, by the row's heading, the cells. A figure that a row has not is a dash.
    """
    columns = [name for name in names if any(row.get(name) is not None for row in rows.values())]
    cells = {
        heading: ["-" if row.get(name) is None else f"{row[name]:.{digits}f}" for name in columns]
        for heading, row in rows.items()
    }
    return [FIGURES[name] for name in columns], cells


def format_table(rows: dict[str, dict]) -> str:
    """
    A table of figures for a console.

    Args:
        rows (`dict[str, dict]`): figures in percent, see `FIGURES`, by the row's heading.

    Returns:
        `str`: lines of a Markdown table; figures that a row has not are a dash.
    """
    rows = {in_markdown(heading): row for heading, row in rows.items()}
    titles, cells = table_cells(rows, [name for name in FIGURES if name not in SECOND_NAMES])
    width = max(len(heading) for heading in rows)
    lines = [
        f"| {'':{width}} | " + " | ".join(titles) + " |",
        f"| {'-' * width} | " + " | ".join("-" * (len(title) - 1) + ":" for title in titles) + " |",
    ]
    for heading, row in cells.items():
        padded = [f"{cell:>{len(title)}}" for cell, title in zip(row, titles)]
        lines.append(f"| {heading:{width}} | " + " | ".join(padded) + " |")
    return "\n".join(lines)


def with_baselines(figures: dict, heading: str, split: str) -> dict[str, dict]:
    """Rows for [`format_table`]: the figures, and what the same protocol gives the baselines."""
    rows = {title: figures[name] for name, title in BASELINES.items() if name in figures}
    return {f"{title}, {split}": row for title, row in ({heading: figures} | rows).items()}


def summary(results: dict[str, dict[str, dict]], heading: str = "SAT") -> str:
    """
    The figures for people.

    Args:
        results (`dict[str, dict[str, dict]]`): figures by split and protocol.
        heading (`str`, *optional*, defaults to `"SAT"`): what was measured.

    Returns:
        `str`: for each protocol a Markdown table, with the baselines of the last split, and a line about how each split
        was measured.
    """
    parts = []
    for protocol in dict.fromkeys(name for by_protocol in results.values() for name in by_protocol):
        splits = {split: figures[protocol] for split, figures in results.items() if protocol in figures}
        last, figures = list(splits.items())[-1]
        rows = {f"{heading}, {split}": row for split, row in splits.items()} | with_baselines(figures, heading, last)
        captions = "\n".join(caption(row, split) for split, row in splits.items())
        parts.append(f"{format_table(rows)}\n\n{captions}")
    return "\n\n".join(parts)


def caption(figures: dict, split: str) -> str:
    """One line about how figures were measured, with those that the table has no column for."""
    parts = ["percent"]
    if "protocol" in figures:
        parts.append(f"protocol {figures['protocol']} at {figures['image_size']} px")
    if "threshold_choice" in figures:
        parts.append(f"threshold {figures['threshold']:g}, {THRESHOLD_CHOICES[figures['threshold_choice']]}")
    parts.append(f"{figures['num_images']} images in {in_markdown(split)}")
    parts += [f"{FIGURES[name]} {figures[name]:.1f}" for name in SECOND_NAMES if name in figures]
    if figures.get("ten_crop"):
        parts.append("class of ten crops")
    count = figures.get("num_non_finite_maps", 0)
    if count:
        parts.append(f"not finite: {count} map{'s' if count > 1 else ''}, counted as showing nothing")
    return "; ".join(parts)


def versions() -> dict[str, str]:
    """The versions of everything that the figures depend on, as far as it is installed."""
    from . import __version__

    # with the build: it names the accelerator's libraries
    found = {"transformers_sat": __version__, "python": platform.python_version(), "torch": torch.__version__}
    for name in VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def training_record(training_args: TrainingArguments, area_loss_per_micro_batch: bool = False) -> dict:
    """
    What a reader has to know of a training run, for [`results_record`].

    Args:
        training_args ([`~transformers.TrainingArguments`]): Trainer's arguments.
        area_loss_per_micro_batch (`bool`, *optional*, defaults to `False`): that of `LocalizationTrainer`.

    Returns:
        `dict` with `training`, the settings that make the result, and `hardware`, the machine in words.
    """
    training = {name: getattr(training_args, name) for name in RECIPE if hasattr(training_args, name)}
    # schedule and optimizer are enumerations
    training |= {
        name: str(getattr(value, "value", value))
        for name, value in training.items()
        if type(value) not in (bool, int, float, str)
    }
    training["batch_size"] = total_batch_size(training_args)
    training |= area_loss_record(training_args.gradient_accumulation_steps, area_loss_per_micro_batch)
    training["precision"] = "bfloat16" if training_args.bf16 else "float16" if training_args.fp16 else "float32"
    # Trainer's steps win over its epochs
    del training["num_train_epochs" if training["max_steps"] > 0 else "max_steps"]
    return {"training": training, "hardware": hardware(training_args.device, training_args.world_size)}


def area_loss_record(gradient_accumulation_steps: int, per_micro_batch: bool) -> dict[str, str]:
    """What `training` says of an area loss that is not the paper's; nothing of the paper's."""
    return {"area_loss": "of each micro-batch alone"} if per_micro_batch and gradient_accumulation_steps > 1 else {}


def total_batch_size(training_args: TrainingArguments) -> int:
    """Images of a step, over all processes and accumulated batches."""
    return training_args.train_batch_size * training_args.world_size * training_args.gradient_accumulation_steps


def hardware(device: torch.device, num_processes: int) -> str:
    """The machine in words, for [`results_record`]."""
    if device.type == "cuda":
        return f"{num_processes} x {torch.cuda.get_device_name(device)}"
    return f"{num_processes} process{'es' if num_processes > 1 else ''} on {platform.machine()} {device.type}"


def repository_or_none(name: str | None) -> str | None:
    """A name that can be looked up on the Hub; a folder on this machine means nothing to a reader."""
    return name if name and REPOSITORY.fullmatch(name) and not os.path.exists(name) else None


def public_name(name: str | None) -> str | None:
    """What others may read of a name: a repository's as it is, of a folder on this machine the last part."""
    return name if name is None or repository_or_none(name) else os.path.basename(os.path.abspath(name))


def _check_figures(figures: Any, where: str, name: str):
    _check(figures, dict, where, name)
    for figure in (*FIGURES, "threshold"):
        # some need more classes, or logits, than there are
        if figures.get(figure) is not None:
            _check(figures[figure], float, where, f"{name}.{figure}")
    for count in ("num_images", "num_non_finite_maps", "image_size"):
        if count in figures:
            _check(figures[count], int, where, f"{name}.{count}")
    choice = figures.get("threshold_choice")
    if choice is not None and not (isinstance(choice, str) and choice in THRESHOLD_CHOICES):
        raise ValueError(
            f"{where}: `{visible(name)}.threshold_choice` must be one of {', '.join(THRESHOLD_CHOICES)}, "
            f"got {shown(choice)}."
        )
    for baseline in BASELINES:
        if baseline in figures:
            _check_figures(figures[baseline], where, f"{name}.{baseline}")


def _check(value: Any, kind: type, where: str, name: str) -> Any:
    """A value, if it is of a type; numbers as JSON has them, not as text, and neither NaN nor infinite."""
    if kind in (int, float):
        kinds = (int, float) if kind is float else int
        fits = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    else:
        fits = isinstance(value, kind)
    if not fits:
        expected = "an object" if kind is dict else EXPECTED[kind]
        raise ValueError(f"{where}: `{visible(name)}` must be {expected}, got {shown(value)}.")
    return value


__all__ = [
    "BASELINES",
    "FIGURES",
    "RECIPE",
    "RESULTS_FILE",
    "THRESHOLD_CHOICES",
    "area_loss_record",
    "caption",
    "check_results",
    "format_table",
    "hardware",
    "measured",
    "public_name",
    "read_results",
    "repository_or_none",
    "results_record",
    "summary",
    "table_cells",
    "total_batch_size",
    "training_record",
    "versions",
    "with_pixels",
    "write_results",
]
