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
"""A split as wsolevaluation writes it down: a folder of lists, with classes and boxes or masks."""

import itertools
from collections.abc import Iterable, Iterator

from ...fields import as_number, shown
from ..archives import Source
from ..records import ImageRecord
from .lists import corners_to_box, problem_of, read_fields, roots_with


# Splits of the metadata: `val` is the one that thresholds are chosen on.
SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}

# More than any data set has; a list with a larger number would make as many names.
MAX_CLASSES = 1_000_000

# Of which one has to be there: each is looked for in the whole source.
MAX_IMAGES_SOUGHT = 20


Corners = tuple[float, float, float, float]


def read_localization(
    source: Source, path: str
) -> Iterator[tuple[str, str, Corners | None, tuple[str, str | None] | None]]:
    """
    Reads a `localization.txt`: a line is `image,x0,y0,x1,y1`, or `image,mask,region to leave out`, where the region may be
    empty, or missing with its comma.

    Args:
        source ([`Source`]): where the list is.
        path (`str`): its path.

    Yields:
        File and line, for errors, the image and, in a list of boxes, the corners of one, in a list of masks the files of
        one and of its region; the other is `None`.

    Raises:
        `ValueError`: if a line has other fields, or there are lines of both kinds.
    """
    kinds = set()
    for where, text in source.lines(path):
        name, corners, masks = read_located(text, where)
        kinds.add(masks is None)
        if len(kinds) > 1:
            raise ValueError(f"{path} mixes lines with boxes and lines with masks.")
        yield where, name, corners, masks


def read_located(text: str, where: str) -> tuple[str, Corners | None, tuple[str, str | None] | None]:
    """A line of a `localization.txt`, as [`read_localization`] gives it."""
    name, *fields = [field.strip() for field in text.split(",")]
    if len(fields) not in (1, 2, 4):
        raise ValueError(f"{where}: image and box, or image, mask and region to leave out, got {shown(text)}.")
    if len(fields) == 4:
        return name, tuple(as_number(field, where, "box", float) for field in fields), None
    return name, None, (fields[0], fields[1] if len(fields) == 2 else None)


def _read_label(text: str, where: str) -> tuple[int, tuple[str, str] | None]:
    """The number of a class, and what is wrong with it: -1 then."""
    try:
        label = as_number(text, where, "class")
    except ValueError as error:
        return -1, ("unreadable_annotation", str(error))
    if not 0 <= label < MAX_CLASSES:
        return -1, ("unknown_class", f"{where}: the class should be from 0 to {MAX_CLASSES - 1}, got {label}.")
    return label, None


