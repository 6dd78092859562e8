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
"""Model folders that are damaged, incomplete, wrong or out of bounds: one line that names the file and what is wrong in it."""

import functools
import io
import json
import pickle
import shutil
import struct
import zipfile

import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file
from sat_testing import tiny_model
from square_images import save_tiny_vit

from transformers_sat import SATImageProcessor
from transformers_sat.cli import main
from transformers_sat.convert import load_backbone
from transformers_sat.safe_loading import load_localizer, load_model


WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"


@pytest.fixture(scope="module")
def sound_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "sound"
    names = dict(enumerate(("ant", "bee", "cat", "dog", "elk")))
    tiny_model(id2label=names, label2id={name: label for label, name in names.items()}).save_pretrained(folder)
    SATImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    PIL.Image.new("RGB", (40, 30), (200, 30, 30)).save(folder / "image.png")
    return folder


@pytest.fixture
def folder(sound_folder, tmp_path):
    return shutil.copytree(sound_folder, tmp_path / "model")


def predict(folder) -> int:
    return main(["predict", str(folder), str(folder / "image.png")])


def check_refusal(capsys, *words):
    """One line, of the command, with these words."""
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("transformers-sat: "), captured.err
    assert len(lines[0]) < 1000
    for word in words:
        assert word in lines[0]


def replaced(filename: str, content: bytes):
    return lambda folder: (folder / filename).write_bytes(content)


def changed_json(filename: str, **fields):
    def change(folder):
        content = json.loads((folder / filename).read_text(encoding="utf-8")) | fields
        (folder / filename).write_text(json.dumps(content), encoding="utf-8")

    return change


config_with = functools.partial(changed_json, CONFIG)
processor_with = functools.partial(changed_json, PROCESSOR)


def removed(filename: str):
    return lambda folder: (folder / filename).unlink()


def truncated(filename: str, share: float):
    def truncate(folder):
        content = (folder / filename).read_bytes()
        (folder / filename).write_bytes(content[: int(len(content) * share)])

    return truncate


def changed_tensors(change):
    def rewrite(folder):
        tensors = load_file(folder / WEIGHTS)
        save_file(change(tensors), folder / WEIGHTS)

    return rewrite


def changed_header(change):
    """The header of the weights as another dictionary, or as other bytes; what follows it stays."""

    def rewrite(folder):
        content = (folder / WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = change(json.loads(content[8 : 8 + length]))
        header = header if isinstance(header, bytes) else json.dumps(header).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])

    return rewrite


def overlapping(header):
    first, second = sorted(name for name in header if name != "__metadata__")[:2]
    return header | {second: header[second] | {"data_offsets": header[first]["data_offsets"]}}


def of_unknown_dtype(header):
    name = max(header)
    return header | {name: header[name] | {"dtype": "F7"}}


def zip_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.safetensors", b"\0" * 1000)
    return file.getvalue()


def half(tensors):
    return {name: tensors[name] for name in sorted(tensors)[::2]}


def with_value(value):
    def change(tensors):
        for name in sorted(tensors)[:5]:
            tensors[name].view(-1)[0] = value
        return tensors

    return change


def index_of(*shards):
    def write(folder):
        tensors = sorted(load_file(folder / WEIGHTS))
        (folder / WEIGHTS).rename(folder / "weights.safetensors")
        weight_map = {name: shards[number % len(shards)] for number, name in enumerate(tensors)}
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")

    return write


