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
"""What is written: the source's bytes, in one order, whatever form it has, on any number of processes, killed or not."""

import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path

import datasets
import numpy as np
import PIL.Image
import psutil
import pyarrow.parquet as pq
import pytest
from prepare_fixtures import (
    ListReader,
    contents,
    encoded,
    image_bytes,
    listed,
    tar_bytes,
    write_files,
    zip_bytes,
)

from transformers_sat import one_run
from transformers_sat.data import decode_image, load_localization_dataset
from transformers_sat.prepare import ImageRecord, InvalidImage, Source, open_source, prepare_dataset, shards
from transformers_sat.prepare import engine as engine_module


CLASS_NAMES = ["bird", "cat", "dog"]


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def some_images(count: int = 60) -> tuple[dict[str, bytes], list[ImageRecord]]:
    """Images of several forms in two splits, with none, one and several boxes, listed in another order than they lie."""
    generator = random.Random(0)
    forms = [("JPEG", "RGB", "jpg"), ("PNG", "RGB", "png"), ("JPEG", "CMYK", "JPG"), ("WEBP", "RGB", "webp")]
    files, images = {}, []
    for number in range(count):
        form, mode, suffix = forms[number % 4]
        size = (generator.randint(16, 60), generator.randint(16, 60))
        name = f"{generator.choice(['a b', 'c'])}/{number} größe.{suffix}"
        files[name] = image_bytes(number, size, form, mode)
        boxes = [(0.5 * box, 1.0, size[0] - 2.0 * box, size[1] - 1.25) for box in range(number % 3)] or None
        label = CLASS_NAMES[number % 3]
        categories = [CLASS_NAMES[box] for box in range(number % 3)] if number % 2 and boxes else None
        split = "train" if number % 5 else "test"
        fields = {"split": split, "label": label, "boxes": boxes, "categories": categories, "size": size}
        images.append(listed(name, number, **fields))
    generator.shuffle(images)
    return files, images


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_files(tmp_path_factory.mktemp("images"), some_images()[0])


def reader_of(source: Source, prefix: str = "") -> ListReader:
    images = some_images()[1]
    for image in images:
        image.image = prefix + image.image
    return ListReader(source, images)


def assert_holds_all(output: Path, by_name: dict[str, ImageRecord], files: dict[str, bytes], split: str, rows: list):
    expected = [image for image in by_name.values() if image.split == split]
    assert sorted(row["image_id"] for row in rows) == sorted(image.image_id for image in expected)
    for row in rows:
        image = by_name[row["image_id"]]
        assert row["image"] == {"bytes": files[image.image_id], "path": Path(image.image).name}
        assert row["label"] == CLASS_NAMES.index(image.label)
        if image.boxes is None:
            assert row["objects"] is None
        else:
            assert row["objects"]["bbox"] == [list(box) for box in image.boxes]
            labels = image.categories or [image.label] * len(image.boxes)
            assert row["objects"]["category"] == [CLASS_NAMES.index(label) for label in labels]


