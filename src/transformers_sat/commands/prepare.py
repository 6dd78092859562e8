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
"""`transformers-sat prepare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..extras import require


UPLOAD = "Upload"
PROBLEMS = "Problems"
STAMPS = "Stamps"
STAMP_SETTINGS = ("variant", "cluttered_fraction", "num_train", "num_validation", "num_test", "seed")


@dataclass
class Prepare:
    """Make a data set in the schema from its official files."""

    name: Annotated[
        str,
        typer.Argument(
            help="Its form, such as cub, ilsvrc or imagefolder (docs/datasets.md has all).", show_default=False
        ),
    ]
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            help="Folder, .tar, .tar.gz or .zip with the official files; for the stamps Debian packages or their "
            "contents, fetched with apt-get by default.",
            show_default=False,
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Folder to write; an interrupted run goes on where it was.", show_default=False),
    ] = None
    max_shard_size: Annotated[str, typer.Option("--max_shard_size", help="Size of a Parquet file, at most.")] = "500MB"
    num_proc: Annotated[int, typer.Option("--num_proc", help="Number of processes.")] = 1
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Write nothing, report all problems by kind; exit status 1 if there are any.",
            rich_help_panel=PROBLEMS,
        ),
    ] = False
    skip_invalid: Annotated[
        bool,
        typer.Option(
            "--skip_invalid",
            help="Leave out images with a problem, listed in OUTPUT/skipped.jsonl.",
            rich_help_panel=PROBLEMS,
        ),
    ] = False
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            "--push_to_hub",
            metavar="ORG/NAME",
            help="Data set on the Hub to upload the result to.",
            show_default=False,
            rich_help_panel=UPLOAD,
        ),
    ] = None
    private: Annotated[
        bool,
        typer.Option("--private", help="Make it private, if it is not there yet.", rich_help_panel=UPLOAD),
    ] = False
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            help="Access token for the Hub; the stored one by default.",
            show_default=False,
            rich_help_panel=UPLOAD,
        ),
    ] = None
    variant: Annotated[
        Literal["group", "species"] | None,
        typer.Option(
            "--variant",
            help="Twelve groups of things, or kinds of animals (group).",
            show_default=False,
            rich_help_panel=STAMPS,
        ),
    ] = None
    cluttered_fraction: Annotated[
        float | None,
        typer.Option(
            "--cluttered_fraction",
            help="Share of the images with other things in them (0.5).",
            show_default=False,
            rich_help_panel=STAMPS,
        ),
    ] = None
    num_train: Annotated[
        int | None,
        typer.Option("--num_train", help="Images for training (4800).", show_default=False, rich_help_panel=STAMPS),
    ] = None
    num_validation: Annotated[
        int | None,
        typer.Option(
            "--num_validation", help="Images for validation (360).", show_default=False, rich_help_panel=STAMPS
        ),
    ] = None
    num_test: Annotated[
        int | None,
        typer.Option("--num_test", help="Images for testing (720).", show_default=False, rich_help_panel=STAMPS),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Seed of the drawing (0).", show_default=False, rich_help_panel=STAMPS),
    ] = None

    def __post_init__(self):
        require("train", "datasets")
        from ..prepare import make_repository, open_reader, prepare, push_prepared, verify

        # what was not asked for is the drawing's own choice, and nothing to ask of any other form
        settings = {name: value for name in STAMP_SETTINGS if (value := getattr(self, name)) is not None}
        reader = open_reader(self.name, self.source, **settings)
        if self.verify:
            raise typer.Exit(1 if verify(reader, self.num_proc) else 0)
        if self.output is None:
            raise ValueError("`--output` is missing: the folder to write.")
        if self.push_to_hub is not None:
            # before hours of work, not after
            make_repository(self.push_to_hub, self.private, self.token)
        prepare(reader, self.output, self.max_shard_size, self.num_proc, self.skip_invalid)
        if self.push_to_hub is not None:
            print(f"pushed to {push_prepared(self.output, self.push_to_hub, self.private, self.token)}")


__all__ = ["Prepare"]
