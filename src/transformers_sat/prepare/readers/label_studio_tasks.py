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
"""Tasks as Label Studio exports them: which annotation of one counts, and its classes and boxes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as default

from ...fields import checked, checked_name, field, shown


# Fields of a JSON-MIN task that are of the annotation; the others are its data and what was drawn or chosen.
ANNOTATION_FIELDS = ("annotation_id", "annotator", "created_at", "updated_at", "lead_time")

Box = tuple[float, float, float, float]


@dataclass
class Annotation:
    """
    What was drawn and chosen in an image.

    Attributes:
        classes (`set[str]`): those that were chosen for the image, or else those of its regions.
        boxes (`list` of `(x, y, width, height)`): in pixels.
        size (`(width, height)`, *optional*): of the image that was drawn on, in pixels.
        is_chosen (`bool`): whether the class was chosen for the image.
    """

    classes: set[str] = default(default_factory=set)
    boxes: list[Box] = default(default_factory=list)
    size: tuple[int, int] | None = None
    is_chosen: bool = False


def is_task(entry: object) -> bool:
    """Whether an entry of a list is a task, in either form."""
    return isinstance(entry, dict) and (
        (isinstance(entry.get("data"), dict) and ("annotations" in entry or "completions" in entry))
        or "annotation_id" in entry
    )


def tasks_of(contents: list, path: str) -> list[tuple[str, object]]:
    """The tasks of a file, each with its place; those of JSON-MIN, which has a line an annotation, brought to JSON's form."""
    tasks, by_id = [], {}
    for number, entry in enumerate(contents, start=1):
        task = _from_min(entry) if isinstance(entry, dict) and "annotation_id" in entry else entry
        first = by_id.get(str(task["id"])) if task is not entry and task.get("id") is not None else None
        if first is not None:
            first["annotations"] += task["annotations"]
            continue
        if task is not entry:
            by_id[str(task.get("id"))] = task
        tasks.append((f"{path}, task {number}", task))
    return tasks


def annotation_of(task: dict, where: str) -> Annotation | None:
    """
    The annotation of a task that counts: of those that were not cancelled the one that is marked as the truth, or else the
    newest.

    Raises:
        `ValueError`: if it cannot be read; the message has task and field.
    """
    name = "completions" if "completions" in task else "annotations"
    annotations = [
        each for each in field(task, name, list, where) if not field(each, "was_cancelled", object, where, True)
    ]
    if not annotations:
        return None
    return _read_annotation(max(reversed(annotations), key=_rank), where)


def _rank(annotation: dict) -> tuple[bool, str]:
    return annotation.get("ground_truth") is True, str(
        annotation.get("updated_at") or annotation.get("created_at") or ""
    )


def _read_annotation(annotation: dict, where: str) -> Annotation:
    chosen, drawn, boxes, size = set(), set(), {}, None
    for number, region in enumerate(field(annotation, "result", list, where), start=1):
        place = f"{where}, region {number}"
        kind = field(region, "type", str, place, optional=True) or ""
        value = field(region, "value", dict, place, optional=True) or {}
        if kind == "choices":
            if "x" not in value and "points" not in value:
                chosen.update(_names(value, kind, place))
            continue
        if kind.endswith("labels"):
            drawn.update(_names(value, kind, place))
        if kind in ("rectanglelabels", "polygonlabels", "rectangle", "polygon") or (
            kind == "labels" and "height" in value
        ):
            if field(region, "image_rotation", float, place, optional=True):
                raise ValueError(f"{place}: it was drawn on a turned image; turn the image back there, or the file.")
            size = tuple(field(region, name, int, place) for name in ("original_width", "original_height"))
            # a region whose label is told apart from it comes twice
            boxes[str(region.get("id", number))] = _box(value, size, place)
    return Annotation(chosen or drawn, list(boxes.values()), size, bool(chosen))


def _names(value: dict, kind: str, where: str) -> list[str]:
    names = value.get(kind)
    if not isinstance(names, list):
        raise ValueError(f"{where}: `{kind}` must be a list of names, got {shown(names)}.")
    return [checked_name(name, kind, where) for name in names]


def _box(value: dict, size: tuple[int, int], where: str) -> Box:
    """The box of a region in pixels, of percents of the image."""
    if "points" in value:
        return _box_around(_points(value["points"], size, where))
    x, y, width, height = (
        field(value, name, float, where) / 100 * side for name, side in zip(("x", "y", "width", "height"), size * 2)
    )
    angle = math.radians(field(value, "rotation", float, where, optional=True) or 0)
    if not angle or not math.isfinite(angle):
        return x, y, width, height
    # clockwise about the corner at x, y
    right, down = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    corners = [
        (x + across * right[0] + along * down[0], y + across * right[1] + along * down[1])
        for across in (0, width)
        for along in (0, height)
    ]
    # the corners of the box around a turned one may reach outside where the turned one does not
    left, top, far_width, far_height = _box_around(corners)
    x0, y0 = max(left, 0.0), max(top, 0.0)
    return x0, y0, min(left + far_width, size[0]) - x0, min(top + far_height, size[1]) - y0


def _points(points: object, size: tuple[int, int], where: str) -> list[tuple[float, float]]:
    found = []
    for point in checked(points, "points", list, where):
        if not isinstance(point, list) or len(point) != 2:
            raise ValueError(f"{where}: `points` must hold pairs x, y, got {shown(point)}.")
        found.append(tuple(checked(each, "points", float, where) / 100 * side for each, side in zip(point, size)))
    if not found:
        raise ValueError(f"{where}: `points` is empty.")
    return found


def _box_around(points: list[tuple[float, float]]) -> Box:
    xs, ys = zip(*points)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _from_min(entry: dict) -> dict:
    """A task of JSON-MIN in JSON's form: what was drawn and chosen stands there under names of the project's own."""
    result = []
    for name, value in entry.items():
        if isinstance(value, list):
            result.extend(_regions_from_min(value))
        elif isinstance(value, dict) and isinstance(value.get("choices"), list):
            result.append({"type": "choices", "value": value})
        elif name == "choice" and isinstance(value, str):
            result.append({"type": "choices", "value": {"choices": [value]}})
    data = {name: value for name, value in entry.items() if name not in ANNOTATION_FIELDS}
    annotation = {"result": result} | {name: entry.get(name) for name in ("created_at", "updated_at")}
    return {"id": entry.get("id"), "data": data, "annotations": [annotation]}


def _regions_from_min(values: list) -> Iterator[dict]:
    """Regions, whose `value` has all that is around it in JSON."""
    for value in values:
        kind = next((name for name in value if name.endswith("labels")), None) if isinstance(value, dict) else None
        if kind is not None:
            sizes = {name: value.get(name) for name in ("original_width", "original_height", "image_rotation")}
            yield {"type": kind, "value": value, **sizes}


__all__ = ["Annotation", "annotation_of", "is_task", "tasks_of"]
