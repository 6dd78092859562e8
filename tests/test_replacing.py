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
"""What the package writes again stays as it was until the new file is whole: a crash in the middle of each writer."""

import ast
import json
from pathlib import Path

import datasets
import matplotlib.figure
import numpy as np
import PIL.Image
import pytest
import safetensors.torch
from sat_testing import tiny_model

from transformers_sat import SATImageProcessor
from transformers_sat.evaluation import plots, report
from transformers_sat.hub.publishing import save_with_remote_code
from transformers_sat.saving import save_model
from transformers_sat.visualization import Localization, contact_sheet


class DiskFullError(OSError):
    pass


def disk_full() -> DiskFullError:
    return DiskFullError(28, "No space left on device")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file, hidden ones too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def half_then_full(write, monkeypatch, owner, name: str):
    """Lets a function of a library write, cuts off half of what it wrote, and raises as on a full disk."""

    def interrupted(*arguments, **options):
        write(*arguments, **options)
        paths = [Path(each) for each in (*arguments, *options.values()) if isinstance(each, Path)]
        for path in paths:
            if path.is_file():
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        raise disk_full()

    monkeypatch.setattr(owner, name, interrupted)


def processor(threshold: float = 0.4) -> SATImageProcessor:
    size = {"height": 32, "width": 32}
    return SATImageProcessor(size=size, crop_size=size, localization_threshold=threshold)


def draw_sheet(folder: Path, number: int):
    image = PIL.Image.new("RGB", (8, 8), (number, 0, 0))
    contact_sheet([Localization(image, np.zeros((8, 8)), title=str(number))], folder / "sheet.png")


def draw_plot(folder: Path, number: int):
    curve = {"recall": [0, 1], "precision": [1, number / 10]}
    plots.plot_precision_recall(curve, 10.0 * number, "title", folder / "plot.png")


def write_rows(folder: Path, number: int):
    row = {"row": number, "image_id": number, "label": 0, "predicted_label": 0, "probability": 0.5, "iou": 0.5}
    row |= {"predicted_box": [0, 0, 1, 1], "true_boxes": [[0, 0, 1, 1]], "object_share": 0.5}
    report.write_images([row], {0: "bird"}, folder / "images.parquet")


def write_model(folder: Path, number: int):
    save_model(tiny_model(num_labels=number + 1), processor(number / 10), folder)


def write_repository(folder: Path, number: int):
    image = PIL.Image.new("RGB", (8, 8), (number, 0, 0))
    save_with_remote_code(tiny_model(num_labels=number + 1), processor(number / 10), folder, example_image=image)


