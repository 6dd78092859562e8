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

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...fields import shown
from ..archives import Source


PROGRAM = Path(__file__).with_name("matlab_process.py")

# The largest list of a known data set has one.
MAX_FILE_BYTES = 2**26

# Beside the limits that the process gives itself, for systems where it cannot.
MAX_SECONDS = 120


def read_variables(source: Source, path: str, *names: str) -> dict[str, list[Any]]:
    """
    Reads cell arrays, struct arrays or vectors of a MATLAB file (up to version 7), in a process of its own: SciPy's reader
    trusts the file.

    Returns:
        `dict[str, list]`: the elements of each variable: text, numbers, lists, or for structs dictionaries.

    Raises:
        `ValueError`: if the file cannot be read, takes too much memory or time, or lacks a variable; the message has the
            path.
    """
    content = source.read(path, MAX_FILE_BYTES)
    # one thread: each takes memory
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    # isolated: it imports nothing from the folder that it is started in, nor of this package
    command = [sys.executable, "-I", str(PROGRAM), *names]
    try:
        done = subprocess.run(
            command, input=content, capture_output=True, timeout=MAX_SECONDS, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{path}: it takes more than {MAX_SECONDS} seconds to read; is it damaged?") from error
    if done.returncode < 0:
        raise ValueError(
            f"{path}: its reader was ended by signal {-done.returncode}; the file is damaged, or made to do so: get it again."
        )
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(f"{path}: no MATLAB file of version 5 to 7, or damaged: {shown(reason)}.")
    variables = json.loads(done.stdout)
    for name in names:
        if name not in variables:
            raise ValueError(f"{path}: there is no variable `{name}`.")
    return variables


__all__ = ["read_variables"]
