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
"""
A server under load: `transformers-sat serve` with a small random model, and clients that ask for boxes in JPEG files of
500 x 375 pixels, one request after the other, each on a connection of its own.

    python benchmarks/serving_load.py

For each number of clients: how many requests failed, how long they took, and how large the server's process was, from
second to second. Everything stays on this machine.
"""

import argparse
import asyncio
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import torch
from data_speed import photograph
from records import add_options, measured, open_results, to_measure, write

from transformers_sat import SATConfig, SATForWeaklySupervisedLocalization, SATImageProcessor
from transformers_sat.saving import save_model


SIZE = (500, 375)
MODEL = {
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 64,
    "patch_size": 8,
    "num_labels": 10,
}


def save_random_model(folder: str):
    torch.manual_seed(0)
    size = {"height": MODEL["image_size"], "width": MODEL["image_size"]}
    processor = SATImageProcessor(size=size, crop_size=size)
    save_model(SATForWeaklySupervisedLocalization(SATConfig(**MODEL)), processor, folder)


def start(folder: str, log: Path) -> tuple[subprocess.Popen, str]:
    """The server's process, and its address."""
    with open(log, "xb") as output:
        command = [sys.executable, "-m", "transformers_sat.cli", "serve", folder, "--port", "0"]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    while not (found := re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text(encoding="utf-8"))):
        if process.poll() is not None:
            raise RuntimeError(f"The server did not start:\n{log.read_text(encoding='utf-8')}")
        time.sleep(0.1)
    return process, found.group(1)


async def load(url: str, process: psutil.Process, clients: int, requests: int, images: list[bytes]) -> dict:
    """So many requests, by so many clients at a time."""
    numbers = iter(range(requests))
    seconds, failures, memory = [], [], []
    done = asyncio.Event()

    async def one_client():
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            for number in numbers:
                began = time.perf_counter()
                try:
                    response = await client.post("/", content=images[number % len(images)])
                    if response.status_code != 200 or not response.json():
                        failures.append(f"{response.status_code}: {response.text[:100]}")
                except httpx.HTTPError as error:
                    failures.append(repr(error))
                seconds.append(time.perf_counter() - began)

    async def watch():
        while not done.is_set():
            memory.append(process.memory_info().rss / 1e6)
            await asyncio.wait([asyncio.create_task(done.wait())], timeout=1)
        memory.append(process.memory_info().rss / 1e6)

    watching = asyncio.create_task(watch())
    began = time.perf_counter()
    await asyncio.gather(*(one_client() for _ in range(clients)))
    whole = time.perf_counter() - began
    done.set()
    await watching
    percentiles = statistics.quantiles(seconds, n=100)
    return {
        "clients": clients,
        "requests": requests,
        "failures": len(failures),
        "first_failures": failures[:3],
        "requests_per_second": round(requests / whole, 1),
        "p50_ms": round(1000 * percentiles[49], 1),
        "p99_ms": round(1000 * percentiles[98], 1),
        "rss_mb": {
            "before": round(memory[0], 1),
            "half way": round(memory[len(memory) // 2], 1),
            "most": round(max(memory), 1),
            "after": round(memory[-1], 1),
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000, help="for each number of clients")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    add_options(parser, "serving_load.json")
    options = parser.parse_args()

    record = open_results(options.output, options.again)
    rows = record["results"]
    names = to_measure(map(row_name, options.clients), rows, options.again)
    clients = [number for number in options.clients if row_name(number) in names]
    if not clients:
        return
    images = [photograph(SIZE, seed) for seed in range(20)]
    origin = measured(
        ("torch", "transformers", "uvicorn", "starlette", "pillow"),
        "shared by server and clients",
        # what others did on the machine meanwhile
        load_average_before=[round(load, 1) for load in os.getloadavg()],
        model=MODEL,
        images=f"JPEG of {SIZE[0]} x {SIZE[1]} pixels, {sum(map(len, images)) // len(images)} bytes on average",
    )
    for number, figures in measure(clients, options.requests, images):
        print(figures, flush=True)
        rows[row_name(number)] = figures | {"measured": origin}
        write(options.output, record, rows.values())
    if any(rows[name]["failures"] for name in names):
        raise SystemExit("Some requests failed.")


def row_name(clients: int) -> str:
    return f"{clients} client{'s' if clients > 1 else ''}"


def measure(clients: list[int], requests: int, images: list[bytes]) -> Iterator[tuple[int, dict]]:
    """The figures for each number of clients; the server must stop well in the end."""
    with tempfile.TemporaryDirectory() as folder:
        save_random_model(folder)
        process, url = start(folder, Path(folder, "server.log"))
        try:
            watched = psutil.Process(process.pid)
            # pools and caches are filled, and not part of what is measured
            asyncio.run(load(url, watched, max(clients), 10 * max(clients), images))
            for number in clients:
                yield number, asyncio.run(load(url, watched, number, requests, images))
            process.send_signal(signal.SIGTERM)
            if process.wait(timeout=60) != 0:
                raise SystemExit(f"The server ended with status {process.returncode}.")
        finally:
            process.kill()


if __name__ == "__main__":
    main()
