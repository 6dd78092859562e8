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
"""
The one way in which benchmarks keep their figures: by row, each with the machine, the versions and the date of its own.
A row that is there stays as it is, unless it is asked for again.
"""

import argparse
import json
import os
import platform
from collections.abc import Iterable
from datetime import date
from importlib.metadata import version
from pathlib import Path


# In older files, beside the rows.
SAID_OF_ALL = {"command", "date", "machine", "versions", "torch", "transformers", "rounds", "pairs", "seed", "model"}
SAID_OF_ALL |= {"dtype", "attention", "batch_size", "num_images", "num_literal_images", "protocol", "extra transforms"}
RESULTS = Path(__file__).parent / "results"


def add_options(parser: argparse.ArgumentParser, name: str):
    """`--output`, which is `results/<name>` by default, and `--again`."""
    parser.add_argument("--output", type=Path, default=RESULTS / name, help="file with the figures")
    parser.add_argument("--again", action="store_true", help="measure rows that are there anew")


def open_results(path: Path, again: bool, key: str = "results") -> dict:
    """
    What a results file holds, with its rows under `key`; no rows if there is no file.

    Raises:
        `SystemExit`: if it has figures of an older form, without rows, and they are not asked for again.
    """
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {key: {}}
    if key in record:
        return record
    if not again:
        print(f"{path} has figures of an older form, without date: nothing is measured (--again replaces them).")
        raise SystemExit
    return {key: {}}


def to_measure(names: Iterable[str], rows: dict[str, dict], again: bool) -> list[str]:
    """
    The rows that are not there, or all of them `again`. Says which stay as they are, and where those are from.

    Args:
        names (`Iterable[str]`): what is asked for.
        rows (`dict[str, dict]`): what is there, by name.
        again (`bool`): whether to measure anew.
    """
    names = list(names)
    if again:
        return names
    for name in names:
        if name in rows:
            print(f"{name}: there already, {origin_of(rows[name])}; --again measures it anew.")
    return [name for name in names if name not in rows]


def origin_of(row: dict) -> str:
    """When and where a row was measured, in words."""
    measured = row.get("measured")
    if measured is None:
        return "of an older form, without a date of its own"
    versions = ", ".join(f"{name} {number}" for name, number in measured["versions"].items())
    return f"measured on {measured['date']}, {measured['machine']}, {versions}"


def measured(packages: Iterable[str], note: str = "", **settings) -> dict:
    """
    What belongs under `measured` in a row that is written now.

    Args:
        packages (`Iterable[str]`): distributions whose versions the figures depend on; Python's own is always there.
        note (`str`, *optional*): what to say of the machine, such as that one core was used.
        settings: what else the figures depend on, such as a number of rounds.
    """
    machine = f"{platform.machine()}, {os.cpu_count()} cores" + (f", {note}" if note else "")
    versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
    return {"date": date.today().isoformat(), "machine": machine, "versions": versions, **settings}


def write(path: Path, record: dict, rows: Iterable[dict]):
    """
    Writes a results file, whole or not at all.

    Args:
        path (`Path`): the file.
        record (`dict`): all that it holds.
        rows (`Iterable[dict]`): the rows in it. When all say where they are from, what an older form said of them together
            is left out.
    """
    if all("measured" in row for row in rows):
        record = {name: value for name, value in record.items() if name not in SAID_OF_ALL}
    # imports PyTorch, whose memory is not to be there before some things are measured
    from transformers_sat.writing import write_json

    write_json(path, record)


__all__ = ["add_options", "measured", "open_results", "origin_of", "to_measure", "write"]
