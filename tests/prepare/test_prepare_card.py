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
"""The card says what is in the data set, whose it is and how it was made, and `datasets` reads its features from it."""

import hashlib

import datasets
import PIL.Image
import pytest
import yaml
from prepare_fixtures import ListReader, encoded, image_bytes, listed, tar_bytes, write_files

from transformers_sat import __version__
from transformers_sat.prepare import open_source, prepare_dataset
from transformers_sat.prepare.card import write_card
from transformers_sat.prepare.examples import features_of


COMMAND = "transformers-sat prepare list --source set.tar --output out"


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def prepared(tmp_path):
    """Seven images of `train` and three of `test` from a tar file, one of them left out."""
    files = {f"{number}.png": image_bytes(number, form="PNG") for number in range(10)}
    files["4.png"] = b"no image"
    files["m.png"] = encoded(PIL.Image.new("L", (40, 30), 255))
    (tmp_path / "set.tar").write_bytes(tar_bytes(files))
    labels = ["bird", "cat", "bird", "bird", "bird", "bird", "bird", "cat", "cat", "cat"]
    images = [
        listed(f"{number}.png", number, split="train" if number < 7 else "test", label=label)
        for number, label in enumerate(labels)
    ]
    images[0].boxes = [(0, 0, 10, 10), (5, 5, 10, 10)]
    images[1].boxes, images[1].masks = [(1, 1, 5, 5)], ("m.png",)
    reader = ListReader(open_source(tmp_path / "set.tar"), images, ["bird", "cat", "dog"])
    prepared = prepare_dataset(reader, tmp_path / "out", max_shard_size="10KB", skip_invalid=True)
    write_card(prepared, reader, COMMAND)
    return prepared, reader


def read_card(prepared) -> tuple[dict, str]:
    _, front_matter, text = (prepared.output / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front_matter), text


def test_front_matter(prepared):
    prepared, _ = prepared
    data, _ = read_card(prepared)
    assert data["license"] == "cc-by-4.0"
    assert data["pretty_name"] == "Images of a test"
    assert data["size_categories"] == ["n<1K"]
    assert data["task_categories"] == ["image-classification", "object-detection", "image-segmentation"]
    assert "weakly-supervised-object-localization" in data["tags"]
    [config] = data["configs"]
    assert [(entry["split"], entry["path"]) for entry in config["data_files"]] == [
        ("train", "data/train-*"),
        ("test", "data/test-*"),
    ]
    splits = {split["name"]: split["num_examples"] for split in data["dataset_info"]["splits"]}
    assert splits == {"train": 6, "test": 3}
    on_disk = sum(path.stat().st_size for path in (prepared.output / "data").iterdir())
    assert data["dataset_info"]["download_size"] == on_disk


def test_datasets_agrees(prepared):
    """Loading checks the numbers of the card, and takes the features from it."""
    prepared, reader = prepared
    splits = datasets.load_dataset(str(prepared.output))
    assert {name: len(split) for name, split in splits.items()} == {"train": 6, "test": 3}
    for split in splits.values():
        assert split.features == features_of(reader)
    streamed = datasets.load_dataset(str(prepared.output), split="test", streaming=True)
    assert streamed.features == features_of(reader)
    assert [row["image_id"] for row in streamed] == ["7.png", "8.png", "9.png"]


def test_text(prepared, tmp_path):
    prepared, _ = prepared
    _, text = read_card(prepared)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    cells = {name: [cell.strip() for cell in line.split("|")[2:-1]] for name, line in rows.items()}
    # images, classes, images of a class, with boxes, boxes, with masks
    assert cells["train"][:6] == ["6", "2", "1 to 5", "2", "3", "1"]
    assert cells["test"][:6] == ["3", "1", "3 to 3", "0", "0", "0"]
    assert {f"`{name}`" for name in ("image", "image_id", "label", "objects", "mask")} < cells.keys()
    assert "`ignore_mask`" not in cells
    checksum = hashlib.sha256((tmp_path / "set.tar").read_bytes()).hexdigest()
    size = (tmp_path / "set.tar").stat().st_size
    assert f"`set.tar`, {size} bytes, SHA-256 `{checksum}`" in text
    assert COMMAND in text and __version__ in text
    assert "CC BY 4.0, as example.org says." in text
    assert "@misc{nobody" in text
    assert "https://example.org/images" in text
    assert "1 images, listed in `skipped.jsonl`:\n\n- 1: an image or mask that cannot be decoded" in text
    assert "Without images: 1 classes." in text
    # nothing of this machine
    assert str(tmp_path) not in text


def test_terms_of_its_own(prepared):
    """The Hub wants a name and a link for licences that it does not know."""
    prepared, reader = prepared
    reader.license = "other"
    write_card(prepared, reader, COMMAND)
    data, _ = read_card(prepared)
    assert (data["license"], data["license_name"]) == ("other", "list-terms")
    assert data["license_link"] == "https://example.org/images"


def test_archives_are_read_once_for_their_checksums(prepared, tmp_path):
    """The second card of a large source costs nothing."""
    prepared, reader = prepared
    before = (prepared.output / "README.md").read_text()
    # removed where it can only be missed by reading it
    (tmp_path / "set.tar").rename(tmp_path / "elsewhere.tar")
    write_card(prepared, reader, COMMAND)
    assert (prepared.output / "README.md").read_text() == before


def test_a_folder_is_counted(tmp_path):
    files = {f"{number}.png": image_bytes(number, form="PNG") for number in range(3)}
    inner = tar_bytes({"3.png": image_bytes(3, form="PNG")})
    source = open_source(write_files(tmp_path / "a b", files | {"more/in.tar": inner}))
    reader = ListReader(source, [listed(name) for name in (*files, "more/in/3.png")])
    prepared = prepare_dataset(reader, tmp_path / "out")
    write_card(prepared, reader, COMMAND)
    _, text = read_card(prepared)
    assert "- 3 files in folders" in text
    assert f"`more/in.tar`, {len(inner)} bytes, SHA-256 `{hashlib.sha256(inner).hexdigest()}`" in text
    assert "## Left out" not in text
    assert "official boxes" not in text


def test_official_boxes_past_the_edge_are_told(tmp_path):
    source = open_source(write_files(tmp_path / "a", {"0.jpg": image_bytes(0)}))
    reader = ListReader(source, [listed("0.jpg", boxes=[(30, 5, 25, 5), (0, 0, 40, 30)])])
    reader.keeps_official_boxes = True
    prepared = prepare_dataset(reader, tmp_path / "out")
    write_card(prepared, reader, COMMAND)
    assert "1 of the official boxes reach more than a pixel past the edge" in read_card(prepared)[1]
