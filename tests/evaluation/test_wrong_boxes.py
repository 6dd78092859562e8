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
"""Boxes that cannot be right stop before anything is measured, on every way that data take."""

import datasets
import PIL.Image
import pytest
from sat_testing import tiny_config
from square_images import draw_square

from transformers_sat import SATImageProcessorPil
from transformers_sat.data import load_localization_dataset
from transformers_sat.evaluation.images import EvaluationImages
from transformers_sat.evaluation.score_maps import WsolMetadata
from transformers_sat.evaluation.split import EvaluationSplit


# Images of 64 x 48 pixels.
SIZE = (64, 48)
WRONG = {
    "corners": (
        [[30, 20, 60, 44]],
        r"row 2: the box 30, 20, 60, 44 in `objects` reaches past its image of 64 x 48 pixels",
    ),
    "fractions": ([[0.1, 0.2, 0.5, 0.4]], "row 2: the box 0.1, 0.2, 0.5, 0.4 in `objects` lies within one pixel"),
    "outside": ([[70, 10, 5, 5]], "row 2: the box 70, 10, 5, 5 in `objects` lies outside its image"),
    "below": ([[7, 48, 5, 5]], "row 2: the box 7, 48, 5, 5 in `objects` lies outside its image of 64 x 48 pixels"),
    "negative": ([[-50, -50, 45, 45]], "row 2: the box -50, -50, 45, 45 in `objects` lies outside its image"),
    "no width": ([[4, 4, 0, 9]], "row 2: the box 4, 4, 0, 9 in `objects` has no area"),
    "inverted": ([[40, 40, -9, -9]], "row 2: the box 40, 40, -9, -9 in `objects` has no area"),
    "not a number": ([[4, float("nan"), 9, 9]], "row 2: the box 4, nan, 9, 9 in `objects` has no area"),
    "the second": ([[4, 4, 9, 9], [4, 4, 9, 0]], "row 2: the box 4, 4, 9, 0 in `objects` has no area"),
    "three numbers": ([[4, 4, 9]], r"row 2: `bbox` in the column `objects` has the box \[4.0, 4.0, 9.0\]"),
}
# What needs the sizes of the images is found where localization is measured.
NEEDS_IMAGES = {"corners", "outside", "below"}


def split_of(boxes: list[list[list[float]] | None], form: str = "struct") -> datasets.Dataset:
    """Images with boxes, as a struct of lists or as a list of structs."""
    box = datasets.List(datasets.Value("float32"))
    feature = {"bbox": datasets.List(box)} if form == "struct" else datasets.List({"bbox": box})
    columns = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"]), "objects": feature}
    rows = []
    for index, found in enumerate(boxes):
        objects = {"bbox": found} if form == "struct" else found and [{"bbox": each} for each in found]
        rows.append({"image": PIL.Image.new("RGB", SIZE, (index, 0, 0)), "label": index % 2, "objects": objects})
    return datasets.Dataset.from_list(rows, features=datasets.Features(columns))


def looked_at(split: datasets.Dataset) -> EvaluationSplit:
    config = tiny_config(id2label={0: "a", 1: "b"})
    return EvaluationSplit.of("test", split, config)


@pytest.mark.parametrize("form", ["struct", "list"])
@pytest.mark.parametrize("kind", WRONG)
def test_wrong_boxes_name_row_and_box(tmp_path, kind, form):
    boxes, message = WRONG[kind]
    good = [[4, 4, 20, 20]]
    split = split_of([good, good, boxes, good], form)
    with pytest.raises(ValueError, match=f"The test split, {message}.*COCO boxes are x, y, width, height in pixels"):
        looked_at(split)
    if kind not in NEEDS_IMAGES:
        datasets.DatasetDict(train=split_of([good] * 4), test=split).save_to_disk(tmp_path / "data")
        with pytest.raises(ValueError, match=f"The split `test` of .*data, {message}"):
            load_localization_dataset(str(tmp_path / "data"), validation_fraction=0.5)


def with_masks_of(sizes: list[tuple[int, int]]) -> datasets.Dataset:
    masks = [PIL.Image.new("L", size) for size in sizes]
    rows = split_of([[[4, 4, 20, 20]]] * len(sizes))
    return rows.add_column("mask", [datasets.Image().encode_example(mask) for mask in masks], feature=datasets.Image())


def test_masks_of_other_proportions(monkeypatch):
    assert looked_at(with_masks_of([SIZE, (32, 24), (640, 481)])).has_masks
    split = with_masks_of([SIZE] * 2 + [(10, 48)] + [SIZE] * 2)
    message = "row 2: `mask` has 10 x 48 pixels, and the image 64 x 48"
    with pytest.raises(ValueError, match=f"The test split, {message}"):
        looked_at(split)
    # one that was not looked at is found when it is measured
    monkeypatch.setattr("transformers_sat.data.boxes.NUM_SIZES", 2)
    size = {"height": 32, "width": 32}
    images = EvaluationImages(looked_at(split), SATImageProcessorPil(size=size, crop_size=size))
    assert images[1]["mask"].shape == (images.image_size, images.image_size)
    with pytest.raises(ValueError, match=f"The data set, {message}"):
        images[2]


