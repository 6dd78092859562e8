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
"""Training transforms: where pixels, boxes and masks go, on tensors and on PIL images."""

import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from transformers_sat.data import TrainingAugmentation
from transformers_sat.data.transforms import FILL, apply_draw, apply_draw_to_boxes, apply_draw_to_mask


EXTRAS = {
    "min_crop_area": 0.3,
    "color_jitter": 0.4,
    "grayscale_probability": 0.3,
    "max_rotation": 20.0,
    "erasing_probability": 0.5,
    "channel_permutation": True,
}


def photograph(width: int, height: int, seed: int = 0) -> PIL.Image.Image:
    """Smooth random colours with fine grain."""
    random = np.random.default_rng(seed)
    coarse = PIL.Image.fromarray(random.integers(0, 256, (6, 7, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), PIL.Image.Resampling.BICUBIC)).astype(int)
    return PIL.Image.fromarray((smooth + random.integers(-15, 16, smooth.shape)).clip(0, 255).astype(np.uint8))


def as_tensor(image: PIL.Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def as_array(image) -> np.ndarray:
    """`(height, width, 3)`, whatever the image is."""
    return image.permute(1, 2, 0).numpy() if isinstance(image, torch.Tensor) else np.asarray(image)


# Both back ends.


@pytest.mark.parametrize("option", [None, *EXTRAS, "all"])
def test_tensors_and_pil_agree(option):
    """
    Given the same random numbers, within 1 of the 255 levels on average and few levels at any pixel. Where a turned
    image ends, one back end mixes it with what is outside and the other does not.
    """
    options = EXTRAS if option == "all" else {option: EXTRAS[option]} if option else {}
    augmentation = TrainingAugmentation(64, **options)
    for seed in range(30):
        image = photograph(90 + 7 * seed, 200 - 3 * seed, seed)
        draw = augmentation.draw(np.random.default_rng(seed), *image.size)
        pil = as_array(augmentation(image, np.random.default_rng(seed))).astype(int)
        tensor = as_array(augmentation(as_tensor(image), np.random.default_rng(seed))).astype(int)
        assert pil.shape == tensor.shape == (64, 64, 3)
        assert (pil == as_array(apply_draw(image, draw))).all()
        difference = np.abs(pil - tensor)
        assert difference.mean() < 2
        if draw.angle:
            inside = np.asarray(apply_draw_to_mask(PIL.Image.new("L", image.size, 255), draw)) > 0
            difference = difference[binary_erosion(inside, iterations=2)]
        assert difference.mean() < 1
        assert difference.max() <= (6 if draw.angle or draw.contrast != 1 else 2)


def test_without_torchvision():
    """Images for training are made with the PIL processor where torchvision cannot be imported."""
    code = """
import sys
sys.modules["torchvision"] = None
import datasets, numpy, PIL.Image, io
from transformers_sat import SATImageProcessorPil
from transformers_sat.data import LocalizationDataset, TrainingAugmentation
file = io.BytesIO()
PIL.Image.new("RGB", (40, 30), (10, 200, 30)).save(file, "PNG")
rows = datasets.Dataset.from_dict(
    {"image": [{"bytes": file.getvalue(), "path": None}], "label": [0]},
    features=datasets.Features(image=datasets.Image(decode=False), label=datasets.ClassLabel(names=["a"])),
)
augmentation = TrainingAugmentation(
    16, min_crop_area=0.5, color_jitter=0.1, grayscale_probability=0.5, max_rotation=5, erasing_probability=0.5
)
size = {"height": 16, "width": 16}
data = LocalizationDataset(rows, SATImageProcessorPil(size=size), augmentation=augmentation)
assert data[0]["pixel_values"].shape == (3, 16, 16)
assert "torchvision" not in [name.split(".")[0] for name in sys.modules if sys.modules[name] is not None]
print("made")
"""
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert completed.stdout.strip() == "made", completed.stderr[-3000:]


# Where things go.


@st.composite
def rectangles(draw):
    """An image's size and a rectangle of at least eight pixels in it: x, y, width, height."""
    width, height = draw(st.integers(40, 200)), draw(st.integers(40, 200))
    box_width, box_height = draw(st.integers(8, width)), draw(st.integers(8, height))
    x, y = draw(st.integers(0, width - box_width)), draw(st.integers(0, height - box_height))
    return (width, height), (x, y, box_width, box_height)


def mask_of(size, box) -> PIL.Image.Image:
    mask = PIL.Image.new("L", size, 0)
    x, y, width, height = box
    mask.paste(255, (x, y, x + width, y + height))
    return mask


def tight_box(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@settings(max_examples=60, deadline=None)
@given(
    rectangle=rectangles(),
    seed=st.integers(0, 2**32 - 1),
    min_crop_area=st.sampled_from([None, 0.2, 0.7]),
    tensor=st.booleans(),
)
def test_boxes_and_masks_go_where_the_pixels_go(rectangle, seed, min_crop_area, tensor):
    size, box = rectangle
    augmentation = TrainingAugmentation(48, min_crop_area=min_crop_area)
    draw = augmentation.draw(np.random.default_rng(seed), *size)
    drawn = mask_of(size, box)
    photo = drawn.convert("RGB")
    bright = as_array(apply_draw(as_tensor(photo) if tensor else photo, draw))[..., 0] > 127
    mask = np.asarray(apply_draw_to_mask(drawn, draw)) > 0
    x0, y0, x1, y1 = apply_draw_to_boxes([box], draw)[0]
    assert 0 <= x0 <= x1 <= 48 and 0 <= y0 <= y1 <= 48
    # an area of half pixels at the rim may fall to either side
    rows, columns = np.mgrid[:48, :48] + 0.5
    inside = (columns > x0 + 1) & (columns < x1 - 1) & (rows > y0 + 1) & (rows < y1 - 1)
    outside = (columns < x0 - 1) | (columns > x1 + 1) | (rows < y0 - 1) | (rows > y1 + 1)
    for found in (bright, mask):
        assert found[inside].all()
        assert not found[outside].any()


@settings(max_examples=40, deadline=None)
@given(rectangle=rectangles(), seed=st.integers(0, 2**32 - 1), tensor=st.booleans())
def test_turned_boxes_and_masks(rectangle, seed, tensor):
    """The mask is where the pixels are; the box holds all of it."""
    size, box = rectangle
    draw = TrainingAugmentation(48, max_rotation=30, horizontal_flip=True).draw(np.random.default_rng(seed), *size)
    drawn = mask_of(size, box)
    photo = PIL.Image.composite(
        PIL.Image.new("RGB", size, (255, 0, 0)), PIL.Image.new("RGB", size, (0, 0, 255)), drawn
    )
    moved = as_array(apply_draw(as_tensor(photo) if tensor else photo, draw)).astype(int)
    mask = np.asarray(apply_draw_to_mask(drawn, draw)) > 0
    red = moved[..., 0] - moved[..., 2] > 127
    # all but the rim: what differs has no pixel whose neighbours differ, too
    differs = red != mask
    assert not (
        differs[1:-1, 1:-1] & differs[:-2, 1:-1] & differs[2:, 1:-1] & differs[1:-1, :-2] & differs[1:-1, 2:]
    ).any()
    corners = apply_draw_to_boxes([box], draw)[0]
    if mask.any():
        x0, y0, x1, y1 = tight_box(mask)
        assert corners[0] <= x0 + 1 and corners[1] <= y0 + 1 and corners[2] >= x1 - 1 and corners[3] >= y1 - 1
        # a corner that is cut off leaves room in the box
        if x0 > 1 and y0 > 1 and x1 < 47 and y1 < 47:
            np.testing.assert_allclose(corners, [x0, y0, x1, y1], atol=2)


def test_boxes_by_hand():
    """An image of 100 x 50, resized to 256 x 256 and cut from (16, 8): twice 2.56 and 5.12 pixels for one."""
    augmentation = TrainingAugmentation(224)
    random = np.random.default_rng(0)
    draws = [augmentation.draw(random, 100, 50) for _ in range(50)]
    assert {draw.flip for draw in draws} == {True, False}
    assert {draw.source for draw in draws} == {(0, 0, 100, 50)}
    for draw in draws:
        left, top = draw.offset
        x0, x1 = 25 * 2.56 - left, 75 * 2.56 - left
        expected = [224 - x1, 51.2 - top, 224 - x0, 204.8 - top] if draw.flip else [x0, 51.2 - top, x1, 204.8 - top]
        np.testing.assert_allclose(apply_draw_to_boxes([[25, 10, 50, 30]], draw), [expected])
    # all of a corner that is cut off
    assert apply_draw_to_boxes(np.zeros((0, 4)), draws[0]).shape == (0, 4)
    gone = next(draw for draw in draws if draw.offset[1] > 6)
    x0, y0, x1, y1 = apply_draw_to_boxes([[0, 0, 100, 1]], gone)[0]
    assert y0 == y1 == 0


def test_a_turn_by_hand():
    """Counter-clockwise: what is right of the centre comes above it."""
    augmentation = TrainingAugmentation(64, horizontal_flip=False, max_rotation=45)
    draw = augmentation.draw(np.random.default_rng(0), 73, 73)
    angle = np.radians(draw.angle)
    x, y = 20.0 * np.cos(angle), -20.0 * np.sin(angle)  # where (20, 0) from the centre goes, rows counted downwards
    left, top = draw.offset
    box = apply_draw_to_boxes([[left + 52 - 0.5, top + 32 - 0.5, 1, 1]], draw)[0]
    np.testing.assert_allclose([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], [32 + x, 32 + y], atol=1e-9)


# What is drawn.


def test_extras_do_not_change_the_papers_draws():
    plain, extended = TrainingAugmentation(64), TrainingAugmentation(64, **(EXTRAS | {"min_crop_area": None}))
    for seed in range(20):
        one = plain.draw(np.random.default_rng(seed), 100, 80)
        other = extended.draw(np.random.default_rng(seed), 100, 80)
        assert (one.source, one.resized, one.offset, one.flip) == (
            other.source,
            other.resized,
            other.offset,
            other.flip,
        )
        assert (one.angle, one.brightness, one.grayscale, one.channels, one.erased) == (0, 1, False, None, None)


def test_ranges_of_the_draws():
    augmentation = TrainingAugmentation(64, **EXTRAS)
    draws = [augmentation.draw(np.random.default_rng(seed), 120, 60) for seed in range(400)]
    shares = np.array([draw.source[2] * draw.source[3] / 7200 for draw in draws])
    assert 0.28 < shares.min() < 0.4 and 0.9 < shares.max() <= 1
    for draw in draws:
        left, top, width, height = draw.source
        assert 0 <= left <= 120 - width and 0 <= top <= 60 - height
        # the image is made square, so ratios are to its own
        assert 0.7 < (width / 120) / (height / 60) < 1.45
    for name in ("brightness", "contrast", "saturation"):
        values = np.array([getattr(draw, name) for draw in draws])
        assert 0.6 <= values.min() < 0.62 and 1.38 < values.max() <= 1.4
    angles = np.array([draw.angle for draw in draws])
    assert -20 <= angles.min() < -19 and 19 < angles.max() <= 20
    assert 0.2 < np.mean([draw.grayscale for draw in draws]) < 0.4
    erased = [draw.erased for draw in draws if draw.erased is not None]
    assert 0.4 < len(erased) / 400 < 0.6
    areas = np.array([width * height for _, _, width, height in erased]) / 64**2
    assert 0.015 < areas.min() < 0.03 and 0.17 < areas.max() < 0.21
    assert all(x >= 0 and y >= 0 and x + w <= 64 and y + h <= 64 for x, y, w, h in erased)


@pytest.mark.parametrize("tensor", [True, False])
def test_colours_and_erasing(tensor):
    image = PIL.Image.new("RGB", (40, 40), (100, 50, 200))
    photo = as_tensor(image) if tensor else image
    grey = as_array(TrainingAugmentation(32, grayscale_probability=1)(photo, np.random.default_rng(0)))
    # 0.299 R + 0.587 G + 0.114 B
    assert np.abs(grey.astype(int) - 82).max() <= 1
    erasing = TrainingAugmentation(32, erasing_probability=1)
    left, top, width, height = erasing.draw(np.random.default_rng(3), 40, 40).erased
    erased = as_array(erasing(photo, np.random.default_rng(3)))
    assert (erased[top : top + height, left : left + width] == FILL).all()
    assert (erased == FILL).all(axis=2).sum() == width * height
    # the image that was given is as it was
    assert image.getpixel((0, 0)) == (100, 50, 200) and (as_array(photo) == (100, 50, 200)).all()


@pytest.mark.parametrize(
    "option, value",
    [
        ("min_crop_area", 0.0),
        ("min_crop_area", 1.5),
        ("color_jitter", 1.0),
        ("color_jitter", -0.1),
        ("grayscale_probability", 1.5),
        ("max_rotation", 90),
        ("erasing_probability", -1),
    ],
)
def test_arguments_out_of_range(option, value):
    with pytest.raises(ValueError, match=f"`{option}` must be .*{value}"):
        TrainingAugmentation(224, **{option: value})


def test_the_smallest_images():
    augmentation = TrainingAugmentation(32, **EXTRAS)
    for size in ((1, 1), (1, 50), (50, 1)):
        for seed in range(5):
            image = PIL.Image.new("RGB", size, (100, 50, 200))
            assert augmentation(image, np.random.default_rng(seed)).size == (32, 32)
            assert augmentation(as_tensor(image), np.random.default_rng(seed)).shape == (3, 32, 32)
