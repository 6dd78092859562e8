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
"""A model that PEFT wraps: its own learning rate for what is new, its files and its card."""

import copy
import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from sat_testing import tiny_model
from small_training import small_trainer

from transformers_sat.training import LocalizationTrainer
from transformers_sat.training.trainer import is_new_parameter


# PEFT asks for it by its old name.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    pytest.mark.filterwarnings("ignore:Could not find a config file"),
]

SPATIAL = ("spatial_token", "spatial_position_embedding")


def adapted(*saved: str) -> PeftModel:
    model = tiny_model(gain=3.0, num_labels=3, drop_path_rate=0.0)
    return get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=list(saved) or None))


def test_what_is_new_has_its_own_learning_rate(tmp_path):
    model = adapted("vit.embeddings", "classifier")
    trainer = small_trainer(tmp_path, model=model)
    trainer.new_parameters_learning_rate = 0.5
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    fast, slow = set(), set()
    for group in trainer.create_optimizer().param_groups:
        (fast if group["lr"] == 0.5 else slow).update(names[id(parameter)] for parameter in group["params"])
    assert {name.split(".")[-1] for name in fast} == {*SPATIAL, "weight", "bias"}
    assert {name.split(".")[2] for name in fast if not name.endswith(SPATIAL)} == {"classifier"}
    assert len(fast) == 4 and fast | slow == {name for name, each in model.named_parameters() if each.requires_grad}
    assert any("lora_A" in name for name in slow) and any("cls_token" in name for name in slow)


def test_new_parameters_that_are_not_trained(tmp_path):
    trainer = small_trainer(tmp_path, model=adapted())
    trainer.new_parameters_learning_rate = 0.5
    with pytest.raises(ValueError, match="`new_parameters_learning_rate` has nothing to act on"):
        trainer.train()
    assert trainer.state.global_step == 0


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "base_model.model."])
def test_names_in_wrappers(prefix):
    model = tiny_model()
    new = {name for name, _ in model.named_parameters() if is_new_parameter(prefix + name)}
    assert new == {
        *(f"vit.embeddings.{name}" for name in SPATIAL),
        "classifier.convolution.weight",
        "classifier.convolution.bias",
    }


def test_what_is_saved_and_its_card(tmp_path):
    """The adapter alone, which makes of the model that it was trained on what the training made."""
    torch.manual_seed(0)
    model = adapted("vit.embeddings", "classifier")
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "machine" / "start")
    before = copy.deepcopy(model).unload()
    trainer = small_trainer(tmp_path / "out", model=model, save_strategy="no")
    trainer.train()
    trainer.save_model()
    trainer.create_model_card()
    output = tmp_path / "out"
    assert not (output / "config.json").exists() and not (output / "model.safetensors").exists()
    card = (output / "README.md").read_text(encoding="utf-8")
    assert "library_name: peft" in card and "PeftModel.from_pretrained(model, " in card and "classes | 3 |" in card
    published = card + (output / "adapter_config.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in published
    assert json.loads((output / "adapter_config.json").read_text())["base_model_name_or_path"] == "start"
    loaded = PeftModel.from_pretrained(before, output).merge_and_unload().eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(pixels).logits, trainer.model.eval()(pixels).logits, atol=1e-5, rtol=0)


def test_pushed_checkpoints_do_not_tell_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(LocalizationTrainer, "init_hf_repo", lambda self, token=None: None)
    monkeypatch.setattr(LocalizationTrainer, "_push_from_checkpoint", lambda self, folder: None)
    monkeypatch.setattr(LocalizationTrainer, "push_in_progress", None, raising=False)
    model = adapted("classifier")
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "machine" / "start")
    small_trainer(tmp_path / "out", model=model, push_to_hub=True, max_steps=3).train()
    noted = json.loads((tmp_path / "out" / "checkpoint-3" / "adapter_config.json").read_text(encoding="utf-8"))
    assert noted["base_model_name_or_path"] == "start"
