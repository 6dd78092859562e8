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
"""Which room of the package imports which, as `docs/architecture.md` says it."""

import ast
from pathlib import Path

import pytest

import transformers_sat


PACKAGE = Path(transformers_sat.__file__).parent

# What serves all and imports nothing of the package but one another.
SERVANTS = {"box_values", "escaping", "extras", "fields", "launched", "one_run", "places", "writing", "__version__"}

# Room: rooms that it may import, beside itself and the servants.
ALLOWED = {
    "model": set(),
    "metrics": {"model"},
    "results": set(),
    "drawn": {"model"},
    "prepare": {"drawn", "model"},
    "data": {"drawn", "metrics", "model"},
    "visualization": {"model"},
    "saving": {"model"},
    "safe_loading": {"model", "saving"},
    "convert": {"model", "safe_loading", "saving"},
    "loading": {"safe_loading"},
    "handler": {"model"},
    "export": {"model", "safe_loading", "saving"},
    "serving": {"model", "safe_loading"},
    "demo": {"drawn", "model", "safe_loading", "visualization"},
    "hub": {"model", "registration", "results", "saving"},
    "registration": {"model"},
    "evaluation": {"data", "metrics", "model", "prepare", "results", "safe_loading", "saving", "visualization"},
    "training": {
        *("convert", "data", "drawn", "evaluation", "hub", "metrics", "model", "results", "safe_loading", "saving"),
        "visualization",
    },
}
CALLERS = {"cli", "commands", "__init__"}


def rooms() -> set[str]:
    return {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}


def imports_of(room: str) -> dict[str, set[str]]:
    """Rooms that a room's files import, wherever in a file, each with the files."""
    folder = PACKAGE / room
    found = {}
    for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]:
        depth = len(path.relative_to(PACKAGE).parts) - 1
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            targets = []
            if isinstance(node, ast.ImportFrom) and node.level > depth:
                # `from ..metrics import x`, or `from .. import metrics`
                targets = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.startswith("transformers_sat"):
                targets = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            elif isinstance(node, ast.Import):
                targets = [
                    alias.name.split(".")[1] for alias in node.names if alias.name.startswith("transformers_sat.")
                ]
            for target in targets:
                found.setdefault(target, set()).add(path.name)
    found.pop(room, None)
    return found


def test_every_room_is_known():
    assert rooms() == {*ALLOWED, *(SERVANTS - {"__version__"}), *CALLERS}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_what_lies_below_it(room):
    found = imports_of(room)
    assert set(found) - ALLOWED[room] - SERVANTS == set(), found


@pytest.mark.parametrize("room", sorted(SERVANTS - {"__version__"}))
def test_servants_import_no_room(room):
    assert set(imports_of(room)) <= SERVANTS


def test_there_is_no_circle():
    """The table itself: taking away rooms that import nothing that is left ends with none."""
    left = dict(ALLOWED)
    while left:
        free = [room for room, below in left.items() if not below & set(left)]
        assert free, left
        for room in free:
            del left[room]


def test_the_page_names_every_room():
    page = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in rooms() - {"__init__"}:
        assert f"`{room}/`" in page or f"`{room}.py`" in page, room
