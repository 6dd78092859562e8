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
Names of classes, files and data sets are data, wherever they are shown: one function for each place that gives some
characters a meaning.
"""

import re
import unicodedata


# Characters without a shape of their own: control and format characters, among them those that turn the direction of text
# around, halves of characters, and the separators of lines and paragraphs.
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
# These two shape the letters of Arabic and Indic scripts, and many emoji.
JOINERS = "\u200c\u200d"

CONSOLE_LINE_LENGTH = 2000
MARKDOWN_LENGTH = 200
# Of a name beside or below an axis.
PLOT_LENGTH = 40

# What Markdown as GitHub and the Hub read it, its tables and formulas give a meaning: within a line (underscores at the
# ends of words alone), and where a line begins.
MARKDOWN_MARKS = re.compile(r"[\\`*\[\]~$|]|(?<!\w)_|_(?!\w)")
MARKDOWN_BEGINNINGS = re.compile(r"^(\d{1,9})(?=[.)](\s|$))|^(?=[#+=-]+(\s|$))")
HTML_MARKS = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
WEB_ADDRESS = re.compile(r"https?://[^\s<>()\[\]\\`\"]+")


def visible(text: str, max_length: int | None = None) -> str:
    r"""
    A text on one line, with `\n`, `\x1b` or `\u202e` in the place of characters that are not seen.

    Args:
        text (`str`): any text.
        max_length (`int`, *optional*): number of characters from which on it is cut; `...` is the end then.
    """
    if max_length is not None and len(text) > max_length:
        text = text[: max_length - 3] + "..."
    return "".join(_visible_character(character) for character in text)


def on_console(text: str) -> str:
    """A message for a terminal: it keeps its lines, but nothing in it moves the cursor or turns text around."""
    return "\n".join(visible(line, CONSOLE_LINE_LENGTH) for line in text.split("\n"))


def in_markdown(text: object) -> str:
    """A text within a line, or a cell of a table, of Markdown, as it is; one of nothing is `""`."""
    shown = visible(str(text), MARKDOWN_LENGTH).strip() or '""'
    shown = MARKDOWN_MARKS.sub(r"\\\g<0>", shown)
    shown = MARKDOWN_BEGINNINGS.sub(r"\1\\", shown)
    return re.sub("[&<>]", lambda mark: HTML_MARKS[mark[0]], shown)


def link_in_markdown(title: object, address: object) -> str:
    """A link, if the address is one of the web; the title alone if it is anything else."""
    title = in_markdown(title)
    return f"[{title}]({address})" if WEB_ADDRESS.fullmatch(str(address)) else title


def code_in_markdown(text: object) -> str:
    """A text as code within a line of Markdown (not in a table, where bars would need more)."""
    shown = visible(str(text), MARKDOWN_LENGTH)
    fence = "`" * (_longest_run(shown) + 1)
    # spaces, which are not shown, keep backticks of its own apart from the fence
    return f"{fence} {shown} {fence}" if len(fence) > 1 or not shown.strip() else f"{fence}{shown}{fence}"


def code_block(text: str, language: str = "") -> str:
    """Lines of code in Markdown, as they are."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def on_plot(text: str, max_length: int = PLOT_LENGTH) -> str:
    """A text for matplotlib, which takes what is between dollar signs for a formula."""
    return visible(text, max_length).replace("$", r"\$")


def _visible_character(character: str) -> str:
    if character in JOINERS or unicodedata.category(character) not in INVISIBLE:
        return character
    return character.encode("unicode_escape").decode()


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


__all__ = ["code_block", "code_in_markdown", "in_markdown", "link_in_markdown", "on_console", "on_plot", "visible"]
