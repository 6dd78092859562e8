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
"""Every command line of README and docs is one: commands, scripts, options, targets, extras and files exist."""

import argparse
import configparser
import importlib.util
import re
import sys

import pytest
import typer
from pages import ROOT, CommandLine, command_lines

from transformers_sat.cli import app


LINES = command_lines()

# Programs of others; what they are told of this project is looked at here.
OTHERS = {"curl", "hf", "npm", "docker", "git", "apt-get", "twine", "ruff"}


class Parsed(Exception):
    """Raised in place of what would run after parsing."""


def launched(words: tuple[str, ...]) -> tuple[str, ...] | None:
    """From the script or module on, of words that begin with `python`, `torchrun` or `accelerate launch`."""
    if words[0] not in ("python", "torchrun", "accelerate"):
        return None
    for index, word in enumerate(words):
        if word.endswith(".py") or word == "-m":
            return words[index:]
    return None


def lines_of(predicate) -> list[CommandLine]:
    return [line for line in LINES if predicate(line.words)]


@pytest.fixture
def leaf_commands(monkeypatch):
    """The parsed command does nothing."""

    def parsed(**options):
        raise Parsed

    group = typer.main.get_command(app)
    waiting = [group]
    while waiting:
        command = waiting.pop()
        if hasattr(command, "commands"):
            waiting += command.commands.values()
        elif command.callback is not None:
            monkeypatch.setattr(command, "callback", parsed)
    return group


@pytest.mark.parametrize("line", lines_of(lambda words: words[0] == "transformers-sat"), ids=str)
def test_commands(line, leaf_commands):
    words = list(line.words[1:])
    named = leaf_commands
    while words and words[0] in getattr(named, "commands", {}):
        named = named.commands[words.pop(0)]
    if words in ([], ["--help"]):
        # a command's name in the text
        assert named is not leaf_commands or line.words in (("transformers-sat",), ("transformers-sat", "--help"))
        return
    words = list(line.words[1:])
    with pytest.raises(Parsed):
        leaf_commands.main(words, standalone_mode=False)


def parse_script(script: str, arguments: tuple[str, ...], monkeypatch):
    """Runs a script of `examples` or `benchmarks` until its options are parsed."""
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    monkeypatch.chdir(ROOT)
    # benchmarks import one another
    monkeypatch.syspath_prepend(str((ROOT / script).parent))

    def stop(parse):
        def parse_and_stop(self, *args, **kwargs):
            parse(self, *args, **kwargs)
            raise Parsed

        return parse_and_stop

    import transformers

    for owner, name in (
        (transformers.HfArgumentParser, "parse_args_into_dataclasses"),
        (argparse.ArgumentParser, "parse_args"),
    ):
        monkeypatch.setattr(owner, name, stop(getattr(owner, name)))
    specification = importlib.util.spec_from_file_location("__main__", ROOT / script)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)


@pytest.mark.parametrize("line", lines_of(lambda words: launched(words) is not None), ids=str)
def test_scripts(line, monkeypatch):
    script, *arguments = launched(line.words)
    if script == "-m":
        assert importlib.util.find_spec(arguments[0]) is not None
        return
    assert (ROOT / script).is_file()
    if not arguments and "ArgumentParser(" not in (ROOT / script).read_text(encoding="utf-8"):
        # a script without options would run
        return
    if arguments == ["--help"]:
        with pytest.raises(SystemExit, match="^0$"):
            parse_script(script, tuple(arguments), monkeypatch)
        return
    with pytest.raises(Parsed):
        parse_script(script, tuple(arguments), monkeypatch)


@pytest.mark.parametrize("line", lines_of(lambda words: words[0] == "make"), ids=str)
def test_targets(line):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    for word in line.words[1:]:
        name, is_variable, _ = word.partition("=")
        assert re.search(rf"^{name} \?=", makefile, re.MULTILINE) if is_variable else word in targets, word


@pytest.mark.parametrize("line", lines_of(lambda words: "pip" in words[:3] and "install" in words), ids=str)
def test_extras(line):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    for extras in re.findall(r"\[([\w,]+)\]", " ".join(line.words)):
        assert set(extras.split(",")) <= set(setup["options.extras_require"])


def test_nothing_is_left_out():
    """A command line is looked at by one of the tests above, or is a program of others."""
    looked_at = {"transformers-sat", "make", "python", "torchrun", "accelerate", "pip", *OTHERS}
    assert {str(line) for line in LINES if line.words[0] not in looked_at} == set()
    assert len(LINES) > 50
