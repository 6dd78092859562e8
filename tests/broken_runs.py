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
"""Runs that are killed in the middle of a file or a renaming, or cannot write on: in a process of their own, which is forked."""

import errno
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch


# At its first use autograd counts the devices, and starts threads if there are any: forks cannot use it from then on. An
# export registers one that is none, so that a test of one would break those of forks that come after it.
torch.ones(1, requires_grad=True).backward()

KILLED_IN_A_FILE = -signal.SIGXFSZ
KILLED = -signal.SIGKILL


def run_in_child(function: Callable, *arguments) -> int:
    """Calls a function in a forked process, which sees what this one has; returns its exit status, or minus the signal."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join(timeout=300)
    assert process.exitcode is not None, "the child hangs"
    return process.exitcode


def kill_at_byte(folder: str, name: str, num_bytes: int):
    """
    From now on the system kills this process when it writes that byte of a file, whoever writes it in whatever language.

    Args:
        folder (`str`): a part of the file's path, such as `checkpoint-4`.
        name (`str`): the end of its name.
        num_bytes (`int`): how many bytes are still written.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    _limit(folder, name, num_bytes)


def fail_at_byte(folder: str, name: str, num_bytes: int):
    """From now on writing more than so many bytes of a file fails, as on a full disk, with an error (`EFBIG`)."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _limit(folder, name, num_bytes)


def kill_at_renaming(folder: str, after: bool):
    """From now on this process is killed right before or after something is renamed to that name."""
    replace = os.replace

    def killed(source, target):
        is_it = Path(target).name == folder
        if is_it and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if is_it:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = killed


def fill_disk_at(folder: str, name: str):
    """From now on that file cannot be written for lack of space: half of it is, then an error comes as its writer has it."""

    def no_space(path):
        if _is(path, folder, name):
            Path(path).write_bytes(bytes(100))
            if str(path).endswith((".pt", ".pth", ".bin", ".pkl")):
                raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    _before_writing(no_space)


def _limit(folder: str, name: str, num_bytes: int):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def limit(path):
        if _is(path, folder, name):
            resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))

    _before_writing(limit)


def _is(path, folder: str, name: str) -> bool:
    return folder in str(path) and str(path).endswith(name)


def _before_writing(hook: Callable):
    """Calls a function with the path of each file that is about to be written by PyTorch, safetensors or Python."""
    save, serialize_file = torch.save, safetensors.torch.serialize_file

    def hooked_save(content, path, *args, **kwargs):
        hook(path)
        save(content, path, *args, **kwargs)

    def hooked_serialize(tensors, path, *args, **kwargs):
        hook(path)
        serialize_file(tensors, path, *args, **kwargs)

    def audit(event, arguments):
        if event == "open" and isinstance(arguments[0], str) and arguments[1] == "w":
            hook(arguments[0])

    torch.save, safetensors.torch.serialize_file = hooked_save, hooked_serialize
    sys.addaudithook(audit)


__all__ = [
    "KILLED",
    "KILLED_IN_A_FILE",
    "fail_at_byte",
    "fill_disk_at",
    "kill_at_byte",
    "kill_at_renaming",
    "run_in_child",
]
