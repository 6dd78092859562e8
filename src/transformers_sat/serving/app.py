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
"""The ASGI application: routes, limits and status codes around an [`EndpointHandler`]."""

import asyncio
import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from transformers.utils import logging

from ..handler import TASKS, EndpointHandler
from ..images_sat import ImageTooLargeError
from ..pipeline_sat import WeaklySupervisedLocalizationPipeline
from .batching import Batcher
from .bodies import BodyTooLargeError, parse_body, read_body


logger = logging.get_logger(__name__)


@dataclass
class Limits:
    """
    What the server takes on.

    Args:
        max_batch_size (`int`): pictures that the model is given at a time.
        max_wait_ms (`float`): how long a picture waits for others to share a batch with, in milliseconds.
        max_request_mb (`float`): size of a request, in megabytes (10^6 bytes).
        max_pixels (`int`): width times height of a picture.
        max_requests (`int`): requests in work or waiting; more are turned away (429).
        timeout_s (`float`): time for a request from its first byte to its answer, in seconds.

    Raises:
        `ValueError`: if one is not positive (`max_wait_ms` may be 0).
    """

    max_batch_size: int = 8
    max_wait_ms: float = 5
    max_request_mb: float = 10
    max_pixels: int = 25_000_000
    max_requests: int = 256
    timeout_s: float = 30

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value > 0 or (field.name == "max_wait_ms" and value == 0)):
                raise ValueError(f"`{field.name}` must be positive, got {value}.")


def create_app(
    localizer: WeaklySupervisedLocalizationPipeline, name: str = "", limits: Limits | None = None
) -> Starlette:
    """
    An ASGI application that answers as the Hub's inference API does for `object-detection`, `image-segmentation` and
    `image-classification`.

    Args:
        localizer ([`WeaklySupervisedLocalizationPipeline`]): the model, such as [`load_localizer`] gives.
        name (`str`, *optional*): the model's name in `/models/{name}`.
        limits ([`Limits`], *optional*): what the server takes on.

    Returns:
        `Starlette`: with the routes `/`, `/{task}`, `/pipeline/{task}`, `/models/{name}` and
        `/models/{name}/pipeline/{task}` (POST), and `/health` (GET).
    """
    limits = limits or Limits()
    service = Service(EndpointHandler(localizer=localizer, max_pixels=limits.max_pixels), limits)

    @contextlib.asynccontextmanager
    async def lifespan(app):
        async with service.running():
            yield

    async def predict(request: Request) -> JSONResponse:
        task, asked_for = request.path_params.get("task"), request.path_params.get("name", name)
        if task is not None and task not in TASKS:
            return failure(404, f"There is no task {task!r} here; there are {', '.join(TASKS)}.")
        if asked_for != name:
            return failure(404, f"There is no model {asked_for!r} here, but {name!r}.")
        return await service.respond(request, task)

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "model": name, "tasks": TASKS, "requests": service.requests})

    posted = partial(Route, endpoint=predict, methods=["POST"])
    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            posted("/"),
            posted("/models/{name:path}/pipeline/{task}"),
            posted("/models/{name:path}"),
            posted("/pipeline/{task}"),
            posted("/{task}"),
        ],
        exception_handlers={HTTPException: on_http_exception, Exception: on_exception},
        lifespan=lifespan,
    )


class Service:
    """
    Requests on their way: decoded in a few threads, batched for the model in another, answered in the first ones.

    Args:
        handler ([`EndpointHandler`]): the model.
        limits ([`Limits`]): what is taken on.
    """

    def __init__(self, handler: EndpointHandler, limits: Limits):
        self.handler = handler
        self.limits = limits
        self.requests = 0
        self.batcher = Batcher(handler.forward, limits.max_batch_size, limits.max_wait_ms)

    @contextlib.asynccontextmanager
    async def running(self):
        """While the application is up."""
        # so few that pictures being decoded cannot fill the memory, however many requests there are
        with ThreadPoolExecutor(
            max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="pictures"
        ) as self.threads:
            work = asyncio.create_task(self.batcher.work())
            try:
                yield
            finally:
                work.cancel()
                await asyncio.wait([work])

    async def respond(self, request: Request, task: str | None) -> JSONResponse:
        """The answer to one request, or what is wrong with it."""
        if self.requests >= self.limits.max_requests:
            # not 503, at which the Hub's JavaScript client tries again at once and for ever
            return failure(429, "Too many requests at a time; try again later.", {"Retry-After": "1"})
        self.requests += 1
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                body = await read_body(request, int(self.limits.max_request_mb * 1e6))
                return await self._answer(body, request.headers.get("content-type", ""), task)
        except (BodyTooLargeError, ImageTooLargeError) as error:
            return failure(413, str(error))
        except BadRequestError as error:
            return failure(400, str(error))
        except TimeoutError:
            return failure(504, f"The answer took longer than {self.limits.timeout_s:g} seconds.")
        except ClientDisconnect:
            return failure(400, "The request was not sent to its end.")
        finally:
            self.requests -= 1

    async def _answer(self, body: bytes, content_type: str, task: str | None) -> JSONResponse:
        data, pictures, parameters = await self._in_thread(self._read, body, content_type, task)
        prepared = await gather(self._in_thread(self._prepare, picture) for picture in pictures)
        outputs = await gather(self.batcher(inputs) for inputs in prepared)
        answers = await gather(self._in_thread(self.handler.answer, output, parameters) for output in outputs)
        return JSONResponse(answers if isinstance(data["inputs"], list) else answers[0])

    def _read(self, body: bytes, content_type: str, task: str | None) -> tuple[dict, list, dict]:
        with bad_requests():
            data = parse_body(body, content_type)
            pictures, parameters = self.handler.read(with_task(data, task))
            return data, pictures, parameters

    def _prepare(self, picture) -> dict:
        with bad_requests():
            return self.handler.prepare(picture)

    async def _in_thread(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)


class BadRequestError(Exception):
    """A request that cannot be answered, through its own fault."""


@contextlib.contextmanager
def bad_requests():
    """Errors of a request as such; the same kinds of error are the server's fault elsewhere."""
    try:
        yield
    except ImageTooLargeError:
        raise
    except ValueError as error:
        raise BadRequestError(str(error)) from error


def with_task(data: dict, task: str | None) -> dict:
    """The request with the task that its address names."""
    if task is None or not isinstance(data, dict) or not isinstance(data.get("parameters") or {}, dict):
        return data
    parameters = data.get("parameters") or {}
    if parameters.get("task", task) != task:
        raise ValueError(f"The address asks for {task} and `parameters` for another task; ask for one.")
    return {**data, "parameters": {**parameters, "task": task}}


async def gather(awaitables) -> list:
    """The results in order; when one fails, or time is up, the others are given up."""
    futures = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        return await asyncio.gather(*futures)
    finally:
        for future in futures:
            future.cancel()


def failure(status: int, message: str, headers: dict | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status, headers=headers)


async def on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
    return failure(error.status_code, f"{error.detail}: {request.method} {request.url.path}", error.headers)


async def on_exception(request: Request, error: Exception) -> JSONResponse:
    # what went wrong is logged, and is nobody else's business
    return failure(500, "Internal error; the server's log has it.")


__all__ = ["Limits", "create_app"]