@pytest.mark.parametrize("form", ["folder", "tar", "tar.gz", "zip", "nested"])
def test_rows_of_every_form_of_source(tmp_path, folder, form):
    files, images = some_images()
    prefix = ""
    if form != "folder":
        packers = {"tar": tar_bytes, "tar.gz": lambda files: tar_bytes(files, "w:gz"), "zip": zip_bytes}
        packers["nested"] = lambda files: tar_bytes({"in.zip": zip_bytes(files)})
        path = tmp_path / f"set.{'tar' if form == 'nested' else form}"
        path.write_bytes(packers[form](files))
        prefix = "in/" if form == "nested" else ""
    reader = reader_of(open_source(folder if form == "folder" else path), prefix)
    before = set(tmp_path.rglob("*"))
    prepared = prepare_dataset(reader, tmp_path / "out", max_shard_size="20KB")
    written = {path.relative_to(tmp_path).parts[0] for path in set(tmp_path.rglob("*")) - before}
    assert written == {"out"}
    by_name = {image.image_id: image for image in images}
    splits = datasets.load_dataset("parquet", data_dir=str(tmp_path / "out" / "data"))
    streams = datasets.load_dataset("parquet", data_dir=str(tmp_path / "out" / "data"), streaming=True)
    assert list(splits) == ["train", "test"]
    for split, rows in splits.items():
        assert isinstance(rows.features["image"], datasets.Image)
        assert rows.features["label"] == datasets.ClassLabel(names=CLASS_NAMES)
        assert rows.features["objects"]["category"] == datasets.List(datasets.ClassLabel(names=CLASS_NAMES))
        rows = rows.cast_column("image", datasets.Image(decode=False))
        assert_holds_all(tmp_path / "out", by_name, files, split, list(rows))
        stream = streams[split].cast_column("image", datasets.Image(decode=False))
        assert list(stream) == list(rows)
        assert prepared.splits[split].num_examples == len(rows)
        assert prepared.splits[split].num_boxes == sum(len(row["objects"]["bbox"]) for row in rows if row["objects"])
    assert not prepared.skipped


def test_training_code_loads_it(tmp_path, folder):
    prepare_dataset(reader_of(open_source(folder)), tmp_path / "out")
    (tmp_path / "out" / "README.md").write_text("")
    splits = load_localization_dataset(str(tmp_path / "out"))
    assert set(splits) == {"train", "validation", "test"}
    assert len(splits["train"]) + len(splits["validation"]) == 48
    row = splits["test"][0]
    assert decode_image(row["image"]).size == decode_image({"bytes": row["image"]["bytes"], "path": None}).size


def test_order_is_that_of_the_source(tmp_path):
    """Archives are read from front to back, whatever the lists' order."""
    names = [f"{number}.jpg" for number in random.Random(1).sample(range(100), 30)]
    content = {name: image_bytes(number) for number, name in enumerate(names)}
    (tmp_path / "set.tar").write_bytes(tar_bytes(content))
    reader = ListReader(open_source(tmp_path / "set.tar"), [listed(name) for name in sorted(names)])
    prepare_dataset(reader, tmp_path / "out", max_shard_size="10KB")
    files = sorted((tmp_path / "out" / "data").iterdir())
    assert len(files) > 3
    assert [name for file in files for name in pq.read_table(file)["image_id"].to_pylist()] == names


def test_shards_keep_to_their_size(tmp_path, folder):
    prepare_dataset(reader_of(open_source(folder)), tmp_path / "out", max_shard_size="20KB")
    files = sorted(path.name for path in (tmp_path / "out" / "data").iterdir())
    for split in ("train", "test"):
        of_split = [name for name in files if name.startswith(split)]
        assert of_split == [f"{split}-{n:05d}-of-{len(of_split):05d}.parquet" for n in range(len(of_split))]
    assert len(files) > 8
    for name in files:
        table = pq.read_table(tmp_path / "out" / "data" / name)
        images = sum(len(row["bytes"]) for row in table["image"].to_pylist())
        assert images <= 20_000 or len(table) == 1


def test_row_groups_are_small(tmp_path, monkeypatch):
    """What is in memory at once, and what must be fetched to see one image."""
    content = {f"{number}.png": image_bytes(number, form="PNG") for number in range(250)}
    reader = ListReader(open_source(write_files(tmp_path / "a", content)), [listed(name) for name in content])
    prepare_dataset(reader, tmp_path / "out")
    file = pq.ParquetFile(tmp_path / "out" / "data" / "train-00000-of-00001.parquet")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [100, 100, 50]
    assert file.metadata.row_group(0).column(0).has_offset_index
    monkeypatch.setattr(shards, "MAX_ROW_GROUP_BYTES", 30_000)
    prepare_dataset(reader, tmp_path / "other")
    file = pq.ParquetFile(tmp_path / "other" / "data" / "train-00000-of-00001.parquet")
    assert {file.metadata.row_group(n).num_rows for n in range(file.num_row_groups - 1)} == {9}


