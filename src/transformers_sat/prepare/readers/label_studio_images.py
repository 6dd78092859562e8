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
"""Which file of a source the image of a Label Studio task is."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

from ...fields import field, shown
from ..archives import Source
from .image_files import looks_like_image
from .lists import is_of_another_split, split_of


# What an upload puts before a file's name, so that no two are the same.
UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")
# What an upload takes out of it.
TAKEN_OUT = re.compile(r"[^-\w.]")


class TaskImages:
    """
    The images of a source, as tasks refer to them: by address, path on a server, or name.

    Args:
        source ([`Source`]): where the images are.
    """

    def __init__(self, source: Source):
        self._paths: dict[str, list[str]] = {}
        self._folders: set[str] = set()
        for path in source.paths():
            if looks_like_image(path):
                self._paths.setdefault(_as_uploaded(path.rpartition("/")[2]), []).append(path)
                self._folders.update(path.split("/")[-2:-1])

    def find(self, task: dict, where: str) -> str:
        """
        The file of a task's image: of that name, or of that name without the prefix of an upload. Of several with one name
        it is the one that more of the folders agree with; none of another folder of the source than the task names.

        Args:
            task (`dict`): with `data`, whose field `image`, or whichever else, names the image.
            where (`str`): file and number of the task, for messages.

        Returns:
            `str`: path in the source, or the name where there is no such file.

        Raises:
            `ValueError`: if no field names an image, or several files could be meant.
        """
        reference = _reference(task, where)
        paths = list(_paths_meant(reference))
        for path in (*paths, *map(_without_prefix, paths)):
            name = path.rpartition("/")[2]
            candidates = self._paths.get(_as_uploaded(name), [])
            if path in paths:
                # only an upload changes names
                candidates = [candidate for candidate in candidates if candidate.rpartition("/")[2] == name]
            candidates = [candidate for candidate in candidates if not self._is_elsewhere(candidate, path)]
            agreeing = [(_agreement(candidate, path), candidate) for candidate in candidates]
            best = [candidate for agreement, candidate in agreeing if agreement == max(agreeing)[0]]
            if len(best) > 1:
                raise ValueError(f"{where}: the image {shown(reference)} may be any of {', '.join(best)}.")
            if best:
                return best[0]
        return paths[-1].lstrip("/")

    def _is_elsewhere(self, candidate: str, path: str) -> bool:
        """Whether what a task names is in another split, or in a folder that the source has, too."""
        if is_of_another_split(candidate, split_of(path, default=None)):
            return True
        folder = path.split("/")[-2:-1]
        # the numbers in the folders of uploads are those of projects
        is_named = self._folders.issuperset(folder) and folder and "/upload/" not in f"/{path}"
        return bool(is_named) and candidate.split("/")[-2:-1] != folder


def _reference(task: dict, where: str) -> str:
    """What the task calls its image: the field `image` of its data, or else the first that names one."""
    data = field(task, "data", dict, where)
    for value in (data.get("image"), *data.values(), task.get("file_upload")):
        if isinstance(value, str) and any(map(looks_like_image, _paths_meant(value))):
            return value
    raise ValueError(f"{where}: no field of `data` names an image, got {shown(data)}.")


def _paths_meant(reference: str) -> Iterator[str]:
    """The paths that an address may stand for: as it is, and without what belongs to addresses."""
    yield reference.replace("\\", "/")
    try:
        address = urlsplit(reference)
    except ValueError:  # no address
        return
    (local,) = parse_qs(address.query).get("d", [""])[:1]
    yield (local or unquote(address.path)).replace("\\", "/")


def _without_prefix(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{UPLOAD_PREFIX.sub('', name, count=1)}"


def _as_uploaded(name: str) -> str:
    """A file's name as an upload writes it: spaces are lines, and most other signs are gone."""
    return TAKEN_OUT.sub("", name.strip().replace(" ", "_"))


def _agreement(path: str, other: str) -> tuple[int, bool]:
    """How many folders above two files have the same names, and whether the files have."""
    count = 0
    for one, two in zip(path.split("/")[-2::-1], other.split("/")[-2::-1]):
        if one != two:
            break
        count += 1
    return count, path.rpartition("/")[2] == other.rpartition("/")[2]


__all__ = ["TaskImages"]