WRITERS = {
    "drawing": (draw_sheet, matplotlib.figure.Figure, "savefig"),
    "plot": (draw_plot, matplotlib.figure.Figure, "savefig"),
    "rows": (write_rows, datasets.Dataset, "to_parquet"),
    "weights": (write_model, SATImageProcessor, "save_pretrained"),
    "example image": (write_repository, PIL.Image.Image, "save"),
    "repository": (write_repository, Path, "write_text"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, writer):
    write, owner, name = WRITERS[writer]
    write(tmp_path, 3)
    before = snapshot(tmp_path)
    half_then_full(getattr(owner, name), monkeypatch, owner, name)
    with pytest.raises(DiskFullError):
        write(tmp_path, 4)
    after = snapshot(tmp_path)
    assert not [path for path in after if "unfinished" in path]
    if writer in ("example image", "repository"):
        # files of a repository are replaced one after the other: each is the old one or the new one, whole
        assert after.keys() == before.keys()
        PIL.Image.open(tmp_path / "example.png").load()
        for path in after:
            if path.endswith(".json"):
                json.loads(after[path])
        assert after["README.md"] == before["README.md"]
        assert len(safetensors.torch.load_file(tmp_path / "model.safetensors")) > 0
    else:
        assert after == before
    monkeypatch.undo()
    write(tmp_path, 4)
    assert snapshot(tmp_path).keys() == before.keys() and snapshot(tmp_path) != before


def test_weights_of_an_earlier_model_do_not_stay(tmp_path):
    """Transformers reads a single file before an index."""
    save_model(tiny_model(), processor(), tmp_path)
    save_model(tiny_model(), processor(), tmp_path, max_shard_size="20KB")
    assert not (tmp_path / "model.safetensors").exists()
    shards = set(json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"].values())
    assert {path.name for path in tmp_path.glob("*.safetensors")} == shards
    save_model(tiny_model(), processor(), tmp_path)
    assert {path.name for path in tmp_path.glob("model*")} == {"model.safetensors"}


# That nobody writes in another way.

ROOT = Path(__file__).parents[1]
WRITING_METHODS = {"write_text", "write_bytes", "savefig", "save", "save_pretrained", "to_parquet", "copyfile"}

# Files that replace none: into memory, into temporary folders, or the place where writing is done.
ELSEWHERE = {
    "src/transformers_sat/writing.py": "the place",
    "src/transformers_sat/model/handler.py": "memory",
    "src/transformers_sat/drawn/emblems.py": "memory",
    "src/transformers_sat/prepare/examples.py": "memory",
    "src/transformers_sat/prepare/readers/stamps.py": "memory",
    "src/transformers_sat/prepare/readers/matlab_process.py": "standard output",
    "src/transformers_sat/prepare/plan.py": "a list in the work folder, which is made anew",
    "src/transformers_sat/model/configuration_sat.py": "Transformers' own saving, into a folder of the caller's",
    "src/transformers_sat/model/post_processing_sat.py": "Transformers' own saving, into a folder of the caller's",
    "src/transformers_sat/training/checkpoints.py": "a probe of the disk, taken away again",
    "src/transformers_sat/serving/maps.py": "the bytes of an answer, and no file",
    "benchmarks/data_speed.py": "data to measure with, in a temporary folder",
    "benchmarks/encoders.py": "modules to compare with, in a temporary folder",
    "benchmarks/localization_speed.py": "a switch of the kernel's, and no file",
    "benchmarks/prepare_speed.py": "data to measure with, in a temporary folder",
}
# In functions of these names only, of modules that do replace files.
TEMPORARY = {"_quantize"}


def unsafe_writes(source: str) -> list[int]:
    """Lines that write to something else than an unfinished file, or a file in an unfinished folder."""
    found = []
    tree = ast.parse(source)
    skipped = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name in TEMPORARY
        for node in ast.walk(function)
    }
    # what `with replacing_file(...) as unfinished` gives, whatever it is called
    safe = {"unfinished"} | {
        item.optional_vars.id
        for block in ast.walk(tree)
        if isinstance(block, ast.With)
        for item in block.items
        if item.optional_vars is not None and ast.unparse(item.context_expr).startswith("replacing_file")
    }
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or id(call) in skipped:
            continue
        function = call.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        modes = [each.value for each in call.args[1:2] if isinstance(each, ast.Constant)]
        writes = isinstance(function, ast.Attribute) and name in WRITING_METHODS
        writes |= name == "open" and bool(modes) and isinstance(modes[0], str) and "w" in modes[0]
        names = {each.id for each in ast.walk(call) if isinstance(each, ast.Name)}
        # a Trainer saves by its own means
        if writes and not names & safe and ast.unparse(function) != "self.save":
            found.append(call.lineno)
    return found


def test_files_are_written_in_one_way():
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("examples/*.py"), *ROOT.glob("benchmarks/*.py")]
    found = {}
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        if name not in ELSEWHERE and (lines := unsafe_writes(path.read_text(encoding="utf-8"))):
            found[name] = lines
    assert len(files) > 60
    assert found == {}


def test_the_look_for_unsafe_writes_finds_them():
    source = 'path.write_text("x")\nopen(path, "w")\nfigure.savefig(path)\nunfinished.write_text("x")\nopen(path)\n'
    assert unsafe_writes(source) == [1, 2, 3]
