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
"""How one of several processes ends."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("world_size", "status", "is_run"), [("2", 3, False), ("1", 0, True), (None, 0, True)])
def test_one_of_several_processes_ends_at_once(world_size, status, is_run):
    """With its status and what it printed, and without what would come at the exit."""
    script = (
        "import atexit\n"
        "from launched import end_launched_process\n"
        "atexit.register(print, 'at the exit')\n"
        "print('done', end=' ')\n"
        "end_launched_process(3)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "WORLD_SIZE"}
    environment |= {} if world_size is None else {"WORLD_SIZE": world_size}
    # the module alone, which is quicker to load than the package
    folder = os.path.join(os.path.dirname(__file__), "..", "src", "transformers_sat")
    environment["PYTHONPATH"] = folder
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert finished.returncode == status, finished.stderr
    assert finished.stdout.split() == ["done", *(["at", "the", "exit"] if is_run else [])]
