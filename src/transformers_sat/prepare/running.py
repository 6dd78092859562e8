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
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import HfApi

from ..escaping import on_console
from .archives import Source, open_source
from .card import CARD_FILE, write_card
from .engine import DEFAULT_SHARD_SIZE, SKIPPED_FILE, STATE_FOLDER, is_complete, prepare_dataset, verify_dataset
from .readers.stamps import DrawnSource, StampSettings, StampsReader
from .records import Reader


def prepare(
    name: str,
    source: str | Path | None = None,
    output: str | Path | None = None,
    push_to_hub: str | None = None,
    private: bool = False,
    token: str | None = None,
    num_proc: int = 1,
    verify: bool = False,
    skip_invalid: bool = False,
    max_shard_size: str = DEFAULT_SHARD_SIZE,
    **stamp_settings,
) -> int:
    """
    Prepares a data set, or only looks for what is wrong with it, and prints what was done.

    Args:
        name (`str`): form of the data set, one of `READERS`.
        source (`str` or `Path`, *optional*):
            Folder or archive with the official files. The stamps are fetched when it is not given.
        output (`str` or `Path`, *optional*): folder to write; needed unless `verify`.
        push_to_hub (`str`, *optional*): repository to upload to, such as `org/name`.
        private (`bool`, *optional*, defaults to `False`): whether the repository is private, if it is made.
        token (`str`, *optional*): access token for the Hub; the stored one by default.
        num_proc (`int`, *optional*, defaults to 1): number of processes.
        verify (`bool`, *optional*, defaults to `False`): whether to look only.
        skip_invalid (`bool`, *optional*, defaults to `False`): whether to leave out images with a problem.
        max_shard_size (`str`, *optional*, defaults to `"500MB"`): size of a file, at most.
        stamp_settings: for the stamps, fields of [`StampSettings`].

    Returns:
        `int`: 1 if `verify` found a problem, 0 otherwise.

    Raises:
        `ValueError`: see [`prepare_dataset`]; also if the name is unknown.
    """
    reader_class = find_reader(name)
    settings = check_source(name, source, stamp_settings)
    if verify:
        return _verify(reader_class(open_for(source, settings)), num_proc)
    if output is None:
        raise ValueError("`--output` is missing: the folder to write.")
    if push_to_hub is not None:
        # before hours of work, not after
        make_repository(push_to_hub, private, token)
    reader = reader_class(open_for(source, settings))
    prepared = prepare_dataset(reader, output, max_shard_size, num_proc, skip_invalid)
    write_card(prepared, reader, _command(reader, prepared.output, max_shard_size, skip_invalid, settings))
    for split, summary in prepared.splits.items():
        print(
            f"{on_console(split)}: {summary.num_examples} images in {summary.num_shards} files, {summary.num_boxes} boxes"
        )
    if prepared.skipped:
        print(on_console(f"left out: {len(prepared.skipped)} images, see {prepared.output / SKIPPED_FILE}"))
    for remark in prepared.remarks:
        print(on_console(str(remark)))
    print(on_console(f"wrote {prepared.output}"))
    if push_to_hub is not None:
        print(f"pushed to {push_prepared(prepared.output, push_to_hub, private, token)}")
    return 0


def check_source(name: str, source: str | Path | None, stamp_settings: dict) -> StampSettings | None:
    """What is drawn, for the stamps; everything else has official files and no settings."""
    if name == StampsReader.name:
        return StampSettings(**stamp_settings)
    if stamp_settings:
        given = ", ".join(f"`--{option}`" for option in stamp_settings)
        raise ValueError(f"Only the stamps have {given}; {name} is prepared as it is.")
    if source is None:
        raise ValueError(f"`--source` is missing: the folder or archive with the official files of {name}.")
    return None


def open_for(source: str | Path | None, settings: StampSettings | None) -> Source | DrawnSource:
    return open_source(source) if settings is None else DrawnSource(source, settings)


def find_reader(name: str) -> type[Reader]:
    """The reader of a form of data set."""
    from .readers import READERS

    if name not in READERS:
        raise ValueError(f"There is no form {name!r}; there are {', '.join(READERS)}.")
    return READERS[name]


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


def _verify(reader: Reader, num_proc: int) -> int:
    report, num_images, num_past_edge = verify_dataset(reader, num_proc)
    if report:
        print(on_console(str(report)))
    if num_past_edge:
        print(f"{num_past_edge} official boxes reach more than a pixel past the edge; they are kept as they are.")
    print(f"{num_images} images, {len(report)} problems")
    return 1 if report else 0


def _command(
    reader: Reader, output: Path, max_shard_size: str, skip_invalid: bool, settings: StampSettings | None
) -> str:
    """The command line as others can use it: without this machine's folders and what does not change the result."""
    words = ["transformers-sat", "prepare", reader.name]
    if settings is None:
        words += ["--source", reader.source.path.resolve().name]
    else:
        words += [word for option, value in asdict(settings).items() for word in (f"--{option}", str(value))]
    words += ["--output", output.resolve().name]
    if max_shard_size != DEFAULT_SHARD_SIZE:
        words += ["--max_shard_size", str(max_shard_size)]
    return shlex.join(words + ["--skip_invalid"] * skip_invalid)


__all__ = ["find_reader", "make_repository", "prepare", "push_prepared"]
