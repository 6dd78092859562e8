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
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import PIL.Image

from ..archives import Source
from ..records import ImageRecord, Reader
from .image_files import ImagesByStem, format_problem, looks_like_image, stem_of
from .lists import is_of_another_split, log_left_out, missing, problem_of, roots_with, split_of
from .voc_xml import Annotation, read_annotation


# Split and list.
LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}

# The value of a segmentation where the outline of an object is, which is neither object nor background.
VOID = 255


class VocReader(Reader):
    """
    Trees `VOC<year>` of PASCAL VOC, one or several, or anything in their form: without the lists of the splits, too.

    An image has one class here. So what is taken are the images whose objects are all of one class, whatever their
    number, with at least one that is not marked as difficult; difficult ones count as their class, but their boxes are
    left out. How many images that leaves out is logged. Where there is a segmentation of the objects, it is the mask.
    """

    name = "voc"
    title = "Images of one class in PASCAL VOC's form"
    homepage = "http://host.robots.ox.ac.uk/pascal/VOC/"
    license = "other"
    license_text = "PASCAL VOC: the images are from Flickr, whose terms their use must respect; see the homepage."
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
                                    and, for masks, VOC<year>/SegmentationObject/<image>.png
or an XML file for each image, as labelImg writes it: beside the image, or in annotations/ with the images anywhere; a
folder train/, valid/ or test/ around them is the split"""

    def __init__(self, source: Source):
        super().__init__(source)
        self.lists = [
            (split, root, f"{root}ImageSets/Main/{name}")
            for split, name in LISTS.items()
            for root in roots_with(source, f"ImageSets/Main/{name}")
        ]
        if not self.lists and not any(path.lower().endswith(".xml") for path in source.paths()):
            raise missing("ImageSets/Main/train.txt, val.txt or test.txt, or an XML file for each image,", self.layout)
        if not self.lists:
            self.take_for_own("Images of one class, each with an XML file of boxes")
        self._named: set[str] = set()
        self.has_masks = self.has_ignore_masks = any(
            source.folder(f"{root}SegmentationObject") for _, root, _ in self.lists
        )

    @cached_property
    def class_names(self) -> list[str]:
        return sorted({record.label for record in self._images if record.problem is None})

    def records(self) -> Iterator[ImageRecord]:
        yield from self._images

    def left_over(self) -> Iterator[tuple[str, str]]:
        named = {record.image for record in self._images} | {mask for record in self._images for mask in record.masks}
        for path in self.source.paths():
            is_segmentation = "SegmentationClass" in path or "SegmentationObject" in path
            if (
                looks_like_image(path)
                and path not in named
                and stem_of(path) not in self._named
                and not is_segmentation
            ):
                yield (
                    path,
                    (
                        "which no list of a split names"
                        if self.lists
                        else "which no XML file names; `prepare imagefolder` reads images in class folders, with and without one"
                    ),
                )

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
        images = ImagesByStem(self.source.paths())
        for split, root, name, xml, where in self._listed():
            total += 1
            label, boxes, size, file_name, problem = "", None, None, "", None
            try:
                annotation = self._annotation(xml)
            except ValueError as error:
                problem = problem_of(error, where)
            else:
                size, file_name = annotation.size, annotation.file_name
                classes = {entry.name for entry in annotation.objects}
                boxes = [entry.box for entry in annotation.objects if not entry.is_difficult]
                if len(classes) > 1 or not boxes:
                    left_out["with several classes" if len(classes) > 1 else "without an object"] += 1
                    self._named.add(name.rpartition("/")[2])
                    continue
                label = classes.pop()
            image = images.find(stem_of(xml), self._image_folders(root, xml), file_name, self._elsewhere(xml))
            segmentation = f"{root}SegmentationObject/{name}.png"
            masks = (segmentation,) if segmentation in self.source else ()
            records.append(
                ImageRecord(
                    split=split or split_of(image or ""),
                    image_id=name,
                    image=image or (f"{root}JPEGImages/{name}.jpg" if self.lists else f"{name}.jpg"),
                    label=label,
                    where=where,
                    boxes=boxes,
                    size=size,
                    masks=masks,
                    ignore_masks=masks,
                    problem=problem or format_problem(image or ""),
                )
            )
        log_left_out(left_out, total)
        return records

    def _listed(self) -> Iterator[tuple[str | None, str, str, str, str]]:
        """Split if it is told, root of the tree, name of the image, its XML file, and where it says so."""
        for split, root, path in self.lists:
            for where, line in self.source.lines(path):
                name = line.strip()
                yield split, root, name, f"{root}Annotations/{name}.xml", where
        if self.lists:
            return
        # no lists, as annotation programs write it: all files, in the split that a folder around them names
        for path in self.source.paths():
            if path.lower().endswith(".xml"):
                root = path.rpartition("/")[0].rpartition("/")[0]
                split = split_of(path, default=None)
                yield split, f"{root}/" if root else "", path.rpartition(".")[0], path, path

    def _image_folders(self, root: str, xml: str) -> tuple[str, ...]:
        if self.lists:
            # not in the tree of another year
            return (f"{root}JPEGImages/",)
        return (
            xml[: xml.rfind("/") + 1],
            *(f"{root}{name}" for name in ("JPEGImages/", "images/", "Images/", "")),
        )

    def _elsewhere(self, xml: str) -> Callable[[str], bool] | None:
        """Which images in other folders may be that of an XML file: none of another split, or with an XML of its own."""
        if self.lists:
            return None
        split = split_of(xml, default=None)
        return lambda path: not is_of_another_split(path, split) and not self._has_xml(path)

    def _has_xml(self, image: str) -> bool:
        return any(f"{image.rpartition('.')[0]}{suffix}" in self.source for suffix in (".xml", ".XML"))

    def _annotation(self, path: str) -> Annotation:
        if path not in self.source:
            raise ValueError(f"{path} is not in the source.")
        annotation = read_annotation(self.source, path)
        if not all(entry.name for entry in annotation.objects):
            raise ValueError(f"{path}: an object has no <name>.")
        return annotation


__all__ = ["VocReader"]
