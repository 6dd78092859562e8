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
"""Contact sheets, read back pixel by pixel: what is drawn is where it should be."""

import numpy as np
import PIL.Image
import pytest

from transformers_sat.visualization import Localization, contact_sheet, draw_localization


GREEN, RED = (0, 255, 0), (255, 0, 0)
BLUE = (0, 0, 255)
# Blue under the half transparent lowest colour of the map, (0, 0, 128).
MAPPED_BLUE = (10, 6, 154)


def test_drawing():
    image = PIL.Image.new("RGB", (60, 40), (10, 200, 90))
    localization_map = np.tile(np.linspace(0, 1, 60, dtype=np.float32), (40, 1))
    boxes = {"predicted_boxes": [(20, 10, 45, 30)], "true_boxes": [(2, 3, 12, 35)]}
    plain = np.asarray(draw_localization(Localization(image, localization_map, **boxes), 0.0)).astype(int)
    # the boxes' outlines, far ends exclusive, with a black edge, and the image everywhere else
    outlines = [(plain == colour).all(axis=-1) for colour in (RED, GREEN)]
    assert extent(outlines[0]).tolist() == [20, 10, 45, 30]
    assert extent(outlines[1]).tolist() == [2, 3, 12, 35]
    edge = (plain == 0).all(axis=-1)
    assert extent(edge).tolist() == [1, 2, 46, 36]
    lines = edge | outlines[0] | outlines[1]
    assert (plain[~lines] == (10, 200, 90)).all() and lines.mean() < 0.35
    # the map alone: brighter from left to right, without a trace of the image
    alone = np.asarray(draw_localization(Localization(image, localization_map), 1.0)).astype(int)
    assert (np.diff(alone[0].sum(axis=-1)) >= 0).all() and alone[0, -1].sum() - alone[0, 0].sum() > 400
    half = np.asarray(draw_localization(Localization(image, localization_map))).astype(int)
    assert np.abs(half - (np.array((10, 200, 90)) + alone) / 2).max() <= 1


def test_large_images_are_drawn_smaller():
    localization = Localization(
        PIL.Image.new("RGB", (3000, 20)), np.ones((20, 3000), dtype=np.float32), [(0, 0, 3000, 20)]
    )
    drawing = draw_localization(localization)
    assert drawing.size == (1280, 9)
    assert drawing.getpixel((0, 0)) == drawing.getpixel((1279, 8)) == RED


def drawn(localizations, path, **options) -> np.ndarray:
    contact_sheet(localizations, path, **options)
    return np.asarray(PIL.Image.open(path).convert("RGB")).astype(int)


def near(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: int = 60) -> np.ndarray:
    return (np.abs(pixels - colour) <= tolerance).all(axis=-1)


def extent(mask: np.ndarray) -> np.ndarray:
    """`(x0, y0, x1, y1)` around the pixels of a mask, far ends exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def blue_image(width: int = 80, height: int = 50) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (width, height), BLUE)


def tile_extents(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the blue image was drawn plain, and where under an empty map."""
    return extent(near(pixels, BLUE, 20)), extent(near(pixels, MAPPED_BLUE, 20))


def assert_box_at(pixels: np.ndarray, colour, tile: np.ndarray, box, image_size=(80, 50)):
    """The outline of that colour within a tile is where the box is in the image, but for the line's width."""
    x0, y0, x1, y1 = tile
    scale = np.array([(x1 - x0) / image_size[0], (y1 - y0) / image_size[1]] * 2)
    found = extent(near(pixels[y0:y1, x0:x1], colour, 90))
    np.testing.assert_allclose(found, np.array(box) * scale, atol=2.5)


