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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from transformers.utils import logging

from ..model.handler import TASKS, EndpointHandler, RequestError, clean_message
from ..model.images_sat import ImageTooLargeError
from ..model.pipeline_sat import WeaklySupervisedLocalizationPipeline
from .batching import Batcher
from .bodies import BodyMemory, BodyTooLargeError, NoMemoryError, body_of, parse_body
from .forms import parse_query, with_parameters
from .maps import map_response, read_map_request
from .origins import OpenToOrigins
from .threads import Threads


logger = logging.get_logger(__name__)


# A thread that is at work for so long, with nobody waiting for the result, is not counted on any more. Decoding as many
# pixels as are taken lasts less than a second.
STUCK_S = 5
# All bodies in memory together, in bodies of the largest size.
MAX_FULL_BODIES = 32


@dataclass
class Limits:
    """
    What the server takes on.

    Args:
        max_batch_size (`int`): images that the model is given at a time.
        max_wait_ms (`float`): how long an image waits for others to share a batch with, in milliseconds.
        max_request_mb (`float`): size of a request, in megabytes (10^6 bytes).
        max_pixels (`int`): width times height of an image.
        max_requests (`int`): requests in work or waiting, and threads still at work for one that timed out; more are
            turned away (429).
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
    localizer: WeaklySupervisedLocalizationPipeline,
    name: str = "",
    limits: Limits | None = None,
    origins: Sequence[str] = (),
) -> Starlette:
    """
    An ASGI application that answers as the Hub's inference API does for `object-detection`, `image-segmentation` and
    `image-classification`, and with localization maps.

    Args:
        localizer ([`WeaklySupervisedLocalizationPipeline`]): the model, such as [`load_localizer`] gives.
        name (`str`, *optional*): the model's name in `/models/{name}`.
        limits ([`Limits`], *optional*): what the server takes on.
        origins (`Sequence[str]`, *optional*):
            Whose pages browsers let read the answers, such as `https://example.org`, or `*` for all; none by default.

    Returns:
        `Starlette`: with the [`Service`] as `state.service` and the routes `/`, `/{task}`, `/pipeline/{task}`, `/models/{name}`,
        `/models/{name}/pipeline/{task}` and `/map` (POST), and `/health` (GET).

    Raises:
        `ValueError`: if the model does not answer (see [`EndpointHandler`]), or an origin is none.
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
            return failure(404, f"There is no task {task[:100]!r} here; there are {', '.join(TASKS)}.")
        if asked_for != name:
            return failure(404, f"There is no model {asked_for[:100]!r} here, but {name!r}.")
        return await service.respond(request, partial(service.predict, task=task))

    async def localization_map(request: Request) -> Response:
        return await service.respond(request, service.map)

    async def health(request: Request) -> JSONResponse:
        reason = await service.trouble()
        status = {"status": "ok"} if reason is None else {"status": "unhealthy", "reason": reason}
        return JSONResponse(
            {**status, "model": name, "tasks": TASKS, **service.state()}, status_code=200 if reason is None else 503
        )

    posted = partial(Route, endpoint=predict, methods=["POST"])
    app = OpenToOrigins(
        origins,
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/map", localization_map, methods=["POST"]),
            posted("/"),
            posted("/models/{name:path}/pipeline/{task}"),
            posted("/models/{name:path}"),
            posted("/pipeline/{task}"),
            posted("/{task}"),
        ],
        exception_handlers={HTTPException: on_http_exception, Exception: on_exception},
        lifespan=lifespan,
    )
    app.state.service = service
    # it would answer with an address at whatever host the client names
    app.router.redirect_slashes = False
    return app


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
        self.max_bytes = int(limits.max_request_mb * 1e6)
        self.bodies = BodyMemory(MAX_FULL_BODIES * self.max_bytes)
        # so few that images being decoded cannot fill the memory, however many requests there are
        self.threads = Threads(min(4, os.cpu_count() or 1), "images")
        self.batcher = Batcher(handler.forward, limits.max_batch_size, limits.max_wait_ms)
        # nor can those that wait for the model, of which one request brings up to 32
        self.room = asyncio.Semaphore(4 * limits.max_batch_size)
        self.checking: asyncio.Task | None = None

    @contextlib.asynccontextmanager
    async def running(self):
        """While the application is up."""
        self.threads.start()
        work = asyncio.create_task(self.batcher.work())
        try:
            yield
        finally:
            self.threads.stop()
            work.cancel()
            await asyncio.wait([work])

    async def respond(self, request: Request, answer: Callable[[Request, bytes], Awaitable[Response]]) -> Response:
        """The answer to one request, or what is wrong with it; `answer` is given the body, too."""
        if self.is_full():
            return too_many_requests()
        self.requests += 1
        try:
            async with (
                asyncio.timeout(self.limits.timeout_s),
                body_of(request, self.max_bytes, self.bodies) as body,
            ):
                return await answer(request, body)
        except RequestError as error:
            too_large = isinstance(error, BodyTooLargeError) or isinstance(error.__cause__, ImageTooLargeError)
            return failure(413 if too_large else 400, str(error))
        except NoMemoryError:
            return too_many_requests()
        except TimeoutError:
            return failure(504, f"The answer took longer than {self.limits.timeout_s:g} seconds.")
        except ClientDisconnect:
            return failure(400, "The request was not sent to its end.")
        except asyncio.CancelledError:  # by the server, when its time to stop gracefully is over
            return failure(503, "The server stops.")
        finally:
            self.requests -= 1

    def is_full(self) -> bool:
        """Whether another request would have to wait too long. A thread cannot be stopped: its place stays taken."""
        taken = self.requests + self.threads.given_up() + self.batcher.given_up()
        return taken >= self.limits.max_requests or self._stuck() is not None

    def is_at_work(self) -> bool:
        """Whether a thread computes."""
        return bool(self.threads.at_work or self.batcher.thread.at_work)

    def state(self) -> dict:
        """What is in work, for `/health`."""
        decoding, forward = self.threads.seconds(), self.batcher.thread.seconds()
        return {
            "requests": self.requests,
            "threads": {"at_work": len(decoding), "of": self.threads.number, "longest_s": longest(decoding)},
            "model_worker": {
                "alive": self.batcher.alive,
                "at_work_s": longest(forward),
                "restarts": self.batcher.restarts,
            },
        }

    async def trouble(self) -> str | None:
        """Why requests are not answered now, if so. After an error of the model, it is asked again."""
        if not self.batcher.alive:
            return "The model's worker is not alive."
        stuck = self._stuck()
        if stuck is None and self.batcher.failed:
            # one at a time, however many ask
            if self.checking is None or self.checking.done():
                self.checking = asyncio.create_task(self._check())
            await asyncio.wait([self.checking], timeout=STUCK_S)
            if self.batcher.failed:
                return "The last forward pass failed, and one for this check did not succeed; the server's log has it."
        return stuck

    def _stuck(self) -> str | None:
        at_work = self.threads.seconds()
        if self.threads.given_up() == self.threads.number and at_work and at_work[-1] > STUCK_S:
            return (
                f"All {self.threads.number} threads are at images of requests that timed out, the first for "
                f"{at_work[0]:.0f} seconds."
            )
        at_work = self.batcher.thread.seconds()
        if self.batcher.hopeless() and at_work and at_work[0] > STUCK_S:
            return f"The model is at images of requests that timed out, for {at_work[0]:.0f} seconds."
        return None

    async def _check(self):
        try:
            image = await self.threads(self.handler.prepare, self.handler.first_image())
            await self.batcher(image)
        except Exception as error:
            logger.error("The model fails: %s", error)

    async def predict(self, request: Request, body: bytes, task: str | None) -> JSONResponse:
        """What is in images and where, in the form of a task."""
        data, images, parameters = await self.threads(self._read, request, body, task)
        outputs = await gather(self._localize(image) for image in images)
        answers = await gather(self.threads(self.handler.answer, output, parameters) for output in outputs)
        # JSON is made in a thread too: masks can be megabytes
        return await self.threads(JSONResponse, answers if isinstance(data["inputs"], list) else answers[0])

    async def map(self, request: Request, body: bytes) -> Response:
        """The localization map of one image."""
        image, wanted = await self.threads(self._read_for_map, request, body)
        output = await self._localize(image)
        return await self.threads(map_response, self.handler, output, wanted)

    def _read(self, request: Request, body: bytes, task: str | None) -> tuple[dict, list, dict]:
        data = with_task(request_data(request, body), task)
        images, parameters = self.handler.read(data)
        return data, images, parameters

    def _read_for_map(self, request: Request, body: bytes) -> tuple[object, str]:
        return read_map_request(request_data(request, body), self.handler)

    async def _localize(self, image) -> dict:
        async with self.room:
            return await self.batcher(await self.threads(self.handler.prepare, image))


