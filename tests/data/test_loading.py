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
"""Data sets of every form that is promised, brought to one schema."""

import json
import logging
import re
from pathlib import Path

import datasets
import PIL.Image
import pytest
import yaml
from sat_testing import tiny_config
from square_images import CLASS_NAMES, FEATURES, draw_square, square_split, write_class_folders

from transformers_sat.data import (
    check_headers,
    check_training_classes,
    decode_image,
    drop_undecodable,
    has_boxes,
    load_localization_dataset,
    loading,
)
from transformers_sat.data.loading import check_whole_images
from transformers_sat.evaluation.split import EvaluationSplit


GUIDE = Path(__file__).parent.parent.parent / "docs" / "own_data.md"


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def saved(folder, **splits: datasets.Dataset) -> str:
    datasets.DatasetDict(splits).save_to_disk(folder)
    return str(folder)


def with_labels(values: list, feature, count: int = 12) -> datasets.Dataset:
    """Squares whose classes 0, 1, 2 are called `values`."""
    return square_split(count).map(
        lambda label: {"label": values[label]},
        input_columns="label",
        features=datasets.Features(FEATURES | {"label": feature}),
    )


def assert_schema(splits: datasets.DatasetDict, boxes: bool = True):
    for split in splits.values():
        assert sorted(split.column_names) == ["image", "label"] + ["objects"] * boxes
        assert split.features["image"] == datasets.Image(decode=False)
        assert isinstance(split.features["label"], datasets.ClassLabel)
        assert has_boxes(split) == boxes


def classes_by_colour(split: datasets.Dataset) -> bool:
    """Whether every row's class is the colour that its image has in the middle of its box, or anywhere at all."""
    names = split.features["label"].names
    for row in split:
        most_frequent = max(decode_image(row["image"]).getcolors(4096))[1]
        if names[row["label"]] != CLASS_NAMES[most_frequent.index(max(most_frequent))]:
            return False
    return True


# Forms of data sets.


@pytest.mark.parametrize("kind", ["torch", "numpy", "pandas"])
def test_saved_with_a_format(tmp_path, kind):
    rows = square_split(6).with_format(kind)
    splits = load_localization_dataset(saved(tmp_path / "saved", train=rows, validation=rows))
    assert_schema(splits)
    config = tiny_config(id2label=dict(enumerate(CLASS_NAMES)))
    assert EvaluationSplit.of("test", rows, config).has_boxes


def test_one_split_that_was_saved_alone(tmp_path):
    square_split(12).save_to_disk(tmp_path / "saved")
    splits = load_localization_dataset(str(tmp_path / "saved"), validation_fraction=0.5)
    assert {name: len(split) for name, split in splits.items()} == {"train": 6, "validation": 6}
    rows = square_split(6)
    rows._split = datasets.Split.TEST
    rows.save_to_disk(tmp_path / "test")
    assert list(load_localization_dataset(str(tmp_path / "test"), model_classes=CLASS_NAMES)) == ["test"]


def test_a_list_of_images_is_not_one(tmp_path):
    image = PIL.Image.new("RGB", (8, 8))
    features = datasets.Features(image=datasets.List(datasets.Image()), label=datasets.Value("string"))
    rows = datasets.Dataset.from_dict({"image": [[image], [image]], "label": ["a", "b"]}, features=features)
    with pytest.raises(ValueError, match="The split `train` of .*: the column `image` must hold one image a row"):
        load_localization_dataset(saved(tmp_path / "saved", train=rows, validation=rows))


def test_an_empty_split(tmp_path):
    rows = square_split(6)
    path = saved(tmp_path / "saved", train=rows, validation=rows, test=rows.select([]))
    with pytest.raises(ValueError, match="The split `test` of .*saved has no images"):
        load_localization_dataset(path)


