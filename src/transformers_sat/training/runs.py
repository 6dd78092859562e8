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
"""What a script does around a training: one run per folder, the checkpoint to go on from, plain last words."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from ..one_run import FolderInUseError, only_run
from ..saving import NonFiniteWeightsError
from .checkpoints import DISK_FULL, MARKER, checkpoints_in, fault_of, newest_checkpoint, remove_unfinished
from .divergence import TrainingDivergedError


logger = logging.getLogger(__name__)

LOCK_FILE = ".run.lock"


@contextlib.contextmanager
def run_folder(folder: str | os.PathLike) -> Iterator[None]:
    """
    Keeps other runs out of an output folder, and removes what a killed one left unfinished in it.

    Args:
        folder (`str` or `os.PathLike`): the folder; it is made. All processes of the run must call this.

    Raises:
        [`~transformers_sat.one_run.FolderInUseError`]: on every process, if another run has the folder.
    """
    with contextlib.ExitStack() as stack:

        def take():
            stack.enter_context(only_run(folder, Path(folder, LOCK_FILE)))
            remove_unfinished(folder)

        _on_main_process(take)
        yield


def checkpoint_to_resume(folder: str | os.PathLike, asked: str | bool | None, option: str) -> str | None:
    """
    The checkpoint that a run goes on from, the same on every process.

    Args:
        folder (`str` or `os.PathLike`): output folder of the run.
        asked (`str` or `bool`, *optional*):
            `True` for the newest complete checkpoint in the folder, or none if there is none yet; the path of one;
            `False` or `None` to begin anew.
        option (`str`): what to give the script for the first, for a message.

    Returns:
        `str`, *optional*: its path.

    Raises:
        `ValueError`: if the one at the path is damaged, or there is none.
    """
    wish = "false" if asked is None else str(asked).lower()
    if wish == "true":
        found = _on_main_process(lambda: newest_checkpoint(folder))
        logger.info(f"Goes on from {found}." if found else f"No checkpoint in {folder} is complete: begins anew.")
        return None if found is None else str(found)
    if wish == "false":
        checkpoints = checkpoints_in(folder)
        if checkpoints:
            logger.warning(f"{checkpoints[-1]} is not used; pass `{option}` to go on from it.")
        return None
    return _on_main_process(lambda: _checked(Path(asked)))


@contextlib.contextmanager
def plain_last_words() -> Iterator[None]:
    """Ends the program with one line and status 1 where a traceback would tell no more."""
    try:
        yield
    except (FolderInUseError, NonFiniteWeightsError, TrainingDivergedError) as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")


def _checked(checkpoint: Path) -> str:
    if not checkpoint.is_dir():
        raise ValueError(f"There is no checkpoint {checkpoint} to resume from.")
    fault = fault_of(checkpoint)
    if fault is not None and (checkpoint / MARKER).exists():
        raise ValueError(f"{checkpoint} cannot be resumed from: {fault}.")
    if fault is not None:
        logger.warning(f"{checkpoint} may not be whole: {fault}.")
    return str(checkpoint)


def _on_main_process(function: Callable):
    """What a function returns on the main process, which alone calls it; its error is raised on every process."""
    found = [None, None]
    if PartialState().is_main_process:
        try:
            found[0] = function()
        except (ValueError, OSError) as error:
            found[1] = error
    broadcast_object_list(found)
    if found[1] is not None:
        raise found[1]
    return found[0]


__all__ = ["checkpoint_to_resume", "plain_last_words", "run_folder"]
