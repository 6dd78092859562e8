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
"""The script of docs/training.md, as it stands there."""

import json
import re
import subprocess
import sys
from pathlib import Path

from square_images import save_tiny_vit, write_class_folders
from transformers import ViTImageProcessor, pipeline


PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_script_trains_on_class_folders(tmp_path):
    """In a folder that has what it names: images in one folder a class, and a backbone."""
    (script,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        if "LocalizationTrainer(" in block
    )
    assert len(script.splitlines()) <= 30
    folder = write_class_folders(tmp_path / "my_images", train=24, validation=6, test=5)
    backbone = tmp_path / "facebook" / "deit-small-patch16-224"
    backbone.mkdir(parents=True)
    save_tiny_vit(backbone, num_hidden_layers=3)
    ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(backbone)
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = json.loads(done.stdout.strip().splitlines()[-1].replace("'", '"'))
    assert {"test_loss", "test_top1_cls"} <= set(metrics)
    # colours are easy: what it saved tells them apart and can be used
    localizer = pipeline("weakly-supervised-localization", model=str(tmp_path / "my_model"))
    found = localizer(str(folder / "test" / "red" / "0.png"))
    assert found[0]["label"] in ("blue", "green", "red") and set(found[0]["box"]) == {"xmin", "ymin", "xmax", "ymax"}
