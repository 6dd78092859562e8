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
"""`transformers-sat predict` and `convert`: what they print and write, and how they fail."""

import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from sat_testing import FIXTURES, tiny_model
from square_images import save_tiny_vit

from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor
from transformers_sat.cli import main


ORIGINAL = str(FIXTURES / "sat_micro_pth_tar.pth.tar")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A model of five named classes with its own threshold."""
    folder = tmp_path_factory.mktemp("model")
    names = ["ant", "bee", "cow", "dog", "elk"]
    tiny_model(
        id2label=dict(enumerate(names)), label2id={name: label for label, name in enumerate(names)}
    ).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    SATImageProcessor(size=size, crop_size=size, localization_threshold=0.55).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def vit_folder(tmp_path_factory):
    return str(save_tiny_vit(tmp_path_factory.mktemp("vit")))


@pytest.fixture
def images(tmp_path):
    """Three images, the last of which is stored sideways."""
    paths = []
    for index, size in enumerate([(70, 50), (40, 64), (60, 45)]):
        coarse = np.random.default_rng(index).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        image = PIL.Image.fromarray(coarse).resize(size, PIL.Image.Resampling.BICUBIC)
        exif = PIL.Image.Exif()
        if index == 2:
            exif[0x0112] = 6
        path = tmp_path / f"image {index}.png"
        image.save(path, exif=exif)
        paths.append(str(path))
    return paths


def found_by_hand(model_folder: str, path: str, **options) -> list[dict]:
    """The upright image through model and processor."""
    model = SATForWeaklySupervisedLocalization.from_pretrained(model_folder)
    processor = SATImageProcessor.from_pretrained(model_folder)
    image = PIL.Image.open(path)
    if image.getexif().get(0x0112) == 6:
        image = image.transpose(PIL.Image.Transpose.ROTATE_270)
    with torch.no_grad():
        outputs = model(**processor(image.convert("RGB"), return_tensors="pt"))
    result = processor.post_process_localization(outputs, target_sizes=[(image.height, image.width)], **options)[0]
    return [
        {"label": model.config.id2label[label.item()], "score": score.item(), "box": box.round().int().tolist()}
        for label, score, box in zip(result["labels"], result["scores"], result["boxes"], strict=True)
    ]


def assert_same(objects: list[dict], expected: list[dict]):
    assert [entry["label"] for entry in objects] == [entry["label"] for entry in expected]
    assert [list(entry["box"].values()) for entry in objects] == [entry["box"] for entry in expected]
    assert [entry["score"] for entry in objects] == pytest.approx([entry["score"] for entry in expected], abs=1e-5)


# predict


def test_predict(model_folder, images, capsys):
    assert main(["predict", model_folder, *images]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == images
    for line, path in zip(lines, images, strict=True):
        assert_same(line["objects"], found_by_hand(model_folder, path))
        assert list(line["objects"][0]["box"]) == ["xmin", "ymin", "xmax", "ymax"]


@pytest.mark.parametrize(
    "flags, options",
    [
        (["--localization_threshold", "0.9"], {"localization_threshold": 0.9}),
        (["--top_k", "5", "--threshold", "0.05"], {"top_k": 5, "threshold": 0.05}),
        (["--top_k", "3"], {"top_k": 3}),
        (
            ["--multiple_boxes", "--localization_threshold", "0.8"],
            {"multiple_boxes": True, "localization_threshold": 0.8},
        ),
    ],
)
def test_predict_options(model_folder, images, capsys, flags, options):
    assert main(["predict", model_folder, images[0], *flags]) == 0
    expected = found_by_hand(model_folder, images[0], **options)
    # the option makes a difference here
    assert expected != found_by_hand(model_folder, images[0])
    assert_same(json.loads(capsys.readouterr().out)["objects"], expected)


def test_predict_leaves_out_low_scores(model_folder, images, tmp_path, capsys):
    """The score as it is printed; an image in which nothing is left has a line and a drawing all the same."""
    expected = found_by_hand(model_folder, images[0], top_k=5)
    cut = (expected[1]["score"] + expected[2]["score"]) / 2
    assert main(["predict", model_folder, images[0], "--top_k", "5", "--threshold", str(cut)]) == 0
    assert_same(json.loads(capsys.readouterr().out)["objects"], expected[:2])
    assert main(["predict", model_folder, images[0], "--threshold", "1", "--output", str(tmp_path / "drawings")]) == 0
    assert json.loads(capsys.readouterr().out) == {"image": images[0], "objects": []}
    assert [path.name for path in (tmp_path / "drawings").iterdir()] == ["image 0.png_sat.png"]


def test_predict_draws(model_folder, images, tmp_path, capsys):
    folder = tmp_path / "drawings"
    assert main(["predict", model_folder, *images[:2], "--output", str(folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    drawings = sorted(folder.iterdir())
    assert [drawing.name for drawing in drawings] == ["image 0.png_sat.png", "image 1.png_sat.png"]
    for drawing in drawings:
        pixels = np.asarray(PIL.Image.open(drawing).convert("RGB")).astype(int)
        red = (np.abs(pixels - (255, 0, 0)) < 60).all(axis=-1)
        assert red.sum() > 50


def test_predict_draws_images_of_one_name(model_folder, images, tmp_path, capsys):
    """Each image keeps its drawing, though images in different folders have the same name."""
    paths = []
    for index, name in enumerate(["a/bird.png", "b/bird.png", "c/BIRD.png", "bird.png_2"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        PIL.Image.open(images[index % 2]).save(path, format="PNG")
        paths.append(str(path))
    folder = tmp_path / "drawings"
    # one of them twice: the same image, the same drawing
    assert main(["predict", model_folder, *paths, paths[0], "--output", str(folder)]) == 0
    drawings = {path.name: PIL.Image.open(path).convert("RGB") for path in folder.iterdir()}
    assert set(drawings) == {"bird.png_sat.png", "bird.png_2_sat.png", "BIRD.png_3_sat.png", "bird.png_2_2_sat.png"}
    assert drawings["bird.png_sat.png"] == drawings["BIRD.png_3_sat.png"]
    assert drawings["bird.png_sat.png"] != drawings["bird.png_2_sat.png"]
    assert drawings["bird.png_2_sat.png"] == drawings["bird.png_2_2_sat.png"]


def test_predict_goes_on(model_folder, images, tmp_path, capsys):
    """Images that cannot be read are named, the others are done, and the status says that something went wrong."""
    broken, floating = tmp_path / "broken.jpg", tmp_path / "floating.tiff"
    broken.write_bytes(b"no image")
    PIL.Image.fromarray(np.ones((9, 9), dtype=np.float32)).save(floating)
    unreadable = [str(tmp_path / "gone.png"), str(broken), str(floating), str(tmp_path)]
    assert main(["predict", model_folder, *unreadable, images[0]]) == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["image"] for line in captured.out.splitlines()] == [images[0]]
    complaints = [line for line in captured.err.splitlines() if line.startswith("transformers-sat: ")]
    assert len(complaints) == 4
    for complaint, path in zip(complaints, unreadable, strict=True):
        assert path in complaint


# convert


def test_convert_original(tmp_path, capsys):
    folder = tmp_path / "converted"
    assert main(["convert", "original", ORIGINAL, str(folder), "--num_attention_heads", "3"]) == 0
    assert "7 classes, 224 px" in capsys.readouterr().out
    model = SATForWeaklySupervisedLocalization.from_pretrained(folder)
    assert (model.config.num_attention_heads, model.config.hidden_size, model.config.num_labels) == (3, 48, 7)
    # the authors' evaluation
    processor = SATImageProcessor.from_pretrained(folder)
    assert processor.do_center_crop
    assert processor.size == {"height": 256, "width": 256}
    assert processor.crop_size == {"height": 224, "width": 224}
    weights = torch.load(ORIGINAL, map_location="cpu", weights_only=True)["model"]
    expected = next(weights[name] for name in weights if name.endswith("loc_token"))
    torch.testing.assert_close(model.vit.embeddings.spatial_token.data, expected, atol=0, rtol=0)
    # what was converted can be used at once
    image = tmp_path / "image.png"
    PIL.Image.new("RGB", (50, 40)).save(image)
    assert main(["predict", str(folder), str(image)]) == 0
    assert json.loads(capsys.readouterr().out)["objects"][0]["label"].startswith("LABEL_")


def test_convert_backbone(vit_folder, tmp_path, capsys):
    folder = tmp_path / "converted"
    flags = ["--num_labels", "7", "--image_size", "32", "--num_spatial_layers", "1"]
    assert main(["convert", "backbone", vit_folder, str(folder), *flags]) == 0
    assert "7 classes, 32 px" in capsys.readouterr().out
    model = SATForWeaklySupervisedLocalization.from_pretrained(folder)
    assert (model.config.num_labels, model.config.image_size, model.config.num_spatial_layers) == (7, 32, 1)
    assert SATImageProcessor.from_pretrained(folder).size == {"height": 32, "width": 32}
    source = {
        name.removeprefix("vit."): tensor for name, tensor in load_file(Path(vit_folder, "model.safetensors")).items()
    }
    projection = "embeddings.patch_embeddings.projection.weight"
    assert torch.equal(model.vit.state_dict()[projection], source[projection])


# Failures.


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{no json")
    (tmp_path / "file").write_text("a file")
    return tmp_path


def test_predict_draws_where_no_score_is_large_enough(model_folder, images, tmp_path, capsys):
    arguments = ["predict", model_folder, images[0], "--threshold", "1", "--output", str(tmp_path / "drawings")]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["objects"] == []
    (drawing,) = (tmp_path / "drawings").iterdir()
    pixels = np.asarray(PIL.Image.open(drawing).convert("RGB")).astype(int)
    assert not (np.abs(pixels - (255, 0, 0)) < 30).all(axis=-1).any()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["predict", "{folders}/empty", "{image}"], "empty"),
        (["predict", "{folders}/damaged", "{image}"], "config"),
        (["predict", "no-such/model", "{image}"], ""),
        (["predict", "{vit}", "{image}"], "`vit` model"),
        (["serve", "{vit}"], "`vit` model"),
        (["serve", "{model}", "--max_pixels", "0"], "`max_pixels` must be positive"),
        (["predict", "{model}", "{image}", "--localization_threshold", "2"], "--localization_threshold must be"),
        (["predict", "{model}", "{image}", "--threshold", "2"], "--threshold must be between 0 and 1, got 2.0"),
        (["predict", "{model}", "{image}", "--top_k", "6"], "top_k.* between 1 and 5"),
        (["predict", "{model}", "{image}", "--device", "toaster"], "toaster"),
        (["convert", "original", "{folders}/gone.pth.tar", "{folders}/out"], "gone.pth.tar"),
        (["convert", "original", "{image}", "{folders}/out"], "checkpoint"),
        (["convert", "original", ORIGINAL, "{folders}/out", "--num_attention_heads", "5"], "num_attention_heads"),
        (["convert", "original", ORIGINAL, "{folders}/file", "--num_attention_heads", "3"], "is a file"),
        (["convert", "backbone", "{folders}/empty", "{folders}/out"], "empty"),
        (["convert", "backbone", "{vit}", "{folders}/out"], "num_spatial_layers"),
        (
            ["convert", "backbone", "{vit}", "{folders}/out", "--image_size", "30", "--num_spatial_layers", "2"],
            "patch_size",
        ),
        (["convert", "backbone", "{vit}", "{folders}/file"], "is a file"),
    ],
)
def test_errors(arguments, message, model_folder, vit_folder, images, folders, capsys, caplog):
    """Status 1 and a line on the standard error, no traceback, nothing on the standard output and no folder left."""
    names = {"model": model_folder, "vit": vit_folder, "image": images[0], "folders": str(folders)}
    assert main([argument.format(**names) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "transformers-sat: " in captured.err and "Traceback" not in captured.err
    assert re.search(message, captured.err)
    assert not (folders / "out").exists()


def test_predict_draws_into_a_folder(images, tmp_path, capsys):
    """Said before the model is loaded."""
    (tmp_path / "taken").touch()
    assert main(["predict", "no/model", str(tmp_path / "no.jpg"), "--output", str(tmp_path / "taken")]) == 1
    assert "taken is a file; give a folder" in capsys.readouterr().err


def test_predict_draws_images_of_the_longest_name(model_folder, images, tmp_path):
    """File systems have names of up to 255 bytes, and the drawing's has an ending more."""
    paths = [str(tmp_path / f"{'ö' * 120}{letter}.png") for letter in "ab"]
    for path in paths:
        PIL.Image.open(images[0]).save(path)
    assert main(["predict", model_folder, *paths, "--output", str(tmp_path / "drawings")]) == 0
    assert len(list((tmp_path / "drawings").iterdir())) == 2


def test_messages_do_not_move_the_cursor(model_folder, tmp_path, capsys):
    assert main(["predict", model_folder, str(tmp_path / "a\x1b[2J\u202e\udcff.png")]) == 1
    error = capsys.readouterr().err
    assert r"a\x1b[2J\u202e\udcff.png" in error and "\x1b" not in error