NOT_JSON = {
    "empty": b"",
    "a list": b"[]",
    "null": b"null",
    "a number": b"3",
    "truncated": b'{"model_type": "sat", "hidden',
    "not UTF-8": b'{"model_type": "\xff\xfe"}',
    "nested": b"[" * 10_000 + b"]" * 10_000,
    "HTML": b"<!doctype html><title>502 Bad Gateway</title>",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
    "a number of many digits": b'{"hidden_size": ' + b"9" * 10_000 + b"}",
}
HOSTILE = {
    # the weights
    "weights empty": (replaced(WEIGHTS, b""), (WEIGHTS,)),
    "weights HTML": (replaced(WEIGHTS, NOT_JSON["HTML"]), (WEIGHTS,)),
    "weights JSON": (replaced(WEIGHTS, b'{"weight": [1, 2, 3]}'), (WEIGHTS,)),
    "weights Git LFS": (replaced(WEIGHTS, NOT_JSON["Git LFS"]), (WEIGHTS, "git lfs pull")),
    "weights zip": (replaced(WEIGHTS, zip_file()), (WEIGHTS,)),
    "weights zeros": (replaced(WEIGHTS, bytes(1000)), (WEIGHTS,)),
    "weights with a long header": (replaced(WEIGHTS, struct.pack("<Q", 2**63) + b"{}"), (WEIGHTS,)),
    "weights truncated in the header": (truncated(WEIGHTS, 0.01), (WEIGHTS,)),
    "weights truncated": (truncated(WEIGHTS, 0.7), (WEIGHTS,)),
    "weights overlapping": (changed_header(overlapping), (WEIGHTS,)),
    "weights of unknown dtype": (changed_header(of_unknown_dtype), (WEIGHTS,)),
    "weights with a nested header": (changed_header(lambda _: NOT_JSON["nested"]), (WEIGHTS,)),
    "weights half": (changed_tensors(half), (WEIGHTS, "missing weights", "more tensors")),
    "weights none": (changed_tensors(lambda _: {}), (WEIGHTS, "missing weights")),
    "weights without the spatial token": (
        changed_tensors(lambda tensors: {name: t for name, t in tensors.items() if "spatial_token" not in name}),
        (WEIGHTS, "missing weights: vit.embeddings.spatial_token."),
    ),
    "weights NaN": (changed_tensors(with_value(float("nan"))), (WEIGHTS, "not finite", "2 more tensors")),
    "weights infinite": (changed_tensors(with_value(float("inf"))), (WEIGHTS, "not finite", "2 more tensors")),
    "weights whole numbers": (
        changed_tensors(lambda tensors: {name: tensor.int() for name, tensor in tensors.items()}),
        (WEIGHTS, "floating-point", "torch.int32"),
    ),
    "weights out of the configuration's dtype": (
        lambda folder: (changed_tensors(with_value(1e30))(folder), config_with(dtype="float16")(folder)),
        (WEIGHTS, "not finite"),
    ),
    "weights of other classes": (
        changed_tensors(
            lambda tensors: {
                name: t[:3].clone() if name.startswith("classifier") else t for name, t in tensors.items()
            }
        ),
        (WEIGHTS, "classifier.convolution.bias has shape (3,), expected (5,)"),
    ),
    "weights missing": (removed(WEIGHTS), ("no weights", WEIGHTS)),
    # the index of the weights
    "shard .bin": (index_of("weights.safetensors", "pytorch_model.bin"), (INDEX, "'pytorch_model.bin'")),
    "shard elsewhere": (index_of("../weights.safetensors"), (INDEX, "'../weights.safetensors'")),
    "shard absolute": (index_of("/tmp/weights.safetensors"), (INDEX, "'/tmp/weights.safetensors'")),
    "shard below": (index_of("below/weights.safetensors"), (INDEX, "'below/weights.safetensors'")),
    "shard with a backslash": (index_of("..\\weights.safetensors"), (INDEX, "weights.safetensors")),
    "shard with a line break": (index_of("a\nb.safetensors"), (INDEX, "plain name")),
    "shard no name": (index_of(7), (INDEX, "plain name")),
    "shard not there": (index_of("weights.safetensors", "gone.safetensors"), (INDEX, "'gone.safetensors' is missing")),
    "index a list": (lambda folder: (index_of("a")(folder), replaced(INDEX, b"[]")(folder)), (INDEX, "object")),
    "index without a map": (
        lambda folder: (index_of("a")(folder), replaced(INDEX, b"{}")(folder)),
        (INDEX, "weight_map"),
    ),
    # the configuration
    **{f"config {name}": (replaced(CONFIG, content), (CONFIG,)) for name, content in NOT_JSON.items()},
    "config without a type": (replaced(CONFIG, b"{}"), (CONFIG, "model_type")),
    "config of another model": (config_with(model_type="resnet"), (CONFIG, "resnet", "model_type")),
    "config with a type that is no text": (config_with(model_type=["sat"]), (CONFIG, "model_type")),
    "config missing": (removed(CONFIG), (CONFIG,)),
    **{
        f"{field} {json.dumps(value)[:40]}": (config_with(**{field: value}), (CONFIG, field))
        for field, value in [
            ("hidden_size", 0),
            ("hidden_size", -32),
            ("hidden_size", "32"),
            ("hidden_size", 32.0),
            ("hidden_size", 10**9),
            ("num_hidden_layers", 0),
            ("num_hidden_layers", 10**6),
            ("num_attention_heads", 0),
            ("intermediate_size", 2**40),
            ("image_size", 8192),
            ("image_size", [32, 32, 32]),
            ("image_size", None),
            ("patch_size", 0),
            ("patch_size", 1.5),
            ("num_channels", 1),
            ("num_channels", 4),
            ("hidden_act", "no_such_activation"),
            ("hidden_act", None),
            ("id2label", []),
            ("id2label", {}),
            ("id2label", {"zero": "ant"}),
            ("id2label", {"0": "ant", "2": "bee"}),
            ("id2label", {"0": ["ant"]}),
            ("label2id", []),
            ("layer_norm_eps", float("nan")),
            ("layer_norm_eps", "1e-6"),
            ("layerscale_value", float("inf")),
            ("hidden_dropout_prob", -1),
            ("num_spatial_layers", 5),
            ("dtype", "load"),
            ("dtype", "int8"),
        ]
    },
    # a model that its weights do not fill
    "one block more": (config_with(num_hidden_layers=5), (WEIGHTS, "missing weights: vit.layers.4.")),
    "wider": (config_with(hidden_size=64), (WEIGHTS, "do not fit", "expected")),
    "as large as the bounds": (
        config_with(hidden_size=2**17, intermediate_size=2**17, num_hidden_layers=256),
        (WEIGHTS, "do not belong together"),
    ),
    "1e6 classes": (config_with(id2label={str(n): str(n) for n in range(1000)}), (WEIGHTS, "classifier.convolution")),
    # the image processor
    **{f"processor {name}": (replaced(PROCESSOR, content), (PROCESSOR,)) for name, content in NOT_JSON.items()},
    "processor missing": (removed(PROCESSOR), (PROCESSOR,)),
    "processor of another model": (
        processor_with(image_processor_type="ViTImageProcessor"),
        (PROCESSOR, "ViTImageProcessor", "SATImageProcessor"),
    ),
    "processor of no type": (processor_with(image_processor_type=None), (PROCESSOR, "image_processor_type")),
    "processor nested in another file": (
        lambda folder: (folder / "processor_config.json").write_text('{"image_processor": []}', encoding="utf-8"),
        ("processor_config.json", "image_processor_type"),
    ),
    "processor in another file that is no JSON": (
        lambda folder: (folder / "processor_config.json").write_bytes(b"\xff"),
        ("processor_config.json",),
    ),
    **{
        f"{field} {json.dumps(value)[:40]}": (processor_with(**{field: value}), (PROCESSOR, field))
        for field, value in [
            ("localization_threshold", "0.4"),
            ("localization_threshold", float("nan")),
            ("localization_threshold", 2),
            ("localization_threshold", [0.4]),
            ("image_mean", [0.5]),
            ("image_mean", ["a", "b", "c"]),
            ("image_mean", {}),
            ("image_std", 0),
            ("image_std", [0.2, 0.2, 0.0]),
            ("size", 20_000),
            ("size", {"height": 20_000, "width": 32}),
            ("size", {"height": 0, "width": 32}),
            ("size", {"height": "32", "width": 32}),
            ("size", {}),
            ("size", [32]),
            ("size", "32"),
            ("rescale_factor", 0),
            ("rescale_factor", "1/255"),
            ("rescale_factor", float("inf")),
            ("do_resize", "yes"),
            ("do_pad", True),
            ("resample", 99),
        ]
    },
    "crop that is too large": (
        processor_with(do_center_crop=True, crop_size={"height": 20_000, "width": 32}),
        (PROCESSOR, "crop_size"),
    ),
    "crop without a height": (
        processor_with(do_center_crop=True, crop_size={"shortest_edge": 32}),
        (PROCESSOR, "crop_size"),
    ),
    # the two do not fit each other
    **{
        f"images of {height}x{width}": (
            processor_with(size={"height": height, "width": width}),
            ("image processor", "`image_size` of 32x32", f"gives images of {height}x{width}"),
        )
        for height, width in ((33, 32), (48, 48), (32, 40), (4096, 4096))
    },
    "images of any size": (processor_with(size={"shortest_edge": 32}), ("image processor", "image_size", "depend")),
    "crop of another size": (processor_with(do_center_crop=True), ("`image_size` of 32x32", "images of 224x224")),
}


