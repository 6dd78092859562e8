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

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm.auto import tqdm
from transformers.utils import logging

from ..drawn.emblems import load_emblems
from ..fields import shown
from ..model.images_sat import check_header
from ..places import reading_from
from .box_columns import with_boxes_in_lists
from .boxes import with_checked_boxes
from .classes import is_no_class
from .dataset import decode_image
from .subsets import select_classes


logger = logging.get_logger(__name__)

EMBEDDED_DATASET = "emblems"

# From so many images on, opening them takes seconds, and a bar shows it.
MANY_IMAGES = 10_000
MOST_NAMED = 5

HOW_TO_SKIP = "Mend them, or leave such images out with `--skip_undecodable`, in Python with `drop_undecodable`."

# The schema, without what is optional.
COLUMNS = ("image", "label", "objects")

CLASS_FOLDERS = (
    "Are they images in a folder? Those of each class belong into a folder of its own, `train/<class>/<image>`, of two or "
    "more classes."
)

# Names that a split which was saved alone may have.
SPLITS = ("train", "validation", "test")

# What else of the schema is kept, under its own name, for evaluation.
MASK_COLUMNS = ("mask", "ignore_mask")
OPTIONAL_COLUMNS = ("image_id", *MASK_COLUMNS)


def load_localization_dataset(
    name: str = EMBEDDED_DATASET,
    config_name: str | None = None,
    columns: dict[str, str] | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    token: str | bool | None = None,
    classes: Sequence[str] | None = None,
    model_classes: Sequence[str] | None = None,
) -> datasets.DatasetDict:
    """
    Loads a data set and brings it to the columns that training and evaluation read: `image` (not decoded yet), `label`
    (a class label) and, where the data set has them, `objects` (boxes), `image_id`, `mask` and `ignore_mask` (images,
    not decoded either).

    Args:
        name (`str`, *optional*, defaults to `"emblems"`):
            `"emblems"` for the embedded data set, a repository on the Hub, or a folder: one saved by `datasets`, Parquet
            files, or images in one folder per class (`imagefolder`).
        config_name (`str`, *optional*):
            Configuration of a data set on the Hub.
        columns (`dict[str, str]`, *optional*):
            The data set's own names of `image`, `label` and `objects`, where they differ: `{"label": "species"}`. Classes
            are class labels, or strings or numbers that are made into such. Boxes are a dictionary with `bbox`: COCO
            boxes `(x, y, width, height)` in pixels, or a list of such. They may be missing: the data set then
            trains, but localization cannot be measured on it.
        validation_fraction (`float`, *optional*, defaults to 0.1):
            Share of the training split set apart when there is no validation split.
        seed (`int`, *optional*, defaults to 0):
            Seed of that division, and of the embedded data set's drawings.
        token (`str` or `bool`, *optional*): access token for the Hub.
        classes (`Sequence[str]`, *optional*): names of the classes to keep, in all splits; all by default.
        model_classes (`Sequence[str]`, *optional*):
            Names of the classes of the model that is to be measured. They stand in for those of a training split, which
            may then be missing.

    Returns:
        `datasets.DatasetDict` with `train`, `validation` and the data set's other splits. Without `train`, only those
        that the data set has.

    Raises:
        `ValueError`: if a column or the training split is missing, a split has other classes than `train`, `classes` has
            unknown ones, a training image has no class, or there are too few images to set some apart for validation.
        [`~transformers_sat.places.NoSuchPlaceError`]: if there is no such data set.
    """
    columns = schema_of_columns(columns)
    splits = open_splits(name, config_name, seed, token)
    if "train" not in splits and model_classes is None:
        raise ValueError(f"The data set {name} has no `train` split, but {list(splits)}.")

    splits = {
        split: in_schema(dataset, columns, f"The split `{split}` of {name}") for split, dataset in splits.items()
    }
    splits = datasets.DatasetDict(with_class_labels(splits, name, model_classes))
    if classes is not None:
        splits = datasets.DatasetDict({split: select_classes(data, classes) for split, data in splits.items()})

    if "train" in splits and "validation" not in splits:
        try:
            splits["train"], splits["validation"] = set_apart(splits["train"], validation_fraction, seed)
        except ValueError as error:
            raise ValueError(
                f"{validation_fraction} of the {len(splits['train'])} training images of {name} cannot be set apart for "
                f"validation: {error} Change `validation_fraction`, or give the data set a validation split."
            ) from error
    return splits


