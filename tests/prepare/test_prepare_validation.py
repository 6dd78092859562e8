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
"""Each kind of problem is found, named with file and line, and counted; good images next to it are not."""

import io
import json
from dataclasses import replace

import datasets
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from prepare_fixtures import ListReader, encoded, image_bytes, listed, write_files

from transformers_sat.prepare import ImageRecord, InvalidImage, open_source, prepare_dataset, verify_dataset
from transformers_sat.prepare.examples import features_of, read_example
from transformers_sat.prepare.validation import KINDS


MASK = PIL.Image.fromarray(np.eye(30, 40, dtype=np.uint8) * 255)
GOOD = {f"{number}.jpg": image_bytes(number) for number in range(4)}
FULL = (0.0, 0.0, 40.0, 30.0)


def jpeg_cut_off() -> bytes:
    content = image_bytes(9, size=(200, 150))
    return content[: len(content) - len(content) // 4]


# Files beside the good ones, and images of which the last is the problem; what the message says of it.
PROBLEMS = {
    "duplicate_id": (
        {},
        {"image": "1.jpg", "image_id": "0.jpg"},
        "the id '0.jpg' of 1.jpg is that of 0.jpg in images.txt",
    ),
    "missing_file": ({}, {"image": "nowhere.jpg"}, "there is no file nowhere.jpg"),
    "missing_file, a mask": ({}, {"image": "1.jpg", "masks": ("no.png",)}, "there is no file no.png"),
    "unknown_class": ({}, {"image": "1.jpg", "label": "fish"}, "1.jpg has the class 'fish'"),
    "unknown_class, of a box": (
        {},
        {"image": "1.jpg", "boxes": [FULL], "categories": ["fish"]},
        "1.jpg has the class 'fish'",
    ),
    "undecodable": ({"x.jpg": jpeg_cut_off()}, {"image": "x.jpg"}, "x.jpg cannot be decoded: .*truncated"),
    "undecodable, no image": ({"x.jpg": b"<html>"}, {"image": "x.jpg"}, "x.jpg cannot be decoded"),
    "undecodable, empty": ({"x.jpg": b""}, {"image": "x.jpg"}, "x.jpg cannot be decoded"),
    "undecodable, a PNG cut off": ({"x.png": encoded(MASK)[:-30]}, {"image": "x.png"}, "x.png cannot be decoded"),
    "undecodable, a program": ({"x.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n"}, {"image": "x.jpg"}, "x.jpg cannot be decoded"),
    "undecodable, a mask": (
        {"m.png": b"?"},
        {"image": "1.jpg", "masks": ("m.png",)},
        "The image m.png cannot be decoded",
    ),
    "size_mismatch": ({}, {"image": "1.jpg", "size": (41, 30)}, "1.jpg has 40 x 30 pixels, and 41 x 30 in the list"),
    "size_mismatch, turned": ({}, {"image": "1.jpg", "size": (30, 40)}, "40 x 30 pixels, and 30 x 40"),
    "mask_size": (
        {"m.png": encoded(MASK.resize((44, 30)))},
        {"image": "1.jpg", "masks": ("m.png",)},
        "a mask of 1.jpg has 44 x 30 pixels, the image 40 x 30",
    ),
    "empty_box": ({}, {"image": "1.jpg", "boxes": [FULL, (5, 5, 0, 3)]}, "5, 5, 0, 3 of 1.jpg has no area"),
    "empty_box, inverted": ({}, {"image": "1.jpg", "boxes": [(5, 5, 3, -2)]}, "5, 5, 3, -2 of 1.jpg"),
    "empty_box, not a number": ({}, {"image": "1.jpg", "boxes": [(5, float("nan"), 3, 2)]}, "nan"),
    "empty_box, infinite": ({}, {"image": "1.jpg", "boxes": [(5, 5, float("inf"), 2)]}, "inf"),
    "box_outside, right": (
        {},
        {"image": "1.jpg", "boxes": [(30, 5, 11.5, 5)]},
        "reaches outside 1.jpg, which has 40 x 30",
    ),
    "box_outside, left": ({}, {"image": "1.jpg", "boxes": [(-1.5, 5, 10, 5)]}, "-1.5, 5, 10, 5 reaches outside"),
    "box_outside, above": ({}, {"image": "1.jpg", "boxes": [(5, -2, 10, 5)]}, "reaches outside"),
    "box_outside, below": ({}, {"image": "1.jpg", "boxes": [(5, 25, 10, 7)]}, "reaches outside"),
}


def problem_reader(tmp_path, name: str) -> ListReader:
    """Four images, the problem, and one more good one."""
    files, fields, _ = PROBLEMS[name]
    source = open_source(write_files(tmp_path / "source", GOOD | files))
    images = [listed("0.jpg", 1, boxes=[FULL]), listed(**{"line": 2} | fields), listed("3.jpg", 3)]
    return ListReader(source, images, ["bird"])


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_the_first_problem_stops(tmp_path, name):
    reader = problem_reader(tmp_path, name)
    with pytest.raises(InvalidImage, match=PROBLEMS[name][2]) as raised:
        prepare_dataset(reader, tmp_path / "out")
    assert raised.value.kind == name.split(",")[0]
    assert str(raised.value).startswith("images.txt, line 2: ")
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_verify_and_skip(tmp_path, name):
    reader = problem_reader(tmp_path, name)
    kind = name.split(",")[0]
    report, num_images, _ = verify_dataset(reader)
    assert num_images == 3
    assert dict(report.counts) == {kind: 1}
    assert f"{kind}: 1 ({KINDS[kind]})\n  images.txt, line 2: " in str(report)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]

    prepared = prepare_dataset(reader, tmp_path / "out", skip_invalid=True)
    lines = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert len(lines) == 1
    assert lines[0]["kind"] == kind and lines[0]["where"] == "images.txt, line 2"
    assert set(lines[0]) == {"image_id", "image", "kind", "message", "where"}
    assert str(tmp_path) not in lines[0]["message"]
    assert prepared.splits["train"].num_examples == 2
    rows = datasets.load_dataset("parquet", data_dir=str(tmp_path / "out/data"), cache_dir=str(tmp_path / "cache"))
    assert rows["train"]["image_id"] == ["0.jpg", "3.jpg"]


