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
"""Score maps of other methods, in trees of files as wsolevaluation has them."""

import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from transformers_sat.cli import main
from transformers_sat.evaluation import WsolMetadata, evaluate_score_maps
from transformers_sat.metrics import BoxAccuracy, PixelAveragePrecision
from transformers_sat.results import read_results


NUM_IMAGES = 7


def name_of(index: int) -> str:
    return f"class {index % 2}/image_{index}.jpg"


def write_lines(path: Path, lines: list[str]):
    """No newline at the end, as in the published files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")


def score_map(index: int) -> np.ndarray:
    """A blob with noise, of another size and precision for each image."""
    random = np.random.default_rng(index)
    height, width = 20 + 3 * index, 30 + 2 * index
    rows, columns = np.mgrid[:height, :width]
    y, x = random.uniform(0.3, 0.7, 2) * (height, width)
    blob = np.exp(-(((rows - y) / height) ** 2 + ((columns - x) / width) ** 2) * 20)
    return (7 * blob + random.random((height, width))).astype([np.float64, np.float32, np.float16][index % 3])


def save_maps(folder: Path):
    for index in range(NUM_IMAGES):
        # under the whole name or, every other one, without the image's extension
        path = folder / (f"{name_of(index)}.npy" if index % 2 else name_of(index).replace(".jpg", ".npy"))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, score_map(index))


def original_boxes(index: int) -> list[list[int]]:
    boxes = [[100 + 5 * index, 80, 300, 240 + index]]
    return [*boxes, [10, 20, 90, 100]] if index % 3 == 0 else boxes


def image_size(index: int) -> tuple[int, int]:
    """Width and height, as the files have it."""
    return 400 + index, 300 + 2 * index


@pytest.fixture
def box_tree(tmp_path) -> Path:
    save_maps(tmp_path / "maps")
    metadata = tmp_path / "metadata" / "test"
    names = [name_of(index) for index in range(NUM_IMAGES)]
    write_lines(metadata / "image_ids.txt", names)
    write_lines(metadata / "class_labels.txt", [f"{name},{index % 2}" for index, name in enumerate(names)])
    sizes = ["{},{},{}".format(name, *image_size(index)) for index, name in enumerate(names)]
    write_lines(metadata / "image_sizes.txt", sizes)
    boxes = [(name, box) for index, name in enumerate(names) for box in original_boxes(index)]
    write_lines(metadata / "localization.txt", ["{},{},{},{},{}".format(name, *box) for name, box in boxes])
    return tmp_path


def object_masks(index: int) -> list[np.ndarray]:
    """One or two objects, on an image of 60 x 50 pixels."""
    first, second = np.zeros((2, 50, 60), dtype=np.uint8)
    first[10 : 30 + index, 15:40] = 255
    second[35:45, 5:20] = 255
    return [first, second] if index % 2 else [first]


def region_to_ignore() -> np.ndarray:
    ignored = np.zeros((50, 60), dtype=np.uint8)
    ignored[:, 50:] = 255
    ignored[20:28] = 255
    return ignored


@pytest.fixture
def mask_tree(tmp_path) -> Path:
    save_maps(tmp_path / "maps")
    lines = []
    for index in range(NUM_IMAGES):
        folder = tmp_path / "masks" / f"class {index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        # the region is named on an image's first line only, and not all images have one
        ignored = f"class {index % 2}/{index}_ignore.png" if index % 3 else ""
        if ignored:
            PIL.Image.fromarray(region_to_ignore()).save(tmp_path / "masks" / ignored)
        for number, mask in enumerate(object_masks(index)):
            file = f"class {index % 2}/{index}_{number}.png"
            PIL.Image.fromarray(mask).save(tmp_path / "masks" / file)
            lines.append(f"{name_of(index)},{file},{'' if number else ignored}")
    metadata = tmp_path / "metadata" / "test"
    write_lines(metadata / "image_ids.txt", [name_of(index) for index in range(NUM_IMAGES)])
    write_lines(metadata / "localization.txt", lines)
    # in the published folder of OpenImages, too, this file has no lines
    write_lines(metadata / "image_sizes.txt", [])
    return tmp_path


def run(tree: Path, *arguments) -> int:
    settings = ("--metadata", tree / "metadata", "--split", "test", *arguments)
    return main(["evaluate-maps", str(tree / "maps"), *map(str, settings)])


def boxes_by_hand(index: int) -> np.ndarray:
    width, height = image_size(index)
    scale = np.array([224 / width, 224 / height] * 2)
    return np.trunc(np.array(original_boxes(index)) * scale).astype(int)


def count_by_hand(thresholds=None) -> BoxAccuracy:
    metric = BoxAccuracy("wsoleval", thresholds)
    for index in range(NUM_IMAGES):
        metric.update(torch.from_numpy(score_map(index))[None], [boxes_by_hand(index)])
    return metric


def test_boxes_equal_the_metric(box_tree, tmp_path, capsys):
    assert run(box_tree, "--output", tmp_path / "output") == 0
    record = read_results(tmp_path / "output" / "results.json")
    assert (record["num_processes"], record["command"]) == (1, "transformers-sat evaluate-maps")
    result = record["results"]["test"]["wsoleval"]
    by_class = result.pop("by_class")
    expected = count_by_hand().compute()
    assert result == expected
    assert 0 < expected["max_box_acc_v2"] < 100
    assert {label: row["num_images"] for label, row in by_class.items()} == {"0": 4, "1": 3}
    assert sum(row["gt_known_loc"] * row["num_images"] for row in by_class.values()) == pytest.approx(
        NUM_IMAGES * expected["gt_known_loc"]
    )
    with PIL.Image.open(tmp_path / "output" / "thresholds_wsoleval.png") as image:
        image.load()
    printed = capsys.readouterr().out
    assert f"MaxBoxAcc {expected['max_box_acc']:.1f}; MaxBoxAccV2 {expected['max_box_acc_v2']:.1f}" in printed
    assert "| whole image" in printed


def test_given_threshold(box_tree):
    known = WsolMetadata.read(box_tree / "metadata" / "test")
    result, _ = evaluate_score_maps(box_tree / "maps", known, localization_threshold=0.35)
    del result["by_class"]
    assert result == count_by_hand([0.35]).compute(0.35)


def test_maps_of_the_centre_crop(box_tree):
    """Under the other protocol the true boxes are brought to its crop, and the map is cut as it does."""
    known = WsolMetadata.read(box_tree / "metadata" / "test")
    result, _ = evaluate_score_maps(box_tree / "maps", known, protocol="sat", localization_threshold=0.5)
    metric = BoxAccuracy("sat", [0.5])
    for index in range(NUM_IMAGES):
        width, height = image_size(index)
        corners = np.array(original_boxes(index)) / np.array([width, height] * 2) * 256 - 16
        boxes = np.trunc(np.clip(corners, 0, 223)).astype(int)
        metric.update(torch.from_numpy(score_map(index))[None], [boxes])
    expected = metric.compute(0.5)
    assert result["gt_known_loc"] == expected["gt_known_loc"]
    assert result["center_box"] == expected["center_box"]


def test_masks_equal_the_metric(mask_tree, tmp_path, capsys):
    assert run(mask_tree, "--mask_root", mask_tree / "masks", "--output", tmp_path / "output") == 0
    record = read_results(tmp_path / "output" / "results.json")
    metric = PixelAveragePrecision()
    nothing = np.zeros((50, 60), dtype=bool)
    for index in range(NUM_IMAGES):
        mask = np.any(object_masks(index), axis=0)
        ignored = region_to_ignore() > 0 if index % 3 else nothing
        metric.update(torch.from_numpy(score_map(index))[None], [mask], [ignored])
    expected = metric.compute()
    assert record["results"] == {"test": {"wsoleval": expected}}
    rows = {}
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("| "):
            heading, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            rows[heading] = cells
    assert rows[""] == ["PxAP"]
    assert rows["maps, test"] == [f"{expected['pxap']:.1f}"]
    assert rows["centred map, test"] == [f"{expected['center']['pxap']:.1f}"]
    with PIL.Image.open(tmp_path / "output" / "precision_recall_wsoleval.png") as image:
        image.load()


# All that is wrong, at once.


def damage(maps: Path) -> dict[str, str]:
    """Spoils six of the seven maps, each in its own way; gives kind and path of each."""
    files = {index: next(maps.glob(f"*/image_{index}*.npy")) for index in range(NUM_IMAGES)}
    files[0].unlink()
    files[1].write_bytes(b"no array")
    np.save(files[2], np.zeros((3, 14, 14)))
    np.save(files[3], np.where(np.eye(14), np.nan, 1.0))
    np.save(files[4], np.where(np.eye(14), np.inf, 1.0))
    np.save(files[5], np.full((14, 14), "text"))
    return {
        "missing map": str(maps / f"{name_of(0)}.npy"),
        "unreadable map": str(files[1]),
        "map that does not have the shape (height, width)": f"{files[2]} (3, 14, 14)",
        "map with NaN or infinite values": str(files[3]),
        "map with NaN or infinite values: ": str(files[4]),
        "map that holds no numbers": str(files[5]),
    }


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_maps_that_cannot_be_measured_are_listed_at_once(kind, request, capsys):
    tree = request.getfixturevalue("box_tree" if kind == "boxes" else "mask_tree")
    spoiled = damage(tree / "maps")
    settings = ("--mask_root", tree / "masks") if kind == "masks" else ()
    if kind == "masks":
        # found although there are wrong maps before it
        (tree / "masks" / "class 0" / "6_0.png").unlink()
        spoiled["missing mask"] = str(tree / "masks" / "class 0" / "6_0.png")
    assert run(tree, *settings) == 1
    printed = capsys.readouterr()
    lines = printed.err[printed.err.index("transformers-sat:") :].splitlines()
    assert f"{len(spoiled)} of 7 images cannot be measured" in lines[0]
    assert len(lines) == 1 + len(spoiled)
    for line, (problem, path) in zip(lines[1:], spoiled.items(), strict=True):
        assert line.startswith(f"{problem.rstrip(': ')}: {path}")
    assert "GT-known" not in printed.out


def test_unreadable_mask(mask_tree, capsys):
    path = mask_tree / "masks" / "class 1" / "1_ignore.png"
    path.write_bytes(b"no image")
    assert run(mask_tree, "--mask_root", mask_tree / "masks") == 1
    assert f"1 of 7 images cannot be measured:\nunreadable mask: {path}" in capsys.readouterr().err


def test_metadata_that_lacks_images(box_tree, capsys):
    metadata = box_tree / "metadata" / "test"
    for file in ("localization.txt", "image_sizes.txt"):
        lines = (metadata / file).read_text(encoding="utf-8").splitlines()
        left_out = name_of(1) if file == "localization.txt" else name_of(4)
        write_lines(metadata / file, [line for line in lines if not line.startswith(left_out)])
    assert run(box_tree) == 1
    error = capsys.readouterr().err
    assert f"no line in localization.txt: {name_of(1)}\nno line in image_sizes.txt: {name_of(4)}" in error


@pytest.mark.parametrize(
    "file, line, message",
    [
        (
            "localization.txt",
            "a.jpg,1,2,3",
            r"localization.txt, line 1: image and box, or image, mask and region to leave out, got 'a.jpg,1,2,3'",
        ),
        ("localization.txt", "a.jpg,1,2,x,4", "localization.txt, line 1: 'x' is not a number"),
        ("localization.txt", "a.jpg,1,2,3,4\na.jpg,m.png,", "mixes lines with boxes and lines with masks"),
        ("image_sizes.txt", "a.jpg,100", "image_sizes.txt, line 1: 3 fields expected"),
        ("class_labels.txt", "a.jpg,cat", "class_labels.txt, line 1: 'cat' is not a number"),
        ("image_ids.txt", "", "names no image"),
        ("image_ids.txt", "a.jpg\nb.jpg\na.jpg", "image_ids.txt, line 3: a.jpg is there twice.*line 1"),
    ],
)
def test_damaged_metadata(box_tree, capsys, file, line, message):
    write_lines(box_tree / "metadata" / "test" / file, [line])
    assert run(box_tree) == 1
    assert re.search(message, capsys.readouterr().err)


def test_settings_that_do_not_fit(box_tree, mask_tree, capsys):
    # both trees are in one folder, whose metadata are those of the masks
    assert run(mask_tree) == 1
    assert "`mask_root` is missing" in capsys.readouterr().err
    assert run(mask_tree, "--mask_root", mask_tree / "masks", "--localization_threshold", 0.4) == 1
    assert "`localization_threshold` is for boxes" in capsys.readouterr().err
    assert main(["evaluate-maps", str(mask_tree / "nothing"), "--metadata", str(mask_tree)]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert main(["evaluate-maps", str(mask_tree / "maps"), "--metadata", str(mask_tree / "maps")]) == 1
    assert "image_ids.txt" in capsys.readouterr().err


def test_a_threshold_is_not_calibrated_on_other_maps(box_tree, capsys):
    assert run(box_tree, "--localization_threshold", "validation") == 1
    assert "\"oracle\" or a number from 0 to 1, got 'validation'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_maps_that_overflow_are_counted_and_named(request, tmp_path, capsys, kind):
    """Finite numbers that no cubic resize keeps finite: they show nothing, and the results say so."""
    tree = request.getfixturevalue("mask_tree" if kind == "masks" else "box_tree")
    [path] = [path for path in (tree / "maps").rglob("*.npy") if "image_3" in path.name]
    np.save(path, (np.indices((20, 20)).sum(axis=0) % 2 * 3.3e38).astype(np.float32))
    options = ("--mask_root", tree / "masks") if kind == "masks" else ()
    assert run(tree, *options, "--output", tmp_path / "output") == 0
    result = read_results(tmp_path / "output" / "results.json")["results"]["test"]["wsoleval"]
    assert (result["num_non_finite_maps"], result["non_finite_image_ids"]) == (1, [name_of(3)])
    assert f"not finite, counted as showing nothing: 1 ({name_of(3)})" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("image_sizes.txt", b"a.jpg,\xff,2", "image_sizes.txt is not UTF-8 text, somewhere after line 0"),
        ("image_sizes.txt", b"a.jpg,0,2", "image_sizes.txt, line 1, `width`: an image has at least one pixel"),
        ("localization.txt", b"a.jpg,1,2,nan,4", "localization.txt, line 1: a box is x0, y0, x1, y1"),
        ("localization.txt", b"a.jpg,5,2,1,4", "localization.txt, line 1: a box is x0, y0, x1, y1"),
        ("class_labels.txt", b"a.jpg," + b"9" * 5000, "class_labels.txt, line 1: '9.*' is not a number"),
    ],
)
def test_values_in_metadata(box_tree, capsys, file, content, message):
    (box_tree / "metadata" / "test" / file).write_bytes(content)
    assert run(box_tree) == 1
    assert re.search(message, capsys.readouterr().err)
