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
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Batcher:
    """
    Collects items from many tasks of one event loop and hands them to a function together. The function runs on one
    thread of its own: while it works, the items of the next batch gather.

    Args:
        run (`Callable[[list], list]`): takes a list of items and returns as many results.
        max_batch_size (`int`): most items at a time.
        max_wait_ms (`float`): how long the first item of a batch waits for company, in milliseconds.
    """

    def __init__(self, run: Callable[[list], list], max_batch_size: int, max_wait_ms: float):
        self.run = run
        self.max_batch_size = max_batch_size
        self.max_wait = max_wait_ms / 1000
        self.queue: asyncio.Queue = asyncio.Queue()

    async def __call__(self, item: Any) -> Any:
        """The result of one item; raises what the function raised for its batch."""
        future = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((item, future))
        return await future

    async def work(self):
        """Serves until it is cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="model") as thread:
            while True:
                # whoever gave up meanwhile has cancelled its future
                batch = [(item, future) for item, future in await self._collect() if not future.done()]
                if not batch:
                    continue
                try:
                    results = await loop.run_in_executor(thread, self.run, [item for item, _ in batch])
                except Exception as error:
                    results = [error] * len(batch)
                for (_, future), result in zip(batch, results, strict=True):
                    if future.done():
                        continue
                    elif isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)

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