def test_sound(folder, capsys):
    assert predict(folder) == 0
    assert json.loads(capsys.readouterr().out)["objects"]


@pytest.mark.parametrize("name", HOSTILE)
def test_one_line(name, folder, capsys):
    change, words = HOSTILE[name]
    change(folder)
    assert predict(folder) == 1
    check_refusal(capsys, *words)


def test_shards_beside_their_index_are_read(folder):
    expected = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    tiny_model().save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1 and not (folder / WEIGHTS).exists()
    model, _ = load_model(folder)
    assert len(model.state_dict()) == len(expected)


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "../secret.safetensors"])
def test_other_files_than_safetensors_beside_the_index_are_not_opened(folder, shard, monkeypatch, capsys):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    shutil.copy(folder / WEIGHTS, folder / "../secret.safetensors")
    index_of(shard, "weights.safetensors")(folder)
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("opened"))
    monkeypatch.setattr("safetensors.torch.load_file", lambda *args, **kwargs: pytest.fail("opened"))
    assert predict(folder) == 1
    check_refusal(capsys, INDEX, shard)


def test_weights_that_the_configuration_names_are_not_opened(folder, tmp_path):
    """`transformers_weights` and an adapter would have Transformers open other files."""
    (folder / "adapter_model.bin").write_bytes(b"no pickle")
    config_with(transformers_weights="adapter_model.bin")(folder)
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(tmp_path / "elsewhere"), "peft_type": "LORA"}), encoding="utf-8"
    )
    model, _ = load_model(folder)
    assert not hasattr(model.config, "transformers_weights")


