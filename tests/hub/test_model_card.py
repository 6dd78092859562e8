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
"""Model cards: their YAML under the Hub's rules, and where each of their numbers comes from."""

import importlib.util
import json
import re
from pathlib import Path

import datasets
import pytest
import yaml
from card_rules import card_problems
from huggingface_hub import EvalResultEntry, ModelCard
from huggingface_hub._eval_results import parse_eval_result_entries
from local_hub import card_data
from PIL import Image
from sat_testing import tiny_config, tiny_model
from square_images import square_split

from transformers_sat import SATImageProcessor
from transformers_sat.cli import main
from transformers_sat.hub.model_card import eval_result_entries, model_card
from transformers_sat.hub.publishing import CODE_FILES, REQUIREMENTS, add_hub_files, save_with_remote_code
from transformers_sat.results import FIGURES as NAMES
from transformers_sat.results import read_results


ROOT = Path(__file__).parents[2]
CARDS = ROOT / "model_cards"
CODE = ROOT / "src" / "transformers_sat" / "model"
PROCESSOR = {"size": {"height": 72, "width": 72}, "do_center_crop": True, "crop_size": {"height": 64, "width": 64}}
PROCESSOR |= {"localization_threshold": 0.35}

FIGURES = {
    "gt_known_loc": 96.83333333333333,
    "top1_loc": 93.16666666666667,
    "top5_loc": None,
    "iou70": 77.83333333333333,
}
RESULTS = {
    "schema_version": 1,
    "command": "examples/run_wsol.py",
    "model": "facebook/deit-small-patch16-224",
    "dataset": "somebody/insects",
    "license": "cc-by-4.0",
    "versions": {"transformers_sat": "0.1.0"},
    "arguments": {"data": {}, "model": {}},
    "training": {"learning_rate": 0.0001, "batch_size": 96, "num_train_epochs": 12.0, "seed": 6},
    "hardware": "2 x NVIDIA A100",
    "train_seconds": 757.5951,
    "co2_eq_emissions": {"emissions": 41.5, "source": "codecarbon"},
    "results": {
        "validation": {
            "sat": {
                "protocol": "sat",
                "image_size": 64,
                "num_images": 300,
                "threshold_choice": "oracle",
                "threshold": 0.35,
                "gt_known_loc": 95.0,
                "top1_loc": 92.66666666666667,
            }
        },
        "test": {
            "sat": {
                "protocol": "sat",
                "image_size": 64,
                "num_images": 600,
                "threshold_choice": "validation",
                "threshold": 0.35,
                **FIGURES,
                "pxap": 84.125,
                "whole_image": {
                    "gt_known_loc": 1.1666666666666667,
                    "top1_loc": 1.1666666666666667,
                    "iou70": 0.0,
                    "pxap": 20.0,
                },
                "center_box": {
                    "side": 40,
                    "gt_known_loc": 30.166666666666668,
                    "top1_loc": 29.833333333333332,
                    "iou70": 5.333,
                },
                "center": {"pxap": 30.0},
            }
        },
    },
}


def card_for(results: dict | None, **arguments) -> str:
    config = tiny_config(image_size=64, num_labels=3).to_dict() | {"id2label": {"0": "ant", "1": "bee", "2": "cat"}}
    return str(model_card(config, PROCESSOR, results, **arguments))


def numbers_in(text: str) -> set[str]:
    """Numbers that stand alone: not in names (`CUB-200-2011`, `Top-1`), addresses or the words of a metric."""
    for name in NAMES.values():
        text = text.replace(name, "")
    text = re.sub(r"https?://\S+|ICCV 2023|Apache-2\.0", "", text)
    return set(re.findall(r"(?<![\w.^-])\d+(?:\.\d+)*(?:e-?\d+)?(?![\w-]|\.\d)", text))


