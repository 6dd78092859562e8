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
"""What the readers share: lines with a fixed number of fields, files and folders of a source, and names of classes."""

import csv
import re
from collections import Counter
from collections.abc import Iterator

from transformers.utils import logging

from ...fields import shown
from ..archives import Source


logger = logging.get_logger(__name__)

# The split that a folder, a list or a key of that name stands for, as `datasets` has it.
SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
# What COCO puts behind the name of a split.
YEAR = re.compile(r"_?20\d\d$")


def read_fields(
    source: Source, path: str, count: int, separator: str | None = None
) -> Iterator[tuple[str, list[str]]]:
    """
    Yields the lines of a list that are not blank.

    Args:
        source ([`Source`]): where the list is.
        path (`str`): path of the list.
        count (`int`): number of fields of a line. The last one takes what is left, so that a name there may have spaces.
        separator (`str`, *optional*): what is between fields; white space if `None`.

    Returns:
        Iterator of file and line, for errors, and the fields.

    Raises:
        `ValueError`: if a line has fewer fields.
    """
    for where, text in source.lines(path):
        fields = [field.strip() for field in text.strip().split(separator, count - 1)]
        if len(fields) != count:
            raise ValueError(f"{where}: {count} fields expected, got {shown(text.strip())}.")
        yield where, fields


def read_csv(source: Source, path: str) -> Iterator[tuple[str, list[str]]]:
    """
    Yields the rows of a CSV file. A value in quotes may go over several lines.

    Returns:
        Iterator of file and line where the row begins, for errors, and the values.

    Raises:
        `ValueError`: if a row is no CSV, or has a value of more than 131 072 characters.
    """
    read = []

    def texts() -> Iterator[str]:
        for where, text in source.lines(path):
            read.append(where)
            yield text + "\n"

    rows = csv.reader(texts())
    while True:
        read.clear()
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise ValueError(f"{read[0]}: no valid CSV: {error}.") from error
        if row is None:
            return
        yield read[0], row


def problem_of(error: ValueError, where: str) -> tuple[str, str]:
    """An annotation of one image that cannot be read, as the problem of its record; `where` is named there once."""
    return "unreadable_annotation", str(error).removeprefix(where).lstrip(":, ")


def log_left_out(left_out: Counter[str], total: int, file: str = ""):
    """
    Says how many images a reader left out, and why.

    Args:
        left_out (`Counter[str]`): how many for each reason, such as `"without a box"`.
        total (`int`): number of the images that there are.
        file (`str`, *optional*): the list that has them, if it is one of several.
    """
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        place = f"{file}: " if file else ""
        logger.warning(f"{place}{left_out.total()} of {total} images left out: {reasons}.")


def split_of(path: str, default: str | None = "train") -> str | None:
    """The split that a folder around a file is called by (`val`, `val2017`), the innermost; `default` where none is."""
    names = [YEAR.sub("", part.lower()) for part in path.split("/")[:-1]]
    splits = [SPLITS[name] for name in names if name in SPLITS]
    return splits[-1] if splits else default


def is_of_another_split(path: str, split: str | None) -> bool:
    """Whether a folder around a file is called by another split: files of one name in two splits are not each other's."""
    return split in SPLITS.values() and split_of(path, default=split) != split


def existing(source: Source, path: str) -> str:
    """A path of a list, with slashes where Windows wrote it and the file is there under no other name."""
    return path.replace("\\", "/") if path not in source and "\\" in path else path


def corners_to_box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    """Corners as `(x, y, width, height)`: the far corner is not moved, as in the published protocols."""
    return x0, y0, x1 - x0, y1 - y0


def roots_with(source: Source, marker: str) -> list[str]:
    """The folders (`""`, or ending in a slash) below which there is a file `marker`."""
    ending = f"/{marker}"
    return [path[: -len(marker)] for path in source.paths() if path == marker or path.endswith(ending)]


def optional_root(source: Source, marker: str) -> str | None:
    """
    The one folder below which there is a file `marker`, or `None`.

    Raises:
        `ValueError`: if there are several.
    """
    roots = roots_with(source, marker)
    if len(roots) > 1:
        found = ", ".join(root + marker for root in roots)
        raise ValueError(f"{marker} is there more than once: {found}. Leave one of them in the source.")
    return roots[0] if roots else None


def required_root(source: Source, layout: str, marker: str, *more: str) -> str:
    """
    The one folder below which there are all of the files.

    Raises:
        `ValueError`: if one is missing, with the layout that there should be, or there are several such folders.
    """
    try:
        return source.find_root(marker, *more)
    except ValueError as error:
        raise ValueError(f"{error}\nThe source should hold:\n{layout}") from error


def missing(what: str, layout: str) -> ValueError:
    """The error for a file that is not in the source, with the layout that there should be."""
    return ValueError(f"{what} is missing.\nThe source should hold:\n{layout}")


def without_number(folder: str) -> str:
    """`001.Black_footed_Albatross` as `Black footed Albatross`; what has no number stays as it is."""
    number, _, name = folder.partition(".")
    return name.replace("_", " ") if name and number.isdigit() else folder


def distinct_names(names: dict[str, str]) -> list[str]:
    """
    Names of classes, none twice: those that several classes share get the class's own key behind them.

    Args:
        names (`dict[str, str]`): the name of each class by a key that is its own, in the order of the classes.
    """
    times = Counter(names.values())
    return [name if times[name] == 1 else f"{name} ({key})" for key, name in names.items()]


__all__ = [
    "SPLITS",
    "corners_to_box",
    "distinct_names",
    "existing",
    "is_of_another_split",
    "log_left_out",
    "missing",
    "optional_root",
    "problem_of",
    "read_csv",
    "read_fields",
    "required_root",
    "roots_with",
    "split_of",
    "without_number",
]
