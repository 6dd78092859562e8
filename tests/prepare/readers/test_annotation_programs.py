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
"""Data as annotation programs write them: labelImg's XML, Roboflow's COCO and YOLO exports, and what goes wrong in each."""

import codecs
import json
from pathlib import Path

import pytest
from official_trees import image_bytes, voc_xml

from transformers_sat.prepare import InvalidImage, open_source, prepare_dataset, verify_dataset
from transformers_sat.prepare.examples import read_example
from transformers_sat.prepare.readers import READERS


SIZE = (60, 40)
# Corners 6, 8, 36, 28 of an image of 60 x 40, in each program's way.
BOX = (6.0, 8.0, 30.0, 20.0)
YOLO_LINE = "0 0.35 0.45 0.5 0.5"


def put(folder: Path, path: str, content: str | bytes):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


def xml(name: str = "robin", corners: str = "6 8 36 28") -> str:
    return voc_xml(SIZE, [(name, corners)])


def coco(*names: str, **fields: object) -> str:
    """One image of each class, by turns."""
    return json.dumps(
        {
            "images": [
                {"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
                for number, name in enumerate(names)
            ],
            "annotations": [
                {"id": number, "image_id": number, "category_id": number % 2, "bbox": list(BOX)} | fields
                for number in range(len(names))
            ],
            "categories": [{"id": 0, "name": "robin"}, {"id": 1, "name": "wren"}],
        }
    )


def read(name: str, folder: Path) -> dict[str, tuple[str, str, list]]:
    """Split, class and boxes of each image, by its path, as they would be written."""
    reader = READERS[name](open_source(folder))
    numbers = {label: number for number, label in enumerate(reader.class_names)}
    found = {}
    for record in reader.records():
        row = read_example(record, reader, numbers).row
        found[record.image] = (record.split, record.label, [tuple(box) for box in row["objects"]["bbox"]])
    return found


@pytest.mark.parametrize("place", ["beside the images", "annotations"])
def test_labelimg(tmp_path, place):
    """XML beside the images or in a folder of its own, images of any suffix, no lists of splits."""
    folder = "" if place == "beside the images" else "annotations/"
    images = "" if place == "beside the images" else "images/"
    for number, suffix in enumerate((".png", ".JPG", ".webp")):
        form = {".png": "RGB PNG", ".JPG": "RGB JPEG", ".webp": "RGB WEBP"}[suffix]
        put(tmp_path, f"{images}{number}{suffix}", image_bytes(SIZE, form))
        put(tmp_path, f"{folder}{number}.xml", xml("wren" if number else "robin"))
    box = [BOX]
    assert read("voc", tmp_path) == {
        f"{images}0.png": ("train", "robin", box),
        f"{images}1.JPG": ("train", "wren", box),
        f"{images}2.webp": ("train", "wren", box),
    }


def test_labelimg_in_folders_of_splits(tmp_path):
    for split in ("train", "valid", "test"):
        put(tmp_path, f"{split}/{split}.jpg", image_bytes(SIZE))
        put(tmp_path, f"{split}/{split}.xml", xml())
    assert {image: found[0] for image, found in read("voc", tmp_path).items()} == {
        "train/train.jpg": "train",
        "valid/valid.jpg": "validation",
        "test/test.jpg": "test",
    }


def test_voc_finds_images_by_name_in_the_xml(tmp_path):
    """Of two images of one stem the XML names one; one of another stem is found by it, too."""
    for name in ("a.jpg", "a.png", "other.jpg"):
        put(tmp_path, name, image_bytes(SIZE, "RGB PNG" if name.endswith("png") else "RGB JPEG"))
    for stem, name in (("a", "C:\\photos\\a.png"), ("b", "other.jpg")):
        put(tmp_path, f"{stem}.xml", xml().replace("<folder>", f"<filename>{name}</filename><folder>"))
    assert set(read("voc", tmp_path)) == {"a.png", "other.jpg"}


@pytest.mark.parametrize("folders", ["splits", "top"])
def test_roboflow_coco(tmp_path, folders):
    splits = {"train": "train/", "validation": "valid/", "test": "test/"} if folders == "splits" else {"train": ""}
    for folder in splits.values():
        # the same names in each split
        for number in range(2):
            put(tmp_path, f"{folder}{number}.jpg", image_bytes(SIZE, seed=number))
        put(tmp_path, f"{folder}_annotations.coco.json", codecs.BOM_UTF8 + coco("0.jpg", "1.jpg").encode())
    assert read("coco", tmp_path) == {
        f"{folder}{number}.jpg": (split, label, [BOX])
        for split, folder in splits.items()
        for number, label in enumerate(("robin", "wren"))
    }


def test_numbers_as_text_in_coco(tmp_path):
    content = json.loads(coco("0.jpg", "sub\\1.jpg"))
    for image in content["images"]:
        image.update(id=str(image["id"]), width="60", height="40")
    content["annotations"][1].update(category_id="1", bbox=["6", "8", "30", "20"])
    put(tmp_path, "instances_train.json", json.dumps(content))
    put(tmp_path, "train/0.jpg", image_bytes(SIZE))
    put(tmp_path, "train/sub/1.jpg", image_bytes(SIZE))
    assert read("coco", tmp_path) == {
        "train/0.jpg": ("train", "robin", [BOX]),
        "train/sub/1.jpg": ("train", "wren", [BOX]),
    }


def test_boxes_of_coco_without_area_count_as_crowds_do(tmp_path, caplog):
    content = json.loads(coco("0.jpg", "1.jpg", "2.jpg"))
    content["annotations"] += [
        {"id": 8, "image_id": 0, "category_id": 0, "bbox": [26.65, 38.33, 1.03, 0.0]},
        {"id": 9, "image_id": 1, "category_id": 0, "bbox": [5, 5, 0, 0]},
    ]
    put(tmp_path, "instances_train.json", json.dumps(content))
    for number in range(3):
        put(tmp_path, f"train/{number}.jpg", image_bytes(SIZE))
    found = read("coco", tmp_path)
    # the box is gone, its category is not: the second image has two
    assert {image: boxes for image, (_, _, boxes) in found.items()} == {"train/0.jpg": [BOX], "train/2.jpg": [BOX]}
    assert "2 boxes left out, of no width or no height" in caplog.text
    assert "1 of 3 images left out: 1 with several categories" in caplog.text


@pytest.mark.parametrize("form", ["roboflow", "ultralytics", "lists"])
def test_yolo(tmp_path, form):
    names = {"train": "a", "valid": "b", "test": "c"}
    for split, stem in names.items():
        images, labels = (
            (f"{split}/images", f"{split}/labels") if form == "roboflow" else (f"images/{split}", f"labels/{split}")
        )
        put(tmp_path, f"{images}/{stem}.png", image_bytes(SIZE, "RGB PNG"))
        put(tmp_path, f"{labels}/{stem}.txt", YOLO_LINE)
    if form == "roboflow":
        content = (
            "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['robin', 'wren']\n"
        )
    elif form == "ultralytics":
        content = "path: ../datasets/birds\ntrain: images/train\nval: images/valid\ntest: images/test\nnames:\n  0: robin\n  1: wren\n"
    else:
        content = "path: .\ntrain: train.txt\nval: valid.txt\ntest: test.txt\nnames: [robin, wren]\n"
        for split, stem in names.items():
            put(tmp_path, f"{split}.txt", f"./images/{split}/{stem}.png\n")
    put(tmp_path, "data.yaml", content)
    found = read("yolo", tmp_path)
    assert sorted((split, label) for split, label, _ in found.values()) == [
        (split, "robin") for split in ("test", "train", "validation")
    ]
    assert all(boxes == [pytest.approx(BOX)] for _, _, boxes in found.values())


def test_outlines_of_yolo_become_the_boxes_around_them(tmp_path):
    put(tmp_path, "data.yaml", "train: images\nnames: [robin, wren]\n")
    put(tmp_path, "images/a.jpg", image_bytes(SIZE))
    put(tmp_path, "images/b.jpg", image_bytes(SIZE))
    put(tmp_path, "labels/a.txt", "1 0.1 0.2 0.6 0.3 0.4 0.7\n")
    put(tmp_path, "labels/b.txt", f"{YOLO_LINE}\n1 0.5 0.5 0.5 0.5\n")
    assert {image: label for image, (_, label, _) in read("yolo", tmp_path).items()} == {"images/a.jpg": "wren"}
    boxes = read("yolo", tmp_path)["images/a.jpg"][2]
    assert boxes == [pytest.approx((6, 8, 30, 20))]


def write_three(name: str, folder: Path, bad: set[int], kind: str):
    """Three images; those of `bad` have a problem."""
    for number in range(3):
        path = {"voc": "", "coco": "train/", "yolo": "images/", "imagefolder": "train/robin/"}[name] + f"{number}.jpg"
        is_bad = number in bad
        if not (is_bad and kind == "missing_file"):
            put(folder, path, b"<html>" if is_bad and kind == "undecodable" else image_bytes(SIZE, seed=number))
        corners = {"empty_box": "6 8 6 28", "box_outside": "70 8 90 28"}.get(kind, "") if is_bad else ""
        broken = is_bad and kind == "unreadable_annotation"
        if name == "voc":
            put(folder, f"{number}.xml", "<annotation><obj" if broken else xml(corners=corners or "6 8 36 28"))
        elif name == "yolo":
            line = (
                {"empty_box": "0 0.35 0.45 0 0.5", "box_outside": "0 1.5 0.45 0.1 0.5"}.get(kind) if is_bad else None
            )
            put(folder, f"labels/{number}.txt", "0 a b c d" if broken else line or YOLO_LINE)
    boxes = {
        "empty_box": [6, 8, -3, 20],
        "box_outside": [70, 8, 20, 20],
        "unreadable_annotation": [6, 8, "wide"],
    }
    boxes = [boxes.get(kind, list(BOX)) if number in bad else list(BOX) for number in range(3)]
    if name == "coco":
        content = json.loads(coco(*(f"{number}.jpg" for number in range(3))))
        for annotation, box in zip(content["annotations"], boxes, strict=True):
            annotation.update(bbox=box, category_id=0)
        put(folder, "instances_train.json", json.dumps(content))
    elif name == "imagefolder":
        rows = [{"file_name": f"{number}.jpg", "objects": {"bbox": [box]}} for number, box in enumerate(boxes)]
        put(folder, "train/robin/metadata.jsonl", "\n".join(map(json.dumps, rows)))
    elif name == "yolo":
        put(folder, "data.yaml", "train: images\nnames: [robin]\n")


@pytest.mark.parametrize("bad", [{1}, {0}, {0, 1, 2}], ids=["second", "first", "all"])
@pytest.mark.parametrize("kind", ["missing_file", "undecodable", "unreadable_annotation", "empty_box", "box_outside"])
@pytest.mark.parametrize("name", ["imagefolder", "coco", "voc", "yolo"])
def test_a_problem_is_that_of_its_image(tmp_path, name, kind, bad):
    """One bad image among three leaves two, whichever it is; of three bad ones each is listed."""
    write_three(name, tmp_path / "files", bad, kind)
    if name == "yolo" and kind == "missing_file":
        # the folder is the list
        put(tmp_path / "files", "all.txt", "".join(f"images/{number}.jpg\n" for number in range(3)))
        put(tmp_path / "files", "data.yaml", "train: all.txt\nnames: [robin]\n")
    reader = READERS[name](open_source(tmp_path / "files"))
    report, num_images, _ = verify_dataset(reader)
    assert num_images == 3
    counts = dict(report.counts)
    counts.pop("empty_class", None)
    assert counts == {kind: len(bad)}, str(report)
    with pytest.raises(InvalidImage):
        prepare_dataset(reader, tmp_path / "strict")
    if len(bad) == 3:
        with pytest.raises(ValueError, match=rf"can be used\.\n(.|\n)*{kind}: 3 "):
            prepare_dataset(reader, tmp_path / "out", skip_invalid=True)
    else:
        prepared = prepare_dataset(reader, tmp_path / "out", skip_invalid=True)
        assert prepared.splits["train"].num_examples == 2 and [each.kind for each in prepared.skipped] == [kind]
