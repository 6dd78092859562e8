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
"""The blocks of code in README and docs, and the command lines in and between them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path


ROOT = Path(__file__).parents[2]
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "RELEASE.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "examples" / "README.md",
        ROOT / "examples" / "browser" / "README.md",
        ROOT / "metrics_space" / "wsol_localization" / "README.md",
    )
]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Command lines stand in the text, too: `python benchmarks/peers.py --seeds 0 1`.
INLINE = re.compile(r"`((?:python|transformers-sat|make|accelerate|torchrun|pip)\s[^`]+)`")


@dataclass(frozen=True)
class CommandLine:
    """A page's command line, in words."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return [content for name, content in BLOCK.findall(text_of(page)) if name == language]


def command_lines() -> list[CommandLine]:
    """All of them, without comments, environment variables in front and what they are piped to."""
    found = {}
    for page in PAGES:
        lines = [line for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
        lines += INLINE.findall(BLOCK.sub("", text_of(page)))
        for line in lines:
            # `...` stands for whatever else the reader gives
            words = [word for word in shlex.split(line, comments=True) if word != "..."]
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            if words:
                found[CommandLine(page, tuple(words))] = None
    return list(found)
