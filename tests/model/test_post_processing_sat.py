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
"""From the model's output back to the pixels of the image: geometry end to end, and what each method promises."""

import logging
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from transformers_sat import SATForWeaklySupervisedLocalizationOutput, SATImageProcessor, SATImageProcessorPil
from transformers_sat.model.localization_sat import map_in_image, normalize_map


BACKENDS = [SATImageProcessor, SATImageProcessorPil]
NUM_LABELS = 5


def outputs_of(maps, logits=None) -> SATForWeaklySupervisedLocalizationOutput:
    maps = torch.as_tensor(maps, dtype=torch.float32)
    logits = torch.zeros(len(maps), NUM_LABELS) if logits is None else torch.as_tensor(logits)
    return SATForWeaklySupervisedLocalizationOutput(logits=logits, localization_map=maps)


def rectangle_map(top, left, bottom, right, grid=(14, 14)) -> torch.Tensor:
    """One in a rectangle of cells, zero elsewhere."""
    cells = torch.zeros(grid)
    cells[top:bottom, left:right] = 1.0
    return cells


# The map over the image.


@settings(max_examples=60, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    seed=st.integers(0, 100),
)
def test_a_map_of_the_whole_image_is_resized_bilinearly(grid, size, seed):
    cells = torch.rand(grid, generator=torch.Generator().manual_seed(seed))
    expected = torch.nn.functional.interpolate(cells[None, None], size=size, mode="bilinear", align_corners=False)
    in_pixels, pixels = map_in_image(cells, size)
    assert pixels == (0, 0, size[1], size[0])
    torch.testing.assert_close(in_pixels, expected[0, 0], atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    corner=st.tuples(st.floats(-20, 50), st.floats(-20, 50)),
    extent=st.tuples(st.floats(1, 80), st.floats(1, 80)),
)
def test_a_map_of_a_part_lies_on_the_pixels_whose_centres_it_covers(size, corner, extent):
    (y0, x0), (y1, x1) = corner, (corner[0] + extent[0], corner[1] + extent[1])
    rows = [row for row in range(size[0]) if y0 <= row + 0.5 < y1]
    columns = [column for column in range(size[1]) if x0 <= column + 0.5 < x1]
    assume(rows and columns)
    # a ramp from left to right, whose value in a cell is the cell's centre
    centres = x0 + (torch.arange(9) + 0.5) / 9 * (x1 - x0)
    in_pixels, pixels = map_in_image(centres.float().expand(7, 9), size, (x0, y0, x1, y1))
    assert pixels == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    expected = (torch.tensor(columns) + 0.5).clamp(centres[0], centres[-1]).float()
    torch.testing.assert_close(in_pixels, expected.expand(len(rows), -1), atol=1e-3, rtol=1e-4)


# Geometry, end to end: what the processor did to the image is undone.


def processors():
    """Settings, each with the image sizes that it is tried on."""
    whole = {"size": {"height": 224, "width": 224}}
    paper = {"size": {"height": 256, "width": 256}, "do_center_crop": True}
    not_square = {
        "size": {"height": 120, "width": 200},
        "do_center_crop": True,
        "crop_size": {"height": 96, "width": 176},
    }
    shortest = {"size": {"shortest_edge": 256}, "do_center_crop": True}
    odd = {"size": {"shortest_edge": 231}, "do_center_crop": True}
    crop_only = {"do_resize": False, "do_center_crop": True, "crop_size": {"height": 128, "width": 128}}
    padded = {
        "size": {"shortest_edge": 97},
        "do_center_crop": True,
        "crop_size": {"height": 128, "width": 128},
    }
    sizes = [(180, 240), (240, 133), (201, 201), (101, 250)]
    named = {
        "whole": whole,
        "paper": paper,
        "not square": not_square,
        "shortest edge": shortest,
        "odd shortest edge": odd,
        "crop only": crop_only,
        "padded": padded,
    }
    for name, arguments in named.items():
        for size in sizes:
            yield pytest.param(arguments, size, id=f"{name}-{size[0]}x{size[1]}")


def seen_by_the_model(processor, image: PIL.Image.Image, cell: int = 16) -> torch.Tensor:
    """The image as the model gets it, but in its original values and averaged over the cells of the grid."""
    pixel_values = processor(image, do_normalize=False, do_rescale=False, return_tensors="pt").pixel_values.float()
    assert all(side % cell == 0 for side in pixel_values.shape[-2:])
    return torch.nn.functional.avg_pool2d(pixel_values, cell)[0, 0]


