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
"""The application inside the test's process: limits that take a slow or a broken model to reach."""

import asyncio
import base64
import time

import httpx
import pytest
from sat_testing import tiny_model
from serving_testing import client_of, noise_image, png, save_tiny_localizer

from transformers_sat import SATImageProcessor, WeaklySupervisedLocalizationPipeline
from transformers_sat.serving import Limits, create_app, serve
from transformers_sat.serving.server import is_loopback, model_name


class SlowLocalizer(WeaklySupervisedLocalizationPipeline):
    """Takes its time, remembers the sizes of its batches, and breaks when it is told; but not for the first image."""

    seconds = 0.0
    prepare_seconds = 0.0
    error: BaseException | None = None

    def preprocess(self, image):
        time.sleep(self.prepare_seconds)
        return super().preprocess(image)

    def forward(self, model_inputs):
        self.batch_sizes.append(len(model_inputs["pixel_values"]))
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return super().forward(model_inputs)


@pytest.fixture
def localizer():
    size = {"height": 32, "width": 32}
    localizer = SlowLocalizer(model=tiny_model(), image_processor=SATImageProcessor(size=size), device="cpu")
    localizer.batch_sizes = []
    return localizer


def post(app, number: int) -> list[httpx.Response]:
    """So many requests at a time, and one more when they are answered."""

    async def main():
        async with client_of(app) as client:
            content = png(noise_image(0))
            first = await asyncio.gather(*(client.post("/", content=content) for _ in range(number)))
            return [*first, await client.post("/", content=content)]

    return asyncio.run(main())


def test_batches(localizer):
    """Requests of one moment share forward passes, no larger than allowed; the one that comes later has its own."""
    responses = post(create_app(localizer, limits=Limits(max_batch_size=4, max_wait_ms=5000)), 8)
    assert [response.status_code for response in responses] == [200] * 9
    # the first image comes before the server is up
    assert localizer.batch_sizes == [1, 4, 4, 1]


def test_too_many_requests(localizer):
    app = create_app(localizer, limits=Limits(max_requests=2))
    localizer.seconds = 0.3
    *responses, later = post(app, 5)
    statuses = sorted(response.status_code for response in responses)
    assert statuses == [200, 200, 429, 429, 429]
    refused = next(response for response in responses if response.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert "Too many requests" in refused.json()["error"]
    assert later.status_code == 200


def test_time_is_limited(localizer):
    app = create_app(localizer, limits=Limits(timeout_s=0.4, max_batch_size=1))
    localizer.seconds = 1.0
    *responses, later = post(app, 3)
    assert [response.status_code for response in [*responses, later]] == [504] * 4
    assert "longer than 0.4 seconds" in responses[0].json()["error"]
    # nobody waited any more for what was still in the queue
    assert len(localizer.batch_sizes) < 5


def test_a_body_that_does_not_come(localizer):
    """A client that stalls does not hold its place longer than others."""

    async def stalling():
        yield b"begin"
        await asyncio.sleep(3600)

    async def main():
        # the limit is the next request's too, which has real work to do
        async with client_of(create_app(localizer, limits=Limits(timeout_s=4, max_requests=1))) as client:
            stalled = await client.post("/", content=stalling())
            return stalled, await client.post("/", content=png(noise_image(0)))

    stalled, later = asyncio.run(main())
    assert (stalled.status_code, later.status_code) == (504, 200)


def test_one_bad_image_of_several(localizer):
    """The whole request is refused, and the good image's work is given up or done without harm."""

    async def main():
        good = base64.b64encode(png(noise_image(0))).decode()
        async with client_of(create_app(localizer)) as client:
            mixed = await client.post("/", json={"inputs": [good, "AAAA", good]})
            return mixed, await client.post("/", json={"inputs": [good, good]})

    mixed, later = asyncio.run(main())
    assert (mixed.status_code, later.status_code) == (400, 200)
    assert "cannot be decoded" in mixed.json()["error"]
    assert len(later.json()) == 2


def test_a_model_that_fails(localizer):
    """The server's own errors are 500 and keep their words for the log."""
    app = create_app(localizer)
    localizer.error = ValueError("a secret of the server")
    responses = post(app, 2)
    assert [response.status_code for response in responses] == [500] * 3
    assert "secret" not in responses[0].text
    assert "Internal error" in responses[0].json()["error"]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, StopIteration])
