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
"""Training on data that is read while it is used: sets that are larger than the disk, local or on the Hub."""

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import datasets
import pyarrow.parquet
import torch
from transformers import BaseImageProcessor

from ..places import reading_from
from .dataset import LocalizationDataset
from .loading import EMBEDDED_DATASET, in_schema, is_saved, schema_of_columns, with_class_labels
from .subsets import check_class_names, select_classes
from .transforms import TrainingAugmentation


class StreamedRow(NamedTuple):
    """A row with the place that it came at, on which everything random depends."""

    epoch: int
    position: int
    row: dict


class StreamedLocalizationDataset(LocalizationDataset):
    """
    A stream of rows as inputs of the model, for training.

    A data loader takes the rows from [`StreamedLocalizationDataset.sampler`], in place of their numbers, and hands them
    to its workers to be decoded. So what holds for other data sets holds for streams: the images of a batch do not
    depend on the number of workers and processes, Accelerate deals the batches out among processes, and a resumed
    training passes over what it has seen without decoding it. [`LocalizationTrainer`] does all this by itself.

    Args:
        dataset (`datasets.IterableDataset`): rows with `image` (not decoded) and `label`.
        image_processor ([`SATImageProcessor`] or [`SATImageProcessorPil`]): normalizes the images.
        augmentation ([`TrainingAugmentation`]): what is done to the images.
        num_rows (`int`, *optional*):
            Number of rows of an epoch, where it is known. Without it the stream has no length and no end: it starts over
            by itself, in another order.
        buffer_size (`int`, *optional*, defaults to 1000): number of rows among which the next one is drawn.
        seed (`int`, *optional*, defaults to 0): seed of the order and of the augmentation.
        fast_decoding, class_numbers: see [`LocalizationDataset`].

    Raises:
        `ValueError`: if `buffer_size` is not positive.
    """

    how_to_skip = "`transformers-sat prepare --skip_invalid`, which writes the data set without them"

    def __init__(
        self,
        dataset: datasets.IterableDataset,
        image_processor: BaseImageProcessor,
        augmentation: TrainingAugmentation,
        num_rows: int | None = None,
        buffer_size: int = 1000,
        seed: int = 0,
        fast_decoding: bool = False,
        class_numbers: list[int] | None = None,
    ):
        if buffer_size < 1:
            raise ValueError(f"`shuffle_buffer_size` must be at least 1, got {buffer_size}.")
        # by row groups where the files have them, so that the images in the buffer come from many places
        rows = dataset.reshard().shuffle(seed=seed, buffer_size=buffer_size)
        settings = {"seed": seed, "fast_decoding": fast_decoding, "class_numbers": class_numbers}
        super().__init__(rows, image_processor, augmentation, **settings)
        self.num_rows = num_rows

    def __len__(self) -> int:
        if self.num_rows is None:
            raise TypeError("The number of rows of this stream is not known.")
        return self.num_rows

    def __getitem__(self, streamed: StreamedRow) -> dict[str, torch.Tensor]:
        return self._training_example(streamed.row, streamed.epoch, streamed.position)

    def name_of(self, index: int) -> str:
        """What messages call a row, which cannot be looked up any more: the place that it came at."""
        return f"number {index} of the stream in its epoch"

    def sampler(self) -> torch.utils.data.Sampler:
        """The rows of the epoch that was set, in its order, for the `sampler` of a data loader."""
        return _RowSampler(self)


class _RowSampler(torch.utils.data.Sampler):
    def __init__(self, stream: StreamedLocalizationDataset):
        self.stream = stream

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[StreamedRow]:
        rows, first = self.stream.dataset, self.stream.epoch
        for epoch in [first] if self.stream.num_rows is not None else itertools.count(first):
            rows.set_epoch(epoch)
            position = -1
            for position, row in enumerate(rows):
                yield StreamedRow(epoch, position, row)
            if position < 0:
                raise ValueError("There are no training images in the stream.")


