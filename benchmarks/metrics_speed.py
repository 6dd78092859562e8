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
What the metrics cost on one core, beside literal versions of the same protocols, in one run.

    python benchmarks/metrics_speed.py

Each figure is the CPU time of an image, resize of the map included: the median over rounds in which the versions take
turns. All versions must agree on every count. Needs OpenCV and scikit-image.
"""

import argparse
import os
import pickle
import time


# One core, set before the libraries that start thread pools are imported.
os.environ["OMP_NUM_THREADS"] = "1"

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import skimage  # noqa: E402
import torch  # noqa: E402
from records import add_options, measured, open_results, to_measure, write  # noqa: E402

from transformers_sat.metrics import BoxAccuracy, PixelAveragePrecision  # noqa: E402


SIDE = 224
SAT_THRESHOLDS = (0.30, 0.35, 0.40, 0.45)
WSOLEVAL_THRESHOLDS = np.arange(0, 1, 0.001)
PACKAGES = ("opencv-python-headless", "numpy", "scipy", "scikit-image", "torch")
IOU_THRESHOLDS = np.array([0.3, 0.5, 0.7])


def make_images(num_images: int, seed: int) -> tuple[torch.Tensor, list[np.ndarray], np.ndarray]:
    """14 x 14 maps of one or two soft objects with some noise, their boxes and their masks."""
    generator = np.random.default_rng(seed)
    pixels = np.arange(SIDE)
    maps, boxes, masks = [], [], np.zeros((num_images, SIDE, SIDE), dtype=bool)
    for mask in masks:
        objects = []
        for _ in range(generator.integers(1, 3)):
            size = generator.integers(40, 140, 2)
            start = generator.integers(0, SIDE - size)
            middle = start + size / 2
            ellipse = ((pixels - middle[0]) / size[0]) ** 2 + ((pixels[:, None] - middle[1]) / size[1]) ** 2 < 0.25
            mask |= ellipse
            objects.append([*start, *(start + size - 1)])
        soft = mask.reshape(14, 16, 14, 16).mean(axis=(1, 3)) + 0.15 * generator.standard_normal((14, 14))
        maps.append(1 / (1 + np.exp(-4 * soft + 2)))
        boxes.append(np.array(objects))
    return torch.from_numpy(np.stack(maps)).float(), boxes, masks


def literal_iou(box, other) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0]) + 1
    height = min(box[3], other[3]) - max(box[1], other[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(x1 - x0 + 1) * (y1 - y0 + 1) for x0, y0, x1, y1 in (box, other)]
    return width * height / (sum(areas) - width * height)


def literal_sat(maps: torch.Tensor, boxes: list[np.ndarray]) -> np.ndarray:
    """One image and one threshold after the other, with scikit-image."""
    hits = np.zeros((len(SAT_THRESHOLDS), 3), dtype=np.int64)
    for localization_map, true_boxes in zip(maps, boxes, strict=True):
        smallest, largest = localization_map.min(), localization_map.max()
        normalized = (localization_map - smallest) / (largest - smallest + 1e-5)
        pixels = torch.nn.functional.interpolate(normalized[None, None], size=(SIDE, SIDE), mode="bilinear")[0, 0]
        for index, threshold in enumerate(SAT_THRESHOLDS):
            labels = skimage.measure.label(pixels.numpy() > np.float32(threshold))
            regions = skimage.measure.regionprops(labels)
            box = (0, 0, SIDE, SIDE)
            if regions:
                y0, x0, y1, x1 = max(regions, key=lambda region: region.area).bbox
                box = (x0, y0, x1, y1)
            hits[index] += max(literal_iou(box, true_box) for true_box in true_boxes) >= IOU_THRESHOLDS
    return hits


def literal_scores(localization_map: torch.Tensor) -> np.ndarray:
    scores = cv2.resize(localization_map.numpy(), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    scores = scores - scores.min()
    return scores / scores.max()


def literal_wsoleval(maps: torch.Tensor, boxes: list[np.ndarray], multi_contour: bool) -> np.ndarray:
    """One search for contours at each of the 1000 thresholds, with OpenCV."""
    hits = np.zeros((len(WSOLEVAL_THRESHOLDS), 3), dtype=np.int64)
    for localization_map, true_boxes in zip(maps, boxes, strict=True):
        grey = (literal_scores(localization_map) * 255).astype(np.uint8)
        for index, threshold in enumerate(WSOLEVAL_THRESHOLDS):
            _, binary = cv2.threshold(grey, int(threshold * np.max(grey)), 255, cv2.THRESH_BINARY)
            contours = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[-2]
            found = [(0, 0, 0, 0)]
            if len(contours) > 0:
                kept = contours if multi_contour else [max(contours, key=cv2.contourArea)]
                rectangles = [cv2.boundingRect(contour) for contour in kept]
                found = [(x, y, min(x + w, SIDE - 1), min(y + h, SIDE - 1)) for x, y, w, h in rectangles]
            hits[index] += max(literal_iou(box, true) for box in found for true in true_boxes) >= IOU_THRESHOLDS
    return hits


def literal_pixels(maps: torch.Tensor, masks: np.ndarray) -> np.ndarray:
    """Two calls of `np.histogram` an image."""
    edges = np.append(WSOLEVAL_THRESHOLDS, [1.0, 2.0])
    histograms = np.zeros((2, len(edges) - 1), dtype=np.int64)
    for localization_map, mask in zip(maps, masks, strict=True):
        scores = literal_scores(localization_map)
        histograms[0] += np.histogram(scores[~mask], edges)[0]
        histograms[1] += np.histogram(scores[mask], edges)[0]
    return histograms


def count_boxes(protocol: str, thresholds, maps: torch.Tensor, boxes: list[np.ndarray]) -> BoxAccuracy:
    metric = BoxAccuracy(protocol, thresholds, IOU_THRESHOLDS)
    metric.update(maps, boxes)
    return metric


def count_pixels(maps: torch.Tensor, masks: np.ndarray) -> PixelAveragePrecision:
    metric = PixelAveragePrecision()
    metric.update(maps, masks)
    return metric


def literal_wsoleval_both(maps: torch.Tensor, boxes: list[np.ndarray]):
    literal_wsoleval(maps, boxes, False)
    literal_wsoleval(maps, boxes, True)


# Ours, and the literal version.
CASES = {
    "sat, 4 thresholds": (
        lambda maps, boxes, masks: count_boxes("sat", SAT_THRESHOLDS, maps, boxes),
        lambda maps, boxes, masks: literal_sat(maps, boxes),
    ),
    "wsoleval, 1000 thresholds, MaxBoxAcc and V2": (
        lambda maps, boxes, masks: count_boxes("wsoleval", WSOLEVAL_THRESHOLDS, maps, boxes),
        lambda maps, boxes, masks: literal_wsoleval_both(maps, boxes),
    ),
    "wsoleval, the same beside MaxBoxAcc alone": (
        lambda maps, boxes, masks: count_boxes("wsoleval", WSOLEVAL_THRESHOLDS, maps, boxes),
        lambda maps, boxes, masks: literal_wsoleval(maps, boxes, False),
    ),
    "PxAP, 1000 thresholds": (
        lambda maps, boxes, masks: count_pixels(maps, masks),
        lambda maps, boxes, masks: literal_pixels(maps, masks),
    ),
}


def check(maps: torch.Tensor, boxes: list[np.ndarray], masks: np.ndarray) -> dict[str, int]:
    """Stops where a version counts otherwise; gives the size of each metric's state in bytes."""
    sat = count_boxes("sat", SAT_THRESHOLDS, maps, boxes)
    np.testing.assert_array_equal(sat.counts["box_hits"][0, 0], literal_sat(maps, boxes))
    wsoleval = count_boxes("wsoleval", WSOLEVAL_THRESHOLDS, maps, boxes)
    for rule, multi_contour in enumerate((False, True)):
        expected = literal_wsoleval(maps, boxes, multi_contour)
        np.testing.assert_array_equal(wsoleval.counts["box_hits"][rule, 0], expected)
    pixels = count_pixels(maps, masks)
    np.testing.assert_array_equal(pixels.counts["pixels"], literal_pixels(maps, masks))
    state = {"sat": sat, "wsoleval": wsoleval, "PxAP": pixels}
    return {name: len(pickle.dumps(metric)) for name, metric in state.items()}