def test_health_after_errors_of_the_model(localizer, error):
    """Whatever the model raises, requests get 500, `/health` says that it fails, and it is asked again until it works."""

    async def main():
        app = create_app(localizer, "sat")
        async with client_of(app) as client:
            content = png(noise_image(0))
            localizer.error = error("a secret of the server")
            failed = await asyncio.gather(*(client.post("/", content=content) for _ in range(3)))
            ill = await client.get("/health")
            localizer.error = None
            return [*failed, ill, await client.get("/health"), await client.post("/", content=content)]

    *failed, ill, well, answered = asyncio.run(main())
    assert [response.status_code for response in failed] == [500] * 3
    assert ill.status_code == 503
    assert ill.json()["status"] == "unhealthy" and "last forward pass failed" in ill.json()["reason"]
    assert "secret" not in ill.text
    assert (well.status_code, well.json()["status"], answered.status_code) == (200, "ok", 200)


def test_a_worker_that_ended_is_replaced(localizer):
    """Who waited for it gets an answer, others theirs, and `/health` tells it."""

    async def main():
        app = create_app(localizer)
        batcher = app.state.service.batcher
        async with client_of(app) as client:
            content = png(noise_image(0))
            localizer.seconds = 0.5
            waiting = asyncio.create_task(client.post("/", content=content))
            while not batcher.thread.at_work:
                await asyncio.sleep(0.01)
            batcher.worker.cancel()
            return [await waiting, await client.post("/", content=content), await client.get("/health")]

    ended, answered, health = asyncio.run(main())
    assert [ended.status_code, answered.status_code, health.status_code] == [500, 200, 200]
    worker = health.json()["model_worker"]
    assert (worker["alive"], worker["restarts"]) == (True, 1)


def test_health_without_a_worker(localizer):
    """An application that was never started, or is stopped, is not healthy."""

    async def main():
        app = create_app(localizer)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
            before = await client.get("/health")
            async with app.router.lifespan_context(app):
                await asyncio.sleep(0)
                during = await client.get("/health")
            return before, during, await client.get("/health")

    before, during, after = asyncio.run(main())
    assert [response.status_code for response in (before, during, after)] == [503, 200, 503]
    assert "not alive" in before.json()["reason"]


def test_threads_at_work_keep_their_places(localizer, monkeypatch):
    """A request that timed out is in work while its image is: its thread cannot be stopped. `/health` shows it."""
    monkeypatch.setattr("transformers_sat.serving.app.STUCK_S", 1.0)

    async def main():
        app = create_app(localizer, limits=Limits(timeout_s=0.3, max_requests=2))
        service = app.state.service
        localizer.prepare_seconds = 3.0
        async with client_of(app) as client:
            content = png(noise_image(0))
            # as many as there are threads
            service.limits.max_requests = service.threads.number
            first = await asyncio.gather(*(client.post("/", content=content) for _ in range(service.threads.number)))
            second = await client.post("/", content=content)
            busy = await client.get("/health")
            # with room for more requests, there is none while all threads are at what nobody waits for
            service.limits.max_requests = 100
            waited = await client.post("/", content=content)
            await asyncio.sleep(1.5)
            third, stuck = await client.post("/", content=content), await client.get("/health")
            localizer.prepare_seconds = 0.0
            while service.threads.at_work:
                await asyncio.sleep(0.1)
            return first, second, busy, waited, third, stuck, await client.post("/", content=content), service

    first, second, busy, waited, third, stuck, later, service = asyncio.run(main())
    number = service.threads.number
    assert [response.status_code for response in first] == [504] * number
    assert [second.status_code, waited.status_code, third.status_code, later.status_code] == [429, 504, 429, 200]
    assert busy.status_code == 200
    threads = busy.json()["threads"]
    assert (threads["at_work"], threads["of"]) == (number, number) and threads["longest_s"] > 0
    assert busy.json()["requests"] == 0
    assert stuck.status_code == 503
    assert f"All {number} threads are at images of requests that timed out" in stuck.json()["reason"]


