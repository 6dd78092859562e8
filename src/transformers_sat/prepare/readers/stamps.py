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
"""The stamps, drawn while they are written: a data set of real photographs that needs no hub."""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import PIL.Image

from ...drawn.stamps import SPLITS, StampCollection, StampImage, is_cluttered
from ...drawn.stamps_files import digest_of, read_catalog, read_stamp_files
from ..records import ImageRecord, Reader


# Part of the fingerprint: raise it with every change after which other images are drawn.
STAMPS_VERSION = "1.0.0"

JPEG_QUALITY = 92
# What an image with its mask takes, about.
BYTES_PER_FILE = 20_000


@dataclass
class StampSettings:
    """
    What is drawn.

    Attributes:
        variant (`str`): `"group"` (twelve groups, other cut-outs in test) or `"species"` (kinds of animals).
        cluttered_fraction (`float`): share of the images with one to three other things in them, 0 to 1.
        num_train (`int`), num_validation (`int`), num_test (`int`): images of the splits; classes take turns.
        seed (`int`): seed of the set.
    """

    variant: str = "group"
    cluttered_fraction: float = 0.5
    num_train: int = 4800
    num_validation: int = 360
    num_test: int = 720
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.cluttered_fraction <= 1:
            raise ValueError(f"`cluttered_fraction` must be from 0 to 1, got {self.cluttered_fraction}.")
        for split in SPLITS:
            if self.num_images(split) < 1:
                raise ValueError(f"`num_{split}` must be at least 1, got {self.num_images(split)}.")

    def num_images(self, split: str) -> int:
        return getattr(self, f"num_{split}")


class DrawnSource:
    """
    The drawn images in the place of official files: `train/00012.jpg`, and `train/00012.png` for its mask.

    Args:
        source (`str` or `Path`, *optional*): see [`read_stamp_files`].
        settings ([`StampSettings`]): what is drawn.
    """

    archives: tuple[Path, ...] = ()

    def __init__(self, source: str | Path | None, settings: StampSettings):
        files = read_stamp_files(source)
        self.path = Path("debian-packages" if source is None else source)
        self.settings = settings
        self.num_plain_files, self.num_bytes = len(files), sum(map(len, files.values()))
        self.collection = StampCollection(files, settings.variant)
        # Pillow draws: another version may round otherwise.
        described = [STAMPS_VERSION, digest_of(files), PIL.__version__, asdict(settings)]
        self.fingerprint = hashlib.sha256(json.dumps(described).encode()).hexdigest()
        self._last: tuple[tuple[str, int], StampImage] | None = None

    def __contains__(self, path: str) -> bool:
        split, _, name = path.partition("/")
        return split in SPLITS and int(name[:-4]) < self.settings.num_images(split)

    def size(self, path: str) -> int:
        return BYTES_PER_FILE

    def position(self, path: str) -> tuple[int, int]:
        split, index = self.place(path)
        return SPLITS.index(split), index

    def place(self, path: str) -> tuple[str, int]:
        """Split and number of an image."""
        split, _, name = path.partition("/")
        return split, int(name[:-4])

    def read(self, path: str, max_bytes: int | None = None) -> bytes:
        """The file of an image or a mask; what is drawn here is small, so no limit is looked at."""
        record = self.drawn(*self.place(path))
        file = io.BytesIO()
        if path.endswith(".jpg"):
            record.image.save(file, "JPEG", quality=JPEG_QUALITY)
        else:
            PIL.Image.fromarray(record.mask).save(file, "PNG")
        return file.getvalue()

    def drawn(self, split: str, index: int) -> StampImage:
        """An image; the last one is kept, as its box, its file and its mask are asked for one after the other."""
        if self._last is None or self._last[0] != (split, index):
            settings = self.settings
            record = self.collection.draw(split, index, settings.cluttered_fraction, settings.seed)
            self._last = (split, index), record
        return self._last[1]


class StampsReader(Reader):
    name = "stamps"
    title = "Stamps: real cut-outs on real photographs"
    homepage = "https://packages.debian.org/tuxpaint-stamps-default"
    license = "other"
    license_text = (
        "Drawn from files of Debian packages, under what their `copyright` files state: tuxpaint-stamps-default (all cut-outs), "
        "tuxpaint-data, mate-backgrounds and plasma-workspace-wallpapers (photographs): GPL-2.0-or-later; "
        "lomiri-wallpapers-16.04 (four photographs by Aitzol Berasategi): CC-BY-4.0. An image is made of several of them and "
        "falls under the licences of all of its parts."
    )
    citation = ""
    layout = "Debian packages (.deb), or their contents: " + ", ".join(read_catalog()["packages"])

    has_masks = True

    @classmethod
    def open(cls, source: str | Path | None, **settings) -> "StampsReader":
        """From Debian's packages, which are fetched without `source`; `settings` are those of [`StampSettings`]."""
        return cls(DrawnSource(source, StampSettings(**settings)))

    @property
    def origin(self) -> dict[str, object]:
        return asdict(self.source.settings)

    @property
    def class_names(self) -> list[str]:
        return self.source.collection.class_names

    def records(self) -> Iterator[ImageRecord]:
        settings, names = self.source.settings, self.class_names
        for split in SPLITS:
            for index in range(settings.num_images(split)):
                cluttered = is_cluttered(index // len(names), settings.cluttered_fraction)
                yield ImageRecord(
                    split=split,
                    image_id=f"{split}-{index:05d}-{'cluttered' if cluttered else 'clean'}",
                    image=f"{split}/{index:05d}.jpg",
                    label=names[index % len(names)],
                    where=f"image {index} of {split}",
                    masks=(f"{split}/{index:05d}.png",),
                )

    def annotate(self, record: ImageRecord) -> ImageRecord:
        drawn = self.source.drawn(*self.source.place(record.image))
        return replace(record, boxes=[drawn.bbox], size=drawn.image.size)


__all__ = ["DrawnSource", "StampSettings", "StampsReader"]
