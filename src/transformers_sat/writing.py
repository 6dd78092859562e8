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
"""Files that are replaced whole or not at all: written beside their place, then renamed."""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


# What unfinished files and folders begin with, so that whoever lists a folder can leave them out.
UNFINISHED = ".unfinished-"


@contextlib.contextmanager
def replacing_file(path: str | os.PathLike, work_folder: str | os.PathLike | None = None) -> Iterator[Path]:
    """
    A place to write a file at; when the block ends without an error, the file takes the place of `path`.

    Args:
        path (`str` or `os.PathLike`): where the file belongs; the folder is made. What is there stays as it is until the
            new file is complete and on disk.
        work_folder (`str` or `os.PathLike`, *optional*): where unfinished files belong, on the same disk; beside it by default.

    Yields:
        `Path`: a file name with the same suffix.

    Raises:
        `OSError`: if it cannot be written, such as on a full disk; nothing of it is left then.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # not the whole name, which may be as long as names can be
    unfinished = Path(work_folder or path.parent, f"{UNFINISHED}{secrets.token_hex(8)}-{path.name[-40:]}")
    # the mode that files have here; some libraries keep what they write to its owner
    unfinished.touch()
    mode = unfinished.stat().st_mode
    unfinished.unlink()
    try:
        yield unfinished
        unfinished.chmod(mode)
        sync(unfinished)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextlib.contextmanager
def replacing_files(folder: str | os.PathLike) -> Iterator[Path]:
    """
    A folder to write several files in; when the block ends without an error, each takes its place in `folder`. Other files
    in `folder` stay.

    Args:
        folder (`str` or `os.PathLike`): where the files belong; it is made.

    Yields:
        `Path`: a new folder inside `folder`.

    Raises:
        `OSError`: if they cannot be written; nothing in `folder` has changed then.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{UNFINISHED}{secrets.token_hex(8)}"
    unfinished.mkdir()
    try:
        yield unfinished
        files = sorted(path for path in unfinished.rglob("*") if path.is_file())
        # as that of the new folder, which nobody has narrowed
        mode = unfinished.stat().st_mode & 0o666
        for path in files:
            path.chmod(mode)
            sync(path)
        for path in files:
            place = folder / path.relative_to(unfinished)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    sync(folder)


def check_folder(folder: str | os.PathLike):
    """Whether a folder to write can be one, before there is anything to write; `ValueError` if there is a file, also above."""
    there = next((place for place in (Path(folder), *Path(folder).parents) if place.exists()), None)
    if there is not None and not there.is_dir():
        raise ValueError(f"{there} is a file; give a folder to write.")


def write_text(path: str | os.PathLike, text: str):
    """Writes a text file in UTF-8, whole or not at all."""
    with replacing_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any):
    """Writes a JSON file, indented by two spaces, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def sync(path: str | os.PathLike):
    """Waits until a file, or the entries of a folder, are on disk, and not in the system's memory alone, where it can."""
    if not hasattr(os, "O_DIRECTORY"):
        # Windows opens no folders, and files that are only read not for this
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["UNFINISHED", "check_folder", "replacing_file", "replacing_files", "sync", "write_json", "write_text"]
