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
"""Any set in the metadata folders of wsolevaluation, OpenImages30k among them."""

import re
from collections.abc import Iterator
from functools import cached_property

from ..archives import Source
from ..records import ImageRecord
from .listed import ListedReader
from .lists import distinct_names, missing, optional_root, read_csv, read_fields, roots_with, without_number
from .wsoleval_split import SPLIT_NAMES, WsolevalSplit


class WsolevalReader(ListedReader):
    """
    A set in wsolevaluation's own layout: `metadata/<SET>/<split>/*.txt` and the images, as its scripts put them.

    Of several sets in the metadata, it is the one whose images are in the source. Classes get the names of the folders
    that their images are in, readable where the source says how: `LOC_synset_mapping.txt` for ImageNet's synsets, the
    class descriptions of Open Images for its identifiers.
    """

    name = "wsoleval"
    title = "WSOL evaluation splits (Choe et al.)"
    homepage = "https://github.com/clovaai/wsolevaluation"
    license = "other"
    license_text = (
        "The annotations of CUBV2 and ImageNetV2 are licensed by NAVER Corp. under CC BY 2.0, those of OpenImages30k by "
        "Google LLC under CC BY 4.0. Images keep the licences of their sources; see the homepage."
    )
    citation = """@inproceedings{choe2020evaluating,
  title     = {Evaluating Weakly Supervised Object Localization Methods Right},
  author    = {Choe, Junsuk and Oh, Seong Joon and Lee, Seungho and Chun, Sanghyuk and Akata, Zeynep and Shim, Hyunjung},
  booktitle = {Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2020}
}"""
    layout = """metadata/<SET>/{train,val,test}/   image_ids.txt class_labels.txt localization.txt image_sizes.txt
dataset/<SET>/                     the images and masks, in folders as the lists have them"""

    keeps_official_boxes = True

    # The set to read, or None for the one whose images are there.
    set_name: str | None = None

    def __init__(self, source: Source):
        super().__init__(source)
        folders = self._find_set()
        self.splits = [WsolevalSplit(source, folders[name]) for name in SPLIT_NAMES if name in folders]
        self.has_boxes = any(split.boxes for split in self.splits)
        self.has_masks = any(split.masks for split in self.splits)
        self.has_ignore_masks = any(split.ignore_masks for split in self.splits)

    @cached_property
    def class_names(self) -> list[str]:
        folders = {}
        for _, name, label, problem in self.splits[0].labels():
            if problem is not None:
                continue
            folders.setdefault(label, set()).add(name.rpartition("/")[0].rpartition("/")[2])
        last = max(folders, default=-1)
        # one folder for each class and one class for each folder, or the folders are not the classes
        names = {label: next(iter(found)) for label, found in folders.items() if len(found) == 1}
        if len(names) < len(folders) or len(set(names.values())) < len(names) or "" in names.values():
            names = {}
        keys = [names.get(label, str(label)) for label in range(last + 1)]
        readable = self._readable_names()
        return distinct_names({key: readable.get(key, without_number(key)) for key in keys})

    def records(self) -> Iterator[ImageRecord]:
        for split in self.splits:
            yield from split.records(self.class_names)

    def _find_set(self) -> dict[str, str]:
        """Folder of each split, by its name in the metadata."""
        sets = {}
        for name in SPLIT_NAMES:
            for root in roots_with(self.source, f"{name}/image_ids.txt"):
                sets.setdefault(root, {})[name] = f"{root}{name}/"
        if self.set_name is not None:
            sets = {root: folders for root, folders in sets.items() if root.endswith(f"{self.set_name}/")}
        if not sets:
            raise missing(f"metadata/{self.set_name or '<SET>'}/<split>/image_ids.txt", self.layout)
        if len(sets) > 1:
            sets = {root: folders for root, folders in sets.items() if self._has_images(folders)}
        if len(sets) != 1:
            found = ", ".join(sets) or "none"
            raise ValueError(
                f"The images of one set of the metadata should be in the source; there are those of: {found}"
            )
        return next(iter(sets.values()))

    def _has_images(self, folders: dict[str, str]) -> bool:
        for folder in folders.values():
            first = next(self.source.lines(f"{folder}image_ids.txt"), None)
            if first is not None and roots_with(self.source, first[1].strip()):
                return True
        return False

    def _readable_names(self) -> dict[str, str]:
        """Names by folder, where the source has a file that tells them."""
        root = optional_root(self.source, "LOC_synset_mapping.txt")
        if root is not None:
            return {
                synset: words for _, (synset, words) in read_fields(self.source, f"{root}LOC_synset_mapping.txt", 2)
            }
        for path in self.source.paths():
            # such as class-descriptions-boxable.csv and oidv6-class-descriptions.csv
            if re.search(r"class-descriptions[^/]*\.csv$", path):
                rows = read_csv(self.source, path)
                return {row[0].removeprefix("/m/"): row[1] for _, row in rows if len(row) == 2}
        return {}


class OpenImagesReader(WsolevalReader):
    """OpenImages30k: Open Images as wsolevaluation divides it, with masks and regions to leave out."""

    name = "openimages"
    title = "OpenImages30k"
    license_text = (
        "wsolevaluation states: the annotations are licensed by Google LLC under CC BY 4.0, the images are listed as "
        "having a CC BY 2.0 licence, which nobody warrants for the single image."
    )
    citation = (
        WsolevalReader.citation
        + """

@inproceedings{benenson2019large,
  title     = {Large-scale interactive object segmentation with human annotators},
  author    = {Benenson, Rodrigo and Popov, Stefan and Ferrari, Vittorio},
  booktitle = {Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2019}
}"""
    )
    layout = """metadata/OpenImages/{train,val,test}/   of wsolevaluation: image_ids.txt, class_labels.txt, localization.txt
OpenImages_images.zip                   or unpacked: {train,val,test}/<class>/<image>.jpg
OpenImages_annotations.zip              or unpacked: {val,test}/<class>/<image>_<...>.png
class-descriptions-boxable.csv          of Open Images, if classes should have readable names"""
    set_name = "OpenImages"


__all__ = ["OpenImagesReader", "WsolevalReader"]
