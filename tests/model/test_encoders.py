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
"""Encoders to start from: the hidden states are the original module's, and all that a SAT model does works with each."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sat_testing import tiny_batch, tiny_config, tiny_model
from timm.models.vision_transformer import VisionTransformer
from transformers import (
    CLIPImageProcessor,
    CLIPProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
)

from transformers_sat import SATConfig, SATForWeaklySupervisedLocalization, SATImageProcessor, SATImageProcessorPil
from transformers_sat.cli import main
from transformers_sat.convert import load_backbone
from transformers_sat.export import export_onnx
from transformers_sat.hub import save_with_remote_code
from transformers_sat.model.backbones_sat import backbone_config, read_backbone
from transformers_sat.model.timm_sat import TimmConfig, timm_processor_settings
from transformers_sat.safe_loading import load_localizer, load_model
from transformers_sat.training.setting_up import start_model


sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from encoders import ORIGINALS, differences, save_original, save_timm_model  # noqa: E402


# One of each family, and what the model of it is.
FAMILIES = {
    "DINOv2 with registers": {"num_prefix_tokens": 5},
    "timm DeiT-III": {"num_prefix_tokens": 1},
    "CLIP": {"num_prefix_tokens": 1, "has_embedding_norm": True, "hidden_act": "quick_gelu"},
    "SigLIP": {"num_prefix_tokens": 0, "use_class_token": False, "hidden_act": "gelu_pytorch_tanh"},
    "DINOv3, gated": {"num_prefix_tokens": 5, "rope_theta": 100.0, "use_gated_mlp": True},
}
MEAN, STD = [0.5, 0.4, 0.3], [0.25, 0.26, 0.27]
SQUARE = {"height": 32, "width": 32}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each family, by its name."""
    found = {name: tmp_path_factory.mktemp("original") for name in FAMILIES}
    for name, folder in found.items():
        save_original(ORIGINALS[name], folder)
    return found


@pytest.mark.parametrize("name", ORIGINALS)
def test_hidden_states_are_the_originals(name, tmp_path):
    found = differences(ORIGINALS[name], tmp_path)
    # the native size and one that is not square among them
    assert {"32x32, loaded", "32x32, resized", "24x40, loaded"} <= found.keys()
    assert found == {size: pytest.approx(0, abs=1e-5) for size in found}


@pytest.mark.parametrize("name", FAMILIES)
def test_both_ways_to_start_give_the_same(name, folders):
    first = load_backbone(folders[name], num_labels=3, num_spatial_layers=2)
    second = SATForWeaklySupervisedLocalization.from_backbone(folders[name], num_labels=3, num_spatial_layers=2)
    new = {"vit.embeddings.spatial_token", "vit.embeddings.spatial_position_embedding"}
    new |= {name for name in first.state_dict() if name.startswith("classifier.")}
    for weight, tensor in second.state_dict().items():
        if weight not in new:
            torch.testing.assert_close(tensor, first.state_dict()[weight], atol=0, rtol=0, msg=weight)
    assert first.config.to_diff_dict() == second.config.to_diff_dict()
    for field, value in FAMILIES[name].items():
        assert getattr(first.config, field) == value
    pixel_values, labels = tiny_batch(num_labels=3)
    outputs = second(pixel_values, labels=labels, output_spatial_maps=True)
    assert outputs.localization_map.shape == (3, 4, 4)
    outputs.loss.backward()
    assert second.vit.embeddings.spatial_token.grad.abs().max() > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"num_register_tokens": 3},
        {"use_class_token": False},
        {"use_class_token": False, "num_register_tokens": 2, "has_embedding_norm": True, "use_gated_mlp": True},
    ],
)
def test_maps_are_of_the_patches_alone(fields):
    """Without positions, patches that change places take their values of the map along, whatever tokens stand before."""
    model = tiny_model(**fields)
    with torch.no_grad():
        num_patches = 16
        model.vit.embeddings.position_embeddings[:, -num_patches:] = 0
    pixel_values, _ = tiny_batch()
    rolled = pixel_values.roll((8, 16), dims=(2, 3))
    # a kernel that sees the border would not move along
    with torch.no_grad():
        found = model(pixel_values, output_spatial_maps=True)
        moved = model(rolled, output_spatial_maps=True)
    for ours, theirs in zip(moved.spatial_maps, found.spatial_maps, strict=True):
        assert theirs.std() > 1e-3
        torch.testing.assert_close(ours, theirs.roll((1, 2), dims=(1, 2)), atol=1e-5, rtol=0)


