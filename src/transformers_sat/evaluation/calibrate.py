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
"""The `calibrate` command: the localization threshold of a model that is finished."""

import os
from pathlib import Path

import datasets
import torch
from accelerate import PartialState
from transformers import BaseImageProcessor

from ..data.loading import open_splits
from ..escaping import on_console
from ..metrics import MapHistogram, get_protocol
from ..metrics.pixel_average_precision import pixel_ious
from ..model.modeling_sat import SATForWeaklySupervisedLocalization
from ..results import format_table
from ..safe_loading import ModelFiles, load_model
from ..saving import save_threshold
from ..writing import replacing_files
from .engine import EvaluationSettings, measure_split
from .evaluate import load_rows, start_processes, with_row_numbers
from .split import EvaluationSplit


# Of Otsu's threshold; docs/threshold.md says where the share is from, and what it costs elsewhere.
OTSU_SHARE = 0.5
# Post-processing cuts maps as this protocol does.
PROTOCOL = get_protocol("sat")


def calibrate_model(options) -> float:
    """
    Chooses the localization threshold of a saved model, or takes the one that is given, prints the figures at the old and
    the new one, and stores it.

    Args:
        options: the fields of [`~transformers_sat.commands.calibrate.CalibrationOptions`].

    Returns:
        `float`: the threshold that is stored now.

    Raises:
        `ValueError`: if settings do not fit each other, the model or the data set.
    """
    check_options(options)
    state = start_processes()
    model, image_processor = load_model(options.model)
    model.to(state.device)
    old = image_processor.localization_threshold
    if options.dataset is None:
        new, reason, rows = options.localization_threshold, "given", {}
    else:
        new, reason, rows = measure(options, model, image_processor, state)
    if state.is_main_process:
        print(f"localization threshold: {old:g} -> {new:g}, {reason}")
        if rows:
            print(format_table(rows))
        for path in store(options, new):
            print(f"stored in {on_console(str(path))}")
    return new


def check_options(options):
    """What can be said before anything is loaded."""
    given = options.localization_threshold
    if given is not None and not 0 <= given <= 1:
        raise ValueError(f"`--localization_threshold` must be from 0 to 1, got {given}.")
    if given is not None and (options.method == "otsu" or options.localization_thresholds is not None):
        raise ValueError(
            "`--localization_threshold` is the threshold itself: leave out `--method otsu` and "
            "`--localization_thresholds`, which choose one."
        )
    if options.method == "otsu" and options.localization_thresholds is not None:
        raise ValueError("`--localization_thresholds` are for the choice by boxes; `--method otsu` chooses by itself.")
    if given is None and options.dataset is None:
        raise ValueError(
            "Name a data set to choose the threshold on, with boxes or for `--method otsu` without, or give "
            "`--localization_threshold` a number."
        )
    if options.max_samples is not None and options.max_samples < 1:
        raise ValueError(f"`--max_samples` must be at least 1, got {options.max_samples}.")
    check_places(options.model, options.output)


def check_places(model: str, output: Path | None):
    is_folder = os.path.isdir(model)
    if output is None:
        if not is_folder:
            raise ValueError(
                f"{model} is no folder here: give `--output` a folder, for a copy with the new threshold."
            )
    elif output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise ValueError(f"`--output` must be a new or empty folder, got {output}.")
    elif is_folder and output.resolve().is_relative_to(Path(model).resolve()):
        raise ValueError(f"`--output` must lie outside of the model, got {output}.")


