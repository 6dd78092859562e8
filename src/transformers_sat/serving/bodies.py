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
"""Bodies of requests, read within limits."""

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator

import numpy as np
from starlette.requests import Request

from ..model.handler import RequestError
from .forms import parse_form


MAX_JSON_DEPTH = 16
# `inputs` and `parameters` take about a hundred; a parser makes an object of each.
MAX_JSON_SIGNS = 1000
# `top_k` is the only whole number of a request.
MAX_DIGITS = 20

_SIGNS = b"[]{},:"
_OTHERS = bytes(set(range(256)) - set(_SIGNS))
# What each sign does to the depth, as signed bytes.
_STEPS = bytes.maketrans(_SIGNS, b"\x01\xff\x01\xff\x00\x00")


class BodyTooLargeError(RequestError):
    """A body with more bytes than are read."""


class NoMemoryError(Exception):
    """So many bodies that no other is read now."""


class BodyMemory:
    """
    What the bodies of all requests in work may take together: each is small, and there may be hundreds.

    Args:
        max_bytes (`int`): most bytes at a time.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.taken = 0

    def take(self, number: int):
        if self.taken + number > self.max_bytes:
            raise NoMemoryError
        self.taken += number

    def give_back(self, number: int):
        self.taken -= number


@contextlib.asynccontextmanager
async def body_of(request: Request, max_bytes: int, memory: BodyMemory) -> AsyncIterator[bytes]:
    """
    The body of a request, read no further than allowed, for as long as it is needed.

    Raises:
        `BodyTooLargeError`: if it is, or says it is, longer than `max_bytes`.
        `NoMemoryError`: if `memory` has no room for it.
    """
    error = BodyTooLargeError(f"The request is larger than the {max_bytes} bytes that are read.")
    announced = request.headers.get("content-length", "").lstrip("0")
    # by its digits first: `int` refuses thousands of them
    if announced.isdecimal() and (len(announced) > MAX_DIGITS or int(announced) > max_bytes):
        raise error
    body = bytearray()
    try:
        async for chunk in request.stream():
            memory.take(len(chunk))
            body += chunk
            if len(body) > max_bytes:
                raise error
        yield bytes(body)
    finally:
        memory.give_back(len(body))


def parse_body(body: bytes, content_type: str) -> dict:
    """
    A request as [`EndpointHandler`] takes it: JSON with `inputs` and `parameters`, a form with a file, or nothing but an
    image's bytes.

    The work is proportional to the bytes, whatever they are, and so little that other threads wait for none of it: what
    a parser would make many objects of, or recurse into, is refused before.

    Args:
        body (`bytes`): what was sent.
        content_type (`str`): the header; what is neither `application/json` nor `multipart/form-data` is an image.

    Raises:
        `RequestError`: if the body is empty, not JSON in UTF-8, nested more than `MAX_JSON_DEPTH` deep, has more than
            `MAX_JSON_SIGNS` values, a name twice, or a number that JSON does not have; of a form, see [`parse_form`].
    """
    if not body:
        raise RequestError(
            "The request has no body: send an image's bytes, a form with a file, or JSON with `inputs` as "
            "`Content-Type: application/json`."
        )
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return parse_form(body, content_type)
    return parse_json(body) if kind == "application/json" else {"inputs": body}


def parse_json(body: bytes) -> dict:
    """See [`parse_body`]."""
    # decoded here: json.loads would take UTF-16 too, whose bytes can hide brackets from the count
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"The request is not JSON in UTF-8: {error.reason} at byte {error.start}.") from error
    signs = json_signs(body)
    if json_depth(signs[:MAX_JSON_SIGNS]) > MAX_JSON_DEPTH:
        raise RequestError(f"The JSON of the request is nested more than {MAX_JSON_DEPTH} deep.")
    if len(signs) > MAX_JSON_SIGNS:
        raise RequestError(
            f"The JSON of the request has {len(signs)} brackets, braces, colons and commas, more than the {MAX_JSON_SIGNS} "
            "that are read."
        )
    try:
        return json.loads(
            text, object_pairs_hook=_as_object, parse_constant=_refuse_constant, parse_int=_as_whole_number
        )
    except ValueError as error:
        raise RequestError(f"The request is not valid JSON: {error}.") from error


def json_signs(body: bytes) -> bytes:
    """
    The brackets, braces, colons and commas that JSON has outside its strings, without parsing it. Of what is no JSON, those
    up to the first fault at least, where a parser stops.
    """
    # backslashes in pairs stand for themselves; one that is left before a quote makes it part of a string
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    characters = np.frombuffer(unescaped, dtype=np.uint8)
    # the number of quotes so far is odd inside strings; that it is counted modulo 256 does not matter
    inside = np.cumsum(characters == ord('"'), dtype=np.uint8) & 1
    return characters[inside == 0].tobytes().translate(None, _OTHERS)


def json_depth(signs: bytes) -> int:
    """How deep the objects and lists of such signs are nested, without recursion, as a parser may have it."""
    steps = np.frombuffer(signs.translate(_STEPS), dtype=np.int8)
    return int(steps.cumsum(dtype=np.int32).max(initial=0))


def _as_object(pairs: list[tuple]) -> dict:
    if len(dict(pairs)) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"an object has {name[:50]!r} more than once")
    return dict(pairs)


def _refuse_constant(name: str):
    raise ValueError(f"{name} is no number of JSON")


def _as_whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a whole number has {len(digits)} digits, more than the {MAX_DIGITS} that are read")
    return int(digits)


__all__ = [
    "MAX_JSON_DEPTH",
    "BodyMemory",
    "BodyTooLargeError",
    "NoMemoryError",
    "body_of",
    "json_depth",
    "json_signs",
    "parse_body",
]
