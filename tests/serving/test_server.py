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
"""`transformers-sat serve` as its users meet it: a process, HTTP, the Hub's own client, and hostile input."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import threading
import time

import httpx
import huggingface_hub.constants
import numpy as np
import psutil
import pytest
from hostile_images import png_without_pixels
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from serving_testing import noise_image, png, save_tiny_localizer, served

from transformers_sat import SATImageProcessor
from transformers_sat.safe_loading import load_localizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_localizer(tmp_path_factory.mktemp("models") / "tiny-sat")


@pytest.fixture(scope="module")
def localizer(folder):
    return load_localizer(folder)


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "server.log"
    with served(folder, log, "--max_request_mb", "2", "--timeout_s", "120") as server:
        yield server
        # whatever the tests sent: it is alive, nothing went wrong inside, and it stops when interrupted
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=30) == 0
        assert "Traceback" not in log.read_text(encoding="utf-8")


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture
def hub_client(server, monkeypatch):
    # the tests run offline; this client's "Hub" is the server
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return lambda path="": InferenceClient(model=server.url + path, timeout=60)


def boxes(found) -> list[tuple]:
    return [(entry["label"], entry["box"]) for entry in found]


def as_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


# The Hub's client.


@pytest.mark.parametrize("path", ["/", "/object-detection", "/pipeline/object-detection", "/models/tiny-sat"])
def test_object_detection(hub_client, localizer, path):
    image = noise_image(1)
    found = hub_client(path).object_detection(png(image))
    assert boxes(found) == boxes(localizer(image))
    assert found[0].score == pytest.approx(localizer(image)[0]["score"], abs=1e-5)


def test_object_detection_with_the_clients_threshold(hub_client, localizer):
    """The client's `threshold` is a score; the box is the pipeline's at the model's own cut."""
    image = noise_image(1)
    score = localizer(image)[0]["score"]
    detector = hub_client()
    assert boxes(detector.object_detection(png(image), threshold=score - 0.05)) == boxes(localizer(image))
    assert detector.object_detection(png(image), threshold=score + 0.05) == []


def test_image_segmentation(hub_client, localizer):
    image = noise_image(2)
    segmenter = hub_client("/image-segmentation")
    for options, threshold in (({}, None), ({"mask_threshold": 0.8, "subtask": "instance"}, 0.8)):
        (segment,), (expected,) = (
            segmenter.image_segmentation(png(image), **options),
            localizer(image, localization_threshold=threshold),
        )
        assert segment.label == expected["label"]
        assert segment.score == pytest.approx(expected["score"], abs=1e-5)
        assert np.array_equal(np.asarray(segment.mask), np.asarray(expected["mask"]))


def test_image_classification(hub_client, localizer):
    image = noise_image(3)
    expected = localizer(image, top_k=5)
    classifier = hub_client("/models/tiny-sat/pipeline/image-classification")
    found = classifier.image_classification(png(image))
    assert [entry.label for entry in found] == [entry["label"] for entry in expected]
    assert [entry.score for entry in found] == pytest.approx([entry["score"] for entry in expected], abs=1e-5)
    assert classifier.image_classification(png(image), top_k=2) == found[:2]


def test_the_client_shows_our_errors(hub_client):
    with pytest.raises(HfHubHTTPError, match="cannot be decoded") as raised:
        hub_client().object_detection(b"no image")
    assert raised.value.response.status_code == 400


# The rest of the contract.


def test_parameters_and_batches(client, localizer):
    images = [noise_image(4, 40, 60), noise_image(5)]
    parameters = {"localization_threshold": 0.8, "multiple_boxes": True, "top_k": 2}
    body = {"inputs": [as_base64(png(image)) for image in images], "parameters": parameters}
    response = client.post("/", json=body)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    for found, image in zip(response.json(), images, strict=True):
        assert boxes(found) == boxes(localizer(image, localization_threshold=0.8, multiple_boxes=True, top_k=2))


def test_task_in_the_parameters(client):
    body = {"inputs": as_base64(png(noise_image(6))), "parameters": {"task": "image-classification"}}
    assert len(client.post("/", json=body).json()) == 5
    assert client.post("/image-classification", json=body).json() == client.post("/", json=body).json()
    response = client.post("/object-detection", json=body)
    assert response.status_code == 400
    assert "another task" in response.json()["error"]


