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
"""Files are replaced whole or not at all."""

import json

import pytest

from transformers_sat.writing import replacing_file, replacing_files, write_json, write_text


def test_a_file_is_written_with_its_folder(tmp_path):
    write_json(tmp_path / "new" / "results.json", {"gt_known_loc": 98.7})

    assert json.loads((tmp_path / "new" / "results.json").read_text(encoding="utf-8")) == {"gt_known_loc": 98.7}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["results.json"]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "results.json"
    write_text(path, "old")

    with pytest.raises(OSError, match="No space left"), replacing_file(path) as unfinished:
        unfinished.write_text("ne", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
        raise OSError(28, "No space left on device")

    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_as_json_changes_nothing(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, [1])

    with pytest.raises(TypeError):
        write_json(path, [object()])

    assert path.read_text(encoding="utf-8") == "[\n  1\n]\n"


def test_several_files_take_their_places_together(tmp_path):
    write_text(tmp_path / "config.json", "old")
    write_text(tmp_path / "other.txt", "stays")

    with replacing_files(tmp_path) as unfinished:
        write_text(unfinished / "config.json", "new")
        write_text(unfinished / "onnx" / "model.onnx", "weights")
        assert (tmp_path / "config.json").read_text(encoding="utf-8") == "old"

    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"config.json": "new", "other.txt": "stays", "onnx/model.onnx": "weights"}


def test_an_error_among_several_files_changes_nothing(tmp_path):
    write_text(tmp_path / "config.json", "old")

    with pytest.raises(KeyError), replacing_files(tmp_path) as unfinished:
        write_text(unfinished / "config.json", "new")
        raise KeyError("model")

    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("config.json", "old")]


def test_files_have_the_mode_of_others(tmp_path):
    """Safetensors writes files that their owner alone can read."""
    (tmp_path / "other").write_text("x")
    usual = (tmp_path / "other").stat().st_mode
    with replacing_files(tmp_path / "folder") as unfinished:
        (unfinished / "a.safetensors").write_bytes(b"x")
        (unfinished / "a.safetensors").chmod(0o600)
    with replacing_file(tmp_path / "b.safetensors") as unfinished:
        unfinished.write_bytes(b"x")
        unfinished.chmod(0o600)
    assert (tmp_path / "folder" / "a.safetensors").stat().st_mode == usual
    assert (tmp_path / "b.safetensors").stat().st_mode == usual
