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
"""What a release relies on."""

import configparser
import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import transformers_sat
from transformers_sat.extras import install_hint


ROOT = Path(__file__).parent.parent


def setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def test_the_version_is_in_one_place():
    """And the citation, which is read as it lies there, follows."""
    assert setup()["metadata"]["version"] == "attr: transformers_sat.__version__"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == transformers_sat.__version__


def test_files_that_are_not_code_are_shipped():
    """All that lie in the package, `py.typed` among them, and no name in setup.cfg is of none."""
    package = ROOT / "src" / "transformers_sat"
    found = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    patterns = setup()["options.package_data"]["transformers_sat"].split()
    shipped = {pattern: set(package.glob(pattern)) for pattern in patterns}
    assert all(shipped.values())
    assert set().union(*shipped.values()) == found
    assert package / "py.typed" in found


# The package is on no index: whoever claims its name there would be installed in its place.


def requirements_of_setup(*extras: str) -> set[str]:
    setup_ = setup()
    texts = [setup_["options"]["install_requires"], *(setup_["options.extras_require"][extra] for extra in extras)]
    return {line for text in texts for line in text.splitlines() if line and line[0] != "#"}


@pytest.mark.parametrize(
    "folder, extras, more",
    [
        ("examples/space", ["demo"], {"scikit-image", "scikit-learn"}),
        ("metrics_space/wsol_localization", ["eval", "demo"], set()),
    ],
)
def test_spaces_install_what_the_package_needs(folder, extras, more):
    """All of it, with the bounds of setup.cfg, and not the package, which travels along as a folder."""
    lines = (ROOT / folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = {line for line in lines if line and line[0] != "#"}
    needed = requirements_of_setup(*extras)
    assert needed <= found
    assert {Requirement(line).name for line in found - needed} == more
    assert found <= requirements_of_setup(*extras, "train")


# What tells somebody to install something. RELEASE.md is about the day on which the name is ours.
READ = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", *("docs", "src", "examples", "benchmarks"))
READ += ("metrics_space", "model_cards")
FROM_AN_INDEX = re.compile(
    r"\b(?:pip3?|pipx|uv|poetry|conda)\b(?: \S+)* (?:install|add|run)\b[^`\n]{0,80}?['\" ]transformers[-_]sat(?![\w-]*[/\\]|\S*\.whl)"
)


# A command in a sentence may be broken over two lines.
INLINE = re.compile(r"(?<!`)`[^`]+`(?!`)")


def commands() -> dict[str, list[str]]:
    """By file the lines, without comments, and what stands in backticks."""
    found = {}
    for name in READ:
        for path in [ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"):
            is_text = path.suffix in (".md", ".py", ".txt", ".yaml", ".html", ".js", ".json", "") and path.is_file()
            if is_text and "node_modules" not in path.parts:
                text = path.read_text(encoding="utf-8")
                lines = [line.partition("#")[0] for line in text.splitlines()]
                found[str(path.relative_to(ROOT))] = lines + [code.replace("\n", " ") for code in INLINE.findall(text)]
    return found


def test_nothing_tells_to_install_the_package_from_an_index():
    found = {name: [line for line in lines if FROM_AN_INDEX.search(line)] for name, lines in commands().items()}
    assert len(found) > 100
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "text, is_found",
    [
        ("pip install 'transformers-sat[serve]'", True),
        ("python -m pip install --upgrade transformers-sat", True),
        ("pip install transformers_sat==0.1.0", True),
        ("in a checkout of transformers-sat run pip install '.[serve]'", False),
        ("pip install dist/transformers_sat-0.1.0-py3-none-any.whl", False),
        ("pip install torch` for transformers-sat", False),
    ],
)
def test_what_is_looked_for(text, is_found):
    assert bool(FROM_AN_INDEX.search(text)) == is_found


def test_the_hint_is_made_in_one_place():
    """And what it says can be run in a checkout."""
    assert "pip install '.[serve]'" in install_hint("serve")
    package = ROOT / "src" / "transformers_sat"
    hints = re.compile(r"pip install ['\"]?(?:\.|transformers|FILE)")
    assert [path.name for path in package.rglob("*.py") if hints.search(path.read_text(encoding="utf-8"))] == [
        "extras.py"
    ]
