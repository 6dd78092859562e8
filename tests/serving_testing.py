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
"""A tiny model on disk, images, and `transformers-sat serve` in a process of its own."""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import PIL.Image
from sat_testing import tiny_model

from transformers_sat import SATImageProcessor


NAMES = ["ant", "bee", "cow", "dog", "elk"]


def save_tiny_localizer(folder: Path) -> Path:
    """Five named classes, images of 32 x 32 for the model, a threshold of its own."""
    tiny_model(id2label=dict(enumerate(NAMES)), label2id={name: i for i, name in enumerate(NAMES)}).save_pretrained(
        folder
    )
    size = {"height": 32, "width": 32}
    SATImageProcessor(size=size, crop_size=size, localization_threshold=0.55).save_pretrained(folder)
    return folder


def noise_image(seed: int, width: int = 70, height: int = 50) -> PIL.Image.Image:
    """Smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC)


def png(image: PIL.Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


@contextlib.asynccontextmanager
async def client_of(app):
    """While the application is up, a client that calls it."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://x") as client,
    ):
        yield client


@dataclass
class Server:
    """Address, process and what it wrote so far on the standard error."""

    url: str
    process: subprocess.Popen
    log: Path


@contextlib.contextmanager
def served(model: Path, log: Path, *flags: str, before: str = "") -> Iterator[Server]:
    """`transformers-sat serve` at a free port, until the end of the block; `before` is Python code to run first."""
    code = f"{before}\nimport sys\nfrom transformers_sat.cli import main\nsys.exit(main())"
    command = [sys.executable, "-c", code, "serve", str(model), "--port", "0", *flags]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    with (
        open(log, "wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment) as process,
    ):
        try:
            url = None
            while url is None:
                try:
                    process.wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    url = re.search(r"running on (http://\S+)", log.read_text(encoding="utf-8"))
                else:
                    raise RuntimeError(f"The server did not start:\n{log.read_text(encoding='utf-8')}")
            yield Server(url.group(1), process, log)
        finally:
            process.kill()


__all__ = ["NAMES", "Server", "client_of", "noise_image", "png", "save_tiny_localizer", "served"]
