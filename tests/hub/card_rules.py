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
The Hub's rules for the YAML at the head of a card, as far as they are published: its list of licences, the tasks it has
widgets for, the form of `model-index`, the types of the fields. The Hub itself checks more.
"""

import re

import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results


# https://huggingface.co/docs/hub/repositories-licenses
LICENSES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m afl-3.0
artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0
cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0
epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0
odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr unknown other
"""
# The tasks of images, of https://huggingface.co/tasks.
PIPELINE_TAGS = """
depth-estimation image-classification image-feature-extraction image-segmentation image-to-image image-to-text
mask-generation object-detection unconditional-image-generation zero-shot-image-classification zero-shot-object-detection
"""
REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
LISTS_OF_STRINGS = ("tags", "metrics", "task_categories", "size_categories", "annotations_creators", "source_datasets")


def card_problems(content: str, kind: str = "model") -> tuple[list[str], list[str]]:
    """
    Errors and warnings about a card.

    Args:
        content (`str`): the card, with its YAML between two lines of three dashes.
        kind (`str`, *optional*, defaults to `"model"`): `"model"`, `"dataset"` or `"space"`.
    """
    found = re.match(r"\s*---\s*\r?\n(.*?)\r?\n---\s*(\n|$)", content, re.DOTALL)
    if found is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(found.group(1))
    except yaml.YAMLError as error:
        return [f"the YAML cannot be read: {error}"], []
    if not isinstance(data, dict):
        return ["the YAML must be names with values"], []

    errors = list(license_errors(data))
    errors += [
        f'"{name}" must be a list of strings' for name in LISTS_OF_STRINGS if not is_list_of_strings(data, name)
    ]
    if kind == "model":
        errors += model_errors(data)
    if kind == "space" and data.get("sdk") not in ("gradio", "streamlit", "docker", "static"):
        errors.append('"sdk" must be one of gradio, streamlit, docker, static')
    return errors, []


def is_list_of_strings(data: dict, name: str) -> bool:
    values = data.get(name, [])
    values = [values] if isinstance(values, str) else values
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def license_errors(data: dict):
    licenses = data.get("license", [])
    for each in [licenses] if isinstance(licenses, str) else licenses:
        if each not in LICENSES.split():
            yield f'"license" must be one of the Hub\'s identifiers, got {each!r}'
        if each == "other" and not data.get("license_name"):
            yield '"license: other" needs a "license_name"'
    if not re.fullmatch(r"[a-z0-9-.]+", data.get("license_name", "x")):
        yield '"license_name" must be lower case letters, digits, dots and dashes'


def model_errors(data: dict):
    tag = data.get("pipeline_tag")
    if tag is not None and tag not in PIPELINE_TAGS.split():
        yield f'"pipeline_tag" must be one of the Hub\'s tasks, got {tag!r}'
    for name in ("base_model", "datasets"):
        values = data.get(name, [])
        for value in [values] if isinstance(values, str) else values:
            if not isinstance(value, str) or not REPOSITORY.fullmatch(value):
                yield f'"{name}" must be names of repositories, got {value!r}'
    for example in data.get("widget", []):
        if not isinstance(example, dict) or not ({"src", "text"} & example.keys()):
            yield '"widget" must be a list of examples with a "src"'
    if "model-index" in data:
        yield from model_index_errors(data["model-index"])


def model_index_errors(index):
    try:
        names_and_results = model_index_to_eval_results(index)
    except (KeyError, TypeError, AttributeError) as error:
        yield f'"model-index" is not in its form: {error!r}'
        return
    for result in names_and_results[1]:
        if not isinstance(result.metric_value, int | float):
            yield f'"model-index" has a metric without a number: {result.metric_type}'
        if not REPOSITORY.fullmatch(result.dataset_type):
            yield f'"model-index" has a data set that is no name of a repository: {result.dataset_type!r}'


__all__ = ["LICENSES", "PIPELINE_TAGS", "card_problems"]
