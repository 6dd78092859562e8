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
Renders the cards of this folder from the JSON files beside them, with the package's own template.

    python model_cards/render.py
"""

import json
from pathlib import Path

from transformers_sat import SATConfig
from transformers_sat.hub.model_card import model_card


FOLDER = Path(__file__).parent


def render(path: Path) -> str:
    """The card for a file with `config`, `image_processor` and `results`."""
    described = json.loads(path.read_text(encoding="utf-8"))
    config = SATConfig(**described["config"]).to_dict()
    return str(model_card(config, described["image_processor"], described["results"], name=path.stem))


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.json")):
        path.with_suffix(".md").write_text(render(path) + "\n", encoding="utf-8")
        print(path.with_suffix(".md"))
