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
"""The card of a prepared data set: what it is, what is in it, whose it is and how it was made."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import datasets
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

from .. import __version__
from ..escaping import code_block, code_in_markdown, in_markdown
from ..writing import replacing_file, write_json
from .archives import Source
from .engine import DATA_FOLDER, SKIPPED_FILE, STATE_FOLDER, PreparedDataset, SplitSummary
from .examples import features_of
from .records import Reader
from .validation import KINDS


CARD_FILE = "README.md"
TEMPLATE = Path(__file__).parent / "templates" / "dataset_card.md"

# The Hub's names for sizes: the first number that is larger than the count.
SIZE_CATEGORIES = {
    1_000: "n<1K",
    10_000: "1K<n<10K",
    100_000: "10K<n<100K",
    1_000_000: "100K<n<1M",
    10_000_000: "1M<n<10M",
    100_000_000: "10M<n<100M",
    1_000_000_000: "100M<n<1B",
}

COLUMNS = {
    "image": "the image: the bytes of the owner's file",
    "image_id": "its id, unique in the data set",
    "label": "its class",
    "objects": "`bbox`: boxes `[x, y, width, height]` in pixels of the upright image; `category`: their classes; or null",
    "mask": "PNG, 255 where the object is, or null",
    "ignore_mask": "PNG, 255 where nothing is measured, or null",
}


def write_card(prepared: PreparedDataset, reader: Reader, command: str):
    """
    Writes `README.md`, with the features and splits that `datasets` reads.

    Args:
        prepared ([`PreparedDataset`]): what was written.
        reader ([`Reader`]): the data set.
        command (`str`): how it was made.
    """
    kinds = Counter(problem.kind for problem in prepared.skipped)
    card = DatasetCard.from_template(
        _card_data(prepared, reader),
        template_path=TEMPLATE,
        title=reader.title,
        homepage=reader.homepage,
        first_split=repr(next(iter(prepared.splits))),
        columns={name: COLUMNS[name] for name in features_of(reader)},
        num_classes=len(reader.class_names),
        splits=[_split_row(name, split) for name, split in prepared.splits.items()],
        num_past_edge=sum(split.num_past_edge for split in prepared.splits.values()),
        left_out=[(kinds[kind], meaning, kind) for kind, meaning in KINDS.items() if kind in kinds],
        num_left_out=kinds.total(),
        list_of_left_out=SKIPPED_FILE,
        num_empty_classes=len(prepared.remarks),
        command=code_block(command, "bash"),
        version=__version__,
        origin=_describe_source(reader.source, prepared.output / STATE_FOLDER / "source.json"),
        license_text=reader.license_text,
        citation=reader.citation.strip(),
    )
    with replacing_file(prepared.output / CARD_FILE, prepared.output / STATE_FOLDER) as unfinished:
        unfinished.write_text(f"{card}\n", encoding="utf-8")


def _card_data(prepared: PreparedDataset, reader: Reader) -> DatasetCardData:
    num_examples = sum(split.num_examples for split in prepared.splits.values())
    fields = {"license": reader.license}
    if reader.license == "other":
        fields |= {"license_name": f"{reader.name}-terms", "license_link": reader.homepage}
    has_masks = any(split.num_masked for split in prepared.splits.values())
    tasks = ["image-classification"] + ["object-detection"] * reader.has_boxes + ["image-segmentation"] * has_masks
    data = DatasetCardData(
        **fields,
        pretty_name=reader.title,
        task_categories=tasks,
        size_categories=[next(name for limit, name in SIZE_CATEGORIES.items() if num_examples < limit)],
        tags=["weakly-supervised-object-localization", "transformers-sat"],
    )
    splits = datasets.SplitDict()
    for name, split in prepared.splits.items():
        splits.add(datasets.SplitInfo(name, num_bytes=split.num_bytes, num_examples=split.num_examples))
    info = datasets.DatasetInfo(
        features=features_of(reader),
        splits=splits,
        download_size=sum(split.file_bytes for split in prepared.splits.values()),
        dataset_size=sum(split.num_bytes for split in prepared.splits.values()),
    )
    DatasetInfosDict({"default": info}).to_dataset_card_data(data)
    files = [{"split": name, "path": f"{DATA_FOLDER}/{name}-*"} for name in prepared.splits]
    MetadataConfigs({"default": {"data_files": files}}).to_dataset_card_data(data)
    return data


def _split_row(name: str, split: SplitSummary) -> list:
    counts = split.class_counts.values()
    spread = f"{min(counts)} to {max(counts)}" if counts else "0"
    boxes = (split.num_boxed, split.num_boxes)
    return [in_markdown(name), split.num_examples, len(counts), spread, *boxes, split.num_masked, split.num_shards]


def _describe_source(source: Source, file: Path) -> list[str]:
    """Names, sizes and checksums, kept in a file: reading large archives once more takes long."""
    known = json.loads(file.read_bytes()) if file.is_file() else {}
    if known.get("fingerprint") != source.fingerprint:
        lines = [
            f"- {code_in_markdown(_relative(path, source))}, {path.stat().st_size} bytes, SHA-256 `{_sha256(path)}`"
            for path in source.archives
        ]
        if source.num_plain_files:
            lines.append(f"- {source.num_plain_files} files in folders")
        known = {"fingerprint": source.fingerprint, "lines": lines}
        write_json(file, known)
    return known["lines"]


def _relative(path: Path, source: Source) -> str:
    return path.name if path == source.path else path.relative_to(source.path).as_posix()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


__all__ = ["CARD_FILE", "write_card"]
