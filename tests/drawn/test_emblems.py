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

import hashlib
import importlib.util
import io
import math
from collections import Counter

import numpy as np
import pytest
import torch
from datasets import ClassLabel, DatasetDict, List, Value
from datasets import Image as ImageFeature
from PIL import Image
from transformers import AutoImageProcessor, ViTForImageClassification

from transformers_sat.drawn import emblem_backbone_path, emblem_class_names, emblems, load_emblems


SIZES = {"num_train": 120, "num_validation": 20, "num_test": 30}


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def dataset(cache_dir):
    return load_emblems(**SIZES, cache_dir=cache_dir)


def pixels_of(split):
    return [(np.asarray(row["image"]).tobytes(), np.asarray(row["mask"]).tobytes()) for row in split]


def content(dataset: DatasetDict):
    """Every pixel and every annotation, hashed."""
    digest = hashlib.sha256()
    for name, split in dataset.items():
        digest.update(name.encode())
        for row, pixels in zip(split.remove_columns(["image", "mask"]), pixels_of(split), strict=True):
            digest.update(repr(row).encode())
            digest.update(b"".join(pixels))
    return digest.hexdigest()


def test_schema(dataset):
    label = ClassLabel(names=emblem_class_names())
    for split in dataset.values():
        assert split.features == {
            "image": ImageFeature(),
            "image_id": Value("int64"),
            "label": label,
            "objects": {"bbox": List(List(Value("float32"), length=4)), "category": List(label)},
            "mask": ImageFeature(),
        }
    row = dataset["test"][0]
    assert row["image"].size == row["mask"].size == (64, 64)
    assert (row["image"].mode, row["mask"].mode) == ("RGB", "L")
    assert row["objects"]["category"] == [row["label"]]
    assert len(row["objects"]["bbox"]) == 1


def test_split_sizes_and_ids(dataset):
    assert {name: len(split) for name, split in dataset.items()} == {"train": 120, "validation": 20, "test": 30}
    for split in dataset.values():
        assert len(set(split["image_id"])) == len(split)


