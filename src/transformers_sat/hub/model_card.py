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
Model cards from the record of a run, see [`~transformers_sat.results.results_record`], and the sizes of its configuration.

The one template is `templates/model_card.md` in the package, so that an installed package has it too.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, constants

from ..escaping import code_block, code_in_markdown, in_markdown, link_in_markdown
from ..results import (
    BASELINES,
    FIGURES,
    RECIPE,
    THRESHOLD_CHOICES,
    check_results,
    measured,
    public_name,
    repository_or_none,
    table_cells,
)


PAPER = "https://arxiv.org/abs/2303.10438"
TEMPLATE = Path(__file__).parent / "templates" / "model_card.md"
TASK = "object-detection"
TAGS = ["sat", "weakly-supervised-localization", "weakly-supervised-object-localization", "image-classification"]

LOSS_SETTINGS = (
    "area_target",
    "area_loss_weight",
    "normalization_loss_weight",
    "area_band_loss_weight",
    "num_spatial_layers",
    "spatial_token_layer",
    "drop_path_rate",
)


def model_card(
    config: dict,
    image_processor: dict,
    results: dict | None = None,
    *,
    name: str | None = None,
    repo_id: str | None = None,
    license: str | None = None,
    example_image: str | None = None,
    adapter: dict | None = None,
) -> ModelCard:
    """
    The card of a model.

    Args:
        config (`dict`):
            The model's `config.json`.
        image_processor (`dict`):
            Its `preprocessor_config.json`.
        results (`dict`, *optional*):
            What [`~transformers_sat.results.read_results`] gives of a `results.json`: figures by split and protocol, and how
            they came about. Without it the card says that nothing is known of training and figures. With `source`
            (`name`, `url`) the figures are marked as those of somebody else.
        name (`str`, *optional*):
            Title; the end of `repo_id` by default.
        repo_id (`str`, *optional*):
            Repository that the card is for, `organization/name`.
        license (`str`, *optional*):
            The Hub's identifier of the licence of the weights. The card says so where none is known.
        example_image (`str`, *optional*):
            File name of an image in the repository, for the widget.
        adapter (`dict`, *optional*):
            The `adapter_config.json` of an adapter (PEFT), if the weights are one's. `config` is then that of the model
            that it acts on.

    Returns:
        [`~huggingface_hub.ModelCard`]: not yet checked by the Hub.

    Raises:
        `ValueError`: if the results have another schema.
    """
    results = {} if results is None else check_results(results)
    license = license or results.get("license")
    # Transformers leaves out two classes without names
    class_names = list(config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"}).values())
    name = name or (repo_id or "SAT").split("/")[-1]
    training = results.get("training") or {}
    license_name = results.get("license_name")
    # of a record without training, model and data set are those that were measured
    started_from, trained_on = (results.get(field) if training else None for field in ("model", "dataset"))
    base = None if adapter is None else adapter.get("base_model_name_or_path")
    data = ModelCardData(
        library_name="transformers" if adapter is None else "peft",
        pipeline_tag=TASK,
        tags=TAGS,
        license=license,
        **({"license_name": license_name} if license_name else {}),
        base_model=repository_or_none(started_from if base is None else base),
        datasets=repository_or_none(trained_on),
        widget=[_widget_example(example_image, repo_id)] if example_image else None,
        co2_eq_emissions=results.get("co2_eq_emissions"),
        model_name=name,
        eval_results=_eval_results(results) or None,
    )
    return ModelCard.from_template(
        data,
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        name=name,
        repo_id=repo_id or f"your-name/{_slug(name)}",
        license=license,
        adapter=None if adapter is None else {"base": repository_or_none(base)},
        config=config,
        crop=image_processor["crop_size"] if image_processor.get("do_center_crop") else None,
        size=image_processor["size"],
        threshold=image_processor["localization_threshold"],
        results=results,
        source=results.get("source"),
        model_name=public_name(started_from),
        dataset_name=public_name(results.get("dataset")),
        tables=[_table(*each) for each in _measured(results)],
        training=training,
        recipe=[(title, training[key]) for key, title in RECIPE.items() if key in training],
        losses=[(key, config[key]) for key in LOSS_SETTINGS if key in config],
        num_labels=len(class_names),
        class_names=[in_markdown(each) for each in class_names if not each.startswith("LABEL_")][:10],
        paper=PAPER,
        # names and settings are data, whatever is in them
        text=in_markdown,
        code=code_in_markdown,
        block=code_block,
        link=link_in_markdown,
    )


def eval_result_entries(results: dict) -> list[EvalResultEntry]:
    """
    The figures of the test split, by the protocol that was measured first, for `.eval_results/*.yaml`, which the Hub shows
    beside a benchmark's: there a figure has one value. There are none unless the data set is a repository on the Hub.

    Args:
        results (`dict`): what [`~transformers_sat.results.read_results`] gives.

    Returns:
        `list[EvalResultEntry]`: one for each metric, with its name as `task_id`.

    Raises:
        `ValueError`: if the results have another schema.
    """
    dataset = repository_or_none(check_results(results).get("dataset"))
    test = next(iter(results["results"].get("test", {}).values()), None)
    if dataset is None or test is None:
        return []
    notes = ", ".join(f"{key} {value}" for key, value in _conditions(test).items())
    return [
        EvalResultEntry(dataset_id=dataset, task_id=figure, value=value, notes=notes or None)
        for figure, value in _rounded(test).items()
    ]


def _slug(name: str) -> str:
    """A name in the form of a repository's."""
    return re.sub(r"[^\w.-]+", "-", name).lstrip(".")[:96] or "unknown"


def _widget_example(example_image: str, repo_id: str | None) -> dict:
    source = f"{constants.ENDPOINT}/{repo_id}/resolve/main/{example_image}" if repo_id else example_image
    return {"src": source, "example_title": "Example"}


def _measured(results: dict) -> Iterator[tuple[str, str, dict]]:
    return measured(results) if results else iter(())


def _rounded(figures: dict) -> dict[str, float]:
    """The figures of one split and protocol, as they are shown."""
    return {name: round(figures[name], 2) for name in FIGURES if figures.get(name) is not None}


def _conditions(figures: dict) -> dict:
    """What a figure means nothing without."""
    names = ("protocol", "image_size", "threshold", "threshold_choice")
    return {name: figures[name] for name in names if figures.get(name) is not None}


def _eval_results(results: dict) -> list[EvalResult]:
    """For the model index: the figures of all splits but the one that choices are made on, and its own if there are no others."""
    splits = results.get("results", {})
    return [
        result
        for split, _, figures in _measured(results)
        if split != "validation" or len(splits) == 1
        for result in _eval_results_of(results, split, figures)
    ]


def _eval_results_of(results: dict, split: str, figures: dict) -> list[EvalResult]:
    source = results.get("source") or {}
    conditions = _conditions(figures)
    shown = [f"protocol {conditions['protocol']}"] if "protocol" in conditions else []
    if "threshold_choice" in conditions:
        shown.append(f"threshold {THRESHOLD_CHOICES[conditions['threshold_choice']]}")
    dataset = public_name(results.get("dataset")) or "unknown"
    return [
        EvalResult(
            task_type=TASK,
            task_name="Weakly supervised object localization",
            dataset_type=repository_or_none(results.get("dataset")) or _slug(dataset).lower(),
            dataset_name=dataset,
            dataset_config=results.get("config_name"),
            dataset_split=split,
            metric_type=figure,
            metric_name=f"{FIGURES[figure]} ({', '.join(shown)})" if shown else FIGURES[figure],
            metric_value=value,
            metric_args=conditions or None,
            source_name=source.get("name"),
            source_url=source.get("url"),
        )
        for figure, value in _rounded(figures).items()
    ]


def _table(split: str, protocol: str, figures: dict) -> dict:
    baselines = {title: figures[key] for key, title in BASELINES.items() if key in figures}
    columns, rows = table_cells({"SAT": figures} | baselines, digits=2)
    return {
        "split": split,
        "columns": columns,
        "rows": rows,
        "num_images": figures.get("num_images"),
        "protocol": protocol,
        "conditions": _conditions(figures),
        "choice": THRESHOLD_CHOICES.get(figures.get("threshold_choice")),
        "baselines": list(baselines),
    }


__all__ = ["eval_result_entries", "model_card"]
