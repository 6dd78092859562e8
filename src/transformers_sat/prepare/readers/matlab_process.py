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
Reads variables of a MATLAB file in a process of its own, with limits: SciPy's reader trusts the file, and a damaged or
hostile one can end the process or take all memory.

Run as a program by `matlab.py`, without this package: the file on standard input, names of variables as arguments, JSON on
standard output.
"""

import io
import json
import sys

import numpy as np


MAX_MEMORY_BYTES = 2**31
MAX_SECONDS = 60

# A list of structs of numbers and text is four deep.
MAX_DEPTH = 16


def main(names: list[str]):
    limit_process()
    import scipy.io

    variables = scipy.io.loadmat(io.BytesIO(sys.stdin.buffer.read()), variable_names=names, simplify_cells=True)
    # what has one element comes without the array around it
    values = {
        name: [as_plain(value) for value in np.atleast_1d(np.asarray(variables[name], dtype=object)).ravel()]
        for name in names
        if name in variables
    }
    json.dump(values, sys.stdout)


def limit_process():
    try:
        import resource
    except ImportError:
        # Windows: a process of its own, without limits
        return
    for kind, limit in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MAX_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(kind, (limit, limit))
        except (ValueError, OSError):
            # a lower limit is set already, or the system knows none of this kind
            continue


def as_plain(value, depth: int = 0):
    """Structs as `dict`, arrays as lists, numbers and text as Python's; everything else as text."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        return {str(name): as_plain(each, depth + 1) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return [as_plain(each, depth + 1) for each in value.ravel()]
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else str(value)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Exception as error:  # damaged files raise errors of any kind, and version 7.3 a NotImplementedError
        print(str(error) or type(error).__name__, file=sys.stderr)
        sys.exit(1)
