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

import codecs
import io
import json

import datasets
import PIL.Image
import pillow_heif
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepare_fixtures import encoded, image_bytes, tar_bytes, write_files

from transformers_sat.prepare import InvalidImage, open_source, prepare_dataset, verify_dataset
from transformers_sat.prepare.readers.imagefolder import ImageFolderReader
from transformers_sat.prepare.readers.lists import read_csv


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
    """One image out of place is that image's problem; without any there is nothing to say of each."""
    files = {"train/1.jpg": image_bytes(1), "train/a/1.jpg": image_bytes(2)}
    with pytest.raises(InvalidImage, match="train/1.jpg lies in no class folder") as raised:
        prepare_dataset(reader_of(tmp_path / "a", files), tmp_path / "out")
    assert raised.value.kind == "unknown_class"
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
        ('{"file_name": 1, "label": "a"}', "metadata.jsonl, line 1: `file_name` must be text, got 1"),
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
        prepare_dataset(reader_of(tmp_path / "s", files), tmp_path / "out")


def test_what_people_s_tools_write(tmp_path):
    """Objects as a list of structs, text in a byte order mark, backslashes, and a class of the boxes that is no class here."""
    lines = [
        {"file_name": "sub\\1.jpg", "label": "robin", "objects": [{"bbox": [1, 2, 3, 4], "category": "bird"}]},
        {"file_name": "2.jpg", "label": "wren", "objects": {"bbox": [[1, 2, 3, 4]], "category": ["bird"]}},
        {"file_name": "3.jpg", "label": "wren", "objects": {"bbox": [[1, 2, 3, 4]], "category": [0]}},
    ]
    files = named("train/sub/1.jpg", "train/2.jpg", "train/3.jpg")
    reader = reader_of(tmp_path, files | {"train/metadata.jsonl": codecs.BOM_UTF8 + jsonl(*lines)})
    assert reader.class_names == ["robin", "wren"]
    records = list(reader.records())
    assert [record.image for record in records] == ["train/sub/1.jpg", "train/2.jpg", "train/3.jpg"]
    assert [record.boxes for record in records] == [[(1, 2, 3, 4)]] * 3
    assert [record.categories for record in records] == [None] * 3


def test_quoted_newlines_in_csv(tmp_path):
    content = b'file_name,note,label\r\n1.jpg,"one\nand two, ""quoted""",robin\r\n2.jpg,,wren\r\n3.jpg,x\r\n'
    reader = reader_of(tmp_path, named("train/1.jpg", "train/2.jpg") | {"train/notes.csv": content})
    rows = list(read_csv(reader.source, "train/notes.csv"))
    assert rows[1] == ("train/notes.csv, line 2", ["1.jpg", 'one\nand two, "quoted"', "robin"])
    assert [where for where, _ in rows] == [f"train/notes.csv, line {number}" for number in (1, 2, 4, 5)]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("place", ["class", "split", "above"])
def test_metadata_in_any_form_and_place(tmp_path, suffix, place):
    boxes = {"robin": [[1.0, 2.0, 3.0, 4.0]], "wren": [[5.0, 6.0, 7.0, 8.0], [0.0, 0.0, 9.0, 9.0]]}
    files = named(*(f"{split}/{name}/{split}.jpg" for split in ("train", "test") for name in boxes))
    folders = {"class": ["train/robin/", "train/wren/"], "split": ["train/"], "above": [""]}[place]
    for folder in folders:
        images = [path for path in files if path.startswith(f"{folder}") and path.startswith("train/")]
        lines = [{"file_name": path[len(folder) :], "objects": {"bbox": boxes[path.split("/")[1]]}} for path in images]
        if suffix == "csv":
            rows = [
                f'{line["file_name"]},"{json.dumps(line["objects"]).replace(chr(34), chr(34) * 2)}"' for line in lines
            ]
            content = "\n".join(["file_name,objects", *rows]).encode()
        elif suffix == "parquet":
            pq.write_table(pa.Table.from_pylist(lines), file := io.BytesIO())
            content = file.getvalue()
        else:
            content = jsonl(*lines)
        files[f"{folder}metadata.{suffix}"] = content
    reader = reader_of(tmp_path, files)
    assert reader.has_boxes and reader.class_names == ["robin", "wren"]
    found = {record.image: (record.split, record.label, record.boxes) for record in reader.records()}
    assert found == {
        "train/robin/train.jpg": ("train", "robin", [(1, 2, 3, 4)]),
        "train/wren/train.jpg": ("train", "wren", [(5, 6, 7, 8), (0, 0, 9, 9)]),
        "test/robin/test.jpg": ("test", "robin", None),
        "test/wren/test.jpg": ("test", "wren", None),
    }


