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
The quick start's figures: SAT on the embedded emblems over several seeds, beside what it has to beat and its ablation.

    python benchmarks/quickstart.py                        # the table of the README (about 10 minutes on 2 CPU cores)
    python benchmarks/quickstart.py --rows all --seeds 0 1 # with the ablation of docs/training.md

Every SAT row is `examples/run_wsol.py examples/recipes/emblems.yaml` with the flags printed beside it. CAM is the same
backbone without spatial token, fine-tuned with the same recipe and classifier, whose map is the true class's. All
thresholds are chosen on the validation split. Rows already in the results file are kept unless `--again` is given.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from records import add_options, measured, open_results, to_measure, write
from torch import nn
from transformers import TrainingArguments, ViTModel, set_seed

from transformers_sat import SATConfig, SATImageProcessor
from transformers_sat.convert import load_backbone
from transformers_sat.data import (
    LocalizationDataset,
    TrainingAugmentation,
    collate_localization,
    load_localization_dataset,
)
from transformers_sat.drawn import emblem_backbone_path
from transformers_sat.metrics import get_protocol
from transformers_sat.model.modeling_sat import SATPooledConvolution
from transformers_sat.results import BASELINES, RESULTS_FILE, format_table, read_results
from transformers_sat.training import LocalizationMetrics, LocalizationTrainer


ROOT = Path(__file__).parents[1]
RECIPE = "examples/recipes/emblems.yaml"

# Heading of each row -> flags of examples/run_wsol.py beyond the recipe; None is CAM.
MAIN_ROWS = {
    "SAT, published losses": [],
    "CAM, plain ViT fine-tuned the same way": None,
    "SAT from scratch": ["--from_scratch", "True"],
    "SAT, pretrained backbone, not fine-tuned": ["--do_train", "False"],
}
ABLATION_ROWS = {
    "no area loss": ["--area_loss_weight", "0"],
    "no normalization loss": ["--normalization_loss_weight", "0"],
    "area target .15": ["--area_target", "0.15"],
    "area target .25": ["--area_target", "0.25"],
    "area band, weight 2": ["--area_band_loss_weight", "2"],
    "last block only": ["--num_spatial_layers", "1"],
    "all blocks": ["--num_spatial_layers", "6"],
    "last 3 blocks trained": ["--trainable_layers", "3"],
}


BASELINE_FIGURES = ("gt_known_loc", "iou30", "iou50", "iou70", "mean_iou_levels")


class CAMClassifier(nn.Module):
    """A plain ViT with SAT's classifier. Its map is the class map of the label: class activation mapping."""

    accepts_loss_kwargs = False

    def __init__(self, config: SATConfig):
        super().__init__()
        self.vit = ViTModel(config, add_pooling_layer=False)
        self.classifier = SATPooledConvolution(config)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict:
        patches = self.vit(pixel_values).last_hidden_state[:, 1:]
        patches = patches.unflatten(1, [round(patches.shape[1] ** 0.5)] * 2)
        logits, class_maps = self.classifier(patches, output_class_maps=True)
        maps = class_maps[torch.arange(len(labels)), labels]
        loss = nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits, "localization_map": maps, "loss_dict": {}}


def run_sat(seed: int, flags: list[str], output_dir: str) -> dict:
    command = [sys.executable, "examples/run_wsol.py", RECIPE, "--seed", str(seed), "--output_dir", output_dir, *flags]
    quiet = ["--report_to", "none", "--save_strategy", "no", "--eval_strategy", "no", "--contact_sheet_samples", "0"]
    finished = subprocess.run(command + quiet, cwd=ROOT, capture_output=True, text=True)
    if finished.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{finished.stderr[-3000:]}")
    record = read_results(Path(output_dir, RESULTS_FILE))
    figures = {split: by_protocol["sat"] for split, by_protocol in record["results"].items()}
    return figures | {"train_seconds": record.get("train_seconds", 0.0)}


