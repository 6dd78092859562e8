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
"""`transformers-sat demo`."""

from pathlib import Path
from typing import Annotated

import typer

from ..extras import require
from .options import LARGEST_PORT, Device, Host, Model


def demo(
    model: Model,
    host: Host = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=LARGEST_PORT,
            help="Port to listen at; a free one from 7860 by default.",
            show_default=False,
            rich_help_panel="Address",
        ),
    ] = None,
    share: Annotated[
        bool,
        typer.Option(
            "--share",
            help="Open a public link through Gradio's relay for three days.",
            rich_help_panel="Address",
        ),
    ] = False,
    device: Device = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Folder of example images; drawn emblems for a model of the embedded data.",
            show_default=False,
        ),
    ] = None,
):
    """Try a model in the browser: images, maps, boxes and the threshold."""
    require("demo", "gradio")
    from ..demo import launch_demo
    from ..registration import register

    register()
    launch_demo(model, host, port, share, device, images)


__all__ = ["demo"]
