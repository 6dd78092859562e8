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
"""The `evaluate` and `evaluate-maps` commands."""

import os
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import datasets
import torch
import transformers
from accelerate import PartialState
from transformers import BaseImageProcessor, PreTrainedConfig

from ..data import load_localization_dataset
from ..data.classes import class_names_of
from ..data.loading import check_headers
from ..escaping import on_console
from ..metrics import PROTOCOLS, get_protocol
from ..model.modeling_sat import SATForWeaklySupervisedLocalization
from ..results import RESULTS_FILE, results_record, summary, write_results
from ..safe_loading import load_model
from ..saving import save_threshold
from ..writing import check_folder
from .engine import EvaluationSettings, evaluate_split
from .report import draw_all, plots_of_maps, write_reports
from .score_maps import WsolMetadata, evaluate_score_maps
from .split import EvaluationSplit


# Of images whose maps are not finite.
MAX_IDS_PRINTED = 5
DEFAULT_SPLIT = "test"


def evaluate_model(options) -> dict:
    """
    Measures a saved model on a data set, prints the figures and, with `output`, writes them with plots and drawings.

    Started by `torchrun` or `accelerate launch`, all processes share the work, and the first one reports.

    Args:
        options: what to measure, and how: the fields of [`~transformers_sat.commands.evaluate.EvaluationOptions`].

    Returns:
        `dict`: what was written to `results.json`, or would have been; see
        [`~transformers_sat.results.results_record`].

    Raises:
        `ValueError`: if settings do not fit each other, the model or the data set.
    """
    check_options(options)
    state = start_processes()
    model, image_processor = load_model(options.model)
    model.to(state.device)
    # the main process writes the cache, the others read it
    with state.main_process_first():
        rows = load_rows(options, model)
    options = with_defaults(options, rows, image_processor)
    split, validation = splits_to_measure(rows, options, model.config)
    record, evaluations = record_of(options, state.num_processes), []
    for name in protocols_of(options):
        store = partial(store_threshold, options.model) if stores_threshold(options, name) else None
        other = None if validation is None else validation.under(name)
        settings = settings_of(options, name)
        evaluation = evaluate_split(model, image_processor, split.under(name), settings, other, store)
        evaluations.append(evaluation)
        record["results"][options.split][name] = evaluation.result
        if state.is_main_process and options.output is not None:
            write_results(options.output / RESULTS_FILE, record)
    if state.is_main_process:
        print_results(record)
        if options.output is not None:
            write_reports(evaluations, rows[options.split], model.config.id2label, options.output)
            print(f"results, images and plots: {on_console(str(options.output))}")
    return record


def protocols_of(options) -> list[str]:
    return list(PROTOCOLS) if options.protocol == "both" else [get_protocol(options.protocol).name]


def stores_threshold(options, protocol: str) -> bool:
    return options.save_threshold and PROTOCOLS[protocol].fits_post_processing


def settings_of(options, protocol: str) -> EvaluationSettings:
    """How one of the protocols measures. With two of them, ten crops are of the one that has them."""
    return EvaluationSettings(
        protocol=protocol,
        localization_threshold=options.localization_threshold,
        localization_thresholds=options.localization_thresholds,
        ten_crop=options.ten_crop and (PROTOCOLS[protocol].has_ten_crop or options.protocol != "both"),
        batch_size=options.batch_size,
        num_workers=options.num_workers,
        keep_images=options.output is not None,
        show_progress=True,
    )


def check_options(options):
    """What can be said before anything is loaded."""
    calibrates = options.localization_threshold in (None, "validation") and options.split != "validation"
    stores = any(stores_threshold(options, name) for name in protocols_of(options))
    if options.save_threshold and not (calibrates and stores and os.path.isdir(options.model)):
        raise ValueError(
            "`save_threshold` stores the threshold that is calibrated on the validation split under the `sat` "
            "protocol, which post-processing follows, in a model folder: it needs `localization_threshold` to be "
            "`validation`, `split` another one, `protocol` to be `sat` or `both`, and `model` a folder. Got "
            f"{options.localization_threshold}, {options.split}, {options.protocol} and {options.model}. "
            "`transformers-sat calibrate` stores a threshold without measuring another split."
        )
    if options.max_samples is not None and options.max_samples < 1:
        raise ValueError(f"`max_samples` must be at least 1, got {options.max_samples}.")
    if options.output is not None:
        check_folder(options.output)


