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
"""Training data that is read while it is used: every image once an epoch, in the same order for every number of workers."""

from pathlib import Path

import datasets
import pytest
import torch
from accelerate import skip_first_batches
from accelerate.data_loader import BatchSamplerShard, DataLoaderShard
from square_images import CLASS_NAMES, square_split, write_class_folders

from transformers_sat import SATImageProcessor
from transformers_sat.data import (
    LocalizationDataset,
    StreamedLocalizationDataset,
    TrainingAugmentation,
    collate_localization,
    dataset,
    decode_image,
    load_streaming_dataset,
)
from transformers_sat.data.streaming import StreamedRow


SIZE = {"height": 16, "width": 16}


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    # `datasets` pauses five seconds at the end of every pass
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)


def write_parquet(
    folder: Path, train: int = 23, files: int = 3, split=square_split, **others: datasets.Dataset
) -> str:
    """Training images in several files of two row groups or more, and other splits in one each."""
    (folder / "data").mkdir(parents=True)
    whole = split(train)
    for number in range(files):
        part = whole.select(range(number * train // files, (number + 1) * train // files))
        part.to_parquet(folder / "data" / f"train-{number:05d}-of-{files:05d}.parquet", batch_size=4)
    for name, rows in ({"validation": square_split(5, first=100)} | others).items():
        rows.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return str(folder)


def stream_of(folder: str, num_rows: int | None = 23, **options) -> StreamedLocalizationDataset:
    rows, _, _ = load_streaming_dataset(folder)
    options = {"buffer_size": 8, "seed": 0} | options
    return StreamedLocalizationDataset(
        rows, SATImageProcessor(size=SIZE, crop_size=SIZE), TrainingAugmentation(16), num_rows=num_rows, **options
    )


def epoch_of(stream: StreamedLocalizationDataset, epoch: int) -> list[bytes]:
    stream.set_epoch(epoch)
    return [streamed.row["image"]["bytes"] for streamed in stream.sampler()]


def loader(stream: StreamedLocalizationDataset, batch_size: int = 4, **options) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(
        stream, batch_size=batch_size, sampler=stream.sampler(), collate_fn=collate_localization, **options
    )


def assert_same_batches(batches: list[dict], others: list[dict]):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert torch.equal(batch["labels"], other["labels"])
        assert torch.equal(batch["pixel_values"], other["pixel_values"])


# The order.


def test_every_image_once_an_epoch(tmp_path):
    folder = write_parquet(tmp_path / "parquet")
    stream = stream_of(folder)
    expected = {row["image"]["bytes"] for row in square_split(23).cast_column("image", datasets.Image(decode=False))}
    first, second = epoch_of(stream, 0), epoch_of(stream, 1)
    assert len(stream) == len(first) == 23
    assert set(first) == set(second) == expected
    # another order each, which the seed decides
    assert first != second
    assert epoch_of(stream, 0) == first
    assert epoch_of(stream_of(folder), 1) == second
    assert epoch_of(stream_of(folder, seed=1), 0) != first


def test_images_come_from_many_places(tmp_path):
    """Sorted by class, as many sets are, with a buffer that holds a tenth: the classes are mixed all the same."""

    def by_class(count):
        return square_split(count).sort("label")

    stream = stream_of(write_parquet(tmp_path / "parquet", train=120, files=1, split=by_class), buffer_size=12)
    labels = [streamed.row["label"] for streamed in stream.sampler()]
    assert all(len(set(labels[first : first + 12])) > 1 for first in range(0, 120, 12))
    assert set(labels[:60]) == {0, 1, 2}


def test_examples_are_those_of_their_place(tmp_path):
    """What a map-style data set with these rows in this order gives."""
    stream = stream_of(write_parquet(tmp_path / "parquet"))
    stream.set_epoch(2)
    streamed = list(stream.sampler())
    assert [(row.epoch, row.position) for row in streamed] == [(2, position) for position in range(23)]
    rows = datasets.Dataset.from_list([row.row for row in streamed], features=stream.dataset.features)
    expected = LocalizationDataset(rows, stream.image_processor, augmentation=TrainingAugmentation(16))
    expected.set_epoch(2)
    for position in range(23):
        example = stream[streamed[position]]
        assert torch.equal(example["pixel_values"], expected[position]["pixel_values"])
        assert example["labels"] == expected[position]["labels"]
        colours = decode_image(streamed[position].row["image"]).getcolors(4096)
        square = max(colours)[1]
        assert CLASS_NAMES[example["labels"]] == CLASS_NAMES[square.index(max(square))]


# Loaders.


@pytest.mark.parametrize("persistent", [True, False])
def test_workers_give_the_same_batches(tmp_path, persistent):
    """More workers than there are files, over two epochs."""
    folder = write_parquet(tmp_path / "parquet", files=1)
    alone, together = stream_of(folder), stream_of(folder)
    here = loader(alone)
    there = loader(together, num_workers=3, persistent_workers=persistent)
    for epoch in (0, 1):
        alone.set_epoch(epoch), together.set_epoch(epoch)
        assert_same_batches(list(here), list(there))
    assert len(here) == 6


def test_processes_share_the_batches(tmp_path):
    """As Accelerate deals them out, for batches that go up evenly: each image to one process."""
    stream = stream_of(write_parquet(tmp_path / "parquet", train=24), num_rows=24)
    batches = list(torch.utils.data.BatchSampler(stream.sampler(), batch_size=4, drop_last=False))
    shares = []
    for process in range(3):
        sampler = torch.utils.data.BatchSampler(stream.sampler(), batch_size=4, drop_last=False)
        shares.append(list(BatchSamplerShard(sampler, num_processes=3, process_index=process)))
    assert [len(share) for share in shares] == [2, 2, 2]
    for number, batch in enumerate(batches):
        dealt = shares[number % 3][number // 3]
        assert [row.position for row in dealt] == [row.position for row in batch]
        assert [row.row["image"]["bytes"] for row in dealt] == [row.row["image"]["bytes"] for row in batch]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_skipped_batches_are_not_decoded(tmp_path, monkeypatch, num_workers):
    """What a resumed training does: images that it has seen could not even be decoded here."""
    folder = write_parquet(tmp_path / "parquet")
    expected = list(loader(stream_of(folder)))
    stream = stream_of(folder)
    seen = {streamed.row["image"]["bytes"] for streamed in list(stream.sampler())[:12]}

    def decode_image(image, min_side=None):
        assert image["bytes"] not in seen
        return original(image, min_side)

    original = dataset.decode_image
    monkeypatch.setattr(dataset, "decode_image", decode_image)
    prepared = DataLoaderShard(
        stream,
        batch_sampler=torch.utils.data.BatchSampler(stream.sampler(), batch_size=4, drop_last=False),
        collate_fn=collate_localization,
        num_workers=num_workers,
    )
    assert_same_batches(list(skip_first_batches(prepared, 3)), expected[3:])


def test_a_stream_of_unknown_length_goes_on(tmp_path):
    """Epoch after epoch, each complete and in its own order, whatever the batches."""
    folder = write_parquet(tmp_path / "parquet")
    endless = stream_of(folder, num_rows=None)
    with pytest.raises(TypeError, match="not known"):
        len(endless)
    sampler = iter(endless.sampler())
    streamed = [next(sampler) for _ in range(50)]
    known = stream_of(folder)
    assert [row.row["image"]["bytes"] for row in streamed[:46]] == epoch_of(known, 0) + epoch_of(known, 1)
    assert [(row.epoch, row.position) for row in streamed[44:48]] == [(1, 21), (1, 22), (2, 0), (2, 1)]
    batches = iter(loader(endless, batch_size=10))
    assert all(len(next(batches)["labels"]) == 10 for _ in range(7))


def test_an_empty_stream():
    rows = square_split(4).to_iterable_dataset().filter(lambda label: label > 5, input_columns="label")
    stream = StreamedLocalizationDataset(rows, SATImageProcessor(size=SIZE), TrainingAugmentation(16))
    with pytest.raises(ValueError, match="no training images"):
        next(iter(stream.sampler()))


def test_buffer_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="`shuffle_buffer_size` must be at least 1, got 0"):
        stream_of(write_parquet(tmp_path / "parquet"), buffer_size=0)


def test_undecodable_image_in_a_stream(tmp_path):
    stream = stream_of(write_parquet(tmp_path / "parquet"))
    with pytest.raises(ValueError, match=r"bad\.jpg cannot be decoded"):
        stream[StreamedRow(0, 0, {"image": {"bytes": b"nothing", "path": "bad.jpg"}, "label": 0})]


# Forms of data sets.


def test_splits_of_a_parquet_folder(tmp_path):
    folder = write_parquet(tmp_path / "parquet", test=square_split(6, first=200))
    rows, others, num_rows = load_streaming_dataset(folder)
    assert num_rows == 23
    assert rows.features == {
        "image": datasets.Image(decode=False),
        "label": datasets.ClassLabel(names=CLASS_NAMES),
    }
    assert {name: len(split) for name, split in others.items()} == {"validation": 5, "test": 6}
    for split in others.values():
        assert isinstance(split, datasets.Dataset)
        assert {"image", "label", "objects"} <= set(split.column_names)
        assert split.features["image"] == datasets.Image(decode=False)


def test_nothing_of_the_training_split_is_loaded(tmp_path):
    """It would fill the disk: the cache holds the other splits alone."""
    folder = write_parquet(tmp_path / "parquet", train=600)
    size = sum(path.stat().st_size for path in Path(folder, "data").glob("train*"))
    load_streaming_dataset(folder)
    cached = sum(path.stat().st_size for path in Path(tmp_path, "cache").rglob("*") if path.is_file())
    assert cached < size / 10


def test_length_from_the_card(tmp_path):
    """Of files elsewhere, the number of rows is what the card says."""
    folder = write_parquet(tmp_path / "parquet")
    card = (
        "---\ndataset_info:\n  splits:\n  - name: train\n    num_bytes: 1000\n    num_examples: 17\n"
        "  - name: validation\n    num_bytes: 100\n    num_examples: 5\n---\n"
    )
    Path(folder, "README.md").write_text(card, encoding="utf-8")
    assert load_streaming_dataset(folder)[2] == 17


def test_class_folders(tmp_path):
    folder = str(write_class_folders(tmp_path / "folders", train=9, val=6))
    rows, others, num_rows = load_streaming_dataset(folder)
    assert num_rows is None
    assert others["validation"].features["label"].names == sorted(CLASS_NAMES) == rows.features["label"].names
    stream = StreamedLocalizationDataset(
        rows, SATImageProcessor(size=SIZE), TrainingAugmentation(16), num_rows=9, buffer_size=4
    )
    paths = [streamed.row["image"]["path"] for streamed in stream.sampler()]
    assert len(set(paths)) == len(paths) == 9
    assert stream[next(iter(stream.sampler()))]["pixel_values"].shape == (3, 16, 16)


def test_some_classes(tmp_path):
    rows, others, num_rows = load_streaming_dataset(write_parquet(tmp_path / "parquet"), classes=["blue", "red"])
    assert num_rows is None
    assert rows.features["label"].names == others["validation"].features["label"].names == ["red", "blue"]
    assert [row["label"] for row in rows] == [[0, None, 1][index % 3] for index in range(23) if index % 3 != 1]
    assert others["validation"]["label"][:] == [0, 1, 0]
    with pytest.raises(ValueError, match=r"'blu' \(do you mean 'blue'"):
        load_streaming_dataset(str(tmp_path / "parquet"), classes=["blu"])


def test_what_cannot_be_streamed(tmp_path):
    with pytest.raises(ValueError, match="emblems is on this disk.*leave out `--streaming`"):
        load_streaming_dataset("emblems")
    datasets.DatasetDict(train=square_split(3)).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="leave out `--streaming`"):
        load_streaming_dataset(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match=r"`train` and `validation`, but it has \['train'\]"):
        load_streaming_dataset(str(write_class_folders(tmp_path / "folders", train=6)))

    def named(count):
        return square_split(count).cast_column("label", datasets.Value("string"))

    with pytest.raises(ValueError, match="`label` of .* must be a class label.*string"):
        load_streaming_dataset(write_parquet(tmp_path / "strings", split=named))
    with pytest.raises(ValueError, match="has no column `species`; name it with `--label_column_name`"):
        load_streaming_dataset(write_parquet(tmp_path / "parquet"), columns={"label": "species"})


def test_other_splits_have_the_same_classes(tmp_path):
    other = square_split(5).cast_column("label", datasets.ClassLabel(names=["a", "b", "c"]))
    with pytest.raises(ValueError, match="`validation`.*other classes than `train`"):
        load_streaming_dataset(write_parquet(tmp_path / "parquet", validation=other))