def test_a_model_at_work_keeps_its_place(localizer, monkeypatch):
    monkeypatch.setattr("transformers_sat.serving.app.STUCK_S", 1.0)

    async def main():
        app = create_app(localizer, limits=Limits(timeout_s=0.3))
        localizer.seconds = 3.0
        async with client_of(app) as client:
            content = png(noise_image(0))
            first = await client.post("/", content=content)
            await asyncio.sleep(1.5)
            return first, await client.post("/", content=content), await client.get("/health")

    first, second, health = asyncio.run(main())
    assert [first.status_code, second.status_code, health.status_code] == [504, 429, 503]
    assert "The model is at images of requests that timed out" in health.json()["reason"]


def test_images_in_memory_are_few(localizer):
    """However many images the requests hold, few are prepared and wait for the model."""
    prepared = []

    async def main():
        app = create_app(localizer, limits=Limits(max_batch_size=2, max_wait_ms=0))
        batcher = app.state.service.batcher
        localizer.seconds = 0.05
        image = base64.b64encode(png(noise_image(0))).decode()
        async with client_of(app) as client:
            answers = [asyncio.create_task(client.post("/", json={"inputs": [image] * 20})) for _ in range(3)]
            while not all(answer.done() for answer in answers):
                prepared.append(batcher.queue.qsize())
                await asyncio.sleep(0.01)
            return [len((await answer).json()) for answer in answers]

    assert asyncio.run(main()) == [20] * 3
    assert 1 < max(prepared) <= 8


def test_bodies_in_memory_are_few(localizer):
    """Bodies whose end does not come do not fill the memory; who has no room is turned away."""

    async def stalling():
        yield b"0" * 90_000
        await asyncio.sleep(20)

    async def main():
        app = create_app(localizer, limits=Limits(max_request_mb=0.1, timeout_s=3))
        async with client_of(app) as client:
            stalled = [asyncio.create_task(client.post("/", content=stalling())) for _ in range(40)]
            await asyncio.sleep(1)
            taken = app.state.service.bodies.taken
            statuses = [response.status_code for response in await asyncio.gather(*stalled)]
            return taken, statuses, await client.post("/", content=png(noise_image(0)))

    taken, statuses, later = asyncio.run(main())
    assert taken <= 32 * 100_000
    assert sorted(statuses) == [429] * (40 - taken // 90_000) + [504] * (taken // 90_000)
    assert later.status_code == 200


@pytest.mark.parametrize("host", ["[", "a b", "\u00e4", "x" * 3000, "http://[::1", "evil.example/?"])
@pytest.mark.parametrize("path", ["/nowhere/at/all", "/object-detection/", "/" + "x" * 5000, "/%00", "/\u00e4", "/?%"])
def test_hosts_and_paths_of_no_sense(localizer, host, path):
    async def main():
        async with client_of(create_app(localizer)) as client:
            return await client.get(path, headers={"host": host.encode("latin-1")})

    response = asyncio.run(main())
    assert response.status_code in (404, 405)
    assert 10 < len(response.json()["error"]) <= 400


@pytest.mark.parametrize("name", ["max_batch_size", "max_request_mb", "max_pixels", "max_requests", "timeout_s"])
def test_limits_are_positive(name):
    with pytest.raises(ValueError, match=f"`{name}` must be positive, got 0"):
        Limits(**{name: 0})
    with pytest.raises(ValueError, match="`max_wait_ms` must be positive, got -1"):
        Limits(max_wait_ms=-1)


@pytest.mark.parametrize(
    "host, expected",
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("example.org", False),
    ],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected


@pytest.mark.parametrize("host, warned", [("0.0.0.0", True), ("127.0.0.1", False)])
def test_warns_when_others_can_reach_it(tmp_path, monkeypatch, capsys, host, warned):
    """The server itself is left out: nothing here may listen to the network."""
    started = []
    monkeypatch.setattr("uvicorn.Server.run", lambda server: started.append(server.config.host))
    monkeypatch.setattr("signal.signal", lambda *arguments: None)
    serve(str(save_tiny_localizer(tmp_path / "model")), host=host)
    assert started == [host]
    assert ("whoever reaches this machine can send images" in capsys.readouterr().err) is warned


def test_model_name(tmp_path, monkeypatch):
    (tmp_path / "sat").mkdir()
    assert model_name(str(tmp_path / "sat")) == "sat"
    monkeypatch.chdir(tmp_path / "sat")
    assert model_name(".") == "sat"
    assert model_name("org/sat-deit-s-cub") == "org/sat-deit-s-cub"
