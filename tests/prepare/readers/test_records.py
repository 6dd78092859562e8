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
"""Records of annotations with other types than they should have: an error with file, line, field and value."""

import json
import re
from pathlib import Path

import pytest
from official_trees import image_bytes, mat_bytes, structs, voc_xml, write_imagenet

from transformers_sat.prepare import open_source
from transformers_sat.prepare.engine import verify_dataset
from transformers_sat.prepare.readers import READERS


WRONG = {
    "text": "x",
    "a number": 5,
    "a fraction": 0.5,
    "true": True,
    "null": None,
    "a list": [],
    "a list of lists": [[]],
    "an object": {"a": 1},
    "half a character": "\ud800",
    "a huge number": 10**400,
}


def verdict(name: str, folder: Path):
    return verify_dataset(READERS[name](open_source(folder)))[0]


def put(folder: Path, path: str, content: str | bytes):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


# What is no problem: what means nothing, and text or numbers for a name.
FINE_IN_METADATA = {
    "file_name": (),
    "label": ("text", "a number", "a fraction", "true", "null", "a huge number"),
    "image_id": ("text", "a number", "a fraction", "true", "null", "a list", "a huge number"),
    "objects": tuple(WRONG),  # no boxes: a column of something else
    "bbox": ("a list", "null"),
    "category": tuple(WRONG),  # of no use where it names no class of the images, and never a problem
    "width": ("null", "a list"),
    "mask_file_name": ("null", "a list"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", FINE_IN_METADATA)
def test_metadata(tmp_path, name, wrong):
    objects = {"bbox": [[1, 2, 3, 4]], "category": ["robin"]}
    line = {
        "file_name": "robin/a.jpg",
        "label": "robin",
        "image_id": "a",
        "objects": objects,
        "width": 60,
        "height": 40,
    }
    (objects if name in objects else line)[name] = WRONG[wrong]
    put(tmp_path, "robin/a.jpg", image_bytes((60, 40)))
    put(tmp_path, "robin/b.jpg", image_bytes((60, 40)))
    put(tmp_path, "metadata.jsonl", json.dumps({"file_name": "robin/b.jpg"}) + "\n" + json.dumps(line))
    try:
        report = str(verdict("imagefolder", tmp_path))
    except ValueError as error:
        assert wrong not in FINE_IN_METADATA[name]
        assert str(error).startswith("metadata.jsonl, line 2") and f"`{name}`" in str(error).replace("a box", "`bbox`")
    else:
        # names of files that are not there, and sizes that are not the image's, are problems of an image
        assert wrong in FINE_IN_METADATA[name] or "metadata.jsonl, line 2: " in report


# What is no problem, and what is named by another field.
FINE_IN_COCO = {
    ("images", "file_name"): (),
    ("images", "id"): (),
    ("images", "width"): ("null",),
    ("annotations", "image_id"): (),
    ("annotations", "category_id"): (),
    ("annotations", "bbox"): (),
    ("categories", "id"): (),
    ("categories", "name"): ("text", "a number", "a fraction", "true", "a huge number"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("place", FINE_IN_COCO)
def test_coco(tmp_path, place, wrong):
    contents = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 60, "height": 40}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    kind, name = place
    contents[kind][0][name] = WRONG[wrong]
    put(tmp_path, "train/a.jpg", image_bytes((60, 40)))
    put(tmp_path, "instances_train.json", json.dumps(contents))
    try:
        report = str(verdict("coco", tmp_path))
    except ValueError as error:
        assert wrong not in FINE_IN_COCO[place]
        if f"`{name}` must" not in str(error) and f"no field `{name}`" not in str(error):
            # a name, or number, that nothing else has
            assert wrong in ("text", "a number")
            assert str(error).startswith("instances_train.json, image 1: ") or "has no image" in str(error)
    else:
        one = "annotation" if name == "image_id" else "image"
        assert wrong in FINE_IN_COCO[place] or f"instances_train.json, {one} 1: " in report


@pytest.mark.parametrize("kind", ["images", "annotations", "categories"])
@pytest.mark.parametrize("wrong", [5, "x", None, []])
def test_entries_of_coco_that_are_no_objects(tmp_path, kind, wrong):
    contents = {"images": [], "annotations": [], "categories": []} | {kind: [wrong]}
    put(tmp_path, "instances_train.json", json.dumps(contents))
    if kind == "categories":
        with pytest.raises(ValueError, match="^instances_train.json, category 1: expected an object"):
            verdict("coco", tmp_path)
    else:
        report = verdict("coco", tmp_path)
        assert dict(report.counts) == {"unreadable_annotation": 1}
        assert f"instances_train.json, {kind[:-1]} 1: expected an object" in str(report)


@pytest.mark.parametrize("name", ["WNID", "words", "ILSVRC2012_ID", "num_children"])
def test_structs_of_matlab(tmp_path, name):
    write_imagenet(tmp_path)
    names = ("ILSVRC2012_ID", "WNID", "words", "num_children")
    row = {"ILSVRC2012_ID": 1, "WNID": "n03126707", "words": "crane", "num_children": 0} | {name: [[1, 2]]}
    content = mat_bytes(synsets=structs([tuple(row.values())], names))
    put(tmp_path, "ILSVRC2012_devkit_t12/data/meta.mat", content)
    with pytest.raises(ValueError, match=f"meta.mat, synset 1: `{name}` must be"):
        verdict("ilsvrc", tmp_path)


@pytest.mark.parametrize("box", [[float("nan"), 2, 3, 4], [1, 2, float("inf"), 4], [1, 2, 1e300, 4], [1e18, 2, 3, 4]])
def test_boxes_that_are_no_places_are_problems(tmp_path, box):
    put(tmp_path, "robin/a.jpg", image_bytes((60, 40)))
    put(tmp_path, "metadata.jsonl", json.dumps({"file_name": "robin/a.jpg", "objects": {"bbox": [box]}}))
    report = verdict("imagefolder", tmp_path)
    assert len(report) >= 1 and "metadata.jsonl, line 1: the box x, y, width, height" in str(report)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'file_name,label\n1.jpg,"' + b"x" * 200_000 + b'"\n', "metadata.csv, line 2: no valid CSV: field larger"),
        (b"file_name,label,label\n1.jpg,a,b\n", "metadata.csv, line 1: a column is there twice"),
        (b"file_name,label\n1.jpg,\xff\n", "metadata.csv is not UTF-8 text, somewhere after line 0"),
    ],
)
def test_csv(tmp_path, content, message):
    put(tmp_path, "1.jpg", image_bytes((60, 40)))
    put(tmp_path, "metadata.csv", content)
    with pytest.raises(ValueError, match=f"^{message}"):
        verdict("imagefolder", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'file_name,label,objects\n1.jpg,a,"[[1, 2, 3, 4]]"\n', "metadata.csv, line 2: `objects` must be like"),
        (b'file_name,label,objects\n1.jpg,a,"{"\n', "metadata.csv, line 2: `objects`: no valid JSON"),
        (b"file_name,label,width,height\n1.jpg,a,wide,40\n", "metadata.csv, line 2: `width` must be"),
    ],
)
def test_values_of_one_image(tmp_path, content, message):
    put(tmp_path, "1.jpg", image_bytes((60, 40)))
    put(tmp_path, "metadata.csv", content)
    report = verdict("imagefolder", tmp_path)
    assert dict(report.counts) == {"unreadable_annotation": 1} and f"\n  {message}" in str(report)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'<?xml version="1.0" encoding="utf-7"?><annotation/>', "a.xml: no valid XML"),
        (b'<?xml version="1.0" encoding="nothing"?><annotation/>', "a.xml: no valid XML"),
        (b"<annotation>\xff</annotation>", "a.xml: no valid XML"),
        (voc_xml((60, 40), [("", "1 2 3 4")]).encode(), "a.xml: an object has no <name>"),
        (voc_xml((60, 40), [("bird", "1 2 1e999 4")]).encode(), "a.xml: <xmax> should be a finite number"),
    ],
)
def test_xml(tmp_path, content, message):
    put(tmp_path, "VOC2012/ImageSets/Main/train.txt", "a\n")
    put(tmp_path, "VOC2012/Annotations/a.xml", content)
    put(tmp_path, "VOC2012/JPEGImages/a.jpg", image_bytes((60, 40)))
    report = verdict("voc", tmp_path)
    assert dict(report.counts) == {"unreadable_annotation": 1} and message in str(report)


