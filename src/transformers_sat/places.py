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
"""Names of models and data sets: folders on this machine, or repositories on the Hub."""

import contextlib
import os
from collections.abc import Iterator

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id


class NoSuchPlaceError(FileNotFoundError):
    """A name is neither a folder on this machine nor a repository that the Hub gives."""


def check_place(name: str | os.PathLike, what: str):
    """
    Looks whether a name can be one, before anybody asks the Hub for it, again and again.

    Args:
        name (`str` or `os.PathLike`): folder, or repository on the Hub.
        what (`str`): what it holds, for the message, such as `"model"`.

    Raises:
        [`NoSuchPlaceError`]: if there is no such folder and no repository can have that name.
    """
    name = os.fspath(name)
    if os.path.isfile(name):
        raise NoSuchPlaceError(f"{name} is a file; give the folder that holds the {what}.")
    if os.path.exists(name):
        return
    looks_like_a_path = name.startswith((".", "~")) or os.path.isabs(name) or "\\" in name or name.endswith(os.sep)
    if not looks_like_a_path and is_repository_name(name):
        return
    raise NoSuchPlaceError(
        f"There is no folder {name!r} to read the {what} from"
        + ("." if looks_like_a_path else ", and no repository on the Hub can have that name.")
    )


def is_repository_name(name: str) -> bool:
    """Whether the Hub takes a name for a repository: `name` or `organization/name`."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.count("/") <= 1


@contextlib.contextmanager
def reading_from(name: str | os.PathLike, what: str) -> Iterator[None]:
    """
    Says in one line that there is no such folder and no such repository, where the block that reads it fails for that.

    Args:
        name, what: see [`check_place`].

    Raises:
        [`NoSuchPlaceError`]: as [`check_place`], and if the Hub does not give the repository. Other errors stay.
    """
    check_place(name, what)
    try:
        yield
    except OSError as error:
        # errors of a file have a number; what is there is not sought on the Hub
        if error.errno is not None or os.path.exists(name):
            raise
        reason = " ".join(str(error).split())
        raise NoSuchPlaceError(
            f"There is no folder {os.fspath(name)!r} here, and the Hub did not give a {what} of that name: {reason}"
        ) from error


__all__ = ["NoSuchPlaceError", "check_place", "is_repository_name", "reading_from"]
