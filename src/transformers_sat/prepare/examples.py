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
"""One image of the lists as a row in the schema: read, decoded to see that it can be, checked and turned upright."""

import io
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import datasets
import numpy as np
import PIL.Image

from ..box_values import have_same_proportions
from ..model.images_sat import (
    MAX_IMAGE_BYTES,
    QUARTER_TURNS,
    TURNS,
    draft_jpeg,
    opened_image,
    orientation_of,
    read_image,
)
from .records import ImageRecord, Reader
from .validation import InvalidImage, check_boxes, check_classes


@dataclass
class Example:
    """
    A row.

    Attributes:
        row (`dict`): the columns, as `datasets` encodes them.
        num_past_edge (`int`): number of its boxes that reach past the edge.
    """

    row: dict
    num_past_edge: int


def features_of(reader: Reader) -> datasets.Features:
    """The columns of a data set in the schema."""
    label = datasets.ClassLabel(names=reader.class_names)
    columns = {"image": datasets.Image(), "image_id": datasets.Value("string"), "label": label}
    if reader.has_boxes:
        box = datasets.List(datasets.Value("float32"), length=4)
        columns["objects"] = {"bbox": datasets.List(box), "category": datasets.List(label)}
    if reader.has_masks:
        columns["mask"] = datasets.Image()
    if reader.has_ignore_masks:
        columns["ignore_mask"] = datasets.Image()
    return datasets.Features(columns)


def read_example(record: ImageRecord, reader: Reader, class_numbers: dict[str, int]) -> Example:
    """
    Reads an image and all that belongs to it.

    The image's bytes stay as they are. Its boxes and masks are brought to the upright image: where its EXIF orientation
    exchanges width and height, the size in the lists, or else that of the masks, tells which of the two they are drawn on;
    without either they are taken to be upright.

    Args:
        image ([`ImageRecord`]): as the lists have it.
        reader ([`Reader`]): knows the files.
        class_numbers (`dict[str, int]`): number of each class.

    Raises:
        [`InvalidImage`]: if anything is wrong with it.
    """
    try:
        record = reader.annotate(record)
    except InvalidImage:
        raise
    except ValueError as error:
        raise InvalidImage.of(record, "unreadable_annotation", _without_place(error, reader)) from error
    check_classes(record, class_numbers)
    content, stored_size, orientation = _read_image(record, reader)
    masks = [_read_mask(record, reader, file, reader.object_pixels) for file in record.masks]
    ignored = [_read_mask(record, reader, file, reader.ignored_pixels) for file in record.ignore_masks]

    upright_size = stored_size[::-1] if orientation in QUARTER_TURNS else stored_size
    if record.size is not None and tuple(record.size) not in (stored_size, upright_size):
        width, height = record.size
        raise InvalidImage.of(
            record,
            "size_mismatch",
            f"{record.image} has {stored_size[0]} x {stored_size[1]} pixels, and {width} x {height} in the list.",
        )
    is_stored = _is_stored(record, masks or ignored, stored_size, upright_size)
    size = stored_size if is_stored else upright_size
    num_past_edge = check_boxes(record, size, reader.keeps_official_boxes)
    if is_stored and record.boxes:
        record = replace(record, boxes=[turn_box(box, stored_size, orientation) for box in record.boxes])
    mask, ignore_mask = _merge_masks(record, masks, ignored, size)
    turn = TURNS[orientation] if is_stored else None

    row = {
        "image": {"bytes": content, "path": PurePosixPath(record.image).name},
        "image_id": record.image_id,
        "label": class_numbers[record.label],
    }
    if reader.has_boxes:
        row["objects"] = _objects(record, class_numbers)
    if reader.has_masks:
        row["mask"] = _encode_mask(record, mask, turn)
    if reader.has_ignore_masks:
        row["ignore_mask"] = _encode_mask(record, ignore_mask, turn)
    return Example(row, num_past_edge)


def turn_box(
    box: tuple[float, float, float, float], size: tuple[int, int], orientation: int
) -> tuple[float, float, float, float]:
    """
    Brings a box of an image as it is stored to the upright image.

    Args:
        box (`(x, y, width, height)`): in pixels of the stored image.
        size (`(width, height)`): of the stored image.
        orientation (`int`): EXIF orientation, 5 to 8: those that exchange width and height.
    """
    x, y, width, height = box
    from_right, from_bottom = size[0] - x - width, size[1] - y - height
    corner = {5: (y, x), 6: (from_bottom, x), 7: (from_bottom, from_right), 8: (y, from_right)}[orientation]
    return *corner, height, width