def unexplained_numbers(card: str, *sources: dict) -> set[str]:
    """The numbers of a card that are in none of the sources, as rounded there, nor in a passage marked as another's."""
    _, head, body = card.split("---\n", 2)
    body = re.sub(
        r"<!-- figures of another source -->.*?<!-- end of the figures of another source -->",
        "",
        body,
        flags=re.DOTALL,
    )
    body = re.sub(r"```.*?```", "", body, flags=re.DOTALL)
    results = (yaml.safe_load(head).get("model-index") or [{"results": []}])[0]["results"]
    figures = [str(metric["value"]) for each in results if "source" not in each for metric in each["metrics"]]

    known, texts = [], set()
    for source in sources:
        texts |= set(re.findall(r"[\w.+-]+", json.dumps(source)))
        known += [
            float(each) for each in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])", json.dumps(source))
        ]
    unexplained = set()
    for number in numbers_in(body) | set(figures):
        digits = len(number.partition(".")[2]) if "e" not in number else 0
        rounded = {f"{each:.{digits}f}" for each in known}
        if number not in texts and number not in rounded:
            unexplained.add(number)
    return unexplained


def test_yaml():
    card = card_for(RESULTS, repo_id="somebody/sat-insects", example_image="example.jpg")
    assert card_problems(card) == ([], [])
    data = card_data(card.encode())
    assert data["library_name"] == "transformers"
    assert data["pipeline_tag"] == "object-detection"
    assert "weakly-supervised-localization" in data["tags"]
    assert data["base_model"] == "facebook/deit-small-patch16-224"
    assert data["datasets"] in ("somebody/insects", ["somebody/insects"])
    assert data["license"] == "cc-by-4.0"
    assert data["co2_eq_emissions"]["emissions"] == 41.5
    (example,) = data["widget"]
    assert example["src"] == "https://huggingface.co/somebody/sat-insects/resolve/main/example.jpg"
    (index,) = data["model-index"]
    (result,) = index["results"]
    assert (index["name"], result["task"]["type"]) == ("sat-insects", "object-detection")
    assert result["dataset"] == {"name": "somebody/insects", "type": "somebody/insects", "split": "test"}
    figures = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert figures == {"gt_known_loc": 96.83, "top1_loc": 93.17, "iou70": 77.83, "pxap": 84.12}
    for metric in result["metrics"]:
        assert metric["args"] == {
            "protocol": "sat",
            "image_size": 64,
            "threshold": 0.35,
            "threshold_choice": "validation",
        }
        assert "protocol sat, threshold chosen on the validation split" in metric["name"]


def test_text():
    card = card_for(RESULTS, repo_id="somebody/sat-insects")
    assert unexplained_numbers(card, RESULTS, tiny_config(image_size=64).to_dict(), PROCESSOR, {"classes": 3}) == set()
    assert "| SAT | 96.83 | 93.17 | 77.83 | 84.12 |" in card
    assert "| whole image | 1.17 | 1.17 | 0.00 | 20.00 |" in card
    assert "| best centre box | 30.17 | 29.83 | 5.33 | - |" in card
    assert "| centred map | - | - | - | 30.00 |" in card
    test = "600 images in `test`, protocol `sat` at 64 px, threshold 0.35 (chosen on the validation split):"
    validation = (
        "300 images in `validation`, protocol `sat` at 64 px, threshold 0.35 (the best on these very images); "
        "this split chooses the threshold:"
    )
    assert 0 < card.index(test) < card.index(validation)
    assert "`examples/run_wsol.py` of transformers-sat 0.1.0 with the settings above on `somebody/insects`" in card
    assert "Trained with 2 x NVIDIA A100 in 758 seconds." in card
    assert "Emissions: 41.5 g" in card
    assert "| learning rate | 0.0001 |" in card
    assert "3: ant, bee, cat" in card
    assert "resized to 72 x 72, its centre 64 x 64" in card
    for section in ("Use", "Intended use and limits", "Training", "Results", "Reproduce", "Licence", "Citation"):
        assert f"\n## {section}\n" in card


def test_a_number_from_nowhere_is_found():
    """The check itself: a figure changed in text or YAML, another precision, a note that nobody measured."""
    sources = (RESULTS, tiny_config(image_size=64).to_dict(), PROCESSOR, {"classes": 3})
    card = card_for(RESULTS)
    for wrong, number in (
        (card.replace("| 96.83 |", "| 98.83 |"), "98.83"),
        (card.replace("value: 93.17", "value: 93.71"), "93.71"),
        (card.replace("## Licence", "It runs at 120 images a second.\n\n## Licence"), "120"),
    ):
        assert unexplained_numbers(wrong, *sources) == {number}


