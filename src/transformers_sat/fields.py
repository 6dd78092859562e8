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
"""What files of the user's say, checked as it is read: an error names the file, the line, the field and the value."""

import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any


# Whole numbers beyond this are not kept exactly by every program that writes JSON, and count nothing in a data set.
LARGEST_INTEGER = 2**53

EXPECTED = {
    str: "text",
    int: "a number without a fraction",
    float: "a number",
    list: "a list",
    dict: 'an object such as {"bbox": [...]}',
}

_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother, _short.maxlong = 3, 80, 80, 40


def shown(value: Any) -> str:
    """A value for a message: short, on one line and without control characters, whatever it is."""
    return _short.repr(value)


def field(record: Any, name: str, kind: type, where: str, optional: bool = False) -> Any:
    """
    A field of a record, of the type that it must have.

    Args:
        record (`dict`): what was read, of any type.
        name (`str`): name of the field.
        kind (`type`): `str`, `int`, `float`, `list` or `dict`, see [`checked`]; `object` for any.
        where (`str`): file and line, for messages.
        optional (`bool`, *optional*, defaults to `False`): whether it may be missing or null; it is `None` then.

    Raises:
        `ValueError`: if the record is no `dict`, lacks the field, or has it of another type.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected an object with a field `{name}`, got {shown(record)}.")
    value = record.get(name)
    if value is None and optional:
        return None
    if value is None:
        raise ValueError(f"{where}: there is no field `{name}`.")
    return checked(value, name, kind, where)


def checked(value: Any, name: str, kind: type, where: str) -> Any:
    """
    A value, if it is of a type.

    Args:
        value: what was read.
        name (`str`): what messages call it.
        kind (`type`):
            `str`: text of whole characters. `int`: a number without a fraction, up to 2 ** 53 either way. `float`: any
            number, NaN and the infinities too. `list`, `dict`. Numbers may stand as text, as they do in CSV.
        where (`str`): file and line, for messages.

    Raises:
        `ValueError`: if it is of another type.
    """
    if kind in (int, float):
        found = _as_number(value, kind)
    elif kind is str and isinstance(value, str):
        found = value if _is_unicode(value) else None
    else:
        found = value if isinstance(value, kind) else None
    if found is None:
        raise ValueError(f"{where}: `{name}` must be {EXPECTED[kind]}, got {shown(value)}.")
    return found


def checked_name(value: Any, name: str, where: str) -> str:
    """A name or id, which may stand as text or as a number; `ValueError` if it is anything else."""
    return checked(str(value) if isinstance(value, bool | int | float) else value, name, str, where)


def as_number(text: str, where: str, name: str, kind: type = int) -> int | float:
    """
    A field of a list as a number.

    Args:
        text (`str`): the field.
        where (`str`): file and line, for messages.
        name (`str`): what messages call it.
        kind (`type`, *optional*, defaults to `int`): `int` or `float`, as in [`checked`].

    Raises:
        `ValueError`: if it is no number.
    """
    found = _as_number(text, kind)
    if found is None:
        raise ValueError(f"{where}: {shown(text)} is not {EXPECTED[kind]} (`{name}`).")
    return found


def read_class_names(classes: Sequence[str]) -> list[str]:
    """
    The names of classes as a command line has them: the names themselves, or one file with a name on each line.

    Raises:
        `ValueError`: if a file is no text in UTF-8, or holds no names.
    """
    if len(classes) != 1 or not os.path.isfile(classes[0]):
        return list(classes)
    try:
        lines = Path(classes[0]).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"The file {classes[0]} with names of classes is no text in UTF-8.") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise ValueError(f"The file {classes[0]} holds no names of classes; write one on each line.")
    return names


def _as_number(value: Any, kind: type) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = kind(value)
    except (ValueError, OverflowError):  # also an `int` of NaN or infinity
        return None
    if kind is int and (abs(found) > LARGEST_INTEGER or (isinstance(value, float) and value != found)):
        return None
    return found


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


__all__ = ["as_number", "checked", "checked_name", "field", "read_class_names", "shown"]
