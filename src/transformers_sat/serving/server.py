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

import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

import uvicorn

from ..safe_loading import load_localizer
from .app import Limits, create_app
from .connections import BoundedConnection, SparingFilter, connection_limits
from .origins import check_origins


# For the requests in work when the server is told to stop; container runtimes kill after 10 seconds.
GRACE_S = 8


def serve(
    model: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str | None = None,
    cors_origin: Sequence[str] | None = None,
    **limits,
):
    """
    Serves a model over HTTP until it is interrupted or terminated; what is in work then is finished first, if that takes
    less than `GRACE_S` seconds.

    Args:
        model (`str`): SAT model, a repository on the Hub or a folder.
        host (`str`, *optional*, defaults to `"127.0.0.1"`): address to listen at; this machine alone by default.
        port (`int`, *optional*, defaults to 8000): port to listen at; 0 for any free one.
        device (`str`, *optional*): where to run, such as `cuda:0`; Transformers chooses by default.
        cors_origin (`Sequence[str]`, *optional*): see `origins` of [`create_app`].
        limits: fields of [`Limits`].

    Raises:
        `ValueError`: if a limit is not positive, an origin is none, if `model` is no SAT model in safetensors or does not answer, or if there
            are too few file descriptors.
    """
    limits, origins = Limits(**limits), check_origins(cors_origin or ())
    localizer = load_localizer(model, device=device)
    app = create_app(localizer, model_name(model), limits, origins)
    if not is_loopback(host):
        print(
            f"transformers-sat: listening at {host}: whoever reaches this machine can send images. There is no access "
            "control and no encryption here; put a proxy with both in front, or use 127.0.0.1.",
            file=sys.stderr,
        )
    max_connections, accepted = connection_limits()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="asyncio",
            http=partial(BoundedConnection, max_connections=max_connections, answer_s=limits.timeout_s),
            ws="none",
            backlog=accepted,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(SparingFilter())
    # it warns of each damaged form, which is the client's to know
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    # uvicorn raises the signal that stopped it once more when it is done, for whoever handled it before; here that is
    # uvicorn itself, so that a requested stop is a success
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    server.run()
    if app.state.service.is_at_work():
        # A thread cannot be stopped. The interpreter would not wait for it, as it is a daemon, but take its memory apart
        # while it computes, which can end in a crash: the process ends here instead.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def model_name(model: str) -> str:
    """What clients call the model: its repository, or the name of its folder."""
    return os.path.basename(os.path.abspath(model)) if os.path.isdir(model) else model


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens at the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


__all__ = ["is_loopback", "model_name", "serve"]
