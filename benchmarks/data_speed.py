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
Images per second that one core prepares for training: JPEG files to normalized 224 x 224 pixels, and how fast a stream
of Parquet is read without decoding.

    python benchmarks/data_speed.py

The ways take turns, image by image, in CPU time. A ratio is the median over rounds of the ratio to the first way
within a round. "processor" is the plain way: the image processor decodes to a tensor, torchvision resizes it, and the
processor normalizes the crop with all of its checks.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path


# One core, set before PyTorch is imported.
os.environ["OMP_NUM_THREADS"] = "1"

import datasets
import numpy as np
import PIL.Image
import torch
from records import add_options, measured, open_results, to_measure, write

from transformers_sat import SATImageProcessor
from transformers_sat.data import LocalizationDataset, TrainingAugmentation, decode_image, load_streaming_dataset


SIZES = {"500 x 375": (500, 375), "2000 x 1500": (2000, 1500)}
STREAM = "stream, nothing decoded"
PACKAGES = ("torch", "torchvision", "pillow", "datasets", "transformers")
EXTRAS = {"min_crop_area": 0.3, "color_jitter": 0.3, "max_rotation": 10.0, "erasing_probability": 0.25}


def photograph(size: tuple[int, int], seed: int) -> bytes:
    """A JPEG with the smooth areas and the fine grain of a photograph."""
    random = np.random.default_rng(seed)
    coarse = PIL.Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, PIL.Image.Resampling.BICUBIC)).astype(int)
    pixels = (smooth + random.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def rows_of(size: tuple[int, int], count: int) -> datasets.Dataset:
    columns = {
        "image": [{"bytes": photograph(size, seed), "path": f"{seed}.jpg"} for seed in range(count)],
        "label": [0] * count,
    }
    features = {"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=["a"])}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


class ThroughTheProcessor(LocalizationDataset):
    """The plain way, with the same crops."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.dataset[index]
        image = decode_image(row["image"])
        pixels = torch.as_tensor(self.image_processor.process_image(image, do_convert_rgb=True))
        pixels = self.augmentation(pixels, seed=(self.seed, self.epoch, index))
        prepared = self.image_processor(pixels, return_tensors="pt", do_resize=False, do_center_crop=False)
        return {"labels": torch.tensor(row["label"]), "pixel_values": prepared["pixel_values"][0]}


def ways(rows: datasets.Dataset) -> dict[str, LocalizationDataset]:
    plain = {"augmentation": TrainingAugmentation(224)}
    return {
        "processor": ThroughTheProcessor(rows, SATImageProcessor(), **plain),
        "rows of pixels": LocalizationDataset(rows, SATImageProcessor(), **plain),
        "fast decoding": LocalizationDataset(rows, SATImageProcessor(), **plain, fast_decoding=True),
        "extra transforms": LocalizationDataset(
            rows, SATImageProcessor(), augmentation=TrainingAugmentation(224, **EXTRAS)
        ),
    }


def measure(size: tuple[int, int], rounds: int) -> dict[str, dict]:
    data = ways(rows_of(size, 8))
    assert torch.equal(data["processor"][3]["pixel_values"], data["rows of pixels"][3]["pixel_values"])
    seconds = {name: [] for name in data}
    for round_number in range(rounds + 1):
        for name, dataset in data.items():
            start = time.process_time()
            for index in range(8):
                dataset[index]
            # the first round warms up
            if round_number > 0:
                seconds[name].append((time.process_time() - start) / 8)
    results = {}
    for name, times in seconds.items():
        ratios = [first / own for first, own in zip(seconds["processor"], times, strict=True)]
        results[name] = {
            "images per second": round(1 / statistics.median(times), 1),
            "times as fast": round(statistics.median(ratios), 3),
            "quartiles": [round(value, 3) for value in statistics.quantiles(ratios, n=4)[::2]],
        }
    return results


def measure_stream(count: int) -> dict[str, float]:
    """Rows per second of a pass over Parquet files in which nothing is decoded: what resuming costs."""
    datasets.disable_progress_bars()
    # its pause at the end of a pass is not reading
    datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(SIZES["500 x 375"], 50)
        rows = datasets.concatenate_datasets([rows] * (count // 50))
        for split in ("train", "validation"):
            written = rows if split == "train" else rows.select(range(10))
            written.to_parquet(Path(folder, f"{split}-00000-of-00001.parquet"), batch_size=100)
        stream, _, _ = load_streaming_dataset(folder)
        stream = stream.reshard().shuffle(seed=0, buffer_size=1000)
        start = time.perf_counter()
        megabytes = sum(len(row["image"]["bytes"]) for row in stream) / 1e6
        seconds = time.perf_counter() - start
    return {"rows per second": round(count / seconds), "MB per second": round(megabytes / seconds)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="rounds of eight images")
    parser.add_argument("--stream_rows", type=int, default=5000, help="rows of the stream")
    add_options(parser, "data_speed.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = open_results(options.output, options.again)
    rows = record["results"]
    # older files have this row beside the others
    there = rows | ({STREAM: record[STREAM]} if STREAM in record else {})
    for name in to_measure([*SIZES, STREAM], there, options.again):
        if name == STREAM:
            record.pop(STREAM, None)
            rows[name] = measure_stream(options.stream_rows) | {"measured": measured(PACKAGES, "one used")}
        else:
            settings = {"rounds": options.rounds, "extra transforms": EXTRAS}
            rows[name] = measure(SIZES[name], options.rounds) | {
                "measured": measured(PACKAGES, "one used", **settings)
            }
        write(options.output, record, rows.values())
        print(json.dumps({name: rows[name]}, indent=2))


if __name__ == "__main__":
    main()
