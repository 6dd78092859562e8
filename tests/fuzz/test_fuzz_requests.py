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
Requests that were damaged at random, through the whole application: each is answered, or refused in a short line of JSON.
"""

import asyncio
import base64
import io
import json
import random
import re
import time
from collections import Counter

import httpx
import numpy as np
import PIL.Image
import pytest
from sat_testing import tiny_model

from transformers_sat import SATImageProcessor, WeaklySupervisedLocalizationPipeline
from transformers_sat.model.handler import PARAMETERS, TASKS
from transformers_sat.serving import Limits, create_app


SECONDS = 15
# Also of a machine that is busy.
LEAST = 300

# What Python calls its objects.
OBJECT = re.compile(r" at 0x[0-9a-f]+|<[a-z_]+[. ]")
ODD_VALUES = (
    *(
        None,
        True,
        "",
        "x",
        [],
        {},
        [[]],
        {"a": 1},
        -1,
        0,
        1,
        0.5,
        1.5,
        2**63,
        10**400,
        1e300,
        float("nan"),
        float("inf"),
    ),
    *("\ud800", "\x1b[31m", "../x", "a" * 5000, "1", [0.5], "\U0001f600" * 50, "<b>", "object-detection", "instance"),
    *("softmax", "http://127.0.0.1/x.png", "data:image/png;base64,", "data:,x", "/etc/passwd", "file:///etc/passwd"),
)
ODD_BYTES = (
    *(
        b"\\",
        b'"',
        b'\\"',
        b"[",
        b"{",
        b"]",
        b"}",
        b",",
        b":",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"NaN",
    ),
    *(b"-Infinity", b"1e999", b"9" * 5000, rb"\ud800", rb"\u0000", b"[" * 1000, b'\\"' * 1000, b"/**/", b"'", b"\n"),
)
CONTENT_TYPES = (
    *("application/json",) * 8,
    *("Application/JSON; charset=utf-16", "application/json;;;", " application/json", "application/json, text/html"),
    *(
        "image/png",
        "",
        "multipart/form-data; boundary=" + "x" * 5000,
        "text/plain; charset=\xff",
        "*/*",
        ";",
        "x" * 9000,
    ),
    *("application/x-www-form-urlencoded", 'application/json; charset="', "application/problem+json"),
)
FORM_PIECES = (
    *(
        b"--xyz",
        b"\r\n--xyz",
        b"--xyz--",
        b"\r\n--xyz--\r\n",
        b"\r\n",
        b"\r",
        b"--",
        b"\r\n\r\n",
        b";",
        b'"',
        b"\0",
        b"\xff",
    ),
    *(b"Content-Disposition: form-data; ", b'name="inputs"', b'filename=""', b"Content-Transfer-Encoding: base64\r\n"),
    *(b"--xyz\r\n" * 100, b"X: y\r\n" * 20, b"\r\n-" * 200, b"filename*=utf-8''%ff", b"a" * 5000),
)
PATHS = (
    *("/",) * 8,
    *(f"/{task}" for task in TASKS),
    *("/map",) * 3,
    *("/models/sat", "/pipeline/x", "/models//pipeline/", "/%ff", "/?a=%zz"),
    *("/?threshold=.1&top_k=2", "/?multiple_boxes=yes", "/map?format=npy", "/?task=%00", "/?" + "a=b&" * 50),
)


def files() -> list[bytes]:
    """Small images of several formats and modes."""
    pixels = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    found = []
    for file_format, modes in {
        "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
        "JPEG": ("RGB", "L", "CMYK"),
        "TIFF": ("RGB", "F", "I", "LAB", "YCbCr", "CMYK"),
        "GIF": ("P",),
        "WEBP": ("RGBA",),
        "BMP": ("RGB", "1"),
    }.items():
        for mode in modes:
            file = io.BytesIO()
            (pixels.convert("L") if mode == "I;16" else pixels).convert(mode).save(file, file_format)
            found.append(file.getvalue())
    for size in ((1, 1), (1, 3000), (3000, 1)):
        file = io.BytesIO()
        PIL.Image.new("RGB", size).save(file, "PNG")
        found.append(file.getvalue())
    return found


def damaged(content: bytes, dice: random.Random, pieces: tuple[bytes, ...]) -> bytes:
    """Bytes turned over, cut off, repeated, or with such pieces between."""
    content = bytearray(content)
    for _ in range(dice.choice((0, 1, 1, 2, 8))):
        at = dice.randrange(len(content) + 1)
        kind = dice.randrange(4)
        if kind == 0:
            content[at : at + 1] = dice.randbytes(1)
        elif kind == 1:
            del content[at : at + dice.choice((1, 10, 10**6))]
        elif kind == 2:
            content[at:at] = content[max(at - 50, 0) : at] * dice.choice((1, 20))
        else:
            content[at:at] = dice.choice(pieces)
    return bytes(content)


def odd_value(dice: random.Random, images: list[bytes], depth: int = 2):
    kind = dice.randrange(8)
    if kind == 0 and depth:
        return [odd_value(dice, images, depth - 1) for _ in range(dice.choice((0, 1, 3, 40)))]
    if kind == 1 and depth:
        return {str(dice.choice(ODD_VALUES)): odd_value(dice, images, depth - 1) for _ in range(dice.randrange(4))}
    if kind < 4:
        return base64.b64encode(dice.choice(images)).decode()
    return dice.choice(ODD_VALUES)


def body(dice: random.Random, images: list[bytes]) -> bytes:
    """JSON that was right, with values of all kinds in it, and then damaged; or the bytes of an image, damaged."""
    if dice.random() < 0.2:
        return damaged(dice.choice(images), dice, ODD_BYTES)
    data = {"inputs": base64.b64encode(damaged(dice.choice(images), dice, ODD_BYTES)).decode()}
    if dice.random() < 0.7:
        task = dice.choice(TASKS)
        names = dice.sample(PARAMETERS[task], dice.randrange(4))
        data["parameters"] = {name: dice.choice(ODD_VALUES) for name in names} | {"task": task}
    if dice.random() < 0.3:
        data[dice.choice(("inputs", "parameters", "other", ""))] = odd_value(dice, images)
    text = json.dumps(data, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    return damaged(text, dice, ODD_BYTES) if dice.random() < 0.4 else text


def form(dice: random.Random, images: list[bytes]) -> bytes:
    """A form with files and fields that was right, and then damaged."""
    parts = []
    for _ in range(dice.choice((1, 1, 2, 5, 70))):
        name = dice.choice(("inputs", "file", "threshold", "top_k", "task", "multiple_boxes", "format", ""))
        is_file = dice.random() < 0.5
        value = (
            dice.choice(images) if is_file else str(dice.choice(ODD_VALUES)).encode("utf-8", "surrogatepass")[:9000]
        )
        head = f'Content-Disposition: form-data; name="{name}"' + ('; filename="a.png"' if is_file else "")
        parts.append(b"--xyz\r\n" + head.encode() + b"\r\n\r\n" + value + b"\r\n")
    content = b"".join(parts) + b"--xyz--\r\n"
    return damaged(content, dice, FORM_PIECES) if dice.random() < 0.6 else content


def request(dice: random.Random, images: list[bytes]) -> tuple[bytes, str]:
    """A body and the type that it says it has."""
    if dice.random() < 0.3:
        return form(dice, images), "multipart/form-data; boundary=" + dice.choice(
            ("xyz",) * 9 + ("yz", '"xyz"', "", "\xff")
        )
    return body(dice, images), dice.choice(CONTENT_TYPES)


@pytest.mark.slow
def test_requests(report_counts):
    """200 or a status of the 400s with one short line, without the names of objects, and in good time."""
    dice, images, counts = random.Random(0), files(), Counter()
    size = {"height": 32, "width": 32}
    localizer = WeaklySupervisedLocalizationPipeline(
        tiny_model(), image_processor=SATImageProcessor(size=size), device="cpu"
    )
    app = create_app(localizer, "sat", Limits(max_wait_ms=0, max_request_mb=0.5))

    async def main():
        end = time.monotonic() + SECONDS
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://x", timeout=60) as client,
        ):
            number = 0
            while number < LEAST or time.monotonic() < end:
                number += 1
                (content, content_type), path = request(dice, images), dice.choice(PATHS)
                headers = {"content-type": content_type.encode("latin-1")}
                start = time.monotonic()
                response = await client.post(path, content=content, headers=headers)
                told = f"request {number}: {path} {headers} {content[:300]!r} -> {response.status_code} {response.text[:500]}"
                # a forward pass takes milliseconds; a thousand times that is out of proportion
                assert time.monotonic() - start < 10, told
                assert response.status_code in (200, 400, 404, 413), told
                if response.status_code != 200:
                    (message,) = response.json().values()
                    assert list(response.json()) == ["error"] and 10 < len(message) <= 400, told
                    assert "\n" not in message and not OBJECT.search(message), told
                    message.encode("utf-8")
                counts[response.status_code] += 1
            assert (await client.get("/health")).json()["model_worker"]["restarts"] == 0

    asyncio.run(main())
    report_counts("requests", tried=counts.total(), **{f"with status {key}": counts[key] for key in sorted(counts)})
    # neither are all refused before anything happens, nor is nothing damaged
    assert counts[200] > 30 and counts[400] > 100
