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
"""One run at a time writes into a folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


# Processes of a killed run need a moment to see it.
LOCK_SECONDS = 5


class FolderInUseError(ValueError):
    """Another run writes into the folder."""


@contextlib.contextmanager
def only_run(output: str | os.PathLike, lock: str | os.PathLike) -> Iterator[None]:
    """
    Keeps other runs out of a folder until the block ends. The system lets go of the lock when the process ends,
    however it ends.

    Args:
        output (`str` or `os.PathLike`): the folder.
        lock (`str` or `os.PathLike`): file of the lock, in the folder; it is made and stays.

    Raises:
        [`FolderInUseError`]: if another run has the folder.
    """
    lock = Path(lock)
    lock.parent.mkdir(parents=True, exist_ok=True)
    file_lock = FileLock(lock)
    try:
        file_lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise FolderInUseError(
            f"Another process is writing to {output}; wait for it, or give another folder."
        ) from error
    try:
        yield
    finally:
        file_lock.release()


__all__ = ["FolderInUseError", "only_run"]
