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
    card = DatasetCard(f"---\n{_card_data(prepared, reader).to_yaml()}\n---\n\n{_text(prepared, reader, command)}")
    with replacing_file(prepared.output / CARD_FILE, prepared.output / STATE_FOLDER) as unfinished:
        unfinished.write_text(str(card), encoding="utf-8")


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


def _text(prepared: PreparedDataset, reader: Reader, command: str) -> str:
    columns = [f"| `{name}` | {COLUMNS[name]} |" for name in features_of(reader)]
    parts = [
        f"# {reader.title}",
        "Images with their classes, for weakly supervised object localization."
        + (f" The data set's own page: {reader.homepage}" if reader.homepage else ""),
        "```python\n"
        "from datasets import load_dataset\n\n"
        f'dataset = load_dataset("...", split={next(iter(prepared.splits))!r})\n'
        "```",
        "## Columns",
        "| column | |\n| --- | --- |\n" + "\n".join(columns),
        f"{len(reader.class_names)} classes.",
        "## Splits",
        "| split | images | classes | images of a class | with boxes | boxes | with masks | files |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(_split_line(name, split) for name, split in prepared.splits.items()),
    ]
    if past_edge := sum(split.num_past_edge for split in prepared.splits.values()):
        parts.append(
            f"{past_edge} of the official boxes reach more than a pixel past the edge; they are kept as they are."
        )
    if prepared.skipped or prepared.remarks:
        parts += ["## Left out", *_left_out(prepared)]
    parts += [
        "## How it was made",
        code_block(command, "bash"),
        f"With `transformers-sat` {__version__}, from",
        "\n".join(_describe_source(reader.source, prepared.output / STATE_FOLDER / "source.json")),
        "## Licence",
        reader.license_text,
    ]
    if reader.citation:
        parts += ["## Citation", f"```bibtex\n{reader.citation.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _split_line(name: str, split: SplitSummary) -> str:
    counts = split.class_counts.values()
    spread = f"{min(counts)} to {max(counts)}" if counts else "0"
    return (
        f"| {in_markdown(name)} | {split.num_examples} | {len(counts)} | {spread} | {split.num_boxed} | {split.num_boxes} | "
        f"{split.num_masked} | {split.num_shards} |"
    )


def _left_out(prepared: PreparedDataset) -> list[str]:
    kinds = [problem.kind for problem in prepared.skipped]
    lines = [f"- {kinds.count(kind)}: {meaning} (`{kind}`)" for kind, meaning in KINDS.items() if kind in kinds]
    parts = []
    if lines:
        parts += [f"{len(kinds)} images, listed in `{SKIPPED_FILE}`:", "\n".join(lines)]
    if prepared.remarks:
        parts.append(f"Without images: {len(prepared.remarks)} classes.")
    return parts


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