def with_defaults(options, rows: dict[str, datasets.Dataset], image_processor: BaseImageProcessor):
    """
    The options with what the data and the model decide: the split, and where the maps are cut. On the validation split,
    which is there to choose on, the model's own threshold is measured.
    """
    split, threshold = options.split or next(iter(rows)), options.localization_threshold
    if options.split is None and split != DEFAULT_SPLIT:
        print(f"{options.dataset} has no `{DEFAULT_SPLIT}` split: `{split}` is measured.", file=sys.stderr)
    if threshold is None:
        threshold = image_processor.localization_threshold if split == "validation" else "validation"
        if options.save_threshold and split == "validation":
            raise ValueError(
                "`save_threshold` needs another split to measure than `validation`; `transformers-sat calibrate` chooses "
                "and stores the threshold on that one alone."
            )
    return SimpleNamespace(**vars(options) | {"split": split, "localization_threshold": threshold})


def record_of(options, num_processes: int) -> dict:
    """The record for `results.json`, with no figures yet."""
    # those are fields of the record, or say nothing of the figures
    others = ("model", "dataset", "dataset_config_name", "batch_size", "num_workers", "output")
    return results_record(
        {options.split: {}},
        command="transformers-sat evaluate",
        model=options.model,
        dataset=options.dataset,
        config_name=options.dataset_config_name,
        num_processes=num_processes,
        arguments={name: value for name, value in vars(options).items() if name not in others},
    )


def load_rows(options, model: SATForWeaklySupervisedLocalization) -> dict[str, datasets.Dataset]:
    """The rows to measure and, behind them, those of the validation split, if there are some."""
    rows = load_localization_dataset(
        options.dataset,
        options.dataset_config_name,
        {
            "image": options.image_column_name,
            "label": options.label_column_name,
            "objects": options.objects_column_name,
        },
        options.validation_fraction,
        model_classes=class_names_of(model.config),
    )
    split = options.split
    if split is None:
        split = "validation" if list(rows) == ["validation"] else DEFAULT_SPLIT
    if split not in rows:
        raise ValueError(
            f"The data set {options.dataset} has no split `{split}`, but {list(rows)}: give `--split` one."
        )
    measured = dict.fromkeys(name for name in (split, "validation") if name in rows)
    measured = {name: with_row_numbers(rows[name], options.max_samples) for name in measured}
    if PartialState().is_main_process:
        for name, dataset in measured.items():
            check_headers(dataset, f"the split `{name}`", "Mend them, or leave them out of the data set.")
    return measured


def splits_to_measure(
    rows: dict[str, datasets.Dataset], options, config: PreTrainedConfig
) -> tuple[EvaluationSplit, EvaluationSplit | None]:
    """
    The split to measure and, if the threshold is chosen on it, the validation split; `ValueError` if they cannot be.
    """
    split = EvaluationSplit.of(options.split, rows[options.split], config)
    # masks alone are measured at all thresholds
    if split.has_masks and not split.has_boxes:
        return split, None
    split.check_boxes()
    if options.localization_threshold != "validation":
        return split, None
    if "validation" not in rows:
        raise ValueError(
            f"The data set {options.dataset} has neither a `validation` split nor a `train` split to set one apart "
            "from, so the threshold cannot be calibrated: give `--localization_threshold` a number, or `oracle`."
        )
    if options.split == "validation":
        raise ValueError(
            "The threshold cannot be calibrated on the split that is measured: for `--split validation` give "
            "`--localization_threshold` a number, or `oracle`."
        )
    try:
        return split, EvaluationSplit.of("validation", rows["validation"], config).check_boxes()
    except ValueError as error:
        raise ValueError(f"{error} Without such, give `--localization_threshold` a number, or `oracle`.") from error


