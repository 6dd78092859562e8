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
"""Publishing a model so that it loads with Transformers alone."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import PIL.Image
import yaml
from huggingface_hub import CommitInfo, HfApi, eval_result_entries_to_yaml
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from .. import model as model_code
from ..model.configuration_sat import SATConfig
from ..model.inputs_sat import as_rgb
from ..registration import HEAD_AUTO_CLASSES
from ..results import RESULTS_FILE, check_results, public_name
from ..saving import WEIGHT_FILES, save_model
from ..writing import replacing_file, write_text
from .model_card import eval_result_entries, model_card


# All that a repository carries of the package. The files lie flat, as Transformers copies them.
MODEL_CODE = Path(model_code.__file__).parent
CODE_FILES = tuple(sorted(file.name for file in MODEL_CODE.glob("*.py") if file.name != "__init__.py"))
HEAD = "modeling_sat.SATForWeaklySupervisedLocalization"
# Transformers' own saving writes one of these; all are needed for all Auto classes.
AUTO_MAP = {
    "AutoConfig": "configuration_sat.SATConfig",
    "AutoModel": "modeling_sat.SATModel",
    **{auto_class.__name__: HEAD for auto_class in HEAD_AUTO_CLASSES},
}
IMAGE_PROCESSOR_AUTO_MAP = {
    "AutoImageProcessor": {
        "torchvision": "image_processing_sat.SATImageProcessor",
        "pil": "image_processing_pil_sat.SATImageProcessorPil",
    }
}
CUSTOM_PIPELINES = {
    "weakly-supervised-localization": {
        "impl": "pipeline_sat.WeaklySupervisedLocalizationPipeline",
        "pt": ["AutoModelForObjectDetection"],
        "type": "image",
    }
}
# What the code files import; an Inference Endpoint installs it.
REQUIREMENTS = (
    "numpy>=2.0",
    "pillow>=11.3",
    "safetensors>=0.8",
    "scipy>=1.13",
    "torch>=2.8",
    "torchvision>=0.23",
    "transformers>=5.23,<6",
)
EXAMPLE_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
# What PEFT saves in the place of a model's configuration and weights.
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILES = (ADAPTER_CONFIG, "adapter_model.safetensors")
MODEL_FILES = ("config.json", "preprocessor_config.json", *WEIGHT_FILES, *ADAPTER_FILES)
# All that a repository holds. A folder may hold much more: logs, checkpoints, images of the data, notes of its owner.
PUBLISHED_FILES = (
    *MODEL_FILES,
    *CODE_FILES,
    *(f"example{suffix}" for suffix in EXAMPLE_SUFFIXES),
    "README.md",
    "requirements.txt",
    RESULTS_FILE,
    ".eval_results/*.yaml",
)


def save_with_remote_code(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    folder: str | os.PathLike,
    *,
    results: dict | None = None,
    license: str | None = None,
    example_image: str | os.PathLike | PIL.Image.Image | None = None,
    repo_id: str | None = None,
    max_shard_size: str | int = "5GB",
):
    """
    Saves a model as a repository that loads with Transformers alone (`trust_remote_code=True`): weights in safetensors,
    both image processors, the code, the pipeline, the handler for an Inference Endpoint, requirements and model card.
    Where `transformers_sat` is imported, the same repository loads without `trust_remote_code`.

    Args:
        model ([`SATModel`] or [`SATForWeaklySupervisedLocalization`]):
            The model, of the installed package or itself loaded with remote code.
        image_processor ([`SATImageProcessor`] or [`SATImageProcessorPil`]):
            Its image processor.
        folder (`str` or `os.PathLike`):
            Where to write; made if it does not exist.
        results (`dict`, *optional*):
            What [`~transformers_sat.results.read_results`] gives of a `results.json`, for the card's figures.
        license (`str`, *optional*):
            The Hub's identifier of the licence of the weights, such as `"apache-2.0"`.
        example_image (`str`, `os.PathLike` or `PIL.Image.Image`, *optional*):
            Image for the widget, saved beside the weights: a JPEG, PNG or WebP file as it is, a PIL image as PNG.
        repo_id (`str`, *optional*):
            Repository that the folder will be pushed to, which the card names.
        max_shard_size (`str` or `int`, *optional*, defaults to `"5GB"`):
            Weights larger than this are split into several files.

    Raises:
        `ValueError`: if the model is not a SAT model, the results have another schema, weights are NaN or infinite, or the
            example is of another kind.
    """
    check_is_sat(model.config.model_type)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(model, image_processor, folder, max_shard_size=max_shard_size)
    if example_image is not None:
        _save_example(example_image, folder)
    add_hub_files(folder, results=results, license=license, repo_id=repo_id)


def add_hub_files(
    folder: str | os.PathLike, *, results: dict | None = None, license: str | None = None, repo_id: str | None = None
):
    """
    Adds to a folder with a saved model and image processor what [`save_with_remote_code`] adds to them.

    Args:
        folder (`str` or `os.PathLike`):
            The folder, with `config.json` and `preprocessor_config.json`; an image called `example.png` (or `.jpg`, `.webp`)
            becomes the widget's.
        results, license, repo_id:
            See [`save_with_remote_code`].

    Raises:
        `ValueError`: if the folder holds another kind of model, or the results have another schema.
    """
    if results is not None:
        check_results(results)
    folder = Path(folder)
    config = _read_json(folder / "config.json")
    check_is_sat(config.get("model_type"))
    config |= {"auto_map": AUTO_MAP, "custom_pipelines": CUSTOM_PIPELINES}
    _write_json(folder / "config.json", config)
    processor_path = folder / "preprocessor_config.json"
    processor = _read_json(processor_path) | {"auto_map": IMAGE_PROCESSOR_AUTO_MAP}
    _write_json(processor_path, processor)

    for name in CODE_FILES:
        with replacing_file(folder / name) as unfinished:
            shutil.copyfile(MODEL_CODE / name, unfinished)
    write_text(folder / "requirements.txt", "\n".join(REQUIREMENTS) + "\n")

    examples = [f"example{suffix}" for suffix in EXAMPLE_SUFFIXES if (folder / f"example{suffix}").is_file()]
    card = model_card(
        config,
        processor,
        results,
        name=repo_id.split("/")[-1] if repo_id else folder.resolve().name,
        repo_id=repo_id,
        license=license,
        example_image=examples[0] if examples else None,
    )
    write_text(folder / "README.md", str(card))
    entries = [] if results is None else eval_result_entries(results)
    if entries:
        path = folder / ".eval_results" / f"{entries[0].dataset_id.split('/')[-1]}.yaml"
        write_text(path, yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False))


def add_adapter_card(
    folder: str | os.PathLike, config: SATConfig, *, results: dict | None = None, repo_id: str | None = None
):
    """
    Writes the card of an adapter (PEFT) into the folder that it was saved in, in place of PEFT's, which knows neither
    task nor figures. Of a base model that is a folder of this machine `adapter_config.json` keeps the last part.

    Args:
        folder (`str` or `os.PathLike`): the folder, with `adapter_config.json` and `preprocessor_config.json`.
        config ([`SATConfig`]): configuration of the model that the adapter acts on.
        results, repo_id: see [`save_with_remote_code`].
    """
    folder = Path(folder)
    adapter = _read_json(folder / ADAPTER_CONFIG)
    adapter["base_model_name_or_path"] = public_name(adapter.get("base_model_name_or_path") or None)
    _write_json(folder / ADAPTER_CONFIG, adapter)
    card = model_card(
        config.to_dict(),
        _read_json(folder / "preprocessor_config.json"),
        results,
        name=repo_id.split("/")[-1] if repo_id else folder.resolve().name,
        repo_id=repo_id,
        adapter=adapter,
    )
    write_text(folder / "README.md", str(card))


def push_to_hub(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str = "Upload SAT model",
    **save_kwargs,
) -> CommitInfo:
    """
    Pushes what [`save_with_remote_code`] writes, in one commit: all of it is in the repository afterwards, or nothing.

    Args:
        model ([`SATModel`] or [`SATForWeaklySupervisedLocalization`]):
            The model.
        image_processor ([`SATImageProcessor`] or [`SATImageProcessorPil`]):
            Its image processor.
        repo_id (`str`):
            Repository, `organization/name`, or `name` for one of your own. Made if it does not exist.
        private (`bool`, *optional*):
            Whether a new repository is private; your organization's default otherwise.
        token (`str` or `bool`, *optional*):
            Access token with the right to write; the one of `hf auth login` by default.
        commit_message (`str`, *optional*, defaults to `"Upload SAT model"`):
            Summary of the commit.
        save_kwargs:
            `results`, `license`, `example_image` and `max_shard_size` of [`save_with_remote_code`].

    Returns:
        [`~huggingface_hub.CommitInfo`]

    Raises:
        `PermissionError`: if there is no token, or the Hub does not know it.
        `RuntimeError`: if the push failed; the message tells the state that the repository is in.
    """
    check_is_sat(model.config.model_type)
    api = HfApi(token=token)
    try:
        api.whoami()
    except LocalTokenNotFoundError as error:
        raise PermissionError("There is no access token for the Hub: run `hf auth login`, or pass `token`.") from error
    except HfHubHTTPError as error:
        if error.response.status_code != 401:
            raise
        raise PermissionError(
            f"{api.endpoint} does not accept the access token (401): pass a valid `token`."
        ) from error

    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    before = api.model_info(repo_id).sha
    with tempfile.TemporaryDirectory() as folder:
        save_with_remote_code(model, image_processor, folder, repo_id=repo_id, **save_kwargs)
        try:
            return api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                allow_patterns=list(PUBLISHED_FILES),
                commit_message=commit_message,
                # refused if somebody else has pushed in the meantime
                parent_commit=before,
                # weights of an earlier push under names that this one may not use again
                delete_patterns=list(WEIGHT_FILES),
            )
        except Exception as error:  # of the network, the server or the disk: what matters is what is left behind
            raise RuntimeError(f"The push to {repo_id} failed: {error}\n{_state(api, repo_id, before)}") from error


def check_is_sat(model_type: str | None):
    if model_type != SATConfig.model_type:
        raise ValueError(f"Only SAT models can be published with SAT's code, got a model of type `{model_type}`.")


def _save_example(example_image: str | os.PathLike | PIL.Image.Image, folder: Path):
    is_file = not isinstance(example_image, PIL.Image.Image)
    suffix = Path(example_image).suffix.lower() if is_file else ".png"
    if suffix not in EXAMPLE_SUFFIXES:
        raise ValueError(f"`example_image` must be a file of {', '.join(EXAMPLE_SUFFIXES)}, got {example_image}.")
    with replacing_file(folder / f"example{suffix}") as unfinished:
        if is_file:
            shutil.copyfile(example_image, unfinished)
        else:
            as_rgb(example_image).save(unfinished)
    for other in EXAMPLE_SUFFIXES:
        if other != suffix:
            (folder / f"example{other}").unlink(missing_ok=True)


def _state(api: HfApi, repo_id: str, before: str) -> str:
    """What a repository is like after a push that failed."""
    try:
        now = api.model_info(repo_id).sha
    except Exception:
        return f"What state the repository is in could not be read; before the push it was at {before}."
    if now == before:
        return f"The repository is as it was, at {before}: nothing of the push is in it. Try again."
    return f"The repository was at {before} before the push and is at {now} now, by another push or this one."


def _read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, content: dict):
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


__all__ = ["add_hub_files", "push_to_hub", "save_with_remote_code"]