def test_boxes_are_where_they_are(tmp_path):
    truth, predicted = (16, 10, 56, 40), (30, 5, 72, 35)
    localization = Localization(
        image=blue_image(),
        localization_map=np.zeros((50, 80)),
        predicted_boxes=[predicted],
        true_boxes=[truth],
    )
    pixels = drawn([localization], tmp_path / "sheet.png", columns=1)
    plain, overlaid = tile_extents(pixels)
    assert plain[2] <= overlaid[0]
    # not distorted
    for tile in (plain, overlaid):
        assert (tile[2] - tile[0]) / (tile[3] - tile[1]) == pytest.approx(80 / 50, rel=0.05)
    assert_box_at(pixels, GREEN, plain, truth)
    assert_box_at(pixels, RED, overlaid, predicted)
    # the true box is on both, the predicted one beside the map only
    left, right = pixels[:, : plain[2]], pixels[:, overlaid[0] :]
    assert not near(left, RED, 90).any()
    assert near(right, GREEN, 90).sum() > 100


def test_several_boxes(tmp_path):
    boxes = [(5, 5, 20, 20), (40, 25, 75, 45)]
    localization = Localization(blue_image(), np.zeros((50, 80)), true_boxes=boxes)
    pixels = drawn([localization], tmp_path / "sheet.png", columns=1)
    plain, _ = tile_extents(pixels)
    middle = (plain[0] + plain[2]) // 2 - plain[0]
    tile = near(pixels[plain[1] : plain[3], plain[0] : plain[2]], GREEN, 90)
    scale = (plain[2] - plain[0]) / 80
    np.testing.assert_allclose(extent(tile[:, : middle - 2]), np.array(boxes[0]) * scale, atol=2.5)
    assert extent(tile)[2] == pytest.approx(75 * scale, abs=2.5)


def test_map_lies_on_the_image(tmp_path):
    localization_map = np.zeros((50, 80))
    localization_map[10:25, 60:76] = 1.0
    pixels = drawn([Localization(blue_image(), localization_map)], tmp_path / "sheet.png", columns=1)
    plain, overlaid = tile_extents(pixels)
    tile = pixels[overlaid[1] : overlaid[3], overlaid[0] : overlaid[2]]
    # the highest colour of the map is a light yellow, half of which shows over the image's blue
    hot = extent(near(tile, (126, 128, 210), 30))
    np.testing.assert_allclose(hot / (overlaid[2] - overlaid[0]) * 80, [60, 10, 76, 25], atol=1.5)


def test_tiles_are_in_reading_order(tmp_path):
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (200, 0, 200), (0, 200, 200), (250, 130, 10)]
    localizations = [
        Localization(PIL.Image.new("RGB", (40, 40), colour), np.zeros((40, 40)), title=f"tile {index}")
        for index, colour in enumerate(colours)
    ]
    pixels = drawn(localizations, tmp_path / "sheet.png", columns=3, heading="seven tiles")
    centres = []
    for colour in colours:
        x0, y0, x1, y1 = extent(near(pixels, colour, 3))
        centres.append(((x0 + x1) / 2, (y0 + y1) / 2))
    rows = [centres[:3], centres[3:6], centres[6:]]
    for row in rows:
        assert len({round(y / 10) for _, y in row}) == 1
        assert [x for x, _ in row] == sorted(x for x, _ in row)
    assert rows[0][0][1] < rows[1][0][1] < rows[2][0][1]
    assert rows[0][0][0] == pytest.approx(rows[1][0][0], abs=2) == pytest.approx(rows[2][0][0], abs=2)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_any_kind_of_image(tmp_path, mode):
    localization = Localization(blue_image().convert(mode), np.zeros((50, 80)))
    assert drawn([localization], tmp_path / "sheet.png", columns=1).shape[2] == 3


def test_class_names_are_not_read_as_formulas(tmp_path):
    localization = Localization(blue_image(), np.zeros((50, 80)), title="$100 \\bill$ and a_b^c 0.93")
    drawn([localization], tmp_path / "sheet.png", heading="$\\nothing$")


def test_folder_is_made_and_several_formats_are_written(tmp_path):
    localization = Localization(blue_image(), np.zeros((50, 80)))
    for name, file_format in (("sheet.png", "PNG"), ("sheet.jpg", "JPEG")):
        contact_sheet([localization], tmp_path / "new" / "folder" / name)
        with PIL.Image.open(tmp_path / "new" / "folder" / name) as image:
            assert image.format == file_format


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="`localizations` is empty"):
        contact_sheet([], tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