@pytest.mark.parametrize(
    "feature", [datasets.List(datasets.List(datasets.Value("string"))), datasets.Array2D((None, 4), "float32")]
)
def test_boxes_as_text_and_as_arrays(tmp_path, feature):
    objects = [{"bbox": [["1", "2", "3", "4.5"]]}, {"bbox": [["4", "3", "2", "1"]] * 2}]
    if isinstance(feature, datasets.Array2D):
        objects = [{"bbox": [[float(side) for side in box] for box in each["bbox"]]} for each in objects]
    features = datasets.Features(FEATURES | {"objects": {"bbox": feature}})
    rows = datasets.Dataset.from_dict(square_split(2).to_dict() | {"objects": objects}, features=features)
    splits = load_localization_dataset(saved(tmp_path / "saved", train=rows, validation=rows))
    expected = [[[1.0, 2.0, 3.0, 4.5]], [[4.0, 3.0, 2.0, 1.0]] * 2]
    config = tiny_config(id2label=dict(enumerate(CLASS_NAMES)))
    for found in (splits["train"], EvaluationSplit.of("test", rows, config).dataset):
        assert [each["bbox"] for each in found["objects"]] == expected


def test_saved_by_datasets(tmp_path):
    splits = load_localization_dataset(saved(tmp_path / "saved", train=square_split(9), validation=square_split(3)))
    assert_schema(splits)
    assert {name: len(split) for name, split in splits.items()} == {"train": 9, "validation": 3}
    assert splits["train"][4]["objects"]["bbox"] == [draw_square(4, 1)[1]]
    assert classes_by_colour(splits["train"])


def test_parquet(tmp_path):
    for name, count in (("train", 9), ("validation", 3), ("test", 6)):
        path = tmp_path / "parquet" / "data" / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        square_split(count).to_parquet(path)
    splits = load_localization_dataset(str(tmp_path / "parquet"))
    assert_schema(splits)
    assert {name: len(split) for name, split in splits.items()} == {"train": 9, "validation": 3, "test": 6}
    assert splits["test"].features["label"].names == CLASS_NAMES
    assert splits["test"][4]["objects"]["bbox"] == [draw_square(4, 1)[1]]
    assert classes_by_colour(splits["test"])


def test_prepared_folder(tmp_path):
    """Parquet with a card, some images without boxes, and beside it what the preparation leaves: no data."""
    folder = tmp_path / "prepared"
    (folder / "data").mkdir(parents=True)
    features = datasets.Features(FEATURES | {"image_id": datasets.Value("string")})
    for split, count in (("train", 9), ("validation", 3)):
        rows = [
            dict(row, image_id=f"{split} {index}", objects=None if split == "train" else row["objects"])
            for index, row in enumerate(square_split(count))
        ]
        written = datasets.Dataset.from_list(rows, features=features)
        written.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    counts = [{"name": "train", "num_examples": 9}, {"name": "validation", "num_examples": 3}]
    card = {"dataset_info": {"features": features._to_yaml_list(), "splits": counts}}
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card, sort_keys=False)}---\n# A set\n", encoding="utf-8")
    (folder / "skipped.jsonl").write_text('{"image_id": "n1", "reason": "undecodable"}\n', encoding="utf-8")
    (folder / ".prepare").mkdir()
    (folder / ".prepare" / "plan.json").write_text('{"label": 1}', encoding="utf-8")
    (folder / ".prepare" / "train-00000.parquet").write_bytes(b"not one")
    splits = load_localization_dataset(str(folder))
    assert {name: len(split) for name, split in splits.items()} == {"train": 9, "validation": 3}
    assert {name: has_boxes(split) for name, split in splits.items()} == {"train": False, "validation": True}
    assert splits["train"]["image_id"][:] == [f"train {index}" for index in range(9)]
    assert splits["train"].features["label"].names == CLASS_NAMES


def test_class_folders(tmp_path):
    splits = load_localization_dataset(str(write_class_folders(tmp_path / "folders", train=9, val=6, test=3)))
    assert_schema(splits, boxes=False)
    assert {name: len(split) for name, split in splits.items()} == {"train": 9, "validation": 6, "test": 3}
    # folders come in alphabetical order
    assert splits["train"].features["label"].names == sorted(CLASS_NAMES)
    assert all(classes_by_colour(split) for split in splits.values())
    assert splits["train"][0]["image"]["path"].endswith(".png")


