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
"""The ways that an image's file takes through the package, each called with a file."""

import asyncio
import base64
import functools
import io
from pathlib import Path

import gradio as gr
import httpx
import PIL.Image

from transformers_sat.demo import Localizer, build_demo
from transformers_sat.model.images_sat import read_image
from transformers_sat.prepare import ImageRecord, open_source
from transformers_sat.prepare.examples import read_example
from transformers_sat.prepare.records import Reader
from transformers_sat.serving.app import create_app


class OneImage(Reader):
    """The lists of a data set whose only image is a file."""

    class_names = ["bird"]

    def __init__(self, path: Path):
        super().__init__(open_source(path.parent))
        self.image = ImageRecord("train", "1", path.name, "bird", "the list")

    def records(self):
        yield self.image


def through_server(localizer, content: bytes):
    async def post():
        app = create_app(localizer)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client,
        ):
            return await client.post("/image-segmentation", content=content)

    response = asyncio.run(post())
    if response.status_code != 200:
        assert response.status_code in (400, 413)
        raise ValueError(response.json()["error"])
    return PIL.Image.open(io.BytesIO(base64.b64decode(response.json()[0]["mask"])))


@functools.cache
def demo_of(localizer):
    """What the page does with an upload, and with what that gave."""
    demo = build_demo(Localizer(localizer))
    upload = next(block for block in demo.blocks.values() if getattr(block, "elem_id", None) == "image")
    return upload.preprocess, next(function.fn for function in demo.fns.values() if function.api_name == "localize")


def through_demo(localizer, path: Path):
    preprocess, look = demo_of(localizer)
    given = preprocess(gr.data_classes.ImageData(path=str(path), orig_name=path.name))
    try:
        return look(given, 0.5, 0.5, False, Localizer(localizer).map_names[0])[0].image
    except gr.Error as error:
        raise ValueError(error.message) from error


def prepared_bytes(path: Path) -> bytes:
    """What `prepare` keeps of an image."""
    reader = OneImage(path)
    return read_example(reader.image, reader, {"bird": 0}).row["image"]["bytes"]


def through_prepare(path: Path):
    return read_image(prepared_bytes(path), "stored")


__all__ = ["OneImage", "prepared_bytes", "through_demo", "through_prepare", "through_server"]
