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
"""ONNX export: the files, and that onnxruntime computes from them what PyTorch computes."""

import copy
import json
import shutil
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from sat_testing import tiny_model

from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor
from transformers_sat.cli import main
from transformers_sat.export import export_onnx


def square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


@pytest.fixture(scope="module")
def model() -> SATForWeaklySupervisedLocalization:
    # the spatial token joins after the first block: what an export has to follow in this case and in the simpler one
    return tiny_model(spatial_token_layer=1)


@pytest.fixture(scope="module")
def processor() -> SATImageProcessor:
    return SATImageProcessor(size=square(40), crop_size=square(32), do_center_crop=True, localization_threshold=0.55)


@pytest.fixture(scope="module")
def exported(model, processor, tmp_path_factory):
    """What the command writes from a model folder, with both files."""
    source, folder = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("onnx") / "new" / "folder"
    model.save_pretrained(source)
    processor.save_pretrained(source)
    assert main(["export", str(source), str(folder), "--quantize"]) == 0
    return folder


def run(path, pixel_values: torch.Tensor) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"pixel_values": pixel_values.numpy()}), strict=True))


def assert_same(path, model, pixel_values: torch.Tensor):
    found = run(path, pixel_values)
    with torch.no_grad():
        expected = model(pixel_values, interpolate_pos_encoding=True)
    assert set(found) == {"logits", "localization_map"}
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name].numpy(), atol=1e-5, rtol=0)


def shapes(path) -> dict[str, list[int | str]]:
    graph = onnx.load(path).graph
    return {
        value.name: [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }


def test_layout(exported):
    files = sorted(str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file())
    assert files == ["config.json", "onnx/model.onnx", "onnx/model_quantized.onnx", "preprocessor_config.json"]
    config = json.loads((exported / "config.json").read_text(encoding="utf-8"))
    assert (config["model_type"], len(config["id2label"])) == ("sat", 5)
    settings = json.loads((exported / "preprocessor_config.json").read_text(encoding="utf-8"))
    assert (settings["size"], settings["crop_size"]) == (square(40), square(32))
    assert settings["localization_threshold"] == 0.55


def test_model_file(exported):
    path = exported / "onnx" / "model.onnx"
    proto = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer)
    assert shapes(path) == {
        "pixel_values": ["batch_size", 3, 32, 32],
        "logits": ["batch_size", 5],
        "localization_map": ["batch_size", 4, 4],
    }
    # nothing tells where it was made
    assert b".py" not in path.read_bytes() and b"/site-packages" not in path.read_bytes()


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_outputs(exported, model, batch_size):
    assert_same(exported / "onnx" / "model.onnx", model, torch.randn(batch_size, 3, 32, 32))


def test_quantized(exported, model):
    """Smaller, with integer products, and near enough to give the same classes here."""
    path = exported / "onnx" / "model_quantized.onnx"
    assert path.stat().st_size < 0.7 * (exported / "onnx" / "model.onnx").stat().st_size
    assert "MatMulInteger" in {node.op_type for node in onnx.load(path).graph.node}
    pixel_values = torch.randn(8, 3, 32, 32)
    found = run(path, pixel_values)
    with torch.no_grad():
        expected = model(pixel_values)
    assert np.array_equal(found["logits"].argmax(-1), expected.logits.argmax(-1).numpy())
    np.testing.assert_allclose(found["localization_map"], expected.localization_map.numpy(), atol=0.1)


def test_reproducible_and_opset(exported, model, processor, tmp_path):
    """The same bytes again in another folder; another opset, the same numbers."""
    (tmp_path / "again" / "onnx").mkdir(parents=True)
    (tmp_path / "again" / "onnx" / "model_quantized.onnx").write_text("of an earlier export")
    again = export_onnx(model, processor, tmp_path / "again")
    assert [path.name for path in again.path.parent.iterdir()] == ["model.onnx"]
    assert again.path.read_bytes() == (exported / "onnx" / "model.onnx").read_bytes()
    assert 0 <= again.largest_difference < 1e-5
    newer = export_onnx(model, processor, tmp_path / "newer", opset=21)
    assert onnx.load(newer.path).opset_import[0].version == 21
    assert_same(newer.path, model, torch.randn(2, 3, 32, 32))


