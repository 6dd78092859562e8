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
What the paper's area loss costs under gradient accumulation: DeiT-S size, 224 x 224 pixels, 1000 classes, float32, one
core.

    python benchmarks/accumulation.py

The area loss of the whole step needs a forward pass that looks at all of its images first; that of each micro-batch alone
does not. The figures are CPU seconds of the gradient of a step, without the optimizer's: the two take turns, and the ratio
is the median over these pairs. The configuration's default drop path is on.
"""

import argparse
import statistics

# first of all: it leaves one core to PyTorch
from model_speed import SIZE, cpu_seconds, make_batch, make_model
from records import add_options, measured, open_results, to_measure, write


def gradient_of(look_first: bool, args: argparse.Namespace):
    """A function that adds up the gradient of a step, and drops it."""
    from accelerate import Accelerator

    from transformers_sat.training import look_at_whole_batch

    accelerator = Accelerator(cpu=True)
    model = make_model("sat", args.seed).train()
    pixel_values, labels = make_batch(args.batch_size * args.micro_batches, args.seed)
    parts = zip(pixel_values.split(args.batch_size), labels.split(args.batch_size), strict=True)
    batches = [{"pixel_values": images, "labels": classes} for images, classes in parts]

    def gradient():
        whole_batch = look_at_whole_batch(accelerator, model, batches) if look_first else None
        for batch in batches:
            known = batch | (whole_batch.inputs_for(batch) if look_first else {})
            weight = whole_batch.weight_of(batch) if look_first else 1.0
            (model(**known).loss * weight / len(batches)).backward()
        model.zero_grad()

    return gradient


def compare(args: argparse.Namespace) -> dict:
    """Medians of both ways' seconds and of the pairs' ratios, after a round of warming up."""
    alone, together = (gradient_of(look_first, args) for look_first in (False, True))
    seconds = [(cpu_seconds(alone), cpu_seconds(together)) for _ in range(args.pairs + 1)][1:]
    return {
        "per micro-batch": round(statistics.median(first for first, _ in seconds), 4),
        "whole batch": round(statistics.median(second for _, second in seconds), 4),
        "ratio": round(statistics.median(second / first for first, second in seconds), 4),
        "unit": "CPU seconds",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=2, help="images of a micro-batch")
    parser.add_argument("--micro_batches", type=int, default=4, help="micro-batches of a step")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    add_options(parser, "accumulation.json")
    args = parser.parse_args()

    record = open_results(args.output, args.again)
    row = f"{args.micro_batches} micro-batches of {args.batch_size}"
    for name in to_measure([row], record["results"], args.again):
        result = compare(args)
        settings = {"model": SIZE, "dtype": "float32", "attention": "sdpa", "pairs": args.pairs, "seed": args.seed}
        origin = measured(("torch", "transformers", "accelerate"), "one used", **settings)
        record["results"][name] = result | {"measured": origin}
        figures = ", ".join(f"{key} {result[key]:.3f}" for key in ("per micro-batch", "whole batch", "ratio"))
        print(f"{name}: {figures} ({result['unit']})")
        write(args.output, record, record["results"].values())


if __name__ == "__main__":
    main()
