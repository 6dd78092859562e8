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
"""The benchmarks' files: each row says where it is from, and what is there stays until it is asked for again."""

import datetime
import importlib
import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest


BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
# Those with a file of figures.
SCRIPTS = sorted(path.stem for path in (BENCHMARKS / "results").glob("*.json"))


@pytest.fixture
def records(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("records")


def run(monkeypatch, script: str, *options):
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, options)])
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    try:
        runpy.run_path(str(BENCHMARKS / f"{script}.py"), run_name="__main__")
    except SystemExit as ended:
        assert not ended.code


@pytest.mark.parametrize("script", SCRIPTS)
def test_figures_that_are_there_stay(script, tmp_path, monkeypatch, capsys):
    """Said for each row or for the file, and nothing is measured or written."""
    path = Path(shutil.copy(BENCHMARKS / "results" / f"{script}.json", tmp_path))
    before = path.read_bytes(), path.stat().st_mtime_ns
    run(monkeypatch, script, "--output", path)
    printed = capsys.readouterr().out
    assert "there already" in printed or "figures of an older form" in printed
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_every_file_has_its_script():
    assert SCRIPTS and all((BENCHMARKS / f"{script}.py").is_file() for script in SCRIPTS)


def test_rows_are_written_with_where_they_are_from(tmp_path, monkeypatch, capsys):
    """The first run measures, the second says so and changes nothing, the third measures anew."""
    path = tmp_path / "metrics_speed.json"
    options = ("--num_images", 2, "--num_literal_images", 1, "--rounds", 1, "--output", path)
    run(monkeypatch, "metrics_speed", *options)
    first = json.loads(path.read_text(encoding="utf-8"))["results"]
    for row in first.values():
        measured = row["measured"]
        assert datetime.date.fromisoformat(measured["date"]) <= datetime.date.today() + datetime.timedelta(days=1)
        assert "cores" in measured["machine"] and {"python", "torch", "numpy"} <= set(measured["versions"])
        assert measured["rounds"] == 1
    capsys.readouterr()
    run(monkeypatch, "metrics_speed", *options)
    printed = capsys.readouterr().out
    assert printed.count("there already, measured on ") == len(first) == 4
    assert json.loads(path.read_text(encoding="utf-8"))["results"] == first
    old = path.read_text(encoding="utf-8").replace(first["sat, 4 thresholds"]["measured"]["date"], "2020-01-01")
    path.write_text(old, encoding="utf-8")
    run(monkeypatch, "metrics_speed", *options, "--again")
    assert "2020-01-01" not in path.read_text(encoding="utf-8")


def test_old_rows_stay_beside_new_ones(records, tmp_path, capsys):
    """What was said of all of them stays as long as one of them does not say it itself."""
    path = tmp_path / "speed.json"
    old = {"machine": "an old one", "results": {"a": {"pictures": 1}, "b": {"pictures": 2}}, "state": 3}
    path.write_text(json.dumps(old), encoding="utf-8")
    record = records.open_results(path, again=False)
    assert records.to_measure(["a", "c"], record["results"], again=False) == ["c"]
    assert "a: there already, of an older form, without a date" in capsys.readouterr().out
    new = {"images": 5, "measured": records.measured(["numpy"], "one used", rounds=3)}
    record["results"]["c"] = new
    records.write(path, record, record["results"].values())
    assert json.loads(path.read_text(encoding="utf-8")) == old | {"results": {**old["results"], "c": new}}
    record["results"] = dict.fromkeys("abc", new)
    records.write(path, record, record["results"].values())
    assert json.loads(path.read_text(encoding="utf-8")) == {"results": dict.fromkeys("abc", new), "state": 3}


def test_a_file_without_rows(records, tmp_path, capsys):
    path = tmp_path / "speed.json"
    path.write_text('{"runs": [{"pictures": 1}]}', encoding="utf-8")
    with pytest.raises(SystemExit):
        records.open_results(path, again=False)
    assert "older form" in capsys.readouterr().out
    assert records.open_results(path, again=True) == {"results": {}}
    assert records.open_results(tmp_path / "none.json", again=False) == {"results": {}}