@pytest.mark.parametrize("training_boxes", [True, False])
def test_folder_with_metadata(tmp_path, training_boxes):
    """Boxes in a file beside the images; in training all but one may be left out (`datasets` needs one for the type)."""
    for name, count in (("train", 9), ("test", 3)):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        with open(folder / "metadata.jsonl", "w", encoding="utf-8") as file:
            for index in range(count):
                image, box = draw_square(index, index % 3)
                image.save(folder / f"{index}.png")
                objects = {"bbox": [box]} if training_boxes or name == "test" or index == 8 else None
                row = {"file_name": f"{index}.png", "label": CLASS_NAMES[index % 3], "objects": objects}
                file.write(json.dumps(row) + "\n")
    splits = load_localization_dataset(str(tmp_path / "images"), validation_fraction=1 / 3)
    assert {name: len(split) for name, split in splits.items()} == {"train": 6, "validation": 3, "test": 3}
    assert {name: has_boxes(split) for name, split in splits.items()} == {
        "train": training_boxes,
        "validation": training_boxes,
        "test": True,
    }
    assert splits["test"].features["label"].names == sorted(CLASS_NAMES)
    assert splits["test"][2]["objects"]["bbox"] == [draw_square(2, 2)[1]]
    assert all(classes_by_colour(split) for split in splits.values())


def test_the_guide(tmp_path, monkeypatch):
    """The Python of `docs/own_data.md` makes what it says, and the lines of its `metadata.jsonl` are read as they stand."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    python = [text for language, text in blocks if language == "python"]
    (metadata,) = [text for language, text in blocks if language == "json"]
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my_images"
    for split in ("", "train", "test"):
        (folder / split).mkdir(exist_ok=True)
        for index in range(1, 4):
            draw_square(index, 0, size=300)[0].save(folder / split / f"000{index}.jpg")
    exec("\n".join(python), {})

    for name in ("my_data", "my_parquet"):
        path = tmp_path / name
        # one training image is too few to set one of each class apart
        with pytest.raises(ValueError, match="`validation_fraction`"):
            load_localization_dataset(str(path))
        splits = datasets.load_from_disk(path) if name == "my_data" else datasets.load_dataset(str(path))
        splits["validation"] = splits["test"]
        splits.save_to_disk(tmp_path / f"{name}_with_validation")
        splits = load_localization_dataset(str(tmp_path / f"{name}_with_validation"))
        assert splits["test"].features["label"].names == ["robin", "starling"]
        assert splits["test"][0]["objects"]["bbox"] == [[8, 8, 90, 70]]
        assert (has_boxes(splits["train"]), has_boxes(splits["test"])) == (False, True)
        assert decode_image(splits["train"][0]["image"]).size == (300, 300)

    for path in folder.glob("*.jpg"):
        path.unlink()
    for split in ("train", "test"):
        # every class twice, so that one of each can be set apart
        lines = metadata.splitlines() + [metadata.splitlines()[1]]
        (folder / split / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    splits = load_localization_dataset("my_images", validation_fraction=0.5)
    assert {name: len(split) for name, split in splits.items()} == {"train": 2, "validation": 2, "test": 4}
    assert splits["test"].features["label"].names == ["robin", "starling"]
    assert splits["test"][1]["objects"]["bbox"] == [[8, 8, 90, 70], [120, 15, 95, 80]]
    assert has_boxes(splits["test"]) is False


def test_embedded(monkeypatch):
    drawn = []

    def load_emblems(seed):
        drawn.append(seed)
        return datasets.DatasetDict(train=square_split(6), validation=square_split(3), test=square_split(3))

    monkeypatch.setattr(loading, "load_emblems", load_emblems)
    assert_schema(load_localization_dataset())
    assert_schema(load_localization_dataset("emblems", seed=7))
    assert drawn == [0, 7]


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_localization_dataset(str(tmp_path / "nowhere"))


# Columns and splits.


def test_column_names(tmp_path):
    renamed = {"image": "photo", "label": "species", "objects": "annotations"}
    split = square_split(6).rename_columns(renamed).add_column("note", list("abcdef"))
    folder = saved(tmp_path / "saved", train=split, validation=split)
    splits = load_localization_dataset(folder, columns=renamed)
    assert_schema(splits)
    assert splits["train"][4]["objects"]["bbox"] == [draw_square(4, 1)[1]]


def test_other_columns_of_the_same_names_are_left_out(tmp_path):
    """The column that was asked for counts, also where another has the name of the schema."""
    split = square_split(6)
    split = split.rename_column("label", "species").add_column("label", ["x"] * 6)
    splits = load_localization_dataset(
        saved(tmp_path / "saved", train=split, validation=split), columns={"label": "species"}
    )
    assert splits["train"].features["label"].names == CLASS_NAMES


def test_columns_that_the_schema_does_not_have():
    with pytest.raises(ValueError, match="`columns` has names for image, label, objects alone, got .'boxes'"):
        load_localization_dataset("emblems", columns={"boxes": "annotations"})


@pytest.mark.parametrize("column, option", [("image", "--image_column_name"), ("label", "--label_column_name")])
@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_column(tmp_path, column, option, split):
    splits = {"train": square_split(3), "test": square_split(3)}
    splits[split] = splits[split].remove_columns(column)
    with pytest.raises(ValueError, match=f"`{split}`.* has no column `{column}`.*`{option}`"):
        load_localization_dataset(saved(tmp_path / "saved", **splits))


def test_boxes_only_where_they_are_measured(tmp_path):
    """Weak supervision's usual case: training images have no boxes, test images do."""
    splits = load_localization_dataset(
        saved(
            tmp_path / "saved",
            train=square_split(9, with_boxes=False),
            validation=square_split(3),
            test=square_split(3),
        )
    )
    assert {name: has_boxes(split) for name, split in splits.items()} == {
        "train": False,
        "validation": True,
        "test": True,
    }


