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
What a box that ignores the image reaches on the emblems: GT-known localization of the whole image and of the best
square around the centre.

    python benchmarks/emblem_baselines.py
"""

import argparse

import numpy as np

from transformers_sat.drawn import load_emblems


def intersection_over_union(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU of one box with boxes `(num_boxes, 4)`, all as x0, y0, x1, y1 with exclusive far ends."""
    overlap = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    intersection = overlap.clip(min=0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return intersection / ((box[2:] - box[:2]).prod() + areas - intersection)


def centre_square_gt_known(side: int, image_size: int, boxes: np.ndarray) -> float:
    """Percentage of boxes that the square of this side around the image's centre meets with an IoU of at least .5."""
    square = np.array([image_size - side, image_size - side, image_size + side, image_size + side]) / 2
    return 100 * (intersection_over_union(square, boxes) >= 0.5).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--variant", default="standard")
    args = parser.parse_args()

    emblems = load_emblems(seed=args.seed, image_size=args.image_size, variant=args.variant)
    size = args.image_size
    for name, split in emblems.items():
        boxes = np.array([objects["bbox"][0] for objects in split["objects"]])
        boxes[:, 2:] += boxes[:, :2]
        masks = np.stack([np.asarray(mask) for mask in split["mask"]])
        gt_known = {side: centre_square_gt_known(side, size, boxes) for side in range(1, size + 1)}
        best_side = max(gt_known, key=gt_known.get)
        box_area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).mean() / size**2
        print(
            f"{name:10}  images {len(boxes):5}  mean box area {box_area:.3f}  mean mask area {(masks > 0).mean():.3f}  "
            f"GT-known: whole image {gt_known[size]:.1f}, best centre square {gt_known[best_side]:.1f} "
            f"(side {best_side} px)"
        )


if __name__ == "__main__":
    main()
