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
"""The classes of a data set and those of a model."""

import datasets
import pytest
from sat_testing import tiny_model
from square_images import square_split

from transformers_sat.data import class_numbers_of


MODEL_CLASSES = ["blue", "green", "none", "red", "other"]


@pytest.fixture(scope="module")
def config():
    return tiny_model(id2label=dict(enumerate(MODEL_CLASSES))).config


def with_classes(split: datasets.Dataset, names: list[str]) -> datasets.Dataset:
    return split.cast_column("label", datasets.ClassLabel(names=names))


def test_classes_are_matched_by_name(config):
    split = square_split(3)
    assert class_numbers_of(split, config) == [3, 1, 0]
    assert class_numbers_of(with_classes(split, MODEL_CLASSES), config) is None
    assert class_numbers_of(with_classes(split, MODEL_CLASSES[:4]), config) is None
    # nothing in common, as with a model whose classes were never named: by number
    assert class_numbers_of(with_classes(split, ["a", "b", "c"]), config) is None


@pytest.mark.parametrize("names", [["red", "green", "pink"], list("abcdef")])
def test_classes_that_the_model_does_not_have(names, config):
    with pytest.raises(ValueError, match=f"no class for .*'{names[-1]}'"):
        class_numbers_of(with_classes(square_split(3), names), config)


def test_labels_that_are_no_classes(config):
    words = square_split(3).remove_columns("label").add_column("label", ["red", "green", "blue"])
    with pytest.raises(ValueError, match="`label` must hold class labels.*class_encode_column"):
        class_numbers_of(words, config)
    assert class_numbers_of(words.class_encode_column("label"), config) == [0, 1, 3]
    assert class_numbers_of(square_split(3).cast_column("label", datasets.Value("int64")), config) is None


@pytest.mark.parametrize("value", [None, -1])
def test_a_row_without_a_class_is_named(config, value):
    split = square_split(3)
    broken = (
        split.remove_columns("label").add_column("label", [0, 1, value]).cast_column("label", split.features["label"])
    )
    with pytest.raises(ValueError, match="Row 2 has no class: `label` is empty, or -1"):
        class_numbers_of(broken, config)