def run_cam(seed: int, output_dir: str) -> dict:
    import yaml

    recipe = yaml.safe_load((ROOT / RECIPE).read_text(encoding="utf-8"))
    shared = {name: value for name, value in recipe.items() if name in TrainingArguments.__dataclass_fields__}
    shared |= {"seed": seed, "output_dir": output_dir, "report_to": "none", "disable_tqdm": True}
    shared |= {"save_strategy": "no", "eval_strategy": "no", "logging_steps": 100000}
    arguments = TrainingArguments(
        **shared, label_names=["labels", "boxes"], remove_unused_columns=False, batch_eval_metrics=True
    )
    set_seed(seed)
    splits = load_localization_dataset()
    backbone = load_backbone(emblem_backbone_path(), num_labels=10)
    model = CAMClassifier(backbone.config)
    model.vit.load_state_dict(backbone.vit.state_dict(), strict=False)
    model.classifier.load_state_dict(backbone.classifier.state_dict())

    processor = SATImageProcessor(size={"height": 64, "width": 64}, crop_size={"height": 64, "width": 64})
    augmentation = TrainingAugmentation(64, recipe["horizontal_flip"], recipe["channel_permutation"])
    metrics = LocalizationMetrics(64, thresholds=get_protocol("sat").calibration_thresholds)
    trainer = LocalizationTrainer(
        model=model,
        args=arguments,
        train_dataset=LocalizationDataset(splits["train"], processor, augmentation=augmentation, seed=seed),
        data_collator=collate_localization,
        compute_metrics=metrics,
    )
    results = {"train_seconds": trainer.train().metrics["train_runtime"]}
    for split in ("validation", "test"):
        trainer.evaluate(LocalizationDataset(splits[split], processor, protocol="sat", with_boxes=True))
        results[split] = metrics.result
        metrics.report_at(metrics.result["threshold"], "validation")
    return results


def summarize(runs: list[dict]) -> dict:
    """Mean and standard deviation over the seeds of each figure of the test split."""
    figures = {}
    for name, value in runs[0]["test"].items():
        if isinstance(value, int | float):
            values = [run["test"][name] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            figures[name] = {"mean": statistics.mean(values), "std": spread}
    return figures


def add_baselines(record: dict, test: dict):
    """Adds the baselines; they are of no model, so that what depends on its classes is left out."""
    for name in ("whole_image", "center_box"):
        record[BASELINES[name]] = {figure: test[name][figure] for figure in BASELINE_FIGURES}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", choices=["main", "ablation", "all"], default="main")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add_options(parser, "quickstart.json")
    options = parser.parse_args()

    rows = (MAIN_ROWS if options.rows in ("main", "all") else {}) | (
        ABLATION_ROWS if options.rows in ("ablation", "all") else {}
    )
    results = open_results(options.output, options.again, "rows")
    for heading in to_measure(rows, results["rows"], options.again):
        flags, runs = rows[heading], []
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as folder:
                runs.append(run_cam(seed, folder) if flags is None else run_sat(seed, flags, folder))
            print(f"{heading}, seed {seed}: GT-known Loc {runs[-1]['test']['gt_known_loc']:.1f}", flush=True)
        results["rows"][heading] = {
            "flags": flags,
            "seeds": options.seeds,
            "test": summarize(runs),
            "train_seconds": [run.get("train_seconds", 0.0) for run in runs],
            "measured": measured(("torch", "transformers"), protocol="sat, 64 px, threshold from validation"),
        }
        add_baselines(results, runs[0]["test"])
        # after each row, so that an interruption loses one row at most
        write(options.output, results, results["rows"].values())

    means = {h: {n: v["mean"] for n, v in row["test"].items()} for h, row in results["rows"].items()}
    means |= {title: results[title] for title in ("whole image", "best centre box") if title in results}
    print(f"\n{format_table(means)}\n")
    for heading, row in results["rows"].items():
        spread = ", ".join(f"{n} {row['test'][n]['std']:.2f}" for n in ("gt_known_loc", "top1_loc", "mean_iou_levels"))
        print(f"{heading}: {len(row['seeds'])} seeds, standard deviation {spread}")


if __name__ == "__main__":
    main()