class WsolevalSplit:
    """
    The lists of one split. What they say is read as wsolevaluation does: the region to leave out stands on the first
    line of an image, several lines of an image are several boxes or masks.

    Args:
        source ([`Source`]): where the lists and the images are.
        folder (`str`):
            Folder of the lists, ending in a slash: `image_ids.txt` and `class_labels.txt`, perhaps `localization.txt`,
            `image_sizes.txt` and `mapping.txt` (the names that the owner of the images gave them).

    Raises:
        `ValueError`: if a line does not have its fields, or the split's images are not in the source.
    """

    def __init__(self, source: Source, folder: str):
        self.source = source
        self.folder = folder
        self.split = SPLIT_NAMES[folder.rstrip("/").rpartition("/")[2]]
        self.boxes, self.masks, self.ignore_masks = {}, {}, {}
        self._unreadable: dict[str, ValueError] = {}
        if self._file("localization.txt") in source:
            self._read_localization()
        self.sizes = {}
        if self._file("image_sizes.txt") in source:
            for where, (name, width, height) in read_fields(source, self._file("image_sizes.txt"), 3, ","):
                self.sizes[name] = (as_number(width, where, "width"), as_number(height, where, "height"))
        self.own_names = {}
        self.image_root = self._find_images()
        self.mask_root = self._find_masks()

    def labels(self) -> Iterator[tuple[str, str, int, tuple[str, str] | None]]:
        """Yields file and line, the image, the number of its class, and what is wrong with that: it is -1 then."""
        labels = read_fields(self.source, self._file("class_labels.txt"), 2, ",")
        # Both lists have one order as a rule, so that no more than a line of a million is kept.
        ahead = {}
        for where, (name,) in read_fields(self.source, self._file("image_ids.txt"), 1):
            while name not in ahead:
                where_label, (labelled, label) = next(labels, (None, (None, None)))
                if labelled is None:
                    message = f"{name} has no line of its own in {self._file('class_labels.txt')}."
                    ahead[name] = -1, ("unreadable_annotation", message)
                else:
                    ahead[labelled] = _read_label(label, where_label)
            yield where, name, *ahead.pop(name)

    def records(self, class_names: list[str]) -> Iterator[ImageRecord]:
        """
        Yields the images of the split, in the order of `image_ids.txt`.

        One has a problem if its class is not known, or it has none of the boxes or masks that the split has.
        """
        for where, name, label, problem in self.labels():
            if problem is None and label >= len(class_names):
                problem = "unknown_class", f"class {label} is not one of 0 to {len(class_names) - 1}."
            if name in self._unreadable:
                problem = problem or problem_of(self._unreadable[name], where)
            for located in (self.boxes, self.masks):
                if located and name not in located:
                    message = f"{name} has no line in {self._file('localization.txt')}."
                    problem = problem or ("unreadable_annotation", message)
            yield ImageRecord(
                split=self.split,
                image_id=name,
                image=self.image_root + self.own_names.get(name, name),
                label="" if problem else class_names[label],
                where=where,
                boxes=self.boxes.get(name),
                size=self.sizes.get(name),
                masks=tuple(self.mask_root + mask for mask in self.masks.get(name, ())),
                ignore_masks=tuple(self.mask_root + mask for mask in self.ignore_masks.get(name, ())),
                problem=problem,
            )

    def _file(self, name: str) -> str:
        return self.folder + name

    def _read_localization(self):
        for where, text in self.source.lines(self._file("localization.txt")):
            try:
                name, corners, masks = read_located(text, where)
            except ValueError as error:
                self._unreadable[text.partition(",")[0].strip()] = error
                continue
            if corners is not None:
                self.boxes.setdefault(name, []).append(corners_to_box(*corners))
                continue
            mask, ignored = masks
            self.masks.setdefault(name, []).append(mask)
            if ignored:
                self.ignore_masks.setdefault(name, []).append(ignored)
        if self.boxes and self.masks:
            raise ValueError(f"{self._file('localization.txt')} mixes lines with boxes and lines with masks.")

    def _find_images(self) -> str:
        """The folder that the names are relative to, which the first image that is there tells."""
        places = [(where, name) for where, name, *_ in itertools.islice(self.labels(), MAX_IMAGES_SOUGHT)]
        if not places:
            raise ValueError(f"{self._file('image_ids.txt')} names no image.")
        root = self._first_root(name for _, name in places)
        if root is None and self._file("mapping.txt") in self.source:
            # ImageNetV2: wsolevaluation numbers the images, its owner names them by their contents
            for _, (number, own_name) in read_fields(self.source, self._file("mapping.txt"), 2, ","):
                self.own_names[f"val2/{number}"] = own_name
            root = self._first_root(self.own_names[name] for _, name in places if name in self.own_names)
        if root is None:
            where, name = places[0]
            raise ValueError(
                f"{where}: the image {name} is not in the source. Put the split's images there, in folders as "
                f"the list has them, or leave the folder {self.folder} out."
            )
        return root

    def _first_root(self, names: Iterable[str]) -> str | None:
        return next((root for name in names if (root := self._root_of(name)) is not None), None)

    def _find_masks(self) -> str:
        if not self.masks:
            return ""
        masks = [mask for masks in itertools.islice(self.masks.values(), MAX_IMAGES_SOUGHT) for mask in masks]
        root = self._first_root(masks)
        if root is None:
            raise ValueError(f"{self._file('localization.txt')}: the mask {masks[0]} is not in the source.")
        return root

    def _root_of(self, name: str) -> str | None:
        roots = roots_with(self.source, name)
        if len(roots) > 1:
            # wsolevaluation's scripts leave the archives beside what they unpacked of them, in a folder called as the set
            set_name = self.folder.rstrip("/").rpartition("/")[0].rpartition("/")[2]
            roots = [root for root in roots if set_name in root.split("/")] or roots
        if len(roots) > 1:
            raise ValueError(
                f"{name} is there more than once, below {', '.join(roots)}. Leave one of them in the source."
            )
        return roots[0] if roots else None


__all__ = ["SPLIT_NAMES", "WsolevalSplit", "read_localization"]
