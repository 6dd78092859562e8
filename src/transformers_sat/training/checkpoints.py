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
"""Checkpoints that are complete or not there: written beside their place, renamed when all of it is on disk."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from accelerate import PartialState
from transformers import PreTrainedConfig

from ..fields import shown
from ..saving import NonFiniteWeightsError
from ..writing import UNFINISHED, sync, write_json


logger = logging.getLogger(__name__)

CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# The last file of a checkpoint: the sizes and hashes of all others.
MARKER = "complete.json"
# What the system says of a full disk, or one on which this user may not have more.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# What is written to learn why a write failed where the error does not say.
PROBE_BYTES = 2**22


class DiskFullError(OSError):
    """There is no space left for what had to be written."""


@contextlib.contextmanager
def writing_checkpoint(run_folder: str | os.PathLike, step: int, is_writer: bool = True) -> Iterator[Path]:
    """
    A folder to write a checkpoint in. When the block ends without an error on every process, it becomes
    `run_folder/checkpoint-<step>`, in place of what was there.

    Args:
        run_folder (`str` or `os.PathLike`): the run's folder; it is made.
        step (`int`): number of steps made.
        is_writer (`bool`, *optional*, defaults to `True`):
            Whether this process makes and renames the folder: one on each disk. The others only write files in it. All
            processes must call this.

    Yields:
        `Path`: the folder, the only one in its parent and with its final name.

    Raises:
        [`DiskFullError`]: if there is no space left; nothing of the checkpoint is left then, and those before it are.
    """
    run_folder = Path(run_folder)
    checkpoint = run_folder / f"checkpoint-{step}"
    unfinished = run_folder / f"{UNFINISHED}{checkpoint.name}"
    all_are_here = PartialState().wait_for_everyone
    try:
        with naming_a_full_disk(run_folder, f"checkpoint-{step}"):
            if is_writer:
                shutil.rmtree(unfinished, ignore_errors=True)
                (unfinished / checkpoint.name).mkdir(parents=True)
            all_are_here()
            yield unfinished / checkpoint.name
            all_are_here()
            if is_writer:
                _mark_complete(unfinished / checkpoint.name)
                if checkpoint.exists():
                    os.replace(checkpoint, unfinished / "replaced")
                os.replace(unfinished / checkpoint.name, checkpoint)
                sync(run_folder)
    finally:
        if is_writer:
            shutil.rmtree(unfinished, ignore_errors=True)
    all_are_here()


def newest_checkpoint(run_folder: str | os.PathLike) -> Path | None:
    """The checkpoint of the most steps that is complete, if there is any. Others that come before it are warned of."""
    for checkpoint in reversed(checkpoints_in(run_folder)):
        fault = fault_of(checkpoint)
        if fault is None:
            return checkpoint
        logger.warning(f"{checkpoint} is left out: {fault}.")
    return None


def checkpoints_in(run_folder: str | os.PathLike) -> list[Path]:
    """The folders `checkpoint-<step>`, complete or not, by their steps."""
    folder = Path(run_folder)
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if CHECKPOINT.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=_step)


def fault_of(checkpoint: str | os.PathLike) -> str | None:
    """What is wrong with a checkpoint, in words, or `None` if every file is what was written. It reads all of them."""
    checkpoint = Path(checkpoint)
    if not (checkpoint / MARKER).is_file():
        return f"it has no {MARKER}, so not all of it was written"
    try:
        files = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))["files"]
        for name, expected in files.items():
            path = checkpoint / name
            if not path.is_file():
                return f"{name} is missing"
            size = path.stat().st_size
            if size != expected["size"]:
                return f"{name} has {size} bytes, and had {expected['size']}"
            if _sha256(path) != expected["sha256"]:
                return f"{name} is not what was written"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MARKER} is damaged"
    return None


def check_classes(checkpoint: str | os.PathLike, config: PreTrainedConfig):
    """
    Checks that a checkpoint is of a model with the same classes; one without a configuration is not looked at.

    Args:
        checkpoint (`str` or `os.PathLike`): folder of the checkpoint.
        config ([`~transformers.PreTrainedConfig`]): configuration of the model that goes on from it.

    Raises:
        `ValueError`: if it has other classes, or another number of them.
    """
    path = Path(checkpoint, "config.json")
    if not path.is_file():
        return
    known = json.loads(path.read_text(encoding="utf-8")).get("id2label") or {}
    names = [known[number] for number in sorted(known, key=int)]
    own = [config.id2label[number] for number in range(config.num_labels)]
    if names and names != own:
        raise ValueError(
            f"{checkpoint} cannot be resumed from: its model has the {len(names)} classes {shown(names)}, and the data have "
            f"{len(own)}: {shown(own)}. To train on from its weights, give it as `--model_name_or_path`."
        )


def remove_old_checkpoints(newest: Path, limit: int | None, best: str | os.PathLike | None = None):
    """
    Removes checkpoints until there are `limit` of them. The newest, which is complete, and the best always stay.

    Args:
        newest (`Path`): the checkpoint just written.
        limit (`int`, *optional*): how many to keep; all for `None` or 0.
        best (`str` or `os.PathLike`, *optional*): the one of the best model.
    """
    if not limit or limit < 0:
        return
    kept = {newest} if best is None else {newest, Path(best)}
    others = [checkpoint for checkpoint in checkpoints_in(newest.parent) if checkpoint not in kept]
    # first those of more steps: they are damaged, or of a run that was given up
    others.sort(key=lambda checkpoint: (_step(checkpoint) < _step(newest), _step(checkpoint)))
    for checkpoint in others[: max(0, len(others) + len(kept) - limit)]:
        _remove(checkpoint)


def remove_unfinished(run_folder: str | os.PathLike):
    """Removes what a run left half-written when it was killed. No other run may be at work in the folder."""
    folder = Path(run_folder)
    for path in sorted(folder.glob(f"{UNFINISHED}*")) if folder.is_dir() else []:
        logger.warning(f"{path}, which a run left unfinished, is removed.")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextlib.contextmanager
def naming_a_full_disk(folder: str | os.PathLike, what: str) -> Iterator[None]:
    """
    Says so if the block fails because there is no space left, which the libraries that write do in words of their own.

    Args:
        folder (`str` or `os.PathLike`): the run's folder, in which the block writes.
        what (`str`): what it writes.

    Raises:
        [`DiskFullError`]: with what is kept and what to do. Other errors stay what they are.
    """
    try:
        yield
    except NonFiniteWeightsError:
        raise
    except Exception as error:
        if not _is_disk_full(error, Path(folder)):
            raise
        complete = newest_checkpoint(folder)
        kept = f"{complete.name} is complete" if complete else "there is no complete checkpoint"
        raise DiskFullError(
            errno.ENOSPC,
            f"No space left on the disk of {folder}: {what} could not be written; {kept}. Make room there, keep fewer "
            "checkpoints, or move the folder to another disk, then resume.",
        ) from error


def _is_disk_full(error: BaseException, folder: Path) -> bool:
    each = error
    while each is not None:
        if isinstance(each, OSError) and each.errno in DISK_FULL:
            return True
        # safetensors' own errors have the system's words
        if any(os.strerror(code) in str(each) for code in DISK_FULL):
            return True
        each = each.__cause__ or each.__context__
    # PyTorch says only that something was written wrongly
    return isinstance(error, RuntimeError) and not _can_write(folder)


def _can_write(folder: Path) -> bool:
    probe = folder / f"{UNFINISHED}probe"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
        sync(probe)
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


def _mark_complete(folder: Path):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {}
    for path in paths:
        sync(path)
        name = path.relative_to(folder).as_posix()
        files[name] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    for path in folder.rglob("*"):
        if path.is_dir():
            sync(path)
    write_json(folder / MARKER, {"files": files})


def _remove(checkpoint: Path):
    """Removes a folder, renamed first: killed on the way, it does not leave half a checkpoint under that name."""
    doomed = checkpoint.with_name(f"{UNFINISHED}removed-{checkpoint.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(checkpoint, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _step(checkpoint: Path) -> int:
    return int(CHECKPOINT.fullmatch(checkpoint.name).group(1))


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


__all__ = [
    "DISK_FULL",
    "MARKER",
    "DiskFullError",
    "checkpoints_in",
    "fault_of",
    "naming_a_full_disk",
    "newest_checkpoint",
    "remove_old_checkpoints",
    "remove_unfinished",
    "writing_checkpoint",
]
