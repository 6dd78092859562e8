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
"""Official data sets, and anybody's own images, brought to one schema."""

from .archives import Source, open_source
from .engine import PreparedDataset, prepare_dataset, verify_dataset
from .records import ImageRecord, Reader
from .running import open_reader, prepare, push_prepared, verify
from .validation import InvalidImage, ProblemReport


__all__ = [
    "ImageRecord",
    "InvalidImage",
    "PreparedDataset",
    "ProblemReport",
    "Reader",
    "Source",
    "open_reader",
    "open_source",
    "prepare",
    "prepare_dataset",
    "push_prepared",
    "verify",
    "verify_dataset",
]
