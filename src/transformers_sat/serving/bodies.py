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

import json
import re

import numpy as np
from starlette.requests import Request


MAX_JSON_DEPTH = 16

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class BodyTooLargeError(ValueError):
    """A body with more bytes than are read."""


async def read_body(request: Request, max_bytes: int) -> bytes:
    """
    The body of a request, read no further than allowed.

    Raises:
        `BodyTooLargeError`: if it is, or says it is, longer than `max_bytes`.
    """
    announced = request.headers.get("content-length", "")
    error = BodyTooLargeError(f"The request is larger than the {max_bytes} bytes that are read.")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise error
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise error
    return bytes(body)


def parse_body(body: bytes, content_type: str) -> dict:
    """
    A request as [`EndpointHandler`] takes it: JSON with `inputs` and `parameters`, or nothing but a picture's bytes.

    Args:
        body (`bytes`): what was sent.
        content_type (`str`): the header; what is not `application/json` is a picture.

    Raises:
        `ValueError`: if the body is empty, not JSON in UTF-8, or nested more than `MAX_JSON_DEPTH` deep.
    """
    if not body:
        raise ValueError(
            "The request has no body: send a picture's bytes, or JSON with `inputs` as `Content-Type: application/json`."
        )
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return {"inputs": body}
    # decoded here: json.loads would take UTF-16 too, whose bytes can hide brackets from the count
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"The request is not JSON in UTF-8: {error}.") from error
    if json_depth(body) > MAX_JSON_DEPTH:
        raise ValueError(f"The JSON of the request is nested more than {MAX_JSON_DEPTH} deep.")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"The request is not valid JSON: {error}.") from error


def json_depth(body: bytes) -> int:
    """How deep objects and lists are nested, without parsing them (a parser may recurse as deep)."""
    characters = np.frombuffer(_STRING.sub(b"", body), dtype=np.uint8)
    opening = np.isin(characters, np.frombuffer(b"[{", dtype=np.uint8))
    closing = np.isin(characters, np.frombuffer(b"]}", dtype=np.uint8))
    return int((opening.astype(np.int32) - closing).cumsum().max(initial=0))


__all__ = ["MAX_JSON_DEPTH", "BodyTooLargeError", "json_depth", "parse_body", "read_body"]
