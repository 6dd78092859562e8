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
"""What `transformers-sat prepare` does."""

import shlex
from pathlib import Path

from huggingface_hub import HfApi

from ..escaping import on_console
from .card import CARD_FILE, write_card
from .engine import DEFAULT_SHARD_SIZE, SKIPPED_FILE, STATE_FOLDER, is_complete, prepare_dataset, verify_dataset
from .readers import READERS
from .records import Reader
from .validation import InvalidImage


def open_reader(name: str, source: str | Path | None = None, **settings) -> Reader:
    """
    Opens a data set by the name of its form.

    Args:
        name (`str`): form of the data set, one of `READERS`.
        source (`str` or `Path`, *optional*):
            Folder or archive with the official files. The stamps are fetched when it is not given.
        settings: for the stamps, fields of [`StampSettings`].

    Returns:
        [`Reader`]

    Raises:
        `ValueError`: if the name is unknown, or as [`Reader.open`] and the reader itself.
    """
    if name not in READERS:
        raise ValueError(
            f"There is no form {name!r}; there are {', '.join(READERS)}. Files of annotation programs: XML beside images is "
            "`voc`, text files are `yolo`, and the rest is called after its form."
        )
    return READERS[name].open(source, **settings)


def prepare(
    reader: Reader,
    output: str | Path,
    max_shard_size: str = DEFAULT_SHARD_SIZE,
    num_proc: int = 1,
    skip_invalid: bool = False,
):
    """
    Prepares a data set with its card, and prints what was done.

    Args:
        reader ([`Reader`]): the data set, see [`open_reader`].
        output (`str` or `Path`): folder to write.
        max_shard_size (`str`, *optional*, defaults to `"500MB"`): size of a file, at most.
        num_proc (`int`, *optional*, defaults to 1): number of processes.
        skip_invalid (`bool`, *optional*, defaults to `False`): whether to leave out images with a problem.

    Raises:
        `ValueError`: see [`prepare_dataset`].
    """
    try:
        prepared = prepare_dataset(reader, output, max_shard_size, num_proc, skip_invalid)
    except InvalidImage as problem:
        raise ValueError(
            f"{problem} `--verify` lists all problems, `--skip_invalid` leaves such images out."
        ) from problem
    write_card(prepared, reader, _command(reader, prepared.output, max_shard_size, skip_invalid))
    for split, summary in prepared.splits.items():
        counts = f"{summary.num_examples} images in {summary.num_shards} files, {summary.num_boxes} boxes"
        print(f"{on_console(split)}: {counts}")
    if prepared.skipped:
        print(on_console(f"left out: {len(prepared.skipped)} images, see {prepared.output / SKIPPED_FILE}"))
    for remark in prepared.remarks:
        print(on_console(str(remark)))
    print(on_console(f"wrote {prepared.output}"))


def verify(reader: Reader, num_proc: int = 1) -> int:
    """Prints what is wrong with a data set, by kind; returns the number of problems. Nothing is written."""
    report, num_images, num_past_edge = verify_dataset(reader, num_proc)
    if report:
        print(on_console(str(report)))
    if num_past_edge:
        print(f"{num_past_edge} official boxes reach more than a pixel past the edge; they are kept as they are.")
    print(f"{num_images} images, {len(report)} problems")
    return len(report)


def push_prepared(folder: str | Path, repo_id: str, private: bool = False, token: str | None = None) -> str:
    """
    Uploads a prepared data set, with its card.

    Args:
        folder (`str` or `Path`): what [`prepare`] wrote.
        repo_id (`str`): repository, such as `org/name`; made if there is none.
        private (`bool`, *optional*, defaults to `False`): whether it is private, if it is made.
        token (`str`, *optional*): access token; the stored one by default.

    Returns:
        `str`: URL of the commit.

    Raises:
        `ValueError`: if the folder is not a complete prepared data set.
    """
    if not is_complete(folder) or not (Path(folder) / CARD_FILE).is_file():
        raise ValueError(
            f"{folder} is not a complete prepared data set; run `transformers-sat prepare` to its end first."
        )
    make_repository(repo_id, private, token)
    commit = HfApi(token=token).upload_folder(
        repo_id=repo_id,
        repo_type="dataset",
        folder_path=folder,
        commit_message="Upload data set",
        ignore_patterns=[f"{STATE_FOLDER}/*"],
        # files of an earlier upload that are not part of this one
        delete_patterns=["data/*.parquet", SKIPPED_FILE],
    )
    return str(commit.commit_url)


def make_repository(repo_id: str, private: bool = False, token: str | None = None):
    """Makes the repository of a data set, if there is none; an error now saves one at the end."""
    HfApi(token=token).create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)


def _command(reader: Reader, output: Path, max_shard_size: str, skip_invalid: bool) -> str:
    """The command line as others can use it: without this machine's folders and what does not change the result."""
    options = reader.origin | {"output": output.resolve().name}
    if max_shard_size != DEFAULT_SHARD_SIZE:
        options["max_shard_size"] = max_shard_size
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    return shlex.join(["transformers-sat", "prepare", reader.name, *words] + ["--skip_invalid"] * skip_invalid)


__all__ = ["make_repository", "open_reader", "prepare", "push_prepared", "verify"]
