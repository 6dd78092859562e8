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
import json
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from ..hub.publishing import MODEL_FILES
from ..launched import end_launched_process
from ..one_run import FolderInUseError, only_run
from ..places import NoSuchPlaceError
from ..results import RESULTS_FILE
from ..saving import NonFiniteWeightsError
from ..writing import check_folder, write_json
from .arguments import DataArguments, ModelArguments
from .checkpoints import DISK_FULL, MARKER, checkpoints_in, fault_of, newest_checkpoint, remove_unfinished
from .divergence import TrainingDivergedError


logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parents[1]

LOCK_FILE = ".run.lock"
# What the run in a folder is; it stays on this machine.
RUN_FILE = ".run.json"
# What does not make another run of it: it says where things are, how fast, or how much is looked at.
NOT_OF_THE_RUN = {"token", "hub_license", "attn_implementation", "overwrite_output_dir", "max_eval_samples"}
# What does of the arguments that Trainer and the bare loop have. A run may be made longer.
RECIPE = (
    "learning_rate",
    "weight_decay",
    "lr_scheduler_type",
    "warmup_steps",
    "optim",
    "label_smoothing_factor",
    "seed",
)


# Of the arguments that count something, the least that makes a run.
LEAST = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "dataloader_num_workers": 0,
}


class FolderHoldsRunError(ValueError):
    """An output folder holds a model, or the checkpoints of another run."""


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


def check_numbers(options):
    """
    Raises `ValueError` for numbers that no run can have, before anything is loaded.

    Args:
        options: Trainer's arguments, or the bare loop's.
    """
    for name, least in LEAST.items():
        if getattr(options, name) < least:
            raise ValueError(f"`--{name}` must be at least {least}, got {getattr(options, name)}.")
    trains = getattr(options, "do_train", True)
    if trains and (options.max_steps == 0 or (options.max_steps < 0 and options.num_train_epochs <= 0)):
        raise ValueError(
            f"`--num_train_epochs` or `--max_steps` must be above 0, got {options.num_train_epochs:g} and "
            f"{options.max_steps}: nothing would be trained. Leave out the other one."
        )
    check_folder(options.output_dir)


def run_settings(data_args: DataArguments, model_args: ModelArguments, options, batch_size: int) -> dict:
    """
    What makes a run the same one when it goes on.

    Args:
        data_args ([`DataArguments`]), model_args ([`ModelArguments`]): which data, and what to start from.
        options: Trainer's arguments, or the bare loop's.
        batch_size (`int`): images of a step, over all processes and accumulated batches.
    """
    settings = {
        name: value for name, value in (asdict(data_args) | asdict(model_args)).items() if name not in NOT_OF_THE_RUN
    }
    settings |= {name: getattr(options, name) for name in RECIPE if hasattr(options, name)} | {
        "batch_size": batch_size
    }
    for name in ("dataset_name", "model_name_or_path"):
        if settings[name] is not None and os.path.exists(settings[name]):
            settings[name] = os.path.abspath(settings[name])
    # as they are read back
    return json.loads(json.dumps(settings, default=str))


def begin_run(
    folder: str | os.PathLike, settings: dict, asked: str | bool | None, overwrite: bool = False
) -> str | None:
    """
    Looks whether a run can begin, or go on, in an output folder; nothing is changed there. All processes must call this.

    Args:
        folder (`str` or `os.PathLike`): output folder of the run.
        settings (`dict`): what [`run_settings`] gives.
        asked (`str` or `bool`, *optional*): see [`checkpoint_to_resume`].
        overwrite (`bool`, *optional*, defaults to `False`): whether what the folder holds is to be replaced.

    Returns:
        `str`, *optional*: the checkpoint that the run goes on from.

    Raises:
        [`FolderHoldsRunError`]: if the folder holds a model or checkpoints that the run would not go on from, or the newest
            checkpoint is of a run with other settings. A checkpoint that is named is gone on from under any.
        `ValueError`: as [`checkpoint_to_resume`], and if the run should both go on and begin anew.
    """
    folder, wish = Path(folder), _wish(asked)
    if overwrite and wish != "false":
        raise ValueError(
            "`--overwrite_output_dir` begins anew and `--resume_from_checkpoint` goes on: give one of them."
        )
    if wish == "true":
        _on_main_process(lambda: _check_same_run(folder, settings))
    resumed = checkpoint_to_resume(folder, asked)
    goes_on_there = resumed is not None and Path(resumed).resolve().parent == folder.resolve()
    if not overwrite and not goes_on_there:
        _on_main_process(lambda: _check_is_free(folder, without_checkpoints=wish == "false"))
    return resumed