def test_what_is_not_known_is_not_said():
    card = card_for(None)
    assert card_problems(card) == ([], [])
    assert not {"license", "base_model", "datasets", "widget", "model-index"} & card_data(card.encode()).keys()
    assert "None were recorded." in card
    assert "named no licence" in card
    assert unexplained_numbers(card, tiny_config(image_size=64).to_dict(), PROCESSOR, {"classes": 3}) == set()


def test_names_of_this_machine_stay_here(tmp_path):
    """Folders are no names of repositories."""
    results = RESULTS | {"model": str(tmp_path), "dataset": str(tmp_path / "my insects")}
    card = card_for(results)
    assert card_problems(card) == ([], [])
    data = card_data(card.encode())
    assert "base_model" not in data and "datasets" not in data
    assert data["model-index"][0]["results"][0]["dataset"]["type"] == "my-insects"
    assert eval_result_entries(results) == []
    assert str(tmp_path) not in card


def test_the_rules_find_what_the_hub_refuses():
    card = card_for(RESULTS)
    for old, new, complaint in (
        ("license: cc-by-4.0", "license: free", "license"),
        ("license: cc-by-4.0", "license: other", "license_name"),
        ("pipeline_tag: object-detection", "pipeline_tag: localization", "pipeline_tag"),
        ("base_model: facebook/", "base_model: /home/me/", "base_model"),
        ("value: 96.83", "value: high", "without a number"),
        ("- sat\n", "- 1\n", "tags"),
        ("  results:", "  figures:", "model-index"),
    ):
        assert old in card
        errors, _ = card_problems(card.replace(old, new))
        assert len(errors) == 1 and complaint in errors[0]
    assert card_problems("no yaml")[1]


def test_eval_results():
    entries = eval_result_entries(RESULTS)
    assert [(entry.task_id, entry.value) for entry in entries] == [
        ("gt_known_loc", 96.83),
        ("top1_loc", 93.17),
        ("iou70", 77.83),
        ("pxap", 84.12),
    ]
    assert {entry.dataset_id for entry in entries} == {"somebody/insects"}
    assert all("protocol sat" in entry.notes and "threshold 0.35" in entry.notes for entry in entries)


def figures_in_index(card: str) -> dict:
    """The values of the model index by split, protocol and metric."""
    (index,) = card_data(card.encode())["model-index"]
    return {
        (result["dataset"]["split"], metric["args"]["protocol"], metric["type"]): metric["value"]
        for result in index["results"]
        for metric in result["metrics"]
    }


def test_several_splits_and_protocols():
    """All but the one that choices are made on are in the index; all have their table, the test split the first."""
    figures = RESULTS["results"]["test"]["sat"]
    wsoleval = {
        "protocol": "wsoleval",
        "image_size": 64,
        "num_images": 600,
        "threshold_choice": "oracle",
        "threshold": 0.2,
    }
    wsoleval |= {"max_box_acc": 90.5, "max_box_acc_v2": 80.25}
    splits = {**RESULTS["results"], "extra": {"sat": figures | {"gt_known_loc": 50.0}}}
    splits["test"] = {"sat": figures, "wsoleval": wsoleval}
    results = RESULTS | {"results": splits, "config_name": "small"}
    card = card_for(results)
    assert card_problems(card) == ([], [])
    index = figures_in_index(card)
    assert {(split, protocol) for split, protocol, _ in index} == {
        ("test", "sat"),
        ("test", "wsoleval"),
        ("extra", "sat"),
    }
    assert index["test", "sat", "gt_known_loc"] == 96.83 and index["extra", "sat", "gt_known_loc"] == 50.0
    assert index["test", "wsoleval", "max_box_acc_v2"] == 80.25
    for result in card_data(card.encode())["model-index"][0]["results"]:
        assert result["dataset"]["config"] == "small"
    tables = re.findall(r"images in `(\w+)`, protocol `(\w+)`", card)
    assert tables == [("test", "sat"), ("test", "wsoleval"), ("extra", "sat"), ("validation", "sat")]
    # one value a metric for the Hub's own list
    entries = eval_result_entries(results)
    assert {entry.task_id: entry.value for entry in entries}["gt_known_loc"] == 96.83 and len(entries) == 4
    assert all("protocol sat" in entry.notes for entry in entries)


