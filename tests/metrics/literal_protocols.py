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
"""Slow versions of the protocols, step by step as they are described, to check the fast ones against."""

import cv2
import numpy as np


def largest_component_box(mask: np.ndarray) -> list[int]:
    """Flood fill, pixel by pixel, 8 neighbours; first of the largest in scan order; the whole image if empty."""
    height, width = mask.shape
    seen = np.zeros_like(mask, dtype=bool)
    best = []
    for start in zip(*np.nonzero(mask), strict=True):
        if seen[start]:
            continue
        component, stack = [], [start]
        seen[start] = True
        while stack:
            row, column = stack.pop()
            component.append((row, column))
            for near_row in range(max(row - 1, 0), min(row + 2, height)):
                for near_column in range(max(column - 1, 0), min(column + 2, width)):
                    if mask[near_row, near_column] and not seen[near_row, near_column]:
                        seen[near_row, near_column] = True
                        stack.append((near_row, near_column))
        if len(component) > len(best):
            best = component
    if not best:
        return [0, 0, width, height]
    rows, columns = zip(*best, strict=True)
    return [int(min(columns)), int(min(rows)), int(max(columns)) + 1, int(max(rows)) + 1]


def score_map(localization_map: np.ndarray, image_size: int) -> np.ndarray:
    """Cubic resize, then from 0 to 1."""
    if not np.isfinite(localization_map).all() or localization_map.min() == localization_map.max():
        return np.zeros((image_size, image_size), dtype=np.float32)
    scores = cv2.resize(localization_map, (image_size, image_size), interpolation=cv2.INTER_CUBIC)
    scores = scores - scores.min()
    return scores / scores.max()


def contour_boxes(localization_map: np.ndarray, threshold: float, image_size: int, multi_contour: bool) -> np.ndarray:
    """One threshold of the `wsoleval` protocol: one call of `cv2.findContours` on the whole image."""
    grey = (score_map(localization_map, image_size) * 255).astype(np.uint8)
    _, binary = cv2.threshold(grey, int(threshold * np.max(grey)), 255, cv2.THRESH_BINARY)
    contours = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[-2]
    if len(contours) == 0:
        return np.array([[0, 0, 0, 0]])
    if not multi_contour:
        contours = [max(contours, key=cv2.contourArea)]
    boxes = []
    for contour in contours:
        x, y, width, height = cv2.boundingRect(contour)
        boxes.append([x, y, min(x + width, image_size - 1), min(y + height, image_size - 1)])
    return np.array(boxes)


def iou(box, other) -> float:
    """With 1 added to each width and height."""
    width = min(box[2], other[2]) - max(box[0], other[0]) + 1
    height = min(box[3], other[3]) - max(box[1], other[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(x1 - x0 + 1) * (y1 - y0 + 1) for x0, y0, x1, y1 in (box, other)]
    return width * height / (sum(areas) - width * height)


def pixel_average_precision(maps, masks, ignore_masks, num_thresholds: int, image_size: int) -> float:
    """Pools the scores of all pixels in histograms, and sums precision times the steps of recall."""
    edges = np.append(np.arange(num_thresholds) / num_thresholds, [1.0, 2.0, 3.0])
    positive, negative = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for localization_map, mask, ignored in zip(maps, masks, ignore_masks, strict=True):
        scores = score_map(localization_map, image_size)
        mask, ignored = (
            cv2.resize(np.float32(array), (image_size, image_size), interpolation=cv2.INTER_NEAREST) > 0.5
            for array in (mask, ignored)
        )
        positive += np.histogram(scores[mask], edges)[0]
        negative += np.histogram(scores[~mask & ~ignored], edges)[0]
    total, true, false, area, last_recall = positive.sum(), 0, 0, 0.0, 0.0
    for more_true, more_false in zip(positive[::-1], negative[::-1], strict=True):
        true, false = true + more_true, false + more_false
        if true + false > 0:
            area += true / (true + false) * (true / total - last_recall)
            last_recall = true / total
    return 100 * area
