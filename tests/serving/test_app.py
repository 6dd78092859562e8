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
from serving_testing import noise_picture, png, save_tiny_localizer

from transformers_sat import SATImageProcessor, WeaklySupervisedLocalizationPipeline
from transformers_sat.serving import Limits, create_app, serve
from transformers_sat.serving.command import is_loopback, model_name


class SlowLocalizer(WeaklySupervisedLocalizationPipeline):
    """Takes its time, remembers the sizes of its batches, and breaks when it is told."""

    seconds = 0.0
    broken = False

    def forward(self, model_inputs):
        self.batch_sizes.append(len(model_inputs["pixel_values"]))
        time.sleep(self.seconds)
        if self.broken:
            raise ValueError("a secret of the server")
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
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://x") as client,
        ):
            content = png(noise_picture(0))
            first = await asyncio.gather(*(client.post("/", content=content) for _ in range(number)))
            return [*first, await client.post("/", content=content)]

    return asyncio.run(main())


def test_batches(localizer):
    """Requests of one moment share forward passes, no larger than allowed; the one that comes later has its own."""
    responses = post(create_app(localizer, limits=Limits(max_batch_size=4, max_wait_ms=5000)), 8)
    assert [response.status_code for response in responses] == [200] * 9
    assert localizer.batch_sizes == [4, 4, 1]


def test_too_many_requests(localizer):
    localizer.seconds = 0.3
    *responses, later = post(create_app(localizer, limits=Limits(max_requests=2)), 5)
    statuses = sorted(response.status_code for response in responses)
    assert statuses == [200, 200, 429, 429, 429]
    refused = next(response for response in responses if response.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert "Too many requests" in refused.json()["error"]
    assert later.status_code == 200


def test_time_is_limited(localizer):
    localizer.seconds = 1.0
    *responses, later = post(create_app(localizer, limits=Limits(timeout_s=0.4, max_batch_size=1)), 3)
    assert [response.status_code for response in [*responses, later]] == [504] * 4
    assert "longer than 0.4 seconds" in responses[0].json()["error"]
    # nobody waited any more for what was still in the queue
    assert len(localizer.batch_sizes) < 4


def test_a_body_that_does_not_come(localizer):
    """A client that stalls does not hold its place longer than others."""

    async def stalling():
        yield b"begin"
        await asyncio.sleep(3600)

    async def main():
        # the limit is the next request's too, which has real work to do
        app = create_app(localizer, limits=Limits(timeout_s=4, max_requests=1))
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://x") as client,
        ):
            stalled = await client.post("/", content=stalling())
            return stalled, await client.post("/", content=png(noise_picture(0)))

    stalled, later = asyncio.run(main())
    assert (stalled.status_code, later.status_code) == (504, 200)


def test_one_bad_picture_of_several(localizer):
    """The whole request is refused, and the good picture's work is given up or done without harm."""

    async def main():
        app = create_app(localizer)
        transport = httpx.ASGITransport(app=app)
        good = base64.b64encode(png(noise_picture(0))).decode()
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://x") as client,
        ):
            mixed = await client.post("/", json={"inputs": [good, "AAAA", good]})
            return mixed, await client.post("/", json={"inputs": [good, good]})

    mixed, later = asyncio.run(main())
    assert (mixed.status_code, later.status_code) == (400, 200)
    assert "cannot be decoded" in mixed.json()["error"]
    assert len(later.json()) == 2


def test_a_model_that_fails(localizer):
    """The server's own errors are 500 and keep their words for the log."""
    localizer.broken = True
    responses = post(create_app(localizer), 2)
    assert [response.status_code for response in responses] == [500] * 3
    assert "secret" not in responses[0].text
    assert "Internal error" in responses[0].json()["error"]


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
    assert ("whoever reaches this machine can send pictures" in capsys.readouterr().err) is warned


def test_model_name(tmp_path, monkeypatch):
    (tmp_path / "sat").mkdir()
    assert model_name(str(tmp_path / "sat")) == "sat"
    monkeypatch.chdir(tmp_path / "sat")
    assert model_name(".") == "sat"
    assert model_name("org/sat-deit-s-cub") == "org/sat-deit-s-cub"