def set_apart(dataset: datasets.Dataset, fraction: float, seed: int) -> tuple[datasets.Dataset, datasets.Dataset]:
    """
    Divides the images of a split, the classes in the same shares. Where some of them have boxes and others none, a threshold
    can be chosen on the former alone: they are the ones to set apart.

    Args:
        dataset (`datasets.Dataset`): the split, with `label`.
        fraction (`float`): share of the images to set apart, in (0, 1); at most half of those with boxes, if some have.
        seed (`int`): chooses them.

    Returns:
        `tuple`: the images that are left, and those set apart.

    Raises:
        `ValueError`: if there are too few images of a class, or `fraction` is no share.
    """
    boxed = rows_with_boxes(dataset)
    chosen = _some_with_boxes(dataset, boxed, fraction, seed) if 0 < len(boxed) < len(dataset) else []
    if not chosen:
        divided = dataset.train_test_split(fraction, seed=seed, stratify_by_column="label")
        return divided["train"], divided["test"]
    logger.warning(
        f"{len(boxed)} of the {len(dataset)} training images have boxes: {len(chosen)} of these are set apart for validation."
    )
    return dataset.select(sorted(set(range(len(dataset))) - set(chosen))), dataset.select(chosen)


def open_splits(
    name: str, config_name: str | None = None, seed: int = 0, token: str | bool | None = None
) -> datasets.DatasetDict:
    """The splits of a data set as they are; see [`load_localization_dataset`]."""
    if name == EMBEDDED_DATASET:
        return load_emblems(seed=seed)
    if is_saved(name):
        splits = _read_saved(name)
    else:
        with reading_from(name, "data set"):
            splits = datasets.load_dataset(name, config_name, token=token)
    if isinstance(splits, datasets.Dataset):
        # one split alone was saved; it knows its name where it was loaded by it
        own = str(splits.split)
        splits = datasets.DatasetDict({own if own in SPLITS else "train": splits})
    if not isinstance(splits, datasets.DatasetDict):
        raise ValueError(f"The data set {name} has no splits, but {list(splits)}.")
    # rows as plain values, whatever they were saved to be given as
    return splits.with_format(None)


def _read_saved(name: str) -> datasets.Dataset | datasets.DatasetDict:
    try:
        return datasets.load_from_disk(name)
    except IndexError as error:
        # the library fails at a split without files
        states = sorted(Path(name).rglob("state.json"))
        empty = [path.parent.name for path in states if not json.loads(path.read_text("utf-8")).get("_data_files")]
        if not empty:
            raise
        raise ValueError(
            f"The split `{empty[0]}` of {name} has no images; leave the split out, or give it some."
        ) from error


def is_saved(name: str) -> bool:
    """Whether `save_to_disk` wrote a folder, of several splits or of one."""
    return any(os.path.isfile(os.path.join(name, file)) for file in ("dataset_dict.json", "state.json"))


def _some_with_boxes(dataset: datasets.Dataset, boxed: list[int], fraction: float, seed: int) -> list[int]:
    """Rows to set apart of those with boxes; none if they are too few of each class to divide."""
    rows = datasets.Dataset.from_dict({"row": boxed}).add_column("label", dataset.select(boxed)["label"][:])
    rows = rows.cast_column("label", dataset.features["label"])
    share = min(fraction * len(dataset) / len(boxed), 0.5)
    try:
        return rows.train_test_split(share, seed=seed, stratify_by_column="label")["test"]["row"][:]
    except ValueError:
        return []


def schema_of_columns(columns: dict[str, str] | None) -> dict[str, str]:
    """The schema's column for each of a data set's own, whose names are given the other way round where they differ."""
    own = {name: name for name in COLUMNS} | (columns or {})
    if unknown := own.keys() - set(COLUMNS):
        raise ValueError(f"`columns` has names for {', '.join(COLUMNS)} alone, got {sorted(unknown)}.")
    return {name: column for column, name in own.items()}