def test_health(client):
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "model": "tiny-sat",
        "tasks": ["object-detection", "image-segmentation", "image-classification"],
        "requests": 0,
        "threads": {"at_work": 0, "of": min(4, os.cpu_count()), "longest_s": 0.0},
        "model_worker": {"alive": True, "at_work_s": 0.0, "restarts": 0},
    }


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/", 405),
        ("POST", "/health", 404),
        ("POST", "/depth-estimation", 404),
        ("POST", "/models/other/model", 404),
        ("POST", "/../../etc/passwd", 404),
        ("GET", "/static/../../etc/passwd", 404),
    ],
)
def test_other_addresses(client, method, path, status):
    response = client.request(method, path, content=png(noise_image(0)) if method == "POST" else None)
    assert response.status_code == status
    assert isinstance(response.json()["error"], str)


# Hostile input.


def json_body(**entries) -> bytes:
    return json.dumps(entries).encode()


JSON = {"content-type": "application/json"}
WRONG_REQUESTS = {
    "zero bytes": (b"", {}, 400),
    "zero bytes of JSON": (b"", JSON, 400),
    "bad JSON": (b'{"inputs": ', JSON, 400),
    "no JSON object": (b"[]", JSON, 400),
    "deep JSON": (b"[" * 200_000 + b"]" * 200_000, JSON, 400),
    "deep parameters": (b'{"inputs": "", "parameters": ' + b"[" * 1000 + b"]" * 1000 + b"}", JSON, 400),
    "UTF-16": ('{"inputs": "x"}'.encode("utf-16"), JSON, 400),
    "unknown parameter": (json_body(inputs=as_base64(png(noise_image(0))), parameters={"a": 1}), JSON, 400),
    "not a number": (b'{"inputs": "x", "parameters": {"threshold": NaN}}', JSON, 400),
    "an address": (json_body(inputs="http://127.0.0.1/secret.png"), JSON, 400),
    "a file": (json_body(inputs="file:///etc/passwd"), JSON, 400),
    "no base64": (json_body(inputs="%%%"), JSON, 400),
    "too many images": (json_body(inputs=["AAAA"] * 1000), JSON, 400),
    "no image": (b"no image", {"content-type": "image/png"}, 400),
    "truncated image": (png(noise_image(0))[:-100], {"content-type": "image/png"}, 400),
    "truncated image in JSON": (json_body(inputs=as_base64(png(noise_image(0))[:-100])), JSON, 400),
    "form": (b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 400),
    "25 megapixels and one": (png_without_pixels(25_000_001, 1), {}, 413),
    "100 megapixels": (png_without_pixels(10_000, 10_000), {}, 413),
    "100 megapixels in JSON": (json_body(inputs=as_base64(png_without_pixels(10_000, 10_000))), JSON, 413),
    "4 gigapixels": (png_without_pixels(65_535, 65_535), {}, 413),
    "3 megabytes": (b"\0" * 3_000_000, {}, 413),
}


@pytest.mark.parametrize("name", WRONG_REQUESTS)
def test_wrong_requests(client, name):
    content, headers, status = WRONG_REQUESTS[name]
    response = client.post("/", content=content, headers=headers)
    assert response.status_code == status
    (message,) = response.json().values()
    assert isinstance(message, str) and 10 < len(message) < 500


def test_body_of_unknown_length(client):
    """Sent in chunks, without a length: read up to the limit and no further."""
    response = client.post("/", content=(b"\0" * 100_000 for _ in range(30)))
    assert response.status_code == 413
    content = png(noise_image(0))
    response = client.post("/", content=(content[start : start + 100] for start in range(0, len(content), 100)))
    assert response.status_code == 200