def test_validation_alone():
    results = RESULTS | {"results": {"validation": RESULTS["results"]["validation"]}}
    card = card_for(results)
    assert figures_in_index(card)["validation", "sat", "gt_known_loc"] == 95.0
    assert "this split chooses the threshold" in card
    # measured at a threshold from elsewhere, it chose nothing
    given = RESULTS["results"]["validation"]["sat"] | {"threshold_choice": "fixed"}
    assert "this split chooses" not in card_for(RESULTS | {"results": {"validation": {"sat": given}}})
    assert "`validation`" in card and "`test`" not in card
    assert eval_result_entries(results) == []


def test_masks_alone():
    figures = {"protocol": "wsoleval", "image_size": 64, "num_images": 20, "top1_cls": 80.0, "pxap": 70.5}
    figures |= {"whole_image": {"pxap": 20.0}, "center": {"pxap": 30.0}}
    card = card_for(RESULTS | {"results": {"test": {"wsoleval": figures}}})
    assert card_problems(card) == ([], [])
    assert "Percent of the 20 images in `test`, protocol `wsoleval` at 64 px:" in card
    assert "| | Top-1 Cls | PxAP |" in card and "| SAT | 80.00 | 70.50 |" in card
    assert "| centred map | - | 30.00 |" in card
    assert figures_in_index(card)["test", "wsoleval", "pxap"] == 70.5


@pytest.mark.parametrize(
    "results",
    [
        {},
        # of earlier versions: splits, or protocols, at the top
        {"model": "a/b", "test": RESULTS["results"]["test"]["sat"]},
        {"model": "a/b", "split": "test", "results": {"sat": RESULTS["results"]["test"]["sat"]}},
        RESULTS | {"schema_version": 2},
        {"train_loss": 1.5},
    ],
)
def test_a_file_that_is_not_known(results, tmp_path):
    for use in (card_for, eval_result_entries):
        with pytest.raises(ValueError, match="`schema_version` must be 1"):
            use(results)
    tiny_model().save_pretrained(tmp_path)
    SATImageProcessor().save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="`schema_version` must be 1"):
        add_hub_files(tmp_path, results=results)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("protocol", ["sat", "both"])
def test_the_card_of_what_evaluate_writes(tmp_path, protocol):
    """Its figures in tables and index; the model is not its own base, and nothing is said of its training."""
    names = ["red", "green", "blue"]
    tiny_model(num_labels=3, id2label=dict(enumerate(names))).save_pretrained(tmp_path / "squares")
    SATImageProcessor(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        tmp_path / "squares"
    )
    splits = {"validation": square_split(4), "test": square_split(6, first=10)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "squares of colour")
    arguments = [str(tmp_path / "squares"), str(tmp_path / "squares of colour"), "--protocol", protocol]
    assert main(["evaluate", *arguments, "--output", str(tmp_path / "report")]) == 0

    results = read_results(tmp_path / "report" / "results.json")
    add_hub_files(tmp_path / "squares", results=results)
    card = (tmp_path / "squares" / "README.md").read_text(encoding="utf-8")
    assert card_problems(card) == ([], [])
    index = figures_in_index(card)
    for name in ("sat", "wsoleval") if protocol == "both" else ("sat",):
        expected = results["results"]["test"][name]
        assert index["test", name, "gt_known_loc"] == round(expected["gt_known_loc"], 2)
        assert f"Percent of the 6 images in `test` of squares of colour, protocol `{name}` at 32 px" in card
        row = re.search(rf"protocol `{name}`.*?\n\| SAT \|(.*?)\|\n", card, flags=re.DOTALL).group(1)
        assert f" {expected['gt_known_loc']:.2f} " in row
    data = card_data(card.encode())
    assert "base_model" not in data and "datasets" not in data
    assert "Nothing about it was recorded." in card
    assert "`transformers-sat evaluate` of transformers-sat" in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize("name", ["sat-deit-s-cub", "sat-deit-s-ilsvrc"])
