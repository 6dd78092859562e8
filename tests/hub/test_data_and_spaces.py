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
"""Data sets and the metric's Space on a Hub, with the real clients."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from card_rules import card_problems
from hub_client import run_client
from local_hub import card_data


SPACE = Path(__file__).parents[2] / "metrics_space" / "wsol_localization"


# By file name: class, and COCO boxes, several and with fractions of pixels.
BOXES = {
    "an image 0.jpg": ("ant", [[1.5, 2.25, 7.125, 8.0]]),
    "an image 1.jpg": ("bee", [[1.0, 2.0, 8.5, 8.0], [0.0, 0.0, 30.0, 20.0]]),
    "an image 2.jpg": ("ant", [[3.0, 4.0, 5.0, 6.0]]),
    "an image 3.jpg": ("bee", [[0.5, 0.5, 29.0, 19.0]]),
    "an image 4.jpg": ("ant", [[2.0, 2.0, 4.0, 4.0], [10.25, 9.75, 3.0, 3.0]]),
}
SPLITS = {"train": list(BOXES)[:3], "val": list(BOXES)[3:]}


def push_data_client(source, output):
    """From the command line, and the same once more."""
    from transformers_sat.cli import main
    from transformers_sat.prepare.running import push_prepared

    arguments = ["--source", source, "--output", output, "--max_shard_size", "3KB", "--push_to_hub", "owner/insects"]
    statuses = [main(["prepare", "coco", *arguments])]
    try:
        push_prepared(output, "owner/refused", token="hf_wrong")
    except OSError as error:
        statuses.append(error.response.status_code)
    push_prepared(output, "owner/insects")
    return statuses


def pull_data_client(streaming):
    import datasets

    found = {}
    for split, rows in datasets.load_dataset("owner/insects", streaming=streaming).items():
        names = rows.features["label"].names
        for row in rows.cast_column("image", datasets.Image(decode=False)):
            found[row["image"]["path"]] = {
                "split": split,
                "bytes": row["image"]["bytes"].hex(),
                "label": names[row["label"]],
                "categories": [names[category] for category in row["objects"]["category"]],
                "bbox": row["objects"]["bbox"],
            }
    return found


def push_space_client(folder):
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo("wsol_localization", repo_type="space", space_sdk="gradio")
    api.upload_folder(repo_id="owner/wsol_localization", repo_type="space", folder_path=folder)
    return sorted(api.list_repo_files("owner/wsol_localization", repo_type="space"))


def pull_space_client():
    import evaluate

    metric = evaluate.load("owner/wsol_localization")
    # the middle four of sixteen cells are the object, and the true box is theirs
    inside = [0.0, 1.0, 1.0, 0.0]
    outside = [0.0, 0.0, 0.0, 0.0]
    predictions = [{"localization_map": [outside, inside, inside, outside], "label": 3}]
    references = [{"boxes": [[28, 28, 44, 44]], "image_size": [100, 100], "label": 3}]
    result = metric.compute(predictions=predictions, references=references, threshold=0.5)
    return [result["gt_known_loc"], result["top1_loc"]]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Images and boxes in COCO's form."""
    source = tmp_path_factory.mktemp("insects")
    (source / "annotations").mkdir()
    for split, names in SPLITS.items():
        (source / split).mkdir()
        images, annotations = [], []
        for number, name in enumerate(names):
            pixels = np.random.default_rng(number).integers(0, 255, (20, 30, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(source / split / name)
            images.append({"id": number, "file_name": name, "width": 30, "height": 20})
            label, boxes = BOXES[name]
            for bbox in boxes:
                category = 1 + (label == "bee")
                annotations.append({"id": len(annotations), "image_id": number, "category_id": category, "bbox": bbox})
        categories = [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}]
        instances = {"images": images, "annotations": annotations, "categories": categories}
        (source / "annotations" / f"instances_{split}.json").write_text(json.dumps(instances), encoding="utf-8")
    return source


@pytest.fixture(scope="module")
def pushed(local_hub, source, tmp_path_factory):
    home = tmp_path_factory.mktemp("pusher") / "home"
    arguments = (str(source), str(home.parent / "prepared"))
    return run_client(local_hub.endpoint, home, push_data_client, *arguments, with_package=True)[0]


def test_a_prepared_data_set_is_pushed(local_hub, pushed):
    assert pushed == [0, 401]
    assert ("dataset", "owner/refused") not in local_hub.repositories
    repository = local_hub.repository("owner/insects", "dataset")
    assert len(repository.commits) == 2, "the second push has nothing to change"
    shards = [path for path in repository.files if path.startswith("data/train-")]
    assert len(shards) > 1
    assert not [path for path in repository.files if ".prepare" in path]
    card = repository.files["README.md"].decode()
    assert card_problems(card, "dataset") == ([], [])
    splits = {split["name"]: split["num_examples"] for split in card_data(card.encode())["dataset_info"]["splits"]}
    assert splits == {"train": 3, "validation": 2}


@pytest.mark.parametrize("streaming", [False, True])
def test_a_data_set_comes_back_exactly(local_hub, pushed, source, tmp_path, streaming):
    found, _ = run_client(local_hub.endpoint, tmp_path / "home", pull_data_client, streaming)
    assert found.keys() == BOXES.keys()
    for split, names in SPLITS.items():
        for name in names:
            label, boxes = BOXES[name]
            assert found[name] == {
                "split": {"val": "validation"}.get(split, split),
                "bytes": (source / split / name).read_bytes().hex(),
                "label": label,
                "categories": [label] * len(boxes),
                "bbox": boxes,
            }


def test_the_metric_loads_from_its_space(local_hub, tmp_path):
    listed, _ = run_client(local_hub.endpoint, tmp_path / "pusher", push_space_client, str(SPACE))
    assert {"README.md", "app.py", "requirements.txt", "wsol_localization.py"} <= set(listed)
    figures, _ = run_client(local_hub.endpoint, tmp_path / "puller", pull_space_client, with_package=True)
    assert figures == [100.0, 100.0]