def test_rotary_positions_follow_the_patches():
    """The angles are those of the patches' centres: another grid has others, and rows are not columns."""
    model = tiny_model(rope_theta=100.0, num_register_tokens=2)
    cosines, _ = model.vit.rotary_positions((2, 3), torch.device("cpu"))
    # 8 channels a head: two frequencies, 1 and 1/10, of each coordinate
    rows, columns = np.array([-0.5, 0.5]), np.array([-2 / 3, 0, 2 / 3])
    expected = [[row, row / 10, column, column / 10] for row in rows for column in columns]
    np.testing.assert_allclose(cosines.numpy(), np.tile(np.cos(2 * np.pi * np.array(expected)), 2), atol=1e-6)
    pixel_values, _ = tiny_batch()
    with torch.no_grad():
        first, second = model(pixel_values), model(pixel_values.transpose(2, 3))
    assert (first.localization_map - second.localization_map.transpose(1, 2)).abs().max() > 1e-3


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masked_tokens_and_half_precision(attention):
    model = tiny_model(rope_theta=100.0, num_register_tokens=2, use_class_token=False, has_embedding_norm=True)
    model.set_attn_implementation(attention)
    pixel_values, _ = tiny_batch()
    with torch.no_grad():
        expected = model(pixel_values)
        masked = model(pixel_values, attention_mask=torch.ones(3, 2 + 16 + 1))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(pixel_values)
    torch.testing.assert_close(masked.localization_map, expected.localization_map, atol=1e-6, rtol=0)
    assert half.localization_map.dtype == torch.float32


@pytest.mark.parametrize("name", FAMILIES)
def test_from_pretrained_refuses_what_it_would_not_fill(name, folders):
    for refused in (SATForWeaklySupervisedLocalization, SATConfig):
        with pytest.raises(ValueError, match="from_backbone"):
            refused.from_pretrained(folders[name])
    with pytest.raises(ValueError, match="from_backbone"):
        SATForWeaklySupervisedLocalization.from_pretrained(folders[name], config=tiny_config())


# The commands and what is written.


@pytest.mark.parametrize("name", FAMILIES)
def test_commands_and_both_image_processors(name, folders, tmp_path):
    words = ["convert", "backbone", str(folders[name]), str(tmp_path / "sat"), "--num_spatial_layers", "1"]
    assert main(words) == 0
    model, processor = load_model(tmp_path / "sat")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    pil = SATImageProcessorPil.from_pretrained(tmp_path / "sat")
    maps = []
    for each in (processor, pil):
        with torch.no_grad():
            maps.append(model(**each(image, return_tensors="pt")).localization_map)
    torch.testing.assert_close(*maps, atol=1e-4, rtol=0)
    result = load_localizer(tmp_path / "sat", device="cpu")(image)
    assert result
    # what a run starts from
    model, processor = start_model(str(folders[name]), ["a", "b"], num_spatial_layers=1)
    assert model.config.id2label == {0: "a", 1: "b"}


