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
"""Loading of others' models: safetensors only, and none of their code."""

import functools
import pickle

import pytest
import torch
from sat_testing import tiny_model
from square_images import save_tiny_vit

from transformers_sat import SATImageProcessor
from transformers_sat.cli import main
from transformers_sat.convert import load_backbone, load_original_checkpoint
from transformers_sat.hub.publishing import save_with_remote_code
from transformers_sat.safe_loading import load_localizer


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def pickle_the_weights(folder, name="pytorch_model.bin"):
    """The weights as a pickle that runs code."""
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps({"weight": Bomb(folder / "exploded")}))
    return folder


@pytest.fixture
def sat_folder(tmp_path):
    folder = tmp_path / "sat"
    tiny_model().save_pretrained(folder)
    SATImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture
def vit_folder(tmp_path):
    return save_tiny_vit(tmp_path / "vit")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_pickled_weights_are_refused(sat_folder, vit_folder, name):
    load_small_backbone = functools.partial(load_backbone, num_spatial_layers=1)
    cases = [
        (load_localizer, sat_folder),
        (load_small_backbone, sat_folder),
        (load_small_backbone, vit_folder),
    ]
    for load, folder in cases:
        assert load(folder) is not None
    for folder in (sat_folder, vit_folder):
        pickle_the_weights(folder, name)
    for load, folder in cases:
        with pytest.raises(ValueError, match=f"{name}.*only safetensors.*save_pretrained"):
            load(folder)
        assert not (folder / "exploded").exists()


def test_a_pickle_beside_safetensors_is_not_read(sat_folder):
    (sat_folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Bomb(sat_folder / "exploded")}))
    load_localizer(sat_folder)
    assert not (sat_folder / "exploded").exists()


def test_commands_refuse_pickled_weights(sat_folder, vit_folder, tmp_path, capsys):
    pickle_the_weights(sat_folder)
    pickle_the_weights(vit_folder)
    for arguments in (
        ["predict", str(sat_folder), "image.png"],
        ["serve", str(sat_folder)],
        ["evaluate", str(sat_folder), "emblems"],
        ["export", str(sat_folder), str(tmp_path / "out")],
        ["convert", "backbone", str(vit_folder), str(tmp_path / "out"), "--num_spatial_layers", "1"],
    ):
        assert main(arguments) == 1
        assert "only safetensors are loaded" in capsys.readouterr().err
    assert not list(tmp_path.glob("*/exploded"))
    assert not (tmp_path / "out").exists()


def test_checkpoints_of_the_authors_run_no_code(tmp_path):
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"model": Bomb(tmp_path / "exploded")}, path)
    with pytest.raises(ValueError, match="cannot be read safely|can be read safely"):
        load_original_checkpoint(path)
    assert not (tmp_path / "exploded").exists()


def test_no_weights_at_all(sat_folder):
    (sat_folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        load_localizer(sat_folder)


def test_another_kind_of_model(vit_folder):
    with pytest.raises(ValueError, match="`vit` model and has no localization map"):
        load_localizer(vit_folder)


def test_code_of_a_repository_is_not_run(tmp_path):
    """A published repository loads with the installed classes, whatever its own say."""
    folder = tmp_path / "published"
    save_with_remote_code(tiny_model(), SATImageProcessor(size={"height": 32, "width": 32}), folder)
    for file in folder.glob("*.py"):
        file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise RuntimeError\n", encoding="utf-8")
    localizer = load_localizer(folder)
    assert type(localizer).__module__ == "transformers_sat.model.pipeline_sat"
    assert type(localizer.model).__module__ == "transformers_sat.model.modeling_sat"
    assert not (tmp_path / "ran").exists()
