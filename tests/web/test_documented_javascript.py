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
"""Each JavaScript block of README and docs runs in Node as it stands, beside a server and an image of their names."""

import subprocess
import sys
from pathlib import Path

import pytest
from serving_testing import noise_image, save_tiny_localizer, served


sys.path.append(str(Path(__file__).parents[1] / "docs"))

from pages import PAGES, blocks  # noqa: E402


BLOCKS = [
    (page, code) for page in PAGES for language in ("js", "javascript", "mjs") for code in blocks(page, language)
]
# Where the pages say that the server is.
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    with served(save_tiny_localizer(folder / "tiny-sat"), folder / "log") as server:
        yield server


@pytest.mark.parametrize("page, code", BLOCKS, ids=[f"{page} {number}" for number, (page, _) in enumerate(BLOCKS)])
def test_blocks_run(page, code, server, tmp_path):
    noise_image(0).save(tmp_path / "bird.jpg")
    (tmp_path / "node_modules").symlink_to(Path(__file__).parent / "node_modules")
    (tmp_path / "block.mjs").write_text(code.replace(ADDRESS, server.url), encoding="utf-8")
    finished = subprocess.run(["node", "block.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
    # what it shows is what was found
    assert "label" in finished.stdout or any(name in finished.stdout for name in ("ant", "bee", "cow", "dog", "elk"))


def test_there_are_blocks():
    assert [page for page, _ in BLOCKS] == ["docs/serving.md"] * 2
