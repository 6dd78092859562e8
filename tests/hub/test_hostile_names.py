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
"""Cards with names that mean something to YAML, Markdown or HTML: the names are in them as they are, and nothing else is."""

import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from card_rules import card_problems
from hostile_names import HOSTILE_NAMES
from huggingface_hub import ModelCard, eval_result_entries_to_yaml
from markdown_it import MarkdownIt
from sat_testing import tiny_config

from transformers_sat.escaping import visible
from transformers_sat.hub.model_card import eval_result_entries, model_card


sys.path.append(str(Path(__file__).parents[1] / "prepare"))

from prepare_fixtures import ListReader, image_bytes, listed, tar_bytes  # noqa: E402

from transformers_sat.prepare import open_source, prepare_dataset  # noqa: E402
from transformers_sat.prepare.card import write_card  # noqa: E402


PROCESSOR = {"size": {"height": 64, "width": 64}, "localization_threshold": 0.35}
# What a name could turn into in a line or a cell.
MARKUP = ("html_inline", "html_block", "link_open", "image", "em_open", "strong_open", "s_open", "heading_open")


def card_of(name: str) -> str:
    """A card in which all that can be a name is this one."""
    config = tiny_config(image_size=64, num_labels=3).to_dict() | {"id2label": {"0": name, "1": "bee", "2": "cat"}}
    results = {
        "schema_version": 1,
        "command": name,
        "model": f"/models/{name}",
        "dataset": f"/data/{name}",
        "hardware": name,
        "training": {"optim": name, "lr_scheduler_type": name, "learning_rate": 0.1},
        "arguments": {"x": name},
        "versions": {"transformers_sat": name},
        "config_name": name,
        "results": {
            name: {
                name: {
                    "protocol": name,
                    "num_images": 3,
                    "threshold": 0.5,
                    "threshold_choice": "fixed",
                    "gt_known_loc": 12.5,
                }
            }
        },
    }
    return str(model_card(config, PROCESSOR, results, name=name or None))


def tokens_of(markdown: str) -> list:
    parsed = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown)
    return [each for token in parsed for each in (token, *(token.children or ()))]


def structure_of(card: str) -> Counter:
    body = card.split("\n---\n", 1)[1]
    counts = Counter(token.type for token in tokens_of(body))
    return Counter({kind: counts[kind] for kind in (*MARKUP, "tr_open", "td_open", "fence", "list_item_open")})


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_model_card(name):
    card = card_of(name)
    assert card_problems(card) == ([], [])
    # as the Hub's own library reads it
    data = ModelCard(card).data
    assert data.license is None and data.library_name == "transformers"
    assert structure_of(card) == structure_of(card_of("plain"))
    shown = "".join(token.content for token in tokens_of(card.split("\n---\n", 1)[1]) if "text" in token.type)
    assert (visible(name, 200).strip() or '""') in shown


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_evaluation_results(name):
    results = {
        "schema_version": 1,
        "dataset": "somebody/insects",
        "results": {"test": {name: {"protocol": name, "gt_known_loc": 12.5}}},
    }
    entries = eval_result_entries(results)
    written = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)
    [entry] = yaml.safe_load(written)
    assert entry["value"] == 12.5 and entry["dataset"]["id"] == "somebody/insects"
    # neither is a name of a repository, which would be a folder of the Hub
    assert not eval_result_entries(results | {"dataset": name})


def test_data_set_card(tmp_path):
    names = [name for name in HOSTILE_NAMES if name != ""]
    archive = "a`b| <script> $x$\n.tar"
    images = [
        listed(f"{number}.png", number, label=name, image_id=f"{number} {name}") for number, name in enumerate(names)
    ]
    content = {image.image: image_bytes(number, form="PNG") for number, image in enumerate(images)}
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / archive).write_bytes(tar_bytes(content))
    for image in images:
        image.image = f"{archive.removesuffix('.tar')}/{image.image}"
    reader = ListReader(open_source(tmp_path / "source"), images, names)
    prepared = prepare_dataset(reader, tmp_path / "out")
    write_card(prepared, reader, "transformers-sat prepare list --source '```\n# x\n```'")

    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert card_problems(card, "dataset") == ([], [])
    _, head, body = card.split("---\n", 2)
    features = yaml.safe_load(card[4 : card.index("\n---\n\n# Images of a test")])["dataset_info"]["features"]
    [label] = [feature for feature in features if feature["name"] == "label"]
    assert list(label["dtype"]["class_label"]["names"].values()) == names
    body = card[card.index("\n---\n\n# Images of a test") + 5 :]
    tokens = Counter(token.type for token in tokens_of(body))
    assert tokens["fence"] == 3 and not any(tokens[kind] for kind in MARKUP if kind != "heading_open")
    assert r"a`b| <script> $x$\n.tar" in body

    import datasets

    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features["label"].names == names
    assert sorted(loaded["image_id"]) == sorted(image.image_id for image in images)
