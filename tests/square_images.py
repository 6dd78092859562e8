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
"""A data set that is made in milliseconds: coloured squares on noise, with the colour as class and the square as box."""

from pathlib import Path

import datasets
import numpy as np
import PIL.Image
import torch
from transformers import ViTConfig, ViTForImageClassification


COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}
CLASS_NAMES = list(COLOURS)

FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=CLASS_NAMES),
        "objects": {
            "bbox": datasets.List(datasets.List(datasets.Value("float32"), length=4)),
            "category": datasets.List(datasets.ClassLabel(names=CLASS_NAMES)),
        },
    }
)


def draw_square(index: int, label: int, size: int = 64) -> tuple[PIL.Image.Image, list[float]]:
    """The image of that number, and its COCO box."""
    random = np.random.default_rng(index)
    pixels = random.integers(90, 160, (size, size, 3), dtype=np.uint8)
    side = random.integers(size // 3, size // 2)
    x, y = random.integers(0, size - side, 2)
    pixels[y : y + side, x : x + side] = COLOURS[CLASS_NAMES[label]]
    return PIL.Image.fromarray(pixels), [float(x), float(y), float(side), float(side)]


def square_split(count: int, first: int = 0, with_boxes: bool = True) -> datasets.Dataset:
    """Images `first`, `first + 1`, ... of classes that take turns."""
    rows = []
    for index in range(count):
        image, box = draw_square(first + index, index % 3)
        rows.append({"image": image, "label": index % 3, "objects": {"bbox": [box], "category": [index % 3]}})
    split = datasets.Dataset.from_list(rows, features=FEATURES)
    return split if with_boxes else split.remove_columns("objects")


def write_class_folders(folder: Path, **counts: int) -> Path:
    """Writes `folder/<split>/<class>/<index>.png`, other images in each split."""
    for number, (split, count) in enumerate(counts.items()):
        for index in range(count):
            path = folder / split / CLASS_NAMES[index % 3] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_square(1000 * number + index, index % 3)[0].save(path)
    return folder


def save_tiny_vit(folder: Path, num_hidden_layers: int = 2) -> Path:
    """A ViT classifier of two blocks for images of 64 pixels: a backbone that trains in seconds."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=64,
        patch_size=8,
        num_labels=3,
    )
    ViTForImageClassification(config).save_pretrained(folder)
    return folder


__all__ = ["CLASS_NAMES", "COLOURS", "FEATURES", "draw_square", "save_tiny_vit", "square_split", "write_class_folders"]
