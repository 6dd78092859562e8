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
"""Data sets in the one schema that training and evaluation read."""

from .classes import class_numbers_of
from .dataset import LocalizationDataset, collate_localization, decode_image
from .loading import (
    EMBEDDED_DATASET,
    check_headers,
    check_training_classes,
    drop_undecodable,
    has_boxes,
    has_masks,
    load_localization_dataset,
)
from .streaming import StreamedLocalizationDataset, load_streaming_dataset
from .subsets import select_classes, select_fraction, select_samples_per_class
from .transforms import TrainingAugmentation


__all__ = [
    "EMBEDDED_DATASET",
    "LocalizationDataset",
    "StreamedLocalizationDataset",
    "TrainingAugmentation",
    "check_headers",
    "check_training_classes",
    "class_numbers_of",
    "collate_localization",
    "decode_image",
    "drop_undecodable",
    "has_boxes",
    "has_masks",
    "load_localization_dataset",
    "load_streaming_dataset",
    "select_classes",
    "select_fraction",
    "select_samples_per_class",
]
