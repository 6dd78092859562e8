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
Loading of models that others made, for the commands: weights in safetensors only, no code but this package's, and nothing
made up. What is missing, damaged or out of bounds is refused with one line that names the file.
"""

import contextlib
import json
import logging
import os
import re
import shutil

import safetensors.torch
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig, PreTrainedModel, pipeline
from transformers.initialization import no_init_weights
from transformers.utils import (
    CONFIG_NAME,
    IMAGE_PROCESSOR_NAME,
    PROCESSOR_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
)
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file, has_file

from .model.backbones_sat import read_backbone
from .model.configuration_sat import SATConfig
from .model.image_processing_pil_sat import SATImageProcessorPil
from .model.image_processing_sat import SATImageProcessor
from .model.images_sat import one_line
from .model.modeling_sat import SATForWeaklySupervisedLocalization
from .model.pipeline_sat import WeaklySupervisedLocalizationPipeline
from .model.timm_sat import timm_processor_settings
from .places import check_place, reading_from


# Those of Transformers' own fields that a SAT model has a use for.
COMMON_FIELDS = {"id2label", "label2id", "num_labels", "problem_type", "dtype", "torch_dtype"}
IMAGE_PROCESSOR_SETTINGS = {
    "do_resize",
    "size",
    "default_to_square",
    "resample",
    "do_center_crop",
    "crop_size",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
    "do_convert_rgb",
    "do_pad",
    "localization_threshold",
}

ADAPTER_FILE = "adapter_config.json"

# Of what an error says, in characters.
MAX_MESSAGE_LENGTH = 400
# The names of a million classes fit.
MAX_JSON_BYTES = 64 * 2**20

# By their names.
PICKLES = ("*.bin", "*.ckpt", "*.pickle", "*.pkl", "*.pt", "*.pth", "*.pth.tar", f"{WEIGHTS_NAME}*")

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# A configuration that asks for more than the weights can fill is refused before memory is taken for it. Up to here the
# model is built, so that the error can name the tensors that are missing.
MAX_SHARE_MISSING = 8
SPARE_PARAMETERS = 100_000_000


def load_localizer(
    pretrained_model_name_or_path: str | os.PathLike,
    device: int | str | torch.device | None = None,
    token: str | bool | None = None,
    revision: str = "main",
) -> WeaklySupervisedLocalizationPipeline:
    """
    The `weakly-supervised-localization` pipeline with a model of the Hub or of a folder; see [`load_model`].

    Args:
        pretrained_model_name_or_path (`str` or `os.PathLike`):
            Repository on the Hub or folder of a SAT model.
        device (`int`, `str` or `torch.device`, *optional*):
            Where to run, such as `cuda:0`; Transformers chooses by default.
        token (`str` or `bool`, *optional*):
            Access token for the Hub.
        revision (`str`, *optional*, defaults to `"main"`):
            Branch, tag or commit.

    Returns:
        [`WeaklySupervisedLocalizationPipeline`]

    Raises:
        `OSError`: as [`load_model`].
        `ValueError`: as [`load_model`], and if the image processor does not bring all images to the model's size.
    """
    model, image_processor = load_model(pretrained_model_name_or_path, token=token, revision=revision)
    check_input_size(model.config, image_processor)
    return pipeline(
        "weakly-supervised-localization",
        model=model,
        image_processor=image_processor,
        # by its class: a repository that brings a pipeline of its own would be asked for that one's code
        pipeline_class=WeaklySupervisedLocalizationPipeline,
        device=device,
    )


def load_model(
    pretrained_model_name_or_path: str | os.PathLike, token: str | bool | None = None, revision: str = "main"
) -> tuple[SATForWeaklySupervisedLocalization, SATImageProcessor]:
    """
    A model to use, and its image processor. Code that lies beside the weights is not run, and no other files than
    `config.json`, `preprocessor_config.json` (or `processor_config.json`) and the safetensors are opened.

    Args:
        pretrained_model_name_or_path (`str` or `os.PathLike`): repository on the Hub or folder of a SAT model.
        token (`str` or `bool`, *optional*): access token for the Hub.
        revision (`str`, *optional*, defaults to `"main"`): branch, tag or commit.

    Returns:
        `tuple` of [`SATForWeaklySupervisedLocalization`], in evaluation mode on the CPU, and [`SATImageProcessor`].

    Raises:
        `OSError`: if there is no such repository or folder, or one of its files is missing.
        `ValueError`: if it holds another kind of model or pickled weights, if a file is damaged, a setting out of its
            range, or a tensor missing, of another shape or not finite. The message is one line, with the file's name.
    """
    files = ModelFiles(pretrained_model_name_or_path, token, revision)
    config = read_config(files)
    if config.model_type != SATConfig.model_type:
        raise ValueError(
            f"{files.name} is a `{config.model_type}` model and has no localization map: give a SAT model, such as "
            "`transformers-sat convert backbone` makes one to train."
        )
    if config.num_channels != 3:
        raise ValueError(
            f"{files.label(CONFIG_NAME)}: `num_channels` must be 3, as images are RGB, got {config.num_channels}."
        )
    image_processor = read_image_processor(files)
    return load_weights(SATForWeaklySupervisedLocalization, config, files), image_processor


class ModelFiles:
    """
    The files of a model.

    Args:
        name (`str` or `os.PathLike`): repository on the Hub or folder.
        token (`str` or `bool`, *optional*): access token for the Hub.
        revision (`str`, *optional*, defaults to `"main"`): branch, tag or commit.
    """

    def __init__(self, name: str | os.PathLike, token: str | bool | None = None, revision: str = "main"):
        self.name = os.fspath(name)
        check_place(self.name, "model")
        self.token = token
        self.revision = revision

    def label(self, filename: str) -> str:
        """What errors call a file."""
        return f"{self.name}/{filename}"

    def has(self, filename: str) -> bool:
        return has_file(self.name, filename, token=self.token, revision=self.revision)

    def path(self, filename: str) -> str:
        """Where the file lies, after it was downloaded; an `OSError` if there is none."""
        path = cached_file(self.name, filename, token=self.token, revision=self.revision)
        if path is None:
            adapter = " It is an adapter: merge it into its model and save that." if self.has(ADAPTER_FILE) else ""
            raise FileNotFoundError(f"{self.name} has no {filename}: it is no folder of a model.{adapter}")
        return path

    def copy_to(self, folder: str | os.PathLike):
        """Copies all files into a folder, but weights that are pickles."""
        source = self.name
        if not os.path.isdir(source):
            source = snapshot_download(source, token=self.token, revision=self.revision, ignore_patterns=PICKLES)
        # what a cache has as links becomes files
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*PICKLES))

    def read_json(self, filename: str) -> dict:
        """The object that a file holds."""
        path = self.path(filename)
        with refusing(self.label(filename)):
            size = os.path.getsize(path)
            if size > MAX_JSON_BYTES:
                raise ValueError(f"must have at most {MAX_JSON_BYTES} bytes, has {size}.")
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            if not isinstance(content, dict):
                raise ValueError(f"must hold an object, holds {type(content).__name__}.")
        return content

    def weights(self) -> list[str]:
        """
        Names of the files that hold the weights, all in safetensors. None of them is opened.

        Raises:
            `OSError`: if there are none.
            `ValueError`: if they are pickles, or the index names others than safetensors that lie beside it.
        """
        if self.has(SAFE_WEIGHTS_NAME):
            return [SAFE_WEIGHTS_NAME]
        if self.has(SAFE_WEIGHTS_INDEX_NAME):
            return self.shards()
        for pickled in (WEIGHTS_NAME, WEIGHTS_INDEX_NAME):
            if self.has(pickled):
                raise ValueError(
                    f"{self.name} has its weights as a pickle only ({pickled}), which can run code when it is read; only "
                    "safetensors are loaded. Ask its owner for a model.safetensors, or, if you trust the file, make one: "
                    "load the model with Transformers' `from_pretrained` and save it with `save_pretrained`, which writes "
                    "safetensors."
                )
        raise OSError(f"{self.name} has no weights: neither {SAFE_WEIGHTS_NAME} nor {SAFE_WEIGHTS_INDEX_NAME}.")

    def weights_label(self) -> str:
        """What errors call the weights."""
        return self.label(SAFE_WEIGHTS_NAME if self.has(SAFE_WEIGHTS_NAME) else SAFE_WEIGHTS_INDEX_NAME)

    def shards(self) -> list[str]:
        """The files that the index of the weights names."""
        label = self.label(SAFE_WEIGHTS_INDEX_NAME)
        weight_map = self.read_json(SAFE_WEIGHTS_INDEX_NAME).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ValueError(f"{label}: `weight_map` must have the file of each tensor.")
        for shard in weight_map.values():
            # no separators, no drive, no `..`
            if not isinstance(shard, str) or not re.fullmatch(r"[\w.-]+\.safetensors", shard):
                raise ValueError(
                    f"{label}: the shard {one_line(repr(shard))} must be the plain name of a .safetensors file beside it."
                )
        shards = sorted(set(weight_map.values()))
        for shard in shards:
            if not self.has(shard):
                raise ValueError(f"{label}: the shard {shard!r} is missing; get the whole model again.")
        return shards

    def read_weights(self) -> dict[str, torch.Tensor]:
        """
        All tensors by their names, floating-point numbers in memory that is read when it is needed.

        Raises:
            `OSError`: if there are no weights.
            `ValueError`: as [`weights`], and if a file is damaged or holds something else.
        """
        tensors = {}
        for filename in self.weights():
            path = self.path(filename)
            with refusing(self.label(filename)):
                with open(path, "rb") as file:
                    if file.read(64).startswith(b"version https://git-lfs"):
                        raise ValueError("is a pointer of Git LFS, not the file itself: run `git lfs pull`.")
                tensors |= safetensors.torch.load_file(path)
                # whole numbers from 0 on, which older files of CLIP hold
                tensors = {name: each for name, each in tensors.items() if not name.endswith(".position_ids")}
                check_floating_point(tensors)
        return tensors


def read_config(files: ModelFiles) -> PreTrainedConfig:
    """
    The configuration of a SAT model or of a backbone for one.

    Only the fields that describe the model are taken. Transformers would set any other entry as an attribute, and some of
    its own name code, kernels or files to load.

    Raises:
        `OSError`: if there is no `config.json`.
        `ValueError`: if it is damaged, of another kind of model, or has a field of another type or out of its range.
    """
    # the first that is asked for
    with reading_from(files.name, "model"):
        fields = files.read_json(CONFIG_NAME)
    with refusing(files.label(CONFIG_NAME)):
        if fields.get("model_type") != SATConfig.model_type:
            return read_backbone(fields)[1]
        known = SATConfig.__dataclass_fields__.keys() - PreTrainedConfig.__dataclass_fields__.keys() | COMMON_FIELDS
        return SATConfig(**{name: value for name, value in fields.items() if name in known})


def read_processor_settings(files: ModelFiles) -> dict:
    """What the files of a model say of its image processor; nothing where there is none."""
    _, settings = _find_processor_settings(files)
    if settings is None:
        settings = timm_processor_settings(files.read_json(CONFIG_NAME))
    return settings if isinstance(settings, dict) else {}


def _find_processor_settings(files: ModelFiles) -> tuple[str, dict | None]:
    """The file of the image processor, and what it says; `None` where there is none."""
    # in the order in which Transformers looks
    if files.has(PROCESSOR_NAME):
        settings = files.read_json(PROCESSOR_NAME).get("image_processor")
        if settings is not None:
            return PROCESSOR_NAME, settings
    return IMAGE_PROCESSOR_NAME, files.read_json(IMAGE_PROCESSOR_NAME) if files.has(IMAGE_PROCESSOR_NAME) else None


def read_image_processor(files: ModelFiles) -> SATImageProcessor:
    """
    The image processor beside a model.

    Raises:
        `OSError`: if there is none.
        `ValueError`: if its file is damaged, it is another model's, or a setting is out of its range.
    """
    filename, settings = _find_processor_settings(files)
    if settings is None:
        raise OSError(f"{files.name} has no image processor: neither {IMAGE_PROCESSOR_NAME} nor {PROCESSOR_NAME}.")
    label = files.label(filename)
    kind = settings.get("image_processor_type") if isinstance(settings, dict) else None
    if kind not in (SATImageProcessor.__name__, SATImageProcessorPil.__name__):
        raise ValueError(
            f"{label}: `image_processor_type` must be {SATImageProcessor.__name__}, got {one_line(repr(kind))}; save a SAT "
            "image processor beside the model."
        )
    with refusing(label):
        return SATImageProcessor(**{name: settings[name] for name in IMAGE_PROCESSOR_SETTINGS & settings.keys()})


def check_input_size(config: SATConfig, image_processor: SATImageProcessor):
    """Stops if the image processor does not make images of the model's size, and so none that it takes."""
    label = f"The image processor of {config.name_or_path}"
    image_size = config.image_size
    expected = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    with refusing(f"{label} does not fit the model's `image_size` of {expected[0]}x{expected[1]} px"):
        size = image_processor.model_input_size()
        if size != expected:
            raise ValueError(f"its `size`, or its `crop_size`, gives images of {size[0]}x{size[1]}.")


