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
Folders with the packages that an installation of a part of this project has, and no others: links to those of this
environment. An interpreter that starts with `-S` and such a folder finds nothing else, be it by import, by
`importlib.util.find_spec` or by name in the metadata.
"""

import configparser
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


ROOT = Path(__file__).parent.parent
OWN_NAME = "transformers-sat"


def own_requirements() -> dict[str, list[str]]:
    """What setup.cfg asks for, by extra; under `""` what everybody gets."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = {"": setup["options"]["install_requires"], **setup["options.extras_require"]}
    return {extra: [line for line in text.splitlines() if line and line[0] != "#"] for extra, text in lines.items()}


def closure_of(requirements: Iterable[str]) -> set[str]:
    """The names of all packages that pip would install, on this machine, for these requirements."""
    found, asked = set(), set()
    waiting = [Requirement(line) for line in requirements]
    own = own_requirements()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in asked:
                continue
            asked.add((name, extra))
            if name == OWN_NAME:
                waiting += [Requirement(line) for line in own[extra]]
                continue
            found.add(name)
            needed = [Requirement(line) for line in importlib.metadata.requires(name) or []]
            waiting += [entry for entry in needed if applies(entry, extra)]
    return found


def applies(requirement: Requirement, extra: str) -> bool:
    if requirement.marker is None:
        return extra == ""
    return requirement.marker.evaluate({"extra": extra})


def link_packages(names: Iterable[str], folder: Path) -> Path:
    """Links the packages into a folder, which is best called `site-packages`: dill knows installed modules by that name."""
    folder.mkdir(parents=True)
    for name in names:
        for file in importlib.metadata.files(name):
            top = Path(file.parts[0])
            link = folder / top
            if top.name not in ("..", "__pycache__") and top.suffix != ".pth" and not link.is_symlink():
                link.symlink_to(importlib.metadata.distribution(name).locate_file(top))
    return folder


def run_installed(
    requirements: Iterable[str], folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess:
    """Runs Python with this checkout, what the requirements bring and nothing else."""
    site = link_packages(closure_of(requirements), folder)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(site)])} | environment
    return subprocess.run([sys.executable, "-S", *arguments], capture_output=True, text=True, env=environment)


__all__ = ["closure_of", "link_packages", "own_requirements", "run_installed"]
