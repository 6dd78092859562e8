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
"""Requests that arrive close together, as one batch."""

import asyncio
from collections.abc import Callable
from typing import Any

from transformers.utils import logging

from .threads import Threads


logger = logging.get_logger(__name__)


class Batcher:
    """
    Collects items from many tasks of one event loop and hands them to a function together. The function runs on one
    thread of its own: while it works, the items of the next batch gather.

    Args:
        run (`Callable[[list], list]`): takes a list of items and returns as many results.
        max_batch_size (`int`): most items at a time.
        max_wait_ms (`float`): how long the first item of a batch waits for company, in milliseconds.

    Attributes:
        failed (`bool`): whether the last batch ended in an error.
        restarts (`int`): how often the worker ended and was replaced.
    """

    def __init__(self, run: Callable[[list], list], max_batch_size: int, max_wait_ms: float):
        self.run = run
        self.max_batch_size = max_batch_size
        self.max_wait = max_wait_ms / 1000
        self.queue: asyncio.Queue = asyncio.Queue()
        self.thread = Threads(1, "model")
        self.worker: asyncio.Task | None = None
        self.failed = False
        self.restarts = 0
        self._batch: list[tuple[Any, asyncio.Future]] = []

    async def __call__(self, item: Any) -> Any:
        """The result of one item; raises what the function raised for its batch."""
        future = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((item, future))
        return await future

    @property
    def alive(self) -> bool:
        return self.worker is not None and not self.worker.done()

    def given_up(self) -> int:
        """How many items of the batch in work nobody waits for."""
        return sum(future.cancelled() for _, future in self._batch)

    def hopeless(self) -> bool:
        """Whether the function works, and nobody waits for any of it."""
        return bool(self._batch) and self.given_up() == len(self._batch)

    async def work(self):
        """Serves until it is cancelled. A worker that ends, in whatever way, is replaced, and its batch gets an error."""
        self.thread.start()
        try:
            while True:
                self.worker = asyncio.create_task(self._serve())
                await asyncio.wait([self.worker])
                cause = None if self.worker.cancelled() else self.worker.exception()
                logger.error("The model's worker ended; there is a new one.", exc_info=cause)
                self.restarts += 1
                self.failed = True
                self._deliver([RuntimeError("The model's worker ended.")] * len(self._batch))
        finally:
            self.worker.cancel()
            self.thread.stop()

    async def _serve(self):
        while True:
            # whoever gave up meanwhile has cancelled its future
            self._batch = [(item, future) for item, future in await self._collect() if not future.done()]
            if not self._batch:
                continue
            try:
                results = await self.thread(self.run, [item for item, _ in self._batch])
                if len(results) != len(self._batch):
                    raise RuntimeError(f"{len(results)} results for {len(self._batch)} items.")
                self.failed = False
            except Exception as error:
                self.failed = True
                results = [error] * len(self._batch)
            self._deliver(results)

    def _deliver(self, results: list):
        for (_, future), result in zip(self._batch, results, strict=True):
            if future.done():
                continue
            elif isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._batch = []

    async def _collect(self) -> list[tuple[Any, asyncio.Future]]:
        batch = [await self.queue.get()]
        try:
            async with asyncio.timeout(self.max_wait):
                while len(batch) < self.max_batch_size:
                    batch.append(await self.queue.get())
        except TimeoutError:
            # what arrived just now still fits
            while len(batch) < self.max_batch_size and not self.queue.empty():
                batch.append(self.queue.get_nowait())
        return batch


__all__ = ["Batcher"]
