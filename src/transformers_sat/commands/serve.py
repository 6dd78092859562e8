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
"""`transformers-sat serve`."""

from dataclasses import dataclass
from typing import Annotated

import typer

from ..extras import require
from .options import LARGEST_PORT, Device, Host, Model


LIMITS = "Limits"
BATCHES = "Batches"


@dataclass
class Serve:
    """Answer over HTTP, as the Hub's inference API does."""

    model: Model
    host: Host = "127.0.0.1"
    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=LARGEST_PORT, help="Port to listen at, 0 for any free one.", rich_help_panel="Address"
        ),
    ] = 8000
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--cors_origin",
            metavar="ORIGIN",
            help="Whose pages may read the answers, such as https://example.org, or * for all; can be given again. None by "
            "default.",
            show_default=False,
            rich_help_panel="Address",
        ),
    ] = None
    device: Device = None
    max_batch_size: Annotated[
        int,
        typer.Option("--max_batch_size", help="Most images in one forward pass.", rich_help_panel=BATCHES),
    ] = 8
    max_wait_ms: Annotated[
        float,
        typer.Option(
            "--max_wait_ms", help="How long an image waits for others in its batch.", rich_help_panel=BATCHES
        ),
    ] = 5
    max_request_mb: Annotated[
        float, typer.Option("--max_request_mb", help="Largest request, in megabytes.", rich_help_panel=LIMITS)
    ] = 10
    max_pixels: Annotated[
        int,
        typer.Option("--max_pixels", help="Most pixels of an image, width x height.", rich_help_panel=LIMITS),
    ] = 25_000_000
    max_requests: Annotated[
        int,
        typer.Option("--max_requests", help="Most requests at a time, others get 429.", rich_help_panel=LIMITS),
    ] = 256
    timeout_s: Annotated[
        float,
        typer.Option("--timeout_s", help="Longest time for a request, in seconds.", rich_help_panel=LIMITS),
    ] = 30

    def __post_init__(self):
        require("serve", "starlette", "uvicorn", "python_multipart")
        from ..registration import register
        from ..serving import serve

        register()
        serve(**vars(self))


__all__ = ["Serve"]
