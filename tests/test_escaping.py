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
"""Names are data: each place that shows them shows them as they are."""

import re
import unicodedata

import matplotlib.figure
import pytest
from hostile_names import HOSTILE_NAMES
from markdown_it import MarkdownIt

from transformers_sat.escaping import (
    code_block,
    code_in_markdown,
    in_markdown,
    link_in_markdown,
    on_console,
    on_plot,
    visible,
)


def tokens_of(markdown: str) -> list:
    """All tokens, those within lines too, of a reader of GitHub's Markdown that lets HTML through."""
    parsed = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown)
    return [each for token in parsed for each in (token, *(token.children or ()))]


def text_of(tokens: list) -> str:
    return "".join(token.content for token in tokens if token.type == "text")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_text_in_a_line_of_markdown(name):
    for line in (in_markdown(name), f"classes: {in_markdown(name)} and more"):
        tokens = tokens_of(line)
        types = {token.type for token in tokens}
        assert types <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}
    shown = "".join(token.content for token in tokens_of(in_markdown(name)) if token.type in ("text", "text_special"))
    assert shown == (visible(name, 200).strip() or '""')


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_text_in_a_cell_of_a_table(name):
    tokens = tokens_of(f"| class | figure |\n| --- | --- |\n| {in_markdown(name)} | 1.0 |\n| next | 2.0 |")
    types = [token.type for token in tokens]
    assert (types.count("tr_open"), types.count("td_open")) == (3, 4)
    assert not {"html_inline", "html_block", "link_open", "image", "em_open", "strong_open", "code_inline"} & set(
        types
    )
    cells = [text_of(token.children) for token in tokens if token.type == "inline"]
    assert cells[3:] == ["1.0", "next", "2.0"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_code_in_markdown(name):
    [code] = [token.content for token in tokens_of(f"see {code_in_markdown(name)}.") if token.type == "code_inline"]
    assert code.strip() == visible(name, 200).strip() or not name.strip()
    tokens = tokens_of(f"before\n\n{code_block(name, 'bash')}\n\nafter")
    assert [token.type for token in tokens if token.type.startswith(("fence", "heading", "html"))] == ["fence"]
    [fence] = [token for token in tokens if token.type == "fence"]
    # a reader of Markdown has another character in the place of NUL
    assert fence.content.rstrip("\n") == name.replace("\0", "\ufffd").rstrip("\n") and fence.info == "bash"


def test_links_lead_to_the_web():
    assert link_in_markdown("source", "https://arxiv.org/abs/1") == "[source](https://arxiv.org/abs/1)"
    for address in ("javascript:alert(1)", "https://a.b/) <script>", "data:text/html,x", None, "https://a b"):
        assert link_in_markdown("a_b*", address) == r"a_b\*"


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_text_on_a_console(name):
    shown = on_console(f"error: {name}")
    assert shown.count("\n") == name.count("\n")
    for character in shown.replace("\n", ""):
        assert unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    shown.encode()


def test_what_is_seen_stays_as_it_is():
    text = "größe 鸟 🐦 नमस्ते $5 <b> می\u200cخواهم 👩\u200d🚀"
    assert visible(text) == text == on_console(text)
    assert visible("a\nb\x1b\u202e\udc80") == r"a\nb\x1b\u202e\udc80"
    assert visible("x" * 100, 10) == "xxxxxxx..."
    assert on_console("one\ntwo") == "one\ntwo"
    assert in_markdown("sat_deit_small, CUB-200-2011 (1.5%)") == "sat_deit_small, CUB-200-2011 (1.5%)"


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_text_on_a_plot(tmp_path, name):
    figure = matplotlib.figure.Figure(figsize=(3, 3), layout="constrained")
    axis = figure.subplots()
    axis.set_xticks([0], [on_plot(name)])
    axis.set_title(on_plot(name))
    figure.savefig(tmp_path / "plot.png")
    # what is drawn, once matplotlib has looked for formulas
    drawn, is_formula = axis.title._preprocess_math(axis.title.get_text())
    assert not is_formula and drawn == visible(name, 40)
    assert not re.search("\n", drawn)
