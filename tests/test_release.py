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
from pathlib import Path

import yaml
from packaging.requirements import Requirement

import transformers_sat


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


def test_space_of_the_metric_installs_this_version():
    lines = (
        (ROOT / "metrics_space" / "wsol_localization" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    )
    (own,) = (entry for entry in map(Requirement, lines) if entry.name == "transformers-sat")
    assert own.specifier.contains(transformers_sat.__version__, prereleases=True)
