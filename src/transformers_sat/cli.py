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
"""The `transformers-sat` command. Nothing here loads PyTorch before a command runs."""

import sys

import typer
from huggingface_hub.errors import StrictDataclassError

from .commands.calibrate import Calibrate
from .commands.convert import convert
from .commands.demo import demo
from .commands.evaluate import Evaluate
from .commands.evaluate_maps import evaluate_maps
from .commands.export import export
from .commands.options import ListCommand
from .commands.predict import predict
from .commands.prepare import Prepare
from .commands.serve import Serve
from .escaping import on_console
from .launched import end_launched_process


app = typer.Typer(
    help="Weakly supervised object localization with SAT (Spatial-Aware Token).",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(rich_help_panel="Use a model")(predict)
app.command(rich_help_panel="Use a model")(demo)
app.command("serve", rich_help_panel="Use a model")(Serve)
app.command("evaluate", cls=ListCommand, rich_help_panel="Measure")(Evaluate)
app.command(rich_help_panel="Measure")(evaluate_maps)
app.command("calibrate", cls=ListCommand, rich_help_panel="Measure")(Calibrate)
app.command("prepare", rich_help_panel="Make and convert")(Prepare)
app.add_typer(convert, rich_help_panel="Make and convert")
app.command(cls=ListCommand, rich_help_panel="Make and convert")(export)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0, 1 for what went wrong, 2 for words that are no command line."""
    try:
        app(arguments, prog_name="transformers-sat")
    except SystemExit as finished:
        return finished.code
    except (ValueError, OSError, RuntimeError, ImportError, StrictDataclassError) as error:
        print(f"transformers-sat: {on_console(str(error))}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    # where launchers start it
    exit_status = main() or 0
    end_launched_process(exit_status)
    sys.exit(exit_status)


__all__ = ["app", "main"]