def store_threshold(folder: str, threshold: float):
    """Called when it is chosen: what is measured with it takes longer, and may fail."""
    if PartialState().is_main_process:
        save_threshold(folder, threshold)
        print(f"stored the localization threshold {threshold:g} in {on_console(folder)}")


def evaluate_maps(
    folder: Path,
    metadata: Path,
    split: str | None = None,
    protocol: str = "wsoleval",
    localization_threshold: str | float = "oracle",
    mask_root: Path | None = None,
    output: Path | None = None,
) -> dict:
    """
    Measures score maps that another method made, prints the figures and, with `output`, writes them with plots.

    Args:
        folder (`Path`): where the maps are.
        metadata (`Path`): metadata folder of wsolevaluation, the one with `image_ids.txt`, or the one above it.
        split (`str`, *optional*): folder below `metadata` that has the `image_ids.txt`.
        protocol, localization_threshold, mask_root: see [`evaluate_score_maps`].
        output (`Path`, *optional*): folder to write.

    Returns:
        `dict`: what was written to `results.json`, or would have been; see
        [`~transformers_sat.results.results_record`].
    """
    if output is not None:
        check_folder(output)
    if not folder.is_dir():
        raise ValueError(f"The folder of the score maps, {folder}, does not exist.")
    state = start_processes()
    lists = metadata if split is None else metadata / split
    known = WsolMetadata.read(lists)
    result, curves = evaluate_score_maps(
        folder, known, protocol, localization_threshold, mask_root, show_progress=True
    )
    record = results_record(
        {lists.resolve().name: {protocol: result}},
        command="transformers-sat evaluate-maps",
        score_maps=str(folder),
        metadata=str(metadata),
        num_processes=state.num_processes,
        arguments={"localization_threshold": localization_threshold},
    )
    if not state.is_main_process:
        return record
    print_results(record, "maps")
    if output is not None:
        write_results(output / RESULTS_FILE, record)
        draw_all(plots_of_maps(result, curves, output))
        print(f"results and plots: {on_console(str(output))}")
    return record


def print_results(record: dict, heading: str = "SAT"):
    print(summary(record["results"], heading))
    for by_protocol in record["results"].values():
        for result in by_protocol.values():
            print_not_finite(result)


def print_not_finite(result: dict):
    """Which maps count as showing nothing, if there are any; `results.json` has all of them."""
    ids = result.get("non_finite_image_ids")
    if ids:
        listed = ", ".join(map(str, ids[:MAX_IDS_PRINTED])) + (", ..." if len(ids) > MAX_IDS_PRINTED else "")
        print(on_console(f"maps that are not finite, counted as showing nothing: {len(ids)} ({listed})"))


def start_processes() -> PartialState:
    """
    Joins the other processes, if this one was started by a launcher.

    Raises:
        `RuntimeError`: if the launcher started several that did not find each other, as each would measure everything.
    """
    on_cpu = not torch.accelerator.is_available() or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")
    state = PartialState(cpu=on_cpu)
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if state.num_processes != launched:
        raise RuntimeError(f"{launched} processes were started, but {state.num_processes} found each other.")
    if not state.is_main_process:
        transformers.utils.logging.set_verbosity_error()
        datasets.utils.logging.set_verbosity_error()
        datasets.disable_progress_bars()
    elif not sys.stderr.isatty():
        datasets.disable_progress_bars()
    return state


def with_row_numbers(dataset: datasets.Dataset, max_samples: int | None) -> datasets.Dataset:
    """The split or some of it, whose images have an `image_id`: without one of their own, their number."""
    if "image_id" not in dataset.column_names:
        dataset = dataset.add_column("image_id", list(range(len(dataset))))
    if max_samples is not None and max_samples < len(dataset):
        # the first rows of a split are often of few classes
        dataset = dataset.shuffle(seed=0).select(range(max_samples))
    return dataset


__all__ = ["evaluate_maps", "evaluate_model"]
