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
"""The classes of a data set and those of a model, brought together in one way for training and evaluation."""

import datasets
from transformers import PreTrainedConfig
from transformers.utils import logging

from ..fields import shown


logger = logging.get_logger(__name__)


def class_names_of(config: PreTrainedConfig) -> list[str]:
    """The names of a model's classes, by their numbers."""
    return [config.id2label[number] for number in range(config.num_labels)]


def class_numbers_of(
    dataset: datasets.Dataset | datasets.IterableDataset, config: PreTrainedConfig
) -> list[int] | None:
    """
    The model's number for each class of a data set, matched by name.

    Args:
        dataset (`datasets.Dataset` or `datasets.IterableDataset`): split with classes in `label`.
        config ([`~transformers.PreTrainedConfig`]): configuration of the model.

    Returns:
        `list[int]`, or `None` where the numbers are the same.

    Raises:
        `ValueError`: if the model knows some of the classes but not all, or has fewer, a row has no class, or `label` holds
        something else.
    """
    feature, model_names = dataset.features["label"], class_names_of(config)
    if not isinstance(feature, datasets.ClassLabel) and not str(getattr(feature, "dtype", "")).startswith("int"):
        raise ValueError(
            f"The column `label` must hold class labels, got {shown(feature)}; "
            '`dataset.class_encode_column("label")` makes them of words.'
        )
    if (row := row_without_class(dataset)) is not None:
        raise ValueError(f"Row {row} has no class: `label` is empty, or -1; leave the image out, or give it a class.")
    names = getattr(feature, "names", None)
    if names is None or names == model_names[: len(names)]:
        return None
    known = [name for name in names if name in model_names]
    if len(known) == len(names):
        return [model_names.index(name) for name in names]
    if known or len(names) > len(model_names):
        unknown = [name for name in names if name not in model_names]
        raise ValueError(
            f"The model has no class for {len(unknown)} of the data set's {len(names)}: {unknown[:10]}. Its own are "
            f"{model_names[:10]}{'...' if len(model_names) > 10 else ''}"
        )
    logger.warning("No class of the data set has a name that the model knows: classes are matched by their numbers.")
    return None


def is_no_class(value) -> bool:
    """Whether a value of `label` says that the image has no class: empty, not a number, or -1, also as text."""
    if isinstance(value, str):
        return value.strip() in ("", "-1")
    return value is None or value == -1 or value != value


def row_without_class(dataset: datasets.Dataset | datasets.IterableDataset) -> int | None:
    """The first row whose `label` is empty, or -1; `None` if there is none. Of a stream nothing is read."""
    if not isinstance(dataset, datasets.Dataset) or not {None, -1}.intersection(dataset.unique("label")):
        return None
    return next(row for row, label in enumerate(dataset["label"]) if label in (None, -1))


__all__ = ["class_names_of", "class_numbers_of", "is_no_class", "row_without_class"]
