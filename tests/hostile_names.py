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
"""Names of classes, files and data sets that mean something to whatever they are shown in."""

HOSTILE_NAMES = (
    "costs $5 to $10",
    r"$\frac{$",
    "$x_{1}^{2}$",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a | b | c",
    "line one\nline two",
    "\n---\nlicense: mit\n---\n",
    "```\n# heading\n```",
    "`code` and ``more``",
    "**bold** _italic_ ~~gone~~",
    "[link](javascript:alert(1)) ![image](http://example.org/x.png)",
    "# heading",
    "- item",
    "1. item",
    "===",
    "&lt;b&gt; &amp;",
    'say "it\'s"',
    "{{ config }} {% for x in y %}",
    "\x1b[2J\x1b]0;title\x07",
    "\u202egnp.drib\u202c",
    "\u200e\u2066left\u2069",
    "back\\slash\\n \\$ \\|",
    "null\0byte",
    "../../etc/passwd",
    "yes: no, - [1, 2] # comment",
    "größe 鸟 🐦",
    "x" * 3000,
    " ",
    "",
)

__all__ = ["HOSTILE_NAMES"]