@pytest.mark.parametrize(
    "encoding", ["gb2312", "gb18030", "big5", "utf-16", "utf-16 with another declaration", "utf-8-sig"]
)
def test_encodings_of_xml(tmp_path, encoding):
    declared = "utf-8" if " " in encoding or encoding == "utf-8-sig" else encoding
    text = f'<?xml version="1.0" encoding="{declared}"?>\n' + voc_xml((60, 40), [("山羊", "1 2 30 40")])
    put(tmp_path, "VOC2012/ImageSets/Main/train.txt", "a\n")
    put(tmp_path, "VOC2012/Annotations/a.xml", text.encode(encoding.partition(" ")[0]))
    put(tmp_path, "VOC2012/JPEGImages/a.jpg", image_bytes((60, 40)))
    reader = READERS["voc"](open_source(tmp_path))
    assert reader.class_names == ["山羊"] and not verify_dataset(reader)[0]


@pytest.mark.parametrize("label", ["-1", "1000000", "99999999999999999999", "nan", "1.5"])
def test_numbers_of_classes_in_wsoleval(tmp_path, label):
    put(tmp_path, "images/a.jpg", image_bytes((60, 40)))
    put(tmp_path, "metadata/Own/train/image_ids.txt", "images/a.jpg\n")
    put(tmp_path, "metadata/Own/train/class_labels.txt", f"images/a.jpg,{label}\n")
    report = str(verdict("wsoleval", tmp_path))
    assert re.search(f"class_labels.txt, line 1: .*{label}", report)