def test_heic_is_read(tmp_path):
    """Where its package is installed, under any of its suffixes."""
    pillow_heif.register_heif_opener()
    photograph = encoded(PIL.Image.new("RGB", (40, 30)), "HEIF")
    reader = reader_of(tmp_path / "s", {"robin/a.HEIC": photograph, "wren/b.heif": photograph, "wren/c.hif": b"x"})
    report, num_images, _ = verify_dataset(reader)
    assert num_images == 3 and dict(report.counts) == {"undecodable": 1}
    prepared = prepare_dataset(reader, tmp_path / "out", skip_invalid=True)
    assert prepared.splits["train"].num_examples == 2 and [each.image for each in prepared.skipped] == ["wren/c.hif"]


def test_every_file_is_accounted_for(tmp_path, caplog, without_heif):
    """Read, a problem, named as left out, or known clutter."""
    good = {f"train/robin/{number}.jpg": image_bytes(number) for number in range(2)}
    clutter = named("train/robin/.DS_Store", "train/robin/._0.jpg", "Thumbs.db", "train/desktop.ini")
    others = named("train/robin/notes.txt", "train/robin/clip.mp4", "extra/9.jpg")
    unread = named("train/robin/a.HEIC", "train/owl/b.jxl", "train/owl/c.tga")
    reader = reader_of(tmp_path / "s", good | clutter | others | unread)
    (tmp_path / "s/train/robin/again.jpg").symlink_to("0.jpg")
    reader = ImageFolderReader(open_source(tmp_path / "s"))
    report, num_images, _ = verify_dataset(reader)
    assert num_images == 5 and dict(report.counts) == {"undecodable": 3}
    for name, form in (("owl/b.jxl", "JXL"), ("owl/c.tga", "TGA")):
        assert f"train/{name} is in a format that is not read ({form}); convert it" in str(report)
    message = "train/robin/a.HEIC is in a format (HEIC) that needs another package, `pip install pillow-heif`"
    assert message in str(report)
    warnings = [record.getMessage() for record in caplog.records if "Left out" in record.getMessage()]
    assert sorted(warnings) == [
        "Left out: 1 files, beside the folders of the splits, such as 'extra/9.jpg'.",
        "Left out: 1 files, links to images that are read already, such as 'train/robin/again.jpg'.",
        "Left out: 2 files, which are no images, such as 'train/robin/clip.mp4'.",
    ]
    prepared = prepare_dataset(reader, tmp_path / "out", skip_invalid=True)
    assert prepared.splits["train"].num_examples == 2 and len(prepared.skipped) == 3


@pytest.mark.parametrize("kind", ["empty", "links", "bad"])
def test_a_source_in_which_nothing_can_be_used(tmp_path, kind):
    (tmp_path / "s/train/a").mkdir(parents=True)
    if kind == "links":
        (tmp_path / "s/train/a/1.jpg").symlink_to(tmp_path / "nowhere.jpg")
    elif kind == "bad":
        write_files(tmp_path / "s", {"train/a/1.jpg": b"<html>", "train/a/2.png": b""})
    if kind != "bad":
        with pytest.raises(ValueError, match="s has no images; what is read is:"):
            ImageFolderReader(open_source(tmp_path / "s"))
        return
    reader = ImageFolderReader(open_source(tmp_path / "s"))
    assert dict(verify_dataset(reader)[0].counts) == {"undecodable": 2}
    with pytest.raises(ValueError, match="can be used.\nundecodable: 2 .*\n  train/a/1.jpg: "):
        prepare_dataset(reader, tmp_path / "out", skip_invalid=True)