@pytest.fixture(scope="module")
def dynamic(model, processor, tmp_path_factory):
    return export_onnx(model, processor, tmp_path_factory.mktemp("dynamic"), dynamic_size=True)


def test_dynamic_size(dynamic, model):
    assert shapes(dynamic.path) == {
        "pixel_values": ["batch_size", 3, "height", "width"],
        "logits": ["batch_size", 5],
        "localization_map": ["batch_size", "grid_height", "grid_width"],
    }
    for batch_size, height, width in [(1, 32, 32), (2, 8, 8), (3, 80, 24), (1, 24, 160)]:
        assert_same(dynamic.path, model, torch.randn(batch_size, 3, height, width))


def test_registers_rotary_positions_and_gates(tmp_path):
    """What a DINOv3 backbone brings: the angles follow the size of the images."""
    model = tiny_model(
        rope_theta=100.0,
        num_register_tokens=2,
        use_gated_mlp=True,
        num_hidden_layers=2,
        num_spatial_layers=1,
        spatial_token_layer=1,
    )
    # compared with PyTorch at several sizes before it is written
    export = export_onnx(model, SATImageProcessor(size=square(32)), tmp_path, dynamic_size=True)
    assert export.largest_difference < 1e-5


@pytest.mark.parametrize(
    "settings, size, crop_size",
    [
        # the resize keeps its proportion to the crop
        ({"do_center_crop": True, "size": square(40)}, {"height": 60, "width": 80}, {"height": 48, "width": 64}),
        pytest.param(
            {"do_center_crop": True, "size": {"shortest_edge": 40}},
            {"shortest_edge": 80},
            {"height": 48, "width": 64},
            marks=pytest.mark.slow,
        ),
        pytest.param({"size": square(32)}, {"height": 48, "width": 64}, None, marks=pytest.mark.slow),
    ],
)
def test_image_size(model, settings, size, crop_size, tmp_path):
    processor = SATImageProcessor(crop_size=square(32), **settings)
    before = copy.deepcopy(processor.to_dict())
    export = export_onnx(model, processor, tmp_path, image_size=(48, 64))
    assert processor.to_dict() == before
    assert shapes(export.path)["pixel_values"] == ["batch_size", 3, 48, 64]
    assert_same(export.path, model, torch.randn(1, 3, 48, 64))
    written = SATImageProcessor.from_pretrained(tmp_path)
    assert {name: side for name, side in dict(written.size).items() if side} == size
    assert written.model_input_size() == (48, 64)
    if crop_size is not None:
        assert {name: side for name, side in dict(written.crop_size).items() if side} == crop_size


