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
"""Which classes and images a subset has: the same everywhere, a part of every larger one."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections import Counter

import datasets
import numpy as np
import pytest
from square_images import square_split, write_class_folders

from transformers_sat.data import (
    load_localization_dataset,
    select_classes,
    select_fraction,
    select_samples_per_class,
)
from transformers_sat.data.subsets import image_keys
from transformers_sat.fields import read_class_names


CLASS_NAMES = ["ant", "bee", "cat", "dog", "eel"]


def rows(count: int, with_ids: bool = True, with_paths: bool = True) -> datasets.Dataset:
    """Rows of classes that take turns. Their images are never looked at."""
    columns = {
        "image": [
            {"bytes": f"content {index}".encode(), "path": f"{index}.jpg" if with_paths else None}
            for index in range(count)
        ],
        "label": [index % 5 for index in range(count)],
    }
    features = {"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=CLASS_NAMES)}
    if with_ids:
        columns["image_id"] = [f"n{index:04d}" for index in range(count)]
        features["image_id"] = datasets.Value("string")
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def contents(dataset: datasets.Dataset) -> set[bytes]:
    return {image["bytes"] for image in dataset["image"]}


# Images per class, and shares.


def test_the_choice_by_hand():
    """Of each class the first by BLAKE2b of seed and name: what any language computes, on any machine."""
    dataset = rows(40)

    def place(row: dict) -> bytes:
        return hashlib.blake2b(f"7/{row['image_id']}".encode(), digest_size=16).digest()

    expected = set()
    for label in range(5):
        of_class = sorted((row for row in dataset if row["label"] == label), key=place)
        expected |= {row["image_id"] for row in of_class[:3]}
    chosen = select_samples_per_class(dataset, 3, seed=7)
    assert set(chosen["image_id"]) == expected
    # in the order of the data set
    assert chosen["image_id"][:] == sorted(expected)


@pytest.mark.parametrize("with_ids, with_paths", [(True, True), (False, True), (False, False)])
def test_the_order_of_rows_does_not_matter(with_ids, with_paths):
    dataset = rows(60, with_ids, with_paths)
    turned = dataset.select(np.random.default_rng(0).permutation(60))
    for choose, amount in ((select_samples_per_class, 4), (select_fraction, 0.3)):
        assert contents(choose(turned, amount, seed=3)) == contents(choose(dataset, amount, seed=3))
        assert contents(choose(dataset, amount, seed=4)) != contents(choose(dataset, amount, seed=3))


def test_a_smaller_subset_is_part_of_a_larger_one():
    dataset = rows(200)
    larger = None
    for count in (40, 13, 5, 1):
        chosen = select_samples_per_class(dataset, count, seed=1)
        assert Counter(chosen["label"]) == dict.fromkeys(range(5), count)
        assert larger is None or contents(chosen) < contents(larger)
        larger = chosen
    # and shares are the same order, cut elsewhere
    assert contents(select_fraction(dataset, 0.125, seed=1)) == contents(select_samples_per_class(dataset, 5, seed=1))


def test_shares_of_unequal_classes():
    """Of 30, 10 and 1 images: rounded, but never none."""
    labels = [0] * 30 + [1] * 10 + [2]
    dataset = rows(41).remove_columns("label").add_column("label", labels)
    dataset = dataset.cast_column("label", datasets.ClassLabel(names=CLASS_NAMES[:3]))
    for fraction, expected in ((0.1, (3, 1, 1)), (0.25, (8, 3, 1)), (0.01, (1, 1, 1)), (1.0, (30, 10, 1))):
        assert Counter(select_fraction(dataset, fraction)["label"]) == dict(enumerate(expected))


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01, float("nan")])
def test_shares_that_cannot_be(fraction):
    with pytest.raises(ValueError, match="`train_fraction` must be above 0 and at most 1"):
        select_fraction(rows(10), fraction)


def test_too_few_images():
    with pytest.raises(ValueError, match=r"2 of the 5 classes have fewer .*'dog' \(3\), 'eel' \(3\)"):
        select_samples_per_class(rows(18), 4)
    with pytest.raises(ValueError, match="`samples_per_class` must be at least 1, got 0"):
        select_samples_per_class(rows(18), 0)


def test_a_class_without_images():
    """A fraction of it is nothing; K images of it cannot be had."""
    dataset = rows(20).filter(lambda label: label != 2, input_columns="label")
    assert Counter(select_fraction(dataset, 0.5)["label"]) == {0: 2, 1: 2, 3: 2, 4: 2}
    with pytest.raises(ValueError, match=r"'cat' \(0\)"):
        select_samples_per_class(dataset, 1)


def test_large_splits_are_hashed_once_and_not_read(monkeypatch):
    """The images are no images; a hundred thousand names are hashed, one for each, not their files."""
    hashed = []
    monkeypatch.setattr(
        "transformers_sat.data.subsets.hashlib.blake2b",
        lambda content, blake2b=hashlib.blake2b, **arguments: hashed.append(content) or blake2b(content, **arguments),
    )
    chosen = select_samples_per_class(rows(100_000), 10, seed=0)
    assert len(chosen) == 50
    assert len(hashed) == 100_000
    assert not any(b"content" in content for content in hashed)


# What an image is known by.


def test_keys_of_files_are_below_their_common_folder(tmp_path):
    """So a folder that lies elsewhere gives the same subset."""
    here = write_class_folders(tmp_path / "here", train=24)
    there = tmp_path / "another" / "place"
    shutil.copytree(here, there)
    chosen = []
    for folder in (here, there):
        train = load_localization_dataset(str(folder), validation_fraction=0.25)["train"]
        assert {key.split("/")[-2] for key in image_keys(train)} == {"red", "green", "blue"}
        subset = select_samples_per_class(train, 2, seed=5)
        chosen.append({os.path.relpath(image["path"], folder) for image in subset["image"]})
    assert chosen[0] == chosen[1] and len(chosen[0]) == 6


def test_keys_that_are_not_unique():
    """Then the next way is taken: identifiers, paths, contents."""
    dataset = rows(6)
    assert image_keys(dataset) == dataset["image_id"][:]
    doubled = dataset.remove_columns("image_id").add_column("image_id", ["a"] * 6)
    assert image_keys(doubled) == [f"{index}.jpg" for index in range(6)]
    with_same_names = [{"bytes": f"content {index}".encode(), "path": "image.jpg"} for index in range(6)]
    doubled = doubled.remove_columns("image").add_column(
        "image", with_same_names, feature=datasets.Image(decode=False)
    )
    keys = image_keys(doubled)
    assert keys == [hashlib.blake2b(f"content {i}".encode(), digest_size=16).hexdigest() for i in range(6)]


def test_another_process_chooses_the_same():
    """With other hash seeds of Python, which must not matter."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_subsets import rows\n"
        "from transformers_sat.data import select_samples_per_class\n"
        "print(*select_samples_per_class(rows(50), 2, seed=9)['image_id'])"
    )
    folder = os.path.dirname(__file__)
    environment = os.environ | {
        "PYTHONHASHSEED": "123",
        "PYTHONPATH": os.pathsep.join([*sys.path, os.path.dirname(folder)]),
    }
    printed = subprocess.run([sys.executable, "-c", code, folder], env=environment, capture_output=True, text=True)
    assert printed.stdout.split() == select_samples_per_class(rows(50), 2, seed=9)["image_id"][:], printed.stderr


