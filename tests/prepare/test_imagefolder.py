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
"""Anybody's own images in folders, with and without boxes."""

import json

import PIL.Image
import pytest
from prepare_fixtures import encoded, image_bytes, tar_bytes, write_files

from transformers_sat.prepare import open_source, prepare_dataset
from transformers_sat.prepare.readers.imagefolder import ImageFolderReader


def reader_of(folder, files) -> ImageFolderReader:
    return ImageFolderReader(open_source(write_files(folder, dict(files))))


def named(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, b"")


def rows_of(reader: ImageFolderReader) -> set[tuple[str, str, str]]:
    images = list(reader.records())
    rows = {(image.split, image.label, image.image) for image in images}
    assert len(rows) == len(images) == len({image.image_id for image in images})
    return rows


# Folders alone.


def test_one_folder_a_class(tmp_path):
    reader = reader_of(tmp_path, named("robin/1.JPG", "robin/name with space.jpeg", "Größe/1.png", "notes.txt"))
    assert reader.class_names == ["Größe", "robin"]
    assert rows_of(reader) == {
        ("train", "robin", "robin/1.JPG"),
        ("train", "robin", "robin/name with space.jpeg"),
        ("train", "Größe", "Größe/1.png"),
    }
    assert not (reader.has_boxes or reader.has_masks or reader.has_ignore_masks)


def test_split_folders(tmp_path):
    files = named("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "Test/b/1.webp", "extra/a/1.jpg")
    reader = reader_of(tmp_path, files)
    assert reader.class_names == ["a", "b"]
    assert rows_of(reader) == {
        ("train", "a", "train/a/1.jpg"),
        ("train", "b", "train/b/1.jpg"),
        ("validation", "a", "val/a/1.jpg"),
        ("test", "b", "Test/b/1.webp"),
    }


@pytest.mark.parametrize("inner", ["", "train/"])
def test_folders_around(tmp_path, inner):
    """An archive usually has one folder at its top."""
    (tmp_path / "set.tar").write_bytes(tar_bytes(named(f"my/set/{inner}a/1.jpg", f"my/set/{inner}b/1.jpg")))
    reader = ImageFolderReader(open_source(tmp_path / "set.tar"))
    assert reader.class_names == ["a", "b"]
    assert {row[0] for row in rows_of(reader)} == {"train"}


def test_a_single_class(tmp_path):
    assert rows_of(reader_of(tmp_path, named("robin/1.jpg"))) == {("train", "robin", "robin/1.jpg")}


def test_numbers_are_classes_in_their_order(tmp_path):
    assert reader_of(tmp_path, named("10/1.jpg", "9/1.jpg")).class_names == ["9", "10"]


def test_no_class_and_no_images(tmp_path):
    with pytest.raises(ValueError, match="train/1.jpg lies in no class folder"):
        list(reader_of(tmp_path / "a", named("train/1.jpg", "train/a/1.jpg")).records())
    with pytest.raises(ValueError, match=r"has no images; what is read is:\n\[train/"):
        reader_of(tmp_path / "b", named("readme.txt"))


# With metadata.


def jsonl(*lines: dict) -> bytes:
    return "\n".join(json.dumps(line) for line in lines).encode()


def test_metadata(tmp_path):
    objects = {"bbox": [[1, 2, 10, 11.5], [0, 0, 40, 30]], "category": ["robin", "wren"]}
    files = named("train/1.jpg", "train/sub/2.jpg", "train/3.jpg", "train/m1.png", "train/m2.png", "test/9.jpg")
    files["train/metadata.jsonl"] = jsonl(
        {"file_name": "1.jpg", "label": "robin", "objects": objects, "width": 40, "height": 30, "image_id": "r1"},
        {"file_name": "sub/2.jpg", "label": "wren", "objects": None, "mask_file_name": ["m1.png", "m2.png"]},
    )
    files["test/metadata.csv"] = (
        b'file_name,label,objects,ignore_mask_file_name\n9.jpg,wren,"{""bbox"": [[0, 0, 1, 1]]}",8.png\n'
    )
    reader = reader_of(tmp_path, files)
    third, first, second = reader.records()
    assert (first.split, first.image, first.label, first.image_id) == ("train", "train/1.jpg", "robin", "r1")
    assert first.where == "train/metadata.jsonl, line 1"
    assert first.boxes == [(1, 2, 10, 11.5), (0, 0, 40, 30)] and first.categories == ["robin", "wren"]
    assert first.size == (40, 30)
    assert (second.image, second.boxes, second.size) == ("train/sub/2.jpg", None, None)
    assert second.masks == ("train/m1.png", "train/m2.png")
    assert (third.split, third.label, third.boxes) == ("test", "wren", [(0, 0, 1, 1)])
    assert (third.where, third.ignore_masks) == ("test/metadata.csv, line 2", ("test/8.png",))
    assert reader.has_boxes and reader.has_masks and reader.has_ignore_masks
    assert reader.class_names == ["robin", "wren"]


def test_the_folder_is_the_class_where_the_metadata_has_none(tmp_path):
    lines = jsonl({"file_name": "robin/1.jpg", "objects": {"bbox": [[0, 0, 5, 5]]}})
    reader = reader_of(tmp_path, named("robin/1.jpg") | {"metadata.jsonl": lines})
    [image] = reader.records()
    assert (image.split, image.label) == ("train", "robin")


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"label": "a"}', "metadata.jsonl, line 1: there is no `file_name`"),
        ("file_name", "metadata.jsonl, line 1: no valid JSON"),
        ("[1]", "metadata.jsonl, line 1: expected an object"),
        ("[" * 100_000, "metadata.jsonl, line 1: no valid JSON"),
        ('{"file_name": "1.jpg", "label": "a", "objects": [[0, 0, 1, 1]]}', "line 1: `objects` must be like"),
        ('{"file_name": "1.jpg", "label": "a", "objects": {"bbox": [[0, 0, 1]]}}', "line 1: a box must be"),
        ('{"file_name": "1.jpg", "label": "a", "objects": {"bbox": [[0, 0, 1, "x"]]}}', "`bbox` must be a number"),
        ('{"file_name": "1.jpg", "label": "a", "width": "wide", "height": 3}', "`width` must be a number"),
    ],
)
def test_lines_that_cannot_be_read(tmp_path, line, message):
    files = named("train/1.jpg") | {"train/metadata.jsonl": line.encode()}
    with pytest.raises(ValueError, match=message):
        list(reader_of(tmp_path, files).records())


