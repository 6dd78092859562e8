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

"""A report is made of what was measured, and of no model."""

import numpy as np
import PIL.Image
import pytest
from square_images import square_split

from transformers_sat.evaluation import LocalizationEvaluation
from transformers_sat.evaluation.report import draw_images, write_reports


NAMES = {0: "red", 1: "green", 2: "blue"}


@pytest.fixture
def evaluation() -> LocalizationEvaluation:
    """Two images, whose maps show the left and the right half."""
    images = [
        {
            "row": row,
            "image_id": f"square {row}",
            "label": row,
            "predicted_label": 0,
            "probability": 0.5,
            "iou": 0.25 + row / 2,
            "predicted_box": [0, 0, 16, 32],
            "true_boxes": [[4, 4, 20, 20]],
            "object_share": 0.25,
        }
        for row in range(2)
    ]
    maps = np.array([[[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2], dtype=np.float32)
    result = {"protocol": "sat", "image_size": 32, "num_images": 2, "threshold": 0.5, "gt_known_loc": 50.0}
    curves = {"thresholds": [0.0, 1.0], "iou50": [50.0, 50.0]}
    return LocalizationEvaluation(result=result, curves=curves, images=images, maps=maps)


def test_drawings_show_the_maps_that_were_measured(evaluation):
    right, left = draw_images(evaluation, [1, 0], square_split(2), NAMES)
    # enlarged to the frame between two neighbours: the outer quarters have the values of the cells
    for tile, bright in ((left, slice(0, 8)), (right, slice(24, 32))):
        assert tile.localization_map.shape == (32, 32)
        assert tile.localization_map[:, bright].min() > 0.99
        assert tile.localization_map[:, ::-1][:, bright].max() < 0.01
        assert tile.image.size == (32, 32)
    assert left.title == "IoU 0.25: red 0.50" and right.title == "IoU 0.75: red 0.50 (is green)"


def test_files(evaluation, tmp_path):
    write_reports([evaluation], square_split(2), NAMES, tmp_path)
    kinds = ("thresholds", "by_size", "by_class", "worst", "best")
    assert {path.name for path in tmp_path.iterdir()} == {f"{kind}_sat.png" for kind in kinds} | {"images_sat.parquet"}


def test_an_image_that_is_gone_costs_its_drawing_alone(evaluation, tmp_path):
    rows = square_split(2).to_list()
    rows[1]["image"] = {"bytes": b"no image", "path": None}
    dataset = type(square_split(1)).from_list(rows, features=square_split(1).features)
    with pytest.raises(RuntimeError, match=r"2 of 5 files could not be drawn.*(worst|best)_sat\.png"):
        write_reports([evaluation], dataset, NAMES, tmp_path)
    for kind in ("thresholds", "by_size", "by_class"):
        with PIL.Image.open(tmp_path / f"{kind}_sat.png") as image:
            image.load()
    assert (tmp_path / "images_sat.parquet").is_file()
