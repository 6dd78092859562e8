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
Every Python block of README and docs runs as it stands, each page from top to bottom, with a Hub on this machine that
has the models that the pages name, and a folder with the images and data that they name.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks
from serving_testing import noise_image, save_tiny_localizer, served

from transformers_sat.results import results_record, write_results


sys.path.append(str(ROOT / "tests" / "hub"))

from local_hub import TOKEN, LocalHub  # noqa: E402


# What a page takes for granted, as it says in its text.
GIVEN = {
    "docs/demo.md": "from PIL import Image; image = Image.open('image.jpg')",
    "docs/evaluation.md": """
import numpy as np, torch
from transformers_sat import SATForWeaklySupervisedLocalization
model = SATForWeaklySupervisedLocalization.from_pretrained("outputs/emblems").eval()
batches = [
    {"pixel_values": torch.randn(2, 3, 32, 32), "labels": torch.tensor([0, 1]), "bbox": [[[1, 2, 30, 20]]] * 2,
     "size": [(40, 50)] * 2}
]
localization_map, scores, label = np.eye(4).tolist(), [0.1, 0.9], 1
x, y, width, height = 1, 2, 30, 20
""",
    "docs/hub.md": """
from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor
model = SATForWeaklySupervisedLocalization.from_pretrained("outputs/emblems")
image_processor = SATImageProcessor.from_pretrained("outputs/emblems")
""",
    "metrics_space/wsol_localization/README.md": """
predictions = [{"localization_map": [[0.0, 1.0], [0.0, 0.0]], "label": 0}]
references = [{"boxes": [[1, 2, 30, 20]], "image_size": [40, 50], "label": 0}]
""",
}

# Run by a test of its own, on data that it makes.
ELSEWHERE = {"docs/training.md"}

WITH_PYTHON = [page for page in PAGES if blocks(page, "python") and page not in ELSEWHERE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader would be: a checkout after the quick start, with some images."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "outputs").mkdir()
    save_tiny_localizer(folder / "outputs" / "emblems")
    figures = {"top1_cls": 90.0, "gt_known_loc": 80.0, "top1_loc": 75.0, "protocol": "sat", "num_images": 7}
    record = results_record({"test": {"sat": figures}}, model="a backbone", dataset="emblems")
    write_results(folder / "outputs" / "emblems" / "results.json", record)
    for name in ("image.jpg", "bird.jpg", "my_images/0001.jpg", "my_images/0002.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise_image(len(name)).save(folder / name)
    (folder / "metrics_space").symlink_to(ROOT / "metrics_space")
    return folder


@pytest.fixture(scope="module")
def hub(folder):
    with LocalHub() as hub:
        run(
            hub,
            folder,
            """
from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor
from transformers_sat.hub.publishing import push_to_hub
model = SATForWeaklySupervisedLocalization.from_pretrained("outputs/emblems")
processor = SATImageProcessor.from_pretrained("outputs/emblems")
for name in ("org/name", "org/sat-deit-s-cub"):
    push_to_hub(model, processor, name)
from transformers import ViTConfig, ViTModel
sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8)).push_to_hub("facebook/deit-small-patch16-224")
""",
        )
        yield hub


def run(hub: LocalHub, folder: Path, code: str):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(folder / ".cache"),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr[-4000:]


# Runs each page on its own, and prints what went wrong by page.
RUN_PAGES = """
import json, traceback
outcomes = {}
for page, code in json.loads(%r).items():
    try:
        exec(compile(code, page, "exec"), {"__name__": "__main__"})
    except BaseException:
        outcomes[page] = traceback.format_exc()
assert not outcomes, "\\n".join(outcomes.values())
"""


def test_blocks_run(hub, folder):
    """All pages in one process: the libraries are loaded once."""
    pages = [page for page in WITH_PYTHON if page != "docs/serving.md"]
    code = {page: "\n".join([GIVEN.get(page, ""), *blocks(page, "python")]) for page in pages}
    run(hub, folder, RUN_PAGES % json.dumps(code))


def test_the_client_of_the_server(hub, folder, tmp_path):
    code = "\n".join(blocks("docs/serving.md", "python"))
    with served(folder / "outputs" / "emblems", tmp_path / "log") as server:
        run(hub, folder, code.replace("http://127.0.0.1:8000", server.url))


def test_the_test_looks_at_the_readers_pages():
    assert {"README.md", "docs/hub.md", "docs/evaluation.md", "docs/own_data.md"} <= set(WITH_PYTHON)
