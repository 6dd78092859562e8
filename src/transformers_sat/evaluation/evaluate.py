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
"""What `transformers-sat evaluate` and `evaluate-maps` do: measure, print, write."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import datasets
import torch
import transformers
from accelerate import PartialState
from transformers import PreTrainedConfig

from ..data import load_localization_dataset
from ..escaping import on_console
from ..metrics import PROTOCOLS, get_protocol
from ..results import RESULTS_FILE, results_record, summary, write_results
from ..safe_loading import load_model
from ..writing import replacing_files
from .engine import EvaluationSettings, LocalizationEvaluation, evaluate_split
from .plots import plot_precision_recall, plot_thresholds
from .report import draw_all, write_reports
from .score_maps import WsolMetadata, evaluate_score_maps
from .split import EvaluationSplit


# Of images whose maps are not finite.
MAX_IDS_PRINTED = 5


def evaluate_model(
    model: str,
    data: dict,
    settings: EvaluationSettings,
    split: str = "test",
    max_samples: int | None = None,
    save_threshold: bool = False,
    output: Path | None = None,
) -> dict:
    """
    Measures a saved model on a data set, prints the figures and, with `output`, writes them with plots and drawings.

    Started by `torchrun` or `accelerate launch`, all processes share the work, and the first one reports.

    Args:
        model (`str`): SAT model, repository on the Hub or folder.
        data (`dict`): arguments of [`load_localization_dataset`], such as `name`.
        settings ([`EvaluationSettings`]):
            How to measure. `protocol` may be `"both"`; `ten_crop` is then of `"sat"`. Images are kept if there is an
            `output`.
        split (`str`, *optional*, defaults to `"test"`): split to measure.
        max_samples (`int`, *optional*): measure only that many images of each split, drawn at random.
        save_threshold (`bool`, *optional*, defaults to `False`):
            Whether to store the threshold of `"sat"`, calibrated on the validation split, in the model's folder.
        output (`Path`, *optional*): folder to write.

    Returns:
        `dict`: what was written to `results.json`, or would have been.

    Raises:
        `ValueError`: if an argument has none of the described values, or the data lack what is asked for.
    """
    protocols = list(PROTOCOLS) if settings.protocol == "both" else [get_protocol(settings.protocol).name]
    stored_under = next((name for name in protocols if PROTOCOLS[name].fits_post_processing), None)
    if save_threshold:
        check_storing(model, settings, stored_under)
    if max_samples is not None and max_samples < 1:
        raise ValueError(f"`max_samples` must be at least 1, got {max_samples}.")
    check_output(output)
    state = start_processes()
    network, image_processor = load_model(model)
    network.to(state.device)
    # the main process writes the cache, the others read it
    with state.main_process_first():
        loaded = load_localization_dataset(**data, model_classes=list(network.config.id2label.values()))
        if split not in loaded:
            raise ValueError(f"The data set {data['name']} has no split `{split}`, but {list(loaded)}.")
        rows = {name: with_row_numbers(loaded[name], max_samples) for name in loaded if name in (split, "validation")}
    record = results_record(
        {split: {}},
        command="transformers-sat evaluate",
        model=model,
        dataset=data["name"],
        config_name=data.get("config_name"),
        num_processes=state.num_processes,
    )
    measured, validation = splits_to_measure(rows, split, network.config, settings)
    evaluations = {}
    for name in protocols:
        store = partial(store_threshold, image_processor, model) if save_threshold and name == stored_under else None
        own = replace(
            settings,
            protocol=name,
            keep_images=output is not None,
            show_progress=True,
            ten_crop=settings.ten_crop and (PROTOCOLS[name].has_ten_crop or len(protocols) == 1),
        )
        evaluations[name] = evaluate_split(
            network, image_processor, measured.under(name), own, validation and validation.under(name), store
        )
        record["results"][split][name] = evaluations[name].result
        if state.is_main_process and output is not None:
            write_results(output / RESULTS_FILE, record)
    if state.is_main_process:
        report(evaluations, record, network.config.id2label, rows[split], output)
    return record


def splits_to_measure(
    rows: dict[str, datasets.Dataset], split: str, config: PreTrainedConfig, settings: EvaluationSettings
) -> tuple[EvaluationSplit, EvaluationSplit | None]:
    """
    The split to measure and, if the threshold is to be chosen on it, the validation split.

    Raises:
        `ValueError`: if what is asked for cannot be measured on them.
    """
    measured = EvaluationSplit.of(split, rows[split], config)
    if measured.has_masks and not measured.has_boxes:
        # they are measured at all thresholds
        return measured, None
    if settings.localization_threshold == "validation" and "validation" not in rows:
        raise ValueError(
            "The data set has neither a `validation` split nor a `train` split to set one apart from, so the threshold "
            "cannot be calibrated: give `--localization_threshold` a number, or `oracle`."
        )
    measured.check_boxes()
    if settings.localization_threshold != "validation":
        return measured, None
    if split == "validation":
        raise ValueError(
            "The threshold cannot be calibrated on the split that is measured: for `--split validation` give a number or "
            "`oracle` as the localization threshold."
        )
    try:
        validation = EvaluationSplit.of("validation", rows["validation"], config).check_boxes()
    except ValueError as error:
        raise ValueError(f"{error} Without such, give `--localization_threshold` a number, or `oracle`.") from error
    return measured, validation


def store_threshold(image_processor, model: str, chosen: float):
    """Called when it is chosen: what is measured with it takes longer, and may fail."""
    if not PartialState().is_main_process:
        return
    image_processor.localization_threshold = chosen
    with replacing_files(model) as unfinished:
        image_processor.save_pretrained(unfinished)
    print(f"stored the localization threshold {chosen:g} in {on_console(model)}")


def report(
    evaluations: dict[str, LocalizationEvaluation],
    record: dict,
    class_names: dict[int, str],
    dataset: datasets.Dataset,
    output: Path | None,
):
    """Prints the figures and, with `output`, writes one row an image, plots and drawings."""
    print(summary(record["results"]))
    for evaluation in evaluations.values():
        print_not_finite(evaluation.result)
    if output is not None:
        write_reports(evaluations.values(), class_names, dataset, output)
        print(f"results, images and plots: {on_console(str(output))}")


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
        `dict`: what was written to `results.json`, or would have been.
    """
    check_output(output)
    if not folder.is_dir():
        raise ValueError(f"The folder of the score maps, {folder}, does not exist.")
    state = start_processes()
    known = WsolMetadata.read(metadata if split is None else metadata / split)
    result, curves = evaluate_score_maps(
        folder, known, protocol, localization_threshold, mask_root, show_progress=True
    )
    record = results_record(
        {split or metadata.name: {protocol: result}},
        command="transformers-sat evaluate-maps",
        score_maps=str(folder),
        metadata=str(metadata),
        num_processes=state.num_processes,
    )
    if not state.is_main_process:
        return record
    print(summary(record["results"], heading="maps"))
    print_not_finite(result)
    if output is not None:
        write_results(output / RESULTS_FILE, record)
        draw_all(plot_of_maps(result, curves, output))
        print(f"results and plots: {on_console(str(output))}")
    return record


