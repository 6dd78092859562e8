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
Measuring score maps that others made, against the metadata folders of wsolevaluation
(https://github.com/clovaai/wsolevaluation).
"""

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from ..box_values import is_in_fractions
from ..fields import as_number
from ..metrics import BoxAccuracy, PixelAveragePrecision, Protocol, get_protocol
from ..model.images_sat import read_image, read_mask
from ..prepare import open_source
from ..prepare.readers.lists import read_fields
from ..prepare.readers.wsoleval_split import read_localization
from .processes import process_count, share_of_process


@dataclass
class WsolMetadata:
    """
    What is true about the images of a split, as wsolevaluation writes it down.

    Attributes:
        image_ids (`list[str]`): paths of the images, which name their maps (`image_ids.txt`).
        boxes (`dict[str, np.ndarray]`):
            For data with boxes, those of each image: corners `(x0, y0, x1, y1)` in pixels, of shape `(num_boxes, 4)`
            (`localization.txt`).
        masks (`dict[str, list[str]]`): for data with masks, the mask files of each image (`localization.txt`).
        ignore_masks (`dict[str, str]`): file with the region to leave out, for images that have one
            (`localization.txt`).
        image_sizes (`dict[str, tuple[int, int]]`): height and width, needed for boxes (`image_sizes.txt`).
        labels (`dict[str, int]`): classes, if there is a `class_labels.txt`.
    """

    image_ids: list[str]
    boxes: dict[str, np.ndarray]
    masks: dict[str, list[str]]
    ignore_masks: dict[str, str]
    image_sizes: dict[str, tuple[int, int]]
    labels: dict[str, int]

    @classmethod
    def read(cls, folder: str | os.PathLike) -> "WsolMetadata":
        """
        Reads a folder with `image_ids.txt`, `localization.txt`, for boxes `image_sizes.txt`, and perhaps
        `class_labels.txt`.

        Args:
            folder (`str` or `os.PathLike`): such as `metadata/CUB/test`.

        Raises:
            `ValueError`: if a file is missing, a line does not have the fields that its file should have, or an image has no
                line in `localization.txt` or `image_sizes.txt`; all such images are named.
        """
        source = open_source(folder)
        image_ids = []
        line_of = {}
        for line, (name,) in read_fields(source, "image_ids.txt", 1, ","):
            if name in line_of:
                raise ValueError(f"{line}: {name} is there twice, and would count twice; {line_of[name]} has it, too.")
            line_of[name] = line
            image_ids.append(name)
        if not image_ids:
            raise ValueError(f"{Path(folder, 'image_ids.txt')} names no image.")
        boxes, masks, ignore_masks = {}, {}, {}
        for line, name, corners, of_mask in read_localization(source, "localization.txt"):
            if corners is not None:
                boxes.setdefault(name, []).append(checked_corners(corners, line))
                continue
            mask, ignored = of_mask
            masks.setdefault(name, []).append(mask)
            # the region is on the first line of an image; the others end with an empty field
            if ignored:
                ignore_masks[name] = ignored
        boxes = {name: np.array(rows) for name, rows in boxes.items()}
        image_sizes, labels = {}, {}
        if boxes:
            for line, (name, width, height) in read_fields(source, "image_sizes.txt", 3, ","):
                image_sizes[name] = (as_size(height, line, "height"), as_size(width, line, "width"))
            for line, name, corners, _ in read_localization(source, "localization.txt"):
                if name in image_sizes:
                    check_inside(corners, image_sizes[name], line)
        if "class_labels.txt" in source:
            for line, (name, label) in read_fields(source, "class_labels.txt", 2, ","):
                labels[name] = as_number(label, line, "class")
        metadata = cls(image_ids, boxes, masks, ignore_masks, image_sizes, labels)
        metadata._check(Path(folder))
        return metadata

    def _check(self, folder: Path):
        needed = {"localization.txt": self.boxes or self.masks}
        if self.boxes:
            needed["image_sizes.txt"] = self.image_sizes
        if self.labels:
            needed["class_labels.txt"] = self.labels
        missing = [
            f"no line in {file}: {name}"
            for file, known in needed.items()
            for name in self.image_ids
            if name not in known
        ]
        if missing:
            raise ValueError(f"{folder} is not complete:\n" + "\n".join(missing))


def evaluate_score_maps(
    folder: str | os.PathLike,
    metadata: WsolMetadata,
    protocol: str | Protocol = "wsoleval",
    localization_threshold: str | float = "oracle",
    mask_root: str | os.PathLike | None = None,
    show_progress: bool = False,
) -> tuple[dict, dict]:
    """
    Measures score maps in `.npy` files.

    Where a process group of `torch.distributed` exists, each process measures its share, and the counts are added up.

    Args:
        folder (`str` or `os.PathLike`):
            Where the maps are: arrays of shape `(height, width)`, any size and range of values, in
            `<image id>.npy` or, without the image's extension, `<stem>.npy`.
        metadata ([`WsolMetadata`]): what is true about the images.
        protocol (`str` or [`~transformers_sat.metrics.Protocol`], *optional*, defaults to `"wsoleval"`):
            `"wsoleval"`: the maps show the whole images. `"sat"`: they show the centre crop of that protocol.
        localization_threshold (`str` or `float`, *optional*, defaults to `"oracle"`):
            `"oracle"` for the best on these maps, or a number from 0 to 1. For boxes only.
        mask_root (`str` or `os.PathLike`, *optional*): folder that the mask files of the metadata are relative to.
        show_progress (`bool`, *optional*, defaults to `False`): whether the first process shows a bar.

    Returns:
        `tuple` of the result and the curves: for boxes those of [`~transformers_sat.metrics.BoxAccuracy`], with
        `by_class`, the number of images and GT-known Loc of each class, if the metadata has classes; for masks those
        of [`~transformers_sat.metrics.PixelAveragePrecision`]. `num_non_finite_maps` and, if there are any,
        `non_finite_image_ids` tell of maps whose values overflow when they are normalized or resized; they count as
        maps that show nothing.

    Raises:
        `ValueError`: if maps or masks are missing, cannot be read, have another shape than `(height, width)` or hold a
            NaN or an infinity: one error with all of them, a line each. Also if `localization_threshold` or
            `mask_root` do not fit.
    """
    protocol = get_protocol(protocol)
    has_masks = bool(metadata.masks)
    if has_masks and localization_threshold != "oracle":
        raise ValueError(
            f"`localization_threshold` is for boxes; these data have masks, measured at all thresholds. Got "
            f"{localization_threshold}."
        )
    if has_masks and mask_root is None:
        raise ValueError("`mask_root` is missing: the folder that the mask files in localization.txt are relative to.")
    if not has_masks and isinstance(localization_threshold, str) and localization_threshold != "oracle":
        raise ValueError(
            f'`localization_threshold` must be "oracle" or a number from 0 to 1, got {localization_threshold!r}.'
        )
    if has_masks:
        counter = _PixelCounter(metadata, protocol, mask_root)
    else:
        counter = _BoxCounter(metadata, protocol, localization_threshold)
    problems, non_finite = [], []
    share = share_of_process(len(metadata.image_ids))
    is_hidden = not show_progress or process_count()[0] > 0
    for index in tqdm(share, desc="score maps", unit="map", file=sys.stderr, disable=is_hidden):
        name = metadata.image_ids[index]
        try:
            localization_map = read_map(folder, name)
            # Once something is wrong there will be no figures; what is left is to find all that is wrong.
            counter.check(name) if problems else counter.update(localization_map, name)
            if not counter.is_finite(localization_map):
                non_finite.append((index, name))
        except _UnusableFile as error:
            problems.append((index, str(error)))
    problems = sorted(gather_object(problems))
    if problems:
        listed = "\n".join(problem for _, problem in problems)
        raise ValueError(f"{len(problems)} of {len(metadata.image_ids)} images cannot be measured:\n{listed}")
    result, curves = counter.compute()
    if names := [name for _, name in sorted(gather_object(non_finite))]:
        result["non_finite_image_ids"] = names
    return result, curves


class _UnusableFile(ValueError):
    """A map or a mask that cannot be measured: the kind of problem, and the file."""


class _Counter:
    """The metric of some maps, a `BoxAccuracy` or a `PixelAveragePrecision`."""

    def is_finite(self, localization_map: np.ndarray) -> bool:
        maps = torch.from_numpy(localization_map)[None]
        return bool(self.metric.protocol.finite_maps(maps, self.metric.image_size)[0])


class _BoxCounter(_Counter):
    def __init__(self, metadata: WsolMetadata, protocol: Protocol, threshold: str | float):
        self.metadata, self.protocol = metadata, protocol
        self.given = None if threshold == "oracle" else threshold
        self.metric = BoxAccuracy(protocol, protocol.thresholds_to_count(threshold))
        # Hits by class and threshold, and the images of each class.
        self.classes = sorted(set(metadata.labels.values()))
        self.hits = np.zeros((len(self.classes), len(self.metric.thresholds)), dtype=np.int64)
        self.images = np.zeros(len(self.classes), dtype=np.int64)

    def check(self, name: str):
        """Boxes have no files of their own."""

    def update(self, localization_map: np.ndarray, name: str):
        x0, y0, x1, y1 = self.metadata.boxes[name].T
        bbox = np.stack([x0, y0, x1 - x0, y1 - y0], axis=1)
        boxes = self.protocol.ground_truth_boxes(bbox, self.metadata.image_sizes[name])
        ious = self.metric.update(torch.from_numpy(localization_map)[None], [boxes])[0]
        if self.classes:
            row = self.classes.index(self.metadata.labels[name])
            self.hits[row] += ious >= 0.5
            self.images[row] += 1

    def compute(self) -> tuple[dict, dict]:
        self.metric.all_reduce_()
        parts = gather_object([(self.hits, self.images)])
        hits, images = (sum(arrays) for arrays in zip(*parts))
        result = self.metric.compute(self.given)
        if self.classes:
            at = int(np.abs(self.metric.thresholds - result["threshold"]).argmin())
            result["by_class"] = {
                label: {"num_images": int(number), "gt_known_loc": 100.0 * int(right) / int(number)}
                for label, number, right in zip(self.classes, images, hits[:, at])
                if number
            }
        return result, self.metric.curves()


class _PixelCounter(_Counter):
    def __init__(self, metadata: WsolMetadata, protocol: Protocol, mask_root: str | os.PathLike):
        self.metadata, self.protocol, self.mask_root = metadata, protocol, Path(mask_root)
        self.metric = PixelAveragePrecision()

    def check(self, name: str):
        self._masks(name)

    def update(self, localization_map: np.ndarray, name: str):
        mask, ignored = self._masks(name)
        self.metric.update(torch.from_numpy(localization_map)[None], [mask], [ignored])

    def compute(self) -> tuple[dict, dict]:
        self.metric.all_reduce_()
        return self.metric.compute() | {"protocol": self.protocol.name}, self.metric.curve()

    def _masks(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The union of an image's masks and the region to leave out, in the protocol's frame."""
        mask = np.any([self._read(file) for file in self.metadata.masks[name]], axis=0)
        ignore_mask = self.metadata.ignore_masks.get(name)
        return mask, np.zeros_like(mask) if ignore_mask is None else self._read(ignore_mask)

    def _read(self, file: str) -> np.ndarray:
        path = self.mask_root / file
        if not path.is_file():
            raise _UnusableFile(f"missing mask: {path}")
        try:
            mask = read_mask(read_image(path, path.name))
        except ValueError as error:
            raise _UnusableFile(f"unreadable mask: {path} ({error})") from error
        return self.protocol.mask_in_frame(mask, self.metric.image_size)


def read_map(folder: str | os.PathLike, name: str) -> np.ndarray:
    """
    Reads the map of an image.

    Returns:
        `np.ndarray` of shape `(height, width)`: float64 where the file holds that, float32 otherwise.

    Raises:
        `ValueError`: if it is missing, unreadable, of another shape or not finite; the message has kind and path.
    """
    path = Path(folder, f"{name}.npy")
    if not path.is_file():
        path = Path(folder, name).with_suffix(".npy")
    if not path.is_file():
        raise _UnusableFile(f"missing map: {Path(folder, name)}.npy")
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # truncated headers raise anything from EOFError to SyntaxError
        raise _UnusableFile(f"unreadable map: {path} ({error})") from error
    if array.dtype.kind not in "fiub":
        raise _UnusableFile(f"map that holds no numbers: {path} (dtype {array.dtype})")
    if array.ndim != 2 or array.size == 0:
        raise _UnusableFile(f"map that does not have the shape (height, width): {path} {array.shape}")
    if not np.isfinite(array).all():
        raise _UnusableFile(f"map with NaN or infinite values: {path}")
    return array.astype(np.float64 if array.dtype == np.float64 else np.float32)


def as_size(text: str, line: str, name: str) -> int:
    size = as_number(text, line, name)
    if size < 1:
        raise ValueError(f"{line}, `{name}`: an image has at least one pixel, got {size}.")
    return size


def checked_corners(corners: Sequence[float], line: str) -> Sequence[float]:
    x0, y0, x1, y1 = corners
    if not all(map(math.isfinite, corners)) or x1 < x0 or y1 < y0:
        shown = ", ".join(f"{corner:g}" for corner in corners)
        raise ValueError(f"{line}: a box is x0, y0, x1, y1 with x0 up to x1 and y0 up to y1, got {shown}.")
    return corners


def check_inside(corners: Sequence[float], size: tuple[int, int], line: str):
    """Checks corners against the image's `(height, width)`; they may reach past the right and lower edge, as some do."""
    x0, y0, x1, y1 = corners
    height, width = size
    shown = ", ".join(f"{corner:g}" for corner in corners)
    if x0 < 0 or y0 < 0 or x0 >= width or y0 >= height:
        raise ValueError(
            f"{line}: the box {shown} (x0, y0, x1, y1) lies outside its image of {width} x {height} pixels."
        )
    if is_in_fractions((x0, y0, x1 - x0, y1 - y0)) and max(height, width) > 2:
        raise ValueError(
            f"{line}: the box {shown} (x0, y0, x1, y1) lies within one pixel; multiply fractions of the image by its width "
            "and height."
        )


__all__ = ["WsolMetadata", "evaluate_score_maps", "read_map"]