def test_cards_of_the_papers_checkpoints(name):
    card = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    assert card_problems(card) == ([], [])
    source = json.loads((CARDS / f"{name}.json").read_text(encoding="utf-8"))
    # the sizes of the model; every figure is in a marked passage
    config = {key: value for key, value in source["config"].items() if isinstance(value, int)}
    assert unexplained_numbers(card, config, source["image_processor"], {"ViT": [12, 16]}) == set()
    (result,) = card_data(card.encode())["model-index"][0]["results"]
    assert result["source"]["url"] == "https://arxiv.org/abs/2303.10438"
    figures = {metric["type"]: metric["value"] for metric in result["metrics"]}
    expected = {"sat-deit-s-cub": (98.45, 80.96), "sat-deit-s-ilsvrc": (73.13, 60.15)}[name]
    assert (figures["gt_known_loc"], figures["top1_loc"]) == expected
    assert "were not measured with this code" in card
    assert "carry no licence" in card
    assert card_data(card.encode())["license"] == "unknown"


def test_cards_are_rendered_from_the_one_template():
    spec = importlib.util.spec_from_file_location("render_cards", CARDS / "render.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path in CARDS.glob("*.json"):
        assert path.with_suffix(".md").read_text(encoding="utf-8") == module.render(path) + "\n"
    assert "{{ card_data }}" in (CARDS / "template.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "sat-insects"
    model, processor = tiny_model(), SATImageProcessor(size={"height": 32, "width": 32})
    image = Image.new("RGB", (40, 30), "red")
    save_with_remote_code(model, processor, folder, results=RESULTS, example_image=image, max_shard_size="60KB")
    return folder


def test_a_saved_folder(saved):
    assert {path.name for path in saved.iterdir()} >= {*CODE_FILES, "README.md", "requirements.txt", "example.png"}
    for name in CODE_FILES:
        assert (saved / name).read_bytes() == (CODE / name).read_bytes()
    assert len(list(saved.glob("model-*-of-*.safetensors"))) > 1
    card = ModelCard.load(saved / "README.md")
    assert card_problems(str(card)) == ([], [])
    assert card.data.widget == [{"src": "example.png", "example_title": "Example"}]
    entries = parse_eval_result_entries(yaml.safe_load((saved / ".eval_results" / "insects.yaml").read_text("utf-8")))
    assert [entry.value for entry in entries] == [96.83, 93.17, 77.83, 84.12]
    assert all(isinstance(entry, EvalResultEntry) for entry in entries)


def test_code_files_import_one_another_only():
    """What Transformers needs to copy and import them: flat, one leading dot, nothing of the package."""
    assert sorted(CODE_FILES) == sorted(path.name for path in CODE.glob("*.py") if path.name != "__init__.py")
    for name in CODE_FILES:
        text = (CODE / name).read_text(encoding="utf-8")
        for module in re.findall(r"^\s*from\s+\.(\S*)\s+import", text, flags=re.MULTILINE):
            assert f"{module}.py" in CODE_FILES
        assert not re.search(r"^\s*(from|import)\s+transformers_sat", text, flags=re.MULTILINE)


def test_requirements_are_the_packages():
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    required = re.search(r"^install_requires =\n((?:    .+\n)+)", text, flags=re.MULTILINE).group(1).split()
    assert set(REQUIREMENTS) <= set(required)


def test_refusals(tmp_path, saved):
    other = tmp_path / "vit"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "vit"}', encoding="utf-8")
    with pytest.raises(ValueError, match="got a model of type `vit`"):
        add_hub_files(other)
    image = tmp_path / "image.gif"
    image.write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="`example_image` must be a file of .jpeg, .jpg"):
        save_with_remote_code(tiny_model(), SATImageProcessor(), tmp_path / "out", example_image=image)
