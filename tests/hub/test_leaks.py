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
"""No token in any file that is written or published, and no path of this machine in what is published."""

import io
import json
import zipfile
from pathlib import Path

import datasets
import PIL.PngImagePlugin
import pytest
from hub_client import run_client
from leaks import all_received, files_in, leaks
from local_hub import TOKEN
from square_images import save_tiny_vit, square_split, write_class_folders
from test_training_push import SCRIPT, train_client

from transformers_sat.hub.publishing import CODE_FILES


LOOP = SCRIPT.with_name("run_wsol_no_trainer.py")
# The checkout is on this machine too.
CHECKOUT = str(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("machine")
    splits = {"train": square_split(8), "validation": square_split(6, first=100), "test": square_split(7, first=200)}
    datasets.DatasetDict(splits).save_to_disk(folder / "squares")
    save_tiny_vit(folder / "vit")
    images = write_class_folders(folder / "images", train=6, val=3)
    (images / "train" / "red" / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def trained(local_hub, folder):
    """Trained with checkpoints and logs, all of which may be published, and every way to give a token used."""
    flags = ["--dataset_name", str(folder / "squares"), "--model_name_or_path", str(folder / "vit")]
    flags += ["--output_dir", str(folder / "output"), "--num_spatial_layers", "2", "--do_train", "--max_steps", "2"]
    flags += [
        "--per_device_train_batch_size",
        "4",
        "--use_cpu",
        "--disable_tqdm",
        "True",
        "--contact_sheet_samples",
        "2",
    ]
    flags += ["--eval_strategy", "steps", "--eval_steps", "1", "--save_strategy", "steps", "--save_steps", "1"]
    flags += ["--load_best_model_at_end", "True", "--report_to", "tensorboard", "--hub_strategy", "all_checkpoints"]
    flags += ["--hub_always_push", "True", "--token", TOKEN, "--hub_token", TOKEN]
    flags += ["--push_to_hub", "--hub_model_id", "owner/squares"]
    run_client(local_hub.endpoint, folder / "home", train_client, str(SCRIPT), flags, with_package=True)
    return folder / "output"


def others_client(loop, flags, folder, token):
    """What else writes and publishes, one after the other."""
    import json
    import runpy
    import sys

    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    from transformers_sat.cli import main
    from transformers_sat.hub.publishing import push_to_hub

    sys.argv = [loop, *flags]
    runpy.run_path(loop, run_name="__main__")
    arguments = [
        "--source",
        f"{folder}/images",
        "--output",
        f"{folder}/prepared",
        "--skip_invalid",
        "--token",
        token,
    ]
    statuses = [main(["prepare", "imagefolder", *arguments, "--push_to_hub", "owner/images"])]
    model, data = f"{folder}/loop", [f"{folder}/squares", "--output", f"{folder}/evaluated"]
    statuses.append(main(["evaluate", model, *data, "--localization_threshold", "0.4"]))
    # figures as an older run left them, with folders
    results = json.load(open(f"{folder}/output/results.json", encoding="utf-8"))
    results |= {"model": f"{folder}/vit", "dataset": f"{folder}/squares"}
    processor = AutoImageProcessor.from_pretrained(model)
    push_to_hub(
        AutoModelForObjectDetection.from_pretrained(model), processor, "owner/loop", token=token, results=results
    )
    return statuses


@pytest.fixture(scope="module")
def others(local_hub, folder, trained):
    flags = [
        "--dataset_name",
        str(folder / "squares"),
        "--model_name_or_path",
        str(folder / "vit"),
        "--use_cpu",
        "True",
    ]
    flags += [
        "--output_dir",
        str(folder / "loop"),
        "--num_spatial_layers",
        "2",
        "--num_train_epochs",
        "1",
        "--per_device_train_batch_size",
        "4",
    ]
    statuses, _ = run_client(
        local_hub.endpoint, folder / "home", others_client, str(LOOP), flags, str(folder), TOKEN, with_package=True
    )
    assert statuses == [0, 0]


def test_no_token_is_written(folder, trained, others):
    written = files_in(folder)
    for name in (
        "output/checkpoint-1/optimizer.pt",
        "output/results.json",
        "loop/results.json",
        "evaluated/results.json",
    ):
        assert name in written
    assert any("tfevents" in name for name in written)
    assert leaks(written, TOKEN) == []


def test_nothing_published_holds_a_token_or_a_path(local_hub, folder, trained, others):
    received = all_received(local_hub)
    assert len(local_hub.repositories) == 3
    for name in ("owner/squares", "owner/loop", "checkpoint-1/optimizer.pt", "skipped.jsonl"):
        assert any(name in place for place in received), name
    assert leaks(received, TOKEN, str(folder), CHECKOUT) == []


def test_what_is_published_of_a_run(local_hub, trained):
    """What belongs to a model's repository, and the checkpoints that were asked for: no logs, reports or pickled settings."""
    files = local_hub.repository("owner/squares").files
    assert (trained / "contact_sheet.png").exists() and (trained / "report").is_dir() and (trained / "runs").is_dir()
    at_the_top = {name for name in files if "/" not in name}
    assert at_the_top == {
        *(".gitattributes", "README.md", "results.json", "requirements.txt", "example.png"),
        *("config.json", "preprocessor_config.json", "model.safetensors"),
        *CODE_FILES,
    }
    assert {name.split("/")[0] for name in files if "/" in name} == {"checkpoint-1", "checkpoint-2"}
    assert {name.split("/")[1] for name in files if name.startswith("checkpoint-1/")} == {
        path.name for path in (trained / "checkpoint-1").iterdir()
    }
    arguments = json.loads(files["results.json"])["arguments"]
    assert arguments["data"]["dataset_name"] == "squares"
    assert (arguments["model"]["model_name_or_path"], arguments["model"]["token"]) == ("vit", None)


def test_leaks_are_found():
    """In plain text, in an archive, in compressed columns and in a remark of an image."""
    archive, table, image = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("inside", f"token: {TOKEN} " * 20)
    datasets.Dataset.from_dict({"token": [TOKEN] * 50}).to_parquet(table)
    remarks = PIL.PngImagePlugin.PngInfo()
    remarks.add_text("token", TOKEN, zip=True)
    PIL.Image.new("L", (4, 4)).save(image, "png", pnginfo=remarks)
    files = {"plain": f"x{TOKEN}x".encode(), "archive": archive.getvalue(), "table": table.getvalue()}
    files |= {"image": image.getvalue(), "clean": b"nothing"}
    assert TOKEN.encode() not in files["archive"] + files["image"]
    assert {found.split(":")[0] for found in leaks(files, TOKEN)} == {"plain", "archive", "table", "image"}
