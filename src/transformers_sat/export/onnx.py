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
"""ONNX export, in the layout that transformers.js and onnxruntime-web read."""

import contextlib
import copy
import io
import logging
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import BaseImageProcessor

from ..model.configuration_sat import SATConfig
from ..model.images_sat import one_line
from ..model.modeling_sat import SATForWeaklySupervisedLocalization
from ..safe_loading import load_model
from ..writing import check_folder, replacing_files


OUTPUT_NAMES = ("logits", "localization_map")

# The smallest that PyTorch's exporter writes without converting back, and the largest that it knows.
OPSETS = range(18, 24)
DEFAULT_OPSET = 18

# Largest difference from PyTorch that still counts as the same model. Float32 sums in another order differ by 1e-6.
TOLERANCE = 1e-4

REMEDY = "Another `opset`, or a newer version of torch or onnxscript, may do it right."

# A protocol buffer, and so a file that holds its weights, cannot be larger than this.
MAX_FILE_BYTES = 2**31 - 1

# Batches on which the written model is compared with PyTorch; the first is the one that is traced, and a batch of one
# there would fix the batch size at one.
BATCH_SIZES = (2, 1, 3)


@dataclass
class OnnxExport:
    """
    What was written.

    Args:
        path (`Path`): the model, with its weights.
        largest_difference (`float`): between its outputs and PyTorch's, over the batches that were compared.
        quantized_path (`Path`, *optional*): the same with weights of 8 bits.
        quantized_difference (`float`, *optional*): its largest difference from PyTorch.
    """

    path: Path
    largest_difference: float
    quantized_path: Path | None = None
    quantized_difference: float | None = None


def export_model(
    model_name_or_path: str,
    output: str | os.PathLike,
    opset: int = DEFAULT_OPSET,
    image_size: list[int] | None = None,
    dynamic_size: bool = False,
    quantize: bool = False,
) -> OnnxExport:
    """
    Loads a model and its image processor from the Hub or a folder and exports them; see [`export_onnx`].

    Args:
        model_name_or_path (`str`): repository or folder of a SAT model.
        output (`str` or `os.PathLike`): folder to write.
        opset (`int`, *optional*, defaults to 18): see [`export_onnx`].
        image_size (`list[int]`, *optional*): side, or height and width, of the images; see [`export_onnx`].
        dynamic_size (`bool`, *optional*, defaults to `False`): see [`export_onnx`].
        quantize (`bool`, *optional*, defaults to `False`): see [`export_onnx`].

    Returns:
        [`OnnxExport`]

    Raises:
        `ValueError`: as [`export_onnx`], and as [`~transformers_sat.safe_loading.load_model`].
    """
    if image_size is not None and len(image_size) not in (1, 2):
        raise ValueError(f"`image_size` must be a side, or a height and a width, got {len(image_size)} numbers.")
    check_folder(output)
    check_folder(Path(output, "onnx"))
    model, image_processor = load_model(model_name_or_path)
    size = None if image_size is None else (image_size[0], image_size[-1])
    return export_onnx(model.float(), image_processor, output, opset, size, dynamic_size, quantize)


