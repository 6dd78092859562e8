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
from functools import partial
from pathlib import Path

import datasets
import torch
import transformers
from accelerate import PartialState

from ..data import EMBEDDED_DATASET, load_localization_dataset
from ..data.loading import has_boxes, has_masks
from ..escaping import on_console
from ..metrics import PROTOCOLS, get_protocol
from ..safe_loading import load_model
from ..training.metrics import format_table
from ..writing import replacing_files, write_json
from .engine import check_boxes, evaluate_localization
from .pixels import PixelEvaluation, evaluate_pixels
from .plots import plot_precision_recall, plot_thresholds
from .report import caption, draw_all, summary, versions, write_reports
from .score_maps import WsolMetadata, evaluate_score_maps


# Of images whose maps are not finite.
MAX_IDS_PRINTED = 5


def evaluate_model(
    model: str,
    dataset: str = EMBEDDED_DATASET,
    config_name: str | None = None,
    split: str = "test",
    image_column: str = "image",
    label_column: str = "label",
    objects_column: str = "objects",
    validation_fraction: float = 0.1,
    protocol: str = "sat",
    threshold: str | float = "validation",
    thresholds: Sequence[float] | None = None,
    ten_crop: bool = False,
    save_threshold: bool = False,
    max_samples: int | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    output: Path | None = None,
) -> dict:
    """
    Measures a saved model on a data set, prints the figures and, with `output`, writes them with plots and drawings.

    Started by `torchrun` or `accelerate launch`, all processes share the work, and the first one reports.

    Args:
        model (`str`): SAT model, repository on the Hub or folder.
        dataset (`str`, *optional*, defaults to `"emblems"`):
            What [`load_localization_dataset`] loads; it also has `config_name`, the columns and `validation_fraction`.
        split (`str`, *optional*, defaults to `"test"`): split to measure.
        protocol (`str`, *optional*, defaults to `"sat"`): `"sat"`, `"wsoleval"` or `"both"`.
        threshold, thresholds, ten_crop, batch_size, num_workers: see [`evaluate_localization`]. With two protocols,
            `ten_crop` is of `"sat"`.
        save_threshold (`bool`, *optional*, defaults to `False`):
            Whether to store the threshold of `"sat"`, calibrated on the validation split, in the model's folder.
        max_samples (`int`, *optional*): measure only that many images of each split, drawn at random.
        output (`Path`, *optional*): folder to write.

    Returns:
        `dict`: what was written to `results.json`, or would have been.
    """
    protocols = list(PROTOCOLS) if protocol == "both" else [get_protocol(protocol).name]
    stored_under = next((name for name in protocols if PROTOCOLS[name].fits_post_processing), None)
    if save_threshold and (threshold != "validation" or stored_under is None or not os.path.isdir(model)):
        raise ValueError(
            "`save_threshold` stores the threshold that is calibrated on the validation split under the `sat` protocol, "
            "which post-processing follows, in a model folder: it needs `threshold` to be `validation`, `protocol` to be "
            f"`sat` or `both`, and `model` a folder. Got {threshold}, {protocol} and {model}."
        )
    if max_samples is not None and max_samples < 1:
        raise ValueError(f"`max_samples` must be at least 1, got {max_samples}.")
    check_output(output)
    state = start_processes()
    network, image_processor = load_model(model)
    network.to(state.device)
    # the main process writes the cache, the others read it
    with state.main_process_first():
        splits = load_localization_dataset(
            dataset,
            config_name,
            image_column,
            label_column,
            objects_column,
            validation_fraction,
            model_classes=list(network.config.id2label.values()),
        )
        if split not in splits:
            raise ValueError(f"The data set {dataset} has no split `{split}`, but {list(splits)}.")
        # masks alone are measured at all thresholds
        pixels_only = not has_boxes(splits[split]) and has_masks(splits[split])
        if threshold == "validation" and "validation" not in splits and not pixels_only:
            raise ValueError(
                f"The data set {dataset} has neither a `validation` split nor a `train` split to set one apart from, so the "
                "threshold cannot be calibrated: give `--threshold` a number, or `oracle`."
            )
        measured = {split, "validation"} & set(splits)
        splits = {name: with_row_numbers(splits[name], max_samples) for name in measured}
    record = {
        "model": model,
        "dataset": dataset,
        "config_name": config_name,
        "split": split,
        "num_processes": state.num_processes,
        "versions": versions(),
    }
    if pixels_only:
        evaluations = {
            name: evaluate_pixels(
                network, image_processor, splits[split], name, batch_size, num_workers, show_progress=True
            )
            for name in protocols
        }
        record["results"] = {name: evaluation.result for name, evaluation in evaluations.items()}
        if state.is_main_process:
            report_pixels(evaluations, record, output)
        return record
    check_boxes(splits[split], split)
    if threshold == "validation":
        check_calibration(splits["validation"], split)

    def store_threshold(chosen: float):
        # when it is chosen: what is measured with it takes longer, and may fail
        if state.is_main_process:
            image_processor.localization_threshold = chosen
            with replacing_files(model) as unfinished:
                image_processor.save_pretrained(unfinished)
            print(f"stored the localization threshold {chosen:g} in {on_console(model)}")

    evaluations, record["results"] = {}, {}
    for name in protocols:
        evaluations[name] = evaluate_localization(
            network,
            image_processor,
            splits[split],
            protocol=name,
            threshold=threshold,
            validation_dataset=splits["validation"] if threshold == "validation" else None,
            thresholds=thresholds,
            ten_crop=ten_crop and (PROTOCOLS[name].has_ten_crop or len(protocols) == 1),
            batch_size=batch_size,
            num_workers=num_workers,
            with_images=output is not None,
            show_progress=True,
            on_calibration=store_threshold if save_threshold and name == stored_under else None,
        )
        record["results"][name] = evaluations[name].result
        if state.is_main_process and output is not None:
            write_json(output / "results.json", record)
    if state.is_main_process:
        print(summary(evaluations))
        for evaluation in evaluations.values():
            print_not_finite(evaluation.result)
        if output is not None:
            write_reports(evaluations.values(), network, image_processor, splits[split], output)
            print(f"results, images and plots: {on_console(str(output))}")
    return record