def test_lists_are_checked_before_anything_is_written(tmp_path):
    """A missing file at the end of the lists is found before hours of work, not after."""
    source = open_source(write_files(tmp_path / "source", GOOD))
    images = [listed("0.jpg"), listed("1.jpg", 2), listed("nowhere.jpg", 3)]
    with pytest.raises(InvalidImage, match="images.txt, line 3: there is no file nowhere.jpg"):
        prepare_dataset(ListReader(source, images), tmp_path / "out", max_shard_size=1)
    assert list((tmp_path / "out" / "data").iterdir()) == []


def test_classes_without_images(tmp_path):
    source = open_source(write_files(tmp_path / "source", GOOD))
    reader = ListReader(source, [listed("0.jpg"), listed("1.jpg")], ["auk", "bird", "crow"])
    with pytest.raises(InvalidImage, match=r"the class 'auk' has no images. \(empty_class\)"):
        prepare_dataset(reader, tmp_path / "out")
    report, _, _ = verify_dataset(reader)
    assert dict(report.counts) == {"empty_class": 2}
    prepared = prepare_dataset(reader, tmp_path / "out", skip_invalid=True)
    assert [problem.kind for problem in prepared.remarks] == ["empty_class"] * 2
    assert prepared.splits["train"].num_examples == 2
    assert not (tmp_path / "out" / "skipped.jsonl").exists()


def test_classes_with_one_name(tmp_path):
    source = open_source(write_files(tmp_path / "source", GOOD))
    with pytest.raises(ValueError, match=r"have the same name: \['bird'\]"):
        prepare_dataset(ListReader(source, [listed("0.jpg")], ["bird", "bird"]), tmp_path / "out")


def test_many_problems_are_counted_and_a_few_shown(tmp_path):
    source = open_source(write_files(tmp_path / "source", GOOD))
    images = [listed(f"no{number}.jpg", number) for number in range(2, 22)] + [listed("0.jpg", boxes=[(0, 0, 50, 5)])]
    report, num_images, _ = verify_dataset(ListReader(source, [*images, listed("1.jpg", 30)]), num_proc=2)
    assert num_images == 22
    assert len(report) == 21
    assert dict(report.counts) == {"missing_file": 20, "box_outside": 1}
    text = str(report)
    assert text.count("no file no") == 5
    assert "... and 15 more" in text


