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
"""Rows of a data set as inputs of the model: pixels, labels and boxes."""

import io
from collections import Counter

import datasets
import numpy as np
import PIL.Image
import pytest
import torch
from square_images import square_split

from transformers_sat import SATImageProcessor, SATImageProcessorPil
from transformers_sat.data import LocalizationDataset, TrainingAugmentation, collate_localization, decode_image
from transformers_sat.metrics import ground_truth_boxes


MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
# PIL's and torchvision's filters may round a pixel to neighbouring levels of the 255.
ONE_LEVEL = 1.01 / 255


def photograph(width: int, height: int, seed: int = 0) -> PIL.Image.Image:
    """Smooth random colours: like a photograph, it has no mirror symmetry and survives a resize."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC)


def encoded(image: PIL.Image.Image, file_format: str = "PNG", **options) -> dict:
    """The image as an undecoded column holds it."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def rows_of(*images: dict, boxes: list | None = None) -> datasets.Dataset:
    features = {
        "image": datasets.Image(decode=False),
        "label": datasets.ClassLabel(names=["a", "b", "c"]),
        "objects": {"bbox": datasets.List(datasets.List(datasets.Value("float32"), length=4))},
    }
    boxes = boxes or [[[1.0, 1.0, 2.0, 2.0]]] * len(images)
    rows = [
        {"image": image, "label": index % 3, "objects": {"bbox": of_image}}
        for index, (image, of_image) in enumerate(zip(images, boxes, strict=True))
    ]
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))


def processor(size: int, processor_class=SATImageProcessor):
    size = {"height": size, "width": size}
    return processor_class(size=size, crop_size=size)


def levels(pixel_values: torch.Tensor) -> np.ndarray:
    """Undoes the normalization: `(height, width, 3)` in [0, 1]."""
    return pixel_values.permute(1, 2, 0).numpy() * STD + MEAN


def training_data(images: list[dict], size: int = 16, seed: int = 0, processor_class=SATImageProcessor, **options):
    return LocalizationDataset(
        rows_of(*images),
        processor(size, processor_class),
        augmentation=TrainingAugmentation(size, **options),
        seed=seed,
    )


# Decoding.


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("training", [True, False])
def test_any_kind_of_image_becomes_three_channels(mode, training):
    image = photograph(40, 30).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = PIL.Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        assert image.mode == "I;16"
    entry = encoded(image, "TIFF")
    dataset = (
        training_data([entry]) if training else LocalizationDataset(rows_of(entry), processor(16), protocol="sat")
    )
    pixels = levels(dataset[0]["pixel_values"])
    assert pixels.shape == (16, 16, 3)
    assert -0.01 <= pixels.min() and pixels.max() <= 1.01
    # neither black nor white: sixteen bits are brought to eight, not cut
    assert 0.2 < pixels.mean() < 0.8


def test_exif_orientation(tmp_path):
    upright = photograph(60, 40)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    stored = upright.transpose(PIL.Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "turned.png", exif=exif)
    box = [6.0, 10.0, 30.0, 20.0]
    dataset = LocalizationDataset(
        rows_of({"bytes": None, "path": str(tmp_path / "turned.png")}, encoded(upright), boxes=[[box], [box]]),
        processor(56),
        protocol="sat",
        with_boxes=True,
    )
    assert decode_image({"bytes": None, "path": str(tmp_path / "turned.png")}).size == (60, 40)
    turned, plain = dataset[0], dataset[1]
    torch.testing.assert_close(turned["pixel_values"], plain["pixel_values"], atol=0, rtol=0)
    # 60 x 40 to 64 x 64, crop of 56 from 4: x 6 -> 2.4, 36 -> 34.4; y 10 -> 12, 30 -> 44
    assert turned["boxes"].tolist() == [[2, 12, 34, 44]]
    # training images are upright too
    stored = {"bytes": (tmp_path / "turned.png").read_bytes(), "path": None}
    assert torch.equal(
        training_data([stored])[0]["pixel_values"], training_data([encoded(upright)])[0]["pixel_values"]
    )


