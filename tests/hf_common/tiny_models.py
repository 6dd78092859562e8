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

"""SAT models of a few thousand weights, and a folder of them as the common pipeline tests look for."""

import json
from pathlib import Path

from transformers_sat import SATConfig, SATForWeaklySupervisedLocalization, SATImageProcessor, SATModel


# Two blocks is the most the common tests allow; one with and one without the spatial mask.
TINY = {
    "image_size": 32,
    "patch_size": 4,
    "num_channels": 3,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "num_spatial_layers": 1,
    "drop_path_rate": 0.0,
}


def write_tiny_models(folder: Path):
    """
    Saves one model of each class in the layout that `TRANSFORMERS_TINY_MODEL_PATH` stands for: `<model type>/<class>`, and
    a summary of what goes with each.
    """
    processor = SATImageProcessor(size={"height": 32, "width": 32})
    summary = {}
    for model_class in (SATModel, SATForWeaklySupervisedLocalization):
        repository = folder / SATConfig.model_type / model_class.__name__
        model_class(SATConfig(**TINY, num_labels=5)).save_pretrained(repository)
        processor.save_pretrained(repository)
        summary[model_class.__name__] = {
            "tokenizer_classes": [],
            "processor_classes": ["SATImageProcessor", "SATImageProcessorPil"],
        }
    (folder / "reports").mkdir()
    (folder / "reports" / "tiny_model_summary.json").write_text(json.dumps(summary), encoding="utf-8")
