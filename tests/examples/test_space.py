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
"""The demo's Space: its card and its entry."""

import importlib.util
from pathlib import Path

import pytest
from huggingface_hub import SpaceCard


EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture
def app():
    spec = importlib.util.spec_from_file_location("space_app", EXAMPLES / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def launches(app, monkeypatch):
    """What the entry asks for, in the place of a served page."""
    launches = []
    monkeypatch.setattr(app, "launch_demo", lambda model, **options: launches.append((model, options)))
    for name in ("SAT_MODEL", "SPACE_ID", "GRADIO_SERVER_NAME"):
        monkeypatch.delenv(name, raising=False)
    return launches


def test_card():
    """What the Hub reads: https://huggingface.co/docs/hub/spaces-config-reference."""
    card = SpaceCard.load(EXAMPLES / "space" / "README.md").data
    assert (card.sdk, card.license) == ("gradio", "apache-2.0")
    assert (EXAMPLES / card.app_file).is_file()
    assert {"title", "emoji", "colorFrom", "colorTo", "tags", "models"} <= set(card.to_dict())
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {card.colorFrom, card.colorTo} <= colours
    assert len(card.short_description) <= 60
    assert card.sdk_version.split(".")[0] == "6"


def test_entry_needs_a_model(app, launches):
    with pytest.raises(SystemExit, match="SAT_MODEL"):
        app.main()
    assert launches == []


def test_entry(app, launches, monkeypatch):
    monkeypatch.setenv("SAT_MODEL", "org/model")
    app.main()
    # the outside of the container reaches it in a Space, and nobody else's machine elsewhere
    monkeypatch.setenv("SPACE_ID", "org/space")
    app.main()
    assert [(model, options["host"]) for model, options in launches] == [
        ("org/model", "127.0.0.1"),
        ("org/model", "0.0.0.0"),
    ]
