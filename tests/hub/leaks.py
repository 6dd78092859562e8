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
"""Looks for words in all that was written or published: in the bytes of each file, and in what they hold compressed."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pyarrow.parquet
from local_hub import LocalHub


def leaks(files: dict[str, bytes], *words: str) -> list[str]:
    """The files, with the place in them, that hold one of the words."""
    return [
        f"{place}: {word}"
        for name, content in files.items()
        for place, part in _parts(name, content)
        for word in words
        if word.encode() in part
    ]


def files_in(folder: Path) -> dict[str, bytes]:
    """All files of a folder, and its names, as they can hold words too."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return found | {"the names of the files": "\n".join(found).encode()}


def all_received(hub: LocalHub) -> dict[str, bytes]:
    """Every file that a Hub was ever sent, of every commit, with names and summaries."""
    found = {f"large file {oid}": content for oid, content in hub.large_files.items()}
    for repository in hub.repositories.values():
        for number, commit in enumerate(repository.commits):
            place = f"{repository.kind} {repository.name}, commit {number}"
            found |= {f"{place}, {path}": content for path, content in commit.files.items()}
            found[f"{place}: summary and names"] = "\n".join([commit.title, *commit.files]).encode()
    return found


def _parts(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, content
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield from _parts(f"{name}: {member}", archive.read(member))
    if content[:4] == b"PAR1":
        table = pyarrow.parquet.read_table(io.BytesIO(content))
        yield f"{name}: rows", repr(table.to_pylist()).encode()
        yield f"{name}: metadata", repr(table.schema.metadata).encode()
    if content[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0"):
        with PIL.Image.open(io.BytesIO(content)) as image:
            yield f"{name}: remarks", repr(image.info).encode()


__all__ = ["all_received", "files_in", "leaks"]