def test_missing_training_split(tmp_path):
    with pytest.raises(ValueError, match=r"no `train` split.*'test'"):
        load_localization_dataset(saved(tmp_path / "saved", test=square_split(3)))


@pytest.mark.parametrize("kind", ["class label", "string", "int64"])
def test_only_to_be_measured(tmp_path, kind):
    """Without a training split the model's classes say what names and numbers mean; class labels stay as they are."""
    model_classes = ["blue", "green", "none", "red"]
    if kind == "class label":
        test, names = square_split(6), CLASS_NAMES
    else:
        values = [model_classes.index(name) for name in CLASS_NAMES] if kind == "int64" else CLASS_NAMES
        test, names = with_labels(values, datasets.Value(kind), 6), model_classes
    path = saved(tmp_path / "saved", test=test)
    splits = load_localization_dataset(path, model_classes=model_classes)
    assert list(splits) == ["test"]
    assert splits["test"].features["label"].names == names
    assert [names[label] for label in splits["test"]["label"]] == CLASS_NAMES * 2
    if kind != "class label":
        with pytest.raises(ValueError, match="split `test`.* has classes that the model has not"):
            load_localization_dataset(path, model_classes=["blue", "green"])


def test_validation_images_are_set_apart(tmp_path):
    path = saved(tmp_path / "saved", train=square_split(24), test=square_split(3, first=100))
    splits = load_localization_dataset(path, validation_fraction=0.25)
    assert {name: len(split) for name, split in splits.items()} == {"train": 18, "validation": 6, "test": 3}
    # of every class as many as it has, none of them in both, and always the same for one seed
    assert sorted(splits["validation"]["label"]) == [0, 0, 1, 1, 2, 2]
    images = {name: {row["image"]["bytes"] for row in split} for name, split in splits.items()}
    assert len(images["train"] | images["validation"]) == 24
    again = load_localization_dataset(path, validation_fraction=0.25)
    other = load_localization_dataset(path, validation_fraction=0.25, seed=1)
    assert {row["image"]["bytes"] for row in again["validation"]} == images["validation"]
    assert {row["image"]["bytes"] for row in other["validation"]} != images["validation"]


