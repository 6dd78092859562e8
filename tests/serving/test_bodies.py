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

import asyncio
import json
import random
import time
import tracemalloc

import pytest
from starlette.requests import Request

from transformers_sat.model.handler import RequestError
from transformers_sat.serving.bodies import (
    MAX_JSON_DEPTH,
    MAX_JSON_SIGNS,
    BodyMemory,
    BodyTooLargeError,
    NoMemoryError,
    body_of,
    json_depth,
    json_signs,
    parse_body,
)


def test_a_image():
    assert parse_body(b"bytes", "image/png") == {"inputs": b"bytes"}
    assert parse_body(b"bytes", "") == {"inputs": b"bytes"}


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json(content_type):
    assert parse_body(b' {"inputs": "abcd"} ', content_type) == {"inputs": "abcd"}


def random_json(generator: random.Random, depth: int):
    """A value, with brackets and quotes in its strings, how many signs it has, and how deep it is."""
    kind = generator.choice(["list", "dict", "leaf"]) if depth > 0 else "leaf"
    if kind == "leaf":
        return generator.choice([1.5, None, True, "", '[[[{"', "\\", '\\"[[', "]]}}", "a,b:c", "n\u00e4h["]), 0, 0
    values = [random_json(generator, depth - 1) for _ in range(generator.randrange(4))]
    # two brackets, and commas between
    signs = 2 + max(len(values) - 1, 0) + sum(inner for _, inner, _ in values)
    deepest = 1 + max((inner for *_, inner in values), default=0)
    if kind == "list":
        return [value for value, *_ in values], signs, deepest
    return {f'{{"{number}': value for number, (value, *_) in enumerate(values)}, signs + len(values), deepest


def test_structure():
    generator = random.Random(0)
    for _ in range(300):
        value, number, depth = random_json(generator, 6)
        signs = json_signs(json.dumps(value, ensure_ascii=False).encode())
        assert (len(signs), json_depth(signs)) == (number, depth)


@pytest.mark.parametrize(
    "text, expected",
    [
        (r'["\"[', "["),
        (r'["[', "["),
        (r'["[\\', "["),
        (r'["\\\"[', "["),
        (r'["\\",[', "[,["),
        (r'[]"[[[', "[]"),
        (r'["\\\\":"\\\\\"",{', "[:,{"),
        ('""' * 300 + "[", "["),
    ],
)
def test_signs_beside_escaped_quotes(text, expected):
    assert json_signs(text.encode()) == expected.encode()