def test_csv_lines_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="metadata.csv is empty"):
        reader_of(tmp_path / "a", named("train/1.jpg", "train/metadata.csv"))
    with pytest.raises(ValueError, match="metadata.csv, line 2: 1 values for 2 columns"):
        reader_of(tmp_path / "b", named("train/1.jpg") | {"train/metadata.csv": b"file_name,label\n1.jpg"})


def test_paths_that_lead_out_are_missing_files(tmp_path):
    files = {"train/metadata.jsonl": jsonl({"file_name": "../../secret.jpg", "label": "a"}), "train/1.jpg": b""}
    (tmp_path / "secret.jpg").write_bytes(image_bytes())
    with pytest.raises(ValueError, match="no file train/../../secret.jpg"):
        prepare_dataset(reader_of(tmp_path / "source", files), tmp_path / "out")


def test_end_to_end(tmp_path):

    files = {
        "train/1.jpg": image_bytes(1),
        "train/m.png": encoded(PIL.Image.new("L", (40, 30), 255)),
        "train/metadata.jsonl": jsonl(
            {"file_name": "1.jpg", "label": "a", "objects": {"bbox": [[1, 2, 3, 4]]}, "mask_file_name": "m.png"}
        ),
        "test/b/2.jpg": image_bytes(2),
        "test/a/3.jpg": image_bytes(3),
    }
    prepared = prepare_dataset(reader_of(tmp_path / "source", files), tmp_path / "out")
    assert {name: split.num_examples for name, split in prepared.splits.items()} == {"train": 1, "test": 2}
    assert prepared.splits["train"].num_boxes == prepared.splits["train"].num_masked == 1
