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
"""Real processes: each counts its share of the images, and the sum must be what one process counts."""

import pickle

import numpy as np
import pytest
import torch

from transformers_sat.metrics import BoxAccuracy, PixelAveragePrecision


WORLD_SIZES = (3, 2, 1)

# One image leaves all processes but the first without any; the others do not divide evenly.
NUM_IMAGES = (1, 11, 101)


def make_metrics() -> dict:
    return {
        "sat": BoxAccuracy("sat", np.arange(0, 1, 0.1), image_size=56),
        "wsoleval": BoxAccuracy("wsoleval", np.arange(0, 1, 0.05), image_size=56),
        "pixels": PixelAveragePrecision(100, image_size=56),
    }


def make_images(num_images: int) -> list[dict]:
    generator = np.random.default_rng(num_images)
    images = []
    for _ in range(num_images):
        start, size = generator.integers(0, 28, 2), generator.integers(8, 28, 2)
        box = np.concatenate([start, start + size])
        mask = np.zeros((56, 56), dtype=bool)
        mask[box[1] : box[3] + 1, box[0] : box[2] + 1] = True
        grid = mask.reshape(7, 8, 7, 8).mean(axis=(1, 3))
        localization_map = (grid + 0.4 * generator.random((7, 7))).astype(np.float32)
        logits, label = generator.random(6, dtype=np.float32), generator.integers(0, 6)
        images.append({"map": localization_map, "box": box, "mask": mask, "logits": logits, "label": label})
    return images


def count(metrics: dict, images: list[dict], batch_size: int = 4):
    for first in range(0, len(images), batch_size):
        batch = images[first : first + batch_size]
        maps = torch.from_numpy(np.stack([image["map"] for image in batch]))
        boxes = [image["box"][None] for image in batch]
        logits = torch.from_numpy(np.stack([image["logits"] for image in batch]))
        labels = torch.tensor([image["label"] for image in batch])
        metrics["sat"].update(maps, boxes, logits, labels)
        metrics["wsoleval"].update(maps, boxes)
        metrics["pixels"].update(maps, [image["mask"] for image in batch])


def run_process(rank: int, folder: str):
    """One of three processes, which work all together, then two of them, then one."""
    for world_size in WORLD_SIZES:
        if rank < world_size:
            store = f"file://{folder}/store_{world_size}"
            torch.distributed.init_process_group("gloo", store, rank=rank, world_size=world_size)
            assert torch.distributed.get_world_size() == world_size
            results = count_a_share(rank, world_size)
            with open(f"{folder}/result_{rank}_of_{world_size}", "wb") as file:
                pickle.dump(results, file)
            torch.distributed.destroy_process_group()


def count_a_share(rank: int, world_size: int) -> dict:
    results = {}
    for num_images in NUM_IMAGES:
        metrics = make_metrics()
        count(metrics, make_images(num_images)[rank::world_size])
        for metric in metrics.values():
            assert metric.all_reduce_() is metric
        results[num_images] = {
            name: (metric.counts, metric.compute(), getattr(metric, "num_labels", None))
            for name, metric in metrics.items()
        }
    # A setting that differs on one process is an error on each, not a hang.
    odd_one_out = BoxAccuracy("sat", [0.5 if rank == 0 else 0.4])
    try:
        odd_one_out.all_reduce_()
        results["error"] = ""
    except ValueError as error:
        results["error"] = str(error)
    return results


@pytest.fixture(scope="module")
def results_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(run_process, args=(str(folder),), nprocs=max(WORLD_SIZES))
    return folder


@pytest.mark.multiprocess
@pytest.mark.parametrize("world_size", WORLD_SIZES)
def test_processes_count_as_one(world_size, results_folder):
    names = [f"result_{rank}_of_{world_size}" for rank in range(world_size)]
    assert sorted(path.name for path in results_folder.glob(f"result_*_of_{world_size}")) == names
    results = [pickle.loads((results_folder / name).read_bytes()) for name in names]
    for num_images in NUM_IMAGES:
        metrics = make_metrics()
        count(metrics, make_images(num_images))
        for name, metric in metrics.items():
            assert metric.num_images == num_images
            for result in results:
                counts, figures, num_labels = result[num_images][name]
                assert counts.keys() == metric.counts.keys()
                for key, expected in metric.counts.items():
                    np.testing.assert_array_equal(counts[key], expected, err_msg=f"{name}: {key}")
                assert figures == metric.compute()
                assert num_labels == getattr(metric, "num_labels", None)
    for result in results:
        assert ("`thresholds`: [0.5] and [0.4]" in result["error"]) == (world_size > 1)


def test_without_a_process_group_nothing_changes():
    metrics = make_metrics()
    count(metrics, make_images(3))
    for metric in metrics.values():
        before = metric.compute()
        assert metric.all_reduce_() is metric
        assert metric.compute() == before
