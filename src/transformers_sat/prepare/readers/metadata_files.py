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
"""Files of metadata beside images: `metadata.jsonl`, `.csv` or `.parquet`, and what a line of one says."""

import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as default

import pyarrow as pa
import pyarrow.parquet as pq

from ...box_values import looks_like_boxes
from ...fields import checked, checked_name, field, shown
from ..archives import MAX_LIST_BYTES, Source
from .json_text import parse_json
from .lists import read_csv


METADATA_FILES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")

# As programs write a column of whole numbers in which some are missing.
LARGEST_FLOAT = 2**53
WHOLE_FLOAT = re.compile(r"(-?\d+)\.0+")


@dataclass
class Line:
    """
    A line of a file of metadata.

    Attributes:
        where (`str`): file and line, for messages.
        columns (`dict`): what it says.
        error (`ValueError`, *optional*): why it cannot be read.
    """

    where: str
    columns: dict = default(default_factory=dict)
    error: ValueError | None = None


def is_metadata(path: str) -> bool:
    return path.rsplit("/", 1)[-1] in METADATA_FILES


def read_metadata(source: Source, file: str) -> Iterator[Line]:
    """
    Reads a file of metadata.

    Raises:
        `ValueError`: if it cannot be read as a whole.
    """
    if file.endswith(".csv"):
        yield from _read_csv(source, file)
    elif file.endswith(".parquet"):
        yield from _read_parquet(source, file)
    else:
        for where, text in source.lines(file):
            try:
                yield Line(where, _read_json(where, text))
            except ValueError as error:
                yield Line(where, error=error)


def _read_csv(source: Source, file: str) -> Iterator[Line]:
    rows = read_csv(source, file)
    where, names = next(rows, (None, []))
    if not names:
        raise ValueError(f"{file} is empty.")
    if len(set(names)) < len(names):
        raise ValueError(f"{where}: a column is there twice: {shown(names)}.")
    for where, values in rows:
        if len(values) == len(names):
            yield Line(where, dict(zip(names, values, strict=True)))
        else:
            yield Line(where, error=ValueError(f"{where}: {len(values)} values for {len(names)} columns."))


def _read_json(where: str, text: str) -> dict:
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise ValueError(f'{where}: expected an object such as {{"file_name": ...}}, got {shown(text)}.')
    return value


def _read_parquet(source: Source, file: str) -> Iterator[Line]:
    """Each row; labels that `datasets` wrote as numbers have their names."""
    try:
        table = pq.ParquetFile(io.BytesIO(source.read(file, MAX_LIST_BYTES)))
        names = _class_names(table.schema_arrow)
        rows = (row for batch in table.iter_batches() for row in batch.to_pylist())
        for number, row in enumerate(rows, start=1):
            where, label = f"{file}, row {number}", row.get("label")
            if names and isinstance(label, int) and label >= 0:
                if label >= len(names):
                    yield Line(where, row, ValueError(f"{where}: `label` must be below {len(names)}, got {label}."))
                    continue
                row["label"] = names[label]
            yield Line(where, row)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} cannot be read as Parquet: {error}") from error


def _class_names(schema: pa.Schema) -> list[str]:
    """The names of the classes in the column `label`, where `datasets` wrote the file."""
    try:
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def read_label(value: object, where: str) -> str | None:
    """
    The name of a class; `None` for what stands for none in a column of numbers.

    Raises:
        `ValueError`: if it is neither text nor a number.
    """
    if isinstance(value, float) and abs(value) < LARGEST_FLOAT and value == int(value):
        value = int(value)
    name = checked_name(value, "label", where).strip()
    name = match[1] if (match := WHOLE_FLOAT.fullmatch(name)) else name
    return None if not name or name == "-1" or (isinstance(value, float) and math.isnan(value)) else name


def has_boxes(objects: object) -> bool:
    """Whether objects hold boxes, or what should have been some; others have a column of that name for something else."""
    if isinstance(objects, str):
        try:
            objects = parse_json(objects, "")
        except ValueError:
            return objects.lstrip().startswith(("{", "["))
    inside = objects if isinstance(objects, list) else [objects]
    return looks_like_boxes(objects) or any(isinstance(each, dict) and each.get("bbox") is not None for each in inside)


def read_objects(where: str, objects: dict | list | str | None) -> tuple[list[tuple] | None, list[str] | None]:
    """Boxes, and their classes where they are given, of a struct of lists or a list of structs, or of JSON of either."""
    if isinstance(objects, str) and objects:
        objects = parse_json(objects, f"{where}, `objects`")
    if not objects:
        return None, None
    if isinstance(objects, list) and all(isinstance(each, dict) for each in objects):
        names = [name for name in ("bbox", "category") if name in objects[0]]
        objects = {name: [each.get(name) for each in objects] for name in names}
    if isinstance(objects, dict) and "bbox" in objects and objects["bbox"] is None:
        return None, None
    if not isinstance(objects, dict):
        raise ValueError(
            f'{where}: `objects` must be like {{"bbox": [[x, y, width, height], ...]}}, got {shown(objects)}.'
        )
    boxes = []
    for box in field(objects, "bbox", list, f"{where}, `objects`"):
        if not isinstance(box, list) or len(box) != 4:
            raise ValueError(f"{where}: a box must be [x, y, width, height] (`bbox`), got {shown(box)}.")
        boxes.append(tuple(checked(number, "bbox", float, where) for number in box))
    categories = objects.get("category", objects.get("categories"))
    if not isinstance(categories, list) or len(categories) != len(boxes):
        return boxes, None
    # classes of the boxes are of no use where they are not those of the images, whatever they are
    return boxes, [str(each) for each in categories]


__all__ = ["METADATA_FILES", "Line", "has_boxes", "is_metadata", "read_label", "read_metadata", "read_objects"]