@pytest.mark.parametrize("fraction", [0.0, 0.1, 1.0, 1.5])
def test_validation_fraction_that_cannot_be(tmp_path, fraction):
    """Too few for one image of each class, none, or all."""
    with pytest.raises(ValueError, match="`validation_fraction`"):
        load_localization_dataset(saved(tmp_path / "saved", train=square_split(9)), validation_fraction=fraction)


# Labels.


def test_string_labels(tmp_path):
    split = with_labels(["zebra", "ant", "cow"], datasets.Value("string"))
    # the first rows are of two classes only: the training split's names hold
    splits = load_localization_dataset(saved(tmp_path / "saved", train=split, validation=split.select(range(2))))
    assert_schema(splits)
    for part in splits.values():
        assert part.features["label"].names == ["ant", "cow", "zebra"]
    assert splits["train"]["label"][:6] == [2, 0, 1, 2, 0, 1]
    assert splits["validation"]["label"][:] == [2, 0]


@pytest.mark.parametrize("values, names", [([0, 1, 2], ["0", "1", "2"]), ([10, 2, 7], ["2", "7", "10"])])
def test_integer_labels_keep_their_order(tmp_path, values, names):
    split = with_labels(values, datasets.Value("int64"))
    splits = load_localization_dataset(saved(tmp_path / "saved", train=split, validation=split))
    for part in splits.values():
        assert part.features["label"].names == names
        assert [names[label] for label in part["label"]] == [str(value) for value in values] * 4


def test_labels_of_splits(tmp_path):
    """Other splits may write the training split's classes as names or numbers, but have no other ones."""
    train = square_split(6)
    for feature, values in ((datasets.Value("string"), CLASS_NAMES), (datasets.Value("int64"), [0, 1, 2])):
        path = saved(tmp_path / str(values), train=train, validation=with_labels(values, feature, 6))
        splits = load_localization_dataset(path)
        assert splits["validation"].features["label"].names == CLASS_NAMES
        assert splits["validation"]["label"][:] == splits["train"]["label"][:]
    others = {
        "other names": train.cast_column("label", datasets.ClassLabel(names=["a", "b", "c"])),
        "other order": train.cast_column("label", datasets.ClassLabel(names=CLASS_NAMES[::-1])),
        "unknown name": with_labels(["red", "green", "yellow"], datasets.Value("string"), 6),
        "unknown number": with_labels([0, 1, 3], datasets.Value("int64"), 6),
    }
    for name, split in others.items():
        path = saved(tmp_path / name, train=train, validation=train, test=split)
        with pytest.raises(ValueError, match="split `test`.*class"):
            load_localization_dataset(path)


@pytest.mark.parametrize("count, names", [(3, None), (2, None), (3, ["x", "y", "z", "w"])])
def test_numbers_are_names_where_all_of_them_are(tmp_path, caplog, count, names):
    """Not the classes that happen to occur decide, be it in one of the splits or in all of them."""
    known = names or ["1", "2", "3", "4"]
    part = with_labels([1, 2, 3], datasets.Value("int64"), 12)
    part = part.select([row for row, label in enumerate(part["label"]) if label <= count])
    path = saved(tmp_path / "saved", test=part, validation=part.select(range(2)))
    splits = load_localization_dataset(path, model_classes=known)
    for split, rows in splits.items():
        values = (part if split == "test" else part.select(range(2)))["label"]
        assert [known[label] for label in rows["label"]] == [known[v] if names else str(v) for v in values]
    assert ("counted from 0" in caplog.text) == (names is not None)


def test_one_split_with_numbers_that_are_no_names_decides_for_all(tmp_path):
    rows = [with_labels(values, datasets.Value("int64"), 6) for values in ([0, 1, 2], [1, 2, 1])]
    path = saved(tmp_path / "saved", test=rows[0], validation=rows[1])
    splits = load_localization_dataset(path, model_classes=["1", "2", "3"])
    assert splits["validation"]["label"][:3] == [1, 2, 1] and splits["test"]["label"][:3] == [0, 1, 2]


