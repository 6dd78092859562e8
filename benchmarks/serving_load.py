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
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil
import torch
from data_speed import photograph

from transformers_sat import SATConfig, SATForWeaklySupervisedLocalization, SATImageProcessor
from transformers_sat.saving import save_model
from transformers_sat.writing import write_json


ROOT = Path(__file__).parents[1]
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
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/serving_load.json")
    options = parser.parse_args()

    images = [photograph(SIZE, seed) for seed in range(20)]
    results = {
        "command": "python benchmarks/serving_load.py",
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, shared by server and clients",
        # what others did on the machine meanwhile
        "load_average_before": [round(load, 1) for load in os.getloadavg()],
        "versions": {name: version(name) for name in ("torch", "transformers", "uvicorn", "starlette", "pillow")},
        "model": MODEL,
        "images": f"JPEG of {SIZE[0]} x {SIZE[1]} pixels, {sum(map(len, images)) // len(images)} bytes on average",
        "rounds": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        save_random_model(folder)
        process, url = start(folder, Path(folder, "server.log"))
        try:
            watched = psutil.Process(process.pid)
            # pools and caches are filled, and not part of what is measured
            asyncio.run(load(url, watched, max(options.clients), 10 * max(options.clients), images))
            for clients in options.clients:
                results["rounds"].append(asyncio.run(load(url, watched, clients, options.requests, images)))
                print(results["rounds"][-1], flush=True)
            process.send_signal(signal.SIGTERM)
            began = time.perf_counter()
            results["exit_status"] = process.wait(timeout=60)
            results["stop_seconds"] = round(time.perf_counter() - began, 2)
        finally:
            process.kill()
    write_json(options.output, results)
    if any(measured["failures"] for measured in results["rounds"]):
        raise SystemExit("Some requests failed.")


if __name__ == "__main__":
    main()
