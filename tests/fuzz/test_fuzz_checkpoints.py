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
"""Model folders with random damage: each loads, or is refused with one line; no code runs and no other file is opened."""

import collections
import json
import pickle
import random
import shutil
import struct
import sys
from pathlib import Path

import pytest
from sat_testing import tiny_model

from transformers_sat import SATImageProcessor
from transformers_sat.hub.publishing import save_with_remote_code
from transformers_sat.safe_loading import load_localizer


SEED = 20260101
NUM_FOLDERS = 300

# What a field of a configuration may be replaced by.
VALUES = [
    None,
    True,
    0,
    -1,
    1,
    3,
    7.5,
    10**6,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "gelu",
    "../../outside.safetensors",
    "\x1b[31m\n",
    "x" * 10_000,
    [],
    [1, 2, 3],
    {},
    {"0": "ant"},
    {"height": 10**9, "width": 1},
]
# Entries that mean something to Transformers, which no configuration of SAT has.
ENTRIES = [
    "adapter_model",
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "forward",
    "fusion_config",
    "image_processor_type",
    "num_labels",
    "per_layer_config",
    "quantization_config",
    "return_dict",
    "torch_dtype",
    "transformers_weights",
]


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture(scope="module")
def sound_folder(tmp_path_factory):
    """A published model, with code and a pickle that tell when they are run."""
    parent = tmp_path_factory.mktemp("fuzz")
    folder = parent / "sound"
    save_with_remote_code(tiny_model(), SATImageProcessor(size={"height": 32, "width": 32}), folder)
    for file in folder.glob("*.py"):
        file.write_text(f"open({str(parent / 'exploded')!r}, 'w')\n", encoding="utf-8")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Bomb(parent / "exploded")}))
    shutil.copy(folder / "model.safetensors", parent / "outside.safetensors")
    return folder


def flip_bits(folder: Path, generator: random.Random):
    path = folder / generator.choice(["model.safetensors", "config.json", "preprocessor_config.json"])
    content = bytearray(path.read_bytes())
    for _ in range(generator.choice([1, 10, 100])):
        # the head of the file decides most
        position = generator.randrange(min(len(content), generator.choice([16, 5000, 10**9])))
        content[position] ^= 1 << generator.randrange(8)
    path.write_bytes(content)


def truncate(folder: Path, generator: random.Random):
    path = folder / generator.choice(["model.safetensors", "config.json", "preprocessor_config.json"])
    content = path.read_bytes()
    path.write_bytes(content[: generator.randrange(len(content))])


def edit_header(folder: Path, generator: random.Random):
    """The header of the weights: tensors without, with another's or with wrong entries."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    for name in generator.sample(sorted(header.keys() - {"__metadata__"}), generator.choice([1, 5])):
        action = generator.randrange(5)
        if action == 0:
            del header[name]
        elif action == 1:
            header[name]["shape"] = generator.choice([[], [0], [10**12], [-1], [2, 3], "x", None])
        elif action == 2:
            header[name]["dtype"] = generator.choice(
                ["F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "C64", "F99", 3]
            )
        elif action == 3:
            header[name]["data_offsets"] = [generator.randrange(10**6), generator.choice([0, 10**5, 2**63])]
        else:
            header[generator.choice(["x", "vit." + name, "\n"])] = header.pop(name)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def edit_json(folder: Path, generator: random.Random):
    path = folder / generator.choice(["config.json", "preprocessor_config.json"])
    fields = json.loads(path.read_text(encoding="utf-8"))
    for _ in range(generator.choice([1, 1, 1, 4])):
        name = generator.choice([*sorted(fields), generator.choice(ENTRIES)])
        if generator.randrange(4) == 0:
            fields.pop(name, None)
        else:
            fields[name] = generator.choice(VALUES)
    path.write_text(json.dumps(fields), encoding="utf-8")


def put_index(folder: Path, generator: random.Random):
    """The weights behind an index, whose shards are there or elsewhere."""
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    shards = ["part.safetensors", "../outside.safetensors", "pytorch_model.bin", "/etc/passwd", "", None, {}, "."]
    weight_map = {str(number): generator.choice([shards[0], generator.choice(shards)]) for number in range(3)}
    content = generator.choice([{"metadata": {}, "weight_map": weight_map}, {"weight_map": shards}, weight_map, []])
    (folder / "model.safetensors.index.json").write_text(json.dumps(content), encoding="utf-8")


MUTATIONS = (flip_bits, truncate, edit_header, edit_json, edit_json, put_index)
opened = []
is_watching = False


def watch(event: str, arguments: tuple):
    if is_watching and event == "open" and isinstance(arguments[0], str):
        opened.append(arguments[0])


@pytest.fixture(scope="module")
def watched_files():
    """Names of the files that are opened; a hook cannot be taken away again."""
    sys.addaudithook(watch)
    return opened


@pytest.mark.slow
def test_fuzz_checkpoints(sound_folder, tmp_path, watched_files, monkeypatch, report_counts):
    global is_watching
    import safetensors.torch

    load_file = safetensors.torch.load_file

    def load_file_and_tell(path):
        # opened by Rust, which no hook of Python's sees
        watched_files.append(str(path))
        return load_file(path)

    monkeypatch.setattr(safetensors.torch, "load_file", load_file_and_tell)
    # imports what is imported at the first use
    load_localizer(sound_folder, device="cpu")
    counts = collections.Counter()
    for number in range(NUM_FOLDERS):
        generator = random.Random(SEED + number)
        folder = tmp_path / "model"
        shutil.copytree(sound_folder, folder)
        mutate = generator.choice(MUTATIONS)
        mutate(folder, generator)
        case = f"folder {number}, {mutate.__name__}"
        watched_files.clear()
        is_watching = True
        try:
            load_localizer(folder, device="cpu")
            outcome = "loaded"
        except (ValueError, OSError) as error:
            outcome = type(error).__name__
            message = str(error)
            assert message.isprintable() and len(message) < 2000, (case, message)
            assert str(tmp_path) in message, (case, message)
        except BaseException as error:
            pytest.fail(f"{case}: {type(error).__name__}: {error}")
        finally:
            is_watching = False
        counts[outcome] += 1
        for path in map(Path, watched_files):
            is_inside = path.is_relative_to(folder) and ".." not in path.parts
            is_library = (
                path.is_relative_to(sys.prefix) or path.suffix == ".py" or str(path).startswith(("/proc", "/dev"))
            )
            assert is_inside or is_library, (case, path)
            assert path.suffix not in (".bin", ".py") or not path.is_relative_to(folder), (case, path)
        shutil.rmtree(folder)
    report_counts("damaged model folders", tried=NUM_FOLDERS, **counts)
    assert not (sound_folder.parent / "exploded").exists()
    # damage that is none, such as a threshold of 1, must not be refused, nor other damage be taken
    assert counts["loaded"] > NUM_FOLDERS // 20 and counts["ValueError"] > NUM_FOLDERS // 2
