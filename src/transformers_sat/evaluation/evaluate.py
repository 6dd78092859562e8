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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import datasets
import torch
import transformers
from accelerate import PartialState
from transformers import BaseImageProcessor, PreTrainedConfig

from ..data import EMBEDDED_DATASET, load_localization_dataset
from ..data.classes import class_names_of
from ..escaping import on_console
from ..metrics import PROTOCOLS, get_protocol
from ..model.modeling_sat import SATForWeaklySupervisedLocalization
from ..results import RESULTS_FILE, results_record, summary, write_results
from ..safe_loading import load_model
from ..saving import save_image_processor
from ..writing import check_folder
from .engine import EvaluationSettings, evaluate_split
from .report import draw_all, plots_of_maps, write_reports
from .score_maps import WsolMetadata, evaluate_score_maps
from .split import EvaluationSplit


# Of images whose maps are not finite.
MAX_IDS_PRINTED = 5


@dataclass
class EvaluationOptions:
    """
    What `transformers-sat evaluate` measures; each field is an option.

    Args:
        model (`str`): SAT model, repository on the Hub or folder.
        dataset (`str`, *optional*, defaults to `"emblems"`):
            What [`load_localization_dataset`] loads; it also has `dataset_config_name`, the names of the columns and
            `validation_fraction`.
        split (`str`, *optional*, defaults to `"test"`): split to measure.
        protocol (`str`, *optional*, defaults to `"sat"`): `"sat"`, `"wsoleval"` or `"both"`.
        localization_threshold, localization_thresholds, ten_crop, batch_size, num_workers:
            See [`EvaluationSettings`]. With two protocols, `ten_crop` is of `"sat"`.
        save_threshold (`bool`, *optional*, defaults to `False`):
            Whether to store the threshold of `"sat"`, calibrated on the validation split, in the model's folder.
        max_samples (`int`, *optional*): measure only that many images of each split, drawn at random.
        output (`Path`, *optional*): folder to write.
    """

    model: str
    dataset: str = EMBEDDED_DATASET
    dataset_config_name: str | None = None
    split: str = "test"
    image_column_name: str = "image"
    label_column_name: str = "label"
    objects_column_name: str = "objects"
    validation_fraction: float = 0.1
    protocol: str = "sat"
    localization_threshold: str | float = "validation"
    localization_thresholds: Sequence[float] | None = None
    ten_crop: bool = False
    save_threshold: bool = False
    max_samples: int | None = None
    batch_size: int = 32
    num_workers: int = 0
    output: Path | None = None

    @property
    def protocols(self) -> list[str]:
        return list(PROTOCOLS) if self.protocol == "both" else [get_protocol(self.protocol).name]

    @property
    def calibrates(self) -> bool:
        return self.localization_threshold == "validation"

    def stores_threshold(self, protocol: str) -> bool:
        return self.save_threshold and PROTOCOLS[protocol].fits_post_processing

    def settings(self, protocol: str) -> EvaluationSettings:
        """How one of the protocols measures."""
        return EvaluationSettings(
            protocol=protocol,
            localization_threshold=self.localization_threshold,
            localization_thresholds=self.localization_thresholds,
            ten_crop=self.ten_crop and (PROTOCOLS[protocol].has_ten_crop or len(self.protocols) == 1),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            keep_images=self.output is not None,
            show_progress=True,
        )

    def check(self):
        can_be_stored = self.calibrates and os.path.isdir(self.model)
        if self.save_threshold and not (can_be_stored and any(map(self.stores_threshold, self.protocols))):
            raise ValueError(
                "`save_threshold` stores the threshold that is calibrated on the validation split under the `sat` "
                "protocol, which post-processing follows, in a model folder: it needs `localization_threshold` to be "
                f"`validation`, `protocol` to be `sat` or `both`, and `model` a folder. Got "
                f"{self.localization_threshold}, {self.protocol} and {self.model}."
            )
        if self.max_samples is not None and self.max_samples < 1:
            raise ValueError(f"`max_samples` must be at least 1, got {self.max_samples}.")
        if self.output is not None:
            check_folder(self.output)

    def record(self, num_processes: int) -> dict:
        """The record for `results.json`, with no figures yet."""
        arguments = asdict(self)
        # those are fields of the record, or say nothing of the figures
        for name in ("model", "dataset", "dataset_config_name", "batch_size", "num_workers", "output"):
            del arguments[name]
        return results_record(
            {self.split: {}},
            command="transformers-sat evaluate",
            model=self.model,
            dataset=self.dataset,
            config_name=self.dataset_config_name,
            num_processes=num_processes,
            arguments=arguments,
        )


def evaluate_model(options: EvaluationOptions) -> dict:
    """
    Measures a saved model on a data set, prints the figures and, with `output`, writes them with plots and drawings.

    Started by `torchrun` or `accelerate launch`, all processes share the work, and the first one reports.

    Args:
        options ([`EvaluationOptions`]): what to measure, and how.

    Returns:
        `dict`: what was written to `results.json`, or would have been; see
        [`~transformers_sat.results.results_record`].

    Raises:
        `ValueError`: if settings do not fit each other, the model or the data set.
    """
    options.check()
    state = start_processes()
    model, image_processor = load_model(options.model)
    model.to(state.device)
    # the main process writes the cache, the others read it
    with state.main_process_first():
        rows = load_rows(options, model)
    split, validation = splits_to_measure(rows, options, model.config)
    record, evaluations = options.record(state.num_processes), []
    for name in options.protocols:
        store = partial(store_threshold, options.model, image_processor) if options.stores_threshold(name) else None
        other = None if validation is None else validation.under(name)
        evaluation = evaluate_split(model, image_processor, split.under(name), options.settings(name), other, store)
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


def load_rows(options: EvaluationOptions, model: SATForWeaklySupervisedLocalization) -> dict[str, datasets.Dataset]:
    """The rows to measure and, if there are some, those of the validation split."""
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
    if options.split not in rows:
        raise ValueError(f"The data set {options.dataset} has no split `{options.split}`, but {list(rows)}.")
    measured = {options.split, "validation"} & set(rows)
    return {name: with_row_numbers(rows[name], options.max_samples) for name in measured}


def splits_to_measure(
    rows: dict[str, datasets.Dataset], options: EvaluationOptions, config: PreTrainedConfig
) -> tuple[EvaluationSplit, EvaluationSplit | None]:
    """
    The split to measure and, if the threshold is chosen on it, the validation split; `ValueError` if they cannot be.
    """
    split = EvaluationSplit.of(options.split, rows[options.split], config)
    # masks alone are measured at all thresholds
    if split.has_masks and not split.has_boxes:
        return split, None
    split.check_boxes()
    if not options.calibrates:
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


def store_threshold(folder: str, image_processor: BaseImageProcessor, threshold: float):
    """Called when it is chosen: what is measured with it takes longer, and may fail."""
    if not PartialState().is_main_process:
        return
    image_processor.localization_threshold = threshold
    save_image_processor(image_processor, folder)
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


__all__ = ["EvaluationOptions", "evaluate_maps", "evaluate_model"]
