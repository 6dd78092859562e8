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
"""Which files are images, which would be if they were read, and where an image lies that a list names."""

from collections.abc import Callable, Iterator

from ...model.heif_sat import HEIF_NEEDS, HEIF_SUFFIXES
from ...model.images_sat import has_image_suffix


# Photographs and drawings in formats that are not read: such files are named as a problem, rather than passed over.
# fmt: off
UNREAD_SUFFIXES = (
    ".apng", ".arw", ".bpg", ".cr2", ".cr3", ".dds", ".dng", ".eps", ".exr", ".hdr", ".heic",
    ".heif", ".hif", ".icns", ".ico", ".j2k", ".jp2", ".jpf", ".jpx", ".jxl", ".jxr", ".nef",
    ".orf", ".pcx", ".psd", ".raf", ".rw2", ".sgi", ".svg", ".svgz", ".tga", ".wdp", ".xcf",
)
# fmt: on


def looks_like_image(path: str) -> bool:
    """Whether the name is one of an image, of a format that is read or not."""
    return has_image_suffix(path) or path.lower().endswith(UNREAD_SUFFIXES)


def format_problem(path: str) -> tuple[str, str] | None:
    """The problem of an image in a format that is not read."""
    if has_image_suffix(path) or not looks_like_image(path):
        return None
    suffix = path.rpartition(".")[2].upper()
    if path.lower().endswith(HEIF_SUFFIXES):
        return "undecodable", f"{path} is in a format ({suffix}) that {HEIF_NEEDS}."
    return "undecodable", f"{path} is in a format that is not read ({suffix}); convert it to JPEG or PNG."


class ImagesByStem:
    """
    The images of a source by name without ending.

    Args:
        paths (`Iterator[str]`): the files.
    """

    def __init__(self, paths: Iterator[str]):
        self._paths: dict[str, list[str]] = {}
        for path in paths:
            if looks_like_image(path):
                self._paths.setdefault(stem_of(path), []).append(path)

    def find(
        self, stem: str, folders: tuple[str, ...], file_name: str = "", elsewhere: Callable[[str], bool] | None = None
    ) -> str | None:
        """
        The image of a name, in the first of the folders that has one alone, or has the one with that ending.

        Args:
            stem (`str`): its name, without ending.
            folders (`tuple[str, ...]`): where it may lie, each with a slash at its end.
            file_name (`str`, *optional*): its name with ending, which decides where there are several.
            elsewhere (`Callable`, *optional*): whether it may be a file outside of the folders; none may by default.
        """
        candidates = self._paths.get(stem, [])
        if not candidates and file_name:
            candidates = [path for path in self._paths.get(stem_of(file_name), ()) if path.endswith(file_name)]
        places = [[path for path in candidates if path.rpartition("/")[0] == each.rstrip("/")] for each in folders]
        for inside in (*places, [path for path in candidates if elsewhere is not None and elsewhere(path)]):
            named = [path for path in inside if path.rpartition("/")[2] == file_name] or inside
            if len(named) == 1:
                return named[0]
        return None


def stem_of(path: str) -> str:
    """`a/b.tar.jpg` as `b.tar`."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


__all__ = ["ImagesByStem", "format_problem", "looks_like_image", "stem_of"]
