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
"""Every set from its official archives through Parquet: what is loaded is what the archives hold."""

import io

import datasets
import numpy as np
import PIL.Image
import pytest
from official_trees import OFFICIAL_SETS, write_official

from transformers_sat.data import decode_image, load_localization_dataset
from transformers_sat.prepare import open_reader, prepare


@pytest.fixture(params=OFFICIAL_SETS, scope="module")
def prepared(request, tmp_path_factory):
    """Folder of a prepared set, and what is true about it."""
    folder = tmp_path_factory.mktemp("prepared")
    source, tree = write_official(request.param, True, folder)
    prepare(open_reader(OFFICIAL_SETS[request.param].reader, source), folder / "parquet", max_shard_size="20KB")
    return folder / "parquet", tree


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def check_split(rows, features, split, tree):
    """Rows of a split, images and masks not decoded, against what is true."""
    known = {name: record for name, record in tree.known.items() if record.split == split}
    rows = {row["image_id"]: row for row in rows}
    assert rows.keys() == known.keys()
    assert features["label"].names == tree.class_names
    for name, record in known.items():
        row = rows[name]
        assert row["image"]["bytes"] == record.content
        assert tree.class_names[row["label"]] == record.label
        if "objects" in features:
            check_objects(row["objects"], record.boxes, row["label"])
        else:
            assert record.boxes is None
        for column, mask in (("mask", record.mask), ("ignore_mask", record.ignore_mask)):
            check_mask(row.get(column), mask)


def check_objects(objects, boxes, label):
    if boxes is None:
        assert objects is None
    else:
        # all of the boxes are numbers that float32 holds
        assert [tuple(box) for box in objects["bbox"]] == boxes
        assert objects["category"] == [label] * len(boxes)


def check_mask(encoded, mask):
    if mask is None:
        assert encoded is None
        return
    with PIL.Image.open(io.BytesIO(encoded["bytes"])) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), mask * 255)


def without_decoding(dataset):
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


@pytest.mark.parametrize("streaming", [False, True])
def test_round_trip(prepared, streaming):
    folder, tree = prepared
    splits = datasets.load_dataset(str(folder), streaming=streaming)
    assert set(splits) == {record.split for record in tree.known.values()}
    for name, split in splits.items():
        assert split.features["image"] == datasets.Image()
        check_split(without_decoding(split), split.features, name, tree)


def test_training_and_evaluation_load_it(prepared):
    folder, tree = prepared
    splits = load_localization_dataset(str(folder), validation_fraction=0.5)
    own = {record.split for record in tree.known.values()}
    assert set(splits) == own | {"validation"}
    assert sum(map(len, splits.values())) == len(tree.known)
    for split in splits.values():
        assert split.features["label"].names == tree.class_names
        for image in split["image"]:
            assert decode_image(image).size
    for row in splits.get("test", ()):
        boxes = [tuple(box) for box in row["objects"]["bbox"]] if "objects" in row else None
        assert boxes == tree.known[row["image_id"]].boxes


def test_card(prepared):
    folder, tree = prepared
    card = (folder / "README.md").read_text(encoding="utf-8")
    for split in {record.split for record in tree.known.values()}:
        count = sum(record.split == split for record in tree.known.values())
        assert f"| {split} | {count} |" in card
    # a space in a name or an odd file does not cost an image
    assert "Left out" not in card
    assert not (folder / "skipped.jsonl").exists()
