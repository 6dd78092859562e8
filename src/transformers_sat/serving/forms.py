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
"""Requests as browsers and shells write them: forms with a file, and parameters in the address."""

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from ..model.handler import RequestError


# Images and parameters; the parser makes a few objects of each part.
MAX_PARTS = 64
MAX_QUERY_PARAMETERS = 16
# Splitting a header at its semicolons takes the square of its length.
MAX_CONTENT_TYPE = 1000

NUMBERS = {"threshold", "localization_threshold", "mask_threshold", "overlap_mask_area_threshold"}
NUMBER = re.compile(r"[+-]?(\d{1,20}\.?\d{0,20}|\.\d{1,20})(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
WHOLE_NUMBER = re.compile(r"[+-]?\d{1,20}", re.ASCII)


def parse_form(body: bytes, content_type: str) -> dict:
    """
    A request as [`EndpointHandler`] takes it, of a form: its files are the images, and so is text in a field `inputs`
    (base64); the other fields are parameters.

    The parts are counted before they are parsed, so that the work is proportional to the bytes.

    Args:
        body (`bytes`): what was sent.
        content_type (`str`): the header, `multipart/form-data` with its boundary.

    Raises:
        `RequestError`: if the form is damaged or cut off, has more than `MAX_PARTS` parts, no image, or a field twice.
    """
    if len(content_type) > MAX_CONTENT_TYPE:
        raise RequestError(
            f"The `Content-Type` of the form has more than the {MAX_CONTENT_TYPE} characters that are read."
        )
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise RequestError(
            "The form has no `boundary` in its `Content-Type`; clients set it when you leave the header out."
        )
    number = body.count(b"--" + boundary)
    # one more stands at the end
    if number > MAX_PARTS + 1:
        raise RequestError(f"The form has {number} boundaries, more than the {MAX_PARTS} parts that are read.")
    inputs, fields, ended = [], [], []

    def on_file(file):
        inputs.append(file.file_object.getvalue())

    def on_field(field):
        name, value = as_text(field.field_name), as_text(field.value)
        if name == "inputs":
            inputs.append(value)
        else:
            fields.append((name, value))

    try:
        parser = FormParser(
            "multipart/form-data",
            on_field,
            on_file,
            on_end=lambda: ended.append(True),
            boundary=boundary,
            # the bytes are in memory already: nothing is written to disk
            config={"MAX_MEMORY_FILE_SIZE": float("inf")},
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RequestError("The body is not valid multipart/form-data: its parts cannot be read.") from error
    if not ended:
        raise RequestError("The form is cut off: its last boundary is missing.")
    if not inputs:
        raise RequestError("The form has no image: send it as a file, or as base64 in a field `inputs`.")
    return {"inputs": inputs if len(inputs) > 1 else inputs[0], "parameters": parameters_of(fields, "The form")}


def parse_query(query: bytes) -> dict:
    """
    The parameters that an address has after its question mark, such as `threshold=.2&multiple_boxes=true`.

    Raises:
        `RequestError`: if there are more than `MAX_QUERY_PARAMETERS`, or one twice.
    """
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_QUERY_PARAMETERS)
    except ValueError as error:
        raise RequestError(
            f"The address has more than the {MAX_QUERY_PARAMETERS} parameters that are read."
        ) from error
    return parameters_of(pairs, "The address")


def parameters_of(pairs: Iterable[tuple[str, str]], what: str) -> dict:
    """Text as the numbers and truth values that it stands for; the rest stays text, which the checks then name."""
    parameters = {}
    for name, text in pairs:
        if name in parameters:
            raise RequestError(f"{what} has {name[:50]!r} more than once.")
        parameters[name] = value_of(name, text.strip())
    return parameters


def value_of(name: str, text: str):
    if name in NUMBERS and NUMBER.fullmatch(text):
        return float(text)
    if name == "top_k" and WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if name == "multiple_boxes" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    return text


def with_parameters(data: dict, more: dict, where: str) -> dict:
    """
    A request with further parameters.

    Args:
        data (`dict`): the request; what is wrong with it is said by [`EndpointHandler`].
        more (`dict`): the parameters.
        where (`str`): where they stand, for messages.

    Raises:
        `RequestError`: if the request has another value for one of them.
    """
    if not more or not isinstance(data, dict) or not isinstance(data.get("parameters") or {}, dict):
        return data
    parameters = data.get("parameters") or {}
    for name, value in more.items():
        if parameters.get(name) not in (None, value):
            raise RequestError(f"{where} and the request's own parameters have different values of {name[:50]!r}.")
    return {**data, "parameters": {**parameters, **more}}


def as_text(content: bytes | None) -> str:
    return (content or b"").decode("utf-8", "replace")


__all__ = ["MAX_PARTS", "parse_form", "parse_query", "with_parameters"]