def report_pixels(evaluations: dict[str, PixelEvaluation], record: dict, output: Path | None):
    """Prints the figures of data with masks and no boxes and, with `output`, writes them with their curves."""
    drawings = {}
    if output is not None:
        write_json(output / "results.json", record)
    for protocol, evaluation in evaluations.items():
        result = evaluation.result
        pixels = result["pixel_average_precision"]
        print(
            f"PxAP {pixels['pxap']:.2f} percent; constant map {pixels['whole_image']['pxap']:.2f}, centred map "
            f"{pixels['center']['pxap']:.2f}; Top-1 Cls {result['top1_cls']:.1f}; frame of {protocol}; "
            f"{result['num_images']} images with masks and without boxes"
        )
        print_not_finite(result)
        if output is not None:
            title = f"protocol {protocol}, {result['num_images']} images"
            plot = partial(plot_precision_recall, evaluation.precision_recall, pixels["pxap"], title)
            drawings[output / f"precision_recall_{protocol}.png"] = plot
    if output is not None:
        draw_all(drawings)
        print(f"results and plots: {on_console(str(output))}")


def evaluate_maps(
    folder: Path,
    metadata: Path,
    split: str | None = None,
    protocol: str = "wsoleval",
    threshold: str | float = "oracle",
    mask_root: Path | None = None,
    output: Path | None = None,
) -> dict:
    """
    Measures score maps that another method made, prints the figures and, with `output`, writes them with plots.

    Args:
        folder (`Path`): where the maps are.
        metadata (`Path`): metadata folder of wsolevaluation, the one with `image_ids.txt`, or the one above it.
        split (`str`, *optional*): folder below `metadata` that has the `image_ids.txt`.
        protocol, threshold, mask_root: see [`evaluate_score_maps`].
        output (`Path`, *optional*): folder to write.

    Returns:
        `dict`: what was written to `results.json`, or would have been.
    """
    check_output(output)
    if not folder.is_dir():
        raise ValueError(f"The folder of the score maps, {folder}, does not exist.")
    state = start_processes()
    known = WsolMetadata.read(metadata if split is None else metadata / split)
    result, curves = evaluate_score_maps(folder, known, protocol, threshold, mask_root, show_progress=True)
    record = {
        "score_maps": str(folder),
        "metadata": str(metadata),
        "split": split,
        "num_processes": state.num_processes,
        "versions": versions(),
        "results": {protocol: result},
    }
    if not state.is_main_process:
        return record
    title = f"protocol {protocol}, {result['num_images']} images"
    if known.masks:
        print(
            f"PxAP {result['pxap']:.2f} percent; constant map {result['whole_image']['pxap']:.2f}, centred map "
            f"{result['center']['pxap']:.2f}; frame of {protocol}; {result['num_images']} images"
        )
    else:
        baselines = {"whole image": result["whole_image"], "best centre box": result["center_box"]}
        print(f"{format_table({protocol: result, **baselines})}\n\n{caption(result)}")
    print_not_finite(result)
    if output is not None:
        write_json(output / "results.json", record)
        if known.masks:
            plot = partial(plot_precision_recall, curves, result["pxap"], title)
        else:
            plot = partial(plot_thresholds, curves, result["threshold"], title)
        draw_all({output / f"{'precision_recall' if known.masks else 'thresholds'}_{protocol}.png": plot})
        print(f"results and plots: {on_console(str(output))}")
    return record


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


def check_calibration(validation: datasets.Dataset, split: str):
    if split == "validation":
        raise ValueError(
            "The threshold cannot be calibrated on the split that is measured: for `--split validation` give a number or "
            "`oracle` as the threshold."
        )
    try:
        check_boxes(validation, "validation")
    except ValueError as error:
        raise ValueError(f"{error} Without such, give `--threshold` a number, or `oracle`.") from error


def check_output(output: Path | None):
    if output is not None and output.is_file():
        raise ValueError(f"{output} is a file; give a folder to write.")


__all__ = ["evaluate_maps", "evaluate_model"]