def test_any_number_of_processes_writes_the_same(tmp_path, folder):
    prepare_dataset(reader_of(open_source(folder)), tmp_path / "one", max_shard_size="20KB")
    prepare_dataset(reader_of(open_source(folder)), tmp_path / "three", max_shard_size="20KB", num_proc=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


def test_a_problem_in_one_process_stops_all(tmp_path):
    content = {f"{number}.png": image_bytes(number, form="PNG") for number in range(40)}
    content["17.png"] = b"no image"
    images = [listed(name, number) for number, name in enumerate(content)]
    reader = ListReader(open_source(write_files(tmp_path / "a", content)), images)
    with pytest.raises(InvalidImage, match="images.txt, line 17: The image 17.png cannot be decoded"):
        prepare_dataset(reader, tmp_path / "out", max_shard_size="20KB", num_proc=3)
    # what is right goes on from there
    prepared = prepare_dataset(reader, tmp_path / "out", max_shard_size="20KB", skip_invalid=True)
    assert prepared.splits["train"].num_examples == 39
    # and what was left out is not forgotten
    with pytest.raises(InvalidImage, match="17.png"):
        prepare_dataset(reader, tmp_path / "out", max_shard_size="20KB")


# Interrupted.


class HeldReader(ListReader):
    """Goes on for ever at the last of so many images a process, so that there is a middle to be killed in."""

    images_until_held = math.inf

    def annotate(self, image: ImageRecord) -> ImageRecord:
        self.images_until_held -= 1
        if self.images_until_held <= 0:
            time.sleep(3600)
        return image


def held_source(folder: Path, num_images: int = 120) -> HeldReader:
    content = {f"{number}.png": image_bytes(number, form="PNG") for number in range(num_images)}
    for number in (3, 50, 110):
        content[f"{number}.png"] = b"no image"
    images = [listed(name, number) for number, name in enumerate(content)]
    images += [listed("nowhere.png", 1000), listed("5.png", 1001)]
    if not folder.exists():
        write_files(folder, content)
    return HeldReader(open_source(folder), images)


@pytest.mark.parametrize("num_proc, num_proc_after", [(1, 2), (2, 1)])
def test_killed_and_started_again(tmp_path, num_proc, num_proc_after):
    reader = held_source(tmp_path / "images")
    reader.images_until_held = 100 // num_proc
    arguments = {"max_shard_size": "30KB", "skip_invalid": True}
    process = multiprocessing.get_context("fork").Process(
        target=prepare_dataset, args=(reader, tmp_path / "out"), kwargs=arguments | {"num_proc": num_proc}
    )
    process.start()
    data = tmp_path / "out" / "data"
    wait_until(lambda: data.is_dir() and len(list(data.iterdir())) >= 3)
    children = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    kept = {path.name: path.stat().st_mtime_ns for path in data.iterdir()}
    wait_until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children))
    assert len(children) >= num_proc - 1

    reader.images_until_held = math.inf
    prepare_dataset(reader, tmp_path / "out", num_proc=num_proc_after, **arguments)
    after = {path.name: path.stat().st_mtime_ns for path in data.iterdir()}
    assert kept.items() <= after.items()
    assert len(after) > len(kept)
    prepare_dataset(reader, tmp_path / "undisturbed", **arguments)
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")
    skipped = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert [(problem["image"], problem["kind"]) for problem in skipped] == [
        ("nowhere.png", "missing_file"),
        ("5.png", "duplicate_id"),
        *((f"{number}.png", "undecodable") for number in (110, 3, 50)),
    ]


