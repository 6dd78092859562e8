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
"""Threads that work for an event loop, and that nobody has to wait for."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers.utils import logging


logger = logging.get_logger(__name__)


@dataclass
class Job:
    """A call, and who waits for its result."""

    future: asyncio.Future
    call: Callable[[], Any] | None
    began: float = 0.0

    @property
    def given_up(self) -> bool:
        return self.future.cancelled()


class Threads:
    """
    A few threads that take calls in their order. It is known what they are at: a thread cannot be stopped, so one whose
    call nobody waits for any more is still taken.

    They are daemons, unlike those of `concurrent.futures`, which the interpreter joins before it ends: a process that is
    told to stop would wait for the slowest image.

    Args:
        number (`int`): how many threads.
        name (`str`): what they are called.
    """

    def __init__(self, number: int, name: str):
        self.number = number
        self.name = name
        self.at_work: dict[int, Job] = {}
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()

    def start(self):
        for index in range(self.number):
            threading.Thread(target=self._work, name=f"{self.name}-{index}", daemon=True).start()

    def stop(self):
        """Ends the threads that are idle now, and each other one after its call."""
        for _ in range(self.number):
            self._waiting.put(None)

    async def __call__(self, function: Callable, *arguments) -> Any:
        """
        What the function returns, or raises.

        Raises:
            `RuntimeError`: if it raised what is no `Exception`, such as `SystemExit`, which would end the event loop.
        """
        job = Job(asyncio.get_running_loop().create_future(), lambda: function(*arguments))
        self._waiting.put(job)
        try:
            return await job.future
        finally:
            # a call that was given up before its turn stays in the queue, but its arguments do not
            job.call = None

    def given_up(self) -> int:
        """How many threads are at calls that nobody waits for."""
        return sum(job.given_up for job in list(self.at_work.values()))

    def seconds(self) -> list[float]:
        """How long each thread that is at work has been at it, longest first."""
        now = time.monotonic()
        return sorted((now - job.began for job in list(self.at_work.values())), reverse=True)

    def _work(self):
        while (job := self._waiting.get()) is not None:
            call = job.call
            if call is None or job.given_up:
                continue
            job.began = time.monotonic()
            self.at_work[threading.get_ident()] = job
            result = error = None
            try:
                result = call()
            except Exception as raised:
                error = raised
            except BaseException as raised:
                logger.error("A thread was ended by %s; it goes on.", type(raised).__name__, exc_info=raised)
                error = RuntimeError(f"{type(raised).__name__} in a thread")
            del self.at_work[threading.get_ident()]
            try:
                job.future.get_loop().call_soon_threadsafe(_deliver, job.future, result, error)
            except RuntimeError:  # the loop has ended, and all who waited with it
                return
            del job, call, result, error


def _deliver(future: asyncio.Future, result: Any, error: Exception | None):
    if future.done():
        return
    elif isinstance(error, StopIteration):  # a future takes any but this
        future.set_exception(RuntimeError("StopIteration in a thread"))
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


__all__ = ["Threads"]
