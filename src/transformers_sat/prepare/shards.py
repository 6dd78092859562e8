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
"""The unit of work: the images of one Parquet file, written or only checked, in a process of its own or not."""

import concurrent.futures
import itertools
import json
import multiprocessing
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ..writing import replacing_file
from .examples import Example, features_of, read_example
from .plan import ImageList, Shard
from .records import Reader
from .validation import InvalidImage


# Memory in use, and what must be read to see one image.
MAX_ROW_GROUP_ROWS = 100
MAX_ROW_GROUP_BYTES = 2**24

# Pages end where the content says so: a changed image leaves the other pages' bytes as they were, and the Hub stores
# only what is new.
CONTENT_DEFINED_CHUNKING = {"min_chunk_size": 2**18, "max_chunk_size": 2**20, "norm_level": 0}

SECONDS_BETWEEN_LOOKS = 0.2


@dataclass
class ShardResult:
    """
    What was found in the images of a shard.

    Attributes:
        name (`str`): the shard's.
        split (`str`): its split.
        num_examples (`int`): rows written.
        num_bytes (`int`): their size in memory.
        file_bytes (`int`): size of the file.
        class_counts (`dict[str, int]`): rows of each class.
        num_boxes (`int`), num_boxed (`int`): boxes, and rows with a box.
        num_past_edge (`int`): boxes that reach past the edge by more than a pixel.
        num_masked (`int`): rows with a mask.
        problems (`list[InvalidImage]`): images left out.
    """

    name: str
    split: str
    num_examples: int = 0
    num_bytes: int = 0
    file_bytes: int = 0
    class_counts: dict[str, int] = field(default_factory=Counter)
    num_boxes: int = 0
    num_boxed: int = 0
    num_past_edge: int = 0
    num_masked: int = 0
    problems: list[InvalidImage] = field(default_factory=list)

    def count(self, example: Example, label: str):
        objects = example.row.get("objects")
        self.num_examples += 1
        self.class_counts[label] += 1
        self.num_boxes += len(objects["bbox"]) if objects else 0
        self.num_boxed += objects is not None
        self.num_past_edge += example.num_past_edge
        self.num_masked += example.row.get("mask") is not None

    def to_json(self) -> bytes:
        content = vars(self) | {"problems": [problem.as_record() for problem in self.problems]}
        return json.dumps(content, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "ShardResult":
        content = json.loads(text)
        problems = [InvalidImage(**record) for record in content.pop("problems")]
        return cls(**content | {"class_counts": Counter(content["class_counts"])}, problems=problems)


class ShardWork(ABC):
    """
    What is done with each shard; travels to the processes that do it.

    Args:
        reader ([`Reader`]): the data set.
        images ([`ImageList`]): its images.
        goes_on (`bool`): whether an image with a problem is left out, or ends the work.
    """

    def __init__(self, reader: Reader, records: ImageList, goes_on: bool):
        self.reader, self.records, self.goes_on = reader, records, goes_on
        self.class_numbers = {name: number for number, name in enumerate(reader.class_names)}

    @abstractmethod
    def __call__(self, shard: Shard, step: Callable[[], None]) -> ShardResult:
        """Does it, with a call of `step` after each image."""

    def examples(self, shard: Shard, result: ShardResult, step: Callable[[], None]) -> Iterator[Example]:
        """The rows of a shard, counted in `result`."""
        for record in self.records.read(shard.lines):
            try:
                example = read_example(record, self.reader, self.class_numbers)
            except InvalidImage as problem:
                if not self.goes_on:
                    raise
                result.problems.append(problem)
            else:
                result.count(example, record.label)
                yield example
            step()


class ShardChecker(ShardWork):
    """Looks for problems, and writes nothing."""

    def __call__(self, shard: Shard, step: Callable[[], None]) -> ShardResult:
        result = ShardResult(shard.name, shard.split)
        for _ in self.examples(shard, result, step):
            pass
        return result


class ShardWriter(ShardWork):
    """
    Writes the Parquet files. One has its name only when all of it is on the disk.

    Args:
        data_folder (`Path`): folder of the files.
        results_folder (`Path`): folder of what was counted in each, on the same disk.
        work_folder (`Path`): folder of unfinished files, on the same disk.
    """

    def __init__(
        self,
        reader: Reader,
        records: ImageList,
        goes_on: bool,
        data_folder: Path,
        results_folder: Path,
        work_folder: Path,
    ):
        super().__init__(reader, records, goes_on)
        self.data_folder, self.results_folder, self.work_folder = data_folder, results_folder, work_folder

    def finished(self, shard: Shard) -> ShardResult | None:
        """What an earlier run counted in a shard, if it finished it."""
        result_file = self.results_folder / f"{shard.name}.json"
        if not (self.data_folder / shard.name).is_file() or not result_file.is_file():
            return None
        result = ShardResult.from_json(result_file.read_bytes())
        return result if (self.data_folder / shard.name).stat().st_size == result.file_bytes else None

    def __call__(self, shard: Shard, step: Callable[[], None]) -> ShardResult:
        result = ShardResult(shard.name, shard.split)
        with replacing_file(self.data_folder / shard.name, self.work_folder) as unfinished:
            with open(unfinished, "wb") as file:
                write_parquet(file, features_of(self.reader), self.examples(shard, result, step), result)
            result.file_bytes = unfinished.stat().st_size
            # before the file has its name: what was counted in it is never missing
            with replacing_file(self.results_folder / f"{shard.name}.json", self.work_folder) as counted:
                counted.write_bytes(result.to_json())
        return result


def write_parquet(file, features: datasets.Features, examples: Iterator[Example], result: ShardResult):
    """Writes rows as they come, in small row groups."""
    schema = features.arrow_schema
    # What is large is compressed already.
    writer = pq.ParquetWriter(
        file,
        schema,
        compression="none",
        use_dictionary=False,
        write_page_index=True,
        use_content_defined_chunking=CONTENT_DEFINED_CHUNKING,
    )
    with writer:
        for rows in row_groups(examples):
            table = pa.Table.from_pylist(rows, schema=schema)
            result.num_bytes += table.nbytes
            writer.write_table(table)
        writer.add_key_value_metadata({"content_defined_chunking": json.dumps(CONTENT_DEFINED_CHUNKING)})


def row_groups(examples: Iterator[Example]) -> Iterator[list[dict]]:
    rows, num_bytes = [], 0
    for example in examples:
        rows.append(example.row)
        num_bytes += len(example.row["image"]["bytes"])
        if len(rows) == MAX_ROW_GROUP_ROWS or num_bytes >= MAX_ROW_GROUP_BYTES:
            yield rows
            rows, num_bytes = [], 0
    if rows:
        yield rows


# Running it.


def do_shards(work: ShardWork, shards: list[Shard], num_proc: int, description: str) -> Iterator[ShardResult]:
    """
    Does the work on each shard, with a progress bar over the images.

    Args:
        work ([`ShardWork`]): what is done.
        shards (`list[Shard]`): with which.
        num_proc (`int`): number of processes; with 1 it is this one.
        description (`str`): what the bar says.

    Returns:
        Iterator of [`ShardResult`] in the order in which they are finished.
    """
    total = sum(len(shard.lines) for shard in shards)
    with tqdm(total=total, desc=description, unit=" images", smoothing=0.05) as bar:
        if num_proc == 1 or len(shards) <= 1:
            for shard in shards:
                yield work(shard, bar.update)
        else:
            yield from _in_processes(work, shards, min(num_proc, len(shards)), bar)


def _in_processes(work: ShardWork, shards: list[Shard], num_proc: int, bar: tqdm) -> Iterator[ShardResult]:
    context = multiprocessing.get_context()
    counter, stop = context.Value("q", 0), context.Event()
    executor = concurrent.futures.ProcessPoolExecutor(num_proc, context, _start_process, (work, counter, stop))
    try:
        # A few at a time: what waits is copied.
        waiting = iter(shards)
        running = {executor.submit(_do_shard, shard) for shard in itertools.islice(waiting, 2 * num_proc)}
        while running:
            done, running = concurrent.futures.wait(
                running, SECONDS_BETWEEN_LOOKS, return_when=concurrent.futures.FIRST_COMPLETED
            )
            if moved := counter.value - bar.n:
                bar.update(moved)
            for future in done:
                yield future.result()
            running |= {executor.submit(_do_shard, shard) for shard in itertools.islice(waiting, len(done))}
    finally:
        # Also when a shard failed or the user interrupts: the others stop at their next image.
        stop.set()
        executor.shutdown(cancel_futures=True)


class _Stopped(Exception):
    """Another process failed."""


def _start_process(work: ShardWork, counter, stop):
    global _work, _step
    _work = work

    def step():
        if stop.is_set():
            raise _Stopped
        with counter.get_lock():
            counter.value += 1

    _step = step
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_parent(parent: int):
    """A killed parent cannot tell: without this its processes would go on beside those of the next run."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def _do_shard(shard: Shard) -> ShardResult:
    return _work(shard, _step)


__all__ = ["ShardChecker", "ShardResult", "ShardWriter", "do_shards"]