def _read_image(record: ImageRecord, reader: Reader) -> tuple[bytes, tuple[int, int], int]:
    """Bytes, size as stored and EXIF orientation of an image that can be decoded to its end."""
    content = _read_file(record, reader, record.image)
    try:
        with opened_image(content, record.image) as image:
            size = image.size
            # An eighth of a JPEG's pixels: all of its data are read, at a fraction of the time.
            draft_jpeg(image, 1)
            image.load()
            return content, size, orientation_of(image)
    except ValueError as error:
        raise InvalidImage.of(record, "undecodable", str(error)) from error


def _read_mask(record: ImageRecord, reader: Reader, file: str, pixels_of) -> np.ndarray:
    content = _read_file(record, reader, file)
    try:
        return pixels_of(read_image(content, file))
    except ValueError as error:
        raise InvalidImage.of(record, "undecodable", str(error)) from error


def _read_file(record: ImageRecord, reader: Reader, file: str) -> bytes:
    try:
        return reader.source.read(file, MAX_IMAGE_BYTES)
    except Exception as error:  # of the disk or of a damaged archive, whose readers raise errors of any kind
        reason = _without_place(error, reader)
        raise InvalidImage.of(record, "undecodable", f"The image {file} cannot be read: {reason}") from error


def _without_place(error: Exception, reader: Reader) -> str:
    """The message of an error without what is only so on this machine: `skipped.jsonl` is given to others."""
    return str(error).replace(str(reader.source.path), reader.source.path.name)


def _is_stored(
    record: ImageRecord, masks: list[np.ndarray], stored_size: tuple[int, int], upright_size: tuple[int, int]
) -> bool:
    """Whether boxes and masks are drawn on the image as it is stored, rather than upright."""
    if stored_size == upright_size:
        return False
    if record.size is not None:
        return tuple(record.size) == stored_size
    if masks:
        mask_size = masks[0].shape[::-1]
        return have_same_proportions(mask_size, stored_size) and not have_same_proportions(mask_size, upright_size)
    return False


def _merge_masks(
    record: ImageRecord, masks: list[np.ndarray], ignored: list[np.ndarray], size: tuple[int, int]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """
    The union of the masks, and that of what is ignored, without the object.

    They keep their own resolution where they share one: evaluation brings them to its frame once, as published.
    """
    sizes = {mask.shape[::-1] for mask in masks + ignored}
    for mask_size in sizes:
        if not have_same_proportions(mask_size, size):
            raise InvalidImage.of(
                record,
                "mask_size",
                f"a mask of {record.image} has {mask_size[0]} x {mask_size[1]} pixels, the image {size[0]} x {size[1]}.",
            )
    if len(sizes) > 1:
        masks, ignored = [[_resize_mask(mask, size) for mask in group] for group in (masks, ignored)]
    mask = np.logical_or.reduce(masks) if masks else None
    ignore_mask = np.logical_or.reduce(ignored) if ignored else None
    if mask is not None and ignore_mask is not None:
        ignore_mask &= ~mask
    return mask, ignore_mask


def _resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(PIL.Image.fromarray(mask).resize(size, PIL.Image.Resampling.NEAREST))


def _encode_mask(record: ImageRecord, mask: np.ndarray | None, turn: PIL.Image.Transpose | None) -> dict | None:
    if mask is None:
        return None
    image = PIL.Image.fromarray(mask.astype(np.uint8) * 255)
    file = io.BytesIO()
    (image if turn is None else image.transpose(turn)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": f"{PurePosixPath(record.image).stem}.png"}


def _objects(record: ImageRecord, class_numbers: dict[str, int]) -> dict | None:
    if not record.boxes:
        return None
    categories = record.categories or [record.label] * len(record.boxes)
    return {
        "bbox": [[float(number) for number in box] for box in record.boxes],
        "category": [class_numbers[category] for category in categories],
    }


__all__ = ["Example", "features_of", "read_example", "turn_box"]
