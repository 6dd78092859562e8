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
"""Boxes of the column `objects`, and sizes of masks, checked before anything is measured with them."""

from collections.abc import Iterator, Sequence

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers.utils import logging

from ..box_values import (
    EDGE_TOLERANCE,
    distance_past_edge,
    has_no_area,
    have_same_proportions,
    is_in_fractions,
    is_outside,
    numbers,
)
from ..fields import shown
from ..model.images_sat import opened_image, upright_size
from .box_columns import FORM, LISTS_OF_NUMBERS


logger = logging.get_logger(__name__)

# Images of a split whose size is looked at before it is measured, without decoding them.
NUM_SIZES = 256

# Official boxes reach a little past the edge in a few images; corners given as x, y, width, height do so in most, and far.
FAR_PAST_EDGE = 0.1
MAX_SHARE_FAR_PAST_EDGE = 0.05


def check_boxes(dataset: datasets.Dataset, name: str, column: str = "objects"):
    """
    Checks the boxes of a split, as far as they tell without their images.

    Args:
        dataset (`datasets.Dataset`): the split; one without the column has nothing to check.
        name (`str`): what errors call it.
        column (`str`, *optional*, defaults to `"objects"`): its column of boxes.

    Raises:
        `ValueError`: at the first box that is not of four finite numbers, has no area, lies left of or above any image, or is
            in fractions of the image; the message has the row and the box.
    """
    if column not in dataset.column_names or not len(dataset):
        return
    rows, boxes = _box_table(dataset, name, column)
    if not len(boxes):
        return
    x, y, width, height = boxes.T
    with np.errstate(invalid="ignore", over="ignore"):
        right, bottom = x + width, y + height
        suspect = ~np.isfinite(boxes).all(axis=1) | (width <= 0) | (height <= 0) | (right <= 0) | (bottom <= 0)
        suspect |= np.maximum(right, bottom) <= 2
    for number in np.flatnonzero(suspect).tolist():
        box = tuple(boxes[number].tolist())
        if problem := _problem(box):
            raise ValueError(_message(name, int(rows[number]), column, box, problem))


def with_checked_boxes(dataset: datasets.Dataset, name: str, column: str = "objects") -> datasets.Dataset:
    """A split after [`check_boxes`], whose boxes are numbers also where they stand as text."""
    check_boxes(dataset, name, column)
    objects = dataset.features.get(column, {})
    box = getattr(objects.get("bbox"), "feature", None)
    number = getattr(box, "feature", None)
    if not isinstance(number, datasets.Value) or number.dtype not in ("string", "large_string"):
        return dataset
    return dataset.cast_column(column, dict(objects) | {"bbox": LISTS_OF_NUMBERS})


def check_boxes_with_images(dataset: datasets.Dataset, name: str):
    """
    Checks the boxes of a split against the sizes of its images, of some hundreds evenly over the split.

    Args:
        dataset (`datasets.Dataset`): rows with `image` (not decoded) and `objects`.
        name (`str`): what messages call it.

    Raises:
        `ValueError`: if a box lies outside its image, or boxes of many images reach far past the edge, as corners do that
            are given as sizes; the message has the row and the box.
    """
    num_seen, past_edge, far = 0, 0, []
    for row, size, boxes in _sized_boxes(dataset, _rows_over(dataset)):
        num_seen += 1
        check_boxes_of_image(boxes, size, name, row)
        worst = max(boxes, key=lambda box: distance_past_edge(box, size))
        distance = distance_past_edge(worst, size)
        past_edge += distance > EDGE_TOLERANCE
        if distance > EDGE_TOLERANCE + FAR_PAST_EDGE * max(size):
            far.append((row, size, worst))
    if len(far) > MAX_SHARE_FAR_PAST_EDGE * num_seen:
        row, (width, height), box = far[0]
        problem = (
            f"reaches past its image of {width} x {height} pixels, and so do boxes of {len(far)} of {num_seen} images. Are "
            "they corners?"
        )
        raise ValueError(_message(name, row, "objects", box, problem))
    if past_edge:
        logger.warning(
            f"{name}: boxes of {past_edge} of {num_seen} images that were looked at reach more than a pixel past the edge; "
            "the protocol clips them."
        )


def check_boxes_of_image(boxes: list, size: tuple[int, int], name: str, row: int):
    """Checks that no box of a row is outside its image, of that width and height; `ValueError` with the row otherwise."""
    for box in boxes:
        if is_outside(box, size):
            problem = f"lies outside its image of {size[0]} x {size[1]} pixels."
            raise ValueError(_message(name, row, "objects", box, problem))