def test_a_pixel_past_the_edge_is_rounding(tmp_path):
    source = open_source(write_files(tmp_path / "source", GOOD))
    boxes = [(-1.0, -1.0, 42.0, 32.0), (39.5, 29.5, 1.5, 1.5)]
    row = read_example(listed("0.jpg", boxes=boxes), ListReader(source, [listed("0.jpg")]), {"bird": 0}).row
    assert row["objects"]["bbox"] == [list(box) for box in boxes]


def test_official_boxes_past_the_edge_are_kept_and_counted(tmp_path):
    source = open_source(write_files(tmp_path / "source", GOOD))
    record = listed("0.jpg", boxes=[(30.0, 5.0, 25.0, 5.0), FULL])
    reader = ListReader(source, [record])
    reader.keeps_official_boxes = True
    report, _, num_past_edge = verify_dataset(reader)
    assert not report and num_past_edge == 1
    assert read_example(record, reader, {"bird": 0}).row["objects"]["bbox"][0] == [30, 5, 25, 5]
    with pytest.raises(InvalidImage, match="box_outside"):
        read_example(replace(record, boxes=[(40.0, 5.0, 5.0, 5.0)]), reader, {"bird": 0})


def test_what_a_image_s_own_annotations_lack(tmp_path):
    source = open_source(write_files(tmp_path / "source", GOOD))

    class WithAnnotations(ListReader):
        def annotate(self, record: ImageRecord) -> ImageRecord:
            if record.image == "1.jpg":
                raise ValueError(f"{source.path}/1.xml has no size.")
            return replace(record, boxes=[FULL])

    reader = WithAnnotations(source, [listed("0.jpg"), listed("1.jpg", 2)])
    with pytest.raises(InvalidImage, match="images.txt, line 2: source/1.xml has no size") as raised:
        prepare_dataset(reader, tmp_path / "out")
    assert raised.value.kind == "unreadable_annotation"
    assert read_example(listed("0.jpg"), reader, {"bird": 0}).row["objects"] == {"bbox": [list(FULL)], "category": [0]}


# Which way up.