def note_run(folder: str | os.PathLike, settings: dict, overwrite: bool = False):
    """
    Notes in an output folder what the run is that trains there from now on. All processes must call this.

    Args:
        folder, settings, overwrite: those of [`begin_run`]. What is replaced is removed here, when all has been loaded.
    """

    def note():
        if overwrite:
            _remove_run(Path(folder))
        write_json(Path(folder, RUN_FILE), settings)

    _on_main_process(note)


def checkpoint_to_resume(folder: str | os.PathLike, asked: str | bool | None) -> str | None:
    """
    The checkpoint that a run goes on from, the same on every process.

    Args:
        folder (`str` or `os.PathLike`): output folder of the run.
        asked (`str` or `bool`, *optional*):
            `True` for the newest complete checkpoint in the folder, or none if there is none yet; the path of one;
            `False` or `None` to begin anew.

    Returns:
        `str`, *optional*: its path.

    Raises:
        `ValueError`: if the one at the path is damaged, or there is none.
    """
    wish = _wish(asked)
    if wish == "true":
        found = _on_main_process(lambda: newest_checkpoint(folder))
        logger.info(f"Goes on from {found}." if found else f"No checkpoint in {folder} is complete: begins anew.")
        return None if found is None else str(found)
    if wish == "false":
        return None
    return _on_main_process(lambda: _checked(Path(asked)))


@contextlib.contextmanager
def plain_last_words() -> Iterator[None]:
    """
    Ends the program with one line and status 1 where a traceback would tell no more. Of several processes that are done
    each ends here, for good.
    """
    try:
        yield
        end_launched_process(0)
    except (
        FolderHoldsRunError,
        FolderInUseError,
        NoSuchPlaceError,
        NonFiniteWeightsError,
        TrainingDivergedError,
    ) as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    except ValueError as error:
        # what the package itself finds wrong with what it was given; those of other origins are no such thing
        if PACKAGE not in Path(traceback.extract_tb(error.__traceback__)[-1].filename).resolve().parents:
            raise
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")


def _wish(asked: str | bool | None) -> str:
    return "false" if asked is None else str(asked).lower()


def _check_is_free(folder: Path, without_checkpoints: bool):
    advice = "Give another `--output_dir`, or `--overwrite_output_dir` to replace what is there."
    models = [path.name for pattern in (RESULTS_FILE, *MODEL_FILES) for path in sorted(folder.glob(pattern))]
    if models:
        raise FolderHoldsRunError(f"{folder} holds a model already ({models[0]}). {advice}")
    checkpoints = checkpoints_in(folder)
    if without_checkpoints and checkpoints:
        raise FolderHoldsRunError(
            f"{folder} holds {checkpoints[-1].name} of a run that did not end: go on from it with "
            f"`--resume_from_checkpoint True`. {advice}"
        )


def _check_same_run(folder: Path, settings: dict):
    path = folder / RUN_FILE
    if not path.is_file() or newest_checkpoint(folder) is None:
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        known = {}
    changed = [name for name in settings if name in known and known[name] != settings[name]]
    if changed:
        listed = ", ".join(f"`{name}` was {known[name]!r} and is {settings[name]!r}" for name in changed)
        raise FolderHoldsRunError(
            f"The checkpoints in {folder} are of another run: {listed}. Give another `--output_dir`, "
            "`--overwrite_output_dir` without `--resume_from_checkpoint` to begin anew, or name the checkpoint "
            "(`--resume_from_checkpoint <folder>`) to go on from it all the same."
        )


def _remove_run(folder: Path):
    for checkpoint in checkpoints_in(folder):
        shutil.rmtree(checkpoint)
    for pattern in (RESULTS_FILE, "*_results.json", *MODEL_FILES):
        for path in folder.glob(pattern):
            path.unlink()


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


__all__ = [
    "FolderHoldsRunError",
    "begin_run",
    "check_numbers",
    "checkpoint_to_resume",
    "plain_last_words",
    "run_folder",
    "run_settings",
]