def load_streaming_dataset(
    name: str,
    config_name: str | None = None,
    columns: dict[str, str] | None = None,
    token: str | bool | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[datasets.IterableDataset, datasets.DatasetDict, int | None]:
    """
    Loads a data set whose training split is read while it is used. The other splits are small and are loaded as
    [`load_localization_dataset`] loads them.

    Args:
        name (`str`): a repository on the Hub, or a folder of Parquet files or images.
        config_name, columns, token, classes: see [`load_localization_dataset`]. Labels must be class labels.

    Returns:
        The training split's rows in the schema, the other splits, and the number of training rows where it is known:
        from the data set's card, or from local Parquet files.

    Raises:
        `ValueError`: if the data set cannot be streamed, has no training or no validation split, or its labels are not
            class labels.
    """
    if name == EMBEDDED_DATASET or is_saved(name):
        raise ValueError(
            f"The data set {name} is on this disk in a form that is read without loading it: leave out `--streaming`."
        )
    with reading_from(name, "data set"):
        builder = datasets.load_dataset_builder(name, config_name, token=token)
    files = builder.config.data_files or {}
    missing = [split for split in ("train", "validation") if split not in files]
    if missing:
        raise ValueError(
            f"To be streamed, {name} needs files of the splits `train` and `validation`, but it has {list(map(str, files))}."
            " Set images apart for validation first, as a split of its own."
        )
    label_column = (columns or {}).get("label", "label")
    columns = schema_of_columns(columns)
    rows = datasets.load_dataset(name, config_name, split="train", streaming=True, token=token)
    feature = (rows.features or {}).get(label_column)
    if rows.features is not None and label_column in rows.features and not isinstance(feature, datasets.ClassLabel):
        raise ValueError(
            f"To be streamed, the column `{label_column}` of {name} must be a class label, which says what the classes are "
            f"before all is read, but it is {feature}. Cast it to `datasets.ClassLabel` and save it as Parquet."
        )
    if rows.features is None:
        raise ValueError(
            f"To be streamed, {name} must say what its columns are before it is read; save it as Parquet."
        )
    rows = in_schema(rows, columns, f"The split `train` of {name}")
    rows = rows.select_columns(["image", "label"])

    # loaded by their files alone: by its name, all of the data set would be downloaded
    others = {split: paths for split, paths in files.items() if split != "train"}
    splits = datasets.load_dataset(
        name, config_name, data_files=others, token=token, verification_mode=datasets.VerificationMode.NO_CHECKS
    )
    splits = {split: in_schema(data, columns, f"The split `{split}` of {name}") for split, data in splits.items()}
    empty = datasets.Dataset.from_dict({"label": []}, features=datasets.Features(label=feature))
    splits = with_class_labels({"train": empty} | splits, name)
    del splits["train"]

    num_rows = count_rows(builder, files["train"])
    if classes is not None:
        rows, num_rows = _rows_of_classes(rows, check_class_names(classes, feature.names)), None
        splits = {split: select_classes(data, classes) for split, data in splits.items()}
    return rows, datasets.DatasetDict(splits), num_rows


def count_rows(builder: datasets.DatasetBuilder, files: Sequence[str]) -> int | None:
    """Number of rows of the training split, if it can be told without reading them."""
    known = (builder.info.splits or {}).get("train")
    if known is not None and known.num_examples:
        return known.num_examples
    if builder.name == "parquet" and all(map(os.path.isfile, files)):
        return sum(pyarrow.parquet.read_metadata(file).num_rows for file in files)
    return None


def _rows_of_classes(rows: datasets.IterableDataset, names: list[str]) -> datasets.IterableDataset:
    known = rows.features["label"].names
    number_of = {known.index(name): number for number, name in enumerate(names)}
    features = datasets.Features(rows.features | {"label": datasets.ClassLabel(names=names)})
    rows = rows.filter(number_of.__contains__, input_columns="label")
    return rows.map(lambda label: {"label": number_of[label]}, input_columns="label", features=features)


__all__ = ["StreamedLocalizationDataset", "StreamedRow", "count_rows", "load_streaming_dataset"]