@pytest.mark.parametrize("backend", BACKENDS, ids=["torchvision", "pil"])
@pytest.mark.parametrize(("arguments", "size"), list(processors()))
@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
def test_a_ramp_comes_back(backend, arguments, size, axis):
    """
    In an image whose values are its own coordinates, a cell's mean is the coordinate of the cell's centre. Laid back
    over the image (bilinear, so exact for a ramp) each pixel must find its own coordinate again, to a fraction of a
    pixel: a shift by half a cell, a wrong crop offset or a swapped axis would show.
    """
    processor = backend(**arguments)
    coordinates = np.arange(size[axis], dtype=np.uint8)
    ramp = np.broadcast_to(coordinates[:, None] if axis == 0 else coordinates, size)
    cells = seen_by_the_model(processor, PIL.Image.fromarray(ramp))
    result = processor.post_process_localization(outputs_of(cells[None]), target_sizes=[size])[0]
    # undo the normalization, so that the values are coordinates again
    low, high = cells.min(), cells.max()
    found = result["localization_map"] * (high - low + 1e-5) + low

    expected = torch.from_numpy(ramp.astype(np.float32))
    # pixels between the centres of two cells that hold no padding and no border of the image
    sides = [cells[:, cells.shape[1] // 2], cells[cells.shape[0] // 2]]
    whole_cells = [i for i in range(1, len(sides[axis]) - 1) if 0 < sides[axis][i] < size[axis] - 1]
    inner = sides[axis][whole_cells]
    inner = inner[1:-1] if processor.do_center_crop and len(inner) > 4 else inner
    inside = (expected > inner.min()) & (expected < inner.max())
    middle = torch.zeros(size, dtype=torch.bool)
    middle[size[0] // 2 - 10 : size[0] // 2 + 10, size[1] // 2 - 10 : size[1] // 2 + 10] = True
    if axis == 0:
        compared = inside & middle.any(0)
    else:
        compared = inside & middle.any(1)[:, None]
    assert compared.sum() > 500
    assert (found - expected)[compared].abs().max() < 0.75


def intersection_over_union(first, second) -> float:
    x0, y0 = max(first[0], second[0]), max(first[1], second[1])
    x1, y1 = min(first[2], second[2]), min(first[3], second[3])
    intersection = max(x1 - x0, 0) * max(y1 - y0, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return intersection / (sum(areas) - intersection)


@pytest.mark.parametrize("backend", BACKENDS, ids=["torchvision", "pil"])
@pytest.mark.parametrize(("arguments", "size"), list(processors()))
def test_a_white_rectangle_is_found_where_it_was_drawn(backend, arguments, size):
    processor = backend(**arguments)
    height, width = size
    drawn = (round(width * 0.40), round(height * 0.40), round(width * 0.66), round(height * 0.70))
    if arguments.get("do_resize") is False:
        # only the middle 128 x 128 pixels are seen
        drawn = (width // 2 - 30, height // 2 - 20, width // 2 + 44, height // 2 + 31)
    x0, y0, x1, y1 = drawn
    pixels = np.zeros((*size, 3), dtype=np.uint8)
    pixels[y0:y1, x0:x1] = 255
    image = PIL.Image.fromarray(pixels)
    # a cell of the grid is 8 x 8 pixels of the model's input
    cells = seen_by_the_model(processor, image, cell=8)
    result = processor.post_process_localization(
        outputs_of(cells[None]), target_sizes=[size], localization_threshold=0.5
    )[0]
    box = result["boxes"][0].tolist()
    assert intersection_over_union(box, drawn) > 0.9
    mask = result["masks"][0]
    assert mask.shape == result["localization_map"].shape == size
    truth = torch.from_numpy(pixels[..., 0] > 0)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.85


def analytic_part(arguments, size) -> tuple[float, float, float, float, float, float]:
    """Top, left, bottom and right of what the model sees, and the resized pixel's height and width, in image pixels."""
    height, width = size
    resized_height, resized_width = height, width
    if "shortest_edge" in arguments["size"]:
        shortest = arguments["size"]["shortest_edge"]
        resized_height = shortest if height <= width else shortest * height / width
        resized_width = shortest if width <= height else shortest * width / height
    else:
        resized_height, resized_width = arguments["size"]["height"], arguments["size"]["width"]
    pixel_height, pixel_width = height / resized_height, width / resized_width
    if not arguments.get("do_center_crop"):
        return 0.0, 0.0, height, width, pixel_height, pixel_width
    crop_height, crop_width = arguments["crop_size"]["height"], arguments["crop_size"]["width"]
    top = (resized_height - crop_height) / 2 * pixel_height
    left = (resized_width - crop_width) / 2 * pixel_width
    return top, left, top + crop_height * pixel_height, left + crop_width * pixel_width, pixel_height, pixel_width


sides = st.integers(64, 300)


@st.composite
def processor_arguments(draw):
    by_shortest_edge = draw(st.booleans())
    size = {"shortest_edge": draw(sides)} if by_shortest_edge else {"height": draw(sides), "width": draw(sides)}
    arguments = {"size": size}
    if by_shortest_edge or draw(st.booleans()):
        arguments |= {"do_center_crop": True, "crop_size": {"height": draw(sides), "width": draw(sides)}}
    return arguments


@settings(max_examples=100, deadline=None)
@given(
    backend=st.sampled_from(BACKENDS),
    arguments=processor_arguments(),
    size=st.tuples(st.integers(60, 400), st.integers(60, 400)),
    rows=st.tuples(st.integers(0, 8), st.integers(2, 6)),
    columns=st.tuples(st.integers(0, 8), st.integers(2, 6)),
)
def test_cells_become_the_pixels_they_were_made_from(backend, arguments, size, rows, columns):
    """A rectangle of cells gives the rectangle of the image under them, also where the crop was padded."""
    top, left, bottom, right = rows[0], columns[0], rows[0] + rows[1], columns[0] + columns[1]
    y0, x0, y1, x1, pixel_height, pixel_width = analytic_part(arguments, size)
    cell_height, cell_width = (y1 - y0) / 14, (x1 - x0) / 14
    # pixels finer than the grid, or a cell may lie between two of them
    assume(cell_height >= 3 and cell_width >= 3)
    expected = [x0 + left * cell_width, y0 + top * cell_height, x0 + right * cell_width, y0 + bottom * cell_height]
    expected = np.clip(expected, 0, [size[1], size[0]] * 2)
    # at least a cell of the rectangle lies in the image, not in the padding
    assume(expected[2] - expected[0] >= 2 * cell_width and expected[3] - expected[1] >= 2 * cell_height)

    processor = backend(**arguments)
    maps = rectangle_map(top, left, bottom, right)[None]
    result = processor.post_process_localization(outputs_of(maps), target_sizes=[size], localization_threshold=0.5)[0]
    tolerance = np.array([pixel_width, pixel_height] * 2) + 1
    assert (np.abs(result["boxes"][0].numpy() - expected) <= tolerance).all()


@pytest.mark.parametrize("backend", BACKENDS, ids=["torchvision", "pil"])
@pytest.mark.parametrize("crop", [True, False])
def test_without_target_sizes_boxes_are_in_the_models_input(backend, crop):
    """The model was given 224 x 224 pixels, 16 x 16 for each cell, whatever was cut off before."""
    processor = backend(size={"height": 256, "width": 256}, do_center_crop=True) if crop else backend()
    result = processor.post_process_localization(
        outputs_of(rectangle_map(3, 5, 7, 11)[None]), localization_threshold=0.5
    )[0]
    assert result["localization_map"].shape == (224, 224)
    np.testing.assert_allclose(result["boxes"][0], [5 * 16, 3 * 16, 11 * 16, 7 * 16], atol=1)


def test_without_target_sizes_an_unknown_input_size_is_refused():
    processor = SATImageProcessor(size={"shortest_edge": 224})
    with pytest.raises(ValueError, match="target_sizes"):
        processor.post_process_localization(outputs_of(torch.rand(1, 14, 20)))
    assert len(processor.post_process_localization(outputs_of(torch.rand(1, 14, 20)), target_sizes=[(70, 100)])) == 1


def test_what_the_model_did_not_see_is_background():
    processor = SATImageProcessor(size={"shortest_edge": 224}, do_center_crop=True)
    result = processor.post_process_localization(outputs_of(torch.ones(1, 14, 14)), target_sizes=[(100, 300)])[0]
    # the middle 100 x 100
    assert result["boxes"].tolist() == [[100.0, 0.0, 200.0, 100.0]]
    (mask,) = result["masks"]
    assert mask[:, 100:200].all()
    assert not mask[:, :100].any()
    assert not mask[:, 200:].any()


# Single images of odd sizes.


@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (1000, 1), (3, 2)])
@pytest.mark.parametrize("arguments", [{}, {"size": {"height": 256, "width": 256}, "do_center_crop": True}])
def test_tiny_and_very_wide_images(size, arguments):
    for backend in BACKENDS:
        processor = backend(**arguments)
        result = processor.post_process_localization(outputs_of(torch.rand(1, 14, 14)), target_sizes=[size])[0]
        x0, y0, x1, y1 = result["boxes"][0].tolist()
        assert 0 <= x0 < x1 <= size[1]
        assert 0 <= y0 < y1 <= size[0]
        assert result["masks"][:].shape == (1, *size)
        assert result["masks"][0].any()


# Values without a place.


@pytest.mark.parametrize("value", [0.0, 0.37, 1.0])
def test_a_constant_map_gives_the_whole_image(value):
    result = SATImageProcessor().post_process_localization(
        outputs_of(torch.full((1, 14, 14), value)), target_sizes=[(50, 70)]
    )[0]
    assert result["boxes"].tolist() == [[0.0, 0.0, 70.0, 50.0]]
    assert result["masks"][0].all()
    assert (result["localization_map"] == 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_map_that_is_not_finite_gives_the_whole_image_and_a_warning(value, caplog):
    maps = torch.rand(2, 14, 14)
    maps[1, 3, 4] = value
    logger = logging.getLogger("transformers_sat.model.post_processing_sat")
    logger.addHandler(caplog.handler)
    try:
        results = SATImageProcessor().post_process_localization(outputs_of(maps), target_sizes=[(50, 70)] * 2)
    finally:
        logger.removeHandler(caplog.handler)
    assert results[1]["boxes"].tolist() == [[0.0, 0.0, 70.0, 50.0]]
    assert results[1]["masks"][0].all()
    assert results[1]["localization_map"].isfinite().all()
    # the other image of the batch is not touched
    assert not results[0]["masks"][0].all()
    assert "NaN" in caplog.text


def test_nothing_above_the_threshold_gives_the_whole_image():
    result = SATImageProcessor().post_process_localization(
        outputs_of(rectangle_map(3, 3, 5, 5)[None]), target_sizes=[(50, 70)], localization_threshold=1.0
    )[0]
    assert result["boxes"].tolist() == [[0.0, 0.0, 70.0, 50.0]]


def test_half_precision_and_gradients_are_no_obstacle():
    maps = rectangle_map(3, 5, 7, 11)[None].bfloat16().requires_grad_()
    outputs = SATForWeaklySupervisedLocalizationOutput(
        logits=torch.zeros(1, NUM_LABELS, dtype=torch.bfloat16, requires_grad=True), localization_map=maps
    )
    result = SATImageProcessor().post_process_localization(outputs, target_sizes=torch.tensor([[224, 224]]))[0]
    assert not result["localization_map"].requires_grad
    assert result["scores"].tolist() == pytest.approx([0.2], abs=1e-3)


# Classes, several boxes, thresholds.


def two_objects() -> torch.Tensor:
    """A large faint rectangle and a small bright one."""
    cells = 0.6 * rectangle_map(1, 1, 6, 7)
    cells[9:12, 9:12] = 1.0
    return cells


LOGITS = torch.tensor([[0.0, 2.0, 1.0, -1.0, 0.5]])


def test_the_largest_component_alone():
    result = SATImageProcessor().post_process_localization(
        outputs_of(two_objects()[None], LOGITS), target_sizes=[(224, 224)], localization_threshold=0.4
    )[0]
    assert result["labels"].tolist() == [1]
    torch.testing.assert_close(result["scores"], LOGITS.softmax(-1)[0, 1:2])
    np.testing.assert_allclose(result["boxes"][0], [16, 16, 7 * 16, 6 * 16], atol=4)
    assert result["masks"][:].shape == (1, 224, 224)
    assert result["masks"][0].dtype == torch.bool
    # box and mask say the same, the far end exclusive
    rows, columns = result["masks"][0].nonzero(as_tuple=True)
    assert result["boxes"][0].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_several_boxes():
    result = SATImageProcessor().post_process_localization(
        outputs_of(two_objects()[None], LOGITS),
        target_sizes=[(224, 224)],
        localization_threshold=0.4,
        multiple_boxes=True,
    )[0]
    assert result["labels"].tolist() == [1, 1]
    # the largest first; its score is smaller, as its map is fainter
    np.testing.assert_allclose(result["boxes"][0], [16, 16, 7 * 16, 6 * 16], atol=4)
    np.testing.assert_allclose(result["boxes"][1], [9 * 16, 9 * 16, 12 * 16, 12 * 16], atol=4)
    probability = LOGITS.softmax(-1)[0, 1].item()
    assert result["scores"].tolist() == pytest.approx([0.6 * probability, probability], abs=1e-4)
    assert not (result["masks"][0] & result["masks"][1]).any()


def test_several_classes_share_the_place():
    result = SATImageProcessor().post_process_localization(
        outputs_of(two_objects()[None], LOGITS),
        target_sizes=[(224, 224)],
        localization_threshold=0.4,
        top_k=3,
        multiple_boxes=True,
    )[0]
    # class 1, 2 and 4 are the most probable; each has both boxes
    assert result["labels"].tolist() == [1, 1, 2, 2, 4, 4]
    assert torch.equal(result["boxes"][:2], result["boxes"][2:4])
    assert torch.equal(result["masks"][:2], result["masks"][4:])
    assert (result["scores"][:-2] > result["scores"][2:]).all()


def test_the_least_score():
    outputs, sizes = outputs_of(two_objects()[None], LOGITS), [(224, 224)]
    processor = SATImageProcessor()
    options = {"localization_threshold": 0.4, "top_k": 5, "multiple_boxes": True}
    everything = processor.post_process_localization(outputs, sizes, **options)[0]
    scores = everything["scores"].tolist()
    # not in the order of the rows: a part of the second class is more probable than one of the first
    least = sorted(scores)[-4]
    kept = [row for row, score in enumerate(scores) if score >= least]
    assert len(kept) == 4 and kept != [0, 1, 2, 3]
    found = processor.post_process_localization(outputs, sizes, threshold=least, **options)[0]
    for name in ("scores", "labels", "boxes"):
        assert torch.equal(found[name], everything[name][kept])
    assert torch.equal(found["masks"][:], everything["masks"][:][kept])
    nothing = processor.post_process_localization(outputs, sizes, threshold=1.0, **options)[0]
    assert len(nothing["scores"]) == len(nothing["masks"]) == 0 and nothing["boxes"].shape == (0, 4)
    assert torch.equal(nothing["localization_map"], everything["localization_map"])


@settings(max_examples=60, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    cut=st.floats(0, 1),
    crop=st.booleans(),
    top_k=st.integers(1, NUM_LABELS),
    multiple_boxes=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_results_equal_a_mask_per_class_and_component(grid, size, cut, crop, top_k, multiple_boxes, seed):
    """The same to the last bit as the plain way: all masks at once, repeated for each class."""
    generator = torch.Generator().manual_seed(seed)
    maps, logits = torch.rand(1, *grid, generator=generator), torch.randn(1, NUM_LABELS, generator=generator)
    settings = {"size": {"height": 20, "width": 20}, "do_center_crop": True, "crop_size": {"height": 14, "width": 16}}
    processor = SATImageProcessor(**settings if crop else {})
    arguments = {"localization_threshold": cut, "top_k": top_k, "multiple_boxes": multiple_boxes}
    (found,) = processor.post_process_localization(outputs_of(maps, logits), [size], **arguments)

    in_seen, (x0, y0, x1, y1) = map_in_image(normalize_map(maps[0]), size, processor._seen_part(size))
    labels, num_components = ndimage.label(in_seen.numpy() > np.float32(cut), structure=np.ones((3, 3)))
    parts = [labels == label for label in range(1, num_components + 1)] or [np.ones_like(labels, dtype=bool)]
    parts = sorted(parts, key=np.count_nonzero, reverse=True)[: None if multiple_boxes else 1]
    masks = torch.zeros(len(parts), *size, dtype=torch.bool)
    masks[:, y0:y1, x0:x1] = torch.from_numpy(np.array(parts))
    in_pixels = torch.zeros(size)
    in_pixels[y0:y1, x0:x1] = in_seen
    peaks = torch.stack([in_pixels[mask].max() for mask in masks]) if multiple_boxes else torch.ones(1)
    scores, classes = logits.softmax(-1)[0].topk(top_k)
    corners = [mask.nonzero().min(0).values.flip(0).tolist() for mask in masks]
    corners = [[*low, *(mask.nonzero().max(0).values.flip(0) + 1).tolist()] for low, mask in zip(corners, masks)]
    assert torch.equal(found["scores"], (scores[:, None] * peaks).flatten())
    assert torch.equal(found["labels"], classes.repeat_interleave(len(parts)))
    assert torch.equal(found["boxes"], torch.tensor(corners).float().repeat(top_k, 1))
    assert torch.equal(found["masks"][:], masks.repeat(top_k, 1, 1))
    assert torch.equal(found["localization_map"], in_pixels)


def test_memory_and_masks_of_many_components():
    """49 components in 2000 x 2000 pixels: 196 MB as masks, for each of the classes."""
    script = (
        "import torch\n"
        "from transformers.utils import ModelOutput\n"
        "from transformers_sat import SATImageProcessor\n"
        "cells = torch.zeros(1, 28, 28)\n"
        "cells[0, 1::4, 1::4] = torch.linspace(0.5, 1.0, 49).reshape(7, 7)\n"
        "outputs = ModelOutput(logits=torch.zeros(1, 5), localization_map=cells)\n"
        "def status(name):\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))\n"
        "def localize(side):\n"
        "    sizes, options = [(side, side)], {'multiple_boxes': True, 'top_k': 5}\n"
        "    return SATImageProcessor().post_process_localization(outputs, sizes, **options)[0]\n"
        "localize(50)\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"
        "before = status('VmRSS')\n"
        "found = localize(2000)\n"
        "print(len(found['boxes']), (status('VmHWM') - before) / 2000**2)\n"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    num_rows, bytes_per_pixel = printed.split()
    assert int(num_rows) == 5 * 49
    # 9 for the map, its copy or labels, and the foreground
    assert float(bytes_per_pixel) < 12


def test_the_saved_threshold_is_the_default():
    outputs = outputs_of(two_objects()[None])
    sizes = [(224, 224)]
    high = SATImageProcessor(localization_threshold=0.8)
    found = high.post_process_localization(outputs, sizes)[0]["boxes"]
    assert torch.equal(
        found, SATImageProcessor().post_process_localization(outputs, sizes, localization_threshold=0.8)[0]["boxes"]
    )
    assert not torch.equal(found, SATImageProcessor().post_process_localization(outputs, sizes)[0]["boxes"])
    # zero is a threshold, not an absent one
    everything = high.post_process_localization(outputs, sizes, localization_threshold=0.0)[0]["masks"][0]
    assert (
        everything.sum()
        > high.post_process_localization(outputs, sizes, localization_threshold=0.1)[0]["masks"][0].sum()
    )


def test_each_image_has_its_own_size():
    maps = torch.stack([rectangle_map(3, 5, 7, 11), rectangle_map(0, 0, 2, 2)])
    results = SATImageProcessor().post_process_localization(
        outputs_of(maps), target_sizes=[(140, 280), (280, 140)], localization_threshold=0.5
    )
    np.testing.assert_allclose(results[0]["boxes"][0], [5 * 20, 3 * 10, 11 * 20, 7 * 10], atol=1)
    np.testing.assert_allclose(results[1]["boxes"][0], [0, 0, 20, 40], atol=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"localization_threshold": -0.1}, "`localization_threshold`.*-0.1"),
        ({"localization_threshold": 1.01}, "`localization_threshold`.*1.01"),
        ({"localization_threshold": float("nan")}, "`localization_threshold`.*nan"),
        ({"top_k": 0}, "`top_k`.*1 and 5.*0"),
        ({"top_k": 6}, "`top_k`.*1 and 5.*6"),
        ({"localization_threshold": [(10, 10)] * 2}, "`localization_threshold` must be a number.*cut of"),
        ({"threshold": 40}, "`threshold` must be a number between 0 and 1, got 40 .*the least score"),
        ({"threshold": [(10, 10)] * 2}, r"`threshold`.*got \[\(10, 10\).*sizes of images are `target_sizes`"),
        ({"threshold": float("nan")}, "`threshold`.*nan"),
        ({"threshold": True}, "`threshold`.*True"),
        ({"top_k": 0.4}, "`top_k` must be a whole number.*0.4"),
        ({"multiple_boxes": 0.4}, "`multiple_boxes` must be true or false, got 0.4"),
        ({"target_sizes": 0.4}, "`target_sizes` must hold one .*got 0.4.*by name"),
        ({"target_sizes": (10, 10)}, r"`target_sizes` must hold one .*got \(10, 10\)"),
        ({"target_sizes": [(10, 10, 3)] * 2}, "`target_sizes` must hold one .*10, 10, 3"),
        ({"target_sizes": [(10, 10)]}, "`target_sizes`.*2 expected, got 1"),
        ({"target_sizes": [(10, 10)] * 3}, "`target_sizes`.*2 expected, got 3"),
        ({"target_sizes": [(10, 10), (0, 5)]}, "size.*0"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        SATImageProcessor().post_process_localization(outputs_of(torch.rand(2, 14, 14)), **arguments)


@pytest.mark.parametrize("method", ["post_process_object_detection", "post_process_instance_segmentation"])
def test_swapped_arguments(method):
    """Sizes in the place of the threshold, as the second argument of other methods is."""
    post_process, sizes = getattr(SATImageProcessor(), method), [(10, 10)] * 2
    outputs = outputs_of(torch.rand(2, 14, 14))
    with pytest.raises(ValueError, match="`threshold`.*sizes of images are `target_sizes`"):
        post_process(outputs, sizes)
    with pytest.raises(ValueError, match="`threshold`.*got None"):
        post_process(outputs, None, target_sizes=sizes)
    with pytest.raises(ValueError, match="`threshold`.*got 40"):
        post_process(outputs, 40, target_sizes=sizes)
    with pytest.raises(ValueError, match="`localization_threshold`.*got 40"):
        post_process(outputs, target_sizes=sizes, localization_threshold=40)
    with pytest.raises(ValueError, match="2 expected, got 1"):
        post_process(outputs, target_sizes=sizes[:1])


def test_sizes_in_the_place_of_the_mask_threshold():
    with pytest.raises(ValueError, match="`mask_threshold`.*does not use; sizes of images are `target_sizes`"):
        SATImageProcessor().post_process_instance_segmentation(outputs_of(torch.rand(1, 14, 14)), 0.5, [(10, 10)])


def test_every_method_cuts_the_map_where_it_is_told():
    """As a processor with that threshold does."""
    outputs, sizes = outputs_of(two_objects()[None], LOGITS), [(224, 224)]
    processor, high = SATImageProcessor(), SATImageProcessor(localization_threshold=0.8)
    cut = {"localization_threshold": 0.8}
    found = processor.post_process_object_detection(outputs, 0.1, sizes, **cut)[0]["boxes"]
    assert torch.equal(found, high.post_process_object_detection(outputs, 0.1, sizes)[0]["boxes"])
    assert not torch.equal(found, processor.post_process_object_detection(outputs, 0.1, sizes)[0]["boxes"])
    found = processor.post_process_instance_segmentation(outputs, 0.1, target_sizes=sizes, **cut)[0]["segmentation"]
    expected = high.post_process_instance_segmentation(outputs, 0.1, target_sizes=sizes)[0]["segmentation"]
    assert torch.equal(found, expected)
    found = processor.post_process_semantic_segmentation(outputs, sizes, background_id=255, **cut)[0]
    assert torch.equal(found, high.post_process_semantic_segmentation(outputs, sizes, background_id=255)[0])


@pytest.mark.parametrize("backend", BACKENDS, ids=["torchvision", "pil"])
def test_the_cut_of_the_map_is_refused_where_it_would_do_nothing(backend):
    image = PIL.Image.new("RGB", (40, 30))
    with pytest.raises(ValueError, match="`localization_threshold` changes nothing .*post_process_localization"):
        backend()(image, localization_threshold=0.5)


def test_outputs_of_another_model():
    from transformers.modeling_outputs import ImageClassifierOutput

    with pytest.raises(ValueError, match="localization_map.*logits"):
        SATImageProcessor().post_process_localization(ImageClassifierOutput(logits=torch.zeros(1, 3)))


# What the stock pipelines ask for.


def test_object_detection():
    maps = torch.stack([two_objects(), two_objects()])
    logits = torch.tensor([[0.0, 9.0, 0.0, 0.0, 0.0], [0.0, 0.1, 0.0, 0.0, 0.0]])
    processor = SATImageProcessor()
    sure, unsure = processor.post_process_object_detection(
        outputs_of(maps, logits), threshold=0.5, target_sizes=[(224, 224)] * 2
    )
    expected = processor.post_process_localization(outputs_of(maps, logits), target_sizes=[(224, 224)] * 2)
    assert set(sure) == {"scores", "labels", "boxes"}
    for name in sure:
        assert torch.equal(sure[name], expected[0][name])
    # the second image's class is not probable enough
    assert len(unsure["scores"]) == len(unsure["labels"]) == 0
    assert unsure["boxes"].shape == (0, 4)
    assert len(processor.post_process_object_detection(outputs_of(maps, logits), threshold=0.0)[1]["scores"]) == 1


def test_instance_segmentation():
    logits = torch.tensor([[0.0, 9.0, 0.0, 0.0, 0.0], [0.0, 0.1, 0.0, 0.0, 0.0]])
    outputs = outputs_of(torch.stack([two_objects(), two_objects()]), logits)
    processor = SATImageProcessor()
    sizes = [(112, 56)] * 2
    sure, unsure = processor.post_process_instance_segmentation(outputs, threshold=0.5, target_sizes=sizes)
    mask = processor.post_process_localization(outputs, sizes)[0]["masks"][0]
    assert sure["segmentation"].shape == (112, 56)
    assert torch.equal(sure["segmentation"] == 0, mask)
    assert torch.equal(sure["segmentation"] == -1, ~mask)
    (segment,) = sure["segments_info"]
    assert (segment["id"], segment["label_id"], segment["was_fused"]) == (0, 1, False)
    assert segment["score"] == pytest.approx(logits.softmax(-1)[0, 1].item(), abs=1e-5)
    assert (unsure["segmentation"] == -1).all()
    assert unsure["segments_info"] == []

    both = processor.post_process_instance_segmentation(
        outputs, threshold=0.1, target_sizes=sizes, multiple_boxes=True
    )[0]
    assert [segment["id"] for segment in both["segments_info"]] == [0, 1]
    assert sorted(both["segmentation"].unique().tolist()) == [-1, 0, 1]


@pytest.mark.parametrize("crop", [True, False])
def test_semantic_segmentation(crop):
    processor = SATImageProcessor(do_center_crop=crop, size={"height": 256, "width": 256})
    outputs = outputs_of(rectangle_map(3, 5, 7, 11)[None], LOGITS)
    # every pixel has the image's class, unless the background is asked for
    (classes,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[(60, 80)])
    assert classes.shape == (60, 80)
    assert (classes == 1).all()
    (classes,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[(60, 80)], background_id=255)
    mask = processor.post_process_localization(outputs, target_sizes=[(60, 80)])[0]["masks"][0]
    assert torch.equal(classes == 1, mask)
    assert torch.equal(classes == 255, ~mask)
    # without sizes, at the grid: the cells of the map themselves
    (classes,) = processor.post_process_semantic_segmentation(outputs, background_id=255)
    assert torch.equal(classes == 1, rectangle_map(3, 5, 7, 11).bool())


def test_semantic_segmentation_scores():
    (result,) = SATImageProcessor().post_process_semantic_segmentation(
        outputs_of(two_objects()[None], LOGITS), target_sizes=[(60, 80)], return_segmentation_scores=True
    )
    assert result.segmentation.shape == (60, 80)
    assert result.segmentation_scores.shape == (NUM_LABELS, 60, 80)
    localization_map = SATImageProcessor().post_process_localization(
        outputs_of(two_objects()[None], LOGITS), target_sizes=[(60, 80)]
    )[0]["localization_map"]
    expected = LOGITS.softmax(-1)[0][:, None, None] * localization_map
    torch.testing.assert_close(result.segmentation_scores, expected)


def test_semantic_segmentation_without_scores_takes_no_memory_for_classes():
    # scores of all classes would take four terabytes
    logits = torch.zeros(1, 10**6)
    logits[0, 7] = 1.0
    outputs = outputs_of(two_objects()[None], logits)
    (classes,) = SATImageProcessor().post_process_semantic_segmentation(outputs, target_sizes=[(1000, 1000)])
    assert classes.unique().tolist() == [7]