def test_classes_are_balanced(dataset):
    assert dataset["train"].features["label"].num_classes == 10
    for split in dataset.values():
        assert Counter(split["label"]) == dict.fromkeys(range(10), len(split) // 10)


def test_no_two_images_are_equal(dataset):
    images = [image for split in dataset.values() for image, _ in pixels_of(split)]
    assert len(set(images)) == len(images) == 170


def test_box_is_the_tight_box_of_the_mask(dataset):
    for split in dataset.values():
        for row in split:
            mask = np.asarray(row["mask"])
            assert set(np.unique(mask)) == {0, 255}
            ys, xs = zip(*[(y, x) for y in range(64) for x in range(64) if mask[y, x]], strict=True)
            expected = [min(xs), min(ys), max(xs) + 1 - min(xs), max(ys) + 1 - min(ys)]
            assert row["objects"]["bbox"] == [expected]


def test_emblems_have_the_promised_size(dataset):
    boxes = np.array([objects["bbox"][0] for objects in dataset["train"]["objects"]])
    long_sides = boxes[:, 2:].max(axis=1) / 64
    low, high = emblems.LONG_SIDE_RANGE
    # Rotating a square by 15 degrees makes its box 1.22 times as wide; rounding to pixels adds one.
    assert long_sides.min() > 0.8 * low
    assert long_sides.max() < 1.23 * high + 1 / 64
    # and they lie anywhere, not only in the middle
    centres = (boxes[:, :2] + boxes[:, 2:] / 2) / 64
    assert (centres.min(axis=0) < 0.35).all() and (centres.max(axis=0) > 0.65).all()


def test_two_builds_are_equal(dataset, tmp_path):
    assert content(load_emblems(**SIZES, cache_dir=tmp_path)) == content(dataset)


def test_number_of_processes_does_not_matter(dataset, tmp_path):
    assert content(load_emblems(**SIZES, cache_dir=tmp_path, num_proc=2)) == content(dataset)


def test_longer_split_starts_with_the_shorter_one(dataset, tmp_path):
    shorter = load_emblems(num_train=15, num_validation=1, num_test=1, cache_dir=tmp_path)
    assert pixels_of(shorter["train"]) == pixels_of(dataset["train"].select(range(15)))


def test_second_call_reads_the_cache(dataset, cache_dir, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("drawn again")

    monkeypatch.setattr(emblems, "draw_emblem", fail)
    assert content(load_emblems(**SIZES, cache_dir=cache_dir)) == content(dataset)


@pytest.mark.parametrize("change", [{"seed": 1}, {"variant": "pretraining"}, {"image_size": 48}])
def test_arguments_change_the_images(dataset, tmp_path, change):
    other = load_emblems(num_train=20, num_validation=1, num_test=1, cache_dir=tmp_path, **change)
    first = set(pixels_of(dataset["train"].select(range(20))))
    assert not first & set(pixels_of(other["train"]))


def test_variants_share_no_class():
    standard, pretraining = emblem_class_names(), emblem_class_names("pretraining")
    assert len(set(standard)) == len(set(pretraining)) == 10
    assert not set(standard) & set(pretraining)
    # the same silhouettes in the same order, and the same patterns
    assert [name.split(" with ")[0] for name in standard] == [name.split(" with ")[0] for name in pretraining]
    assert {name.split(" with ")[1] for name in standard} == {name.split(" with ")[1] for name in pretraining}


def test_photographs_of_test_are_other_ones():
    def hashes(split):
        return {hashlib.sha256(photograph.tobytes()).hexdigest() for photograph in emblems.load_photographs(split)}

    assert hashes("validation") == hashes("train")
    assert len(hashes("train")) == 10 and len(hashes("test")) == 7
    assert not hashes("train") & hashes("test")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_split_is_drawn_on_its_own_photographs(monkeypatch, split):
    colours = {"train": (10, 20, 30), "validation": (40, 50, 60), "test": (70, 80, 90)}
    monkeypatch.setattr(emblems, "load_photographs", lambda name: (Image.new("RGB", (100, 100), colours[name]),))
    for row in emblems.generate_emblems([(0, 10)], split, 0, 64, "standard", emblems.EMBLEMS_VERSION):
        image = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
        x, y, width, height = row["objects"]["bbox"][0]
        outside = np.ones((64, 64), dtype=bool)
        # the tips of an emblem cover less than half of the pixels just beyond the box
        outside[int(max(0, y - 3)) : int(y + height + 3), int(max(0, x - 3)) : int(x + width + 3)] = False
        assert (image[outside] == colours[split]).all()


@pytest.mark.parametrize(
    "silhouette, area",
    [("disc", math.pi / 4), ("ring", math.pi / 4 * 0.8), ("triangle", 0.5), ("cross", 0.64)],
)
def test_mask_areas_agree_with_geometry(silhouette, area):
    background = (Image.new("RGB", (8, 8)),)
    names = list(emblems.SILHOUETTES)

    def mask_area(name):
        # the same random numbers give the same place, size and rotation
        mask = emblems.draw_emblem(np.random.default_rng(3), names.index(name), 0, background, image_size=256)[1]
        return (mask > 0).sum()

    assert mask_area(silhouette) / mask_area("square") == pytest.approx(area, rel=0.01)


@pytest.mark.parametrize("pattern", range(10))
def test_patterns_have_two_colours_in_fair_shares(pattern):
    image = emblems.draw_pattern(np.random.default_rng(pattern), pattern, image_size=96)
    colours, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    first, second = counts.argsort()[::-1][:2]
    brightness = colours[[first, second]] @ np.array([0.299, 0.587, 0.114])
    assert abs(brightness[0] - brightness[1]) >= 89
    # what is neither is the blend along their edges
    assert counts[second] > 0.1 * counts.sum()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"seed": -1}, "`seed` must be an integer of at least 0, but -1 was given"),
        ({"seed": 0.5}, "`seed` must be an integer"),
        ({"image_size": 8}, "`image_size` must be an integer of at least 16"),
        ({"num_train": 0}, "`num_train` must be an integer of at least 1"),
        ({"num_validation": True}, "`num_validation` must be an integer"),
        ({"num_test": "many"}, "`num_test` must be an integer of at least 1, but 'many' was given"),
        ({"num_proc": 0}, "`num_proc` must be an integer of at least 1"),
        ({"variant": "other"}, "`variant` must be one of 'standard', 'pretraining', but 'other' was given"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_emblems(**arguments)


def test_missing_package_says_what_to_install(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "skimage" else find_spec(name))
    with pytest.raises(ImportError, match=r"scikit-image.*pip install '\.\[train\]'"):
        load_emblems()


def test_backbone_is_a_vit_that_knows_the_pretraining_emblems(tmp_path):
    folder = emblem_backbone_path()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4_000_000
    model, report = ViTForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert list(model.config.id2label.values()) == emblem_class_names("pretraining")

    image_processor = AutoImageProcessor.from_pretrained(folder)
    sample = load_emblems(
        seed=20, num_train=1, num_validation=1, num_test=200, variant="pretraining", cache_dir=tmp_path
    )["test"]
    pixel_values = image_processor(list(sample["image"]), return_tensors="pt").pixel_values
    with torch.no_grad():
        predictions = model.eval()(pixel_values).logits.argmax(dim=1)
    assert (predictions == torch.tensor(sample["label"])).float().mean() > 0.9