@pytest.mark.parametrize("content", [b"", b"no image", encoded(photograph(40, 30))["bytes"][:200]])
def test_undecodable_image(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    for entry in ({"bytes": None, "path": str(path)}, {"bytes": content, "path": str(path)}):
        with pytest.raises(ValueError, match=r"broken\.png cannot be decoded"):
            decode_image(entry)
    dataset = LocalizationDataset(rows_of({"bytes": None, "path": str(path)}), processor(16), protocol="sat")
    with pytest.raises(ValueError, match=r"broken\.png cannot be decoded"):
        dataset[0]


def test_file_that_is_not_there():
    with pytest.raises(ValueError, match=r"gone\.png cannot be decoded"):
        decode_image({"bytes": None, "path": "gone.png"})


@pytest.mark.parametrize("entry", [None, {"bytes": None, "path": None}])
def test_missing_image(entry):
    with pytest.raises(ValueError, match="missing"):
        decode_image(entry)


def test_damaged_file_that_confuses_its_reader():
    """A TIFF whose pixels start at a fraction of a byte makes Pillow raise a `TypeError`."""
    content = bytearray(encoded(PIL.Image.new("RGB", (4, 3), (10, 20, 30)), "TIFF")["bytes"])
    at = content.index(bytes([0x11, 0x01, 4, 0]))  # tag 273, where the pixels start; type 4 is a whole number
    content[at + 2] = 5
    with pytest.raises(TypeError):
        PIL.Image.open(io.BytesIO(content)).load()
    with pytest.raises(ValueError, match="odd.tiff cannot be decoded"):
        decode_image({"bytes": bytes(content), "path": "odd.tiff"})


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("file_format", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_damaged_files_are_decoded_or_refused(file_format):
    """Whatever a damaged file makes Pillow raise, the caller sees a `ValueError` with the path."""
    random = np.random.default_rng(0)
    noise = PIL.Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    content = encoded(noise, file_format)["bytes"]
    refused = 0
    for attempt in range(300):
        damaged = bytearray(content)
        if attempt % 3 == 0:
            damaged = damaged[: random.integers(0, len(damaged))]
        else:
            for _ in range(random.integers(1, 6)):
                damaged[random.integers(0, min(len(damaged), 200))] = random.integers(0, 256)
        try:
            assert decode_image({"bytes": bytes(damaged), "path": "damaged"}).size[0] > 0
        except ValueError as error:
            assert "damaged" in str(error)
            refused += 1
    assert refused > 30


# Training images.


@pytest.mark.parametrize("processor_class", [SATImageProcessor, SATImageProcessorPil])
def test_training_pixels_are_a_literal_crop(processor_class):
    """Resized to 256/224 of the size whatever the aspect ratio, cropped somewhere, perhaps flipped; all of it happens."""
    image = photograph(50, 40)
    resized = image.resize((18, 18), PIL.Image.Resampling.BILINEAR)
    expected = {}
    for left in range(3):
        for top in range(3):
            crop = resized.crop((left, top, left + 16, top + 16))
            expected[left, top, False] = np.asarray(crop) / 255
            expected[left, top, True] = np.asarray(crop.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)) / 255
    dataset = training_data([encoded(image)], processor_class=processor_class)
    seen = Counter()
    for epoch in range(250):
        dataset.set_epoch(epoch)
        pixels = levels(dataset[0]["pixel_values"])
        differences = {place: np.abs(pixels - crop).max() for place, crop in expected.items()}
        place = min(differences, key=differences.get)
        assert differences[place] < ONE_LEVEL
        seen[place] += 1
    assert set(seen) == set(expected)
    assert 0.4 < sum(count for place, count in seen.items() if place[2]) / 250 < 0.6


@pytest.mark.parametrize("processor_class", [SATImageProcessor, SATImageProcessorPil])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_training_pixels_are_normalized_as_the_processor_does(processor_class, mode):
    """On the short way, without its checks: for torchvision to the last bit."""
    image = photograph(50, 40).convert(mode)
    dataset = training_data([encoded(image)], processor_class=processor_class)
    processor_of = dataset.image_processor
    in_rgb = torch.as_tensor(np.ascontiguousarray(processor_of.process_image(image, do_convert_rgb=True)))
    augmented = dataset.augmentation(in_rgb, seed=(0, 0, 0))
    expected = processor_of(augmented, return_tensors="pt", do_resize=False)["pixel_values"][0]
    tolerance = 0 if processor_class is SATImageProcessor else 1e-6
    torch.testing.assert_close(dataset[0]["pixel_values"], expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("setting", ["do_rescale", "do_normalize"])
def test_training_pixels_follow_the_processors_settings(setting):
    plain, other = training_data([encoded(photograph(50, 40))]), training_data([encoded(photograph(50, 40))])
    setattr(other.image_processor, setting, False)
    expected = other.image_processor(
        torch.from_numpy(np.rint(255 * levels(plain[0]["pixel_values"])).astype(np.uint8)).permute(2, 0, 1),
        return_tensors="pt",
        do_resize=False,
    )["pixel_values"][0]
    torch.testing.assert_close(other[0]["pixel_values"], expected, atol=1e-5, rtol=0)


def test_fast_decoding():
    """A large JPEG is decoded small, to nearly the same pixels; a small one, and other formats, to the same."""
    large, small = photograph(600, 500), photograph(100, 80)
    images = [encoded(large, "JPEG", quality=95), encoded(small, "JPEG", quality=95), encoded(large)]
    assert decode_image(images[0], min_side=73).size == (150, 125)  # a quarter: an eighth would be 75 x 63
    exact, fast = training_data(images, size=64), training_data(images, size=64)
    fast.fast_decoding = True
    for index in range(3):
        one, other = levels(exact[index]["pixel_values"]), levels(fast[index]["pixel_values"])
        if index:
            assert (one == other).all()
        else:
            assert 0 < np.abs(one - other).mean() < 2 / 255


def test_training_and_evaluation_are_apart():
    rows = rows_of(encoded(photograph(40, 30)))
    with pytest.raises(ValueError, match="`fast_decoding` is for training alone"):
        LocalizationDataset(rows, processor(16), fast_decoding=True, protocol="sat")
    for options in ({"protocol": "sat"}, {"with_boxes": True}):
        with pytest.raises(ValueError, match="`augmentation` is for training"):
            LocalizationDataset(rows, processor(16), augmentation=TrainingAugmentation(16), **options)


@pytest.mark.parametrize("training", [True, False])
def test_images_that_have_no_known_range(tmp_path, training):
    """Floating-point images are refused by name."""
    PIL.Image.fromarray(np.random.default_rng(0).random((30, 40)).astype(np.float32)).save(tmp_path / "depth.tiff")
    rows = rows_of({"bytes": None, "path": str(tmp_path / "depth.tiff")})
    options = {"augmentation": TrainingAugmentation(16)} if training else {"protocol": "sat"}
    with pytest.raises(ValueError, match=r"depth\.tiff cannot be used: Floating-point"):
        LocalizationDataset(rows, processor(16), **options)[0]


def test_the_published_sizes():
    assert TrainingAugmentation(224).resized == 256


def test_without_flip():
    image = photograph(18, 18)
    crops = [np.asarray(image.crop((x, y, x + 16, y + 16))) / 255 for x in range(3) for y in range(3)]
    dataset = training_data([encoded(image)], horizontal_flip=False)
    for epoch in range(30):
        dataset.set_epoch(epoch)
        pixels = levels(dataset[0]["pixel_values"])
        assert min(np.abs(pixels - crop).max() for crop in crops) < ONE_LEVEL


def test_channel_permutation():
    image = PIL.Image.new("RGB", (20, 20), (50, 100, 200))
    dataset = training_data([encoded(image)], channel_permutation=True)
    colours = set()
    for epoch in range(60):
        dataset.set_epoch(epoch)
        pixels = np.rint(levels(dataset[0]["pixel_values"]) * 255).astype(int)
        assert (pixels == pixels[0, 0]).all()
        colours.add(tuple(pixels[0, 0].tolist()))
    assert len(colours) == 6 and all(sorted(colour) == [50, 100, 200] for colour in colours)


def test_what_is_random_depends_on_seed_epoch_and_row_alone():
    images = [encoded(photograph(40, 30))] * 8
    one, other = training_data(images), training_data(images)
    first = [one[index]["pixel_values"] for index in range(8)]
    torch.randn(7), np.random.rand(3)
    second = [other[index]["pixel_values"] for index in reversed(range(8))][::-1]
    for left, right in zip(first, second, strict=True):
        assert torch.equal(left, right)

    def differing(dataset):
        return sum(not torch.equal(dataset[index]["pixel_values"], first[index]) for index in range(8))

    # the same image in every row: rows, epochs and seeds each have their own crops
    assert sum(not torch.equal(pixels, first[0]) for pixels in first) > 4
    assert differing(training_data(images, seed=1)) > 4
    other.set_epoch(1)
    assert differing(other) > 4
    other.set_epoch(0)
    assert differing(other) == 0


def test_workers_give_the_same_batches():
    dataset = training_data([encoded(photograph(40, 30, seed)) for seed in range(6)])
    dataset.set_epoch(3)
    options = {"batch_size": 2, "collate_fn": collate_localization}
    here = list(torch.utils.data.DataLoader(dataset, **options))
    there = list(torch.utils.data.DataLoader(dataset, num_workers=2, **options))
    for left, right in zip(here, there, strict=True):
        assert torch.equal(left["pixel_values"], right["pixel_values"])
        assert torch.equal(left["labels"], right["labels"])


# Images and boxes of an evaluation.


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
@pytest.mark.parametrize("processor_class", [SATImageProcessor, SATImageProcessorPil])
def test_evaluation_pixels_are_the_protocols(protocol, processor_class):
    image = photograph(300, 200)
    dataset = LocalizationDataset(
        rows_of(encoded(image)), processor(224, processor_class), protocol=protocol, with_boxes=True
    )
    if protocol == "sat":
        expected = image.resize((256, 256), PIL.Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
    else:
        expected = image.resize((224, 224), PIL.Image.Resampling.BILINEAR)
    pixels = levels(dataset[0]["pixel_values"])
    assert np.abs(pixels - np.asarray(expected) / 255).max() < ONE_LEVEL


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
def test_evaluation_boxes_are_the_protocols(protocol):
    bbox = [[30.0, 20.0, 120.0, 90.0], [0.0, 0.0, 300.0, 200.0], [250.0, 10.0, 45.5, 30.25]]
    dataset = LocalizationDataset(
        rows_of(encoded(photograph(300, 200)), boxes=[bbox]), processor(224), protocol=protocol, with_boxes=True
    )
    if protocol == "sat":
        # x / 300 * 256 - 16 and y / 200 * 256 - 16, cut to 0 .. 223, truncated
        expected = [[9, 9, 112, 124], [0, 0, 223, 223], [197, 0, 223, 35]]
    else:
        # x / 300 * 224 and y / 200 * 224, truncated
        expected = [[22, 22, 112, 123], [0, 0, 224, 224], [186, 11, 220, 45]]
    boxes = dataset[0]["boxes"]
    assert boxes.tolist() == expected
    assert boxes.tolist() == ground_truth_boxes(bbox, (200, 300), protocol).tolist()


def test_the_processors_own_settings_without_a_protocol():
    image = photograph(300, 200)
    example = LocalizationDataset(rows_of(encoded(image)), processor(64))[0]
    expected = image.resize((64, 64), PIL.Image.Resampling.BILINEAR)
    assert np.abs(levels(example["pixel_values"]) - np.asarray(expected) / 255).max() < ONE_LEVEL
    assert set(example) == {"pixel_values", "labels"}


@pytest.mark.parametrize("protocol", ["sat", "wsoleval"])
def test_the_frame_is_what_the_model_sees(protocol):
    """The processor's own resize and crop change nothing about a protocol's."""
    rows = rows_of(encoded(photograph(300, 200)), boxes=[[[30.0, 20.0, 120.0, 90.0]]])
    cropping = SATImageProcessor(
        size={"height": 73, "width": 73}, do_center_crop=True, crop_size={"height": 64, "width": 64}
    )
    examples = [
        LocalizationDataset(rows, image_processor, protocol=protocol, with_boxes=True)[0]
        for image_processor in (processor(64), cropping)
    ]
    assert torch.equal(examples[0]["pixel_values"], examples[1]["pixel_values"])
    assert torch.equal(examples[0]["boxes"], examples[1]["boxes"])
    assert examples[1]["pixel_values"].shape == (3, 64, 64)


def test_unknown_protocol():
    """Said when the data is made, not after a training."""
    with pytest.raises(ValueError, match=r"`protocol` must be one of .*'sat'.*got 'paper'"):
        LocalizationDataset(rows_of(encoded(photograph(40, 30))), processor(16), protocol="paper")


def test_length_and_labels():
    dataset = LocalizationDataset(rows_of(*[encoded(photograph(40, 30))] * 5), processor(16), protocol="sat")
    assert len(dataset) == 5
    assert [dataset[index]["labels"].item() for index in range(5)] == [0, 1, 2, 0, 1]
    assert dataset[0]["labels"].dtype == torch.int64


# Batches.


def test_batches_are_filled_up_with_rows_that_are_no_boxes():
    boxes = [[[1.0, 1.0, 5.0, 5.0]], [[2.0, 3.0, 8.0, 9.0], [0.0, 0.0, 3.0, 3.0], [5.0, 5.0, 9.0, 9.0]]]
    images = [encoded(photograph(40, 30, seed)) for seed in range(2)]
    dataset = LocalizationDataset(rows_of(*images, boxes=boxes), processor(16), protocol="wsoleval", with_boxes=True)
    examples = [dataset[0], dataset[1]]
    batch = collate_localization(examples)
    assert batch["pixel_values"].shape == (2, 3, 16, 16)
    assert batch["labels"].tolist() == [0, 1]
    assert batch["boxes"].shape == (2, 3, 4)
    assert batch["boxes"][0].tolist() == [examples[0]["boxes"][0].tolist(), [-100] * 4, [-100] * 4]
    assert torch.equal(batch["boxes"][1], examples[1]["boxes"])


def test_batches_without_boxes():
    dataset = training_data([encoded(photograph(40, 30))] * 2)
    assert set(collate_localization([dataset[0], dataset[1]])) == {"pixel_values", "labels", "rows"}


def test_rows_are_numbered_and_named():
    """For messages: by their number, the id and the file, as far as the data have them."""
    rows = rows_of(encoded(photograph(40, 30)), encoded(photograph(40, 30, 1)))
    dataset = LocalizationDataset(rows, processor(16), augmentation=TrainingAugmentation(16))
    assert collate_localization([dataset[1], dataset[0]])["rows"].tolist() == [1, 0]
    assert dataset.name_of(1) == "row 1"
    paths = [{"bytes": None, "path": f"{name}.png"} for name in "ab"]
    rows = rows.remove_columns("image").add_column("image", paths).add_column("image_id", [7, 8])
    assert LocalizationDataset(rows, processor(16)).name_of(1) == "row 1 (8, b.png)"


@pytest.mark.parametrize("value", [-1, None])
def test_images_without_a_class(value):
    """They are prepared to be predicted on, not to be trained on, and not together with others."""
    rows = square_split(3).cast_column("image", datasets.Image(decode=False))
    rows = rows.remove_columns("label").add_column("label", [0, value, value])
    examples = LocalizationDataset(rows, SATImageProcessor(), class_numbers=[2, 1, 0])
    assert "labels" in examples[0] and "labels" not in examples[1]
    assert set(collate_localization([examples[1], examples[2]])) == {"pixel_values"}
    with pytest.raises(ValueError, match="Some images have a class and others have none"):
        collate_localization([examples[1], examples[0]])
    to_train_on = LocalizationDataset(rows, SATImageProcessor(), augmentation=TrainingAugmentation(32))
    with pytest.raises(ValueError, match="row 1.*: `label` is empty, or -1; leave the image out"):
        to_train_on[1]
