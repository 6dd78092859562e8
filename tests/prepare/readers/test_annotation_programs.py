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
"""
Data as annotation programs write them: labelImg's XML and text files, Roboflow's COCO and YOLO exports, Label Studio's JSON, and
what goes wrong in each.
"""

import codecs
import json
from pathlib import Path

import pytest
from official_trees import image_bytes, voc_xml

from transformers_sat.prepare import InvalidImage, open_reader, open_source, prepare_dataset, verify_dataset
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


def region(name: str = "robin", size: tuple[int, int] = SIZE, **value: object) -> dict:
    """The box 6, 8, 30, 20 of an image of 60 x 40, in percent, as Label Studio has it."""
    value = {"x": 10, "y": 20, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": [name]} | value
    kind = next((key for key in value if key.endswith("labels") and value[key]), "rectangle")
    sizes = {"original_width": size[0], "original_height": size[1], "image_rotation": 0}
    return {"id": f"{value}", "type": kind, "to_name": "image", "from_name": "label", "value": value} | sizes


def task(image: str, *results: dict, **fields: object) -> dict:
    """A task of Label Studio with one annotation."""
    annotation = {
        "id": 1,
        "was_cancelled": False,
        "created_at": "2025-03-01T10:00:00.000000Z",
        "result": list(results),
    }
    return {"id": 7, "data": {"image": image}, "annotations": [annotation], "predictions": []} | fields


def chosen(*names: str) -> dict:
    return {
        "id": "c",
        "type": "choices",
        "to_name": "image",
        "from_name": "species",
        "value": {"choices": list(names)},
    }


def label_studio(folder: Path, *tasks: object, file: str = "project-1-at-2025.json"):
    put(folder, file, json.dumps(tasks))


def read(name: str, folder: Path) -> dict[str, tuple[str, str, list]]:
    """Split, class and boxes of each image, by its path, as they would be written."""
    reader = READERS[name](open_source(folder))
    numbers = {label: number for number, label in enumerate(reader.class_names)}
    found = {}
    for record in reader.records():
        row = read_example(record, reader, numbers).row
        boxes = [] if row["objects"] is None else row["objects"]["bbox"]
        found[record.image] = (record.split, record.label, [tuple(box) for box in boxes])
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


def test_xml_beside_images_in_class_folders(tmp_path):
    """Some of the images have one; the class is the folder's, and boxes that are called after another are not its."""
    for name in ("robin/a.JPG", "robin/b.jpg", "wren/c.png", "wren/d.jpg"):
        put(tmp_path, name, image_bytes(SIZE, "RGB PNG" if name.endswith("png") else "RGB JPEG"))
    put(tmp_path, "robin/a.xml", xml("robin"))
    put(tmp_path, "wren/c.xml", xml("robin"))
    put(tmp_path, "wren/d.XML", xml("bird"))
    assert read("imagefolder", tmp_path) == {
        "robin/a.JPG": ("train", "robin", [BOX]),
        "robin/b.jpg": ("train", "robin", []),
        "wren/c.png": ("train", "wren", []),
        "wren/d.jpg": ("train", "wren", [BOX]),
    }
    reader = open_reader("imagefolder", tmp_path)
    assert reader.has_boxes and list(reader.left_over()) == []
    put(tmp_path, "robin/a.xml", xml("robin")[:-20])
    problems = [record.problem for record in open_reader("imagefolder", tmp_path).records()]
    assert [problem and problem[0] for problem in problems] == ["unreadable_annotation", None, None, None]


def test_the_card_of_own_images_has_nobodys_terms(tmp_path):
    put(tmp_path, "a.jpg", image_bytes(SIZE))
    put(tmp_path, "a.xml", xml())
    put(tmp_path, "annotations/instances_default.json", coco("a.jpg"))
    for name in ("voc", "coco"):
        reader = open_reader(name, tmp_path)
        assert (reader.homepage, reader.license, reader.citation) == ("", "unknown", "")
        assert "VOC" not in reader.license_text and "COCO" not in reader.license_text


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


@pytest.mark.parametrize("place", ["beside the images", "folders of splits", "labels"])
def test_yolo_as_labelimg_and_label_studio_write_it(tmp_path, place):
    """`classes.txt` and no `data.yaml`; each folder that has one counts the classes in its own order."""
    if place == "labels":
        folders = {"": ("train", ["robin", "wren"])}
    elif place == "beside the images":
        folders = {"photos/": ("train", ["robin", "wren"])}
    else:
        folders = {"train/": ("train", ["robin", "wren"]), "valid/": ("validation", ["wren", "robin"])}
    expected = {}
    for folder, (split, names) in folders.items():
        images, labels = (f"{folder}images/", f"{folder}labels/") if place == "labels" else (folder, folder)
        put(tmp_path, f"{folder}classes.txt", "\r\n".join(names) + "\r\n")
        put(tmp_path, f"{folder}notes.txt", "see the other folder")
        for number, suffix in enumerate((".jpg", ".PNG", ".jpg")):
            image = f"{images}{number}{suffix}"
            put(tmp_path, image, image_bytes(SIZE, "RGB PNG" if suffix == ".PNG" else "RGB JPEG", seed=number))
            if number < 2:
                put(tmp_path, f"{labels}{number}.txt", YOLO_LINE.replace("0", str(number), 1) + "\n")
                expected[image] = (split, names[number], [pytest.approx(BOX)])
    assert read("yolo", tmp_path) == expected


def test_the_classes_of_labelimg_are_those_of_its_lines(tmp_path):
    """A blank line counts; a number without a line, and a folder without the file, are problems of their images."""
    put(tmp_path, "a/classes.txt", "robin\n\nwren\n")
    put(tmp_path, "b/classes.txt", "wren\n")
    for number, path in enumerate(("a/1", "a/2", "a/3", "c/4")):
        put(tmp_path, f"{path}.jpg", image_bytes(SIZE, seed=number))
        put(tmp_path, f"{path}.txt", YOLO_LINE.replace("0", "2" if number < 2 else "1", 1))
    records = {each.image: each for each in READERS["yolo"](open_source(tmp_path)).records()}
    assert [records[f"a/{number}.jpg"].label for number in (1, 2)] == ["wren", "wren"]
    assert records["a/3.jpg"].problem == ("unknown_class", "there is no class 1 in a/classes.txt.")
    kind, message = records["c/4.jpg"].problem
    assert kind == "unknown_class" and "classes.txt beside it" in message


@pytest.mark.parametrize(
    ("reference", "file"),
    [
        ("/data/upload/1/1a2b3c4d-bird.jpg", "bird.jpg"),
        ("/data/upload/1/1a2b3c4d-bird.jpg", "media/upload/1/1a2b3c4d-bird.jpg"),
        ("/data/upload/1/1a2b3c4d-my_bird_1.jpg", "my bird (1).jpg"),
        ("upload/1/1a2b3c4d-bird.jpg", "deep/in/bird.jpg"),
        ("/data/local-files/?d=photos/my%20bird.jpg", "photos/my bird.jpg"),
        ("/data/local-files/?d=C%3A%5Cphotos%5Cbird.jpg", "photos/bird.jpg"),
        ("s3://bucket/set/bird.jpg", "set/bird.jpg"),
        ("https://host.example/a/b%20c.jpg?X-Signature=ab%2Fcd.jpg&e=1", "a/b c.jpg"),
        ("bird.jpg", "bird.jpg"),
        ("100%25 ?.jpg", "100%25 ?.jpg"),
    ],
)
def test_label_studio_finds_images_by_what_its_tasks_call_them(tmp_path, reference, file):
    put(tmp_path, file, image_bytes(SIZE))
    label_studio(tmp_path, task(reference, region()))
    assert read("label-studio", tmp_path) == {file: ("train", "robin", [BOX])}


def test_label_studio_takes_no_image_of_a_name_that_is_only_alike(tmp_path):
    put(tmp_path, "(1).jpg", image_bytes(SIZE))
    put(tmp_path, "a b.jpg", image_bytes(SIZE, seed=1))
    label_studio(tmp_path, task("1.jpg", region()), task("/data/upload/1/1a2b3c4d-a_b.jpg", region()))
    report, _, _ = verify_dataset(READERS["label-studio"](open_source(tmp_path)))
    assert dict(report.counts) == {"missing_file": 1} and "there is no file 1.jpg" in str(report)


def test_label_studio_tells_images_of_one_name_apart_by_their_folders(tmp_path):
    for number, folder in enumerate(("a/x", "b/x")):
        put(tmp_path, f"{folder}/bird.jpg", image_bytes(SIZE, seed=number))
    label_studio(tmp_path, task("s3://bucket/b/x/bird.jpg", region()), task("/upload/1/bird.jpg", region()))
    first, second = READERS["label-studio"](open_source(tmp_path)).records()
    assert first.image == "b/x/bird.jpg" and first.problem is None
    assert second.problem[0] == "unreadable_annotation"
    assert "may be any of a/x/bird.jpg, b/x/bird.jpg" in second.problem[1]


@pytest.mark.parametrize("form", ["JSON", "JSON-MIN"])
def test_label_studio(tmp_path, form, caplog):
    """The newest annotation counts unless one is marked as the truth, cancelled ones do not; classes are drawn or chosen."""
    old, new = (
        {"created_at": "2025-01-01T10:00:00Z"},
        {"created_at": "2025-01-01T10:00:00Z", "updated_at": "2025-06-01T10:00:00Z"},
    )
    wren, robin = {"result": [region("wren")]}, {"result": [region("robin")]}
    content = {
        "newest.jpg": [wren | new, robin | old],
        "chosen.jpg": [{"result": [chosen("wren"), region("bird")]}],
        "no_box.jpg": [{"result": [chosen("wren")]}],
        "two.jpg": [{"result": [region("wren"), region("robin", x=12)]}],
        "nothing.jpg": [{"result": []}],
    }
    if form == "JSON":
        content["cancelled.jpg"] = [wren | old, robin | new | {"was_cancelled": True}]
        content["truth.jpg"] = [wren | old | {"ground_truth": True}, robin | new]
        content["skipped.jpg"] = [robin | {"was_cancelled": True}]
        content["open.jpg"] = []
    tasks = []
    for number, (image, annotations) in enumerate(content.items()):
        put(tmp_path, image, image_bytes(SIZE, seed=number))
        if form == "JSON":
            tasks.append({"id": number, "data": {"text": "a bird", "photo": f"/data/upload/1/0123abcd-{image}"}})
            tasks[-1]["annotations"] = annotations
            continue
        for annotation in annotations:
            row = {
                "id": number,
                "photo": f"/data/upload/1/0123abcd-{image}",
                "annotation_id": len(tasks),
                "annotator": 1,
            }
            for each in annotation.pop("result"):
                if each["type"] == "choices":
                    row["choice"] = each["value"]["choices"][0]
                else:
                    sizes = {name: each[name] for name in ("original_width", "original_height")}
                    row.setdefault("label", []).append(each["value"] | sizes)
            tasks.append(row | annotation)
    label_studio(tmp_path, *tasks)
    expected = {"newest.jpg": [BOX], "chosen.jpg": [BOX], "no_box.jpg": []}
    if form == "JSON":
        expected |= {"cancelled.jpg": [BOX], "truth.jpg": [BOX]}
    assert read("label-studio", tmp_path) == {name: ("train", "wren", boxes) for name, boxes in expected.items()}
    left_out = (
        "1 with several classes, 1 without a class"
        if form == "JSON-MIN"
        else ("1 with several classes, 1 without a class, 2 without an annotation")
    )
    assert f"of {len(content)} images left out: {left_out}." in caplog.text


def test_regions_of_label_studio_become_the_boxes_around_them(tmp_path):
    """A turned rectangle, a polygon, a label apart from its rectangle, and strokes, which are no boxes."""
    rectangle = region("robin", rectanglelabels=[]) | {"id": "r"}
    apart = rectangle | {"type": "labels", "value": rectangle["value"] | {"labels": ["robin"]}}
    regions = {
        # a quarter turn to the right about the corner 36, 8: 20 wide and 30 high to the left of it
        "turned": [region(x=60, width=50, height=50, rotation=90)],
        "polygon": [region(rectanglelabels=[], polygonlabels=["robin"], points=[[10, 20], [60, 30], [40, 70]])],
        "apart": [rectangle, apart],
        "strokes": [region(), region(rectanglelabels=[], brushlabels=["robin"], rle=[1])],
        "only_strokes": [region(rectanglelabels=[], brushlabels=["robin"], rle=[1])],
    }
    for number, name in enumerate(regions):
        put(tmp_path, f"{name}.jpg", image_bytes(SIZE, seed=number))
    label_studio(tmp_path, *(task(f"{name}.jpg", *found) for name, found in regions.items()))
    boxes = {image: boxes for image, (_, _, boxes) in read("label-studio", tmp_path).items()}
    expected = {"turned.jpg": (16, 8, 20, 30), "polygon.jpg": BOX, "apart.jpg": BOX, "strokes.jpg": BOX}
    assert boxes == {image: [pytest.approx(box)] for image, box in expected.items()}


def test_splits_of_label_studio_are_folders_or_files(tmp_path):
    for number, path in enumerate(("photos/a.jpg", "photos/b.jpg", "test/c.jpg")):
        put(tmp_path, path, image_bytes(SIZE, seed=number))
    label_studio(tmp_path, task("a.jpg", region()), task("c.jpg", region()), file="train.json")
    label_studio(tmp_path, task("b.jpg", region()), file="val.json")
    put(tmp_path, "notes.json", '{"categories": []}')
    assert {image: split for image, (split, _, _) in read("label-studio", tmp_path).items()} == {
        "photos/a.jpg": "train",
        "photos/b.jpg": "validation",
        "test/c.jpg": "test",
    }


@pytest.mark.parametrize(
    ("bad", "parts"),
    [
        (17, ["project-1-at-2025.json, task 2", "expected an object with a field `data`"]),
        ({"data": {"text": "x"}, "annotations": []}, ["task 2", "no field of `data` names an image"]),
        (task("1.jpg", region(rectanglelabels="robin")), ["region 1", "`rectanglelabels` must be a list of names"]),
        (task("1.jpg", region(size=(None, None))), ["region 1", "there is no field `original_width`"]),
        (task("1.jpg", region() | {"image_rotation": 90}), ["region 1", "drawn on a turned image"]),
        (task("1.jpg", region(points=[[1]])), ["region 1", "`points` must hold pairs x, y"]),
        (task("1.jpg", annotations={}), ["task 2", "`annotations` must be a list"]),
    ],
)
def test_a_task_that_cannot_be_read_is_its_own_problem(tmp_path, bad, parts):
    for number in range(2):
        put(tmp_path, f"{number}.jpg", image_bytes(SIZE, seed=number))
    label_studio(tmp_path, task("0.jpg", region()), bad)
    report, num_images, _ = verify_dataset(READERS["label-studio"](open_source(tmp_path)))
    assert num_images == 2 and dict(report.counts) == {"unreadable_annotation": 1}
    for part in parts:
        assert part in str(report)


@pytest.mark.parametrize("name", ["yolo", "label-studio"])
def test_a_source_without_annotations_says_what_there_should_be(tmp_path, name):
    put(tmp_path, "a.jpg", image_bytes(SIZE))
    put(tmp_path, "a.json", "[]")
    with pytest.raises(ValueError, match="is missing") as raised:
        READERS[name](open_source(tmp_path))
    assert READERS[name].layout in str(raised.value)


def write_three(name: str, folder: Path, bad: set[int], kind: str):
    """Three images; those of `bad` have a problem."""
    for number in range(3):
        folders = {"coco": "train/", "yolo": "images/", "imagefolder": "train/robin/"}
        path = f"{folders.get(name, '')}{number}.jpg"
        is_bad = number in bad
        if not (is_bad and kind == "missing_file"):
            put(folder, path, b"<html>" if is_bad and kind == "undecodable" else image_bytes(SIZE, seed=number))
        corners = {"empty_box": "6 8 6 28", "box_outside": "70 8 90 28"}.get(kind, "") if is_bad else ""
        broken = is_bad and kind == "unreadable_annotation"
        if name == "voc":
            put(folder, f"{number}.xml", "<annotation><obj" if broken else xml(corners=corners or "6 8 36 28"))
        elif name in ("yolo", "labelimg"):
            line = (
                {"empty_box": "0 0.35 0.45 0 0.5", "box_outside": "0 1.5 0.45 0.1 0.5"}.get(kind) if is_bad else None
            )
            beside = "" if name == "labelimg" else "labels/"
            put(folder, f"{beside}{number}.txt", "0 a b c d" if broken else line or YOLO_LINE)
    boxes = {
        "empty_box": [6, 8, -3, 20],
        "box_outside": [70, 8, 20, 20],
        "unreadable_annotation": [6, 8, "wide", 20],
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
    elif name == "labelimg":
        put(folder, "classes.txt", "robin\n")
    elif name == "label-studio":
        tasks = []
        for number, (x, y, width, height) in enumerate(boxes):
            width = width if isinstance(width, str) else width / 0.6
            found = region(x=x / 0.6, y=y / 0.4, width=width, height=height / 0.4)
            tasks.append(task(f"/data/upload/1/0123abcd-{number}.jpg", found))
        label_studio(folder, *tasks)
    elif name == "yolo":
        put(folder, "data.yaml", "train: images\nnames: [robin]\n")


@pytest.mark.parametrize("bad", [{1}, {0}, {0, 1, 2}], ids=["second", "first", "all"])
@pytest.mark.parametrize("kind", ["missing_file", "undecodable", "unreadable_annotation", "empty_box", "box_outside"])
@pytest.mark.parametrize("name", ["imagefolder", "coco", "voc", "yolo", "labelimg", "label-studio"])
def test_a_problem_is_that_of_its_image(tmp_path, name, kind, bad):
    """One bad image among three leaves two, whichever it is; of three bad ones each is listed."""
    write_three(name, tmp_path / "files", bad, kind)
    if name == "yolo" and kind == "missing_file":
        # the folder is the list
        put(tmp_path / "files", "all.txt", "".join(f"images/{number}.jpg\n" for number in range(3)))
        put(tmp_path / "files", "data.yaml", "train: all.txt\nnames: [robin]\n")
    reader = READERS["yolo" if name == "labelimg" else name](open_source(tmp_path / "files"))
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


@pytest.mark.parametrize("name", ["roboflow", "instances", "voc", "label-studio"])
def test_an_image_of_another_split_is_not_taken(tmp_path, name):
    """`train/1.jpg` is missing; `valid/1.jpg` is not its image."""
    for path in ("train/2.jpg", "train/3.jpg", "valid/1.jpg", "valid/2.jpg", "valid/3.jpg"):
        put(tmp_path, path, image_bytes(SIZE, seed=len(path)))
    names = ["1.jpg", "2.jpg", "3.jpg"]
    for split in ("train", "valid"):
        if name == "voc":
            for number in (1, 2, 3):
                put(tmp_path, f"{split}/{number}.xml", xml())
        elif name == "label-studio":
            label_studio(tmp_path, *(task(f"{split}/{each}", region()) for each in names), file=f"{split}.json")
        else:
            path = f"{split}/_annotations.coco.json" if name == "roboflow" else f"annotations/instances_{split}.json"
            put(tmp_path, path, coco(*names))
    reader = open_reader("coco" if name in ("roboflow", "instances") else name, tmp_path)
    found = {record.image: record.split for record in reader.records() if record.image in reader.source}
    assert found == {
        "train/2.jpg": "train",
        "train/3.jpg": "train",
        "valid/1.jpg": "validation",
        "valid/2.jpg": "validation",
        "valid/3.jpg": "validation",
    }
    report = verify_dataset(reader)[0]
    assert dict(report.counts) == {"missing_file": 1}


def test_voc_in_two_trees_of_splits(tmp_path):
    for split in ("train", "val"):
        put(tmp_path, f"images/{split}/1.jpg", image_bytes(SIZE))
        put(tmp_path, f"annotations/{split}/1.xml", xml())
    expected = {"images/train/1.jpg": ("train", "robin", [BOX]), "images/val/1.jpg": ("validation", "robin", [BOX])}
    assert read("voc", tmp_path) == expected


@pytest.mark.parametrize("file", ["result.json", "project/result.json"])
def test_coco_as_label_studio_exports_it(tmp_path, file):
    folder = file.removesuffix("result.json")
    put(tmp_path, file, coco("images/0.jpg", "./images/1.jpg"))
    for number in range(2):
        put(tmp_path, f"{folder}images/{number}.jpg", image_bytes(SIZE))
    assert read("coco", tmp_path) == {
        f"{folder}images/0.jpg": ("train", "robin", [BOX]),
        f"{folder}images/1.jpg": ("train", "wren", [BOX]),
    }


def test_ids_of_coco_that_are_there_twice(tmp_path, caplog):
    content = json.loads(coco("0.jpg", "1.jpg", "2.jpg"))
    content["images"][1]["id"] = 0
    content["annotations"].append({"id": 9, "image_id": 77, "category_id": 0, "bbox": list(BOX)})
    put(tmp_path, "instances_train.json", json.dumps(content))
    for number in range(3):
        put(tmp_path, f"train/{number}.jpg", image_bytes(SIZE))
    report = verify_dataset(open_reader("coco", tmp_path))[0]
    assert dict(report.counts) == {"unreadable_annotation": 2}
    assert "instances_train.json, image 1 and instances_train.json, image 2 have the same `id` 0" in str(report)
    # that of the image whose id was changed, and the one that was added
    assert "instances_train.json: 2 annotations left out, whose `image_id` is that of no image" in caplog.text
    content["categories"].append({"id": 0, "name": "owl"})
    put(tmp_path, "instances_train.json", json.dumps(content))
    with pytest.raises(ValueError, match="instances_train.json, category 3: the `id` 0 of 'owl' is that of 'robin'"):
        verify_dataset(open_reader("coco", tmp_path))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("images", {"file_name": 2}),
        ("images", {"width": "wide"}),
        ("annotations", {"category_id": None}),
        ("annotations", {"bbox": "x"}),
    ],
)
def test_an_entry_of_coco_that_cannot_be_read_is_the_problem_of_its_image(tmp_path, kind, change):
    content = json.loads(coco("0.jpg", "1.jpg", "2.jpg"))
    content[kind][1].update(change)
    put(tmp_path, "instances_train.json", json.dumps(content))
    for number in range(3):
        put(tmp_path, f"train/{number}.jpg", image_bytes(SIZE))
    report, num_images, _ = verify_dataset(open_reader("coco", tmp_path))
    assert num_images == 3 and dict(report.counts) == {"unreadable_annotation": 1}
    assert "instances_train.json, image 2: " in str(report) and f"`{next(iter(change))}`" in str(report)


