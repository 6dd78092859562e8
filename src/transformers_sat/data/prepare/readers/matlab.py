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
"""Lists in MATLAB files."""

import io
from typing import Any

import numpy as np
import scipy.io

from ..sources import Source


def read_variable(source: Source, path: str, name: str) -> list[Any]:
    """
    Reads a cell array, struct array or vector of a MATLAB file (up to version 7).

    Returns:
        `list`: its elements; structs as dictionaries.

    Raises:
        `ValueError`: if the file cannot be read or has no such variable; the message has the path.
    """
    try:
        variables = scipy.io.loadmat(io.BytesIO(source.read(path)), variable_names=[name], simplify_cells=True)
    except Exception as error:  # damaged files raise errors of any kind, and version 7.3 a NotImplementedError
        raise ValueError(f"{path}: no MATLAB file of version 5 to 7 ({error}).") from error
    if name not in variables:
        raise ValueError(f"{path}: there is no variable `{name}`.")
    # what has one element comes without the array around it
    return np.atleast_1d(np.asarray(variables[name], dtype=object)).ravel().tolist()


def field_of(entry: Any, name: str, where: str) -> Any:
    """
    A field of a struct.

    Raises:
        `ValueError`: if it is missing; the message has `where`.
    """
    if not isinstance(entry, dict) or name not in entry:
        raise ValueError(f"{where}: there is no field `{name}`.")
    return entry[name]


__all__ = ["field_of", "read_variable"]
