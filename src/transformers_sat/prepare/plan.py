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
"""Which image goes into which file, settled before anything is written."""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from transformers.utils import logging

from ..fields import shown
from .examples import features_of
from .records import ImageRecord, Reader
from .validation import InvalidImage, ProblemReport, check_listing


logger = logging.get_logger(__name__)

# Part of the fingerprint: raise it with every change after which the same source gives other files.
PLAN_VERSION = 2

# Splits stand in this order, others after them.
SPLIT_ORDER = ("train", "validation", "test")

# What a row takes beside its images, about.
ROW_BYTES = 200


@dataclass
class Shard:
    """
    A Parquet file to be.

    Attributes:
        split (`str`): its split.
        number (`int`): its number in the split.
        num_shards (`int`): how many the split has.
        lines (`np.ndarray`): where its images stand in the list of all.
        num_bytes (`int`): its size, about.
    """

    split: str
    number: int
    num_shards: int
    lines: np.ndarray = field(repr=False)
    num_bytes: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}-of-{self.num_shards:05d}.parquet"


@dataclass
class Plan:
    """
    All of what will be written.

    Attributes:
        shards (`list[Shard]`): in the order of splits and numbers.
        fingerprint (`str`): SHA-256 of everything that decides the result.
    """

    shards: list[Shard]
    fingerprint: str

    @property
    def num_images(self) -> int:
        return sum(len(shard.lines) for shard in self.shards)


class ImageList:
    """All images of a data set, in a file: in memory, those of ILSVRC would take a gigabyte."""

    def __init__(self, path: Path):
        self.path = path

    def write(self, records: Iterator[ImageRecord]) -> Iterator[tuple[int, bytes, ImageRecord]]:
        """Writes images as they pass, and gives each with its place and its line."""
        with open(self.path, "wb") as file:
            for record in records:
                line = json.dumps(vars(record)).encode() + b"\n"
                place = file.tell()
                file.write(line)
                yield place, line, record

    def read(self, lines: np.ndarray) -> Iterator[ImageRecord]:
        """The images at some places."""
        with open(self.path, "rb") as file:
            for place in lines.tolist():
                file.seek(place)
                record = ImageRecord(**json.loads(file.readline()))
                for name in ("size", "masks", "ignore_masks", "problem"):
                    value = getattr(record, name)
                    setattr(record, name, value if value is None else tuple(value))
                yield record


def make_plan(
    reader: Reader, records: ImageList, max_shard_bytes: int, report: Callable[[InvalidImage], None]
) -> Plan:
    """
    Goes through the lists of a data set and divides its images into shards.

    Within a split, images are in the order in which they lie in the source, so that archives are read from front to
    back.

    Args:
        reader ([`Reader`]): the data set.
        images ([`ImageList`]): is written.
        max_shard_bytes (`int`): size of a shard, at most, unless a single image is larger.
        report (`Callable`):
            Called with each problem that the lists alone show. If it returns, the image is left out.

    Returns:
        [`Plan`], which is empty if there are problems with all images.

    Raises:
        `ValueError`: if two classes have one name.
    """
    class_numbers = {name: number for number, name in enumerate(reader.class_names)}
    if len(class_numbers) < len(reader.class_names):
        repeated = [name for number, name in enumerate(reader.class_names) if class_numbers[name] != number]
        raise ValueError(f"{reader.source.path}: classes of {reader.title} have the same name: {repeated[:5]}.")
    source, digest = reader.source, hashlib.sha256()
    splits: list[str] = []
    # a few numbers an image, in arrays for the same reason
    columns = {name: array("q") for name in ("split", "container", "offset", "line", "num_bytes", "label")}
    id_hashes = array("Q")
    _warn_of_left_over(reader)
    for line, text, record in records.write(reader.records()):
        try:
            check_listing(record, source, class_numbers)
        except InvalidImage as problem:
            report(problem)
            continue
        digest.update(text)
        if record.split not in splits:
            splits.append(record.split)
        files = (record.image, *record.masks, *record.ignore_masks)
        container, offset = source.position(record.image)
        values = (
            splits.index(record.split),
            container,
            offset,
            line,
            sum(source.size(file) for file in files) + ROW_BYTES,
            class_numbers[record.label],
        )
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
        id_hashes.append(int.from_bytes(hashlib.blake2b(record.image_id.encode(), digest_size=8).digest()))
    table = {name: np.asarray(column) for name, column in columns.items()}
    kept = _without_duplicates(records, table["line"], np.asarray(id_hashes), report)
    table = {name: column[kept] for name, column in table.items()}

    class_counts = np.bincount(table["label"], minlength=len(class_numbers))
    for name, count in zip(reader.class_names, class_counts, strict=True):
        if count == 0:
            report(InvalidImage("empty_class", f"the class {name!r} has no images.", str(source.path)))
    shards = _divide(table, splits, max_shard_bytes)
    settings = {
        "version": PLAN_VERSION,
        "reader": reader.name,
        "columns": features_of(reader).to_dict(),
        "source": source.fingerprint,
    }
    digest.update(json.dumps(settings).encode())
    for shard in shards:
        digest.update(shard.name.encode())
        digest.update(shard.lines.astype("<i8").tobytes())
    return Plan(shards, digest.hexdigest())


