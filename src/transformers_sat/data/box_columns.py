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
"""What a column of objects holds: boxes in one of two forms that are read, boxes in another, or something else."""

from typing import Any

import datasets
from transformers.utils import logging

from ..box_values import from_json, looks_like_boxes
from ..fields import shown


logger = logging.get_logger(__name__)

FORM = "COCO boxes are x, y, width, height in pixels of the upright image"

LISTS_OF_NUMBERS = datasets.List(datasets.List(datasets.Value("float64")))


def with_boxes_in_lists(
    dataset: datasets.Dataset | datasets.IterableDataset, column: str, name: str, is_named: bool = False
) -> datasets.Dataset | datasets.IterableDataset:
    """
    A split whose objects are a struct of lists, `{"bbox": [...]}`, or that has none.

    A list of structs with `bbox`, and arrays in it, are brought to that form. A column that holds something else, as
    `objects` of another task may, is left out, and the log says so.

    Args:
        dataset (`datasets.Dataset` or `datasets.IterableDataset`): the split; one without the column stays as it is.
        column (`str`): its column of objects.
        name (`str`): what messages call the split.
        is_named (`bool`, *optional*, defaults to `False`): whether the user says that the boxes are in this column.

    Raises:
        `ValueError`: if the column holds boxes in another form, or none and `is_named`; the message has the row.
    """
    feature = (dataset.features or {}).get(column)
    if feature is None:
        return dataset
    if "bbox" in (feature if isinstance(feature, dict) else ()):
        if isinstance(feature["bbox"], datasets.Array2D) and isinstance(dataset, datasets.Dataset):
            return dataset.cast_column(column, dict(feature) | {"bbox": LISTS_OF_NUMBERS})
        return dataset
    if "bbox" in (struct := _struct_in_list(feature) or {}):
        return _as_struct(dataset, column, struct["bbox"]) if isinstance(dataset, datasets.Dataset) else dataset
    row = _first_row_of_boxes(dataset, column)
    if row is not None or is_named:
        where, value = (name, feature) if row is None else (f"{name}, row {row[0]}", row[1])
        raise ValueError(
            f"{where}: the column `{column}` must hold objects with `bbox`, such as "
            f'{{"bbox": [[x, y, width, height]]}}, got {shown(value)}. {FORM}.'
        )
    logger.warning(f"{name}: the column `{column}` is not read, as it holds no boxes, but {shown(feature)}.")
    return dataset.remove_columns(column)


def _as_struct(dataset: datasets.Dataset, column: str, box: Any) -> datasets.Dataset:
    objects = [None if rows is None else {"bbox": [row["bbox"] for row in rows]} for rows in dataset[column]]
    dataset = dataset.remove_columns(column).add_column(column, objects)
    return dataset.cast_column(column, {"bbox": datasets.List(box)})


def _struct_in_list(feature: Any) -> dict | None:
    """The struct that a list holds."""
    if isinstance(feature, list) and len(feature) == 1:
        inside = feature[0]
    else:
        inside = getattr(feature, "feature", None)
    return inside if isinstance(inside, dict) else None


def _first_row_of_boxes(dataset: datasets.Dataset | datasets.IterableDataset, column: str) -> tuple[int, Any] | None:
    """The first row that has any objects, and these, if those of all rows look like boxes; of a stream nothing is read."""
    if not isinstance(dataset, datasets.Dataset):
        return None
    first = None
    for number, value in enumerate(dataset.select_columns(column).with_format(None)[column]):
        if _is_empty(value):
            continue
        if not looks_like_boxes(value):
            return None
        first = first or (number, value)
    return first


def _is_empty(value: Any) -> bool:
    """Whether a row has no objects, in whatever form they are."""
    inside = from_json(value) if isinstance(value, str) and value.strip() else value
    return not inside if not isinstance(inside, dict) else not any(inside.values())


__all__ = ["FORM", "LISTS_OF_NUMBERS", "with_boxes_in_lists"]