def wait_until(condition, seconds: float = 120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_file_that_was_cut_off_is_written_again(tmp_path, folder):
    reader = reader_of(open_source(folder))
    prepare_dataset(reader, tmp_path / "out", max_shard_size="20KB")
    before = contents(tmp_path / "out")
    file = tmp_path / "out" / "data" / next(name for name in os.listdir(tmp_path / "out" / "data"))
    file.write_bytes(file.read_bytes()[:-100])
    prepare_dataset(reader, tmp_path / "out", max_shard_size="20KB")
    assert contents(tmp_path / "out") == before


def test_going_on_with_something_else_is_refused(tmp_path, folder):
    prepare_dataset(reader_of(open_source(folder)), tmp_path / "out", max_shard_size="20KB")
    before = contents(tmp_path / "out")
    with pytest.raises(ValueError, match="begun from something else: .* 20000 bytes; now .* 30000 bytes.*delete"):
        prepare_dataset(reader_of(open_source(folder)), tmp_path / "out", max_shard_size="30KB")
    changed = write_files(shutil.copytree(folder, tmp_path / "changed"), {"more.jpg": b""})
    with pytest.raises(ValueError, match="Nothing was changed"):
        prepare_dataset(reader_of(open_source(changed)), tmp_path / "out", max_shard_size="20KB")
    assert contents(tmp_path / "out") == before


def test_two_at_a_time_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(one_run, "LOCK_SECONDS", 0.1)
    reader = held_source(tmp_path / "images")
    reader.images_until_held = 1
    kwargs = {"skip_invalid": True}
    context = multiprocessing.get_context("fork")
    process = context.Process(target=prepare_dataset, args=(reader, tmp_path / "out"), kwargs=kwargs)
    process.start()
    try:
        wait_until(lambda: (tmp_path / "out" / ".prepare" / "plan.json").exists())
        with pytest.raises(ValueError, match="Another process is writing"):
            prepare_dataset(reader, tmp_path / "out", **kwargs)
    finally:
        process.kill()
        process.join()


# Arguments.


def test_the_disk_is_looked_at_first(tmp_path, folder, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9 - 10**4, 10**4)
    monkeypatch.setattr(engine_module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"out needs 0\.00 GB on its disk, which has 0\.00 GB free"):
        prepare_dataset(reader_of(open_source(folder)), tmp_path / "out")
    assert list((tmp_path / "out" / "data").iterdir()) == []


def test_other_folders_are_left_alone(tmp_path, folder):
    reader = reader_of(open_source(folder))
    write_files(tmp_path, {"mine/thesis.txt": b"", "file": b""})
    with pytest.raises(ValueError, match="mine has other files in it; give a new folder"):
        prepare_dataset(reader, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(ValueError, match="file is a file; give a folder"):
        prepare_dataset(reader, tmp_path / "file")
    with pytest.raises(ValueError, match="`num_proc` must be at least 1, got 0"):
        prepare_dataset(reader, tmp_path / "out", num_proc=0)
    with pytest.raises(ValueError, match="`max_shard_size` must be at least a byte"):
        prepare_dataset(reader, tmp_path / "out", max_shard_size=0)


def test_a_source_without_images(tmp_path):
    reader = ListReader(open_source(write_files(tmp_path / "a", {"x": b""})), [listed("nowhere.jpg")])
    with pytest.raises(ValueError, match="no image of Images of a test that can be used"):
        prepare_dataset(reader, tmp_path / "out", skip_invalid=True)


def test_masks_come_through(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2, (30, 40), dtype=np.uint8) * 255
    files = {"0.jpg": image_bytes(0), "1.jpg": image_bytes(1), "m.png": encoded(PIL.Image.fromarray(pixels))}
    source = open_source(write_files(tmp_path / "a", files))
    images = [listed("0.jpg", masks=("m.png",)), listed("1.jpg", ignore_masks=("m.png",))]
    prepared = prepare_dataset(ListReader(source, images), tmp_path / "out")
    assert prepared.splits["train"].num_masked == 1
    rows = datasets.load_dataset("parquet", data_dir=str(tmp_path / "out" / "data"), split="train")
    np.testing.assert_array_equal(rows[0]["mask"], pixels)
    np.testing.assert_array_equal(rows[1]["ignore_mask"], pixels)
    assert rows[1]["mask"] is None and rows[0]["ignore_mask"] is None
