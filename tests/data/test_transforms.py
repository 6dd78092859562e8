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

import pickle

import numpy as np
import PIL.Image
import pytest
import torch
from scipy.ndimage import label

from transformers_sat.data import TrainingAugmentation
from transformers_sat.data.transforms import ERASED_SHARES, FILL


EXTRAS = {
    "min_crop_area": 0.3,
    "color_jitter": 0.4,
    "grayscale_probability": 0.3,
    "max_rotation": 20.0,
    "erasing_probability": 0.5,
    "channel_permutation": True,
}


def ramps(width: int, height: int) -> torch.Tensor:
    """Red tells the column, green the row, each from 0 to 255; blue is 100."""
    columns, rows = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = np.stack([columns, rows, np.full_like(rows, 100)], axis=-1).round().astype(np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def plain(colour: tuple[int, int, int], side: int = 40) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, side, side).contiguous()


# The paper's.


def test_the_papers_crops():
    """Resized to 256/224 with Pillow's filter, within one level; one of all crops, flipped or not, each of them found."""
    image = ramps(100, 50)
    resized = PIL.Image.fromarray(image.permute(1, 2, 0).numpy()).resize((18, 18), PIL.Image.Resampling.BILINEAR)
    pixels = np.asarray(resized).astype(int)
    crops = {
        (top, left, flip): pixels[top : top + 16, left : left + 16][:, :: -1 if flip else 1]
        for top in range(3)
        for left in range(3)
        for flip in (False, True)
    }
    augmentation = TrainingAugmentation(16)
    assert augmentation.resized == 18
    found = []
    for seed in range(200):
        cut = augmentation(image, seed=(seed,)).permute(1, 2, 0).numpy().astype(int)
        found.append([place for place, crop in crops.items() if np.abs(cut - crop).max() <= 1])
    assert all(len(places) == 1 for places in found)
    assert {places[0] for places in found} == set(crops)
    assert 70 < sum(places[0][2] for places in found) < 130


def test_without_flip():
    augmentation = TrainingAugmentation(16, horizontal_flip=False)
    for seed in range(30):
        columns = augmentation(ramps(100, 50), seed=(seed,))[0, 8].int()
        assert (columns.diff() > 0).all()


def test_random_parts():
    """What part was taken can be read off the ramps: at least the share of the area, all over the image."""
    augmentation = TrainingAugmentation(64, min_crop_area=0.3, horizontal_flip=False)
    width, height = 120, 90
    shares, lefts, tops = [], [], []
    for seed in range(300):
        pixels = augmentation(ramps(width, height), seed=(seed,)).float()
        # both ends of each axis, half a pixel inside the part
        left, right = pixels[0, 0, 0] / 255, pixels[0, 0, -1] / 255
        top, bottom = pixels[1, 0, 0] / 255, pixels[1, -1, 0] / 255
        across, down = (right - left) * 64 / 63, (bottom - top) * 64 / 63
        shares.append(float(across * down))
        lefts.append(float(left))
        tops.append(float(top))
        assert 0.7 < (across * width) / (down * height) < 1.4
    assert 0.27 < min(shares) < 0.4 and 0.9 < max(shares) < 1.03
    assert max(lefts) > 0.3 and max(tops) > 0.3


@pytest.mark.parametrize("min_crop_area", [None, 0.2, 0.5, 1.0])
def test_needed_side(min_crop_area):
    """No part of a square image of that side is smaller than the result."""
    augmentation = TrainingAugmentation(48, min_crop_area=min_crop_area, horizontal_flip=False)
    side = augmentation.needed_side
    if min_crop_area is None:
        assert side == augmentation.resized
        return
    for seed in range(100):
        pixels = augmentation(ramps(side, side), seed=(seed,)).float()
        for channel, axis in ((0, -1), (1, -2)):
            first, last = pixels[channel].select(axis, 0).mean(), pixels[channel].select(axis, -1).mean()
            # 48 pixels a part of at least 48, with the rounding of levels
            assert (last - first) / 255 * (side - 1) > 46