def test_normalization_is_the_backbones(folders, tmp_path):
    processor = CLIPImageProcessor(image_mean=MEAN, image_std=STD, size={"shortest_edge": 32}, crop_size=SQUARE)
    for number, save in enumerate((processor.save_pretrained, save_in_a_processor)):
        folder = tmp_path / str(number)
        save_original(ORIGINALS["CLIP"], folder)
        save(folder) if number == 0 else save(processor, folder)
        check_normalization(folder, tmp_path / f"sat {number}")
    folder = tmp_path / "timm"
    save_original(ORIGINALS["timm ViT"], folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["pretrained_cfg"] |= {"mean": MEAN, "std": STD, "input_size": [3, 32, 32]}
    del config["model_args"]["img_size"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for start in (load_backbone, SATForWeaklySupervisedLocalization.from_backbone):
        # not that of the architecture's name, 224
        assert start(folder, num_spatial_layers=1).config.image_size == 32
    check_normalization(folder, tmp_path / "sat timm")


def test_a_dinov2_of_timm_trains_at_224_px(tmp_path):
    """As one of Transformers: the 518 px of its positions are nobody's choice."""
    folder = tmp_path / "timm"
    save_original(ORIGINALS["timm DINOv2"], folder)
    for start in (load_backbone, SATForWeaklySupervisedLocalization.from_backbone):
        # up to there it is the positions' own size
        assert start(folder, num_spatial_layers=1).config.image_size == 32
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["pretrained_cfg"]["input_size"] = [3, 518, 518]
    del config["model_args"]["img_size"]
    backbone, source = read_backbone(config)
    assert list(source.image_size) == [518, 518]
    assert backbone_config(backbone, source, timm_processor_settings(config)).image_size == 224


def save_in_a_processor(processor: CLIPImageProcessor, folder):
    """As the processor of images and texts is saved: nested, in another file."""
    settings = processor.to_dict()
    content = {"processor_class": CLIPProcessor.__name__, "image_processor": settings}
    (folder / "processor_config.json").write_text(json.dumps(content, default=dict), encoding="utf-8")


def check_normalization(folder, output):
    assert main(["convert", "backbone", str(folder), str(output), "--num_spatial_layers", "1"]) == 0
    _, processor = load_model(output)
    assert (list(processor.image_mean), list(processor.image_std)) == (MEAN, STD)
    _, processor = start_model(str(folder), ["a", "b"], num_spatial_layers=1, image_size=32)
    assert (list(processor.image_mean), list(processor.image_std)) == (MEAN, STD)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_onnx_of_each_family(name, folders, tmp_path):
    """The export compares what it wrote with PyTorch itself, at several sizes, and raises if it differs."""
    model = load_backbone(folders[name], num_labels=2, num_spatial_layers=1, image_size=32).eval()
    export = export_onnx(model, SATImageProcessor(size=SQUARE), tmp_path, dynamic_size=True)
    assert export.largest_difference < 1e-5


ALONE = """
import json, sys
sys.modules["transformers_sat"] = None
import torch
from transformers import AutoImageProcessor, AutoModelForObjectDetection

found = {}
for folder in sys.argv[1:]:
    model = AutoModelForObjectDetection.from_pretrained(folder, trust_remote_code=True)
    processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
    pixel_values = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.no_grad():
        found[folder] = model(pixel_values).localization_map.flatten().tolist()
    # a new one from a backbone, with the repository's code
    backbone = folder.removesuffix(" published")
    again = type(model).from_backbone(backbone, num_spatial_layers=1)
    assert again.config.image_size == 32
print(json.dumps(found))
"""


def test_with_transformers_alone(folders, tmp_path):
    """Published models of all families, in one process that has never seen the package, nor timm."""
    expected = {}
    for folder in folders.values():
        model = load_backbone(folder, num_labels=2, num_spatial_layers=1).eval()
        published = f"{folder} published"
        save_with_remote_code(model, SATImageProcessor(size=SQUARE), published)
        with torch.no_grad():
            pixel_values = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
            expected[published] = model(pixel_values).localization_map.flatten().tolist()
    code = ALONE.replace("import torch", 'sys.modules["timm"] = None\nimport torch', 1)
    run = subprocess.run(
        [sys.executable, "-c", code, *expected],
        cwd=tmp_path,
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.strip().splitlines()[-1])
    assert found == {name: pytest.approx(values, abs=1e-6) for name, values in expected.items()}


def test_clip_as_its_older_files_are(folders, tmp_path):
    """The positions' numbers lie among the weights, and the settings of the images' part are there twice."""
    folder = tmp_path / "clip"
    folder.mkdir()
    config = json.loads((folders["CLIP"] / "config.json").read_text(encoding="utf-8"))
    config["vision_config_dict"] = config["vision_config"]
    config["vision_config"] = {"hidden_size": 768, "model_type": "clip_vision_model"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = load_file(folders["CLIP"] / "model.safetensors")
    tensors["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    expected = load_backbone(folders["CLIP"], num_spatial_layers=1).vit.layers.state_dict()
    for start in (load_backbone, SATForWeaklySupervisedLocalization.from_backbone):
        found = start(folder, num_spatial_layers=1).vit.layers.state_dict()
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, expected[name], atol=0, rtol=0)


def test_a_siglip_whose_patches_leave_a_margin(tmp_path):
    """As in so400m of 384 px with patches of 14: the convolution leaves out what is no whole patch."""
    config = SiglipVisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=38, patch_size=8
    )
    SiglipVisionModel(config).save_pretrained(tmp_path)
    model = load_backbone(tmp_path, num_spatial_layers=1)
    assert model.config.image_size == 32
    assert model.vit.embeddings.position_embeddings.shape == (1, 16, 16)


@pytest.mark.parametrize(
    "fields",
    [
        {"num_register_tokens": 3, "use_class_token": False, "has_embedding_norm": True},
        {"num_register_tokens": 3, "rope_theta": 100.0, "use_gated_mlp": True},
    ],
)
def test_going_on_at_another_size(fields, tmp_path):
    source = tiny_model(**fields)
    source.save_pretrained(tmp_path)
    model = load_backbone(tmp_path, image_size=(48, 40)).eval()
    pixel_values, _ = tiny_batch(size=(48, 40))
    with torch.no_grad():
        expected = source(pixel_values, interpolate_pos_encoding=True)
        found = model(pixel_values)
    torch.testing.assert_close(found.localization_map, expected.localization_map, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-4, rtol=0)


# timm's names.


@pytest.mark.parametrize(
    "architecture",
    [
        "vit_tiny_patch16_224",
        "vit_base_patch32_384",
        "vit_base_patch8_224",
        "vit_large_patch14_224",
        "vit_huge_patch14_224",
        "deit_base_distilled_patch16_384",
        "deit3_small_patch16_384",
        "deit3_huge_patch14_224",
        "vit_large_patch14_dinov2",
        "vit_small_patch14_reg4_dinov2",
    ],
)
def test_sizes_of_timms_architectures(architecture, monkeypatch):
    """What the name says is what timm builds."""

    class Stopped(Exception):
        pass

    def stop(self, *args, **kwargs):
        raise Stopped(kwargs)

    # large ones need not be built
    monkeypatch.setattr(VisionTransformer, "__init__", stop)
    with pytest.raises(Stopped) as stopped:
        timm.create_model(architecture)
    arguments = stopped.value.args[0]
    config = TimmConfig(architecture=architecture)
    assert config.patch_size == arguments["patch_size"]
    assert config.hidden_size == arguments["embed_dim"]
    assert config.num_hidden_layers == arguments["depth"]
    assert config.num_attention_heads == arguments["num_heads"]
    assert config.intermediate_size == arguments["embed_dim"] * arguments.get("mlp_ratio", 4)
    assert config.num_register_tokens == arguments.get("reg_tokens", 0)
    assert (config.layerscale_value is None) == (arguments.get("init_values") is None)
    sides = arguments["img_size"]
    assert [config.image_size] * 2 == list(sides if isinstance(sides, tuple) else [sides] * 2)


def test_a_distilled_deit_of_timm(tmp_path):
    """Its distillation token is left out with its position, and nothing else is another than in the original."""
    arguments = {"embed_dim": 48, "depth": 2, "num_heads": 3, "patch_size": 8, "img_size": 32}
    model = timm.create_model("deit_tiny_distilled_patch16_224", **arguments, qkv_bias=False)
    save_timm_model(model, tmp_path, {**arguments, "qkv_bias": False})
    ours = load_backbone(tmp_path, num_spatial_layers=1).vit
    theirs = model.state_dict()
    expected = torch.cat((theirs["pos_embed"][:, :1], theirs["pos_embed"][:, 2:]), dim=1)
    torch.testing.assert_close(ours.embeddings.position_embeddings, expected, atol=0, rtol=0)
    query, key, value = theirs["blocks.1.attn.qkv.weight"].chunk(3)
    attention = ours.layers[1].attention
    for projection, weight in ((attention.q_proj, query), (attention.k_proj, key), (attention.v_proj, value)):
        assert projection.bias is None
        torch.testing.assert_close(projection.weight, weight, atol=0, rtol=0)


def test_a_timm_model_that_transformers_wrapped(tmp_path):
    """Its names have a prefix, and its settings a `model_type`."""
    arguments = {"embed_dim": 48, "depth": 2, "num_heads": 3, "patch_size": 8, "img_size": 32}
    config = {"architecture": "vit_base_patch16_224", "model_args": arguments, "label_names": ["a", "b"]}
    wrapped = TimmWrapperForImageClassification(TimmWrapperConfig.from_dict(config | {"num_classes": 2}))
    wrapped.save_pretrained(tmp_path)
    for start in (load_backbone, SATForWeaklySupervisedLocalization.from_backbone):
        model = start(tmp_path, num_spatial_layers=1)
        assert model.config.image_size == 32
        expected = wrapped.timm_model.blocks[1].mlp.fc2.weight
        torch.testing.assert_close(model.vit.layers[1].mlp.fc2.weight, expected, atol=0, rtol=0)


HOSTILE = {
    "vit_base_patch16_siglip_224": ({"architecture": "vit_base_patch16_siglip_224"}, "`architecture` must be a ViT"),
    "resnet50": ({"architecture": "resnet50"}, "`architecture` must be a ViT"),
    "number": ({"architecture": 3}, "architecture"),
    "unknown argument": ({"model_args": {"qk_norm": True}}, "'qk_norm', which changes"),
    "type": ({"model_args": {"embed_dim": "48"}}, "'embed_dim'"),
    "flag": ({"model_args": {"depth": True}}, "'depth'"),
    "side": ({"model_args": {"img_size": [32]}}, "'img_size'"),
    "patches of nothing": ({"model_args": {"patch_size": 0}}, "'patch_size'"),
    "arguments": ({"model_args": [1]}, "model_args"),
    "deep": ({"model_args": {"depth": 10**9}}, "num_hidden_layers"),
    "wide": ({"model_args": {"embed_dim": 2**13, "num_heads": 8, "depth": 200}}, "do not belong together"),
    "other width": ({"model_args": {"embed_dim": 96, "num_heads": 3}}, "do not fit"),
    "other patches": ({"model_args": {"patch_size": 4}}, "grid of 8x8 patches"),
    "no registers": ({"architecture": "vit_small_patch14_reg4_dinov2"}, "model.safetensors|do not fit|Missing"),
    "type of model": ({"model_type": "resnet"}, "must be one of vit, deit, dinov2"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_timm_model_that_does_not_fit(case, tmp_path, capsys):
    arguments = {"embed_dim": 48, "depth": 2, "num_heads": 3, "patch_size": 8, "img_size": 32}
    model = timm.create_model("vit_base_patch16_224", **arguments)
    save_timm_model(model, tmp_path / "timm", arguments)
    path = tmp_path / "timm" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    changes, message = HOSTILE[case]
    if isinstance(changes.get("model_args"), dict):
        changes = {"model_args": arguments | changes["model_args"]}
    path.write_text(json.dumps(config | changes), encoding="utf-8")
    words = ["convert", "backbone", str(tmp_path / "timm"), str(tmp_path / "sat"), "--num_spatial_layers", "1"]
    assert main(words) == 1
    printed = capsys.readouterr().err
    assert len(printed.strip().splitlines()) == 1
    assert re.search(message, printed), printed
    assert not (tmp_path / "sat").exists()
