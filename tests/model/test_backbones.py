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
"""Starting from a ViT, DeiT or DINOv2: all of its weights arrive, at the size of images that it is used with."""

import json
import logging

import pytest
import torch
from sat_testing import FIXTURES, TINY, tiny_batch, tiny_config, tiny_model
from transformers import (
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)

from transformers_sat import SATConfig, SATForWeaklySupervisedLocalization, SATModel
from transformers_sat.cli import main
from transformers_sat.convert import load_backbone, load_original_checkpoint
from transformers_sat.safe_loading import load_localizer, load_model


BACKBONE = {name: TINY[name] for name in TINY if name not in ("num_spatial_layers", "num_labels")}
DINOV2 = {name: BACKBONE[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
DINOV2 |= {"mlp_ratio": 2, "patch_size": 14}
NEW = {"classifier.convolution.weight", "classifier.convolution.bias"}
NEW |= {"vit.embeddings.spatial_token", "vit.embeddings.spatial_position_embedding"}


def save_backbone(kind: str, folder, **fields):
    torch.manual_seed(0)
    model = {
        "vit": lambda: ViTForImageClassification(ViTConfig(**(BACKBONE | {"num_labels": 11} | fields))),
        "deit": lambda: DeiTForImageClassificationWithTeacher(DeiTConfig(**(BACKBONE | {"num_labels": 11} | fields))),
        "dinov2": lambda: Dinov2ForImageClassification(
            Dinov2Config(**(DINOV2 | {"image_size": 70, "num_labels": 11, "layerscale_value": 0.5} | fields))
        ),
    }[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model.base_model


@pytest.mark.parametrize("kind", ["vit", "deit", "dinov2"])
def test_from_backbone_has_all_of_the_backbone(kind, tmp_path):
    source = save_backbone(kind, tmp_path)
    model = SATForWeaklySupervisedLocalization.from_backbone(
        tmp_path, num_labels=7, num_spatial_layers=2, area_target=0.4
    )
    assert (model.config.num_labels, model.config.num_spatial_layers, model.config.area_target) == (7, 2, 0.4)
    values = {round(tensor.double().sum().item(), 6) for tensor in source.state_dict().values()}
    for name, tensor in model.state_dict().items():
        # the distillation token has a position, which is left out with it
        if name not in NEW and not (kind == "deit" and name.endswith("position_embeddings")):
            assert round(tensor.double().sum().item(), 6) in values, name
    expected = load_backbone(tmp_path, num_labels=7, num_spatial_layers=2).state_dict()
    for name in expected.keys() - NEW:
        torch.testing.assert_close(model.state_dict()[name], expected[name], atol=0, rtol=0)
    side = model.config.image_size
    pixel_values, labels = tiny_batch(size=side)
    model(pixel_values, labels=labels).loss.backward()
    assert model.vit.embeddings.spatial_token.grad.abs().max() > 0


@pytest.mark.parametrize("kind", ["deit", "dinov2"])
@pytest.mark.parametrize("model_class", [SATModel, SATForWeaklySupervisedLocalization])
def test_from_pretrained_refuses_what_it_would_fill_in_part(kind, model_class, tmp_path):
    save_backbone(kind, tmp_path)
    with pytest.raises(ValueError, match=f"'{kind}'.*from_backbone"):
        model_class.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"{kind}.*from_backbone"):
        model_class.from_pretrained(tmp_path, config=tiny_config())
    if kind == "dinov2":
        # a DeiT's configuration has SAT's fields, one by one; this one has not
        with pytest.raises(ValueError, match="from_backbone"):
            SATConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("fields", [{"image_size": 48}, {"num_hidden_layers": 5}])
def test_from_pretrained_refuses_a_vit_that_does_not_fill_the_encoder(fields, tmp_path):
    save_backbone("vit", tmp_path)
    with pytest.raises(ValueError, match="from_backbone"):
        SATForWeaklySupervisedLocalization.from_pretrained(tmp_path, **fields)


def test_from_pretrained_still_takes_an_incomplete_sat_model(tmp_path):
    """As Transformers does, with a report; the commands refuse it."""
    model = tiny_model()
    weights = model.state_dict()
    del weights["vit.layernorm.weight"]
    model.save_pretrained(tmp_path, state_dict=weights)
    _, report = SATForWeaklySupervisedLocalization.from_pretrained(tmp_path, output_loading_info=True)
    assert set(report["missing_keys"]) == {"vit.layernorm.weight"}


def test_from_backbone_refuses_others(tmp_path):
    tiny_model().save_pretrained(tmp_path / "sat")
    with pytest.raises(ValueError, match="'sat'.*from_pretrained"):
        SATForWeaklySupervisedLocalization.from_backbone(tmp_path / "sat")
    with pytest.raises(OSError):
        SATForWeaklySupervisedLocalization.from_backbone(tmp_path / "nothing")
    vit = ViTModel(ViTConfig(**BACKBONE))
    weights = vit.state_dict()
    del weights["layernorm.weight"]
    vit.save_pretrained(tmp_path / "part", state_dict=weights)
    with pytest.raises(ValueError, match="missing, such as layernorm.weight"):
        SATForWeaklySupervisedLocalization.from_backbone(tmp_path / "part", num_spatial_layers=2)


@pytest.mark.parametrize(
    ("settings", "image_size"),
    [
        (None, 224),
        ({"size": 140}, 140),
        ({"size": {"height": 140, "width": 140}}, 140),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 154, "width": 154}}, 154),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 154}, 154),
        ({"size": {"shortest_edge": 140}}, 140),
        # whole patches
        ({"size": 150}, 140),
        ({"size": {"height": 140, "width": 70}}, (140, 70)),
        ({"size": "large"}, 224),
    ],
)
def test_the_size_of_a_new_run(settings, image_size, tmp_path, caplog):
    """DINOv2's positions are for 518 px, at which nobody trains unasked."""
    Dinov2Model(Dinov2Config(**(DINOV2 | {"hidden_size": 4, "num_hidden_layers": 1}), image_size=518)).save_pretrained(
        tmp_path
    )
    if settings is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    for start in (load_backbone, SATForWeaklySupervisedLocalization.from_backbone):
        caplog.clear()
        model = start(tmp_path, num_spatial_layers=1)
        assert model.config.image_size == image_size
        height, width = image_size if isinstance(image_size, tuple) else (image_size, image_size)
        assert f"images of {height} x {width} px" in caplog.text
        assert start(tmp_path, num_spatial_layers=1, image_size=28).config.image_size == 28