@pytest.mark.parametrize("given", ["train", "model"])
@pytest.mark.parametrize(
    "value, said", [("", "empty"), (" ", ""), ("-1", "-1"), (float("nan"), "nan"), (-1.0, "-1.0")]
)
def test_values_that_are_no_class(tmp_path, given, value, said):
    known = ["a", "b"] if isinstance(value, str) else [0.0, 1.0]
    rows = square_split(6).remove_columns("label").add_column("label", [*known, *known, value, known[0]])
    path = saved(tmp_path / "saved", **{"train" if given == "train" else "test": rows})
    with pytest.raises(ValueError, match=f"row 4: `label` is {said}"):
        load_localization_dataset(path, model_classes=["a", "b"])


def test_whole_floats_are_integers(tmp_path):
    rows = with_labels([2.0, 10.0, 0.0], datasets.Value("float64"))
    splits = load_localization_dataset(saved(tmp_path / "saved", train=rows, validation=rows))
    assert splits["train"].features["label"].names == ["0", "2", "10"]
    assert splits["train"]["label"][:3] == splits["validation"]["label"][:3] == [1, 2, 0]


def test_unknown_string_label(tmp_path):
    train = with_labels(["zebra", "ant", "cow"], datasets.Value("string"))
    test = with_labels(["zebra", "ant", "yak"], datasets.Value("string"))
    with pytest.raises(ValueError, match="split `test`.*yak"):
        load_localization_dataset(saved(tmp_path / "saved", train=train, validation=train, test=test))


# What can be measured, and what can be decoded.


def test_has_boxes():
    split = square_split(3)
    rows = [row | {"image": None} for row in split.cast_column("image", datasets.Image(decode=False))]

    def with_last(objects):
        return datasets.Dataset.from_list([*rows[:2], rows[2] | {"objects": objects}], features=split.features)

    assert has_boxes(split) is True
    assert has_boxes(with_last(rows[0]["objects"])) is True
    assert has_boxes(square_split(3, with_boxes=False)) is False
    assert has_boxes(with_last(None)) is False
    assert has_boxes(with_last({"bbox": [], "category": []})) is False
    assert has_boxes(with_last({"bbox": None, "category": None})) is False