def plot_of_maps(result: dict, curves: dict, output: Path) -> dict[Path, Callable[[Path], None]]:
    """The plot of the accuracies by threshold, or with masks of precision and recall, for [`draw_all`]."""
    title = f"protocol {result['protocol']}, {result['num_images']} images"
    if "pxap" in result:
        kind, plot = "precision_recall", partial(plot_precision_recall, curves, result["pxap"], title)
    else:
        kind, plot = "thresholds", partial(plot_thresholds, curves, result["threshold"], title)
    return {output / f"{kind}_{result['protocol']}.png": plot}


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


def check_storing(model: str, settings: EvaluationSettings, stored_under: str | None):
    if settings.localization_threshold != "validation" or stored_under is None or not os.path.isdir(model):
        raise ValueError(
            "`save_threshold` stores the threshold that is calibrated on the validation split under the `sat` protocol, "
            "which post-processing follows, in a model folder: it needs `localization_threshold` to be `validation`, "
            f"`protocol` to be `sat` or `both`, and `model` a folder. Got {settings.localization_threshold}, "
            f"{settings.protocol} and {model}."
        )


def check_output(output: Path | None):
    if output is not None and output.is_file():
        raise ValueError(f"{output} is a file; give a folder to write.")


__all__ = ["evaluate_maps", "evaluate_model"]