def in_schema(
    dataset: datasets.Dataset | datasets.IterableDataset, columns: dict[str, str], name: str
) -> datasets.Dataset | datasets.IterableDataset:
    """
    A split with the schema's columns alone, and its images not decoded.

    Args:
        dataset (`datasets.Dataset` or `datasets.IterableDataset`): the split.
        columns (`dict[str, str]`): its own names of the columns `image`, `label` and `objects`.
        name (`str`): what errors call it.

    Raises:
        `ValueError`: if it has no images or no classes, images, classes or boxes are of another type, or a box cannot be
            one.
    """
    if isinstance(dataset, datasets.Dataset) and len(dataset) == 0:
        raise ValueError(f"{name} has no images; leave the split out, or give it some.")
    for own, column in columns.items():
        if column != "objects" and own not in dataset.column_names:
            # a folder is read without classes if it has none, or one alone
            hint = f" {CLASS_FOLDERS}" if column == "label" and list(dataset.column_names) == ["image"] else ""
            raise ValueError(
                f"{name} has no column `{own}`; name it with `--{column}_column_name`, in Python with `columns`. Its columns "
                f"are {dataset.column_names}.{hint}"
            )
    for own, column in columns.items():
        if column == "label":
            check_class_type(dataset, own, name)
        elif column == "objects":
            dataset = with_boxes_in_lists(dataset, own, name, is_named=own != "objects")
    kept = [own for own in columns if own in dataset.column_names]
    optional = [column for column in OPTIONAL_COLUMNS if column not in columns and is_usable(dataset, column)]
    dataset = dataset.select_columns(kept + optional)
    for own in (own for own in kept if columns[own] == "objects" and isinstance(dataset, datasets.Dataset)):
        dataset = with_checked_boxes(dataset, name, own)
    # before anything that would decode the images of a stream
    for column in (own for own in kept + optional if columns.get(own, own) in ("image", *MASK_COLUMNS)):
        dataset = _with_undecoded(dataset, column, name)
    renamed = {own: columns[own] for own in kept if columns[own] != own}
    return dataset.rename_columns(renamed) if renamed else dataset


def _with_undecoded(
    dataset: datasets.Dataset | datasets.IterableDataset, column: str, name: str
) -> datasets.Dataset | datasets.IterableDataset:
    try:
        return dataset.cast_column(column, datasets.Image(decode=False))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"{name}: the column `{column}` must hold one image a row (`datasets.Image`, a path or the bytes of a file), got "
            f"{shown(dataset.features[column])}."
        ) from error


def check_class_type(dataset: datasets.Dataset | datasets.IterableDataset, column: str, name: str):
    """Checks that a column can hold classes, as far as the split tells; see [`in_schema`]."""
    feature = (dataset.features or {}).get(column)
    if feature is not None and not isinstance(feature, datasets.ClassLabel | datasets.Value):
        raise ValueError(
            f"{name}: the column `{column}` must hold classes (class labels, text or numbers), got {shown(feature)}."
        )


def classes_in(dataset: datasets.Dataset, name: str) -> list:
    """
    What stands in `label`, each once; `ValueError` with the row if one is no class, such as an empty one or -1. Whole
    numbers are integers, also where a table has them as floats, as pandas does beside empty fields.
    """
    # without the images, which rows that were chosen would be copied with
    labels = dataset.select_columns("label")
    values = labels.unique("label")
    if any(map(is_no_class, values)):
        row, value = next((row, value) for row, value in enumerate(labels["label"][:]) if is_no_class(value))
        raise ValueError(
            f"{name}, row {row}: `label` is {'empty' if value in (None, '') else value}; leave the image out, or give it a "
            "class."
        )
    return list(map(as_class, values))


