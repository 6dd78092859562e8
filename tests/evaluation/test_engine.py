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
import numpy as np
import PIL.Image
import pytest
import torch
from small_evaluation import (
    MODEL_CLASSES,
    NUM_TEST_IMAGES,
    ignored_row,
    small_model,
    small_processor,
    square_mask,
    two_box_split,
    with_masks,
)
from square_images import CLASS_NAMES, square_split

from transformers_sat.evaluation import (
    EvaluationSettings,
    EvaluationSplit,
    evaluate_localization,
    evaluate_split,
    evaluate_splits,
)
from transformers_sat.evaluation.images import ten_crops
from transformers_sat.metrics import BoxAccuracy, PixelAveragePrecision, boxes_from_map
from transformers_sat.model.images_sat import read_mask


SIZE = 32

# What the `sat` protocol resizes to before it crops 32: round(32 * 256 / 224).
RESIZED = 37

THRESHOLDS = [0.2, 0.4, 0.6, 0.8]


def number_of(label: int) -> int:
    """The model's number for a class of the data set."""
    return MODEL_CLASSES.index(CLASS_NAMES[label])


def pixels_of(image: PIL.Image.Image, side: int) -> torch.Tensor:
    """The normalized image, resized by the model's processor and not cropped."""
    settings = {"size": {"height": side, "width": side}, "do_center_crop": False}
    return small_processor()(image, return_tensors="pt", **settings)["pixel_values"][0]


def frame_boxes(row: dict, protocol: str) -> np.ndarray:
    """True boxes of an image of 64 x 64 pixels in the frame, box by box."""
    boxes = []
    for x, y, width, height in row["objects"]["bbox"]:
        corners = np.array([x, y, x + width, y + height])
        if protocol == "sat":
            corners = corners / 64 * RESIZED - (RESIZED - SIZE) // 2
            corners = np.concatenate([np.maximum(corners[:2], 0), np.minimum(corners[2:], SIZE - 1)])
        else:
            corners = corners * SIZE / 64
        boxes.append(np.trunc(corners).astype(int))
    return np.stack(boxes)


def shown(row: dict, protocol: str) -> torch.Tensor:
    """What the model sees of an image."""
    if protocol == "wsoleval":
        return pixels_of(row["image"], SIZE)
    start = (RESIZED - SIZE) // 2
    return pixels_of(row["image"], RESIZED)[:, start : start + SIZE, start : start + SIZE]


def counted_by_hand(split: datasets.Dataset, protocol: str, thresholds=None) -> BoxAccuracy:
    model = small_model()
    metric = BoxAccuracy(protocol, thresholds, image_size=SIZE)
    for row in split:
        with torch.no_grad():
            outputs = model(pixel_values=shown(row, protocol)[None])
        labels = torch.tensor([number_of(row["label"])])
        metric.update(outputs.localization_map, [frame_boxes(row, protocol)], outputs.logits, labels)
    return metric


def evaluated(split: datasets.Dataset, **settings):
    return evaluate_localization(small_model(), small_processor(), split, batch_size=4, **settings)


@pytest.fixture(scope="module")
def split() -> datasets.Dataset:
    return two_box_split(NUM_TEST_IMAGES)


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
def test_equals_the_metric_by_hand(split, protocol):
    thresholds = THRESHOLDS if protocol == "sat" else None
    evaluation = evaluated(
        split, protocol=protocol, localization_threshold="oracle", localization_thresholds=thresholds
    )
    expected = counted_by_hand(split, protocol, thresholds)
    figures = expected.compute()
    assert figures["num_images"] == NUM_TEST_IMAGES
    for name, figure in figures.items():
        if isinstance(figure, dict):
            assert evaluation.result[name].items() >= figure.items()
        else:
            assert evaluation.result[name] == figure, name
    assert evaluation.curves == expected.curves()
    assert evaluation.precision_recall is None
    levels = [evaluation.result[name] for name in ("iou30", "iou50", "iou70")]
    assert evaluation.result["mean_iou_levels"] == pytest.approx(sum(levels) / 3)


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
def test_images_tell_what_was_counted(split, protocol):
    evaluation = evaluated(split, protocol=protocol, localization_threshold="oracle")
    result, images = evaluation.result, evaluation.images
    assert [image["row"] for image in images] == list(range(NUM_TEST_IMAGES))
    assert [image["image_id"] for image in images] == list(range(NUM_TEST_IMAGES))
    assert 100 * np.mean([image["iou"] >= 0.5 for image in images]) == pytest.approx(result["gt_known_loc"])
    is_right = [image["label"] == image["predicted_label"] for image in images]
    assert 100 * np.mean(is_right) == pytest.approx(result["top1_cls"])
    for image, row in zip(images, split, strict=True):
        assert image["label"] == number_of(row["label"])
        assert 1 / len(MODEL_CLASSES) <= image["probability"] <= 1
        assert image["true_boxes"] == frame_boxes(row, protocol).tolist()
        x0, y0, x1, y1 = np.array(image["true_boxes"]).T
        areas = (np.minimum(x1, 31) - x0 + 1) * (np.minimum(y1, 31) - y0 + 1)
        assert image["object_share"] == pytest.approx(areas.max() / SIZE**2)