def test_a_small_backbone_keeps_its_size(tmp_path, caplog):
    save_backbone("vit", tmp_path)
    with caplog.at_level(logging.INFO):
        model = SATForWeaklySupervisedLocalization.from_backbone(tmp_path, num_spatial_layers=2)
    assert model.config.image_size == BACKBONE["image_size"]
    assert "images of 32 x 32 px" in caplog.text


def test_the_command_takes_images_that_are_not_square(tmp_path, capsys):
    save_backbone("vit", tmp_path / "vit", image_size=(32, 48))
    ViTImageProcessor(image_mean=[0.5] * 3, image_std=[0.25] * 3, size={"height": 32, "width": 48}).save_pretrained(
        tmp_path / "vit"
    )
    words = ["convert", "backbone", str(tmp_path / "vit"), str(tmp_path / "sat"), "--num_spatial_layers", "2"]
    assert main(words) == 0
    assert "32 x 48 px" in capsys.readouterr().out
    _, processor = load_model(tmp_path / "sat")
    assert processor.model_input_size() == (32, 48)
    # what the backbone is used to
    assert (list(processor.image_mean), list(processor.image_std)) == ([0.5] * 3, [0.25] * 3)
    assert load_localizer(tmp_path / "sat", device="cpu") is not None


ORIGINAL = FIXTURES / "sat_micro_pth_tar.pth.tar"


def test_converting_says_the_heads_and_names_the_classes(tmp_path, capsys):
    num_labels = load_original_checkpoint(ORIGINAL)[0].config.num_labels
    names = [f"bird {number}" for number in range(num_labels)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8-sig")
    assert main(["convert", "original", str(ORIGINAL), str(tmp_path / "a"), "--num_attention_heads", "3"]) == 0
    assert "3 attention heads," in capsys.readouterr().out
    for given in ([str(tmp_path / "names.txt")], names):
        assert main(["convert", "original", str(ORIGINAL), str(tmp_path / "b"), "--class_names", *given]) == 0
        # 48 channels are less than one head of 64
        assert "1 attention heads (hidden size / 64; the file does not tell)" in capsys.readouterr().out
        config = SATConfig.from_pretrained(tmp_path / "b")
        assert config.id2label == dict(enumerate(names))
        assert config.label2id == {name: number for number, name in enumerate(names)}


@pytest.mark.parametrize(("names", "message"), [(["a", "b"], "got 2"), (None, "more than once")])
def test_class_names_that_do_not_fit(names, message, tmp_path, capsys):
    num_labels = load_original_checkpoint(ORIGINAL)[0].config.num_labels
    names = ["a"] * num_labels if names is None else names
    assert main(["convert", "original", str(ORIGINAL), str(tmp_path / "a"), "--class_names", *names]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"num_labells": 7}, "`num_labells`.*what can be set is.*num_labels"),
        ({"dtype": torch.bfloat16}, "`dtype` can be set in no"),
        ({"num_labels": 5, "id2label": {0: "a", 1: "b"}}, "`num_labels` is 5, and `id2label` names 2"),
    ],
)
def test_from_backbone_refuses_what_it_would_pass_over(overrides, message, tmp_path):
    save_backbone("vit", tmp_path)
    with pytest.raises(ValueError, match=message):
        SATForWeaklySupervisedLocalization.from_backbone(tmp_path, num_spatial_layers=2, **overrides)


def test_from_backbone_with_the_numbers_of_classes(tmp_path):
    save_backbone("vit", tmp_path)
    labels = {"robin": 0, "wren": 1, "owl": 2}
    model = SATForWeaklySupervisedLocalization.from_backbone(tmp_path, num_spatial_layers=2, label2id=labels)
    assert model.config.id2label == {0: "robin", 1: "wren", 2: "owl"}


def test_a_folder_without_a_model_is_called_that(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "model.bin").write_text("x")
    for name, expected in {
        "empty": "empty has no config.json: it is no folder of a model.",
        "adapter": "It is an adapter: merge it into its model",
        "model.bin": "model.bin is a file; give the folder that holds the model.",
    }.items():
        assert main(["convert", "backbone", str(tmp_path / name), str(tmp_path / "out")]) == 1
        assert expected in capsys.readouterr().err