def test_drop_undecodable(tmp_path, caplog):
    for index in range(5):
        draw_square(index, 0)[0].save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    paths = [str(tmp_path / f"{index}.png") for index in range(5)] + [None]
    split = datasets.Dataset.from_dict(
        {"image": [path and {"path": path, "bytes": None} for path in paths], "label": [0] * 6},
        features=datasets.Features({"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=["a"])}),
    )
    with caplog.at_level(logging.WARNING):
        kept = drop_undecodable(split)
    assert [row["image"]["path"] for row in kept] == [paths[index] for index in (0, 2, 4)]
    for row in kept:
        assert isinstance(decode_image(row["image"]), PIL.Image.Image)
    # each by its path, and how many there were
    assert all(paths[index] in caplog.text for index in (1, 3))
    assert "3 of 6" in caplog.text
    caplog.clear()
    assert len(drop_undecodable(kept)) == 3
    assert caplog.text == ""


def image_rows(folder: Path, kind: str) -> datasets.Dataset:
    """Seven images, the third and the last of which are none: as files, embedded, or embedded and in another order."""
    for index in range(7):
        draw_square(index, 0)[0].save(folder / f"{index}.png")
    (folder / "2.png").write_bytes(b"no image")
    paths = [str(folder / f"{index}.png") for index in range(6)]
    images = [{"path": path, "bytes": None if kind == "files" else Path(path).read_bytes()} for path in paths] + [None]
    rows = datasets.Dataset.from_dict(
        {"image": images}, features=datasets.Features({"image": datasets.Image(decode=False)})
    )
    return rows.select(range(6, -1, -1)) if kind == "turned" else rows


@pytest.mark.parametrize("kind, row", [("files", 2), ("embedded", 2), ("turned", 4)])
def test_headers(tmp_path, kind, row):
    rows = image_rows(tmp_path, kind)
    with pytest.raises(ValueError) as raised:
        check_headers(rows, "the split `train`")
    said = str(raised.value)
    assert said.startswith("2 of the 7 images of the split `train` cannot be decoded: ")
    assert f"row {row}: The image {tmp_path / '2.png'} cannot be decoded" in said
    assert f"row {6 if row == 2 else 0}: The image is missing" in said and "`--skip_undecodable`" in said
    check_headers(rows.select([each for each in range(1, 6) if each != row]), "the split `train`")


def test_images_that_are_measured_are_decoded_whole(tmp_path):
    """A file cut off behind its header, and an empty entry."""
    for index in range(3):
        draw_square(index, 0)[0].save(tmp_path / f"{index}.png")
    content = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(content[: len(content) // 2])
    rows = datasets.Dataset.from_dict({"image": [str(tmp_path / f"{index}.png") for index in range(3)]})
    rows = rows.cast_column("image", datasets.Image(decode=False))
    check_headers(rows, "the split `test`")
    check_whole_images(rows.select([0, 2]), "the split `test`")
    with pytest.raises(ValueError, match="1 of the 3 images of the split `test` cannot be decoded: row 1: .*1.png"):
        check_whole_images(rows, "the split `test`")


def test_headers_are_all_that_is_read(tmp_path, monkeypatch):
    """Half of a file is enough, and no pixel is decoded."""
    draw_square(0, 0)[0].save(tmp_path / "0.png")
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    monkeypatch.setattr(PIL.Image.Image, "load", None)
    rows = datasets.Dataset.from_dict({"image": [str(tmp_path / "0.png")]})
    check_headers(rows.cast_column("image", datasets.Image(decode=False)), "the split `train`")


@pytest.mark.parametrize(
    "folders, count", [(["train"], 2), (["."], 2), (["train/red"], 2)], ids=["no classes", "no split", "one class"]
)
def test_images_without_class_folders(tmp_path, folders, count):
    for folder in folders:
        (tmp_path / "flat" / folder).mkdir(parents=True)
        for index in range(count):
            draw_square(index, 0)[0].save(tmp_path / "flat" / folder / f"{index}.png")
    with pytest.raises(
        ValueError, match="no column `label`.*folder of its own, `train/<class>/<image>`, of two or more"
    ):
        load_localization_dataset(str(tmp_path / "flat"))


@pytest.mark.parametrize("kind", ["class label", "int64"])
@pytest.mark.parametrize("value, said", [(-1, "-1"), (None, "empty")])
def test_images_to_train_on_without_a_class(tmp_path, kind, value, said):
    train = square_split(6)
    labels = train["label"][:4] + [value, 0]
    train = train.remove_columns("label").add_column("label", labels)
    if kind == "class label":
        train = train.cast_column("label", datasets.ClassLabel(names=["a", "b", "c"]))
    datasets.DatasetDict(train=train).save_to_disk(tmp_path / "data")
    with pytest.raises(ValueError, match=f"The split `train` of .*data, row 4: `label` is {said}"):
        load_localization_dataset(str(tmp_path / "data"))


def test_a_single_class(tmp_path):
    rows = square_split(9)
    check_training_classes(rows, "The split")
    with pytest.raises(ValueError, match=r"The split has images of a single class \(red\)"):
        check_training_classes(rows.select([0, 3, 6]), "The split")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("label", [["robin"], ["wren"]], "the column `label` must hold classes .* got List"),
        ("label", [{"name": "robin"}] * 2, "the column `label` must hold classes"),
        ("label", ["robin", None], "The split `train` of .*, row 1: `label` is empty"),
    ],
)
def test_labels_of_other_types(tmp_path, column, values, message):
    rows = {"image": [PIL.Image.new("RGB", (8, 8))] * 2, "label": ["robin", "wren"]} | {column: values}
    split = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    datasets.DatasetDict(train=split, validation=split).save_to_disk(tmp_path / "data")
    with pytest.raises(ValueError, match=message):
        load_localization_dataset(str(tmp_path / "data"))


def saved_objects(folder, objects: list) -> str:
    """Images whose column `objects` holds that, for training and for validation."""
    rows = {"image": [PIL.Image.new("RGB", (8, 8))] * len(objects), "label": ["robin", "wren"] * (len(objects) // 2)}
    split = datasets.Dataset.from_dict(rows | {"objects": objects}).cast_column("image", datasets.Image())
    datasets.DatasetDict(train=split, validation=split).save_to_disk(folder)
    return str(folder)


@pytest.mark.parametrize(
    "objects",
    [
        [None, [[1, 2, 3, 4]]],
        [None, [1.0, 2.0, 3.0, 4.0]],
        ["", "1 2 3 4"],
        ["", "[1, 2.5, 3, 4]"],
        [None, {"boxes": [[1, 2, 3, 4]], "label": ["a"]}],
        [[], [{"xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4}]],
        [[], ["1,2,3,4", "5,6,7,8"]],
        ["", '{"bbox": [[1, 2, 3, 4]]}'],
        ["[]", "[[1, 2, 3, 4]]"],
        ['{"bbox": []}', '{"bbox": [[1, 2, 3, 4]]}'],
        [{"boxes": [], "label": []}, {"boxes": [[1, 2, 3, 4]], "label": ["a"]}],
    ],
)
def test_boxes_in_another_form_are_an_error_with_the_row(tmp_path, objects):
    with pytest.raises(ValueError) as raised:
        load_localization_dataset(saved_objects(tmp_path / "data", objects))
    message = str(raised.value)
    assert message.startswith("The split `train` of ") and ", row 1: the column `objects` must hold objects" in message
    assert '{"bbox": [[x, y, width, height]]}' in message
    split = datasets.load_from_disk(tmp_path / "data")["train"]
    with pytest.raises(ValueError, match="The test split, row 1: the column `objects` must hold objects"):
        EvaluationSplit.of("test", split, tiny_config(id2label={0: "robin", 1: "wren"}))


@pytest.mark.parametrize(
    "objects",
    [
        [["cup", "table"], ["cup"]],
        [["cup"], None],
        [{"name": ["cup"], "area": [3.5]}, {"name": [], "area": []}],
        [[{"name": "cup", "id": 3}], []],
        ["a cup and a table", "1 2 3 4"],
        [3, 4],
        [[1, 2, 3, 4], [1, 2, 3]],
        [None, None],
        [[], []],
    ],
)
def test_objects_that_are_no_boxes_are_left_alone(tmp_path, objects, caplog):
    name = saved_objects(tmp_path / "data", objects)
    splits = load_localization_dataset(name)
    assert splits["train"].column_names == ["image", "label"] and len(splits["train"]) == 2
    assert "the column `objects` is not read, as it holds no boxes, but " in caplog.text
    rows = datasets.load_from_disk(name)["train"].class_encode_column("label")
    found = EvaluationSplit.of("test", rows, tiny_config(id2label={0: "robin", 1: "wren"}))
    assert found.has_labels and not found.has_boxes
    # the user says that it holds boxes
    renamed = datasets.load_from_disk(name).rename_column("objects", "things")
    renamed.save_to_disk(tmp_path / "renamed")
    with pytest.raises(ValueError, match="the column `things` must hold objects with `bbox`"):
        load_localization_dataset(str(tmp_path / "renamed"), columns={"objects": "things"})


@pytest.mark.parametrize("fraction, expected", [(0.1, 4), (0.4, 6)])
def test_images_with_boxes_are_set_apart_where_only_some_have_them(fraction, expected, caplog):
    """A threshold is chosen on boxes. Of 40 images 12 have some, six of each class."""
    rows = datasets.Dataset.from_dict(
        {
            "label": [row % 2 for row in range(40)],
            "objects": [{"bbox": [[1.0, 2.0, 3.0, 4.0]] if row < 12 else []} for row in range(40)],
        }
    ).cast_column("label", datasets.ClassLabel(names=["robin", "wren"]))
    left, apart = loading.set_apart(rows, fraction, seed=0)
    assert len(apart) == expected and len(left) == 40 - expected
    assert has_boxes(apart) and sum(apart["label"]) == expected // 2
    assert f"12 of the 40 training images have boxes: {expected} of these are set apart" in caplog.text
    assert loading.set_apart(rows, fraction, seed=0)[1]["label"][:] == apart["label"][:]
