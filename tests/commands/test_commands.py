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
"""The `transformers-sat` command as a whole: its words, its help, how it starts and what its options are called."""

import configparser
import importlib
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from transformers_sat.cli import main
from transformers_sat.evaluation import evaluate as evaluation


ROOT = Path(__file__).parents[2]
COMMANDS = [
    "predict",
    "demo",
    "serve",
    "evaluate",
    "evaluate-maps",
    "calibrate",
    "prepare",
    "export",
    "convert",
    "convert original",
    "convert backbone",
]
# The help of a command measured at 0.8 CPU-seconds; 5.4 with PyTorch and Transformers.
MAX_HELP_S = 3


def run_fresh(code: str, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, *(["-c", code] if code else []), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("arguments", [[], ["predict"], ["convert"], ["convert", "original"], ["paint"]])
def test_usage(arguments, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "Usage: transformers-sat" in captured.err and captured.out == ""


@pytest.mark.parametrize(
    "command, option, value",
    [
        ("serve model", "--port", "99999"),
        ("serve model", "--port", "-1"),
        ("demo model", "--port", "65536"),
        ("evaluate model data", "--batch_size", "0"),
        ("calibrate model data", "--batch_size", "0"),
        ("calibrate model data", "--num_workers", "-1"),
    ],
)
def test_numbers_out_of_their_range(command, option, value, capsys):
    """Before anything is loaded."""
    assert main([*command.split(), option, value]) == 2
    assert f"Invalid value for '{option}'" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: transformers-sat {command} " in text
    # as they were always spelled, and no `--no_...` beside a switch
    options = re.findall(r"--[\w-]+", text)
    assert options and not [option for option in options if "-" in option[2:] or option.startswith("--no")]


def test_help_names_the_commands(capsys):
    assert main(["--help"]) == 0
    assert {command.split()[0] for command in COMMANDS} <= set(capsys.readouterr().out.split())


def test_help_loads_no_pytorch():
    code = f"""
import sys
from transformers_sat_command import main
for command in {["", *COMMANDS]!r}:
    assert main([*command.split(), "--help"]) == 0
    # an error in the words needs it as little
    assert main([*command.split(), "--no_such_option"]) == 2
loaded = [name for name in ("torch", "transformers", "datasets", "numpy") if name in sys.modules]
assert not loaded, loaded
"""
    finished = run_fresh(code)
    assert finished.returncode == 0, finished.stderr


def test_help_comes_at_once():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = run_fresh("import sys; from transformers_sat_command import main; sys.exit(main(['--help']))")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert finished.returncode == 0
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < MAX_HELP_S


def test_the_command_is_installed_under_its_name():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    scripts = dict(line.split(" = ") for line in setup["options.entry_points"]["console_scripts"].strip().splitlines())
    module, function = scripts["transformers-sat"].split(":")
    # in a process of its own: the package is another one where this module is loaded first
    code = f"import {module}, transformers_sat.cli as commands; assert {module}.{function} is commands.main"
    assert run_fresh(code).returncode == 0
    assert module in setup["options"]["py_modules"].split()
    assert importlib.util.find_spec(module) is not None


def test_what_the_installed_command_loads_is_the_whole_package():
    """The package's names and the Auto classes are there in the command's process too."""
    code = """
import transformers_sat_command, sys
import transformers_sat
assert "torch" not in sys.modules
assert set(transformers_sat.__all__) <= set(dir(transformers_sat))
for name in transformers_sat.__all__:
    assert getattr(transformers_sat, name).__name__ == name
try:
    transformers_sat.SATTokenizer
except AttributeError as error:
    assert "SATTokenizer" in str(error)
else:
    raise AssertionError
"""
    finished = run_fresh(code)
    assert finished.returncode == 0, finished.stderr


def test_starts_as_a_module():
    """What `torchrun -m` and `accelerate launch -m` do."""
    finished = run_fresh("", "-m", "transformers_sat.cli", "convert", "backbone", "no-such/model", __file__)
    assert finished.returncode == 1
    assert finished.stderr == f"transformers-sat: {__file__} is a file; give a folder to write.\n"


@pytest.fixture
def evaluated(monkeypatch):
    """What the evaluation is asked for, in its place."""
    asked = []
    monkeypatch.setattr(evaluation, "evaluate_model", asked.append)
    return asked


@pytest.mark.parametrize(
    "words, value",
    [
        (["--localization_threshold", "oracle"], "oracle"),
        (["--localization_threshold", "0.4"], 0.4),
        (["--threshold", "0.4"], 0.4),
        ([], None),
    ],
)
def test_evaluate_takes_words_and_numbers(evaluated, words, value):
    assert main(["evaluate", "model", "data", *words]) == 0
    assert evaluated[0].localization_threshold == value
    assert evaluated[0].localization_thresholds is None


@pytest.mark.parametrize(
    "words",
    [
        ["model", "data", "--localization_thresholds", "0.3", "0.5", "--batch_size", "4"],
        ["--localization_thresholds", "0.3", "0.5", "--batch_size", "4", "model", "data"],
        ["model", "--localization_thresholds", "0.3", "--batch_size", "4", "data", "--localization_thresholds", "0.5"],
    ],
)
def test_lists_take_their_values_in_one_go(evaluated, words):
    assert main(["evaluate", *words]) == 0
    assert (evaluated[0].model, evaluated[0].dataset, evaluated[0].batch_size) == ("model", "data", 4)
    assert evaluated[0].localization_thresholds == [0.3, 0.5]


def test_a_list_needs_a_value(evaluated, capsys):
    assert main(["evaluate", "model", "data", "--localization_thresholds", "--ten_crop"]) == 2
    assert main(["evaluate", "model", "data", "--localization_thresholds"]) == 2
    assert capsys.readouterr().err.count("localization_thresholds") >= 2
    assert evaluated == []
