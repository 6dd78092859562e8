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

"""Every official form: prepared, pushed, and streamed back by a machine that has never seen it."""

import sys
from pathlib import Path

import pytest
from hub_client import run_client


sys.path.append(str(Path(__file__).parents[1] / "prepare" / "readers"))

from official_trees import OFFICIAL_SETS, write_official  # noqa: E402

from transformers_sat.prepare import open_reader, prepare  # noqa: E402


def push_all_client(folders):
    from transformers_sat.prepare import push_prepared

    return [push_prepared(folder, f"owner/{form}") for form, folder in folders.items()]


def stream_all_client(forms):
    import datasets

    found = {}
    for form in forms:
        rows_of_form = found.setdefault(form, {})
        for split, rows in datasets.load_dataset(f"owner/{form}", streaming=True).items():
            names = rows.features["label"].names
            for row in rows.cast_column("image", datasets.Image(decode=False)):
                objects = row.get("objects")
                rows_of_form[row["image_id"]] = {
                    "split": split,
                    "label": names[row["label"]],
                    "boxes": objects and objects["bbox"],
                    "bytes": row["image"]["bytes"].hex(),
                }
    return found


@pytest.fixture(scope="module")
def trees(local_hub, tmp_path_factory):
    """What is true of each form, all of them pushed."""
    folder, trees, prepared = tmp_path_factory.mktemp("official"), {}, {}
    for form in OFFICIAL_SETS:
        (folder / form).mkdir()
        source, trees[form] = write_official(form, True, folder / form)
        prepared[form] = str(folder / form / "parquet")
        prepare(open_reader(OFFICIAL_SETS[form].reader, source), prepared[form])
    pushed, _ = run_client(local_hub.endpoint, folder / "home", push_all_client, prepared, with_package=True)
    assert len(pushed) == len(OFFICIAL_SETS)
    return trees


def test_every_form_comes_back_exactly(local_hub, trees, tmp_path):
    found, _ = run_client(local_hub.endpoint, tmp_path / "home", stream_all_client, list(trees))
    for form, tree in trees.items():
        expected = {
            name: {
                "split": image.split,
                "label": image.label,
                "boxes": image.boxes and [list(box) for box in image.boxes],
                "bytes": image.content.hex(),
            }
            for name, image in tree.known.items()
        }
        assert found[form] == expected, form