def measure(
    options, model: SATForWeaklySupervisedLocalization, image_processor: BaseImageProcessor, state: PartialState
) -> tuple[float, str, dict[str, dict]]:
    """The new threshold, where it comes from, and rows of figures at the old and the new one, if there are such."""
    old, new, reason = image_processor.localization_threshold, options.localization_threshold, "given"
    images, split = None, None
    # the main process writes the cache, the others read it
    with state.main_process_first():
        if options.method == "otsu":
            images = load_images(options)
        if images is None or {options.label_column_name, options.objects_column_name} <= set(images.column_names):
            split = load_split(options, model)
    if images is not None:
        new, reason = otsu_choice(options, model, image_processor, images)
    if split is None:
        return new, reason, {}
    candidates = [new]
    if new is None:
        candidates = options.localization_thresholds or PROTOCOL.calibration_thresholds
        reason = f"the best of {len(candidates)} on the {len(split.dataset)} images of `{split.name}`"
    settings = settings_of(options, localization_threshold=old, localization_thresholds=candidates)
    counts = measure_split(model, image_processor, split, settings).counts
    if split.has_boxes:
        new = counts.boxes.best_threshold(candidates)
        figures = {threshold: counts.compute(threshold=threshold) for threshold in (old, new)}
    else:
        # average precision is of all thresholds, and the same at both
        ious = pixel_ious(counts.pixels.curve(), [*candidates, old])
        new = max(candidates, key=lambda threshold: ious[threshold])
        figures = {threshold: {"pixel_iou": ious[threshold]} for threshold in (old, new)}
    return new, reason, {f"at {threshold:g}": row for threshold, row in figures.items()}


def load_split(options, model: SATForWeaklySupervisedLocalization) -> EvaluationSplit:
    """The split with its boxes or masks; `ValueError` if it has neither."""
    rows = load_rows(options, model)[options.split]
    split = EvaluationSplit.of(options.split, rows, model.config, PROTOCOL)
    if split.has_masks:
        return split.check_labels()
    try:
        return split.check_boxes()
    except ValueError as error:
        advice = "Without boxes or masks, `--method otsu` chooses by the images alone."
        if options.localization_threshold is not None:
            advice = "To store the threshold without figures, leave out the data set."
        raise ValueError(f"{error} {advice}") from error


def settings_of(options, **thresholds) -> EvaluationSettings:
    return EvaluationSettings(
        protocol=PROTOCOL,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
        keep_images=False,
        show_progress=True,
        **thresholds,
    )


def load_images(options) -> datasets.Dataset:
    """The images of the split, or of the only one that there is; nothing else of them is needed."""
    splits = open_splits(options.dataset, options.dataset_config_name)
    name = options.split
    if name not in splits and len(splits) == 1:
        (name,) = splits
    if name not in splits:
        raise ValueError(
            f"The data set {options.dataset} has no split `{name}`, but {list(splits)}: give `--split` one."
        )
    images = splits[name]
    if options.image_column_name not in images.column_names:
        raise ValueError(
            f"The split `{name}` of {options.dataset} has no column `{options.image_column_name}`; name it with "
            f"`--image_column_name`. Its columns are {images.column_names}."
        )
    return with_row_numbers(images, options.max_samples)


def otsu_choice(
    options,
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    images: datasets.Dataset,
) -> tuple[float, str]:
    """A share of Otsu's threshold of all maps, and what it is."""
    images = images.select_columns([options.image_column_name])
    if options.image_column_name != "image":
        images = images.rename_column(options.image_column_name, "image")
    split = EvaluationSplit.of(options.split, images, model.config, PROTOCOL)
    histogram = MapHistogram(split.image_size)

    def add(batch: dict, maps: torch.Tensor, scores: torch.Tensor):
        histogram.update(maps)

    measure_split(model, image_processor, split, settings_of(options), after_batch=add)
    otsu = histogram.all_reduce_().otsu_threshold()
    return round(OTSU_SHARE * otsu, 3), f"{OTSU_SHARE:g} of Otsu's threshold {otsu:.3f} of {len(images)} maps"


def store(options, threshold: float) -> list[Path]:
    """The files that have the threshold now: in the model's folder, or in a copy of the whole model."""
    if options.output is None:
        return [Path(options.model, name) for name in save_threshold(options.model, threshold)]
    with replacing_files(options.output) as unfinished:
        ModelFiles(options.model).copy_to(unfinished)
        names = save_threshold(unfinished, threshold)
    return [options.output / name for name in names]


__all__ = ["calibrate_model"]