def test_csv_lines_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="metadata.csv is empty"):
        reader_of(tmp_path / "a", named("train/1.jpg", "train/metadata.csv"))
    content = b"file_name,label\n1.jpg\n2.jpg,a\n"
    records = list(reader_of(tmp_path / "b", named("train/1.jpg") | {"train/metadata.csv": content}).records())
    assert records[0].problem == ("unreadable_annotation", "1 values for 2 columns.")
    assert (records[1].image, records[1].problem) == ("train/2.jpg", None)


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"[1]",
        b'{"file_name": 2}',
        b'{"label": "a"}',
        b'{"file_name": "2.jpg", "label": ["a"]}',
        b'{"file_name": "2.jpg", "label": "a", "mask_file_name": 3}',
    ],
)
def test_a_line_that_cannot_be_read_is_one_problem(tmp_path, bad):
    files = {f"train/{number}.jpg": image_bytes(number) for number in (1, 2)}
    lines = jsonl({"file_name": "1.jpg", "label": "a"}) + b"\n" + bad
    report, num_images, _ = verify_dataset(reader_of(tmp_path, files | {"train/metadata.jsonl": lines}))
    assert num_images == 2 and dict(report.counts) == {"unreadable_annotation": 1}
    assert "train/metadata.jsonl, line 2: " in str(report)


def test_labels_that_are_numbers(tmp_path):
    """Whole ones are whole however they are written; what stands for no class is none."""
    labels = [1.0, "2.0", 3, "b 1.0", -1, "-1", "", float("nan"), None]
    lines = [{"file_name": f"{number}.jpg", "label": label} for number, label in enumerate(labels)]
    files = named(*(f"train/{number}.jpg" for number in range(len(labels))))
    records = list(reader_of(tmp_path, files | {"train/metadata.jsonl": jsonl(*lines)}).records())
    assert [record.label for record in records[:4]] == ["1", "2", "3", "b 1.0"]
    assert [record.problem and record.problem[0] for record in records] == [None] * 4 + ["unknown_class"] * 5


def test_names_of_labels_that_datasets_wrote(tmp_path):
    features = {"file_name": datasets.Value("string"), "label": datasets.ClassLabel(names=["robin", "wren"])}
    rows = {"file_name": ["0.jpg", "1.jpg", "2.jpg"], "label": [1, 0, -1]}
    file = tmp_path / "s/train/metadata.parquet"
    file.parent.mkdir(parents=True)
    datasets.Dataset.from_dict(rows, features=datasets.Features(features)).to_parquet(file)
    records = list(reader_of(tmp_path / "s", named("train/0.jpg", "train/1.jpg", "train/2.jpg")).records())
    assert [record.label for record in records] == ["wren", "robin", ""]
    assert records[2].problem[0] == "unknown_class"


def test_metadata_above_the_splits_and_in_one(tmp_path):
    """Both are read, the nearer one for an image that both name; what is of no split is a problem."""
    above = [
        {"file_name": "train/1.jpg", "label": "far"},
        {"file_name": "train/2.jpg", "label": "b"},
        {"file_name": "test/3.jpg", "label": "a"},
        {"file_name": "tset/1.jpg", "label": "a"},
        {"file_name": 5},
        {"label": "a"},
    ]
    files = {path: image_bytes(number) for number, path in enumerate(("train/1.jpg", "train/2.jpg", "test/3.jpg"))}
    files |= {"metadata.jsonl": jsonl(*above), "train/metadata.jsonl": jsonl({"file_name": "1.jpg", "label": "a"})}
    reader = reader_of(tmp_path, files)
    good = {record.image: (record.split, record.label) for record in reader.records() if record.problem is None}
    assert good == {"train/1.jpg": ("train", "a"), "train/2.jpg": ("train", "b"), "test/3.jpg": ("test", "a")}
    report = verify_dataset(reader)[0]
    assert dict(report.counts) == {"missing_file": 1, "unreadable_annotation": 2}
    assert "metadata.jsonl, line 4: tset/1.jpg is in no folder of a split: " in str(report)


@pytest.mark.parametrize("objects", [["tree", "car"], 3, "tree", {"bbox": None}])
def test_objects_that_are_no_boxes_are_left_alone(tmp_path, objects, caplog):
    lines = jsonl({"file_name": "1.jpg", "label": "a", "objects": objects})
    reader = reader_of(tmp_path, {"train/1.jpg": image_bytes(), "train/metadata.jsonl": lines})
    assert not verify_dataset(reader)[0] and not reader.has_boxes
    assert caplog.text.count("`objects` of the metadata is not read") == 1


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
