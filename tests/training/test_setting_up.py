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
"""Where a run starts: the model, its classes and its image processor."""

import logging

import pytest
from sat_testing import tiny_model
from square_images import CLASS_NAMES, save_tiny_vit, square_split
from transformers import ViTImageProcessor

from transformers_sat import SATImageProcessor
from transformers_sat.training import DataArguments, ModelArguments, splits_to_measure, start_model, start_name


@pytest.fixture
def backbone(tmp_path):
    return str(save_tiny_vit(tmp_path))


@pytest.fixture
def sat_model(tmp_path):
    names = dict(enumerate(["green", "red", "blue"]))
    tiny_model(num_labels=3, id2label=names, area_target=0.4).save_pretrained(tmp_path)
    SATImageProcessor(localization_threshold=0.65).save_pretrained(tmp_path)
    return str(tmp_path)


def test_a_backbone(backbone, caplog):
    """The classes are the data's, and the processor shows what is measured: 256 / 224 of the image size, cropped."""
    with caplog.at_level(logging.WARNING):
        model, processor = start_model(backbone, CLASS_NAMES, area_target=0.3, num_spatial_layers=2)
    assert model.config.id2label == dict(enumerate(CLASS_NAMES))
    assert model.config.label2id == {name: number for number, name in enumerate(CLASS_NAMES)}
    assert (model.config.area_target, model.config.num_spatial_layers) == (0.3, 2)
    assert (processor.size, processor.do_center_crop) == ({"height": 73, "width": 73}, True)
    assert "no image processor" in caplog.text
    assert list(processor.image_mean) == pytest.approx([0.485, 0.456, 0.406])
    _, processor = start_model(backbone, CLASS_NAMES, protocol="wsoleval", num_spatial_layers=2)
    assert (processor.size, processor.do_center_crop) == ({"height": 64, "width": 64}, False)


def test_the_backbones_normalization_is_kept(backbone):
    ViTImageProcessor(image_mean=[0.5, 0.4, 0.3], image_std=[0.1, 0.2, 0.3]).save_pretrained(backbone)
    _, processor = start_model(backbone, CLASS_NAMES, num_spatial_layers=2)
    assert (list(processor.image_mean), list(processor.image_std)) == ([0.5, 0.4, 0.3], [0.1, 0.2, 0.3])


def test_a_sat_model_keeps_what_it_has(sat_model):
    """Its order of the same classes, its losses and its threshold."""
    model, processor = start_model(sat_model, ["red", "green", "blue"])
    assert model.config.id2label == {0: "green", 1: "red", 2: "blue"}
    assert model.config.area_target == 0.4
    assert processor.localization_threshold == 0.65


def test_a_sat_model_with_other_classes(sat_model, caplog):
    """It learns those of the data, if it is trained."""
    others = ["red", "pink"]
    with caplog.at_level(logging.WARNING):
        assert start_model(sat_model, others)[0].config.id2label == {0: "red", 1: "pink"}
    assert "learn them anew" in caplog.text
    kept = start_model(sat_model, others, is_trained=False)[0]
    assert kept.config.id2label == {0: "green", 1: "red", 2: "blue"}


def test_what_cannot_be_started_from(backbone):
    with pytest.raises(ValueError, match="`image_size` must be one number.*32"):
        start_model(backbone, CLASS_NAMES, image_size=(32, 64), num_spatial_layers=2)
    assert start_name(DataArguments(dataset_name="mine"), ModelArguments(model_name_or_path="vit")) == "vit"
    with pytest.raises(ValueError, match="`--model_name_or_path` is missing"):
        start_name(DataArguments(dataset_name="mine"), ModelArguments())


def test_what_is_measured(caplog):
    """A test split whose classes are kept back is left out; a validation split must have them."""
    model = tiny_model(num_labels=3, id2label=dict(enumerate(CLASS_NAMES)))
    rows = square_split(4)
    hidden = rows.remove_columns("label").add_column("label", [-1] * 4)
    given = {"train": rows, "validation": rows.remove_columns("objects"), "test": hidden}
    with caplog.at_level(logging.WARNING):
        assert list(splits_to_measure(given, model.config, SATImageProcessor(), "sat")) == ["validation"]
    assert "The test split is not measured: its images have no classes." in caplog.text
    assert "The validation split has no boxes" in caplog.text and "it stays at 0.4" in caplog.text
    with pytest.raises(ValueError, match="validation split cannot be measured: row 0 has no class"):
        splits_to_measure({"validation": hidden}, model.config, SATImageProcessor(), "sat")


def test_a_single_class_is_not_trained_on(backbone):
    with pytest.raises(ValueError, match=r"Training needs two classes or more, got \['cat'\]"):
        start_model(backbone, ["cat"], num_spatial_layers=2)
    assert start_model(backbone, ["cat"], is_trained=False, num_spatial_layers=2)[0].config.num_labels == 1
