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

import json
from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest
from prepare_fixtures import contents, image_bytes, write_files

from transformers_sat.cli import main
from transformers_sat.prepare import push_prepared, running


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path):
    names = [f"{split}/{label}/{number}.jpg" for split in ("train", "test") for label in "ab" for number in range(5)]
    return write_files(tmp_path / "my images", {name: image_bytes(number) for number, name in enumerate(names)})


def run(folder, output, *options: str) -> int:
    return main(["prepare", "imagefolder", "--source", str(folder), "--output", str(output), *options])


def test_prepare(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "out", "--max_shard_size", "10KB", "--num_proc", "2") == 0
    printed = capsys.readouterr().out
    assert "train: 10 images in 2 files, 0 boxes\ntest: 10 images in 2 files, 0 boxes\n" in printed
    splits = datasets.load_dataset(str(tmp_path / "out"))
    assert {name: len(split) for name, split in splits.items()} == {"train": 10, "test": 10}
    card = (tmp_path / "out" / "README.md").read_text()
    command_line = "transformers-sat prepare imagefolder --source 'my images' --output out --max_shard_size 10KB"
    assert f"\n{command_line}\n" in card


def test_again_is_the_same(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "out") == 0
    before = contents(tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "data").iterdir()}
    assert run(folder, tmp_path / "out", "--num_proc", "2") == 0
    assert contents(tmp_path / "out") == before
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "data").iterdir()} == times


def test_verify(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "out", "--verify") == 0
    assert capsys.readouterr().out == "20 images, 0 problems\n"
    write_files(folder, {"train/a/bad.jpg": b"no image", "test/b/worse.jpg": image_bytes(0)[:-200]})
    assert main(["prepare", "imagefolder", "--source", str(folder), "--verify"]) == 1
    printed = capsys.readouterr().out
    assert "undecodable: 2 (an image or mask that cannot be decoded)" in printed
    assert "train/a/bad.jpg" in printed and "test/b/worse.jpg" in printed
    assert printed.endswith("22 images, 2 problems\n")
    assert not (tmp_path / "out").exists()


def test_a_problem_is_an_error_by_default(folder, tmp_path, capsys):
    write_files(folder, {"train/a/bad.jpg": b"no image"})
    assert run(folder, tmp_path / "out") == 1
    assert "transformers-sat: train/a/bad.jpg: The image train/a/bad.jpg cannot be decoded" in capsys.readouterr().err
    assert not (tmp_path / "out" / "README.md").exists()
    assert run(folder, tmp_path / "out", "--skip_invalid") == 0
    assert "left out: 1 images, see" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "skipped.jsonl").read_text())["image"] == "train/a/bad.jpg"


def test_wrong_arguments(folder, tmp_path, capsys):
    assert main(["prepare", "birds", "--source", str(folder), "--output", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "There is no form 'birds'; there are cub, ilsvrc" in error and "imagefolder" in error
    assert main(["prepare", "imagefolder", "--source", str(folder)]) == 1
    assert "`--output` is missing" in capsys.readouterr().err
    assert run(tmp_path / "nowhere", tmp_path / "out") == 1
    assert "nowhere does not exist" in capsys.readouterr().err
    assert run(folder, tmp_path / "out", "--max_shard_size", "large") == 1
    assert "`max_shard_size` must be a size such as 500MB, got 'large'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    # the second time it would be a part of the source
    assert run(folder, folder / "out") == 1
    assert "lies in the source" in capsys.readouterr().err and not (folder / "out").exists()


def test_what_was_begun_before(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "out") == 0
    image = next(path for path in sorted(folder.rglob("*")) if path.is_file())
    image.with_name("again" + image.suffix).write_bytes(image.read_bytes())
    assert run(folder, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.count(f"imagefolder from {folder}") == 1 and "as it was before it was changed" in error
    for content in (b"{", b"[]", b'{"fingerprint": 1}'):
        (tmp_path / "out/.prepare/plan.json").write_bytes(content)
        assert run(folder, tmp_path / "out") == 1
        assert "plan.json is damaged" in capsys.readouterr().err


class FakeHub:
    """Notes what is asked of it. The real client's requests are tested against a server in tests/hub."""

    def __init__(self):
        self.calls = []

    def __call__(self, token=None):
        self.token = token
        return self

    def create_repo(self, repo_id, **options):
        self.calls.append(("create_repo", repo_id, options))

    def upload_folder(self, **options):
        self.calls.append(("upload_folder", options["repo_id"], options))
        return SimpleNamespace(commit_url="https://hub.example/commit/1")


def test_push(folder, tmp_path, monkeypatch, capsys):
    hub = FakeHub()
    monkeypatch.setattr(running, "HfApi", hub)
    assert run(folder, tmp_path / "out", "--push_to_hub", "org/name", "--private", "--token", "secret") == 0
    assert "pushed to https://hub.example/commit/1" in capsys.readouterr().out
    # the repository is there before the work, so that a wrong token is found before it
    assert [call[0] for call in hub.calls] == ["create_repo", "create_repo", "upload_folder"]
    assert hub.token == "secret"
    options = hub.calls[0][2]
    assert options == {"repo_type": "dataset", "private": True, "exist_ok": True}
    upload = hub.calls[-1][2]
    assert upload["folder_path"] == tmp_path / "out"
    paths = [str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()]
    uploaded = set(huggingface_hub.utils.filter_repo_objects(paths, ignore_patterns=upload["ignore_patterns"]))
    assert uploaded == {"README.md", *(path for path in paths if path.startswith("data/"))}


def test_a_repository_that_cannot_be_made_stops_before_the_work(folder, tmp_path, monkeypatch, capsys):
    def refuse(self, repo_id, **options):
        raise OSError("401: wrong token")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    assert run(folder, tmp_path / "out", "--push_to_hub", "org/name") == 1
    assert "401: wrong token" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_only_complete_data_sets_are_pushed(folder, tmp_path):
    run(folder, tmp_path / "out")
    next((tmp_path / "out" / "data").iterdir()).unlink()
    for path in (tmp_path / "out", tmp_path / "nowhere", folder):
        with pytest.raises(ValueError, match="is not a complete prepared data set"):
            push_prepared(path, "org/name")
