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
"""What a reader of a data set's own files tells about it: the contract between the readers and what writes them out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from ..model.images_sat import read_mask
from .archives import Source, open_source


@dataclass
class ImageRecord:
    """
    An image as the data set's lists have it. Nothing of it was read yet but the lists.

    Attributes:
        split (`str`): `train`, `validation`, `test`, ...
        image_id (`str`): unique in the data set.
        image (`str`): path of the file in the source.
        label (`str`): name of its class.
        where (`str`): file and line that name it, for errors, such as `images.txt, line 12`.
        boxes (`list` of `(x, y, width, height)`, *optional*):
            In pixels, as the data set has them. `None` where there are none.
        categories (`list[str]`, *optional*): class of each box; that of the image if `None`.
        size (`(width, height)`, *optional*): what the lists say that the size of the file is, in pixels.
        masks (`tuple[str, ...]`): files in the source whose union is the object.
        ignore_masks (`tuple[str, ...]`): files whose union, without the object, is what is not measured.
        problem (`(kind, message)`, *optional*):
            What the reader found wrong with it, with one of the kinds of [`InvalidImage`]. What else the record says is then
            as far as it could be read.
    """

    split: str
    image_id: str
    image: str
    label: str
    where: str
    boxes: list[tuple[float, float, float, float]] | None = None
    categories: list[str] | None = None
    size: tuple[int, int] | None = None
    masks: tuple[str, ...] = ()
    ignore_masks: tuple[str, ...] = ()
    problem: tuple[str, str] | None = None


class Reader(ABC):
    """
    Reads one form of data set. Made from the source, it finds the lists and says what is missing.

    Class attributes, for the command line and the data set's card: `name`, `title`, `homepage`, `license` (an identifier
    of the Hub), `license_text` (what the owner states), `citation` (BibTeX) and `layout` (the official files that
    `source` should hold). Page, terms and citation are those of images that somebody has, unless a reader has others.

    Args:
        source ([`Source`]): the official files.

    Raises:
        `ValueError`: if the lists are not in the source, or a line of them cannot be read; the message names file and
            line.
    """

    name: str
    title: str
    homepage: str = ""
    license: str = "unknown"
    license_text: str = "Not stated: say here under which terms the images may be used, and change `license` above."
    citation: str = ""
    layout: str

    # Whether images of the set have them: which columns there will be.
    has_boxes: bool = True
    has_masks: bool = False
    has_ignore_masks: bool = False

    # Whether boxes that reach past the edge of their image are the official ones, which published figures are measured
    # with: they are kept as they are. Anywhere else they are taken for corners given as sizes, and are a problem.
    keeps_official_boxes: bool = False

    def __init__(self, source: Source):
        self.source = source

    def take_for_own(self, title: str):
        """What is in the source has the form alone of the set that the reader is called after: nobody's terms are known."""
        self.title = title
        for name in ("homepage", "license", "license_text", "citation"):
            setattr(self, name, getattr(Reader, name))

    @classmethod
    def open(cls, source: str | Path | None, **settings) -> "Reader":
        """
        Opens what the data set is made of. Readers that draw override it: they need no official files, and have settings.

        Args:
            source (`str` or `Path`, *optional*): folder or archive with the official files.
            settings: what else the reader can be told.

        Raises:
            `ValueError`: if there is no source, or the reader does not have one of the settings.
        """
        if settings:
            given = ", ".join(f"`--{name}`" for name in settings)
            raise ValueError(f"{cls.name} has no {given}: it is prepared as its official files are.")
        if source is None:
            raise ValueError(f"`--source` is missing: the folder or archive with the official files of {cls.name}.")
        return cls(open_source(source))

    @property
    def origin(self) -> dict[str, object]:
        """The options of the command with which others make the same data set: no folders of this machine."""
        return {"source": self.source.path.resolve().name}

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """Names of all classes, in the data set's order: that of the labels' numbers."""

    @abstractmethod
    def records(self) -> Iterator[ImageRecord]:
        """All images, in an order that depends on the source's contents alone; those with a `problem`, too."""

    def left_over(self) -> Iterator[tuple[str, str]]:
        """Files of the source that are neither read nor known to be of no use, each with the reason."""
        yield from ()

    def annotate(self, record: ImageRecord) -> ImageRecord:
        """
        Reads what has a file of its own for each image (an XML of boxes). It is called once for each image, in the
        process that writes it; readers whose lists say all return the image as it is.

        Raises:
            `ValueError`: if the file is missing or cannot be read; the message names it.
        """
        return record

    def object_pixels(self, mask: PIL.Image.Image) -> np.ndarray:
        """Which pixels of a file of `masks` are the object: boolean, of shape `(height, width)`."""
        return read_mask(mask)

    def ignored_pixels(self, mask: PIL.Image.Image) -> np.ndarray:
        """Which pixels of a file of `ignore_masks` are not measured: boolean, of shape `(height, width)`."""
        return self.object_pixels(mask)


__all__ = ["ImageRecord", "Reader"]
