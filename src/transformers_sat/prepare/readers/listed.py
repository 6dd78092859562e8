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
"""Sets with official lists."""

from collections.abc import Iterator

from ..records import Reader
from .image_files import looks_like_image


class ListedReader(Reader):
    """A set whose images are those that its lists name: others that lie in the source are left over."""

    def left_over(self) -> Iterator[tuple[str, str]]:
        # a byte a file: a million names would be a hundred times that
        named = bytearray(len(self.source))
        for record in self.records():
            for file in (record.image, *record.masks, *record.ignore_masks):
                if (number := self.source.number(file)) is not None:
                    named[number] = True
        for path, is_named in zip(self.source.paths(), named):
            if not is_named and looks_like_image(path):
                yield path, "which no list names"


__all__ = ["ListedReader"]
