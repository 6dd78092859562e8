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

import datasets
import pytest
from small_evaluation import small_model, small_processor, two_box_split, with_masks
from square_images import square_split

from transformers_sat.cli import main
from transformers_sat.evaluation import evaluate_localization
from transformers_sat.results import read_results


@pytest.fixture(scope="module")
def split() -> datasets.Dataset:
    return with_masks(two_box_split(11, first=200))


@pytest.fixture(scope="module")
def masks_alone(split) -> datasets.Dataset:
    return split.remove_columns("objects")


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
def test_the_same_figures_as_beside_boxes(split, masks_alone, protocol):
    """No threshold is needed."""
    model, processor = small_model(), small_processor()
    settings = {"protocol": protocol, "batch_size": 4}
    expected = evaluate_localization(model, processor, split, localization_threshold=0.4, **settings)
    found = evaluate_localization(model, processor, masks_alone, **settings)
    for name in ("top1_cls", "top5_cls", "num_images", "image_size", "protocol", "pxap", "center"):
        assert found.result[name] == expected.result[name], name
    assert found.result["whole_image"] == {"pxap": expected.result["whole_image"]["pxap"]}
    assert found.precision_recall == expected.precision_recall
    assert "gt_known_loc" not in found.result and found.curves is None


def test_not_all_images_have_masks(masks_alone):
    some = masks_alone.map(
        lambda row, index: {"mask": None if index == 3 else row["mask"]},
        with_indices=True,
        features=masks_alone.features,
    )
    with pytest.raises(
        ValueError, match="cannot be measured on the evaluation split: of its 11 images none has boxes"
    ):
        evaluate_localization(small_model(), small_processor(), some)


def test_command(saved_model, masks_alone, tmp_path, capsys):
    """A data set like OpenImages30k: no boxes, and no threshold to choose."""
    datasets.DatasetDict(train=square_split(6).remove_columns("objects"), test=masks_alone).save_to_disk(
        tmp_path / "data"
    )
    output = tmp_path / "report"
    options = ["--protocol", "both", "--output", str(output), "--validation_fraction", "0.5"]
    assert main(["evaluate", str(saved_model), str(tmp_path / "data"), *options]) == 0
    results = read_results(output / "results.json")["results"]["test"]
    expected = evaluate_localization(small_model(), small_processor(), masks_alone, protocol="wsoleval").result
    assert results["wsoleval"]["pxap"] == pytest.approx(expected["pxap"], abs=1e-3)
    printed = capsys.readouterr().out
    assert (
        "PxAP" in printed
        and "| centred map, test" in printed
        and "protocol sat at 32 px; 11 images in test" in printed
    )
    assert "threshold" not in printed
    assert (output / "precision_recall_sat.png").is_file() and (output / "precision_recall_wsoleval.png").is_file()
