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
"""Threads that work for an event loop."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest

from transformers_sat.serving.threads import Threads


def run_with(threads: Threads, main):
    async def everything():
        threads.start()
        try:
            return await asyncio.wait_for(main(), timeout=30)
        finally:
            threads.stop()

    return asyncio.run(everything())


def test_calls():
    """As many at a time as there are threads, in order, with their results and errors."""
    threads = Threads(2, "few")
    most, names = [0], set()

    def work(number):
        most[0] = max(most[0], len(threads.at_work))
        names.add(threading.current_thread().name)
        time.sleep(0.05)
        return 6 // number

    async def main():
        return await asyncio.gather(*(threads(work, number) for number in (1, 2, 0, 3)), return_exceptions=True)

    *results, last = run_with(threads, main)
    assert results[:2] + [last] == [6, 3, 2]
    assert isinstance(results[2], ZeroDivisionError)
    assert (most, names) == ([2], {"few-0", "few-1"})
    assert not threads.at_work


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, StopIteration])
def test_a_thread_goes_on_after_errors_of_any_kind(error):
    threads = Threads(1, "one")

    def fail():
        raise error

    async def main():
        with pytest.raises(RuntimeError, match=error.__name__):
            await threads(fail)
        return await threads(lambda: threading.current_thread().name)

    assert run_with(threads, main) == "one-0"


def test_what_is_given_up():
    """A thread at it is counted until it is done; what still waits is not done at all, and its arguments are let go."""
    threads = Threads(1, "one")
    done, release = [], threading.Event()

    class Large:
        pass

    async def main():
        large = Large()
        kept = weakref.ref(large)
        working = asyncio.create_task(threads(release.wait))
        waiting = asyncio.create_task(threads(done.append, large))
        del large
        while not threads.at_work:
            await asyncio.sleep(0.01)
        assert (threads.given_up(), len(threads.seconds())) == (0, 1)
        for task in (working, waiting):
            task.cancel()
        await asyncio.wait([working, waiting])
        del working, waiting, task
        gc.collect()
        assert kept() is None
        assert (threads.given_up(), len(threads.seconds())) == (1, 1)
        before = threads.seconds()[0]
        await asyncio.sleep(0.05)
        assert threads.seconds()[0] >= before + 0.05
        release.set()
        await threads(int)
        assert (threads.given_up(), threads.seconds(), done) == (0, [], [])

    run_with(threads, main)


def test_nobody_waits_for_them():
    """The process ends while a thread sleeps."""
    code = """
import asyncio, time
from transformers_sat.serving.threads import Threads

async def main():
    threads = Threads(1, "one")
    threads.start()
    sleeping = asyncio.create_task(threads(time.sleep, 300))
    while not threads.at_work:
        await asyncio.sleep(0.01)
    threads.stop()

asyncio.run(main())
print("ended")
"""
    finished = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert (finished.returncode, finished.stdout) == (0, "ended\n"), finished.stderr