def load_weights(
    model_class: type[PreTrainedModel], config: PreTrainedConfig, files: ModelFiles, **arguments
) -> PreTrainedModel:
    """
    A model of a configuration with the weights of its files; see [`model_from_weights`], which has the other arguments.

    Raises:
        `OSError`, `ValueError`: as [`ModelFiles.read_weights`] and [`model_from_weights`].
    """
    model = model_from_weights(model_class, config, files.read_weights(), files.weights_label(), **arguments)
    model.config.name_or_path = files.name
    return model


def read_checked_weights(
    model_class: type[PreTrainedModel], config: PreTrainedConfig, files: ModelFiles
) -> dict[str, torch.Tensor]:
    """
    Weights in a layout that Transformers does not know, for a model of a configuration. Names and shapes are left to check.

    Raises:
        `OSError`: as [`ModelFiles.read_weights`].
        `ValueError`: as [`ModelFiles.read_weights`], and if the configuration describes a far larger model, or a number is
            not finite.
    """
    state_dict = files.read_weights()
    check_described_size(model_class, config, state_dict, files.weights_label())
    check_finite(state_dict, files.weights_label())
    return state_dict


def model_from_weights(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    state_dict: dict[str, torch.Tensor],
    source: str,
    may_lack: str = r"(?!)",
    dtype: str | torch.dtype = "auto",
    **arguments,
) -> PreTrainedModel:
    """
    A model all of whose weights are given, as `from_pretrained` would have loaded it.

    Args:
        model_class (`type[PreTrainedModel]`): the class to build.
        config (`PreTrainedConfig`): its configuration.
        state_dict (`dict[str, torch.Tensor]`): weights, in any layout that `from_pretrained` reads.
        source (`str`): what errors call the weights.
        may_lack (`str`, *optional*): regular expression for the beginning of names of tensors that need not be there.
        dtype (`str` or `torch.dtype`, *optional*, defaults to `"auto"`): of the model; the configuration's or the
            weights' own by default.
        arguments: for the class.

    Returns:
        `PreTrainedModel`: in evaluation mode.

    Raises:
        `ValueError`: if tensors are missing, of another shape than the configuration says, or not finite. The message
            names a few.
    """
    check_described_size(model_class, config, state_dict, source, **arguments)
    with refusing(source), quiet_loading():
        model, report = model_class.from_pretrained(
            None,
            config=config,
            state_dict=state_dict,
            dtype=dtype,
            # named below, instead of in a table
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **arguments,
        )
    # `from_pretrained` writes the name that it was not given
    model.config.name_or_path = ""
    misshapen = {key: (tuple(found), tuple(expected)) for key, found, expected in report["mismatched_keys"]}
    missing = {name for name in report["missing_keys"] - misshapen.keys() if not re.match(may_lack, name)}
    if missing:
        raise ValueError(
            f"{source}: missing weights: {listed(missing)}. The file is damaged, or of another model than the configuration "
            "describes."
        )
    if misshapen:
        name = min(misshapen)
        raise ValueError(
            f"{source}: weights that do not fit the configuration: {listed(misshapen)}. {name} has shape "
            f"{misshapen[name][0]}, expected {misshapen[name][1]}."
        )
    check_finite(model.state_dict(), source)
    return model


