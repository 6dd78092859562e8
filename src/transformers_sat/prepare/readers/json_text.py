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
"""JSON in files of annotations."""

import json
from collections.abc import Callable
from typing import Any


# A list or an object takes up to two hundred bytes of memory, a number thirty. COCO has four million and a hundred million.
MAX_CONTAINERS = 2**23
MAX_VALUES = 2**27


def parse_json(text: str | bytes, where: str, object_hook: Callable[[dict], Any] | None = None) -> Any:
    """
    The value of a JSON text.

    Args:
        text (`str` or `bytes`): the text.
        where (`str`): file, or file and line, for messages.
        object_hook (`Callable`, *optional*): what `json.loads` calls for each object.

    Raises:
        `ValueError`: if it is no JSON, is nested too deeply, or holds more than the largest data sets do.
    """
    brackets, comma = ("[{", ",") if isinstance(text, str) else ((b"[", b"{"), b",")
    if sum(map(text.count, brackets)) > MAX_CONTAINERS or text.count(comma) > MAX_VALUES:
        raise ValueError(
            f"{where}: more than {MAX_CONTAINERS} lists and objects, or {MAX_VALUES} values, which is as much as is read."
        )
    try:
        return json.loads(text, object_hook=object_hook)
    except RecursionError as error:
        raise ValueError(f"{where}: no valid JSON: it is nested too deeply.") from error
    except ValueError as error:
        raise ValueError(f"{where}: no valid JSON: {error}.") from error


__all__ = ["parse_json"]