def export_onnx(
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    output: str | os.PathLike,
    opset: int = DEFAULT_OPSET,
    image_size: tuple[int, int] | None = None,
    dynamic_size: bool = False,
    quantize: bool = False,
) -> OnnxExport:
    """
    Writes `onnx/model.onnx`, `config.json` and `preprocessor_config.json` into a folder.

    The model takes `pixel_values` of shape `(batch_size, num_channels, height, width)` and gives `logits` of shape
    `(batch_size, num_labels)` and `localization_map` of shape `(batch_size, grid_height, grid_width)`, any number of
    images at a time. Weights are in the same file, as a browser cannot open a second one by its path. The file has no
    paths or times in it: exported again with the same versions it is the same, byte for byte. Its outputs are compared
    with PyTorch's before anything is written.

    Args:
        model ([`SATForWeaklySupervisedLocalization`]):
            The model, in float32.
        image_processor ([`SATImageProcessor`]):
            What prepares the model's images; written beside the model, with `image_size` if that is given.
        output (`str` or `os.PathLike`):
            Folder to write; what an earlier export wrote there is replaced, or removed.
        opset (`int`, *optional*, defaults to 18):
            Version of ONNX's operators, from 18 to 23.
        image_size (`tuple[int, int]`, *optional*):
            Height and width of the images, multiples of the patch; those that the image processor makes by default.
            For other ones than the model's own the position embeddings are resized.
        dynamic_size (`bool`, *optional*, defaults to `False`):
            Whether the exported model takes images of any height and width that the patch divides.
        quantize (`bool`, *optional*, defaults to `False`):
            Whether to write `onnx/model_quantized.onnx` too, whose linear layers have weights of 8 bits.

    Returns:
        [`OnnxExport`]

    Raises:
        `ValueError`: if `model` is no SAT model or not in float32, if `output` is a file, or if `opset` or `image_size`
            is out of range; nothing is written then.
        `RuntimeError`: if onnxruntime cannot run the exported model, or if its outputs differ from PyTorch's by more
            than 1e-4, at one of the compared sizes; nothing is written.
    """
    check_folder(output)
    check_folder(Path(output, "onnx"))
    _check_model(model)
    if opset not in OPSETS:
        raise ValueError(f"`opset` must be between {OPSETS[0]} and {OPSETS[-1]}, got {opset}.")
    if image_size is not None:
        _check_image_size(model, *image_size)
        image_processor = _with_image_size(image_processor, image_size)
    height, width = _traced_size(model, image_processor, dynamic_size)

    model = copy.deepcopy(model).cpu().eval()
    data = _trace(model, height, width, opset, dynamic_size)
    sizes = _compared_sizes(model, height, width, dynamic_size)
    differences = _differences(model, data, sizes)
    wrong = [f"{height}x{width}" for (height, width), value in differences.items() if not value <= TOLERANCE]
    if wrong:
        raise RuntimeError(
            f"The exported model's outputs differ from PyTorch's by {_largest(differences):.1e}, more than "
            f"{TOLERANCE:.0e}, on images of {', '.join(wrong)} pixels; nothing was written. {REMEDY}"
        )
    export = OnnxExport(Path(output, "onnx", "model.onnx"), _largest(differences))
    files = {export.path: data}
    quantized_path = export.path.with_name("model_quantized.onnx")
    if quantize:
        files[quantized_path] = _quantize(data)
        export.quantized_path = quantized_path
        export.quantized_difference = _largest(_differences(model, files[quantized_path], sizes))

    with replacing_files(output) as unfinished:
        (unfinished / "onnx").mkdir()
        for path, content in files.items():
            (unfinished / "onnx" / path.name).write_bytes(content)
        model.config.save_pretrained(unfinished)
        image_processor.save_pretrained(unfinished)
    if not quantize:
        # one of an earlier export may be of another model
        quantized_path.unlink(missing_ok=True)
    return export


def _check_model(model: SATForWeaklySupervisedLocalization):
    # by name: a copy of the class that came with a checkpoint will do
    is_sat = model.config.model_type == SATConfig.model_type
    if not is_sat or type(model).__name__ != SATForWeaklySupervisedLocalization.__name__:
        raise ValueError(
            f"`model` must be a SATForWeaklySupervisedLocalization, got {type(model).__name__} of type "
            f"`{model.config.model_type}`."
        )
    if model.dtype != torch.float32:
        raise ValueError(f"`model` must be in float32, got {model.dtype}; load it with `dtype=torch.float32`.")
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if num_bytes >= MAX_FILE_BYTES:
        raise ValueError(
            f"The weights are {num_bytes / 2**30:.1f} GiB; a single ONNX file holds less than 2 GiB, and browsers need a "
            "single one."
        )


