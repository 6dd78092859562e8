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
from transformers import BaseImageProcessor

from ..data import EMBEDDED_DATASET, load_localization_dataset
from ..data.loading import has_boxes, has_masks
from ..escaping import on_console
from ..metrics import PROTOCOLS, get_protocol
from ..model.modeling_sat import SATForWeaklySupervisedLocalization
from ..results import RESULTS_FILE, results_record, summary, write_results
from ..safe_loading import load_model
from ..writing import replacing_files
from .engine import LocalizationEvaluation, check_boxes, evaluate_localization
from .pixels import PixelEvaluation, evaluate_pixels
from .report import draw_all, plots_of_maps, write_reports
from .score_maps import WsolMetadata, evaluate_score_maps


# Of images whose maps are not finite.
MAX_IDS_PRINTED = 5


@dataclass
class EvaluationSettings:
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
            See [`evaluate_localization`]. With two protocols, `ten_crop` is of `"sat"`.
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

    def check(self):
        can_be_stored = self.calibrates and os.path.isdir(self.model)
        if self.save_threshold and not (can_be_stored and any(map(self.stores_threshold, self.protocols))):
            raise ValueError(
                "`save_threshold` stores the threshold that is calibrated on the validation split under the `sat` "
                "protocol, which post-processing follows, in a model folder: it needs `localization_threshold` to be "
                f"`validation`, `protocol` to be `sat` or `both`, and `model` a folder. Got {self.localization_threshold}, "
                f"{self.protocol} and {self.model}."
            )
        if self.max_samples is not None and self.max_samples < 1:
            raise ValueError(f"`max_samples` must be at least 1, got {self.max_samples}.")
        check_output(self.output)

    def record(self, num_processes: int) -> dict:
        """The record for `results.json`, with no figures yet."""
        options = asdict(self)
        # those are fields of the record, or say nothing of the figures
        for name in ("model", "dataset", "dataset_config_name", "batch_size", "num_workers", "output"):
            del options[name]
        return results_record(
            {self.split: {}},
            command="transformers-sat evaluate",
            model=self.model,
            dataset=self.dataset,
            config_name=self.dataset_config_name,
            num_processes=num_processes,
            arguments=options,
        )


def evaluate_model(settings: EvaluationSettings) -> dict:
    """
    Measures a saved model on a data set, prints the figures and, with `output`, writes them with plots and drawings.

    Started by `torchrun` or `accelerate launch`, all processes share the work, and the first one reports.

    Args:
        settings ([`EvaluationSettings`]): what to measure, and how.

    Returns:
        `dict`: what was written to `results.json`, or would have been; see [`~transformers_sat.results.results_record`].

    Raises:
        `ValueError`: if settings do not fit each other, the model or the data set.
    """
    settings.check()
    state = start_processes()
    model, image_processor = load_model(settings.model)
    model.to(state.device)
    # the main process writes the cache, the others read it
    with state.main_process_first():
        splits = load_splits(settings, model)
    record, evaluations = settings.record(state.num_processes), []
    for protocol in settings.protocols:
        evaluation = measure(settings, protocol, model, image_processor, splits)
        evaluations.append(evaluation)
        record["results"][settings.split][protocol] = evaluation.result
        if state.is_main_process and settings.output is not None:
            write_results(settings.output / RESULTS_FILE, record)
    if state.is_main_process:
        print_results(record)
        if settings.output is not None:
            write_reports(evaluations, splits[settings.split], model.config.id2label, settings.output)
            print(f"results, images and plots: {on_console(str(settings.output))}")
    return record


def load_splits(
    settings: EvaluationSettings, model: SATForWeaklySupervisedLocalization
) -> dict[str, datasets.Dataset]:
    """The split to measure and, if there is one, the validation split; `ValueError` if they cannot be measured as asked."""
    splits = load_localization_dataset(
        settings.dataset,
        settings.dataset_config_name,
        settings.image_column_name,
        settings.label_column_name,
        settings.objects_column_name,
        settings.validation_fraction,
        model_classes=list(model.config.id2label.values()),
    )
    if settings.split not in splits:
        raise ValueError(f"The data set {settings.dataset} has no split `{settings.split}`, but {list(splits)}.")
    # masks alone are measured at all thresholds
    if not has_masks_alone(splits[settings.split]):
        check_boxes(splits[settings.split], settings.split)
        if settings.calibrates:
            check_calibration(splits, settings)
    measured = {settings.split, "validation"} & set(splits)
    return {name: with_row_numbers(splits[name], settings.max_samples) for name in measured}


def has_masks_alone(dataset: datasets.Dataset) -> bool:
    return has_masks(dataset) and not has_boxes(dataset)


def measure(
    settings: EvaluationSettings,
    protocol: str,
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    splits: dict[str, datasets.Dataset],
) -> LocalizationEvaluation | PixelEvaluation:
    """What is found by one protocol: by boxes, or by masks if there are no boxes."""
    dataset = splits[settings.split]
    shared = {"protocol": protocol, "batch_size": settings.batch_size, "num_workers": settings.num_workers}
    if has_masks_alone(dataset):
        return evaluate_pixels(model, image_processor, dataset, **shared, show_progress=True)
    return evaluate_localization(
        model,
        image_processor,
        dataset,
        **shared,
        threshold=settings.localization_threshold,
        validation_dataset=splits["validation"] if settings.calibrates else None,
        thresholds=settings.localization_thresholds,
        ten_crop=settings.ten_crop and (PROTOCOLS[protocol].has_ten_crop or len(settings.protocols) == 1),
        with_images=settings.output is not None,
        show_progress=True,
        # when it is chosen: what is measured with it takes longer, and may fail
        on_calibration=partial(store_threshold, settings.model, image_processor)
        if settings.stores_threshold(protocol)
        else None,
    )


def store_threshold(folder: str, image_processor: BaseImageProcessor, threshold: float):
    if not PartialState().is_main_process:
        return
    image_processor.localization_threshold = threshold
    with replacing_files(folder) as unfinished:
        image_processor.save_pretrained(unfinished)
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
        `dict`: what was written to `results.json`, or would have been; see [`~transformers_sat.results.results_record`].
    """
    check_output(output)
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


def check_calibration(splits: dict[str, datasets.Dataset], settings: EvaluationSettings):
    if "validation" not in splits:
        raise ValueError(
            f"The data set {settings.dataset} has neither a `validation` split nor a `train` split to set one apart from, so "
            "the threshold cannot be calibrated: give `--localization_threshold` a number, or `oracle`."
        )
    if settings.split == "validation":
        raise ValueError(
            "The threshold cannot be calibrated on the split that is measured: for `--split validation` give "
            "`--localization_threshold` a number, or `oracle`."
        )
    try:
        check_boxes(splits["validation"], "validation")
    except ValueError as error:
        raise ValueError(f"{error} Without such, give `--localization_threshold` a number, or `oracle`.") from error


def check_output(output: Path | None):
    if output is not None and output.is_file():
        raise ValueError(f"{output} is a file; give a folder to write.")


__all__ = ["EvaluationSettings", "evaluate_maps", "evaluate_model"]