def check_described_size(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    state_dict: dict[str, torch.Tensor],
    source: str,
    **arguments,
):
    """Stops before memory is taken for a model that the weights cannot fill; arguments as of [`model_from_weights`]."""
    num_stored = sum(tensor.numel() for tensor in state_dict.values())
    with torch.device("meta"), no_init_weights():
        num_described = model_class(config, **arguments).num_parameters()
    if num_described > MAX_SHARE_MISSING * num_stored + SPARE_PARAMETERS:
        raise ValueError(
            f"{source}: the weights are {num_stored} numbers, but the configuration describes a model of {num_described}; "
            "they do not belong together."
        )


def check_floating_point(tensors: dict[str, torch.Tensor]):
    """Stops at weights of another kind, which a model would take for its numbers or stumble over."""
    others = [name for name, tensor in tensors.items() if tensor.dtype not in DTYPES]
    if others:
        raise ValueError(
            f"weights must be floating-point numbers of 16 to 64 bits, got {tensors[min(others)].dtype} in {listed(others)}."
        )


def check_finite(tensors: dict[str, torch.Tensor], source: str):
    """Stops at weights that a run which came apart has left."""
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"{source}: weights that are not finite (NaN or infinite): {listed(broken)}.")


def listed(names) -> str:
    """A few of the names, then a count."""
    names = sorted(names)
    shown = ", ".join(one_line(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more tensors"


@contextlib.contextmanager
def quiet_loading():
    """Without Transformers' table of tensors that do not fit, and without its bar."""

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger, has_bar = logging.getLogger("transformers.modeling_utils"), transformers_logging.is_progress_bar_enabled()
    logger.addFilter(is_error)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.removeFilter(is_error)
        if has_bar:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def refusing(label: str):
    """Whatever others' files make the readers raise becomes a `ValueError` of one line that begins with `label`."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        # the strict configurations wrap the error that names the field
        cause = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
        raise ValueError(f"{label}: {one_line(cause, MAX_MESSAGE_LENGTH)}") from error


__all__ = [
    "ModelFiles",
    "load_localizer",
    "load_model",
    "load_weights",
    "model_from_weights",
    "read_config",
    "refusing",
]