def longest(seconds: list[float]) -> float:
    return round(max(seconds, default=0.0), 1)


def request_data(request: Request, body: bytes) -> dict:
    """What was sent, with the parameters of the address."""
    data = parse_body(body, request.headers.get("content-type", ""))
    # not `request.url`, which is parsed with whatever host the client names
    return with_parameters(data, parse_query(request.scope["query_string"]), "The address")


def with_task(data: dict, task: str | None) -> dict:
    """The request with the task that its address names."""
    if task is None or not isinstance(data, dict) or not isinstance(data.get("parameters") or {}, dict):
        return data
    parameters = data.get("parameters") or {}
    if parameters.get("task", task) != task:
        raise RequestError(f"The address asks for {task} and `parameters` for another task; ask for one.")
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
    return JSONResponse({"error": clean_message(message)}, status_code=status, headers=headers)


def too_many_requests() -> JSONResponse:
    # not 503, at which the Hub's JavaScript client tries again at once and for ever
    return failure(429, "Too many requests at a time; try again later.", {"Retry-After": "1"})


async def on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
    # not `request.url`, which is parsed with whatever host the client names
    return failure(error.status_code, f"{error.detail}: {request.method} {request.scope['path']}", error.headers)


async def on_exception(request: Request, error: Exception) -> JSONResponse:
    # what went wrong is logged, and is nobody else's business
    return failure(500, "Internal error; the server's log has it.")


__all__ = ["Limits", "Service", "create_app"]