def test_a_list_of_structs_is_read_as_a_struct_of_lists(tmp_path):
    boxes = [[[4.0, 4.0, 20.0, 20.0]], [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]]
    split = split_of(boxes, "list")
    found = looked_at(split)
    assert found.has_boxes and [row["bbox"] for row in found.dataset["objects"]] == boxes
    datasets.DatasetDict(train=split, validation=split_of([None, boxes[0]], "list")).save_to_disk(tmp_path / "data")
    splits = load_localization_dataset(str(tmp_path / "data"))
    assert [row["bbox"] for row in splits["train"]["objects"]] == boxes
    assert splits["validation"]["objects"][0] is None or not splits["validation"]["objects"][0]["bbox"]


def test_official_boxes_a_little_past_the_edge_are_told_and_kept(caplog):
    boxes = [[[50.0, 4.0, 17.0, 20.0]], [[4.0, 4.0, 20.0, 20.0]], [[-1.0, -1.0, 66.0, 50.0]]]
    found = looked_at(split_of(boxes))
    assert [row["bbox"] for row in found.dataset["objects"]] == boxes
    assert "boxes of 1 of 3 images that were looked at reach more than a pixel past the edge" in caplog.text


def test_one_odd_box_of_many_does_not_stop():
    """One of forty that reaches far past the edge is an error of the annotator, and no other form."""
    boxes = [[[4.0, 4.0, 20.0, 20.0]]] * 39 + [[[30.0, 4.0, 60.0, 20.0]]]
    assert looked_at(split_of(boxes)).has_boxes


def test_boxes_of_turned_images(tmp_path):
    """Boxes are in the upright image, whose sides the EXIF orientation exchanges."""
    image, _ = draw_square(0, 0)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    image.resize(SIZE).save(tmp_path / "turned.jpg", exif=exif)
    rows = [{"image": str(tmp_path / "turned.jpg"), "label": 0, "objects": {"bbox": [[2, 40, 40, 24]]}}] * 2
    split = datasets.Dataset.from_list(rows, features=split_of([None]).features)
    assert looked_at(split).has_boxes


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b.jpg,60,40,20,10", "line 2: a box is x0, y0, x1, y1"),
        (
            "b.jpg,500,500,700,700",
            r"line 2: the box 500, 500, 700, 700 \(x0, y0, x1, y1\) lies outside its image of 100 x 60",
        ),
        ("b.jpg,-50,-50,-5,-5", "line 2: the box -50, -50, -5, -5 .* lies outside"),
        ("b.jpg,0.1,0.2,0.5,0.9", "line 2: the box 0.1, 0.2, 0.5, 0.9 .* lies within one pixel"),
    ],
)
def test_boxes_of_score_maps(tmp_path, line, message):
    (tmp_path / "image_ids.txt").write_text("a.jpg\nb.jpg\n")
    (tmp_path / "image_sizes.txt").write_text("a.jpg,100,60\nb.jpg,100,60\n")
    (tmp_path / "localization.txt").write_text(f"a.jpg,10,10,101,61\n{line}\n")
    with pytest.raises(ValueError, match=f"localization.txt, {message}"):
        WsolMetadata.read(tmp_path)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([4.0, 4.0, 20.0, 20.0], r"\[4.0, 4.0, 20.0, 20.0\]"),
        (["4 4 20 20"], r"\['4 4 20 20'\]"),
        ("4 4 20 20", "'4 4 20 20'"),
        ({"x": 4, "y": 4}, "{'x': 4, 'y': 4}"),
    ],
)
def test_boxes_of_another_type_name_the_row(value, found):
    split = split_of([None, None]).remove_columns("objects")
    split = split.add_column("objects", [{"bbox": None}, {"bbox": value}])
    with pytest.raises(ValueError, match=f"The test split, row 1: `bbox` .* must hold lists of boxes, .* got {found}"):
        looked_at(split)


@pytest.mark.parametrize(
    "feature", [datasets.Value("null"), datasets.Value("string"), datasets.List(datasets.Value("null"))]
)
def test_a_split_without_any_box_may_have_any_type(feature):
    split = split_of([None, None]).remove_columns("objects")
    split = split.add_column("objects", [{"bbox": None}, {"bbox": None}]).cast_column("objects", {"bbox": feature})
    found = looked_at(split)
    assert found.has_labels and not found.has_boxes
