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
"""Any data set in the schema: embedded, on the Hub, or in a local folder."""

import os

import datasets
from transformers.utils import logging

from .dataset import decode_image
from .emblems import load_emblems


logger = logging.get_logger(__name__)

EMBEDDED_DATASET = "emblems"

# What else of the schema is kept, under its own name, for evaluation.
MASK_COLUMNS = ("mask", "ignore_mask")
OPTIONAL_COLUMNS = ("image_id", *MASK_COLUMNS)


def load_localization_dataset(
    name: str = EMBEDDED_DATASET,
    config_name: str | None = None,
    image_column: str = "image",
    label_column: str = "label",
    objects_column: str = "objects",
    validation_fraction: float = 0.1,
    seed: int = 0,
    token: str | bool | None = None,
) -> datasets.DatasetDict:
    """
    Loads a data set and brings it to the columns that training and evaluation read: `image` (not decoded yet), `label`
    (a class label) and, where the data set has them, `objects` (boxes), `image_id`, `mask` and `ignore_mask` (pictures,
    not decoded either).

    Args:
        name (`str`, *optional*, defaults to `"emblems"`):
            `"emblems"` for the embedded data set, a repository on the Hub, or a folder: one saved by `datasets`, Parquet
            files, or pictures in one folder per class (`imagefolder`).
        config_name (`str`, *optional*):
            Configuration of a data set on the Hub.
        image_column (`str`, *optional*, defaults to `"image"`): name of the pictures' column.
        label_column (`str`, *optional*, defaults to `"label"`):
            Name of the classes' column: class labels, or strings or numbers that are made into such.
        objects_column (`str`, *optional*, defaults to `"objects"`):
            Name of the boxes' column, a dictionary with `bbox`: COCO boxes `(x, y, width, height)` in pixels. It may be
            missing: the data set then trains, but localization cannot be measured on it.
        validation_fraction (`float`, *optional*, defaults to 0.1):
            Share of the training split set apart when there is no validation split.
        seed (`int`, *optional*, defaults to 0):
            Seed of that division, and of the embedded data set's drawings.
        token (`str` or `bool`, *optional*): access token for the Hub.

    Returns:
        `datasets.DatasetDict` with `train`, `validation` and the data set's other splits.

    Raises:
        `ValueError`: if a column or the training split is missing, a split has other classes than `train`, or there are
            too few pictures to set some apart for validation.
    """
    if name == EMBEDDED_DATASET:
        splits = load_emblems(seed=seed)
    elif os.path.isfile(os.path.join(name, "dataset_dict.json")):
        splits = datasets.load_from_disk(name)
    else:
        splits = datasets.load_dataset(name, config_name, token=token)
    if not isinstance(splits, datasets.DatasetDict) or "train" not in splits:
        raise ValueError(f"The data set {name} has no `train` split, but {list(splits)}.")

    renamed = {image_column: "image", label_column: "label", objects_column: "objects"}
    for split, dataset in splits.items():
        for column, option in ((image_column, "image_column"), (label_column, "label_column")):
            if column not in dataset.column_names:
                raise ValueError(
                    f"The split `{split}` of {name} has no column `{column}`; name it with `{option}`. Its columns are "
                    f"{dataset.column_names}."
                )
        columns = [column for column in renamed if column in dataset.column_names]
        optional = [column for column in OPTIONAL_COLUMNS if column not in renamed and is_usable(dataset, column)]
        dataset = dataset.select_columns(columns + optional)
        dataset = dataset.rename_columns({column: renamed[column] for column in columns})
        for column in ("image", *MASK_COLUMNS):
            if column in dataset.column_names:
                dataset = dataset.cast_column(column, datasets.Image(decode=False))
        splits[split] = dataset
    splits = datasets.DatasetDict(with_class_labels(dict(splits), name))

    if "validation" not in splits:
        try:
            divided = splits["train"].train_test_split(validation_fraction, seed=seed, stratify_by_column="label")
        except ValueError as error:
            raise ValueError(
                f"{validation_fraction} of the {len(splits['train'])} training pictures of {name} cannot be set apart for "
                f"validation: {error} Change `validation_fraction`, or give the data set a validation split."
            ) from error
        splits["train"], splits["validation"] = divided["train"], divided["test"]
    return splits


def is_usable(dataset: datasets.Dataset, column: str) -> bool:
    """Whether a split has an optional column; masks must be pictures, not something else that is called so."""
    feature = dataset.features.get(column)
    return isinstance(feature, datasets.Image) if column in MASK_COLUMNS else feature is not None


def with_class_labels(splits: dict[str, datasets.Dataset], name: str) -> dict[str, datasets.Dataset]:
    """
    Splits whose `label` is the training split's class label. Strings become classes in alphabetical order, numbers in
    their own.
    """
    feature = splits["train"].features["label"]
    if not isinstance(feature, datasets.ClassLabel):
        feature = datasets.ClassLabel(names=[str(value) for value in sorted(splits["train"].unique("label"))])
    number_of = {class_name: number for number, class_name in enumerate(feature.names)}
    labelled = {}
    for split, dataset in splits.items():
        own = dataset.features["label"]
        if isinstance(own, datasets.ClassLabel):
            if own.names != feature.names:
                raise ValueError(f"The split `{split}` of {name} has other classes than `train`.")
            labelled[split] = dataset
            continue
        values = dataset.unique("label")
        if isinstance(splits["train"].features["label"], datasets.ClassLabel) and all(
            isinstance(value, int) and 0 <= value < len(feature.names) for value in values
        ):
            # the numbers of the training split's classes
            labelled[split] = dataset.cast_column("label", feature)
            continue
        unknown = [value for value in values if str(value) not in number_of]
        if unknown:
            raise ValueError(f"The split `{split}` of {name} has classes that `train` has not: {unknown[:10]}.")
        numbers = [number_of[str(value)] for value in dataset["label"]]
        labelled[split] = dataset.remove_columns("label").add_column("label", numbers).cast_column("label", feature)
    return labelled


def has_boxes(dataset: datasets.Dataset) -> bool:
    """Whether localization can be measured on a split: it has boxes, and every picture at least one."""
    return "objects" in dataset.column_names and all(
        objects is not None and objects["bbox"] for objects in dataset["objects"]
    )


def drop_undecodable(dataset: datasets.Dataset, num_proc: int | None = None) -> datasets.Dataset:
    """
    The pictures of a split that can be decoded; the others are logged by path.

    Args:
        dataset (`datasets.Dataset`): split with the `image` column not decoded.
        num_proc (`int`, *optional*): number of processes to decode with.
    """
    kept = dataset.filter(_is_decodable, input_columns="image", num_proc=num_proc, desc="Checking the pictures")
    if len(kept) < len(dataset):
        logger.warning(f"Left out {len(dataset) - len(kept)} of {len(dataset)} pictures, which cannot be decoded.")
    return kept


def _is_decodable(image: dict) -> bool:
    try:
        decode_image(image)
    except ValueError as error:
        logger.warning(f"Left out: {error}")
        return False
    return True


__all__ = ["EMBEDDED_DATASET", "drop_undecodable", "has_boxes", "load_localization_dataset"]
