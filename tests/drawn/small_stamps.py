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
"""Small files in the places of those that the stamps are made of."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

from transformers_sat.drawn.stamps_files import catalog_paths, read_catalog


# Nothing in the photographs comes near this colour, whatever the light.
THING_COLOUR = (255, 0, 255)


def cutout(path: str) -> bytes:
    """An ellipse of one colour; distractors are green."""
    distractors = [name for names in read_catalog()["distractors"].values() for name in names]
    colour = (0, 160, 0) if path.endswith(tuple(distractors)) else THING_COLOUR
    image = PIL.Image.new("RGBA", (150, 100))
    PIL.ImageDraw.Draw(image).ellipse((10, 15, 139, 84), fill=(*colour, 255))
    return encode(image, "PNG")


def photograph(path: str) -> bytes:
    """Grey noise, another for each path."""
    random = np.random.default_rng(sum(path.encode()))
    grey = PIL.Image.fromarray(random.integers(90, 166, (45, 60), dtype=np.uint8)).resize((420, 315))
    return encode(grey.convert("RGB"), "PNG" if path.endswith(".png") else "JPEG")


def encode(image: PIL.Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def small_files() -> dict[str, bytes]:
    """Contents by path of all files of the catalog."""
    catalog = read_catalog()
    return {
        path: cutout(path) if path.startswith(catalog["stamps_folder"]) else photograph(path)
        for path in catalog_paths(catalog)
    }


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder
