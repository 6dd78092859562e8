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
"""Models whose classes have probabilities of their own: sigmoids everywhere, several classes in an image or none."""

import json

import numpy as np
import PIL.Image
import pytest
import torch
from sat_testing import tiny_batch, tiny_model
from transformers import pipeline

from transformers_sat import SATConfig, SATForWeaklySupervisedLocalization, SATImageProcessor
from transformers_sat.cli import main
from transformers_sat.demo import Localizer
from transformers_sat.model.handler import EndpointHandler
from transformers_sat.model.modeling_sat import SATForWeaklySupervisedLocalizationOutput


NAMES = {0: "cat", 1: "dog", 2: "cow"}
SIZE = {"height": 32, "width": 32}
IMAGE = PIL.Image.effect_noise((60, 40), 90).convert("RGB")


def model_that_says(*logits: float, problem_type: str | None = "multi_label_classification"):
    """A model with the same logits for every image."""
    id2label = {label: NAMES[label] for label in range(len(logits))}
    fields = {"id2label": id2label, "label2id": {name: label for label, name in id2label.items()}}
    model = tiny_model(num_labels=len(logits), problem_type=problem_type, **fields)
    with torch.no_grad():
        model.classifier.convolution.weight.zero_()
        model.classifier.convolution.bias.copy_(torch.tensor(logits))
    return model


def answers(model) -> dict[str, list]:
    """(label, score) of every entry, with their defaults."""
    processor = SATImageProcessor(size=SIZE)
    parts = {"model": model, "image_processor": processor, "device": "cpu"}
    localizer = pipeline("weakly-supervised-localization", **parts)
    handler = EndpointHandler(localizer=localizer)
    asked = {
        f"handler, {task}": handler({"inputs": [IMAGE, IMAGE], "parameters": {"task": task}})[1]
        for task in ("image-classification", "object-detection", "image-segmentation")
    }
    asked |= {task: pipeline(task, **parts)(IMAGE) for task in ("image-classification", "object-detection")}
    asked["image-segmentation"] = pipeline("image-segmentation", **parts)(IMAGE, threshold=0.5, subtask="instance")
    asked["weakly-supervised-localization"] = localizer(IMAGE)
    asked["all classes"] = localizer(IMAGE, top_k=model.config.num_labels)
    demo = Localizer(localizer)
    seen = demo.see(IMAGE)
    place = demo.locate(seen)
    asked["demo"] = [{"label": label, "score": score} for label, score in zip(place.labels, place.scores, strict=True)]
    scores = demo.class_scores(seen)
    asked["demo, classes"] = [{"label": name, "score": scores[name]} for name in sorted(scores, key=scores.get)[::-1]]
    return {entry: [(one["label"], one["score"]) for one in found] for entry, found in asked.items()}


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


ALL_CLASSES = ("handler, image-classification", "image-classification", "all classes", "demo, classes")


@pytest.mark.parametrize("logits", [(8.0, 7.0, -8.0), (-8.0, -7.0, -9.0), (-1.0, 0.5, -3.0)])
def test_every_entry_has_sigmoids_and_the_classes_that_are_there(logits):
    expected = sorted(((NAMES[label], sigmoid(logit)) for label, logit in enumerate(logits)), key=lambda one: -one[1])
    for entry, found in answers(model_that_says(*logits)).items():
        wanted = [one for one in expected if one[1] >= 0.5 or entry in ALL_CLASSES]
        assert [label for label, _ in found] == [label for label, _ in wanted], entry
        assert [score for _, score in found] == pytest.approx([score for _, score in wanted], abs=1e-4), entry


def test_one_class_is_there_or_not():
    """`num_labels=1` needs no `problem_type`."""
    for logit in (1.5, -1.5):
        for entry, found in answers(model_that_says(logit, problem_type=None)).items():
            wanted = [sigmoid(logit)] if logit > 0 or entry in ALL_CLASSES else []
            assert [score for _, score in found] == pytest.approx(wanted, abs=1e-4), entry


def test_one_class_learns_from_floats():
    model = model_that_says(0.7, problem_type=None)
    pixel_values, _ = tiny_batch()
    for labels in (torch.tensor([1.0, 0.0, 1.0]), torch.tensor([[1.0], [0.0], [1.0]])):
        terms = model(pixel_values, labels=labels).loss_dict
        expected = -(2 * np.log(sigmoid(0.7)) + np.log(1 - sigmoid(0.7))) / 3
        assert terms["classification"].item() == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="num_labels=1.*floats"):
        model(pixel_values, labels=torch.zeros(3, dtype=torch.long))


def test_classes_that_exclude_each_other_keep_their_softmax():
    model = tiny_model()
    pixel_values, _ = tiny_batch()
    outputs = model(pixel_values)
    assert outputs.class_scores is None and outputs.class_maps is None
    result = SATImageProcessor(size=SIZE).post_process_localization(outputs)[0]
    assert result["scores"].tolist() == pytest.approx([outputs.logits[0].softmax(-1).max().item()])
    assert "class_localization_maps" not in result


def test_a_model_that_learnt_from_floats_is_multi_label(tmp_path):
    """Transformers writes the kind of problem into the configuration at the first loss."""
    model = tiny_model(num_labels=3).train()
    pixel_values, _ = tiny_batch()
    outputs = model(pixel_values, labels=torch.tensor([[1.0, 0.0, 1.0]] * 3))
    assert outputs.class_maps is None
    model.save_pretrained(tmp_path)
    again = SATForWeaklySupervisedLocalization.from_pretrained(tmp_path)
    outputs = again(pixel_values)
    torch.testing.assert_close(outputs.class_scores, outputs.logits.sigmoid())
    torch.testing.assert_close(outputs.class_maps.mean((2, 3)), outputs.logits, atol=1e-5, rtol=0)


def two_places(with_class_maps: bool = True) -> SATForWeaklySupervisedLocalizationOutput:
    """One image with two objects on its left and right, of class 0 and 2; class 1 is nowhere."""
    foreground = torch.full((1, 8, 8), 0.01)
    foreground[0, 2:6, 0:3] = 0.9
    foreground[0, 2:6, 5:8] = 0.8
    class_maps = torch.full((1, 3, 8, 8), -2.0)
    # the classes themselves are vague: on their half of the image, in the background too
    class_maps[0, 0, :, :4] = 9.0
    class_maps[0, 2, :, 4:] = 6.0
    logits = torch.tensor([[4.0, -3.0, 2.0]])
    return SATForWeaklySupervisedLocalizationOutput(
        logits=logits,
        localization_map=foreground,
        class_scores=logits.sigmoid(),
        class_maps=class_maps if with_class_maps else None,
    )


def test_each_class_has_its_place():
    processor = SATImageProcessor(size={"height": 64, "width": 64}, localization_threshold=0.5)
    outputs = two_places()
    (result,) = processor.post_process_localization(outputs, target_sizes=[(64, 64)])
    assert result["labels"].tolist() == [0, 2]
    assert result["scores"].tolist() == pytest.approx([sigmoid(4), sigmoid(2)])
    np.testing.assert_allclose(result["boxes"], [[0, 16, 24, 48], [40, 16, 64, 48]], atol=3)
    assert result["masks"].shape == (2, 64, 64)
    assert not (result["masks"][0] & result["masks"][1]).any()
    for row, (mask, box) in enumerate(zip(result["masks"], result["boxes"].int().tolist(), strict=True)):
        rows, columns = mask.nonzero(as_tuple=True)
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert torch.equal(result["class_localization_maps"][row] > 0.5, mask)
    # the image's own map has both
    assert result["localization_map"][32, 8] > 0.7 and result["localization_map"][32, 56] > 0.7

    (detections,) = processor.post_process_object_detection(outputs, threshold=0.9, target_sizes=[(64, 64)])
    assert detections["labels"].tolist() == [0]
    (segments,) = processor.post_process_instance_segmentation(outputs, target_sizes=[(64, 64)])
    assert [segment["label_id"] for segment in segments["segments_info"]] == [0, 2]
    assert torch.equal(segments["segmentation"] == 1, result["masks"][1])
    (pixels,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[(64, 64)], background_id=255)
    assert pixels[[32, 32, 2], [8, 56, 2]].tolist() == [0, 2, 255]
    assert set(pixels.unique().tolist()) == {0, 2, 255}


def test_without_class_maps_the_classes_share_the_place():
    processor = SATImageProcessor(size={"height": 64, "width": 64}, localization_threshold=0.5)
    (result,) = processor.post_process_localization(two_places(with_class_maps=False), target_sizes=[(64, 64)])
    assert result["labels"].tolist() == [0, 2]
    assert torch.equal(result["boxes"][0], result["boxes"][1])


def test_nothing_is_found():
    processor = SATImageProcessor(size={"height": 64, "width": 64})
    outputs = two_places()
    (result,) = processor.post_process_localization(outputs, target_sizes=[(64, 64)], threshold=0.99)
    assert len(result["scores"]) == len(result["masks"]) == 0
    assert result["masks"][:].shape == (0, 64, 64) and result["boxes"].shape == (0, 4)
    (segments,) = processor.post_process_instance_segmentation(outputs, threshold=0.99, target_sizes=[(64, 64)])
    assert (segments["segmentation"] == -1).all() and segments["segments_info"] == []


def test_several_parts_of_each_class():
    outputs = two_places()
    outputs["class_maps"] = outputs["class_maps"].abs()
    processor = SATImageProcessor(size={"height": 64, "width": 64}, localization_threshold=0.1)
    (result,) = processor.post_process_localization(
        outputs, target_sizes=[(64, 64)], threshold=0.05, multiple_boxes=True
    )
    assert result["labels"].tolist() == [0, 0, 2, 2]
    assert len(result["class_localization_maps"]) == len(result["masks"]) == 4
    assert result["scores"][0].item() == pytest.approx(sigmoid(4), abs=1e-4)
    assert result["scores"][1] < 0.5 * result["scores"][0]


def test_the_command(tmp_path, capsys):
    IMAGE.save(tmp_path / "a.png")
    for logits, names in (((8.0, 7.0, -8.0), ["cat", "dog"]), ((-8.0, -7.0, -8.0), [])):
        model_that_says(*logits).save_pretrained(tmp_path / "model")
        SATImageProcessor(size=SIZE).save_pretrained(tmp_path / "model")
        words = ["predict", str(tmp_path / "model"), str(tmp_path / "a.png"), "--output", str(tmp_path / "drawings")]
        assert main(words) == 0
        found = json.loads(capsys.readouterr().out)["objects"]
        assert [entry["label"] for entry in found] == names
        assert (tmp_path / "drawings" / "a.png_sat.png").is_file()


def test_the_configuration_says_which_kind_a_model_is():
    assert not SATConfig(num_labels=2).has_independent_classes
    assert SATConfig(num_labels=2, problem_type="multi_label_classification").has_independent_classes
    assert SATConfig(num_labels=1).has_independent_classes
    # as Transformers' own tests set it: the constructor refuses it
    softmax = SATConfig(num_labels=1)
    softmax.problem_type = "single_label_classification"
    assert not softmax.has_independent_classes
    assert "has_independent_classes" not in SATConfig(num_labels=1).to_dict()
