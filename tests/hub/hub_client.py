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
"""Runs a function of a test as a user of the Hub would: in an interpreter and a cache of its own."""

import inspect
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from local_hub import TOKEN


# An entry of None makes the import fail, whether the package is installed or only on the path.
WITHOUT_PACKAGE = "import sys; sys.modules['transformers_sat'] = None"


def run_client(
    endpoint: str,
    home: Path,
    function: Callable,
    *arguments,
    with_package: bool = False,
    offline: bool = False,
    token: str | None = TOKEN,
) -> tuple[object, str]:
    """
    Calls `function` in a fresh process. The libraries read where the Hub and their caches are while they are imported, so
    that a process which has imported them cannot be pointed elsewhere.

    Args:
        endpoint (`str`): address of the Hub.
        home (`Path`): folder for all caches; an empty one is a machine that has never seen the Hub.
        function (`Callable`): what to run; it imports what it needs itself and sees nothing around it.
        arguments: what it is called with, JSON values; what it returns must be one too.
        with_package (`bool`): whether `transformers_sat` can be imported.
        offline (`bool`): whether to tell the libraries to stay off the network.
        token (`str`, *optional*): access token; none by default of the environment.

    Returns:
        `tuple[object, str]`: what the function returned, and all that the process wrote to its standard error.
    """
    source = textwrap.dedent(inspect.getsource(function))
    script = "\n".join(
        (
            # `-W` takes a module's whole name; this pattern is a prefix, and covers the code that travels
            "import warnings",
            "warnings.filterwarnings('error', category=FutureWarning, module='transformers')",
            "" if with_package else WITHOUT_PACKAGE,
            "import json",
            source,
            f"print('\\n' + json.dumps({function.__name__}(*json.loads({json.dumps(json.dumps(arguments))}))))",
        )
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    if token is not None:
        environment["HF_TOKEN"] = token
    finished = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        cwd=home.parent,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1]), finished.stderr


__all__ = ["run_client"]
