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
"""From the official files to Parquet files in the schema, resumable, without unpacking anything."""

import json
import shutil
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from datasets.utils.py_utils import convert_file_size_to_int

from ..fields import shown
from ..one_run import only_run
from ..writing import UNFINISHED, check_folder, replacing_file, write_json
from .plan import ImageList, Plan, make_plan, no_images
from .records import Reader
from .shards import ShardChecker, ShardResult, ShardWriter, do_shards
from .validation import InvalidImage, ProblemReport


# Also of unfinished files: one that a killed run leaves is not taken for a part of the data set.
STATE_FOLDER = ".prepare"
DATA_FOLDER = "data"
SKIPPED_FILE = "skipped.jsonl"
DEFAULT_SHARD_SIZE = "500MB"
# What a process checks at a time, where nothing is written.
CHECKED_BYTES = 2**26

# What is kept of a plan.
PLAN_FIELDS = {"fingerprint": str, "made_of": dict, "shards": list}

# Beside the images: row groups, indexes, card. And the list of the images, while it is needed.
DISK_OVERHEAD = 1.02
LIST_BYTES_PER_IMAGE = 500


@dataclass
class SplitSummary:
    """
    Counts of a split: those of [`ShardResult`], summed up.

    Attributes:
        num_shards (`int`): number of Parquet files.
        num_examples (`int`): number of rows.
    """

    num_shards: int = 0
    num_examples: int = 0
    num_bytes: int = 0
    file_bytes: int = 0
    class_counts: Counter[str] = field(default_factory=Counter)
    num_boxes: int = 0
    num_boxed: int = 0
    num_past_edge: int = 0
    num_masked: int = 0

    def add(self, result: ShardResult):
        self.num_shards += 1
        for name in vars(self).keys() & vars(result).keys():
            if name == "class_counts":
                self.class_counts.update(result.class_counts)
            else:
                setattr(self, name, getattr(self, name) + getattr(result, name))


@dataclass
class PreparedDataset:
    """
    What [`prepare_dataset`] wrote.

    Attributes:
        output (`Path`): the folder.
        splits (`dict[str, SplitSummary]`): what is in each split.
        skipped (`list[InvalidImage]`): images left out.
        remarks (`list[InvalidImage]`): problems that are not of one image: classes without any.
    """

    output: Path
    splits: dict[str, SplitSummary]
    skipped: list[InvalidImage]
    remarks: list[InvalidImage]


def prepare_dataset(
    reader: Reader,
    output: str | Path,
    max_shard_size: int | str = DEFAULT_SHARD_SIZE,
    num_proc: int = 1,
    skip_invalid: bool = False,
) -> PreparedDataset:
    """
    Writes a data set as Parquet files, `OUTPUT/data/<split>-00000-of-00003.parquet`.

    Killed at any moment and called again with the same arguments, it keeps the files that are finished, and the result is
    the same to the byte, on any number of processes.

    Args:
        reader ([`Reader`]): the data set.
        output (`str` or `Path`): folder to write; new or empty, or that of an earlier call.
        max_shard_size (`int` or `str`, *optional*, defaults to `"500MB"`): size of a file, at most.
        num_proc (`int`, *optional*, defaults to 1): number of processes.
        skip_invalid (`bool`, *optional*, defaults to `False`):
            Whether images with a problem are left out and listed in `OUTPUT/skipped.jsonl`; the first one raises an
            error otherwise.

    Raises:
        [`InvalidImage`]: the first problem, without `skip_invalid`.
        `ValueError`: if no image is left, with what is wrong with them, an argument is out of range, the folder has
            something else in it, or the disk is too small.
    """
    output = Path(output)
    max_shard_bytes = _shard_bytes(max_shard_size)
    _check_num_proc(num_proc)
    _check_output(output, reader)
    state = output / STATE_FOLDER
    data_folder, results_folder = output / DATA_FOLDER, state / "shards"
    state.mkdir(parents=True, exist_ok=True)
    with only_run(output, state / "lock"), _work_folder(state / "work") as work_folder:
        for folder in (data_folder, results_folder):
            folder.mkdir(exist_ok=True)
        for left in state.glob(f"{UNFINISHED}*"):
            left.unlink()
        listed: list[InvalidImage] = []
        records = ImageList(work_folder / "images.jsonl")
        plan = make_plan(reader, records, max_shard_bytes, listed.append if skip_invalid else _raise)
        if not plan.num_images:
            raise no_images(reader, listed)
        _agree_with_earlier_plan(state / "plan.json", plan, reader, max_shard_bytes)

        writer = ShardWriter(reader, records, skip_invalid, data_folder, results_folder, work_folder)
        results = {shard.name: writer.finished(shard) for shard in plan.shards}
        to_do = [shard for shard in plan.shards if results[shard.name] is None]
        for result in results.values():
            if result is not None and result.problems and not skip_invalid:
                raise result.problems[0]
        _check_disk(output, sum(shard.num_bytes for shard in to_do), plan.num_images)
        for result in do_shards(writer, to_do, num_proc, f"Writing {reader.title}"):
            results[result.name] = result

        skipped = [problem for problem in listed if problem.image_id is not None]
        splits: dict[str, SplitSummary] = {}
        for shard in plan.shards:
            skipped += results[shard.name].problems
            splits.setdefault(shard.split, SplitSummary()).add(results[shard.name])
        if not any(summary.num_examples for summary in splits.values()):
            raise no_images(reader, skipped)
        _write_skipped(output / SKIPPED_FILE, skipped)
    return PreparedDataset(output, splits, skipped, [problem for problem in listed if problem.image_id is None])