@pytest.mark.parametrize("values", [2, 3])
def test_key_points_of_yolo_are_no_outlines(tmp_path, values):
    put(tmp_path, "data.yaml", f"train: images\nnames: [robin]\nkpt_shape: [2, {values}]\n")
    points = " ".join(["0.9 0.9 2" if values == 3 else "0.9 0.9"] * 2)
    for number, line in enumerate((f"{YOLO_LINE} {points}", YOLO_LINE)):
        put(tmp_path, f"images/{number}.jpg", image_bytes(SIZE))
        put(tmp_path, f"labels/{number}.txt", line)
    reader = open_reader("yolo", tmp_path)
    records = list(reader.records())
    assert reader.annotate(records[0]).boxes == [pytest.approx(BOX)]
    assert records[1].problem[0] == "unreadable_annotation" and "`kpt_shape`" in records[1].problem[1]


def test_data_yaml_as_it_is_often_written(tmp_path):
    """The folder of the file itself, words that YAML 1.1 takes for truth, a class with a point, and what is not there."""
    put(tmp_path, "data.yaml", "train: .\nval: ../valid/images\ntest: test\nnames: [yes, no, 01]\n")
    for path, line in (("a", "0.0" + YOLO_LINE[1:]), ("b", "1" + YOLO_LINE[1:]), ("test/c", "2" + YOLO_LINE[1:])):
        put(tmp_path, f"{path}.jpg", image_bytes(SIZE, seed=len(path)))
        put(tmp_path, f"{path}.txt", line)
    put(tmp_path, "d.txt", YOLO_LINE)
    reader = open_reader("yolo", tmp_path)
    found = {record.image: (record.split, record.label) for record in reader.records() if record.label}
    assert found == {
        "a.jpg": ("train", "yes"),
        "b.jpg": ("train", "no"),
        "test/c.jpg": ("test", "01"),
        "d.jpg": ("train", "yes"),
    }
    report = verify_dataset(reader)[0]
    assert dict(report.counts) == {"missing_file": 2}
    assert "`val` is '../valid/images', where there are no images" in str(report) and "no file d.jpg" in str(report)
