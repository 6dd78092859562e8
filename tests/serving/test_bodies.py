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
"""Bodies of requests: their limits."""

import json
import random

import pytest

from transformers_sat.serving.bodies import MAX_JSON_DEPTH, json_depth, parse_body


def test_a_picture():
    assert parse_body(b"bytes", "image/png") == {"inputs": b"bytes"}
    assert parse_body(b"bytes", "") == {"inputs": b"bytes"}


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json(content_type):
    assert parse_body(b' {"inputs": "abcd"} ', content_type) == {"inputs": "abcd"}


def random_json(generator: random.Random, depth: int):
    """A value, with brackets and quotes in its strings, and how deep it is."""
    kind = generator.choice(["list", "dict", "leaf"]) if depth > 0 else "leaf"
    if kind == "leaf":
        return generator.choice([1.5, None, True, "", '[[[{"', "\\", '\\"[[', "]]}}", "n\u00e4h["]), 0
    values = [random_json(generator, depth - 1) for _ in range(generator.randrange(4))]
    deepest = 1 + max((inner for _, inner in values), default=0)
    if kind == "list":
        return [value for value, _ in values], deepest
    return {f'{{"{number}': value for number, (value, _) in enumerate(values)}, deepest


def test_depth():
    generator = random.Random(0)
    for _ in range(300):
        value, depth = random_json(generator, 6)
        assert json_depth(json.dumps(value, ensure_ascii=False).encode()) == depth


def test_depth_is_limited():
    def nested(depth):
        return b"[" * depth + b"]" * depth

    parse_body(nested(MAX_JSON_DEPTH), "application/json")
    for depth in (MAX_JSON_DEPTH + 1, 10**6):
        with pytest.raises(ValueError, match="nested more than 16 deep"):
            parse_body(nested(depth), "application/json")
    # deep enough to break a parser, and never closed
    with pytest.raises(ValueError, match="nested more than 16 deep"):
        parse_body(b'{"a":' * 10**5, "application/json")


@pytest.mark.parametrize(
    "body, message",
    [
        (b"", "no body"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "UTF-8"),
        ('{"inputs": "x"}'.encode("utf-16"), "UTF-8"),
        (b"1" * 10_000, "not valid JSON"),
    ],
)
def test_wrong_bodies(body, message):
    with pytest.raises(ValueError, match=message):
        parse_body(body, "application/json")
