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
"""`examples/run_wsol.py --push_to_hub`: trained, measured and published with its own card."""

import json
from pathlib import Path

import datasets
import pytest
from card_rules import card_problems
from hub_client import run_client
from local_hub import card_data
from square_images import save_tiny_vit, square_split


SCRIPT = Path(__file__).parents[2] / "examples" / "run_wsol.py"


def train_client(script, flags):
    import runpy
    import sys

    sys.argv = [script, *flags]
    runpy.run_path(script, run_name="__main__")


def load_client(repo):
    """As anybody, and as an Inference Endpoint does: a copy of the repository, and what its handler answers."""
    import sys

    from huggingface_hub import snapshot_download
    from PIL import Image
    from transformers import pipeline

    localizer = pipeline(model=repo, trust_remote_code=True)
    folder = snapshot_download(repo)
    sys.path.insert(0, folder)
    from handler import EndpointHandler

    image = Image.open(f"{folder}/example.png")
    (answer,) = EndpointHandler(folder)({"inputs": image})
    (found,) = localizer(image)
    return {
        "pipeline": type(localizer).__name__,
        "threshold": localizer.image_processor.localization_threshold,
        "same box": answer["box"] == found["box"],
        "same label": answer["label"] == found["label"],
    }


@pytest.fixture(scope="module")
def pushed(local_hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    splits = {"train": square_split(8), "validation": square_split(6, first=100), "test": square_split(7, first=200)}
    datasets.DatasetDict(splits).save_to_disk(folder / "squares")
    flags = ["--dataset_name", str(folder / "squares"), "--model_name_or_path", str(save_tiny_vit(folder / "vit"))]
    flags += ["--output_dir", str(folder / "output"), "--num_spatial_layers", "2", "--do_train", "--max_steps", "2"]
    flags += ["--per_device_train_batch_size", "4", "--learning_rate", "1e-3", "--use_cpu", "--disable_tqdm", "True"]
    flags += ["--contact_sheet_samples", "0", "--save_strategy", "no", "--hub_license", "mit"]
    flags += ["--push_to_hub", "--hub_model_id", "owner/squares"]
    run_client(local_hub.endpoint, folder / "home", train_client, str(SCRIPT), flags, with_package=True)
    return local_hub.repository("owner/squares").files


def test_the_card_is_the_packages(pushed):
    card = pushed["README.md"].decode()
    assert card_problems(card) == ([], [])
    data = card_data(card.encode())
    assert (data["pipeline_tag"], data["license"]) == ("object-detection", "mit")
    assert data["widget"][0]["src"].endswith("/owner/squares/resolve/main/example.png")
    results = {split: figures["sat"] for split, figures in json.loads(pushed["results.json"])["results"].items()}
    figures = {metric["type"]: metric["value"] for metric in data["model-index"][0]["results"][0]["metrics"]}
    assert figures["gt_known_loc"] == pytest.approx(results["test"]["gt_known_loc"], abs=0.005)
    assert figures["top1_loc"] == pytest.approx(results["test"]["top1_loc"], abs=0.005)
    assert "| learning rate | 0.001 |" in card
    assert "| batch, over all processes and accumulated steps | 4 |" in card
    assert "| steps | 2 |" in card
    assert "Generated from Trainer" not in card and "auto-generated" not in card


def test_what_was_pushed_loads_with_transformers_alone(local_hub, pushed, tmp_path):
    found, _ = run_client(local_hub.endpoint, tmp_path / "home", load_client, "owner/squares")
    threshold = json.loads(pushed["results.json"])["results"]["validation"]["sat"]["threshold"]
    assert found == {
        "pipeline": "WeaklySupervisedLocalizationPipeline",
        "threshold": threshold,
        "same box": True,
        "same label": True,
    }