def no_images(reader: Reader, problems: Sequence[InvalidImage] = ()) -> ValueError:
    """The error for a source without images, or with none that is left, and what is wrong with them."""
    message = f"{reader.source.path} has no image of {reader.title} that can be used."
    if not problems:
        return ValueError(f"{message}\nThe source should hold:\n{reader.layout}")
    report = ProblemReport()
    for problem in problems:
        report.add(problem)
    return ValueError(f"{message}\n{report}")


def _warn_of_left_over(reader: Reader):
    """Names what is in the source and is not read, by reason."""
    counts, examples = Counter(), {}
    for path, reason in reader.left_over():
        counts[reason] += 1
        examples.setdefault(reason, path)
    for reason, count in counts.items():
        logger.warning(f"Left out: {count} files, {reason}, such as {shown(examples[reason])}.")


def _without_duplicates(
    records: ImageList, lines: np.ndarray, id_hashes: np.ndarray, report: Callable[[InvalidImage], None]
) -> np.ndarray:
    """Numbers of the images whose id was not there before."""
    _, inverse, counts = np.unique(id_hashes, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(counts[inverse] > 1)
    kept = np.ones(len(lines), dtype=bool)
    first_of = {}
    for number, record in zip(suspects.tolist(), records.read(lines[suspects]), strict=True):
        first = first_of.setdefault(record.image_id, record)
        if first is not record:
            kept[number] = False
            message = f"the id {record.image_id!r} of {record.image} is that of {first.image} in {first.where}."
            report(InvalidImage.of(record, "duplicate_id", message))
    return np.flatnonzero(kept)


def _divide(table: dict[str, np.ndarray], splits: list[str], max_shard_bytes: int) -> list[Shard]:
    order = sorted(splits, key=lambda split: SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER))
    shards = []
    for split in order:
        rows = np.flatnonzero(table["split"] == splits.index(split))
        if not len(rows):
            # all of its ids were those of another split
            continue
        rows = rows[np.lexsort((rows, table["offset"][rows], table["container"][rows]))]
        starts, filled = [0], 0
        sizes = table["num_bytes"][rows]
        for row, size in enumerate(sizes.tolist()):
            if filled and filled + size > max_shard_bytes:
                starts.append(row)
                filled = 0
            filled += size
        for number, (start, end) in enumerate(zip(starts, starts[1:] + [len(rows)], strict=True)):
            lines = table["line"][rows[start:end]]
            shards.append(Shard(split, number, len(starts), lines, int(sizes[start:end].sum())))
    return shards


__all__ = ["ImageList", "Plan", "Shard", "make_plan", "no_images"]
