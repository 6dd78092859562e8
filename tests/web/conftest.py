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
"""A browser for the tests of the pages: Debian's Chromium, without a display and without a network."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import PIL.Image
import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor
from transformers_sat.convert import load_backbone
from transformers_sat.drawn import emblem_backbone_path, emblem_class_names
from transformers_sat.drawn.emblems import draw_emblem, load_photographs, pattern_of_class


CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class WatchedPage:
    """A page, what its console complained of, and what it asked other machines for (which they never hear of)."""

    page: Page
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.fail("These tests need Chromium: `apt-get install chromium`.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def watched(browser) -> Iterator[WatchedPage]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    watched = WatchedPage(context.new_page())

    def answer(route):
        if urlsplit(route.request.url).hostname in ("127.0.0.1", "localhost"):
            route.continue_()
        else:
            watched.foreign.append(route.request.url)
            route.fulfill(status=200, body="")

    context.route("http*://**", answer)
    watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
    watched.page.on(
        "console",
        lambda message: (
            watched.errors.append(f"{message.text} {message.location}") if message.type == "error" else None
        ),
    )
    yield watched
    context.close()


@pytest.fixture(scope="session")
def emblem_model() -> SATForWeaklySupervisedLocalization:
    """The embedded backbone, whose maps are good without training; its classes are anybody's guess."""
    torch.manual_seed(0)
    names = emblem_class_names()
    return load_backbone(
        emblem_backbone_path(),
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: label for label, name in enumerate(names)},
    ).eval()


@pytest.fixture(scope="session")
def emblem_processor() -> SATImageProcessor:
    return SATImageProcessor(
        size={"height": 73, "width": 73},
        crop_size={"height": 64, "width": 64},
        do_center_crop=True,
        localization_threshold=0.4,
    )


def emblem_image(label: int, width: int, height: int) -> PIL.Image.Image:
    """An emblem on a photograph, cut to the size."""
    side = max(width, height)
    random = np.random.default_rng([5, label])
    pixels, _ = draw_emblem(random, label, pattern_of_class(label), load_photographs("test"), side)
    left, top = (side - width) // 2, (side - height) // 2
    return PIL.Image.fromarray(pixels[top : top + height, left : left + width])


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> dict[str, Path]:
    """Files of several forms; `sideways.jpg` is stored turned by a quarter and says so, `cutout.png` is transparent in part."""
    folder = tmp_path_factory.mktemp("images")
    paths = {name: folder / name for name in ("wide.png", "tall.png", "sideways.jpg", "small.png", "cutout.png")}
    emblem_image(4, 400, 300).save(paths["wide.png"])
    emblem_image(7, 180, 321).save(paths["tall.png"])
    emblem_image(2, 40, 40).save(paths["small.png"])
    cutout = emblem_image(4, 400, 300).convert("RGBA")
    # of another colour under the transparency, and half transparent
    cutout.paste((255, 0, 255, 0), (0, 0, 150, 120))
    cutout.paste((0, 60, 0, 128), (250, 200, 380, 290))
    cutout.save(paths["cutout.png"])
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    turned = emblem_image(8, 320, 240).transpose(PIL.Image.Transpose.ROTATE_90)
    turned.save(paths["sideways.jpg"], exif=exif, quality=95)
    return paths
