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
"""Pages of other origins: who may read answers and errors, and who may not."""

import asyncio

import pytest
from sat_testing import tiny_model
from serving_testing import client_of, noise_image, png

from transformers_sat import SATImageProcessor, WeaklySupervisedLocalizationPipeline
from transformers_sat.cli import main as command
from transformers_sat.serving import create_app
from transformers_sat.serving.origins import check_origins


PAGE, OTHER = "https://example.org", "https://example.org.evil.test"
ALLOWED = "access-control-allow-origin"


class Breakable(WeaklySupervisedLocalizationPipeline):
    broken = False

    def forward(self, model_inputs):
        if self.broken:
            raise ValueError("broken")
        return super().forward(model_inputs)


@pytest.fixture(scope="module")
def answers():
    """Of each kind of request by each page, under the origins that are open: the status and the header."""
    size = {"height": 32, "width": 32}
    localizer = Breakable(model=tiny_model(), image_processor=SATImageProcessor(size=size), device="cpu")
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-a"}

    async def of(origins, page):
        localizer.broken = False
        found = {}
        async with client_of(create_app(localizer, "sat", origins=origins)) as client:
            headers = {"origin": page}
            content = png(noise_image(0))
            found["image"] = await client.post("/", content=content, headers=headers)
            found["map"] = await client.post("/map", content=content, headers=headers)
            found["health"] = await client.get("/health", headers=headers)
            found["wrong"] = await client.post("/", content=b"x", headers=headers)
            found["nowhere"] = await client.get("/no/where", headers=headers)
            found["preflight"] = await client.options("/", headers=headers | preflight)
            localizer.broken = True
            found["error"] = await client.post("/", content=content, headers=headers)
        return found

    async def main():
        return {
            (*origins, page): await of(origins, page)
            for origins, page in (
                ((), PAGE),
                ((PAGE, "http://localhost:3000"), PAGE),
                ((PAGE, "http://localhost:3000"), OTHER),
                (("*",), OTHER),
            )
        }

    return asyncio.run(main())


STATUS = {"image": 200, "map": 200, "health": 200, "wrong": 400, "nowhere": 404, "error": 500}


def test_nobody_by_default(answers):
    found = answers[PAGE,]
    assert {name: found[name].status_code for name in STATUS} == STATUS
    assert not any(ALLOWED in answer.headers for answer in found.values())
    assert found["preflight"].status_code == 405


def test_an_open_origin(answers):
    """Each answer says so, errors of the server itself among them."""
    found = answers[PAGE, "http://localhost:3000", PAGE]
    assert {name: found[name].status_code for name in STATUS} == STATUS
    for answer in found.values():
        assert answer.headers[ALLOWED] == PAGE and "origin" in answer.headers["vary"].lower()
    preflight = found["preflight"]
    assert preflight.status_code == 200
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "content-type" in preflight.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in preflight.headers


def test_another_origin(answers):
    """An origin that only begins alike is another one."""
    found = answers[PAGE, "http://localhost:3000", OTHER]
    assert not any(ALLOWED in answer.headers for answer in found.values())
    assert found["preflight"].status_code == 400


def test_all_origins(answers):
    assert {answer.headers[ALLOWED] for answer in answers["*", OTHER].values()} == {"*"}


@pytest.mark.parametrize(
    "origin",
    ["", "example.org", "https://example.org/", "https://example.org/page", "https://*.example.org", "ftp://example.org",
     "https://Example.org", "https://example.org:443", "https://example.org:x", "https://a@example.org", "null",
     "https://example.org\n", "https://", "https://[::1", "https://ex ample.org"],
)  # fmt: skip
def test_what_is_no_origin(origin):
    with pytest.raises(ValueError, match="`cors_origin` must be an origin"):
        check_origins([origin])


@pytest.mark.parametrize("origin", ["*", "https://example.org", "http://localhost:3000", "http://[::1]:8000"])
def test_origins(origin):
    assert check_origins([origin]) == [origin]


def test_a_wrong_origin_stops_the_command_at_once(capsys):
    words = ["--cors_origin", "https://example.org", "--cors_origin", "example.org"]
    assert command(["serve", "no/such-model", *words]) == 1
    assert "got 'example.org'" in capsys.readouterr().err
