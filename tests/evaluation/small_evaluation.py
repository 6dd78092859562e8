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
"""A model and a data set that are measured in a moment: squares on noise, with masks and regions to ignore."""

from pathlib import Path

import datasets
import numpy as np
from sat_testing import tiny_model
from square_images import FEATURES, square_split

from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor


NUM_TEST_IMAGES = 11

# One name more than the data set needs, and in another order.
MODEL_CLASSES = ["blue", "green", "none", "red", "other"]


def square_mask(box: list[float], size: int = 64) -> np.ndarray:
    x, y, side, _ = (int(value) for value in box)
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[y : y + side, x : x + side] = 255
    return mask


def ignored_row() -> np.ndarray:
    """The topmost eighth of an image."""
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[:8] = 255
    return mask


def with_masks(split: datasets.Dataset) -> datasets.Dataset:
    features = datasets.Features(
        FEATURES
        | {
            "image_id": datasets.Value("string"),
            "mask": datasets.Image(),
            "ignore_mask": datasets.Image(),
        }
    )

    def masks_of(row, index):
        return {
            "image_id": f"square {index}",
            "mask": square_mask(row["objects"]["bbox"][0]),
            "ignore_mask": ignored_row(),
        }

    return split.map(masks_of, with_indices=True, features=features)


def two_box_split(count: int, first: int = 0) -> datasets.Dataset:
    """Squares of which every third image is said to have a second object, in its top left corner."""

    def add_box(row, index):
        objects = row["objects"]
        if index % 3 == 0:
            objects = {"bbox": [*objects["bbox"], [0.0, 0.0, 30.0, 28.0]], "category": [row["label"]] * 2}
        return {"objects": objects}

    return square_split(count, first).map(add_box, with_indices=True, features=FEATURES)


def small_model(**overrides) -> SATForWeaklySupervisedLocalization:
    return tiny_model(id2label=dict(enumerate(MODEL_CLASSES)), **overrides)


def small_processor() -> SATImageProcessor:
    size = {"height": 32, "width": 32}
    return SATImageProcessor(size=size, crop_size=size)


def save_model(folder: Path) -> Path:
    small_model().save_pretrained(folder)
    small_processor().save_pretrained(folder)
    return folder


def save_data(folder: Path) -> Path:
    datasets.DatasetDict(
        train=square_split(6),
        validation=two_box_split(7, first=100),
        test=with_masks(two_box_split(NUM_TEST_IMAGES, first=200)),
    ).save_to_disk(folder)
    return folder


__all__ = [
    "MODEL_CLASSES",
    "NUM_TEST_IMAGES",
    "ignored_row",
    "save_data",
    "save_model",
    "small_model",
    "small_processor",
    "square_mask",
    "two_box_split",
    "with_masks",
]