def _with_image_size(image_processor: BaseImageProcessor, image_size: tuple[int, int]) -> BaseImageProcessor:
    """A copy whose images have `image_size`; a resize before a crop keeps its proportion to the crop."""
    height, width = image_size
    settings = image_processor.to_dict()
    if image_processor.do_center_crop:
        crop = image_processor.crop_size
        settings["crop_size"] = {"height": height, "width": width}
        if image_processor.size.height and image_processor.size.width:
            settings["size"] = {
                "height": round(image_processor.size.height * height / crop["height"]),
                "width": round(image_processor.size.width * width / crop["width"]),
            }
        else:
            shortest = image_processor.size.shortest_edge
            scale = max(height / crop["height"], width / crop["width"])
            settings["size"] = {"shortest_edge": round(shortest * scale)}
    else:
        settings["size"] = {"height": height, "width": width}
        settings["do_resize"] = True
    return type(image_processor).from_dict(settings)


def _traced_size(
    model: SATForWeaklySupervisedLocalization, image_processor: BaseImageProcessor, dynamic_size: bool
) -> tuple[int, int]:
    """Height and width of the images to trace the model with: those that the image processor makes."""
    embeddings = model.vit.embeddings
    try:
        height, width = image_processor.model_input_size()
    except ValueError as error:
        if not dynamic_size:
            raise ValueError(
                "The image processor's images have no fixed size; pass `image_size`, or `dynamic_size=True` for a "
                "model that takes any."
            ) from error
        height, width = embeddings.image_size
    _check_image_size(model, height, width)
    return height, width


def _check_image_size(model: SATForWeaklySupervisedLocalization, height: int, width: int):
    patch_height, patch_width = model.vit.embeddings.patch_embeddings.patch_size
    if height < patch_height or width < patch_width or height % patch_height != 0 or width % patch_width != 0:
        raise ValueError(
            f"`image_size` must be a multiple of the model's patches of {patch_height}x{patch_width}, got "
            f"{height}x{width}."
        )