def test_entries_that_would_change_the_model_s_behaviour_are_not_taken(folder):
    config_with(
        forward=1,
        to_dict="x",
        return_dict=False,
        output_attentions=True,
        attn_implementation="someone/kernel",
        _attn_implementation="someone/kernel",
        quantization_config={"quant_method": "gptq", "bits": 4},
        per_layer_config={"0": {"hidden_size": 8}},
        fusion_config={"patch_embeddings": True},
        auto_map={"AutoConfig": "code.Config"},
    )(folder)
    (found,) = load_localizer(folder, device="cpu")(PIL.Image.new("RGB", (40, 30)))
    assert found["label"] in ("ant", "bee", "cat", "dog", "elk")


def test_the_model_is_the_one_that_was_saved(folder):
    model, image_processor = load_model(folder)
    expected = tiny_model().state_dict()
    assert model.state_dict().keys() == expected.keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name])
    assert not model.training
    assert model.config.name_or_path == str(folder)
    assert model.config.id2label[4] == "elk"
    assert image_processor.model_input_size() == (32, 32)


@pytest.mark.parametrize("command", ["evaluate", "serve", "export", "demo"])
def test_all_commands_refuse(command, folder, tmp_path, capsys):
    changed_tensors(half)(folder)
    arguments = {"evaluate": ["emblems"], "export": [str(tmp_path / "out")]}.get(command, [])
    assert main([command, str(folder), *arguments]) == 1
    check_refusal(capsys, WEIGHTS, "missing weights")
    assert not (tmp_path / "out").exists()


# Starting a training: the token and the classifier are new, the encoder is not.


@pytest.fixture
def backbone(tmp_path):
    return save_tiny_vit(tmp_path / "vit")


def without(*parts):
    return changed_tensors(lambda tensors: {n: t for n, t in tensors.items() if not any(part in n for part in parts)})


def test_a_backbone_needs_no_classifier(backbone):
    without("classifier")(backbone)
    assert load_backbone(backbone, num_spatial_layers=1) is not None


HOSTILE_BACKBONES = {
    "truncated": (truncated(WEIGHTS, 0.8), (WEIGHTS,)),
    "block lost": (without("layer.1.", "layers.1."), (WEIGHTS, "missing weights: layers.1.")),
    "NaN": (changed_tensors(with_value(float("nan"))), (WEIGHTS, "not finite")),
    "config": (replaced(CONFIG, b"[]"), (CONFIG, "object")),
    "width": (config_with(hidden_size=0), ("hidden_size",)),
    "1e9 layers": (config_with(num_hidden_layers=10**9), ("num_hidden_layers",)),
    "1e9 labels": (config_with(num_labels=10**9, id2label=None), None),
    "patches of nothing": (config_with(patch_size=0), ("patch_size",)),
    "shard elsewhere": (index_of("../weights.safetensors"), (INDEX, "../weights.safetensors")),
    "wider": (config_with(hidden_size=2**12, intermediate_size=2**14, num_hidden_layers=200), ("do not belong",)),
}


@pytest.mark.parametrize("name", HOSTILE_BACKBONES)
def test_backbones(name, backbone, tmp_path, capsys):
    change, words = HOSTILE_BACKBONES[name]
    change(backbone)
    status = main(["convert", "backbone", str(backbone), str(tmp_path / "out"), "--num_spatial_layers", "1"])
    if words is None:
        # what a backbone's classifier says is of no use here
        assert status == 0
        return
    assert status == 1
    check_refusal(capsys, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lost", ["spatial_token", "classifier", "layers.1."])
def test_a_sat_model_to_go_on_with_is_complete(lost, folder):
    without(lost, lost.replace("layers.", "layer."))(folder)
    with pytest.raises(ValueError, match=f"model.safetensors: missing weights: .*{lost}"):
        load_backbone(folder)
