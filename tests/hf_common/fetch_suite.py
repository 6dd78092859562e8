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
Fetches Hugging Face's common test modules into the checkout: they are in the source distribution of Transformers, but
not in its wheel.

Run it from the environment the tests run in; the modules always fit the Transformers installed there.
"""

import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path


CACHE = Path(__file__).resolve().parents[2] / ".cache" / "hf_suite"


def suite_folder() -> Path:
    """Where the test modules of the installed Transformers are, or would be once fetched."""
    return CACHE / f"transformers-{version('transformers')}"


def fetch_suite() -> Path:
    """
    Downloads the installed Transformers' source distribution and keeps its `tests` folder.

    Returns:
        `Path`: the folder that holds `tests`; filled by an earlier call where there was one.

    Raises:
        `RuntimeError`: if the package index has no source distribution of the installed version.
    """
    folder = suite_folder()
    if folder.is_dir():
        return folder

    CACHE.mkdir(parents=True, exist_ok=True)
    # filled aside and renamed at the end, so that an interrupted download leaves nothing that looks complete
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        archive = _download_source_distribution(Path(scratch))
        unpacked = Path(scratch) / folder.name
        with tarfile.open(archive) as distribution:
            members = [m for m in distribution.getmembers() if m.name.startswith(f"{folder.name}/tests/")]
            if not members:
                raise RuntimeError(f"{archive.name} has no folder {folder.name}/tests.")
            distribution.extractall(scratch, members=members, filter="data")

        # Two of the modules execute the `__init__.py` beside them, or that of the source tree they expect around them, to
        # get hold of `transformers`; empty files make that the installed package.
        for package in (unpacked / "tests", unpacked / "src" / "transformers"):
            package.mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").touch()
        unpacked.rename(folder)
    return folder


def _download_source_distribution(folder: Path) -> Path:
    requirement = f"transformers=={version('transformers')}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-binary",
        ":all:",
        "--dest",
        folder,
        requirement,
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(
            f"pip could not download the source distribution of {requirement}, which holds the common tests. Install a "
            f"released version of transformers, and check the network.\n{result.stderr.strip()}"
        )
    return next(folder.glob("transformers-*.tar.gz"))


if __name__ == "__main__":
    print(f"Hugging Face's common tests: {fetch_suite()}")
