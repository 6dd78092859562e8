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
"""The files that the stamps are made of: which ones (`stamps_catalog.json`), and out of their Debian packages."""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from transformers.utils import logging


logger = logging.get_logger(__name__)

CATALOG_FILE = Path(__file__).with_name("stamps_catalog.json")

# Everything that is used lies below this folder in the packages.
PACKAGE_ROOT = "usr/share/"


def read_catalog() -> dict:
    """
    Which files the stamps are made of: `packages` with the versions that the figures in the docs are from, `groups` and
    `species` (paths of cut-outs by class, below `stamps_folder`), `distractors` and `backgrounds` by split, and `sha256` of
    all of them.
    """
    return json.loads(CATALOG_FILE.read_text(encoding="utf-8"))


def catalog_paths(catalog: dict) -> list[str]:
    """Paths of all files in the packages, sorted."""
    stamps = [name for parts in catalog["groups"].values() for names in parts.values() for name in names]
    stamps += [name for names in catalog["species"].values() for name in names]
    stamps += [name for names in catalog["distractors"].values() for name in names]
    backgrounds = [path for paths in catalog["backgrounds"].values() for path in paths]
    return sorted({f"{catalog['stamps_folder']}/{name}" for name in stamps} | set(backgrounds))


def read_stamp_files(source: str | Path | None = None) -> dict[str, bytes]:
    """
    Reads the files that the stamps are made of.

    Args:
        source (`str` or `Path`, *optional*):
            A folder with the Debian packages (`.deb`), or with what they contain, unpacked in one place or in a folder each.
            They are fetched with `apt-get download` when it is not given.

    Returns:
        `dict[str, bytes]`: contents by path in the packages, such as `usr/share/tuxpaint/stamps/...`.

    Raises:
        `ValueError`: if a file is missing, or the packages cannot be fetched or read here.
    """
    catalog = read_catalog()
    wanted = set(catalog_paths(catalog))
    if source is None:
        with tempfile.TemporaryDirectory() as folder:
            fetch_packages(list(catalog["packages"]), folder)
            files = read_packages(sorted(Path(folder).glob("*.deb")), wanted)
    elif packages := sorted(Path(source).glob("*.deb")):
        files = read_packages(packages, wanted)
    else:
        files = read_unpacked(source, wanted)
    missing = sorted(wanted - set(files))
    if missing:
        raise ValueError(
            f"{source or 'the packages fetched'}: {len(missing)} of {len(wanted)} files of the stamps are missing, the first "
            f"is {missing[0]}. They come from the Debian packages "
            f"{', '.join(f'{name} {version}' for name, version in catalog['packages'].items())}; leave out `--source` to "
            "fetch them with apt-get."
        )
    if digest_of(files) != catalog["sha256"]:
        logger.warning(
            "The files are not those of the packages' versions in the catalog: the images differ from the ones that figures "
            "in the documentation are from."
        )
    return files


def digest_of(files: dict[str, bytes]) -> str:
    """SHA-256 over the files' own, in the order of their paths."""
    digests = (hashlib.sha256(files[path]).digest() for path in sorted(files))
    return hashlib.sha256(b"".join(digests)).hexdigest()


def fetch_packages(names: list[str], folder: str | Path):
    """Fetches Debian packages into a folder; nothing is installed."""
    if shutil.which("apt-get") is None:
        raise ValueError(
            f"There is no apt-get here to fetch {', '.join(names)} with: give their files or contents as `--source`."
        )
    fetched = subprocess.run(
        ["apt-get", "download", "--quiet", *names], cwd=folder, capture_output=True, text=True, check=False
    )
    if fetched.returncode != 0:
        raise ValueError(
            f"apt-get could not fetch {', '.join(names)}: {fetched.stderr.strip()}. Try `apt-get update`, or give the packages' "
            "files or contents as `--source`."
        )


def read_packages(packages: list[Path], wanted: set[str]) -> dict[str, bytes]:
    """Reads files out of Debian packages without unpacking the rest."""
    if shutil.which("dpkg-deb") is None:
        raise ValueError(
            "There is no dpkg-deb here to read .deb files with: unpack them elsewhere and give that folder."
        )
    files = {}
    for package in packages:
        process = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
        with process, tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                path = member.name.removeprefix("./")
                if path in wanted and member.isfile():
                    files[path] = archive.extractfile(member).read()
        if process.returncode != 0:
            raise ValueError(f"{package} cannot be read; get it again.")
    return files


def read_unpacked(folder: str | Path, wanted: set[str]) -> dict[str, bytes]:
    """Reads files out of a folder with the contents of the packages."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}: give one with the packages of the stamps or their contents.")
    files = {}
    for file in folder.rglob("*"):
        path = file.relative_to(folder).as_posix()
        start = f"/{path}".find(f"/{PACKAGE_ROOT}")
        if start >= 0 and path[start:] in wanted and file.is_file():
            files[path[start:]] = file.read_bytes()
    return files


__all__ = ["catalog_paths", "read_catalog", "read_stamp_files"]