def test_connections_that_break(server, client):
    address = (httpx.URL(server.url).host, httpx.URL(server.url).port)
    for request in (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc", b"\x16\x03\x01 no HTTP\r\n\r\n"):
        with socket.create_connection(address) as connection:
            connection.sendall(request)
    deadline = time.monotonic() + 20
    while (requests := client.get("/health").json()["requests"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert requests == 0


# Load.


async def post_all(url: str, requests: list[tuple[bytes, dict]]) -> list[httpx.Response]:
    """All at once, each on a connection of its own."""
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=httpx.Limits(max_connections=None)) as client:
        return await asyncio.gather(*(client.post("/", content=body, headers=headers) for body, headers in requests))


@pytest.mark.slow
def test_load(server, localizer):
    """200 requests at a time: each gets its own answer; wrong ones between them their errors; the memory stays flat."""
    images = [noise_image(seed, 40 + seed, 60) for seed in range(20)]
    expected = [boxes(localizer(image)) for image in images]
    good = [(png(image), {}) for image in images]
    wrong = [(body, headers) for body, headers, _ in WRONG_REQUESTS.values()]
    statuses = [status for *_, status in WRONG_REQUESTS.values()]
    process = psutil.Process(server.process.pid)
    memory = []
    for number in range(5):
        if number == 1:
            responses = asyncio.run(post_all(server.url, wrong * 4 + good))
            assert [response.status_code for response in responses] == statuses * 4 + [200] * 20
        responses = asyncio.run(post_all(server.url, good * 10))
        assert [response.status_code for response in responses] == [200] * 200
        assert [boxes(response.json()) for response in responses] == expected * 10
        memory.append(process.memory_info().rss / 1e6)
    # The first rounds fill pools and caches, on a machine of many cores the third too; what leaks grows in each round.
    assert min(after - before for before, after in zip(memory[1:], memory[2:], strict=False)) < 10, memory
    assert httpx.get(f"{server.url}/health").json()["requests"] == 0


# The process.


def listening_addresses(process: psutil.Process) -> set[str]:
    return {connection.laddr.ip for connection in process.net_connections() if connection.status == "LISTEN"}


def test_listens_at_this_machine_alone(server):
    assert listening_addresses(psutil.Process(server.process.pid)) == {"127.0.0.1"}
    assert "whoever reaches this machine" not in server.log.read_text(encoding="utf-8")


def test_graceful_stop(folder, tmp_path, localizer):
    """A request that is under way when the signal comes is answered; the exit status is 0."""
    # long enough in the queue for the signal to come before the answer
    with served(folder, tmp_path / "log", "--max_wait_ms", "6000") as server:
        content = png(noise_image(0))
        responses = []
        request = threading.Thread(
            target=lambda: responses.append(httpx.post(server.url, content=content, timeout=60))
        )
        request.start()
        while httpx.get(f"{server.url}/health").json()["requests"] == 0:
            assert request.is_alive(), responses
            time.sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        request.join()
        assert server.process.wait(timeout=30) == 0
    (response,) = responses
    assert response.status_code == 200
    assert boxes(response.json()) == boxes(localizer(noise_image(0)))
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


# Stops, whatever is at work.

# In the server's process, before it starts: decoding and the model take as long as the test says.
SLOW = """
import time
import torch
from transformers_sat import SATForWeaklySupervisedLocalization, WeaklySupervisedLocalizationPipeline

def slowly(cls, name, busy):
    method = getattr(cls, name)
    calls = []

    def slow(*arguments, **keywords):
        calls.append(0)
        # the first image is answered at once
        if len(calls) > 1:
            busy()
        return method(*arguments, **keywords)

    setattr(cls, name, slow)

def compute():
    matrix = torch.rand(300, 300)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        matrix = (matrix @ matrix).softmax(-1)
"""
SLOW_PARTS = {
    "decoding": "slowly(WeaklySupervisedLocalizationPipeline, 'preprocess', compute)",
    "the model": "slowly(SATForWeaklySupervisedLocalization, 'forward', compute)",
    "nothing": "",
}


@pytest.mark.slow
@pytest.mark.parametrize("part", SLOW_PARTS)
def test_stops_in_time(folder, tmp_path, part):
    """
    A stop ends in its limit, with exit status 0: with threads at work in Python and outside, clients that stall in the
    head, in the body and in reading the answer, and a connection that is kept.
    """
    with served(folder, tmp_path / "log", before=SLOW + SLOW_PARTS[part]) as server:
        address = (httpx.URL(server.url).host, httpx.URL(server.url).port)
        content = png(noise_image(0))
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content)
        health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        sent = [head + content] * 4 + [head + content[:100]] * 4 + [head[:20], b"", health, health * 2000]
        with contextlib.ExitStack() as stack:
            for data in sent:
                connection = stack.enter_context(socket.create_connection(address))
                connection.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    connection.sendall(data)
            if part != "nothing":
                state = httpx.get(f"{server.url}/health").json()
                while not (state["threads"]["at_work"] or state["model_worker"]["at_work_s"]):
                    time.sleep(0.1)
                    state = httpx.get(f"{server.url}/health").json()
            start = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(timeout=60) == 0
            assert time.monotonic() - start < 25
    log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log
    assert len(log) < 10_000


@pytest.mark.slow
def test_stops_while_hostile_json_is_read(folder, tmp_path):
    """One request of 8 MB of escaped quotes: it is refused, `/health` does not wait, nor does the stop."""
    with served(folder, tmp_path / "log") as server:
        body = b'{"inputs": "' + b'\\"' * 4_000_000
        answers = []
        posting = threading.Thread(
            target=lambda: answers.append(httpx.post(server.url, content=body, headers=JSON, timeout=60))
        )
        posting.start()
        while posting.is_alive():
            assert httpx.get(f"{server.url}/health", timeout=15).status_code == 200
        posting.join()
        assert answers[0].status_code == 400
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=25) == 0