def verify_dataset(reader: Reader, num_proc: int = 1) -> tuple[ProblemReport, int, int]:
    """
    Looks at all images of a data set, and writes nothing but a list of them in the temporary folder.

    Args:
        reader ([`Reader`]): the data set.
        num_proc (`int`, *optional*, defaults to 1): number of processes.

    Returns:
        [`ProblemReport`], the number of images looked at, and that of official boxes that reach past the edge.
    """
    _check_num_proc(num_proc)
    report, listed = ProblemReport(), []
    with tempfile.TemporaryDirectory() as folder:
        records = ImageList(Path(folder) / "images.jsonl")
        plan = make_plan(reader, records, CHECKED_BYTES, listed.append)
        if not plan.num_images and not listed:
            raise no_images(reader)
        results = list(
            do_shards(ShardChecker(reader, records, True), plan.shards, num_proc, f"Checking {reader.title}")
        )
    order = {shard.name: number for number, shard in enumerate(plan.shards)}
    results.sort(key=lambda result: order[result.name])
    for problem in listed + [problem for result in results for problem in result.problems]:
        report.add(problem)
    num_listed = sum(problem.image_id is not None for problem in listed)
    return report, plan.num_images + num_listed, sum(result.num_past_edge for result in results)


def is_complete(output: str | Path) -> bool:
    """Whether a folder holds all of a prepared data set."""
    plan_file = Path(output) / STATE_FOLDER / "plan.json"
    if not plan_file.is_file():
        return False
    return all((Path(output) / DATA_FOLDER / name).is_file() for name in _read_plan(plan_file)["shards"])


def _shard_bytes(max_shard_size: int | str) -> int:
    try:
        size = convert_file_size_to_int(max_shard_size)
    except ValueError as error:
        raise ValueError(f"`max_shard_size` must be a size such as 500MB, got {shown(max_shard_size)}.") from error
    if size < 1:
        raise ValueError(f"`max_shard_size` must be at least a byte, such as 500MB, got {max_shard_size}.")
    return size


def _check_num_proc(num_proc: int):
    if num_proc < 1:
        raise ValueError(f"`num_proc` must be at least 1, got {num_proc}.")


def _check_output(output: Path, reader: Reader):
    check_folder(output)
    source = reader.source.path.resolve()
    if source.is_dir() and output.resolve().is_relative_to(source):
        raise ValueError(f"{output} lies in the source, {source}, which it would change; give a folder outside of it.")
    if output.is_dir() and not (output / STATE_FOLDER).is_dir() and any(output.iterdir()):
        raise ValueError(f"{output} has other files in it; give a new folder, or one that an earlier call began.")


@contextmanager
def _work_folder(folder: Path):
    """A folder for unfinished files, empty at first: those of a run that was killed are gone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _raise(problem: InvalidImage):
    raise problem


def _agree_with_earlier_plan(file: Path, plan: Plan, reader: Reader, max_shard_bytes: int):
    """Refuses to go on with what was begun from something else."""
    made_of = {"reader": reader.name, "source": str(reader.source.path), "max_shard_size": max_shard_bytes}
    if not file.is_file():
        shards = [shard.name for shard in plan.shards]
        content = {"fingerprint": plan.fingerprint, "made_of": made_of, "shards": shards}
        write_json(file, content)
        return
    earlier = _read_plan(file)
    if earlier["fingerprint"] != plan.fingerprint:
        output, before, now = file.parent.parent, _as_text(earlier["made_of"]), _as_text(made_of)
        difference = f"{before}; now it is {now}" if before != now else f"{before}, as it was before it was changed"
        raise ValueError(
            f"{output} was begun from something else: {difference}. Nothing was changed here. Go on with the same source, unchanged, and the same arguments; or give another folder; or "
            f"delete {output} to begin anew."
        )


def _read_plan(file: Path) -> dict:
    try:
        plan = json.loads(file.read_bytes())
        if all(isinstance(plan[name], kind) for name, kind in PLAN_FIELDS.items()):
            return plan
    except (KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"{file} is damaged, so that nobody knows what it was begun from; delete {file.parent.parent}.")


def _as_text(made_of: dict) -> str:
    return f"{made_of['reader']} from {made_of['source']}, in files of up to {made_of['max_shard_size']} bytes"


def _check_disk(output: Path, num_bytes: int, num_images: int):
    if num_bytes == 0:
        return
    needed = int(num_bytes * DISK_OVERHEAD) + num_images * LIST_BYTES_PER_IMAGE
    free = shutil.disk_usage(output).free
    if needed > free:
        raise ValueError(
            f"{output} needs {needed / 1e9:.2f} GB on its disk, which has {free / 1e9:.2f} GB free; make room or give a "
            "folder on another disk. What is written already is kept."
        )


def _write_skipped(file: Path, skipped: list[InvalidImage]):
    if skipped:
        lines = [json.dumps(problem.as_record()) + "\n" for problem in skipped]
        with replacing_file(file, file.parent / STATE_FOLDER) as unfinished:
            unfinished.write_text("".join(lines), encoding="utf-8")
    else:
        file.unlink(missing_ok=True)


__all__ = ["PreparedDataset", "SplitSummary", "is_complete", "prepare_dataset", "verify_dataset"]
