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
"""One run at a time writes into a folder."""

import os
import signal
import time

import pytest
from broken_runs import run_in_child

from transformers_sat import one_run
from transformers_sat.one_run import FolderInUseError, only_run


def hold(folder, seconds: float = 60):
    """Holds the folder, and says so, with a worker as data loaders have them, which lives on when this process is killed."""
    with only_run(folder, folder / "lock"):
        worker = os.fork()
        if worker == 0:
            time.sleep(seconds)
            os._exit(0)
        (folder / "worker").write_text(str(worker))
        (folder / "held").write_text(str(os.getpid()))
        time.sleep(seconds)


def wait_for(path):
    until = time.monotonic() + 60
    while not path.is_file() or not path.read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    return int(path.read_text())


def test_a_second_run_is_refused_until_the_first_is_dead(tmp_path, monkeypatch):
    """Killed with SIGKILL, a run no longer has the folder, though its workers still live."""
    monkeypatch.setattr(one_run, "LOCK_SECONDS", 0.1)
    first = os.fork()
    if first == 0:
        hold(tmp_path)
        os._exit(0)
    held, worker = wait_for(tmp_path / "held"), wait_for(tmp_path / "worker")
    try:
        assert held == first
        with pytest.raises(FolderInUseError, match=f"Another process is writing to {tmp_path}; wait for it"):
            only_run(tmp_path, tmp_path / "lock").__enter__()
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
    os.kill(worker, 0)
    with only_run(tmp_path, tmp_path / "lock"):
        pass
    os.kill(worker, signal.SIGKILL)


def test_errors_of_the_run_are_its_own(tmp_path):
    with pytest.raises(KeyError), only_run(tmp_path / "new", tmp_path / "new" / "lock"):
        raise KeyError("model")
    with only_run(tmp_path / "new", tmp_path / "new" / "lock"):
        pass


def enter(folder):
    with only_run(folder, folder / "lock"):
        pass


def test_runs_after_one_another(tmp_path):
    assert [run_in_child(enter, tmp_path) for _ in range(2)] == [0, 0]