# The others.


def test_colours():
    image = plain((100, 50, 200))
    grey = TrainingAugmentation(32, grayscale_probability=1)(image, seed=(0,))
    # 0.299 R + 0.587 G + 0.114 B
    assert (grey.int() - 82).abs().max() <= 1
    permuted = TrainingAugmentation(32, channel_permutation=True)
    orders = {tuple(permuted(image, seed=(seed,))[:, 0, 0].tolist()) for seed in range(60)}
    assert len(orders) == 6 and {tuple(sorted(order)) for order in orders} == {(50, 100, 200)}
    jittered = TrainingAugmentation(32, color_jitter=0.4)
    values = np.array([jittered(plain((120, 120, 120)), seed=(seed,))[0, 0, 0] for seed in range(300)])
    # of a plain grey image the brightness alone changes, but for the rounding of three steps
    assert 70 <= values.min() < 76 and 164 < values.max() <= 170
    # the image that was given is as it was
    assert (image == plain((100, 50, 200))).all()


def test_erasing():
    augmentation = TrainingAugmentation(32, erasing_probability=0.5)
    fill = torch.tensor(FILL)[:, None, None]
    shares = []
    for seed in range(200):
        erased = (augmentation(plain((1, 2, 3)), seed=(seed,)) == fill).all(dim=0).numpy()
        parts, number = label(erased)
        assert number <= 1
        if number:
            rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
            assert erased.sum() == len(rows) * len(columns)
            shares.append(erased.mean())
    assert 60 < len(shares) < 140
    assert ERASED_SHARES[0] - 0.01 < min(shares) < 0.04 and 0.15 < max(shares) < ERASED_SHARES[1] + 0.01


def test_turning():
    """A dark bar through the centre of white is turned by up to 45 degrees; what comes from outside has the mean colour."""
    image = plain((255, 255, 255), 41)
    image[:, 19:22] = 0
    augmentation = TrainingAugmentation(41, horizontal_flip=False, max_rotation=45)
    angles = []
    for seed in range(200):
        turned = augmentation(image, seed=(seed,)).float()
        dark = turned.amax(dim=0) < 100
        rows, columns = (np.array(axis) for axis in np.nonzero(dark.numpy()))
        angles.append(np.degrees(np.arctan2(*np.linalg.svd(np.cov(columns, rows))[0][:, 0][::-1])) % 180)
        corners = turned[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        if 10 < angles[-1] < 170:
            assert torch.equal(corners, torch.tensor(FILL).float()[:, None].expand(3, 4))
    angles = np.where(np.array(angles) > 90, np.array(angles) - 180, angles)
    assert -46 < angles.min() < -40 and 40 < angles.max() < 46


# Randomness.


def test_the_seed_alone_decides():
    augmentation = TrainingAugmentation(32, **EXTRAS)
    image = ramps(100, 80)
    torch.manual_seed(1)
    first = [augmentation(image, seed=(0, 1, row)) for row in range(10)]
    torch.manual_seed(2)
    again = [pickle.loads(pickle.dumps(augmentation))(image, seed=(0, 1, row)) for row in range(10)]
    assert all(map(torch.equal, first, again))
    for other in ((1, 1, 0), (0, 2, 0), (0, 1, 1)):
        assert not torch.equal(first[0], augmentation(image, seed=other))


def test_other_random_numbers_go_on():
    """Those of dropout, for instance, when images are loaded in the process that trains."""
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    found = [torch.rand(1)]
    TrainingAugmentation(32, **EXTRAS)(ramps(100, 80), seed=(5,))
    assert torch.equal(torch.cat([*found, torch.rand(1)]), expected)


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
    for height, width in ((1, 1), (1, 50), (50, 1)):
        for seed in range(5):
            image = torch.zeros(3, height, width, dtype=torch.uint8)
            assert augmentation(image, seed=(seed,)).shape == (3, 32, 32)