def as_class(value):
    """What a value of `label` is called: whole numbers as integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_training_classes(dataset: datasets.Dataset, name: str):
    """Raises `ValueError` if an image to train on has no class, or all have the same one; the former with the row."""
    if len(dataset) == 0:
        raise ValueError(f"{name} has no images.")
    values = classes_in(dataset, name)
    if len(values) < 2:
        feature = dataset.features["label"]
        known = feature.int2str(values[0]) if isinstance(feature, datasets.ClassLabel) and values else values
        raise ValueError(
            f"{name} has images of a single class ({known}): nothing tells an object from what is around it. Training needs "
            "two classes or more."
        )


def is_usable(dataset: datasets.Dataset, column: str) -> bool:
    """Whether a split has an optional column; masks must be images, not something else that is called so."""
    feature = dataset.features.get(column)
    return isinstance(feature, datasets.Image) if column in MASK_COLUMNS else feature is not None


def with_class_labels(
    splits: dict[str, datasets.Dataset], name: str, model_classes: Sequence[str] | None = None
) -> dict[str, datasets.Dataset]:
    """
    Splits whose `label` is the training split's class label. Strings become classes in alphabetical order, numbers in
    their own. Without a training split, those that have class labels keep them, and the others have the model's.
    """
    if "train" not in splits:
        return labelled_as(splits, list(model_classes), name, "the model")
    feature = splits["train"].features["label"]
    values = classes_in(splits["train"], f"The split `train` of {name}")
    numbers_are_known = isinstance(feature, datasets.ClassLabel)
    if not numbers_are_known:
        feature = datasets.ClassLabel(names=[str(value) for value in sorted(values)])
    for split, dataset in splits.items():
        own = dataset.features["label"]
        if isinstance(own, datasets.ClassLabel) and own.names != feature.names:
            raise ValueError(f"The split `{split}` of {name} has other classes than `train`.")
    return labelled_as(splits, feature.names, name, "`train`", numbers_are_known)


def labelled_as(
    splits: dict[str, datasets.Dataset], class_names: list[str], name: str, owner: str, numbers_are_known: bool = True
) -> dict[str, datasets.Dataset]:
    """
    Splits whose strings or numbers in `label` become a class label with the given names; class labels stay.

    Numbers are names, if all of them are; else those of the classes, if they can be and `numbers_are_known`. All splits
    are looked at before: the classes that happen to occur in one of them must not decide.
    """
    found = {
        split: classes_in(dataset, f"The split `{split}` of {name}")
        for split, dataset in splits.items()
        if not isinstance(dataset.features["label"], datasets.ClassLabel)
    }
    number_of = {class_name: number for number, class_name in enumerate(class_names)}
    unknown = {split: [value for value in values if str(value) not in number_of] for split, values in found.items()}
    if any(unknown.values()) and numbers_are_known and _are_numbers_of(found.values(), len(class_names)):
        logger.warning(
            f"{name}: the numbers in `label` are those of the classes of {owner}, counted from 0, as not all of them are "
            "names of classes."
        )
        number_of = {str(number): number for number in range(len(class_names))}
    elif split := next((split for split, values in unknown.items() if values), None):
        raise ValueError(f"The split `{split}` of {name} has classes that {owner} has not: {unknown[split][:10]}.")
    return {
        split: _with_numbers(dataset, number_of, class_names) if split in found else dataset
        for split, dataset in splits.items()
    }


def _are_numbers_of(values_of_splits: Iterable[list], num_classes: int) -> bool:
    values = [value for values in values_of_splits for value in values]
    return all(isinstance(value, int) and 0 <= value < num_classes for value in values)


def _with_numbers(dataset: datasets.Dataset, number_of: dict[str, int], class_names: list[str]) -> datasets.Dataset:
    numbers = [number_of[str(as_class(value))] for value in dataset["label"]]
    feature = datasets.ClassLabel(names=class_names)
    return dataset.remove_columns("label").add_column("label", numbers).cast_column("label", feature)


def has_boxes(dataset: datasets.Dataset) -> bool:
    """Whether localization can be measured on a split: it has boxes, and every image at least one."""
    return "objects" in dataset.column_names and len(rows_with_boxes(dataset)) == len(dataset)


def rows_with_boxes(dataset: datasets.Dataset) -> list[int]:
    """Numbers of the rows with at least one box."""
    if "objects" not in dataset.column_names:
        return []
    boxes = pc.struct_field(dataset.select_columns("objects").with_format("arrow")[:]["objects"], "bbox")
    if not pa.types.is_nested(boxes.type):
        # a column without any box may have any type
        return []
    # null where there are no objects
    counts = pc.list_value_length(boxes)
    return np.flatnonzero(pc.fill_null(counts, 0).to_numpy() > 0).tolist()


def has_masks(dataset: datasets.Dataset) -> bool:
    """Whether pixels can be measured on a split: every image has a mask. Where only some do, the log says so."""
    if "mask" not in dataset.column_names:
        return False
    missing = dataset.select_columns("mask").with_format("arrow")[:]["mask"].null_count
    if 0 < missing < len(dataset):
        logger.warning(f"Pixels are not measured: {missing} of {len(dataset)} images have no mask.")
    return missing == 0


def check_headers(dataset: datasets.Dataset, name: str, advice: str = HOW_TO_SKIP):
    """
    Opens each image of a split as far as its size is known. That costs some 0.1 ms an image: files are not read to their
    end, nor copied out of a table. Damage behind the header shows when the image is decoded.

    Args:
        dataset (`datasets.Dataset`): split with the `image` column not decoded.
        name (`str`): what messages call it.
        advice (`str`, *optional*): what the message says can be done.

    Raises:
        `ValueError`: if images cannot be opened; the message has their number, and row and path of the first ones.
    """
    images = dataset.select_columns("image").with_format("arrow")

    def check(row: int):
        image = images[row]["image"][0]
        content, path = (image[field] if image.is_valid else None for field in ("bytes", "path"))
        file = (
            pa.BufferReader(content.as_buffer()) if content is not None and content.is_valid else path and path.as_py()
        )
        if not file:
            raise ValueError("The image is missing: its entry in the data set is empty.")
        check_header(file, (path and path.as_py()) or "without a path")

    _check_each(check, len(images), f"Opening the images: {name}", name, advice)


def check_whole_images(dataset: datasets.Dataset, name: str):
    """
    Decodes each image and mask of a split that is measured after a training, whose result damage would cost. Raises as
    [`check_headers`].
    """
    images = dataset.select_columns([column for column in ("image", *MASK_COLUMNS) if column in dataset.column_names])

    def check(row: int):
        for column, image in images[row].items():
            if column == "image" or image is not None:
                decode_image(image)

    _check_each(check, len(images), f"Decoding the images: {name}", name, HOW_TO_SKIP)


def _check_each(check: Callable[[int], None], num_rows: int, doing: str, name: str, advice: str):
    faults = []
    for row in tqdm(range(num_rows), desc=doing, unit="image", disable=num_rows < MANY_IMAGES):
        try:
            check(row)
        except ValueError as error:
            faults.append(f"row {row}: {error}")
    if faults:
        more = f" ({len(faults) - MOST_NAMED} more)" if len(faults) > MOST_NAMED else ""
        raise ValueError(
            f"{len(faults)} of the {num_rows} images of {name} cannot be decoded: {' '.join(faults[:MOST_NAMED])}{more} "
            f"{advice}"
        )


def drop_undecodable(dataset: datasets.Dataset, num_proc: int | None = None) -> datasets.Dataset:
    """
    The images of a split that can be decoded; the others are logged by path.

    Args:
        dataset (`datasets.Dataset`): split with the `image` column not decoded.
        num_proc (`int`, *optional*): number of processes to decode with.
    """
    kept = dataset.filter(_is_decodable, input_columns="image", num_proc=num_proc, desc="Checking the images")
    if len(kept) < len(dataset):
        logger.warning(f"Left out {len(dataset) - len(kept)} of {len(dataset)} images, which cannot be decoded.")
    return kept


def _is_decodable(image: dict) -> bool:
    try:
        decode_image(image)
    except ValueError as error:
        logger.warning(f"Left out: {error}")
        return False
    return True


__all__ = [
    "EMBEDDED_DATASET",
    "check_headers",
    "check_training_classes",
    "check_whole_images",
    "drop_undecodable",
    "has_boxes",
    "has_masks",
    "in_schema",
    "load_localization_dataset",
]