def _trace(
    model: SATForWeaklySupervisedLocalization, height: int, width: int, opset: int, dynamic_size: bool
) -> bytes:
    """The model as an ONNX file."""
    resize_positions = dynamic_size or (height, width) != tuple(model.vit.embeddings.image_size)
    if dynamic_size:
        # An example of the model's own size would take the way that leaves the position embeddings as they are, and one
        # of a single patch would fix that side.
        (own_height, own_width), patch_embeddings = (
            model.vit.embeddings.image_size,
            model.vit.embeddings.patch_embeddings,
        )
        height = own_height + 2 * patch_embeddings.patch_size[0]
        width = own_width + 3 * patch_embeddings.patch_size[1]
    inputs = {"pixel_values": _images(model, BATCH_SIZES[0], height, width)}
    free = {0: torch.export.Dim.DYNAMIC}
    if dynamic_size:
        free |= {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    shapes = {"pixel_values": free}
    if resize_positions:
        inputs["interpolate_pos_encoding"] = True
        shapes["interpolate_pos_encoding"] = None
    with _quiet(), _two_outputs(model), torch.no_grad():
        program = torch.onnx.export(
            model,
            args=(),
            kwargs=inputs,
            input_names=["pixel_values"],
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes=shapes,
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    return _clean(program.model_proto, dynamic_size)


@contextlib.contextmanager
def _two_outputs(model: SATForWeaklySupervisedLocalization):
    """Of a model with a probability for each class, too, the outputs are logits and map: the former's sigmoids are its scores."""
    problem_type = model.config.problem_type
    model.config.problem_type = "single_label_classification"
    try:
        yield
    finally:
        model.config.problem_type = problem_type


@contextlib.contextmanager
def _quiet():
    """Leaves out the exporter's remarks, which are about its own inner workings."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _clean(model_proto, dynamic_size: bool) -> bytes:
    """Without what tells of the machine that exported (stack traces with paths), and with dimensions named for people."""
    graph = model_proto.graph
    for part in (model_proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    # shapes inside the graph carry the exporter's own symbols; runtimes infer them again
    del graph.value_info[:]

    names = {"pixel_values": ["batch_size", None, None, None], "logits": ["batch_size", None]}
    names["localization_map"] = ["batch_size", None, None]
    if dynamic_size:
        names["pixel_values"][2:] = ["height", "width"]
        names["localization_map"][1:] = ["grid_height", "grid_width"]
    for value in (*graph.input, *graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, names[value.name], strict=True):
            if name is not None:
                dimension.dim_param = name
    return model_proto.SerializeToString(deterministic=True)


def _images(model: SATForWeaklySupervisedLocalization, batch_size: int, height: int, width: int) -> torch.Tensor:
    """Numbers with the range of normalised images, the same each time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch_size, model.config.num_channels, height, width, generator=generator)


def _compared_sizes(
    model: SATForWeaklySupervisedLocalization, height: int, width: int, dynamic_size: bool
) -> list[tuple[int, int]]:
    """
    Heights and widths at which the exported model is compared with PyTorch: those of the image processor's images and,
    with `dynamic_size`, a taller and a wider one, and sides of a single patch. There resizing has rules of its own,
    which differ between runtimes.
    """
    sizes = [(height, width)]
    if dynamic_size:
        patch_height, patch_width = model.vit.embeddings.patch_embeddings.patch_size
        sizes += [(height + patch_height, width), (height, width + 2 * patch_width)]
        sizes += [(patch_height, width), (height, patch_width), (patch_height, patch_width)]
    return sizes


def _differences(
    model: SATForWeaklySupervisedLocalization, data: bytes, sizes: list[tuple[int, int]]
) -> dict[tuple[int, int], float]:
    """
    The largest difference between the outputs of `model` and those of the ONNX file `data` at each height and width,
    over batches of several sizes. A NaN on either side stays one; outputs of another shape differ by infinity.
    """
    with _named_errors("load the exported model"):
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    differences = {}
    for height, width in sizes:
        found_here = []
        for batch_size in BATCH_SIZES:
            pixel_values = _images(model, batch_size, height, width)
            with _named_errors(f"run the exported model on {batch_size} images of {height}x{width} pixels"):
                found = session.run(OUTPUT_NAMES, {"pixel_values": pixel_values.numpy()})
            with torch.no_grad():
                expected = model(pixel_values, interpolate_pos_encoding=True)
            for name, values in zip(OUTPUT_NAMES, found, strict=True):
                same_shape = values.shape == expected[name].shape
                found_here.append((torch.from_numpy(values) - expected[name]).abs().max() if same_shape else torch.inf)
        differences[height, width] = torch.tensor(found_here).max().item()
    return differences


@contextlib.contextmanager
def _named_errors(attempt: str):
    """Says what onnxruntime could not do; its own errors have no class in common, and name inner nodes only."""
    try:
        yield
    except Exception as error:
        raise RuntimeError(
            f"onnxruntime cannot {attempt}; nothing was written. {REMEDY} It says: {one_line(error)}"
        ) from error


def _largest(differences: dict[tuple[int, int], float]) -> float:
    # unlike Python's, this maximum of numbers with a NaN is NaN
    return torch.tensor([*differences.values()]).max().item()


def _quantize(data: bytes) -> bytes:
    """The same with the linear layers' weights in 8 bits; their inputs are quantized as they come."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder, "model.onnx"), Path(folder, "quantized.onnx")
        source.write_bytes(data)
        # the patch embedding's and the classifier's convolutions stay: they are small, and decide most
        quantize_dynamic(source, target, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QUInt8)
        return target.read_bytes()


__all__ = ["OnnxExport", "export_model", "export_onnx"]