def test_batches_and_workers_do_not_matter(split):
    expected = evaluated(split, localization_threshold="oracle").result
    for batch_size, num_workers in ((1, 0), (64, 2)):
        evaluation = evaluate_localization(
            small_model(),
            small_processor(),
            split,
            localization_threshold="oracle",
            batch_size=batch_size,
            num_workers=num_workers,
            keep_images=False,
        )
        assert evaluation.result == expected
        assert evaluation.images == []


def test_settings_of_the_processor_do_not_change_the_protocol(split):
    """A processor that is saved for use on whole images, or with a crop, only gives mean and deviation."""
    expected = evaluated(split, localization_threshold="oracle").result
    other = small_processor()
    other.size, other.do_center_crop, other.do_resize = {"height": 80, "width": 48}, True, False
    assert evaluate_localization(small_model(), other, split, localization_threshold="oracle").result == expected


def test_training_goes_on_afterwards(split):
    model = small_model().train()
    evaluate_localization(model, small_processor(), split, localization_threshold=0.5)
    assert model.training


# Threshold.


def test_threshold_of_the_validation_split(split):
    validation = two_box_split(7, first=50)
    calibrated = evaluated(validation, localization_threshold="oracle", localization_thresholds=THRESHOLDS).result
    result = evaluated(
        split, localization_threshold="validation", validation_dataset=validation, localization_thresholds=THRESHOLDS
    ).result
    assert result["threshold_choice"] == "validation"
    assert result["threshold"] == calibrated["threshold"]
    assert result["calibration"]["num_images"] == 7
    assert result["calibration"]["gt_known_loc"] == calibrated["gt_known_loc"]
    expected = counted_by_hand(split, "sat", THRESHOLDS).compute(calibrated["threshold"])
    assert (result["gt_known_loc"], result["iou30"]) == (expected["gt_known_loc"], expected["iou30"])


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
@pytest.mark.parametrize("threshold", [0.4, 0.1234])
def test_given_threshold(split, protocol, threshold):
    result = evaluated(split, protocol=protocol, localization_threshold=threshold).result
    assert (result["threshold_choice"], result["threshold"]) == ("fixed", threshold)
    expected = counted_by_hand(split, protocol, [threshold]).compute(threshold)
    assert result["gt_known_loc"] == expected["gt_known_loc"]
    assert result["top1_loc"] == expected["top1_loc"]
    assert ("max_box_acc" in result, "box_acc" in result) == (False, protocol == "wsoleval")


@pytest.mark.parametrize(
    "threshold, message",
    [
        ("validation", "`validation_dataset`"),
        ("best", "'oracle', 'validation'.*got 'best'"),
        (1.5, "from 0 to 1, got 1.5"),
        (float("nan"), "from 0 to 1, got nan"),
    ],
)
def test_threshold_that_cannot_be(split, threshold, message):
    with pytest.raises(ValueError, match=message):
        evaluated(split, localization_threshold=threshold)


# Ten crops.


def test_ten_crops_are_the_corners_and_the_centre_and_their_mirror_images():
    image = torch.arange(3 * 37 * 37).reshape(3, 37, 37)
    crops = ten_crops(image, 32)
    for crop, (top, left) in zip(crops, [(0, 0), (0, 5), (5, 0), (5, 5), (2, 2)]):
        assert crop.equal(image[:, top : top + 32, left : left + 32])
    for crop, mirrored in zip(crops[:5], crops[5:], strict=True):
        assert mirrored.equal(crop.flip(2))


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_ten_crop_classification(split, is_multi_label):
    """Crop by crop: the mean of ten softmaxes or sigmoids, and the map of the centre crop as without them."""
    model = small_model()
    if is_multi_label:
        model.config.problem_type = "multi_label_classification"
    settings = {"localization_threshold": 0.4, "batch_size": 4}
    evaluation = evaluate_localization(model, small_processor(), split, ten_crop=True, **settings)
    single = evaluate_localization(model, small_processor(), split, **settings)
    for row, image, single_image in zip(split, evaluation.images, single.images, strict=True):
        pixels = pixels_of(row["image"], RESIZED)
        probabilities = torch.zeros(len(MODEL_CLASSES))
        for top, left in [(0, 0), (0, 5), (5, 0), (5, 5), (2, 2)]:
            crop = pixels[:, top : top + SIZE, left : left + SIZE]
            for view in (crop, crop.flip(-1)):
                with torch.no_grad():
                    logits = model(pixel_values=view[None]).logits[0]
                probabilities += (logits.sigmoid() if is_multi_label else logits.softmax(0)) / 10
        assert image["predicted_label"] == probabilities.argmax()
        assert image["probability"] == pytest.approx(probabilities.max().item(), abs=1e-5)
        assert image["predicted_box"] == single_image["predicted_box"]
    assert evaluation.result["ten_crop"] is True
    assert evaluation.result["gt_known_loc"] == single.result["gt_known_loc"]
    top1 = np.mean([image["label"] == image["predicted_label"] for image in evaluation.images])
    assert evaluation.result["top1_cls"] == pytest.approx(100 * top1)


