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
What it costs to find the places in a map: 49 components in 2000 x 2000 pixels, and the pipeline on a photograph's size.

    python benchmarks/localization_speed.py

Each measurement runs in a process of its own on one core: CPU seconds, the median over rounds, and the most memory that
the process takes beyond what it held before (Linux). Beside it stands the plain way, a mask for each component, repeated
for each class. Both must give the same boxes, scores and masks.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path


# One core, set before the libraries that start thread pools are imported.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
import PIL.Image  # noqa: E402
import scipy  # noqa: E402
import torch  # noqa: E402
from records import add_options, measured, open_results, to_measure, write  # noqa: E402
from transformers.utils import ModelOutput  # noqa: E402

from transformers_sat import (  # noqa: E402
    SATConfig,
    SATForWeaklySupervisedLocalization,
    SATImageProcessor,
    WeaklySupervisedLocalizationPipeline,
)
from transformers_sat.model.localization_sat import map_in_image, normalize_map  # noqa: E402


SIDE = 2000
PHOTO_SIZE = (4000, 3000)
NUM_LABELS = 200
THRESHOLD = 0.4


def outputs_of_many_components() -> ModelOutput:
    """49 cells of different heights, each apart from the others."""
    cells = torch.zeros(1, 28, 28)
    cells[0, 1::4, 1::4] = torch.linspace(0.5, 1.0, 49).reshape(7, 7)
    logits = torch.linspace(0, 5, NUM_LABELS)[None]
    return ModelOutput(logits=logits, localization_map=cells)


def here(top_k: int, side: int = SIDE) -> dict:
    """The image processor's way."""
    (result,) = SATImageProcessor().post_process_localization(
        outputs_of_many_components(),
        [(side, side)],
        localization_threshold=THRESHOLD,
        top_k=top_k,
        multiple_boxes=True,
    )
    return result


def plain(top_k: int, side: int = SIDE) -> dict:
    """A mask for each component, all of them again for each class."""
    outputs = outputs_of_many_components()
    in_pixels, _ = map_in_image(normalize_map(outputs["localization_map"][0]), (side, side))
    labels, num_components = scipy.ndimage.label(in_pixels.numpy() > np.float32(THRESHOLD), np.ones((3, 3)))
    counts = np.bincount(labels.ravel())[1:]
    order = np.argsort(-counts, kind="stable") + 1
    masks = torch.from_numpy(labels == order[:, None, None])
    boxes = []
    for mask in masks.numpy():
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    peaks = torch.stack([in_pixels[mask].max() for mask in masks])
    scores, classes = outputs["logits"].softmax(-1)[0].topk(top_k)
    return {
        "scores": (scores[:, None] * peaks).flatten(),
        "labels": classes.repeat_interleave(num_components),
        "boxes": torch.tensor(np.array(boxes)).float().repeat(top_k, 1),
        "masks": masks.repeat(top_k, 1, 1),
        "localization_map": in_pixels,
    }


def warmed_up(way: Callable[[int, int], dict], top_k: int) -> Callable[[], dict]:
    way(top_k, 50)
    return partial(way, top_k)


def pipeline_on(mode: str) -> Callable[[], list]:
    size = {"height": 32, "width": 32}
    config = SATConfig(
        hidden_size=48, num_hidden_layers=4, num_attention_heads=4, intermediate_size=96, image_size=32, patch_size=8
    )
    localizer = WeaklySupervisedLocalizationPipeline(
        SATForWeaklySupervisedLocalization(config).eval(), image_processor=SATImageProcessor(size=size, crop_size=size)
    )
    image = PIL.Image.effect_noise(PHOTO_SIZE, 90).convert(mode)
    localizer(image.resize((60, 40)))
    return lambda: localizer(image)


CASES = {
    "49 components, 1 class": (partial(warmed_up, here, 1), SIDE * SIDE),
    "49 components, 1 class, plain": (partial(warmed_up, plain, 1), SIDE * SIDE),
    "49 components, 5 classes": (partial(warmed_up, here, 5), SIDE * SIDE),
    "49 components, 5 classes, plain": (partial(warmed_up, plain, 5), SIDE * SIDE),
    "pipeline, RGB": (partial(pipeline_on, "RGB"), PHOTO_SIZE[0] * PHOTO_SIZE[1]),
    "pipeline, RGBA": (partial(pipeline_on, "RGBA"), PHOTO_SIZE[0] * PHOTO_SIZE[1]),
}


def memory(name: str) -> int:
    """In bytes: what the process holds (`VmRSS`), or has held at most (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def measure(name: str, rounds: int) -> dict[str, float]:
    """One case in this process: memory in its first run, time in the others."""
    prepare, num_pixels = CASES[name]
    run = prepare()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts anew
    before = memory("VmRSS")
    result = run()
    peak = memory("VmHWM") - before
    del result
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return {
        "cpu_seconds": round(statistics.median(seconds), 3),
        "peak_megabytes": round(peak / 1e6, 1),
        "peak_bytes_per_pixel": round(peak / num_pixels, 1),
    }


def check():
    ours, expected = here(2), plain(2)
    for name in ("scores", "labels", "boxes", "localization_map"):
        assert torch.equal(ours[name], expected[name]), name
    assert all(torch.equal(mask, other) for mask, other in zip(ours["masks"], expected["masks"], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", choices=list(CASES), help="measure this one alone and print it as JSON")
    add_options(parser, "localization_speed.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.case is not None:
        print(json.dumps(measure(args.case, args.rounds)))
        return

    record = open_results(args.output, args.again)
    names = to_measure(CASES, record["results"], args.again)
    if not names:
        return
    check()
    print(f"{'one core':34} {'CPU s':>8} {'MB':>8} {'bytes/pixel':>12}")
    for name in names:
        command = [sys.executable, __file__, "--case", name, "--rounds", str(args.rounds)]
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        found = json.loads(printed.splitlines()[-1])
        print(
            f"{name:34} {found['cpu_seconds']:8.2f} {found['peak_megabytes']:8.0f} {found['peak_bytes_per_pixel']:12.1f}"
        )
        origin = measured(("numpy", "scipy", "torch"), "one used", rounds=args.rounds)
        record["results"][name] = found | {"measured": origin}
        write(args.output, record, record["results"].values())
    print(f"Written to {args.output}")


if __name__ == "__main__":
    main()