# Connections.


@pytest.mark.slow
def test_connections_are_bounded(folder, tmp_path):
    """200 connections that are idle or begin a request, with 64 file descriptors: others are answered meanwhile."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
    with served(folder, tmp_path / "log", before=limit) as server, contextlib.ExitStack() as stack:
        address = (httpx.URL(server.url).host, httpx.URL(server.url).port)
        content = png(noise_image(0))
        for number in range(100):
            for data in (b"", b"POST / HTTP/1.1\r\nHost:"):
                connection = stack.enter_context(socket.create_connection(address, timeout=20))
                with contextlib.suppress(ConnectionError):
                    connection.sendall(data)
            if number % 20 == 0:
                assert httpx.post(server.url, content=content, timeout=20).status_code == 200
        assert httpx.post(server.url, content=content, timeout=20).status_code == 200
        assert psutil.Process(server.process.pid).num_fds() < 64
    log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log and "out of system resource" not in log
    assert len(log) < 10_000


@pytest.mark.slow
def test_too_many_connections_in_work(folder, tmp_path):
    """Where every connection has a request in work, a new one is turned away; afterwards there is room again."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
    with (
        served(folder, tmp_path / "log", "--timeout_s", "30", before=limit) as server,
        contextlib.ExitStack() as stack,
    ):
        address = (httpx.URL(server.url).host, httpx.URL(server.url).port)
        answer = None
        while answer is None:
            connection = stack.enter_context(socket.create_connection(address, timeout=20))
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
            connection.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(1000)
        assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head
        assert "Too many connections" in json.loads(body)["error"]
        deadline = time.monotonic() + 60
        response = None
        while (response is None or response.status_code == 429) and time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                response = httpx.post(server.url, content=png(noise_image(0)), timeout=20)
        assert response.status_code == 200


@pytest.mark.slow
def test_too_few_file_descriptors(folder, tmp_path):
    """Said in a line, and before the port is open."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (22, 22))"
    with pytest.raises(RuntimeError, match="transformers-sat: The limit of open files leaves no file descriptor"):
        with served(folder, tmp_path / "log", before=limit):
            pass


@pytest.mark.slow
def test_silent_connections_are_closed(folder, tmp_path):
    """Those that send nothing, a head byte by byte, or nothing more after an answer."""
    shorter = "from transformers_sat.serving import connections\nconnections.HEAD_S = 1.5"
    with served(folder, tmp_path / "log", before=shorter) as server, contextlib.ExitStack() as stack:
        address = (httpx.URL(server.url).host, httpx.URL(server.url).port)
        silent, slow, kept = (stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(3))
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(1000).startswith(b"HTTP/1.1 200")
        # after an answer, and the rest of a body that nobody reads any more
        refused = stack.enter_context(socket.create_connection(address, timeout=30))
        refused.sendall(b"POST /no/such HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert refused.recv(1000).startswith(b"HTTP/1.1 404")
        start = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - start < 30:
                slow.sendall(b"P")
                refused.sendall(b"x")
                time.sleep(0.1)
        for connection in (silent, kept):
            # the rest of the answer, then the end
            while connection.recv(1000):
                pass


@pytest.mark.slow
def test_a_model_that_does_not_answer_does_not_start(tmp_path):
    folder = save_tiny_localizer(tmp_path / "model")
    size = {"height": 64, "width": 64}
    SATImageProcessor(size=size, crop_size=size).save_pretrained(folder)
    with pytest.raises(RuntimeError, match="transformers-sat: The image processor of .* does not fit") as raised:
        with served(folder, tmp_path / "log"):
            pass
    assert "Traceback" not in str(raised.value) and "Uvicorn running" not in str(raised.value)