def milliseconds(function, num_images: int) -> float:
    start = time.process_time()
    function()
    return 1000 * (time.process_time() - start) / num_images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, default=64)
    parser.add_argument("--num_literal_images", type=int, default=8, help="for the literal versions, which are slow")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    add_options(parser, "metrics_speed.json")
    args = parser.parse_args()
    record = open_results(args.output, args.again)
    names = to_measure(CASES, record["results"], args.again)
    if not names:
        return
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    maps, boxes, masks = make_images(args.num_images, args.seed)
    few = slice(args.num_literal_images)

    state_bytes = check(maps[few], boxes[few], masks[few])
    print("State in bytes, whatever the number of images: " + ", ".join(f"{k} {v}" for k, v in state_bytes.items()))
    print(f"{'CPU milliseconds an image, one core':46} {'here':>8} {'literal':>8} {'ratio':>7}")
    for name in names:
        ours, literal = CASES[name]
        rounds = np.array(
            [
                (
                    milliseconds(lambda: ours(maps, boxes, masks), args.num_images),
                    milliseconds(lambda: literal(maps[few], boxes[few], masks[few]), args.num_literal_images),
                )
                for _ in range(args.rounds)
            ]
        )
        fast, slow = np.median(rounds, axis=0)
        settings = {name: getattr(args, name) for name in ("num_images", "num_literal_images", "rounds")}
        record["results"][name] = {
            "milliseconds": round(float(fast), 3),
            "literal_milliseconds": round(float(slow), 3),
            "ratio": round(float(slow / fast), 1),
            "fastest_milliseconds": round(float(rounds[:, 0].min()), 3),
            "measured": measured(PACKAGES, "one used", **settings),
        }
        print(f"{name:46} {fast:8.2f} {slow:8.2f} {slow / fast:7.1f}")
        write(args.output, record | {"state_bytes": state_bytes}, record["results"].values())
    print(f"Written to {args.output}")


if __name__ == "__main__":
    main()