def test_the_other_protocol_crops_nothing(split):
    with pytest.raises(ValueError, match='`ten_crop` is of the "sat" protocol'):
        evaluated(split, protocol="wsoleval", localization_threshold=0.4, ten_crop=True)


# Masks.


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
def test_pixels_are_measured_where_there_are_masks(split, protocol):
    evaluation = evaluated(with_masks(split), protocol=protocol, localization_threshold=0.4)
    metric = PixelAveragePrecision(image_size=SIZE)
    model = small_model()
    start = (RESIZED - SIZE) // 2
    side = RESIZED if protocol == "sat" else SIZE

    def in_frame(mask: np.ndarray) -> np.ndarray:
        # nearest: the pixel at the whole part of each position
        picked = (np.arange(side) * 64 / side).astype(int)
        frame = mask[np.ix_(picked, picked)]
        return frame[start : start + SIZE, start : start + SIZE] if protocol == "sat" else frame

    ignored = ignored_row()
    for row in split:
        with torch.no_grad():
            outputs = model(pixel_values=shown(row, protocol)[None])
        mask = in_frame(square_mask(row["objects"]["bbox"][0]))
        metric.update(outputs.localization_map, [mask], [in_frame(ignored)])
    figures = metric.compute()
    # one by one or in batches, the model's last digits differ, and now and then a pixel changes its step
    assert evaluation.result["pxap"] == pytest.approx(figures["pxap"], abs=1e-3)
    for baseline in ("whole_image", "center"):
        assert evaluation.result[baseline]["pxap"] == figures[baseline]["pxap"]
    np.testing.assert_allclose(evaluation.precision_recall["precision"], metric.curve()["precision"], atol=1e-2)
    assert [image["image_id"] for image in evaluation.images][:2] == ["square 0", "square 1"]


@pytest.mark.parametrize("mode, foreground", [("1", 1), ("L", 1), ("L", 255), ("I;16", 300), ("RGB", (0, 9, 0))])
def test_what_is_not_black_is_foreground(mode, foreground):
    image = PIL.Image.new(mode, (3, 2))
    image.putpixel((2, 1), foreground)
    np.testing.assert_array_equal(read_mask(image), [[False, False, False], [False, False, True]])


def test_pixels_are_not_measured_where_a_mask_is_missing(split, caplog):
    masked = with_masks(split)
    masked = masked.map(
        lambda row, index: {"mask": None if index == 5 else row["mask"]}, with_indices=True, features=masked.features
    )
    assert "pxap" not in evaluated(masked, localization_threshold=0.4).result


def test_without_an_ignore_mask_nothing_is_left_out(split):
    def with_ignore_mask(content) -> float:
        masked = with_masks(split)
        masked = masked.map(lambda row: {"ignore_mask": content}, features=masked.features)
        return evaluated(masked, localization_threshold=0.4).result["pxap"]

    assert (
        with_ignore_mask(None)
        == with_ignore_mask(np.zeros((64, 64), dtype=np.uint8))
        != with_ignore_mask(ignored_row())
    )


# Data that cannot be measured.


def test_without_boxes():
    with pytest.raises(ValueError, match="evaluation split.*`objects` with `bbox`.*'image', 'label'"):
        evaluated(square_split(3, with_boxes=False), localization_threshold=0.4)


def test_a_split_without_boxes_or_masks_has_its_classes_measured(split):
    """With the same figures as beside boxes; a first five needs five classes."""
    bare = split.remove_columns("objects")
    model, processor = small_model(), small_processor()
    found = evaluate_split(
        model, processor, EvaluationSplit.of("test", bare, model.config), EvaluationSettings(batch_size=4)
    )
    expected = evaluated(split, localization_threshold=0.4)
    for name in ("protocol", "image_size", "num_images", "top1_cls", "top5_cls"):
        assert found.result[name] == expected.result[name], name
    assert not any("loc" in name or "iou" in name or "pxap" in name for name in found.result)
    assert (found.curves, found.precision_recall) == (None, None)
    for image, other in zip(found.images, expected.images, strict=True):
        assert image.items() <= other.items()
        assert set(other) - set(image) == {"iou", "true_boxes", "object_share"}


