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
"""Checkpoints of others: what loads into what, tensor by tensor, and what is refused."""

import io
import pickle
import re
import zipfile
from collections import OrderedDict

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from sat_testing import FIXTURES, TINY, tiny_batch, tiny_model
from transformers import (
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    DeiTModel,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor, SATModel
from transformers_sat.cli import main
from transformers_sat.convert import (
    convert_original_state_dict,
    load_backbone,
    load_original_checkpoint,
)


ORIGINAL = FIXTURES / "sat_micro_pth_tar.pth.tar"
NEW = {"vit.embeddings.spatial_token", "vit.embeddings.spatial_position_embedding"}
CLASSIFIER = {"classifier.convolution.weight", "classifier.convolution.bias"}
BACKBONE = {name: TINY[name] for name in TINY if name not in ("num_spatial_layers", "num_labels")}


def shaken(model):
    """The same model with every weight changed, so that none equals what a fresh model would have."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def assert_same_backbone(sat: SATModel, source: torch.nn.Module):
    """Every weight of a ViT is in the SAT encoder, and the encoder has no more than its spatial token beside."""
    expected = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith("pooler.")}
    state_dict = sat.state_dict()
    assert set(state_dict) - set(expected) == {name.removeprefix("vit.") for name in NEW}
    assert set(expected) <= set(state_dict)
    for name, tensor in expected.items():
        torch.testing.assert_close(state_dict[name], tensor, atol=0, rtol=0, msg=name)


# ViT repositories through `from_pretrained`.


@pytest.mark.parametrize("layout", ["old names", "new names"])
def test_a_vit_classifier_fills_all_but_the_new_parameters(tmp_path, layout):
    torch.manual_seed(0)
    source = shaken(ViTForImageClassification(ViTConfig(**BACKBONE, num_labels=11)))
    source.save_pretrained(tmp_path, save_original_format=layout == "old names")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert any("vit.encoder.layer." in name for name in file.keys()) == (layout == "old names")

    model, info = SATForWeaklySupervisedLocalization.from_pretrained(
        tmp_path, num_labels=7, num_spatial_layers=2, output_loading_info=True
    )
    assert set(info["missing_keys"]) == NEW | CLASSIFIER
    assert set(info["unexpected_keys"]) == {"classifier.weight", "classifier.bias"}
    assert not info["mismatched_keys"]
    assert not info["error_msgs"]
    assert_same_backbone(model.vit, source.vit)
    assert model.config.num_labels == 7
    assert model.classifier.convolution.weight.shape == (7, 32, 3, 3)
    # what is new is initialized, not empty memory
    for name in NEW:
        assert 0.01 < model.get_parameter(name).std() < 0.03


def test_a_vit_with_a_pooler_fills_the_base_model(tmp_path):
    source = shaken(ViTModel(ViTConfig(**BACKBONE), add_pooling_layer=True))
    source.save_pretrained(tmp_path)
    model, info = SATModel.from_pretrained(tmp_path, num_spatial_layers=2, output_loading_info=True)
    assert set(info["missing_keys"]) == {name.removeprefix("vit.") for name in NEW}
    assert not info["unexpected_keys"]
    assert_same_backbone(model, source)

    head, info = SATForWeaklySupervisedLocalization.from_pretrained(
        tmp_path, num_spatial_layers=2, output_loading_info=True
    )
    assert set(info["missing_keys"]) == NEW | CLASSIFIER
    assert not info["unexpected_keys"]
    assert_same_backbone(head.vit, source)


def test_what_a_vit_became_is_saved_and_loaded(tmp_path):
    shaken(ViTForImageClassification(ViTConfig(**BACKBONE, num_labels=11))).save_pretrained(tmp_path / "vit")
    model = SATForWeaklySupervisedLocalization.from_pretrained(
        tmp_path / "vit", num_labels=7, num_spatial_layers=2
    ).eval()
    model.save_pretrained(tmp_path / "sat")
    again, info = SATForWeaklySupervisedLocalization.from_pretrained(tmp_path / "sat", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    pixel_values, _ = tiny_batch()
    torch.testing.assert_close(again(pixel_values).logits, model(pixel_values).logits, atol=1e-6, rtol=0)


# Backbones through `load_backbone`.


@pytest.mark.parametrize("layout", ["old names", "new names"])
def test_load_backbone_vit(tmp_path, layout):
    source = shaken(ViTForImageClassification(ViTConfig(**BACKBONE, num_labels=11, hidden_dropout_prob=0.2)))
    source.save_pretrained(tmp_path, save_original_format=layout == "old names")
    model = load_backbone(tmp_path, num_labels=7, num_spatial_layers=2, area_target=0.4)
    assert_same_backbone(model.vit, source.vit)
    assert (model.config.num_labels, model.config.area_target) == (7, 0.4)
    assert (model.config.hidden_dropout_prob, model.config.layerscale_value) == (0.2, None)


def test_load_backbone_keeps_new_class_names(tmp_path):
    ViTForImageClassification(ViTConfig(**BACKBONE, num_labels=11)).save_pretrained(tmp_path)
    names = {0: "cat", 1: "dog"}
    config = load_backbone(tmp_path, id2label=names, label2id={"cat": 0, "dog": 1}, num_spatial_layers=1).config
    assert config.id2label == names
    assert config.label2id == {"cat": 0, "dog": 1}


@pytest.mark.parametrize("distilled", [True, False])
def test_load_backbone_deit(tmp_path, distilled):
    config = DeiTConfig(**BACKBONE, num_labels=11)
    source = shaken(DeiTForImageClassificationWithTeacher(config).deit if distilled else DeiTModel(config))
    if distilled:
        whole = DeiTForImageClassificationWithTeacher(config)
        whole.deit.load_state_dict(source.state_dict())
        whole.save_pretrained(tmp_path)
        with safe_open(tmp_path / "model.safetensors", "pt") as file:
            assert any(name.startswith("deit.") for name in file.keys())
    else:
        source.save_pretrained(tmp_path)
    model = load_backbone(tmp_path, num_labels=7, num_spatial_layers=2)
    ours, theirs = model.vit.state_dict(), source.state_dict()
    positions = theirs.pop("embeddings.position_embeddings")
    del theirs["embeddings.distillation_token"]
    # cls, distillation, patches
    expected = torch.cat([positions[:, :1], positions[:, 2:]], dim=1)
    torch.testing.assert_close(ours["embeddings.position_embeddings"], expected, atol=0, rtol=0)
    for name, tensor in theirs.items():
        if not name.startswith("pooler."):
            torch.testing.assert_close(ours[name], tensor, atol=0, rtol=0, msg=name)


DINOV2 = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "mlp_ratio": 2,
    "image_size": 70,
    "patch_size": 14,
}


@pytest.fixture
def dinov2(tmp_path):
    """A DINOv2 classifier in a folder, with gains of LayerScale that differ from their initial value."""
    torch.manual_seed(0)
    source = shaken(Dinov2ForImageClassification(Dinov2Config(**DINOV2, num_labels=11, layerscale_value=0.5)))
    source.save_pretrained(tmp_path)
    return tmp_path, source.dinov2.eval()


def test_load_backbone_dinov2(dinov2):
    folder, source = dinov2
    model = load_backbone(folder, num_labels=7, num_spatial_layers=2)
    config = model.config
    assert (config.image_size, config.patch_size, config.intermediate_size) == (70, 14, 64)
    assert config.layerscale_value == 0.5
    expected = source.state_dict()
    translated = {}
    for name, tensor in model.vit.state_dict().items():
        parts = name.split(".")
        if parts[0] == "layers":
            old = {"layernorm_before": "norm1", "layernorm_after": "norm2"}
            name = ".".join([old.get(part, part) for part in parts])
        translated[name] = tensor
    missing = {name.removeprefix("vit.") for name in NEW}
    assert set(translated) - missing == {
        name.removeprefix("encoder.").replace("layer.", "layers.", 1) if name.startswith("encoder.") else name
        for name in expected
        if "mask_token" not in name
    }
    for name, tensor in expected.items():
        if "mask_token" in name:
            continue
        ours = translated[name if name in translated else name.replace("encoder.layer.", "layers.")]
        torch.testing.assert_close(ours, tensor, atol=0, rtol=0, msg=name)


def test_dinov2_blocks_compute_what_dinov2_computes(dinov2):
    """Without spatial token and masks, a block of the SAT encoder is a DINOv2 block: same input, same output."""
    folder, source = dinov2
    model = load_backbone(folder, num_labels=7, num_spatial_layers=2).eval()
    hidden_states = torch.randn(2, 26, 32)
    blocks = source.layers if hasattr(source, "layers") else source.encoder.layer
    for ours, theirs in list(zip(model.vit.layers, blocks))[:2]:
        expected = theirs(hidden_states)
        expected = expected[0] if isinstance(expected, tuple) else expected
        torch.testing.assert_close(ours(hidden_states)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(70, 70), (56, 56), (98, 42), (14, 28)])
def test_dinov2_positions_are_resized_as_dinov2_does(dinov2, size):
    folder, source = dinov2
    model = load_backbone(folder, num_labels=7, num_spatial_layers=2, image_size=size).eval()
    pixel_values, _ = tiny_batch(size=size)
    with torch.no_grad():
        expected = source.embeddings(pixel_values)
        # resized once and for all
        torch.testing.assert_close(model.vit.embeddings(pixel_values)[0], expected, atol=1e-5, rtol=0)
        # resized at each call
        model = load_backbone(folder, num_labels=7, num_spatial_layers=2).eval()
        embeddings = model.vit.embeddings(pixel_values, interpolate_pos_encoding=True)
        torch.testing.assert_close(embeddings[0], expected, atol=1e-5, rtol=0)


def test_dinov2_giant_is_refused(tmp_path):
    Dinov2Model(Dinov2Config(**DINOV2, use_swiglu_ffn=True)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="SwiGLU"):
        load_backbone(tmp_path)


def test_load_backbone_sat_goes_on(tmp_path):
    source = tiny_model(layerscale_value=0.3)
    source.save_pretrained(tmp_path)
    pixel_values, _ = tiny_batch()
    same = load_backbone(tmp_path).eval()
    torch.testing.assert_close(same(pixel_values).logits, source(pixel_values).logits, atol=1e-6, rtol=0)

    model = load_backbone(tmp_path, num_labels=9).eval()
    assert model.classifier.convolution.weight.shape == (9, 32, 3, 3)
    torch.testing.assert_close(
        model(pixel_values).localization_map, source(pixel_values).localization_map, atol=1e-6, rtol=0
    )


def test_load_backbone_sat_at_another_size(tmp_path):
    """Position embeddings are resized, not forgotten."""
    source = tiny_model()
    source.save_pretrained(tmp_path)
    model = load_backbone(tmp_path, image_size=48).eval()
    pixel_values, _ = tiny_batch(size=48)
    expected = source(pixel_values, interpolate_pos_encoding=True)
    torch.testing.assert_close(model(pixel_values).localization_map, expected.localization_map, atol=1e-5, rtol=0)
    torch.testing.assert_close(model(pixel_values).logits, expected.logits, atol=1e-4, rtol=0)


def test_load_backbone_from_a_grid_that_is_not_square(tmp_path):
    source = tiny_model(image_size=(32, 48))
    source.save_pretrained(tmp_path)
    pixel_values, _ = tiny_batch(size=(32, 48))
    same = load_backbone(tmp_path).eval()
    torch.testing.assert_close(
        same(pixel_values).localization_map, source(pixel_values).localization_map, atol=1e-6, rtol=0
    )


def test_load_backbone_refuses_other_models(tmp_path):
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="config.json.*'resnet'.*vit, deit, dinov2"):
        load_backbone(tmp_path)


def test_load_backbone_refuses_weights_that_do_not_fit(tmp_path):
    ViTModel(ViTConfig(**BACKBONE)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="intermediate|size|fit"):
        load_backbone(tmp_path, intermediate_size=64, num_spatial_layers=1)


# The authors' checkpoints.


@pytest.fixture(scope="module")
def original_state_dict():
    return torch.load(ORIGINAL, weights_only=True)["model"]


def saved(tmp_path, content, **kwargs):
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(content, path, **kwargs)
    return path


def test_original_checkpoint():
    model, processor = load_original_checkpoint(ORIGINAL, num_attention_heads=3)
    config = model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (48, 12, 3)
    assert (config.image_size, config.patch_size, config.intermediate_size, config.num_labels) == (224, 16, 192, 7)
    assert (config.num_spatial_layers, config.area_target, config.qkv_bias) == (3, 0.25, True)
    assert not model.training
    # the whole image at the model's size, and the threshold of the file
    assert isinstance(processor, SATImageProcessor)
    assert dict(processor.size) == {"height": 256, "width": 256}
    assert processor.do_center_crop and dict(processor.crop_size) == {"height": 224, "width": 224}
    assert processor.localization_threshold == 0.4


def test_original_weights_land_where_they_belong(original_state_dict):
    model = convert_original_state_dict(original_state_dict, num_attention_heads=3)
    theirs = {name.removeprefix("module."): tensor for name, tensor in original_state_dict.items()}
    layer = model.vit.layers[4]
    query, key, value = theirs["blocks.4.attn.qkv.weight"].split(48)
    for projection, weight in (("q_proj", query), ("k_proj", key), ("v_proj", value)):
        torch.testing.assert_close(getattr(layer.attention, projection).weight.detach(), weight, atol=0, rtol=0)
    torch.testing.assert_close(layer.layernorm_before.weight.detach(), theirs["blocks.4.norm1.weight"])
    torch.testing.assert_close(layer.layernorm_after.bias.detach(), theirs["blocks.4.norm2.bias"])
    # as many numbers as in the file, less the fixed kernel
    assert sum(p.numel() for p in model.parameters()) == sum(t.numel() for t in theirs.values()) - 9


def test_original_state_dict_with_and_without_prefix(original_state_dict):
    assert all(name.startswith("module.") for name in original_state_dict)
    bare = {name.removeprefix("module."): tensor for name, tensor in original_state_dict.items()}
    first, second = (convert_original_state_dict(names, 3).state_dict() for names in (original_state_dict, bare))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize(
    ("extra", "threshold"),
    [({"best_thr": 0}, 0.4), ({"best_thr": 0.0}, 0.4), ({"best_thr": 0.35}, 0.35), ({"best_thr": 1}, 1.0), ({}, 0.4)],
)
def test_threshold_of_the_file(tmp_path, original_state_dict, extra, threshold):
    path = saved(tmp_path, {"model": OrderedDict(original_state_dict), "epoch": 30, **extra})
    processor = load_original_checkpoint(path, num_attention_heads=3)[1]
    assert processor.localization_threshold == threshold
    assert isinstance(processor.localization_threshold, float)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_alone(tmp_path, original_state_dict, zipped):
    path = saved(tmp_path, original_state_dict, _use_new_zipfile_serialization=zipped)
    model, processor = load_original_checkpoint(str(path), num_attention_heads=3)
    assert model.config.num_labels == 7
    assert processor.localization_threshold == SATImageProcessor.localization_threshold


def test_weights_saved_on_a_gpu(tmp_path, original_state_dict):
    """The published files were written on a GPU: their storages say `cuda:0`, and have to load without one."""
    path = saved(tmp_path, {"model": original_state_dict}, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    # the storages' location is a pickled string: X, its length in four bytes, the text; later uses refer to it
    cpu, cuda = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    assert cpu in content
    path.write_bytes(content.replace(cpu, cuda))
    model, _ = load_original_checkpoint(path, num_attention_heads=3)
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    expected = convert_original_state_dict(original_state_dict, 3).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_number_of_heads(original_state_dict):
    """48 channels are less than one head of 64, so one head is the default; 5 heads do not divide 48."""
    assert convert_original_state_dict(original_state_dict).config.num_attention_heads == 1
    with pytest.raises(ValueError, match="num_attention_heads"):
        convert_original_state_dict(original_state_dict, num_attention_heads=5)
    with pytest.raises(ValueError, match="num_attention_heads"):
        convert_original_state_dict(original_state_dict, num_attention_heads=-3)


def test_imagenet_checkpoints_have_the_other_area_target(original_state_dict):
    state_dict = dict(original_state_dict)
    state_dict["module.head.weight"] = torch.zeros(1000, 48, 3, 3)
    state_dict["module.head.bias"] = torch.zeros(1000)
    assert convert_original_state_dict(state_dict, 3).config.area_target == 0.35


def test_a_missing_or_unknown_tensor_is_named(original_state_dict):
    for name in (
        "loc_token",
        "blocks.3.norm2.bias",
        "patch_embed.proj.weight",
        "head.weight",
        "blocks.0.attn.qkv.bias",
    ):
        state_dict = {key: tensor for key, tensor in original_state_dict.items() if key != f"module.{name}"}
        with pytest.raises(ValueError, match="(?i)missing|no tensor"):
            convert_original_state_dict(state_dict, 3)
    for name in ("dist_token", "blocks.0.attn.gate", "blocks.12.norm1.weight"):
        with pytest.raises(ValueError, match=name.split(".")[-1]):
            convert_original_state_dict(original_state_dict | {f"module.{name}": torch.zeros(48)}, 3)


def test_a_tensor_of_another_shape_is_named(original_state_dict):
    with pytest.raises(ValueError, match="o_proj"):
        convert_original_state_dict(original_state_dict | {"module.blocks.2.attn.proj.weight": torch.zeros(48, 47)}, 3)


HOSTILE_TENSORS = {
    "NaN": ("blocks.2.mlp.fc1.weight", lambda tensor: tensor * float("nan"), "not finite.*layers.2.mlp.fc1.weight"),
    "infinite": ("loc_token", lambda tensor: tensor + float("inf"), "not finite.*spatial_token"),
    "whole numbers": ("norm.bias", lambda tensor: tensor.int(), "floating-point.*norm.bias"),
    "no dimensions": (
        "blocks.0.mlp.fc1.weight",
        lambda tensor: torch.tensor(1.0),
        "blocks.0.mlp.fc1.weight` must have 2",
    ),
    "one dimension less": ("pos_embed", lambda tensor: tensor[0], "`pos_embed` must have 3 dimensions"),
    "no rows": ("blocks.1.attn.qkv.weight", lambda tensor: tensor[:0], "blocks.1.attn.qkv.weight"),
    # a few bytes that say that they are a billion classes
    "repeated": ("head.weight", lambda tensor: tensor[:1].expand(10**9, -1, -1, -1), "head.weight.*its numbers"),
}


@pytest.mark.parametrize("case", HOSTILE_TENSORS)
def test_checkpoints_of_the_authors_with_wrong_tensors(case, original_state_dict, tmp_path, capsys):
    name, change, expected = HOSTILE_TENSORS[case]
    state_dict = original_state_dict | {f"module.{name}": change(original_state_dict[f"module.{name}"])}
    path = saved(tmp_path, {"model": state_dict})
    assert main(["convert", "original", str(path), str(tmp_path / "out"), "--num_attention_heads", "3"]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and str(path) in message
    assert re.search(expected, message), message
    assert not (tmp_path / "out").exists()


class Malicious:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, original_state_dict, zipped):
    witness = tmp_path / "witness"
    path = saved(
        tmp_path, {"model": original_state_dict, "args": Malicious(witness)}, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(ValueError, match="safely"):
        load_original_checkpoint(path)
    assert not witness.exists()
    # the same file does run code when it is unpickled the usual way
    torch.load(path, weights_only=False)
    assert witness.exists()


def zip_without_tensors() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("readme.txt", "nothing to see")
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"This is a text file.\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
        b"\x89PNG\r\n\x1a\n",
        zip_without_tensors(),
        pickle.dumps({"model": [1, 2, 3]}),
        pickle.dumps("text"),
    ],
    ids=["empty", "text", "lfs pointer", "png", "zip", "pickle", "pickled text"],
)
def test_files_that_are_no_checkpoint(tmp_path, content):
    path = tmp_path / "checkpoint.pth.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError):
        load_original_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        {"model": 3},
        {"model": None},
        {"model": {"patch_embed.proj.weight": 3}},
        {"model": {1: torch.zeros(3)}},
        {"epoch": 30},
        {1: torch.zeros(3)},
        {"state_dict": {"fc.weight": torch.zeros(3, 3)}},
        [torch.zeros(3)],
        torch.zeros(3),
        {},
        {"patch_embed.proj.weight": torch.zeros(3)},
        {"patch_embed.proj.weight": torch.zeros(48, 3, 16, 16), "head.weight": torch.zeros(7)},
    ],
    ids=str,
)
def test_torch_files_of_other_content(tmp_path, content):
    with pytest.raises(ValueError):
        load_original_checkpoint(saved(tmp_path, content))


@pytest.mark.parametrize("threshold", [None, "high", [0.4], -0.2, 1.5, float("nan")])
def test_thresholds_that_are_none(tmp_path, original_state_dict, threshold):
    """A threshold that is no number between 0 and 1 is not taken over in silence."""
    path = saved(tmp_path, {"model": original_state_dict, "best_thr": threshold})
    with pytest.raises(ValueError, match="best_thr"):
        load_original_checkpoint(path, num_attention_heads=3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.0, 0.999))
def test_truncated_files(tmp_path, share):
    content = ORIGINAL.read_bytes()
    path = tmp_path / "checkpoint.pth.tar"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError):
        load_original_checkpoint(path, num_attention_heads=3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=64))
def test_files_of_random_bytes(tmp_path, content):
    path = tmp_path / "checkpoint.pth.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError):
        load_original_checkpoint(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_original_checkpoint(tmp_path / "nowhere.pth.tar")


def test_a_converted_checkpoint_is_saved_and_loaded(tmp_path):
    model, processor = load_original_checkpoint(ORIGINAL, num_attention_heads=3)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, info = SATForWeaklySupervisedLocalization.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    pixel_values = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        first, second = model(pixel_values), again(pixel_values)
    # equal weights, but not always equal memory alignment, on which the last bit depends
    torch.testing.assert_close(first.logits, second.logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(first.localization_map, second.localization_map, atol=1e-6, rtol=0)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.get_parameter(name).detach(), tensor, atol=0, rtol=0, msg=name)
    assert SATImageProcessor.from_pretrained(tmp_path).to_dict() == processor.to_dict()