# Classes.


def test_classes():
    chosen = select_classes(rows(20), ["eel", "bee", "eel"])
    # in the data set's order, numbered anew
    assert chosen.features["label"].names == ["bee", "eel"]
    assert chosen["image_id"][:] == [f"n{index:04d}" for index in range(20) if index % 5 in (1, 4)]
    assert chosen["label"][:] == [0, 1] * 4
    assert select_classes(rows(20), CLASS_NAMES[::-1])["label"][:] == rows(20)["label"][:]


def test_unknown_classes():
    with pytest.raises(ValueError, match=r"2 of the 3 chosen classes .*'dogs' \(do you mean 'dog'\?\); 'xyzzy'"):
        select_classes(rows(20), ["ant", "dogs", "xyzzy"])
    with pytest.raises(ValueError, match="`classes` is empty"):
        select_classes(rows(20), [])


def test_classes_of_all_splits_before_validation_is_set_apart(tmp_path):
    """Other classes may have too few images for it."""
    train = datasets.concatenate_datasets([square_split(24).filter(lambda label: label != 1, input_columns="label")])
    train = datasets.concatenate_datasets([train, square_split(2, first=50).select([1])])
    datasets.DatasetDict(train=train, test=square_split(9, first=100)).save_to_disk(tmp_path / "saved")
    path = str(tmp_path / "saved")
    with pytest.raises(ValueError, match="`validation_fraction`"):
        load_localization_dataset(path, validation_fraction=0.25)
    splits = load_localization_dataset(path, validation_fraction=0.25, classes=["blue", "red"])
    assert {name: len(split) for name, split in splits.items()} == {"train": 12, "validation": 4, "test": 6}
    for split in splits.values():
        assert split.features["label"].names == ["red", "blue"]
    assert splits["test"]["label"][:] == [0, 1] * 3
    assert [objects["category"][0] for objects in splits["test"]["objects"]] == [0, 2] * 3


def test_names_from_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\ufeffgreat tit\n\n  blue tit \nrobin", encoding="utf-8")
    assert read_class_names([str(path)]) == ["great tit", "blue tit", "robin"]
    assert read_class_names(["robin"]) == ["robin"]
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"names\.txt holds no names"):
        read_class_names([str(path)])
