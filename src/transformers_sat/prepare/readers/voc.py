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
"""Detection data in PASCAL VOC's form, as far as its images show one class."""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import PIL.Image
from transformers.utils import logging

from ..archives import Source
from ..records import ImageRecord, Reader
from .lists import missing, roots_with
from .voc_xml import Annotation, read_annotation


logger = logging.get_logger(__name__)

# Split and list.
LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}

# The value of a segmentation where the outline of an object is, which is neither object nor background.
VOID = 255


class VocReader(Reader):
    """
    Trees `VOC<year>` of PASCAL VOC, one or several, or anything in their form.

    An image has one class here. So what is taken are the images whose objects are all of one class, whatever their
    number, with at least one that is not marked as difficult; difficult ones count as their class, but their boxes are
    left out. How many images that leaves out is logged. Where there is a segmentation of the objects, it is the mask.
    """

    name = "voc"
    title = "Images of one class in PASCAL VOC's form"
    homepage = "http://host.robots.ox.ac.uk/pascal/VOC/"
    license = "other"
    license_text = (
        "PASCAL VOC: the images are from Flickr, whose terms their use must respect; see the homepage. Other data in this "
        "form: as their owner states."
    )
    citation = """@article{everingham2010pascal,
  title   = {The {PASCAL} Visual Object Classes ({VOC}) Challenge},
  author  = {Everingham, Mark and Van Gool, Luc and Williams, Christopher K. I. and Winn, John and Zisserman, Andrew},
  journal = {International Journal of Computer Vision},
  volume  = {88},
  number  = {2},
  pages   = {303--338},
  year    = {2010}
}"""
    layout = """VOCtrainval_*.tar, VOCtest_*.tar    or unpacked: VOC<year>/ImageSets/Main/{train,val,test}.txt,
                                    VOC<year>/Annotations/<image>.xml, VOC<year>/JPEGImages/<image>.jpg
                                    and, for masks, VOC<year>/SegmentationObject/<image>.png"""

    def __init__(self, source: Source):
        super().__init__(source)
        self.lists = [
            (split, root, f"{root}ImageSets/Main/{name}")
            for split, name in LISTS.items()
            for root in roots_with(source, f"ImageSets/Main/{name}")
        ]
        if not self.lists:
            raise missing("ImageSets/Main/train.txt, val.txt or test.txt", self.layout)
        self.has_masks = self.has_ignore_masks = any(
            source.folder(f"{root}SegmentationObject") for _, root, _ in self.lists
        )

    @cached_property
    def class_names(self) -> list[str]:
        return sorted({record.label for record in self._images})

    def records(self) -> Iterator[ImageRecord]:
        yield from self._images

    def object_pixels(self, mask: PIL.Image.Image) -> np.ndarray:
        """The objects of a segmentation, which are numbered from 1."""
        numbers = np.asarray(mask)
        return (numbers > 0) & (numbers != VOID)

    def ignored_pixels(self, mask: PIL.Image.Image) -> np.ndarray:
        """The outlines of a segmentation."""
        return np.asarray(mask) == VOID

    @cached_property
    def _images(self) -> list[ImageRecord]:
        """Which class an image has, and whether it has one, is nowhere but in its XML file."""
        records, left_out, total = [], Counter(), 0
        for split, root, path in self.lists:
            for where, name in self.source.lines(path):
                total += 1
                name = name.strip()
                annotation = self._annotation(f"{root}Annotations/{name}.xml", where)
                classes = {entry.name for entry in annotation.objects}
                if "" in classes:
                    raise ValueError(f"{root}Annotations/{name}.xml: an object has no <name>.")
                boxes = [entry.box for entry in annotation.objects if not entry.is_difficult]
                if len(classes) > 1 or not boxes:
                    left_out["with several classes" if len(classes) > 1 else "without an object"] += 1
                    continue
                segmentation = f"{root}SegmentationObject/{name}.png"
                masks = (segmentation,) if segmentation in self.source else ()
                records.append(
                    ImageRecord(
                        split=split,
                        image_id=name,
                        image=f"{root}JPEGImages/{name}.jpg",
                        label=classes.pop(),
                        where=where,
                        boxes=boxes,
                        size=annotation.size,
                        masks=masks,
                        ignore_masks=masks,
                    )
                )
        if left_out:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
            logger.warning(f"{left_out.total()} of {total} images left out: {reasons}.")
        return records

    def _annotation(self, path: str, where: str) -> Annotation:
        if path not in self.source:
            raise ValueError(f"{where}: {path} is not in the source.")
        return read_annotation(self.source, path)


__all__ = ["VocReader"]