def test_command_prints_the_difference(model, processor, tmp_path, capsys):
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "onnx"), "--image_size", "24"]) == 0
    line = capsys.readouterr().out.strip()
    assert line.startswith(f"wrote {tmp_path / 'onnx' / 'onnx' / 'model.onnx'}: ")
    assert float(line.rsplit(" ", 1)[1]) < 1e-5
    assert shapes(tmp_path / "onnx" / "onnx" / "model.onnx")["pixel_values"][2:] == [24, 24]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"opset": 17}, "`opset` must be between 18 and 23, got 17"),
        ({"image_size": (30, 32)}, "multiple of the model's patches of 8x8, got 30x32"),
        ({"image_size": (0, 32)}, "multiple of the model's patches"),
    ],
)
def test_wrong_options(model, processor, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export_onnx(model, processor, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_wrong_models_and_folders(model, processor, tmp_path):
    with pytest.raises(ValueError, match="must be a SATForWeaklySupervisedLocalization, got SATModel"):
        export_onnx(model.vit, processor, tmp_path / "out")
    with pytest.raises(ValueError, match="must be in float32, got torch.bfloat16"):
        export_onnx(copy.deepcopy(model).bfloat16(), processor, tmp_path / "out")
    with pytest.raises(ValueError, match="no fixed size; pass `image_size`"):
        export_onnx(model, SATImageProcessor(size={"shortest_edge": 32}), tmp_path / "out")
    (tmp_path / "file").write_text("a file")
    with pytest.raises(ValueError, match="file is a file; give a folder to write"):
        export_onnx(model, processor, tmp_path / "file")
    assert not (tmp_path / "out").exists()


def test_a_model_too_large_for_one_file(model, processor, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers_sat.export.onnx.MAX_FILE_BYTES", 10_000)
    with pytest.raises(ValueError, match="a single ONNX file holds less than 2 GiB"):
        export_onnx(model, processor, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_export_is_not_written(model, processor, tmp_path, monkeypatch):
    """An exporter that gets a weight wrong is noticed by the comparison with PyTorch."""
    export = torch.onnx.export

    def damaged_export(*arguments, **options):
        proto = export(*arguments, **options).model_proto
        bias = next(tensor for tensor in proto.graph.initializer if tensor.name.endswith("layernorm.bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.1), bias.name))
        return SimpleNamespace(model_proto=proto)

    monkeypatch.setattr(torch.onnx, "export", damaged_export)
    with pytest.raises(RuntimeError, match="differ from PyTorch's by .* nothing was written"):
        export_onnx(model, processor, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def resize_a_single_patch_wrongly(graph: onnx.GraphProto, resize: onnx.NodeProto):
    """What exporters did until onnxscript 0.7: a side of one patch takes its position from the first, not the middle."""
    mode = next(part for part in resize.attribute if part.name == "coordinate_transformation_mode")
    assert mode.s == b"half_pixel"
    mode.s = b"pytorch_half_pixel"


def fix_the_positions(graph: onnx.GraphProto, resize: onnx.NodeProto):
    """The position embeddings keep the grid of 4x4 patches."""
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 32, 4, 4]), "sizes"))
    resize.input[3] = "sizes"


def turn_the_map(graph: onnx.GraphProto, resize: onnx.NodeProto):
    """Height and width of the map are exchanged."""
    node = next(node for node in graph.node if "localization_map" in node.output)
    node.output[list(node.output).index("localization_map")] = "upright"
    graph.node.append(onnx.helper.make_node("Transpose", ["upright"], ["localization_map"], perm=[0, 2, 1]))


@pytest.mark.parametrize(
    "damage, message",
    [
        (resize_a_single_patch_wrongly, r"by [\d.e-]+, more than 1e-04, on images of 8x32, 32x8, 8x8 pixels; nothing"),
        (
            fix_the_positions,
            "onnxruntime cannot run the exported model on 2 images of 40x32 pixels; nothing was written",
        ),
        (turn_the_map, "by inf, .* on images of 32x32, 40x32, 32x48, 8x32, 32x8 pixels; nothing was written"),
    ],
)
def test_an_export_that_is_wrong_at_other_sizes_is_not_written(
    dynamic, model, processor, tmp_path, monkeypatch, damage, message
):
    def damaged_export(*arguments, **options):
        proto = onnx.load(dynamic.path)
        (resize,) = (node for node in proto.graph.node if node.op_type == "Resize")
        damage(proto.graph, resize)
        return SimpleNamespace(model_proto=proto)

    monkeypatch.setattr(torch.onnx, "export", damaged_export)
    with pytest.raises(RuntimeError, match=message) as raised:
        export_onnx(model, processor, tmp_path / "out", dynamic_size=True)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags, message", [(["--opset", "9"], "`opset`"), (["--image_size", "8", "8", "8"], "got 3 numbers")]
)
def test_command_errors(model, processor, tmp_path, capsys, flags, message):
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "out"), *flags]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err
    assert not (tmp_path / "out").exists()


def test_a_crash_while_it_is_written_leaves_the_earlier_export(exported, model, processor, tmp_path, monkeypatch):
    shutil.copytree(exported, tmp_path / "export")
    before = {path: path.read_bytes() for path in (tmp_path / "export").rglob("*") if path.is_file()}

    def half(self, folder, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SATImageProcessor, "save_pretrained", half)
    with pytest.raises(OSError, match="No space left"):
        export_onnx(tiny_model(num_labels=3), processor, tmp_path / "export")
    assert {path: path.read_bytes() for path in (tmp_path / "export").rglob("*") if path.is_file()} == before


def test_a_multi_label_model_has_the_same_outputs(processor, tmp_path):
    model = tiny_model(problem_type="multi_label_classification")
    export = export_onnx(model, processor, tmp_path)
    assert set(shapes(export.path)) == {"pixel_values", "logits", "localization_map"}
    assert_same(export.path, model, torch.randn(2, 3, 32, 32))
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["problem_type"] == model.config.problem_type == "multi_label_classification"