def check_masks_with_images(dataset: datasets.Dataset, name: str, columns: Sequence[str]):
    """
    Checks that masks have the proportions of their images, of some hundreds evenly over the split.

    Args:
        dataset (`datasets.Dataset`): rows with `image` and the masks, not decoded.
        name (`str`): what messages call it.
        columns (`Sequence[str]`): columns of the masks.

    Raises:
        `ValueError`: if one has others; the message has the row and both sizes.
    """
    for row in _rows_over(dataset):
        example = dataset[row]
        size = _size_of(example["image"])
        for column in columns:
            mask_size = _size_of(example[column])
            if size is not None and mask_size is not None:
                check_mask_of_image(mask_size, size, name, row, column)


def check_mask_of_image(mask_size: tuple[int, int], size: tuple[int, int], name: str, row: int, column: str):
    """Checks that a mask has the proportions of its image, each of a width and height; `ValueError` with the row."""
    if not have_same_proportions(mask_size, size):
        raise ValueError(
            f"{name}, row {row}: `{column}` has {mask_size[0]} x {mask_size[1]} pixels, and the image {size[0]} x {size[1]}; a "
            "mask shows the whole upright image, at any resolution."
        )


def _rows_over(dataset: datasets.Dataset) -> list[int]:
    """Some hundreds of rows, evenly over the split."""
    return np.unique(np.linspace(0, len(dataset) - 1, min(NUM_SIZES, len(dataset))).astype(int)).tolist()


def _box_table(dataset: datasets.Dataset, name: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows, and their boxes of shape `(num_boxes, 4)`."""
    objects = dataset.select_columns(column).with_format("arrow")[:][column]
    rows, boxes, first = [np.empty(0, dtype=int)], [np.empty((0, 4))], 0
    for chunk in objects.chunks if isinstance(objects, pa.ChunkedArray) else [objects]:
        bbox = pc.struct_field(chunk, "bbox")
        try:
            parents, inside = pc.list_parent_indices(bbox), pc.list_flatten(bbox)
            lengths = pc.fill_null(pc.list_value_length(inside), 0).to_numpy(zero_copy_only=False)
            values = pc.fill_null(pc.cast(pc.list_flatten(inside), pa.float64()), float("nan"))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            given = [(row, value) for row, value in enumerate(bbox.to_pylist(), start=first) if value]
            first += len(chunk)
            if not given:
                continue
            raise ValueError(
                f"{name}, row {given[0][0]}: `bbox` in the column `{column}` must hold lists of boxes, such as "
                f"[[x, y, width, height]], got {shown(given[0][1])}. {FORM}."
            ) from error
        parents = parents.to_numpy(zero_copy_only=False)
        if len(wrong := np.flatnonzero(lengths != 4)):
            row, box = first + int(parents[wrong[0]]), inside[int(wrong[0])].as_py()
            raise ValueError(f"{name}, row {row}: `bbox` in the column `{column}` has the box {shown(box)}. {FORM}.")
        rows.append(parents + first)
        boxes.append(values.to_numpy(zero_copy_only=False).reshape(-1, 4))
        first += len(chunk)
    return np.concatenate(rows), np.concatenate(boxes)


def _sized_boxes(dataset: datasets.Dataset, rows: list[int]) -> Iterator[tuple[int, tuple[int, int], list]]:
    """Row, upright size and boxes, of images that have boxes and whose header can be read."""
    for row in rows:
        example = dataset[row]
        boxes = (example["objects"] or {}).get("bbox")
        size = _size_of(example["image"]) if boxes else None
        if size is not None:
            yield row, size, boxes


def _size_of(image: dict | None) -> tuple[int, int] | None:
    """Upright width and height of an image that is not decoded; none of one whose header cannot be read."""
    if image is None or (image["bytes"] is None and image["path"] is None):
        return None
    try:
        with opened_image(image["path"] if image["bytes"] is None else image["bytes"], "of a row") as opened:
            return upright_size(opened)
    except (ValueError, OSError):
        # told with its name where it is decoded
        return None


def _problem(box: tuple[float, float, float, float]) -> str | None:
    if has_no_area(box):
        return "has no area."
    if box[0] + box[2] <= 0 or box[1] + box[3] <= 0:
        return "lies outside its image."
    if is_in_fractions(box):
        return "lies within one pixel; multiply fractions of the image by its width and height."
    return None


def _message(name: str, row: int, column: str, box: tuple[float, float, float, float], problem: str) -> str:
    return f"{name}, row {row}: the box {numbers(box)} in `{column}` {problem} {FORM}."


__all__ = [
    "check_boxes",
    "check_boxes_of_image",
    "check_boxes_with_images",
    "check_mask_of_image",
    "check_masks_with_images",
    "with_checked_boxes",
]