# Bodies that some way of parsing takes more than its share of time or memory for, by their size in bytes.
COSTLY = {
    "escaped quotes, not closed": lambda size: b'{"inputs": "' + b'\\"' * (size // 2),
    "escaped quotes": lambda size: b'{"inputs": "' + b'\\"' * (size // 2) + b'"}',
    "backslashes, not closed": lambda size: b'{"inputs": "' + b"\\" * size,
    "escaped letters": lambda size: b'{"inputs": "' + rb"\u0041" * (size // 6) + b'"}',
    "many quotes": lambda size: b'""' * (size // 2),
    "brackets": lambda size: b"[" * size,
    "lists": lambda size: b"[" + b"[]," * (size // 3) + b"[]]",
    "numbers": lambda size: b"[" + b"1," * (size // 2) + b"1]",
    "names": lambda size: b"{" + b",".join(b'"%d":0' % number for number in range(size // 10)) + b"}",
    "one name": lambda size: b"{" + b'"a":0,' * (size // 6) + b'"a":0}',
    "digits": lambda size: b'{"inputs": ' + b"1" * size + b"}",
    "long numbers": lambda size: b"[" + (b"1" * 4000 + b",") * (size // 4001) + b"1]",
    "decimals": lambda size: b'{"inputs": 0.' + b"1" * size + b"}",
    "exponent": lambda size: b'{"inputs": 1e' + b"1" * size + b"}",
    "white space": lambda size: b'{"inputs":' + b" " * size + b'"AAAA"}',
    "no UTF-8": lambda size: b'{"inputs": "' + b"\xff" * size,
    "outside ASCII": lambda size: b'{"inputs": "' + "\U0001f600".encode() * (size // 4) + b'"}',
}


PART = b'--xyz\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n'
# The same of forms.
COSTLY_FORMS = {
    "parts": lambda size: (PART + b"\r\n\r\n") * (size // len(PART)),
    "boundaries": lambda size: b"--xyz\r\n" * (size // 7),
    "boundaries inside": lambda size: PART + b"\r\n" + b"\r\n--xyz" * (size // 7),
    "nearly boundaries": lambda size: PART + b"\r\n" + b"\r\n--xy" * (size // 6),
    "carriage returns": lambda size: PART + b"\r\n" + b"\r" * size,
    "new lines before": lambda size: b"\r\n" * (size // 2),
    "hyphens before": lambda size: b"\r\n-" * (size // 3),
    "a long header": lambda size: PART + b"X: " + b"y" * size,
    "a long name": lambda size: PART + b"X" * size,
    "headers": lambda size: PART + b"X: y\r\n" * (size // 6),
    "spaces": lambda size: PART + b"X:" + b" " * size,
    "a long field": lambda size: (
        b'--xyz\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n' + b"1" * size + b"\r\n--xyz--\r\n"
    ),
    "base64": lambda size: PART + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=" * size + b"\r\n--xyz--\r\n",
    "quoted": lambda size: PART + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=3D" * (size // 3),
    "behind the end": lambda size: PART + b"\r\n\r\n--xyz--" + b"x" * size,
}
CASES = [("application/json", name, make) for name, make in COSTLY.items()]
CASES += [("multipart/form-data; boundary=xyz", name, make) for name, make in COSTLY_FORMS.items()]


@pytest.mark.parametrize("content_type, name, make", CASES, ids=[name for _, name, _ in CASES])
def test_work_is_proportional_to_the_bytes(content_type, name, make):
    """Eight times the bytes take no more than eight times the time, and a few bytes of memory each."""

    def seconds(size: int) -> float:
        body = make(size)
        times = []
        for _ in range(3):
            start = time.thread_time()
            try:
                parse_body(body, content_type)
            except RequestError as error:
                assert len(str(error)) < 500
            times.append(time.thread_time() - start)
        return min(times)

    # quadratic work would be 64 times as much; noise of small figures is left out
    assert seconds(400_000) < 24 * seconds(50_000) + 0.02

    body = make(400_000)
    tracemalloc.start()
    try:
        parse_body(body, content_type)
    except RequestError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 16 * len(body)


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
        (b"1" * 10_000, "not valid JSON: a whole number has 10000 digits"),
        (b'{"inputs": NaN}', "NaN is no number of JSON"),
        (b"[-Infinity]", "-Infinity is no number of JSON"),
        (b'{"inputs": "", "parameters": {"a": 1, "a": 2}}', "an object has 'a' more than once"),
        (b"[" + b"0," * MAX_JSON_SIGNS + b"0]", "1002 brackets, braces, colons and commas, more than the 1000"),
    ],
)
def test_wrong_bodies(body, message):
    with pytest.raises(ValueError, match=message):
        parse_body(body, "application/json")


def request(chunks: list[bytes], **headers: str) -> Request:
    """A POST request that sends these chunks."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return messages.pop(0)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


async def read(request: Request, max_bytes: int, memory: BodyMemory) -> bytes:
    async with body_of(request, max_bytes, memory) as body:
        assert memory.taken >= len(body)
        return body


@pytest.mark.parametrize("length", ["101", "0101", "9" * 30, "9" * 5000])
def test_a_length_that_is_too_large_is_not_read(length):
    unread = request([b"x"], content_length=length)
    with pytest.raises(BodyTooLargeError, match="larger than the 100 bytes"):
        asyncio.run(read(unread, 100, BodyMemory(1000)))


@pytest.mark.parametrize("length", ["3", "0", "003", "x", "-5", "\u00b2", ""])
def test_other_lengths_do_not_matter(length):
    assert asyncio.run(read(request([b"a", b"bc"], content_length=length), 3, BodyMemory(1000))) == b"abc"


def test_memory_of_all_bodies():
    """Bodies that are small each do not fill the memory together, and give it back however their requests end."""
    memory = BodyMemory(10)

    async def main():
        async with body_of(request([b"12345", b"678"]), 8, memory):
            assert memory.taken == 8
            with pytest.raises(NoMemoryError):
                await read(request([b"12", b"3"]), 8, memory)
            assert memory.taken == 8
            assert await read(request([b"12"]), 8, memory) == b"12"
        assert memory.taken == 0
        with pytest.raises(BodyTooLargeError):
            await read(request([b"12345", b"6789"]), 8, memory)
        assert memory.taken == 0

    asyncio.run(main())