def test_the_maps_that_were_measured_are_kept(split):
    """At the grid's size, in the order of the images, and what the boxes were cut from."""
    evaluation = evaluated(split, localization_threshold=0.4)
    model = small_model()
    assert evaluation.maps.dtype == np.float32
    for row, image, localization_map in zip(split, evaluation.images, evaluation.maps, strict=True):
        with torch.no_grad():
            expected = model(pixel_values=shown(row, "sat")[None]).localization_map[0]
        torch.testing.assert_close(torch.from_numpy(localization_map), expected, atol=1e-5, rtol=0)
        box = boxes_from_map(torch.from_numpy(localization_map), [0.4], "sat", SIZE)[0]
        assert image["predicted_box"] == box.tolist()
    assert evaluated(split, localization_threshold=0.4, keep_images=False).maps is None


def test_the_splits_of_a_run(split):
    """Validation chooses the threshold, which the processor keeps; the test split is measured at it, and says so."""
    model, processor = small_model(), small_processor()
    rows = {"validation": two_box_split(7, first=50), "test": split}
    splits = {name: EvaluationSplit.of(name, data, model.config) for name, data in rows.items()}
    settings = EvaluationSettings(localization_thresholds=THRESHOLDS, batch_size=4)
    found = dict(evaluate_splits(model, processor, splits, settings))
    chosen = counted_by_hand(rows["validation"], "sat", THRESHOLDS).compute()
    expected = counted_by_hand(split, "sat", THRESHOLDS).compute(chosen["threshold"])
    assert processor.localization_threshold == chosen["threshold"]
    assert [found[name].result["threshold_choice"] for name in rows] == ["oracle", "validation"]
    for name, figures in (("validation", chosen), ("test", expected)):
        for figure in ("threshold", "num_images", "gt_known_loc", "top1_loc", "iou30"):
            assert found[name].result[figure] == figures[figure]

    processor = small_processor()
    processor.localization_threshold = 0.55
    rows["validation"] = rows["validation"].remove_columns("objects")
    splits = {name: EvaluationSplit.of(name, data, model.config) for name, data in rows.items()}
    found = dict(evaluate_splits(model, processor, splits, settings))
    assert processor.localization_threshold == 0.55
    assert (found["test"].result["threshold"], found["test"].result["threshold_choice"]) == (0.55, "fixed")


def test_what_a_split_can_be_measured_by(split):
    config = small_model().config
    masked = with_masks(split)

    def found(dataset) -> tuple[bool, bool, bool]:
        looked_at = EvaluationSplit.of("test", dataset, config)
        return looked_at.has_boxes, looked_at.has_masks, looked_at.has_labels

    assert found(split) == (True, False, True)
    assert found(masked) == (True, True, True)
    assert found(masked.remove_columns("objects")) == (False, True, True)
    assert found(split.remove_columns(["objects", "label"])) == (False, False, False)
    # what other libraries call a test set without classes
    hidden = split.remove_columns("label").add_column("label", [-1] * len(split))
    assert found(hidden) == (True, False, False)
    # words, not images
    assert found(split.add_column("mask", ["none"] * len(split))) == (True, False, True)


@pytest.mark.parametrize(
    "column, value, message",
    [
        ("label", -1, "row 3: `label` is empty, or -1, and other rows have a class"),
        ("label", None, "row 3: `label` is empty, or -1, and other rows have a class"),
    ],
)
def test_splits_that_cannot_be_measured(split, column, value, message):
    values = [*split[column][:3], value, *split[column][4:]]
    broken = split.remove_columns(column).add_column(column, values)
    with pytest.raises(ValueError, match=f"test split, {message}"):
        EvaluationSplit.of("test", broken, small_model().config)


def test_a_split_without_classes_is_not_measured(split):
    model = small_model()
    unlabelled = EvaluationSplit.of("test", split.remove_columns("label"), model.config)
    with pytest.raises(ValueError, match="test split cannot be measured: row 0 has no class.*`label`"):
        evaluate_split(model, small_processor(), unlabelled, EvaluationSettings(localization_threshold=0.4))
    with pytest.raises(ValueError, match="no column `image`"):
        EvaluationSplit.of("test", split.remove_columns("image"), model.config)
    with pytest.raises(ValueError, match="square frame.*48"):
        EvaluationSplit.of("test", split, small_model(image_size=(32, 48)).config)


def test_without_images(split):
    with pytest.raises(ValueError, match="has no images"):
        evaluated(split.select([]), localization_threshold=0.4)


def test_validation_without_boxes(split):
    with pytest.raises(ValueError, match="validation split"):
        evaluated(split, validation_dataset=square_split(3, with_boxes=False))
