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
"""Models of others on a Hub: what is refused, and that nothing of it is downloaded first."""

import json

import pytest
from hub_client import run_client
from local_hub import Repository
from sat_testing import tiny_model

from transformers_sat import SATImageProcessor


INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model in several files."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder, max_shard_size="60KB")
    SATImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def put(hub, name: str, files: dict[str, bytes]):
    repository = hub.repositories["model", name] = Repository("model", name)
    repository.add_commit("a model", files)


def load_client(names):
    """What comes of each model: its number of parameters, or the error."""
    from transformers_sat.safe_loading import load_localizer

    found = {}
    for name in names:
        try:
            found[name] = load_localizer(name, device="cpu").model.num_parameters()
        except (ValueError, OSError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def test_loading_from_the_hub(local_hub, tmp_path, files):
    index = json.loads(files[INDEX])
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 1

    def with_index(*names):
        """The last tensors in the map are said to lie in these files."""
        weight_map = dict(index["weight_map"])
        for tensor, name in zip(reversed(weight_map), names):
            weight_map[tensor] = name
        return files | {INDEX: json.dumps(index | {"weight_map": weight_map}).encode(), "pytorch_model.bin": b"pickle"}

    without_weights = {name: content for name, content in files.items() if "safetensors" not in name}
    refused = {
        "owner/bin": (with_index("pytorch_model.bin"), "ValueError", f"owner/bin/{INDEX}", "'pytorch_model.bin'"),
        "owner/above": (
            with_index("../../other/model/resolve/main/model.safetensors"),
            "ValueError",
            f"owner/above/{INDEX}",
            "plain name",
        ),
        "owner/gone": (
            with_index("gone.safetensors"),
            "ValueError",
            f"owner/gone/{INDEX}",
            "'gone.safetensors' is missing",
        ),
        "owner/pickle": (
            without_weights | {"pytorch_model.bin": b"pickle"},
            "ValueError",
            "owner/pickle",
            "only safetensors",
        ),
        "owner/weightless": (without_weights, "OSError", "owner/weightless", "no weights"),
    }
    for name, (content, *_) in refused.items():
        put(local_hub, name, content)
    put(local_hub, "owner/sound", files)
    put(local_hub, "owner/half", files | {shards[0]: files[shards[1]]})
    put(local_hub, "owner/config", files | {"config.json": b"[]"})

    found, _ = run_client(
        local_hub.endpoint,
        tmp_path / "home",
        load_client,
        ["owner/sound", *refused, "owner/half", "owner/config", "owner/nothing"],
        with_package=True,
    )
    assert found["owner/sound"] == tiny_model().num_parameters()
    for name, (_, *words) in refused.items():
        for word in words:
            assert word in found[name], found[name]
        downloads = [path for path in local_hub.requests if path.startswith(f"GET /{name}/resolve/")]
        assert not [path for path in downloads if path.endswith((".safetensors", ".bin"))], downloads
    assert "missing weights" in found["owner/half"] and f"owner/half/{INDEX}" in found["owner/half"]
    assert found["owner/config"].startswith("ValueError: owner/config/config.json: must hold an object")
    assert found["owner/nothing"].startswith("NoSuchPlaceError: There is no folder 'owner/nothing' here")
