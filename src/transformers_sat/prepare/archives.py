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
"""
Official files as they come from the owner, read where they lie: a folder, a `.tar`, `.tar.gz` or `.zip` file, or archives in
a folder or in one another. Nothing is unpacked to disk.
"""

import codecs
import contextlib
import hashlib
import io
import itertools
import lzma
import math
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from transformers.utils import logging

from ..extras import install_hint
from ..fields import shown


logger = logging.get_logger(__name__)

# How an archive is read, by the end of its name.
ARCHIVE_SUFFIXES = {".tar": "tar", ".tar.gz": "tar.gz", ".tgz": "tar.gz", ".zip": "zip"}

# What no honest data set comes near, and what a damaged or hostile archive cannot make us go beyond.
MAX_FILES = 20_000_000
MAX_FILE_BYTES = 2**30
MAX_LIST_BYTES = 2**28
MAX_LINE_CHARACTERS = 2**20
MAX_NAME_CHARACTERS = 4096
MAX_DEPTH = 3
# Annotations shrink to a thirtieth or so; only runs of one byte shrink more than this.
MAX_EXPANSION = 200
# Small archives may expand more: one of a few lists that say nearly the same on every line.
FREE_EXPANSION_BYTES = 2**28
# Archives that are compressed inside another one are kept in memory, all of a source together up to this.
MAX_MEMORY_BYTES = 2**27
# What is said of one member of a tar file: its name, or attributes of the system that packed it.
MAX_TAR_HEADER_BYTES = 2**20
# A list of members in a zip file takes a hundred bytes for each in the file, and a thousand in memory.
FREE_ZIP_LIST_BYTES = 2**24
MAX_ZIP_LIST_SHARE = 1 / 4

# The flag of a zip member.
ZIP_NAME_IS_UTF8 = 0x800

# Between two points where reading a `.tar.gz` can start, which cost 32 KiB of memory each.
GZIP_POINT_SPACING = 2**22
MAX_GZIP_POINTS = 2000

# What macOS and other systems leave beside the files.
STRAY_FOLDERS = {"__MACOSX", ".git", ".ipynb_checkpoints"}
# In lower case: Windows writes them either way.
STRAY_FILES = {".ds_store", "thumbs.db", "desktop.ini"}

# What the libraries raise on damaged archives, beside OSError.
DAMAGES = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, RuntimeError, UnicodeError, OverflowError),
)


def open_source(path: str | os.PathLike) -> "Source":
    """
    Opens the official files of a data set.

    Args:
        path (`str` or `os.PathLike`): a folder, or a `.tar`, `.tar.gz`, `.tgz` or `.zip` file.

    Returns:
        [`Source`]

    Raises:
        `ValueError`: if there is nothing at `path`, it is neither a folder nor such an archive, or an archive is damaged,
            encrypted or beyond the limits.
        `ImportError`: if there is a `.tar.gz` and `indexed_gzip` is not installed.
    """
    return Source(path)


