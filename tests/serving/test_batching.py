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
"""Requests in batches: together, in order, and each with its own fate."""

import asyncio
import threading

import pytest

from transformers_sat.serving.batching import Batcher


def run_with(batcher: Batcher, main):
    """What a coroutine returns while the batcher works."""

    async def everything():
        work = asyncio.create_task(batcher.work())
        try:
            return await asyncio.wait_for(main(), timeout=30)
        finally:
            work.cancel()
            await asyncio.wait([work])

    return asyncio.run(everything())


class Squares:
    """Squares numbers and remembers the batches and threads. While `may_end` is clear, it goes on working."""

    def __init__(self):
        self.batches = []
        self.threads = set()
        self.works = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self, numbers: list[int]) -> list[int]:
        self.batches.append(numbers)
        self.threads.add(threading.current_thread())
        self.works.set()
        assert self.may_end.wait(20)
        if 13 in numbers:
            raise RuntimeError("unlucky")
        return [number**2 for number in numbers]


def test_items_share_batches():
    squares = Squares()
    batcher = Batcher(squares, max_batch_size=4, max_wait_ms=200)

    async def main():
        return await asyncio.gather(*(batcher(number) for number in range(10)))

    assert run_with(batcher, main) == [number**2 for number in range(10)]
    assert squares.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(squares.threads) == 1 and threading.main_thread() not in squares.threads


def test_a_full_batch_does_not_wait():
    batcher = Batcher(Squares(), max_batch_size=2, max_wait_ms=3_600_000)

    async def main():
        return await asyncio.gather(batcher(2), batcher(3))

    # `run_with` has much less patience than this batcher
    assert run_with(batcher, main) == [4, 9]


@pytest.mark.parametrize("max_wait_ms", [0, 50])
def test_a_lone_item_does_not_wait_for_ever(max_wait_ms):
    batcher = Batcher(Squares(), max_batch_size=8, max_wait_ms=max_wait_ms)
    assert run_with(batcher, lambda: batcher(5)) == 25


def test_items_gather_while_the_function_works():
    squares = Squares()
    squares.may_end.clear()
    batcher = Batcher(squares, max_batch_size=8, max_wait_ms=0)

    async def main():
        tasks = [asyncio.create_task(batcher(1))]
        assert await asyncio.to_thread(squares.works.wait, 20)
        for number in (2, 3, 4):
            tasks.append(asyncio.create_task(batcher(number)))
            await asyncio.sleep(0)  # each is in the queue, at a moment of its own
        squares.may_end.set()
        return await asyncio.gather(*tasks)

    assert run_with(batcher, main) == [1, 4, 9, 16]
    assert squares.batches == [[1], [2, 3, 4]]


def test_an_error_reaches_its_batch_alone():
    batcher = Batcher(Squares(), max_batch_size=2, max_wait_ms=50)

    async def main():
        return await asyncio.gather(*(batcher(number) for number in (12, 13, 14, 15)), return_exceptions=True)

    first, second, *others = run_with(batcher, main)
    assert str(first) == str(second) == "unlucky"
    assert others == [196, 225]


def test_what_nobody_waits_for_is_not_computed():
    squares = Squares()
    squares.may_end.clear()
    batcher = Batcher(squares, max_batch_size=1, max_wait_ms=0)

    async def main():
        tasks = [asyncio.create_task(batcher(number)) for number in (1, 2, 3)]
        assert await asyncio.to_thread(squares.works.wait, 20)
        tasks[1].cancel()
        await asyncio.sleep(0)  # the cancelled task lets go of its future
        squares.may_end.set()
        return [await tasks[0], await tasks[2]]

    assert run_with(batcher, main) == [1, 9]
    assert squares.batches == [[1], [3]]


@pytest.mark.parametrize(
    "error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, StopIteration]
)
def test_errors_of_any_kind_reach_their_batch_alone(error):
    def run(items):
        if "bad" in items:
            raise error("bad")
        return items

    batcher = Batcher(run, max_batch_size=1, max_wait_ms=0)

    async def main():
        return await asyncio.gather(
            *(batcher(item) for item in ("bad", "good", "bad", "good")), return_exceptions=True
        )

    first, second, third, fourth = run_with(batcher, main)
    assert isinstance(first, RuntimeError) and error.__name__ in str(first)
    assert isinstance(third, RuntimeError)
    assert (second, fourth) == ("good", "good")
    assert not batcher.failed


def test_a_function_that_loses_items():
    """Too few results are an error of the batch, and not the end of the worker."""
    batcher = Batcher(lambda items: items[1:], max_batch_size=2, max_wait_ms=0)

    async def main():
        return [await asyncio.gather(batcher(number), return_exceptions=True) for number in range(3)]

    assert all("0 results for 1 items" in str(error) for (error,) in run_with(batcher, main))
    assert batcher.failed


def test_a_worker_that_ends_is_replaced():
    """Those whose batch it had get an error; those that waited in the queue are served by the next."""
    squares = Squares()
    squares.may_end.clear()
    batcher = Batcher(squares, max_batch_size=1, max_wait_ms=0)

    async def main():
        tasks = [asyncio.create_task(batcher(number)) for number in (2, 3)]
        while not squares.batches:
            await asyncio.sleep(0.01)
        batcher.worker.cancel()
        squares.may_end.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    ended, served = run_with(batcher, main)
    assert "worker ended" in str(ended) and served == 9
    assert batcher.restarts == 1


def test_what_nobody_waits_for_any_more():
    squares = Squares()
    squares.may_end.clear()
    batcher = Batcher(squares, max_batch_size=2, max_wait_ms=50)

    async def main():
        first, second = (asyncio.create_task(batcher(number)) for number in (2, 3))
        while not squares.batches:
            await asyncio.sleep(0.01)
        states = [(batcher.given_up(), batcher.hopeless())]
        for task in (first, second):
            task.cancel()
            await asyncio.wait([task])
            states.append((batcher.given_up(), batcher.hopeless()))
        squares.may_end.set()
        await batcher(4)
        return [*states, (batcher.given_up(), batcher.hopeless())]

    assert run_with(batcher, main) == [(0, False), (1, False), (2, True), (0, False)]