def with_a_block(orientation: int | None, size: tuple[int, int]) -> tuple[bytes, tuple, tuple]:
    """A dark image with a white block: the file, the block's box as stored, and that of the upright image."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[3:11, 5:19] = 255
    content = encoded(PIL.Image.fromarray(pixels), orientation=orientation)
    upright = np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(content))))
    return content, (5.0, 3.0, 14.0, 8.0), box_of(upright[..., 0] > 0)


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1


def prepared_row(tmp_path, content: bytes, mask: np.ndarray | None = None, **fields) -> dict:
    files = {"0.png": content}
    if mask is not None:
        files["m.png"] = encoded(PIL.Image.fromarray(mask.astype(np.uint8) * 255))
        fields["masks"] = ("m.png",)
    reader = ListReader(open_source(write_files(tmp_path, files)), [record := listed("0.png", **fields)])
    row = read_example(record, reader, {"bird": 0}).row
    return datasets.Dataset.from_list([row], features=features_of(reader))[0]


def block(box: tuple, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size[::-1], dtype=bool)
    x, y, width, height = map(int, box)
    mask[y : y + height, x : x + width] = True
    return mask


@pytest.mark.parametrize("orientation", [None, 1, 2, 3, 4, 5, 6, 7, 8])
def test_boxes_and_masks_follow_the_image_upright(tmp_path, orientation):
    size = (40, 30)
    content, stored_box, upright_box = with_a_block(orientation, size)
    turned = orientation in (5, 6, 7, 8)
    upright_size = (30, 40) if turned else size

    def boxes_of(row: dict) -> list[tuple]:
        found = [tuple(row["objects"]["bbox"][0])]
        if "mask" in row:
            assert row["mask"].mode == "L" and row["mask"].size == upright_size
            assert set(np.unique(row["mask"])) == {0, 255}
            found.append(box_of(np.asarray(row["mask"]) > 0))
        return found

    # on the stored image, which the lists' size says; without an exchange of sides nothing can say it
    if turned:
        row = prepared_row(tmp_path / "a", content, block(stored_box, size), boxes=[stored_box], size=size)
        assert boxes_of(row) == [upright_box, upright_box]
        # the mask's size says it
        row = prepared_row(tmp_path / "b", content, block(stored_box, size), boxes=[stored_box])
        assert boxes_of(row) == [upright_box, upright_box]
        assert boxes_of(prepared_row(tmp_path / "c", content, boxes=[stored_box], size=size)) == [upright_box]
    # on the upright image
    row = prepared_row(
        tmp_path / "d", content, block(upright_box, upright_size), boxes=[upright_box], size=upright_size
    )
    assert boxes_of(row) == [upright_box, upright_box]
    row = prepared_row(tmp_path / "e", content, block(upright_box, upright_size), boxes=[upright_box])
    assert boxes_of(row) == [upright_box, upright_box]
    assert boxes_of(prepared_row(tmp_path / "f", content, boxes=[upright_box])) == [upright_box]


# Masks.


def masks_of(tmp_path, files: dict[str, np.ndarray], masks: tuple, ignore_masks: tuple) -> tuple:
    encoded_files = {name: encoded(PIL.Image.fromarray(pixels)) for name, pixels in files.items()}
    source = open_source(write_files(tmp_path, encoded_files | {"0.jpg": GOOD["0.jpg"]}))
    reader = ListReader(source, [record := listed("0.jpg", masks=masks, ignore_masks=ignore_masks)])
    row = read_example(record, reader, {"bird": 0}).row
    return tuple(
        row.get(name) and np.asarray(PIL.Image.open(io.BytesIO(row[name]["bytes"])))
        for name in ("mask", "ignore_mask")
    )


def test_masks_are_united_and_the_object_is_never_ignored(tmp_path):
    generator = np.random.default_rng(0)
    files = {
        name: generator.integers(0, 2, (30, 40), dtype=np.uint8) * value
        for name, value in zip("abcd", (255, 1, 255, 7))
    }
    files = {f"{name}.png": pixels for name, pixels in files.items()}
    mask, ignore_mask = masks_of(tmp_path, files, ("a.png", "b.png"), ("c.png", "d.png"))
    a, b, c, d = (pixels > 0 for pixels in files.values())
    np.testing.assert_array_equal(mask, (a | b) * 255)
    np.testing.assert_array_equal(ignore_mask, ((c | d) & ~(a | b)) * 255)


def test_masks_keep_a_resolution_that_they_share(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2, (60, 80), dtype=np.uint8) * 255
    mask, ignore_mask = masks_of(tmp_path, {"a.png": pixels}, ("a.png",), ())
    np.testing.assert_array_equal(mask, pixels)
    assert ignore_mask is None


def test_masks_of_several_resolutions_come_to_the_image_s(tmp_path):
    small, large = np.zeros((15, 20), dtype=np.uint8), np.zeros((60, 80), dtype=np.uint8)
    small[:5], large[-20:] = 255, 255
    mask, _ = masks_of(tmp_path, {"a.png": small, "b.png": large}, ("a.png", "b.png"), ())
    expected = np.zeros((30, 40), dtype=np.uint8)
    expected[:10], expected[-10:] = 255, 255
    np.testing.assert_array_equal(mask, expected)


def test_a_reader_says_what_is_object_and_what_is_ignored(tmp_path):
    """One palette image may hold both, as PASCAL VOC's."""
    pixels = np.zeros((30, 40), dtype=np.uint8)
    pixels[5:10, 5:10], pixels[4, 4:11] = 3, 255
    image = PIL.Image.new("P", (40, 30))
    image.putpalette([value for value in range(256) for _ in range(3)])
    image.putdata(pixels.ravel().tolist())
    source = open_source(write_files(tmp_path, {"0.jpg": GOOD["0.jpg"], "m.png": encoded(image)}))

    class Palette(ListReader):
        def object_pixels(self, mask: PIL.Image.Image) -> np.ndarray:
            return (np.asarray(mask) > 0) & (np.asarray(mask) < 255)

        def ignored_pixels(self, mask: PIL.Image.Image) -> np.ndarray:
            return np.asarray(mask) == 255

    record = listed("0.jpg", masks=("m.png",), ignore_masks=("m.png",))
    row = read_example(record, Palette(source, [record]), {"bird": 0}).row
    for name, value in (("mask", 3), ("ignore_mask", 255)):
        found = np.asarray(PIL.Image.open(io.BytesIO(row[name]["bytes"])))
        np.testing.assert_array_equal(found == 255, pixels == value)
