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
Classes, images per class and shares of a split, chosen before anything is decoded.

Which images are chosen depends on the seed and on each image's own name alone: not on the machine, the number of
processes, the order of the rows or a library's random numbers.
"""

import difflib
import hashlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import datasets


def check_class_names(classes: Sequence[str], known: Sequence[str]) -> list[str]:
    """
    The chosen classes in the order that the data set has them in, each once.

    Args:
        classes (`Sequence[str]`): names of the chosen classes.
        known (`Sequence[str]`): names of the data set's classes.

    Raises:
        `ValueError`: if none is chosen, or some are not the data set's; the message names the nearest.
    """
    if not classes:
        raise ValueError("`classes` is empty: name at least one class.")
    number_of = {name: number for number, name in enumerate(known)}
    unknown = [name for name in classes if name not in number_of]
    if unknown:
        nearest = {name: difflib.get_close_matches(name, known, n=3) for name in unknown[:5]}
        hints = "; ".join(
            f"{name!r}" + (f" (do you mean {' or '.join(map(repr, names))}?)" if names else "")
            for name, names in nearest.items()
        )
        raise ValueError(
            f"{len(unknown)} of the {len(classes)} chosen classes are not among the data set's {len(known)}: {hints}. Its "
            f"first ones are {list(known[:5])}."
        )
    return sorted(set(classes), key=number_of.__getitem__)


def select_classes(dataset: datasets.Dataset, classes: Sequence[str]) -> datasets.Dataset:
    """
    The images of some classes, whose `label` is then among these alone, in the data set's order.

    Args:
        dataset (`datasets.Dataset`): split with a class label in `label`.
        classes (`Sequence[str]`): names of the classes.

    Raises:
        `ValueError`: if none is given, or some are not the data set's.
    """
    known = dataset.features["label"].names
    names = check_class_names(classes, known)
    if names == known:
        return dataset
    number_of = {known.index(name): number for number, name in enumerate(names)}
    labels = [number_of.get(label) for label in dataset["label"][:]]
    kept = [row for row, label in enumerate(labels) if label is not None]
    # renumbered before rows are chosen: a column added to chosen rows would copy all images
    feature = datasets.ClassLabel(names=names)
    return dataset.remove_columns("label").add_column("label", labels, feature=feature).select(kept)


def select_samples_per_class(dataset: datasets.Dataset, samples_per_class: int, seed: int = 0) -> datasets.Dataset:
    """
    As many images of each class. A smaller number gives a part of what a larger one gives with the same seed.

    Args:
        dataset (`datasets.Dataset`): split with a class label in `label` and images in `image` that are not decoded.
        samples_per_class (`int`): number of images of each class.
        seed (`int`, *optional*, defaults to 0): seed of the choice.

    Returns:
        `datasets.Dataset`: the chosen rows, in the order that they have in `dataset`.

    Raises:
        `ValueError`: if the number is not positive, or a class has fewer images.
    """
    if samples_per_class < 1:
        raise ValueError(f"`samples_per_class` must be at least 1, got {samples_per_class}.")
    names, labels = dataset.features["label"].names, dataset["label"][:]
    counts = Counter(labels)
    short = [f"{name!r} ({counts[label]})" for label, name in enumerate(names) if counts[label] < samples_per_class]
    if short:
        raise ValueError(
            f"`samples_per_class` is {samples_per_class}, but {len(short)} of the {len(names)} classes have fewer training "
            f"images: {', '.join(short[:10])}{', ...' if len(short) > 10 else ''}. Take fewer, or leave these classes "
            "out with `classes`."
        )
    return _select_first(dataset, labels, dict.fromkeys(counts, samples_per_class), seed)


def select_fraction(dataset: datasets.Dataset, fraction: float, seed: int = 0) -> datasets.Dataset:
    """
    A share of the images of each class, rounded, but at least one. A smaller share gives a part of what a larger one
    gives with the same seed.

    Args:
        dataset (`datasets.Dataset`): split with a class label in `label` and images in `image` that are not decoded.
        fraction (`float`): share of each class, above 0 and at most 1.
        seed (`int`, *optional*, defaults to 0): seed of the choice.

    Returns:
        `datasets.Dataset`: the chosen rows, in the order that they have in `dataset`.

    Raises:
        `ValueError`: if the share is out of its range.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"`train_fraction` must be above 0 and at most 1, got {fraction}.")
    labels = dataset["label"][:]
    counts = {label: max(math.floor(fraction * count + 0.5), 1) for label, count in Counter(labels).items()}
    return _select_first(dataset, labels, counts, seed)


def image_keys(dataset: datasets.Dataset) -> list[str]:
    """
    A name for each image that it has on every machine: its `image_id`; where that is missing or not unique, the path
    of its file below the folder that all have in common; where that is not unique either, a digest of the file.

    Args:
        dataset (`datasets.Dataset`): split with images in `image` that are not decoded.
    """
    if "image_id" in dataset.column_names and (keys := _unique(dataset["image_id"][:])):
        return keys
    # the paths alone: the bytes of a million images must not be read for them
    paths = dataset.flatten().select_columns("image.path").with_format("arrow")[:]["image.path"].to_pylist()
    if keys := _unique([None if path is None else Path(path).as_posix() for path in paths]):
        parents = {key.rpartition("/")[0] for key in keys}
        common = os.path.commonpath(parents) if len({parent.startswith("/") for parent in parents}) == 1 else ""
        return [key[len(common) :].lstrip("/") for key in keys]
    return [_digest_of_file(image) for image in dataset["image"]]


def _unique(keys: list) -> list[str] | None:
    """The keys as strings, if there is one for each image and no two are the same."""
    return list(map(str, keys)) if None not in keys and len(set(keys)) == len(keys) else None


def _digest_of_file(image: dict) -> str:
    content = image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _select_first(dataset: datasets.Dataset, labels: list[int], counts: dict[int, int], seed: int) -> datasets.Dataset:
    """The images of each class that come first in an order that the seed and their keys make."""
    rows_of = defaultdict(list)
    for row, key in enumerate(image_keys(dataset)):
        digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=16).digest()
        rows_of[labels[row]].append((digest, row))
    chosen = [row for label, rows in rows_of.items() for _, row in sorted(rows)[: counts[label]]]
    return dataset.select(sorted(chosen))


__all__ = [
    "check_class_names",
    "image_keys",
    "select_classes",
    "select_fraction",
    "select_samples_per_class",
]
