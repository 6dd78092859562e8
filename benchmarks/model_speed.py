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
What SAT costs beside a plain ViT: DeiT-S size, 224 x 224 pixels, 1000 classes, float32, one core.

    python benchmarks/model_speed.py

Time is CPU time: the two models take turns, and a figure is the median over these pairs of the ratio within a pair.
Memory is the most that a process of its own held (`ru_maxrss`), for forward passes and for training steps: under malloc
as it is, and "returned", with freed blocks given back to the system, so that what the heap's fragmentation adds is left
out. A training step is forward, backward and AdamW, with the configurations' defaults (SAT has its drop path).
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

from records import add_options, measured, open_results, to_measure, write


# One core, set before PyTorch is imported. It is imported in functions only: a process that is started inherits the
# `ru_maxrss` of the one that starts it, so the memory of the models is measured from a small one.
os.environ["OMP_NUM_THREADS"] = "1"

SIZE = {
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
    "image_size": 224,
    "patch_size": 16,
    "num_labels": 1000,
}
# The largest acceptable ratios.
TARGETS = {
    "forward": 1.05,
    "training step": 1.08,
    "forward memory": 1.05,
    "forward memory, returned": 1.05,
    "training memory": 1.05,
    "training memory, returned": 1.05,
}


MODELS = ("sat", "vit")


def make_model(name: str, seed: int):
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    from transformers_sat import SATConfig, SATForWeaklySupervisedLocalization

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    if name == "vit":
        return ViTForImageClassification(ViTConfig(**SIZE))
    return SATForWeaklySupervisedLocalization(SATConfig(**SIZE))


def make_batch(batch_size: int, seed: int):
    import torch

    generator = torch.Generator().manual_seed(seed)
    pixel_values = torch.randn(batch_size, 3, SIZE["image_size"], SIZE["image_size"], generator=generator)
    return pixel_values, torch.randint(SIZE["num_labels"], (batch_size,), generator=generator)


def forward_of(name: str, batch_size: int, seed: int):
    """A function that runs one forward pass."""
    import torch

    model = make_model(name, seed).eval()
    pixel_values, _ = make_batch(batch_size, seed)
    return torch.inference_mode()(lambda: model(pixel_values))


def training_step_of(name: str, batch_size: int, seed: int):
    """A function that runs one training step."""
    import torch

    model = make_model(name, seed).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
    pixel_values, labels = make_batch(batch_size, seed)

    def step():
        model(pixel_values, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


WORK = {"forward": forward_of, "training step": training_step_of}


def cpu_seconds(function) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def compare_speed(work: str, batch_size: int, pairs: int, seed: int) -> dict:
    """Medians of both models' seconds and of the pairs' ratios, after two rounds of warming up."""
    sat, vit = (WORK[work](name, batch_size, seed) for name in MODELS)
    seconds = [(cpu_seconds(sat), cpu_seconds(vit)) for _ in range(pairs + 2)][2:]
    ratios = sorted(ours / plain for ours, plain in seconds)
    return {
        "sat": round(statistics.median(ours for ours, _ in seconds), 4),
        "vit": round(statistics.median(plain for _, plain in seconds), 4),
        "ratio": round(statistics.median(ratios), 4),
        "quartiles": [round(ratios[len(ratios) // 4], 4), round(ratios[-1 - len(ratios) // 4], 4)],
        "unit": "CPU seconds",
    }


def peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # kibibytes, on macOS bytes
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def compare_memory(work: str, args: argparse.Namespace, returned: bool) -> dict:
    """The peak of each model, each in a process of its own."""
    # a fixed threshold: glibc otherwise raises it up to 32 MiB as large blocks are freed, and keeps what is smaller
    environment = os.environ | ({"MALLOC_MMAP_THRESHOLD_": "131072"} if returned else {})
    peaks = {}
    for name in MODELS:
        command = [sys.executable, __file__, "--measure_memory", name, "--work", work]
        command += ["--batch_size", str(args.batch_size), "--seed", str(args.seed)]
        run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        peaks[name] = float(run.stdout.split()[-1])
    return {
        "sat": round(peaks["sat"], 1),
        "vit": round(peaks["vit"], 1),
        "ratio": round(peaks["sat"] / peaks["vit"], 4),
        "unit": "MiB",
    }


def compare(name: str, args: argparse.Namespace) -> dict:
    """One row: time, or memory of forward passes or training steps."""
    if "memory" not in name:
        return compare_speed(name, args.batch_size, args.pairs, args.seed)
    work = "forward" if name.startswith("forward") else "training step"
    return compare_memory(work, args, returned=name.endswith("returned"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    add_options(parser, "model_speed.json")
    parser.add_argument("--measure_memory", choices=MODELS, help="run three times and print the peak in MiB")
    parser.add_argument("--work", choices=list(WORK), default="forward", help="with --measure_memory")
    args = parser.parse_args()

    if args.measure_memory:
        run = WORK[args.work](args.measure_memory, args.batch_size, args.seed)
        for _ in range(3):
            run()
        print(peak_megabytes())
        return

    record = open_results(args.output, args.again)
    # memory first: what is measured in this process makes it large
    names = sorted(to_measure(TARGETS, record["results"], args.again), key=lambda name: "memory" not in name)
    if names:
        print(f"{'batch of ' + str(args.batch_size):26} {'SAT-S':>10} {'ViT-S':>10} {'ratio':>8} {'at most':>8}")
    for name in names:
        result, target = compare(name, args), TARGETS[name]
        settings = {"model": SIZE, "dtype": "float32", "attention": "sdpa"}
        settings |= {option: getattr(args, option) for option in ("batch_size", "pairs", "seed")}
        origin = measured(("torch", "transformers"), "one used", **settings)
        record["results"][name] = result | {"target": target, "measured": origin}
        print(
            f"{name:26} {result['sat']:10.3f} {result['vit']:10.3f} {result['ratio']:8.3f} {target:8.2f}"
            f"  {result['unit']}{'' if result['ratio'] <= target else '  TARGET MISSED'}",
            flush=True,
        )
    if names:
        # once, at the end: it imports PyTorch
        write(args.output, record, record["results"].values())
        print(f"Written to {args.output}")


if __name__ == "__main__":
    main()