class Source:
    """
    A read-only tree of files over a folder or an archive.

    Paths are relative and in POSIX form. An archive that lies in the folder, or in another archive, is a folder with the
    name of the archive without its suffix: `CUB_200_2011.tgz` holds `CUB_200_2011/...`. Where a folder of that name lies
    beside it, the archive was unpacked, and is left alone. Only ordinary files are there: archive members with absolute
    paths or `..`, links and devices are left out, with a warning. In a folder, links are followed; one that leads to a
    folder around it, or to a folder that another link led to already, is left out.

    A source can be pickled: it is opened anew by its path. Forked processes may go on with the parent's.

    Attributes:
        path (`Path`): the folder or the archive.
        archives (`list[Path]`): the archives on disk that the tree looks into.
        num_plain_files (`int`): number of files on disk that are not such archives.
        num_bytes (`int`): size of all files on disk.
        fingerprint (`str`): SHA-256 of the names, sizes and modification times of the files on disk.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.archives: list[Path] = []
        self._containers: list[_Folder | _Tar | _Zip] = []
        self._linked: dict[str, str] = {}
        self._names: list[bytes] | SortedPaths = []
        self._memory = _Allowance(MAX_MEMORY_BYTES)
        # Arrays: a few Python objects for each of a million files would take a gigabyte.
        self._container_of, self._offsets, self._sizes = array("i"), array("q"), array("q")
        if self.path.is_dir():
            self._scan_folder()
        elif self.path.is_file() and archive_form(self.path.name) is not None:
            self._scan_single_archive()
        elif self.path.exists():
            raise ValueError(
                f"{self.path} is not a form that can be read: give a folder, or a file with one of the endings "
                f"{', '.join(ARCHIVE_SUFFIXES)}."
            )
        else:
            raise ValueError(f"{self.path} does not exist; give the folder or archive with the official files.")
        self._sort()

    def __reduce__(self):
        return open_source, (self.path,)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, path: str) -> bool:
        return self._index(path) is not None

    def paths(self) -> Sequence[str]:
        """All files, sorted."""
        return self._names

    def number(self, path: str) -> int | None:
        """Place of a file in `paths()`, from 0; `None` if it is not there."""
        return self._index(path)

    def folder(self, prefix: str) -> list[str]:
        """The files below a folder, at any depth, sorted; `""` is the whole source."""
        return list(self._names[self._names.below(prefix)])

    def size(self, path: str) -> int:
        """Size of a file in bytes."""
        return self._sizes[self._known_index(path)]

    def position(self, path: str) -> tuple[int, int]:
        """Where a file lies: files read in the order of their positions are read from front to back."""
        index = self._known_index(path)
        return self._container_of[index], self._offsets[index]

    def real_path(self, path: str) -> str:
        """Where a file lies: the same for a file of the folder and for all links to it; `path` itself for any other."""
        return self._linked.get(path, path)

    def read(self, path: str, max_bytes: int | None = None) -> bytes:
        """
        Reads a file.

        Args:
            path (`str`): the file.
            max_bytes (`int`, *optional*): size up to which it is read; a gigabyte by default.

        Raises:
            `ValueError`: if there is no such file, it is larger, or its archive is damaged.
        """
        index = self._known_index(path)
        size = self._check_size(path, index, MAX_FILE_BYTES if max_bytes is None else max_bytes)
        with _damage_named(path, self.path):
            with self._open(index) as file:
                content = file.read(size)
        if len(content) != size:
            raise ValueError(
                f"{path} in {self.path} ends after {len(content)} of {size} bytes; get the archive again."
            )
        return content

    def lines(self, path: str) -> Iterator[tuple[str, str]]:
        """
        Reads a list, line by line.

        Returns:
            Iterator of `(where, text)`: file and number of the line for messages, such as `images.txt, line 12`, and the line
            without its end. Blank lines are left out. The last one may or may not have an end. Lists in UTF-16 that begin
            with its mark, as Windows writes them, are read, too.

        Raises:
            `ValueError`: if there is no such file, it or a line is too long for a list, it is not UTF-8, or its archive is
                damaged.
        """
        index = self._known_index(path)
        self._check_size(path, index, MAX_LIST_BYTES)
        number = 0
        with _damage_named(path, self.path), self._open(index) as file:
            try:
                is_utf_16 = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
                lines = io.TextIOWrapper(file, encoding="utf-16" if is_utf_16 else "utf-8-sig")
                while line := lines.readline(MAX_LINE_CHARACTERS + 1):
                    number += 1
                    if len(line) > MAX_LINE_CHARACTERS:
                        raise ValueError(f"{path}, line {number} has more than {MAX_LINE_CHARACTERS} characters.")
                    if text := line.rstrip("\n"):
                        if not text.isspace():
                            yield f"{path}, line {number}", text
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path} is not UTF-8 text, somewhere after line {number}: {error}. Save it as UTF-8."
                ) from error

    def find_root(self, marker: str, *more: str) -> str:
        """
        Finds the folder that a data set starts in, however deep it lies.

        Args:
            marker (`str`): path of a file or folder, relative to what is looked for.
            more (`str`): further ones that must all be there.

        Returns:
            `str`: `""`, or a folder with `/` at its end.

        Raises:
            `ValueError`: if there is no such folder, or several; the message names what is missing, or the folders.
        """
        roots = {}
        sought = f"/{marker.strip('/')}/"
        for name in self._names:
            found = f"/{name}/".find(sought)
            if found >= 0:
                roots[name[:found]] = None
        if not roots:
            raise ValueError(f"{self.path} has no {marker} at any depth.")
        missing = {root: [path for path in more if not self._exists(root + path)] for root in roots}
        complete = [root for root in roots if not missing[root]]
        if len(complete) > 1:
            places = ", ".join(root or "the top" for root in complete[:5])
            raise ValueError(
                f"{self.path} has {marker} in {len(complete)} places: {places}. Give the one to read as source, or take "
                "the others out."
            )
        if not complete:
            root = min(roots, key=lambda root: (len(missing[root]), root))
            absent = ", ".join(root + path for path in missing[root])
            raise ValueError(f"{self.path} has {root + marker}, but not {absent}.")
        return complete[0]

    def _check_size(self, path: str, index: int, max_bytes: int) -> int:
        size = self._sizes[index]
        if size > max_bytes:
            raise ValueError(f"{path} has {size} bytes; files of up to {max_bytes} are read.")
        return size

    def _exists(self, path: str) -> bool:
        path = path.strip("/")
        below = self._names.below(path)
        return path in self or below.start < below.stop

    def _index(self, path: str) -> int | None:
        return self._names.find(path)

    def _known_index(self, path: str) -> int:
        index = self._index(path)
        if index is None:
            raise ValueError(f"{self.path} has no file {path}.")
        return index

    def _open(self, index: int) -> io.BufferedIOBase:
        container = self._containers[self._container_of[index]]
        return container.open(self._names[index], self._offsets[index], self._sizes[index])

    def _add(self, name: str, container: int, offset: int, size: int):
        if len(self._names) >= MAX_FILES:
            raise ValueError(f"{self.path} holds more than {MAX_FILES} files, which is as many as are read.")
        self._names.append(name.encode())
        self._container_of.append(container)
        self._offsets.append(offset)
        self._sizes.append(size)

    def _sort(self):
        """Sorts the files by name. Of several with one name in an archive the last counts, as when it is unpacked."""
        names = self._names
        if not names:
            self._names = SortedPaths([])
            return
        order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
        following = np.append(order[1:], -1)
        last = np.array(
            [after < 0 or names[n] != names[after] for n, after in zip(order, following, strict=True)], bool
        )
        self._names = SortedPaths([names[index] for index in order[last]])
        for column in ("_container_of", "_offsets", "_sizes"):
            values = getattr(self, column)
            setattr(self, column, array(values.typecode, np.asarray(values)[order][last].tobytes()))

    def _scan_folder(self):
        self._containers.append(_Folder(self.path))
        digest = hashlib.sha256()
        archives, ignored = [], _Ignored(self.path)
        self.num_plain_files = self.num_bytes = 0
        for name, status in _files_below(self.path, ignored, self._linked):
            self.num_bytes += status.st_size
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
            if archive_form(name) is None:
                self._add(name, 0, len(self._names), status.st_size)
                self.num_plain_files += 1
            else:
                archives.append(name)
        unpacked = self._unpacked(archives, 0, "")
        for name in archives:
            if without_suffix(name) in unpacked:
                logger.warning(f"{self.path / name} is left alone: the folder {without_suffix(name)} lies beside it.")
            else:
                self._scan_archive_on_disk(self.path / name, without_suffix(name) + "/")
        ignored.warn()
        self.fingerprint = digest.hexdigest()

    def _scan_single_archive(self):
        status = self.path.stat()
        description = f"{self.path.name}\0{status.st_size}\0{status.st_mtime_ns}\n"
        self.fingerprint = hashlib.sha256(description.encode()).hexdigest()
        self.num_plain_files, self.num_bytes = 0, status.st_size
        self._scan_archive_on_disk(self.path, prefix="")

    def _scan_archive_on_disk(self, path: Path, prefix: str):
        stream = _DiskFile(path)
        expansion = _Allowance(stream.size * MAX_EXPANSION + FREE_EXPANSION_BYTES)
        zip_list_bytes = FREE_ZIP_LIST_BYTES + int(stream.size * MAX_ZIP_LIST_SHARE)
        self._scan_archive(stream, archive_form(path.name), prefix, 1, expansion, zip_list_bytes)
        self.archives.append(path)

    def _scan_archive(
        self, stream: "_Stream", form: str, prefix: str, depth: int, expansion: "_Allowance", zip_list_bytes: int
    ):
        """
        Finds the files of an archive and of those in it. `expansion` is what they all may unpack to, together, and
        `zip_list_bytes` what the list of members of a zip file may take.
        """
        number, first = len(self._containers), len(self._names)
        ignored = _Ignored(stream.name)
        with _damage_named(stream.name):
            if form == "zip":
                container = _Zip(stream, expansion, zip_list_bytes)
            else:
                container = _Tar(_Gzip(stream) if form == "tar.gz" else stream, expansion)
            self._containers.append(container)
            nested = []
            for name, offset, size in container.members(ignored):
                if archive_form(name) is not None and depth < MAX_DEPTH:
                    nested.append((name, offset, size))
                else:
                    self._add(prefix + name, number, offset, size)
            unpacked = self._unpacked([name for name, _, _ in nested], first, prefix)
            for name, offset, size in nested:
                if without_suffix(name) not in unpacked:
                    stream = container.stream(f"{container.name}/{name}", offset, size, self._memory)
                    inside = prefix + without_suffix(name) + "/"
                    self._scan_archive(stream, archive_form(name), inside, depth + 1, expansion, zip_list_bytes)
        ignored.warn()

    def _unpacked(self, archives: list[str], first: int, prefix: str) -> set[str]:
        """Which of the archives lie beside a folder of their name, as far as their files, or others from `first` on, tell."""
        stems = {without_suffix(name) for name in archives}
        files = (name.decode()[len(prefix) :] for name in self._names[first:]) if stems else ()
        return {parent for name in itertools.chain(files, archives) for parent in _parents(name) if parent in stems}


class _Allowance:
    """A number of bytes that several may take of."""

    def __init__(self, num_bytes: int):
        self.left = num_bytes


class SortedPaths(Sequence):
    """
    Paths in the order of their characters, as one run of bytes: half of what a list of strings takes, and nothing in it
    changes when it is read, so that forked processes share it.
    """

    def __init__(self, names: list[bytes]):
        self._bytes = b"".join(names)
        self._starts = array("q", itertools.accumulate(map(len, names), initial=0))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._at(index).decode()

    def find(self, path: str) -> int | None:
        """Number of a path."""
        name = path.encode(errors="surrogatepass")
        index = self._first_from(name)
        return index if index < len(self) and self._at(index) == name else None

    def below(self, folder: str) -> slice:
        """Numbers of the paths in a folder; `""` is that of all."""
        if not folder:
            return slice(0, len(self))
        # "0" is the character after "/"
        start, end = (self._first_from(folder.rstrip("/").encode() + character) for character in (b"/", b"0"))
        return slice(start, end)

    def _at(self, index: int) -> bytes:
        return self._bytes[self._starts[index] : self._starts[index + 1]]

    def _first_from(self, name: bytes) -> int:
        return bisect_left(range(len(self)), name, key=self._at)


def archive_form(name: str) -> str | None:
    """`tar`, `tar.gz` or `zip` for the name of such an archive."""
    lower = name.lower()
    return next((form for suffix, form in ARCHIVE_SUFFIXES.items() if lower.endswith(suffix)), None)


def without_suffix(name: str) -> str:
    """The name of an archive without its ending."""
    lower = name.lower()
    return next(name[: -len(suffix)] for suffix in ARCHIVE_SUFFIXES if lower.endswith(suffix))


def safe_name(name: str) -> str | None:
    """The path of an archive member in plain form; `None` if it leads out of the archive, is not UTF-8 or is too long."""
    if name.startswith("/") or "\0" in name or "\\" in name or len(name) > MAX_NAME_CHARACTERS:
        return None
    try:
        name.encode()
    except UnicodeEncodeError:
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if not parts or ".." in parts else "/".join(parts)


def _is_stray(name: str) -> bool:
    parts = name.split("/")
    return parts[-1].startswith("._") or parts[-1].lower() in STRAY_FILES or not STRAY_FOLDERS.isdisjoint(parts[:-1])


def _parents(name: str) -> Iterator[str]:
    end = name.rfind("/")
    while end >= 0:
        yield name[:end]
        end = name.rfind("/", 0, end)


def _files_below(folder: Path, ignored: "_Ignored", linked: dict[str, str]) -> Iterator[tuple[str, os.stat_result]]:
    """
    Relative paths of the files of a folder, sorted within each folder; those that links lead to come last. `linked` gets
    the real path of each of these, relative to the folder if it lies there.
    """
    top = os.path.realpath(folder)
    waiting, links, followed = [("", False)], [], set()
    while waiting or links:
        if not waiting:
            prefix, real = links.pop(0)
            places = (top, os.path.realpath((folder / prefix).parent))
            if any(f"{place}/".startswith(f"{real.rstrip('/')}/") for place in places):
                ignored.add(prefix, "a link to a folder around it")
            else:
                waiting.append((prefix + "/", True))
            continue
        prefix, is_linked = waiting.pop()
        if is_linked:
            real = os.path.realpath(folder / prefix)
            if real in followed:
                ignored.add(prefix, "a link to a folder that is read already")
                continue
            followed.add(real)
        folders = []
        for entry in sorted(os.scandir(folder / prefix), key=lambda entry: entry.name):
            name = prefix + entry.name
            if _is_stray(name):
                continue
            # of `os.path`, which take a link to itself for a broken one
            if os.path.isdir(entry):
                if entry.name in STRAY_FOLDERS:
                    continue
                if entry.is_symlink():
                    links.append((name, os.path.realpath(entry)))
                else:
                    folders.append((name + "/", is_linked))
            elif safe_name(name) is None:
                ignored.add(name, "a name that is not UTF-8 or has a backslash")
            elif not os.path.isfile(entry):
                ignored.add(name, "a broken link or not an ordinary file")
            else:
                if is_linked or entry.is_symlink():
                    linked[name] = os.path.realpath(entry).removeprefix(f"{top}/")
                yield name, entry.stat()
        waiting.extend(reversed(folders))


class _Ignored:
    """What is left out of a tree, for one warning."""

    def __init__(self, where: object):
        self.where, self.count, self.example = where, 0, ""

    def add(self, name: str, reason: str):
        self.count += 1
        self.example = self.example or f"{shown(name)} ({reason})"

    def warn(self):
        if self.count:
            logger.warning(f"Left out of {self.where}: {self.count} entries, such as {self.example}.")


@contextlib.contextmanager
def _damage_named(name: object, archive: object = None) -> Iterator[None]:
    """Turns what the archive libraries raise on damaged data into a `ValueError` that names the file."""
    try:
        yield
    except _BeyondLimitsError as error:
        raise ValueError(f"{name}: {error}; get it again, or unpack it and give the folder.") from error
    except (*DAMAGES, OSError) as error:
        place = f"{name}" if archive is None else f"{name} in {archive}"
        raise ValueError(f"{place} cannot be read ({error}); it is damaged or incomplete: get it again.") from error


# Streams: bytes that can be read from any place. None has a position of its own that a forked process would share.


class _DiskFile:
    def __init__(self, path: Path):
        self.name = str(path)
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (open as long as the source)
        self.size = os.fstat(self._file.fileno()).st_size

    def read_at(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), size, offset)
        # Windows has no `pread`, and no forked process that would move this position either.
        self._file.seek(offset)
        return self._file.read(size)


class _Part:
    """A stretch of another stream: a member of a tar file."""

    def __init__(self, name: str, stream: "_Stream", offset: int, size: int):
        self.name, self.size = name, size
        self._stream, self._offset = stream, offset

    def read_at(self, offset: int, size: int) -> bytes:
        return self._stream.read_at(self._offset + offset, max(0, min(size, self.size - offset)))


class _Memory:
    """A small archive that was compressed inside another one."""

    def __init__(self, name: str, content: bytes):
        self.name, self.size = name, len(content)
        self._content = content

    def read_at(self, offset: int, size: int) -> bytes:
        return self._content[offset : offset + size]


class _Gzip:
    """What a gzip file holds. A full pass over it, at the first look, makes an index of points where reading can start."""

    def __init__(self, stream: "_Stream"):
        try:
            import indexed_gzip
        except ImportError as error:
            raise ImportError(
                f"{stream.name} needs indexed_gzip to be read without unpacking it: {install_hint('train')}"
            ) from error
        self.name = stream.name
        self.compressed_size = stream.size
        self._file = indexed_gzip.IndexedGzipFile(
            fileobj=_StreamFile(stream),
            spacing=max(GZIP_POINT_SPACING, stream.size // MAX_GZIP_POINTS),
            buffer_size=GZIP_POINT_SPACING,
        )

    def read_at(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)


_Stream = _DiskFile | _Part | _Memory | _Gzip


class _BeyondLimitsError(Exception):
    """An archive takes more to be read than an honest one."""


class _StreamFile(io.RawIOBase):
    """A stream with a position, as the libraries read it."""

    def __init__(self, stream: _Stream):
        self._stream, self._position = stream, 0
        self.name = stream.name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: getattr(self._stream, "size", 0)}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer) -> int:
        content = self._stream.read_at(self._position, len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


class _LimitedFile(_StreamFile):
    """A stream of which a library may read so many bytes, whatever the stream says that there are to read."""

    def __init__(self, stream: _Stream, what: str, max_bytes: int):
        super().__init__(stream)
        self._what = what
        self.allow(max_bytes)

    def allow(self, num_bytes: float):
        """Allows so many bytes from now on."""
        self._allowed = self._left = num_bytes

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = max(0, getattr(self._stream, "size", math.inf) - self._position)
        # before memory is taken for them
        if size > self._left:
            raise _BeyondLimitsError(
                f"{self._what} has more than {self._allowed} bytes, too much for an honest archive"
            )
        self._left -= size
        return super().read(size)


# Containers: what files lie in.


class _Folder:
    def __init__(self, path: Path):
        self._path = path

    def open(self, name: str, offset: int, size: int) -> io.BufferedIOBase:
        return open(self._path / name, "rb")


class _Tar:
    def __init__(self, stream: _Stream, expansion: _Allowance):
        self.name = stream.name
        self._stream, self._expansion = stream, expansion

    def members(self, ignored: _Ignored) -> Iterator[tuple[str, int, int]]:
        """Name, offset and size of each ordinary file."""
        is_compressed = isinstance(self._stream, _Gzip)
        headers = _LimitedFile(self._stream, "the header of a member", MAX_TAR_HEADER_BYTES)
        with tarfile.open(fileobj=headers, mode="r:") as tar:
            while (member := tar.next()) is not None:
                headers.allow(MAX_TAR_HEADER_BYTES)
                # The list of all members, which tarfile keeps, would be most of the memory in use.
                tar.members.clear()
                self._check(member, tar)
                if is_compressed and member.offset_data + member.size > self._expansion.left:
                    raise ValueError(
                        f"{self.name} unpacks to more than {self._expansion.left} bytes, too much for an honest archive."
                    )
                if member.isdir() or _is_stray(member.name):
                    continue
                name = safe_name(member.name)
                if not member.isreg() or member.issparse():
                    ignored.add(member.name, "a link, a device or a sparse file")
                elif name is None:
                    ignored.add(member.name, "a path that leads out of the archive, is not UTF-8 or is too long")
                else:
                    yield name, member.offset_data, member.size
            if is_compressed:
                self._expansion.left -= tar.offset
            # The libraries take the end of a cut off file for the end of the archive.
            if self._stream.read_at(tar.offset, tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it has no end mark")

    def _check(self, member: tarfile.TarInfo, tar: tarfile.TarFile):
        if member.size < 0:
            # tarfile would go back, and find the same member for ever
            raise tarfile.ReadError(f"a member has the size {member.size}")
        if sum(len(name) + len(value) for name, value in tar.pax_headers.items()) > MAX_TAR_HEADER_BYTES:
            raise _BeyondLimitsError(f"its global headers have more than {MAX_TAR_HEADER_BYTES} bytes")

    def open(self, name: str, offset: int, size: int) -> io.BufferedIOBase:
        return io.BufferedReader(_StreamFile(_Part(name, self._stream, offset, size)))

    def stream(self, name: str, offset: int, size: int, memory: _Allowance) -> _Part:
        return _Part(name, self._stream, offset, size)


class _Zip:
    def __init__(self, stream: _Stream, expansion: _Allowance, max_list_bytes: int):
        self.name = stream.name
        file = _LimitedFile(stream, "the list of members", max_list_bytes)
        self._zip = zipfile.ZipFile(file)
        file.allow(math.inf)
        self._infos = {info.header_offset: info for info in self._zip.infolist()}
        expanded = sum(info.file_size for info in self._zip.infolist())
        if expanded > expansion.left:
            raise ValueError(
                f"{self.name} unpacks to {expanded} bytes, too much for an honest archive of {stream.size}."
            )
        expansion.left -= expanded

    def members(self, ignored: _Ignored) -> Iterator[tuple[str, int, int]]:
        """Name, offset and size of each ordinary file."""
        foreign = []
        for info in self._zip.infolist():
            path, is_known = _decoded_name(info)
            if path.endswith("/") or _is_stray(path):
                continue
            name = safe_name(path)
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                ignored.add(path, "a link or a device")
            elif name is None:
                ignored.add(path, "a path that leads out of the archive or is too long")
            elif info.flag_bits & 1:
                raise ValueError(f"{path} in {self.name} is encrypted; unpack the archive and give the folder.")
            else:
                foreign += [] if is_known else [name]
                yield name, info.header_offset, info.file_size
        if foreign:
            logger.warning(
                f"{self.name} does not say in which code page {len(foreign)} of its names are, such as "
                f"{shown(foreign[0])}; they are read as code page 437. Unpack it and give the folder if they look wrong."
            )

    def open(self, name: str, offset: int, size: int) -> io.BufferedIOBase:
        return self._zip.open(self._infos[offset])

    def stream(self, name: str, offset: int, size: int, memory: _Allowance) -> _Memory:
        if size > memory.left:
            raise ValueError(
                f"{name} is an archive inside a zip file, which is kept in memory, where {memory.left} bytes of "
                f"{MAX_MEMORY_BYTES} are left for such: unpack the outer one and give the folder."
            )
        memory.left -= size
        return _Memory(name, self.open(name, offset, size).read(size))


def _decoded_name(info: zipfile.ZipInfo) -> tuple[str, bool]:
    """
    Name of a zip member, with slashes, and whether its encoding is known. Programs that write UTF-8 without saying so are
    common, and names in another code page are hardly ever valid UTF-8.
    """
    name = info.filename.replace("\\", "/")
    if info.flag_bits & ZIP_NAME_IS_UTF8 or name.isascii():
        return name, True
    try:
        return name.encode("cp437").decode(), True
    except UnicodeError:
        return name, False


__all__ = ["Source", "archive_form", "open_source", "without_suffix"]
