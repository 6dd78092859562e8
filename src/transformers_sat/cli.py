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
"""The `transformers-sat` command."""

import argparse
import json
import os
import sys
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError

from .escaping import on_console
from .model.images_sat import one_line


# Of a file's name, in bytes, in the name of its drawing.
LONGEST_NAME = 230


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="transformers-sat", description="Weakly supervised object localization with SAT (Spatial-Aware Token)."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_predict(commands)
    add_convert(commands)
    add_evaluate(commands)
    add_evaluate_maps(commands)
    add_prepare(commands)
    add_export(commands)
    add_demo(commands)
    add_serve(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options) or 0
    except (ValueError, OSError, RuntimeError, ImportError, StrictDataclassError) as error:
        print(f"transformers-sat: {on_console(str(error))}", file=sys.stderr)
        return 1


def add_predict(commands):
    parser = commands.add_parser("predict", help="say what is in images and where")
    parser.add_argument("model", help="SAT model: repository on the Hub or folder")
    parser.add_argument("images", nargs="+", help="image files")
    parser.add_argument("--threshold", type=float, default=0.0, help="least score, in [0, 1] (0)")
    parser.add_argument(
        "--localization_threshold", type=float, help="cut of the normalized map in [0, 1]; the model's own by default"
    )
    parser.add_argument("--top_k", type=int, default=1, help="number of classes (1)")
    parser.add_argument("--multiple_boxes", action="store_true", help="a box for every connected component")
    parser.add_argument("--device", help="where to run, such as cuda:0; Transformers chooses by default")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for a drawing of each image, `<file name>_sat.png` (`<file name>_2_sat.png` where a name comes twice)",
    )
    parser.set_defaults(run=predict)


def predict(options: argparse.Namespace) -> int:
    """Prints one line of JSON per image. An image that cannot be read is named, and the others go on."""
    from .safe_loading import load_localizer
    from .visualization import Localization, contact_sheet

    localizer = load_localizer(options.model, device=options.device)
    for name in ("threshold", "localization_threshold"):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"--{name} must be between 0 and 1, got {value}.")
    if not 1 <= options.top_k <= localizer.model.config.num_labels:
        raise ValueError(f"--top_k must be between 1 and {localizer.model.config.num_labels}, got {options.top_k}.")
    failures = 0
    drawings = drawing_names(options.images)
    for path in options.images:
        try:
            if not Path(path).is_file():
                raise ValueError("no such file.")
            image = localizer.image_processor.fetch_images(path)
            found = localizer(
                image,
                localization_threshold=options.localization_threshold,
                top_k=options.top_k,
                multiple_boxes=options.multiple_boxes,
            )
        except Exception as error:  # whatever it is, the other images can be fine
            print(f"transformers-sat: {on_console(f'{path}: {one_line(error)}')}", file=sys.stderr)
            failures += 1
            continue
        # here and not in the pipeline: what is drawn has a map also where nothing is left
        kept = [entry for entry in found if entry["score"] >= options.threshold]
        objects = [{name: entry[name] for name in ("label", "score", "box")} for entry in kept]
        print(json.dumps({"image": path, "objects": objects}), flush=True)
        if options.output is not None:
            tile = Localization(
                image=image,
                localization_map=found[0]["localization_map"],
                predicted_boxes=[tuple(entry["box"].values()) for entry in kept],
                title=f"{found[0]['label']} {found[0]['score']:.2f}",
            )
            contact_sheet([tile], options.output / drawings[path], columns=1)
    return 1 if failures else 0


def drawing_names(paths: list[str]) -> dict[str, str]:
    """The file name of each image's drawing; images of one name in different folders get numbers."""
    names = {}
    taken = set()
    for path in dict.fromkeys(paths):
        name, number = shortened(Path(path).name), 1
        drawing = f"{name}_sat.png"
        # without regard to case, as some file systems are
        while drawing.lower() in taken:
            number += 1
            drawing = f"{name}_{number}_sat.png"
        taken.add(drawing.lower())
        names[path] = drawing
    return names


def shortened(name: str) -> str:
    """A file name of which one with an ending behind it can be made: file systems have names of up to 255 bytes."""
    while len(os.fsencode(name)) > LONGEST_NAME:
        name = name[:-1]
    return name


def add_convert(commands):
    parser = commands.add_parser("convert", help="make a model folder from other weights")
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")

    original = sources.add_parser("original", help="a checkpoint file of the authors (.pth.tar)")
    original.add_argument("file", help="the checkpoint")
    original.add_argument("output", help="folder to write")
    original.add_argument("--num_attention_heads", type=int, help="heads of the model; hidden size / 64 by default")
    original.set_defaults(run=convert_original)

    backbone = sources.add_parser("backbone", help="a ViT, DeiT or DINOv2 model, as a SAT model to train")
    backbone.add_argument("model", help="repository on the Hub or folder")
    backbone.add_argument("output", help="folder to write")
    backbone.add_argument("--image_size", type=int, help="side of the images; the backbone's own by default")
    backbone.add_argument("--num_labels", type=int, default=2, help="number of classes (2)")
    backbone.add_argument("--num_spatial_layers", type=int, default=3, help="last blocks with a spatial mask (3)")
    backbone.set_defaults(run=convert_backbone)


def check_output(output: str):
    if Path(output).is_file():
        raise ValueError(f"{output} is a file; give a folder to write.")


def convert_original(options: argparse.Namespace):
    from .convert import load_original_checkpoint
    from .saving import save_model

    check_output(options.output)
    model, processor = load_original_checkpoint(options.file, options.num_attention_heads)
    save_model(model, processor, options.output)
    print(
        f"wrote {on_console(options.output)}: {model.config.num_labels} classes, {model.config.image_size} px, "
        f"localization threshold {processor.localization_threshold:g}"
    )


def convert_backbone(options: argparse.Namespace):
    from . import SATImageProcessor
    from .convert import load_backbone
    from .saving import save_model

    check_output(options.output)
    overrides = {"num_labels": options.num_labels, "num_spatial_layers": options.num_spatial_layers}
    if options.image_size is not None:
        overrides["image_size"] = options.image_size
    model = load_backbone(options.model, **overrides)
    size = {"height": model.config.image_size, "width": model.config.image_size}
    save_model(model, SATImageProcessor(size=size, crop_size=size), options.output)
    print(
        f"wrote {on_console(options.output)}: {model.config.num_labels} classes, {model.config.image_size} px; train it before use"
    )


def add_evaluate(commands):
    parser = commands.add_parser("evaluate", help="measure a model on a data set")
    parser.add_argument("model", help="SAT model: repository on the Hub or folder")
    parser.add_argument(
        "dataset", help="`emblems` (embedded), a data set on the Hub, or a folder (saved, Parquet, imagefolder)"
    )
    parser.add_argument("--config_name", help="configuration of a data set on the Hub")
    parser.add_argument("--split", default="test", help="split to measure (test)")
    parser.add_argument("--image_column", default="image", help="column of the images (image)")
    parser.add_argument("--label_column", default="label", help="column of the classes (label)")
    parser.add_argument("--objects_column", default="objects", help="column of the boxes (objects)")
    parser.add_argument(
        "--validation_fraction",
        type=float,
        default=0.1,
        help="share of `train` set apart without a `validation` (0.1)",
    )
    parser.add_argument("--protocol", choices=["sat", "wsoleval", "both"], default="sat", help="(sat)")
    parser.add_argument(
        "--threshold",
        type=threshold_choice,
        default="validation",
        help="`validation` (default): the best on the validation split; `oracle`: on the measured split; or a number",
    )
    parser.add_argument("--thresholds", type=float, nargs="+", help="what is chosen from; the protocol's by default")
    parser.add_argument("--ten_crop", action="store_true", help="class of ten crops, for the protocol sat")
    parser.add_argument(
        "--save_threshold", action="store_true", help="store the calibrated threshold in the model folder"
    )
    parser.add_argument("--max_samples", type=int, help="only that many images of a split, drawn at random")
    parser.add_argument("--batch_size", type=int, default=32, help="images at a time, on each process (32)")
    parser.add_argument("--num_workers", type=int, default=0, help="processes that load images (0)")
    parser.add_argument("--output", type=Path, help="folder for results.json, one row an image, plots and drawings")
    parser.set_defaults(run=evaluate)


def evaluate(options: argparse.Namespace):
    from .evaluation.evaluate import evaluate_model

    evaluate_model(**{name: value for name, value in vars(options).items() if name not in ("command", "run")})


def add_evaluate_maps(commands):
    parser = commands.add_parser("evaluate-maps", help="measure score maps that another method made")
    parser.add_argument("folder", type=Path, help="folder of the maps, `<image id>.npy` or `<stem>.npy`")
    parser.add_argument(
        "--metadata", type=Path, required=True, help="wsolevaluation's metadata folder, with image_ids.txt"
    )
    parser.add_argument("--split", help="folder below the metadata that has the image_ids.txt, such as test")
    parser.add_argument("--protocol", choices=["wsoleval", "sat"], default="wsoleval", help="(wsoleval)")
    parser.add_argument(
        "--threshold", type=threshold_choice, default="oracle", help="`oracle` (default): the best; or a number"
    )
    parser.add_argument("--mask_root", type=Path, help="folder that the metadata's mask files are relative to")
    parser.add_argument("--output", type=Path, help="folder for results.json and plots")
    parser.set_defaults(run=evaluate_maps)


def evaluate_maps(options: argparse.Namespace):
    from .evaluation.evaluate import evaluate_maps

    evaluate_maps(**{name: value for name, value in vars(options).items() if name not in ("command", "run")})


def add_prepare(commands):
    parser = commands.add_parser("prepare", help="make a data set in the schema from its official files")
    parser.add_argument("name", help="its form, such as cub, ilsvrc or imagefolder (docs/datasets.md has all)")
    parser.add_argument(
        "--source",
        help="folder, .tar, .tar.gz or .zip with the official files; for the stamps Debian packages or their contents, fetched "
        "with apt-get by default",
    )
    parser.add_argument("--output", help="folder to write; an interrupted run goes on where it was")
    parser.add_argument("--push_to_hub", metavar="ORG/NAME", help="data set on the Hub to upload the result to")
    parser.add_argument("--private", action="store_true", help="make it private, if it is not there yet")
    parser.add_argument("--token", help="access token for the Hub; the stored one by default")
    parser.add_argument("--num_proc", type=int, default=1, help="number of processes (1)")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="write nothing, report all problems by kind; exit status 1 if there are any",
    )
    parser.add_argument(
        "--skip_invalid", action="store_true", help="leave out images with a problem, listed in OUTPUT/skipped.jsonl"
    )
    parser.add_argument("--max_shard_size", default="500MB", help="size of a Parquet file, at most (500MB)")
    stamps = parser.add_argument_group("stamps", argument_default=argparse.SUPPRESS)
    stamps.add_argument(
        "--variant", choices=["group", "species"], help="twelve groups of things, or kinds of animals (group)"
    )
    stamps.add_argument("--cluttered_fraction", type=float, help="share of the images with other things in them (0.5)")
    stamps.add_argument("--num_train", type=int, help="images for training (4800)")
    stamps.add_argument("--num_validation", type=int, help="images for validation (360)")
    stamps.add_argument("--num_test", type=int, help="images for testing (720)")
    stamps.add_argument("--seed", type=int, help="seed of the drawing (0)")
    parser.set_defaults(run=prepare)


def prepare(options: argparse.Namespace) -> int:
    from .prepare import open_reader, prepare, push_prepared, verify
    from .prepare.running import make_repository

    known = ("command", "run", "name", "source", "output", "push_to_hub", "private", "token", "num_proc")
    known += ("verify", "skip_invalid", "max_shard_size")
    settings = {name: value for name, value in vars(options).items() if name not in known}
    reader = open_reader(options.name, options.source, **settings)
    if options.verify:
        return 1 if verify(reader, options.num_proc) else 0
    if options.output is None:
        raise ValueError("`--output` is missing: the folder to write.")
    hub = (options.push_to_hub, options.private, options.token)
    if options.push_to_hub is not None:
        # before hours of work, not after
        make_repository(*hub)
    prepare(reader, options.output, options.max_shard_size, options.num_proc, options.skip_invalid)
    if options.push_to_hub is not None:
        print(f"pushed to {push_prepared(Path(options.output), *hub)}")
    return 0


def add_export(commands):
    parser = commands.add_parser("export", help="write a model as ONNX, for browsers and other runtimes")
    parser.add_argument("model", help="SAT model: repository on the Hub or folder")
    parser.add_argument("output", help="folder to write: onnx/model.onnx and the configurations")
    parser.add_argument("--opset", type=int, default=18, help="version of ONNX's operators, 18 to 23 (18)")
    parser.add_argument(
        "--image_size",
        type=int,
        nargs="+",
        metavar="PIXELS",
        help="side, or height and width, of the images; the image processor's by default",
    )
    parser.add_argument("--dynamic_size", action="store_true", help="take images of any size that the patch divides")
    parser.add_argument(
        "--quantize", action="store_true", help="also write onnx/model_quantized.onnx, with weights of 8 bits"
    )
    parser.set_defaults(run=export)


def export(options: argparse.Namespace):
    try:
        from .export import export_model
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}: pip install 'transformers-sat[export]'") from error

    written = export_model(
        options.model, options.output, options.opset, options.image_size, options.dynamic_size, options.quantize
    )
    files = [(written.path, written.largest_difference), (written.quantized_path, written.quantized_difference)]
    for path, difference in files:
        if path is not None:
            size = path.stat().st_size / 1e6
            print(f"wrote {path}: {size:.1f} MB, largest difference from PyTorch {difference:.1e}")


def add_demo(commands):
    parser = commands.add_parser("demo", help="try a model in the browser: images, maps, boxes and the threshold")
    parser.add_argument("model", help="SAT model: repository on the Hub or folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 127.0.0.1, this machine only")
    parser.add_argument("--port", type=int, help="port to listen at; a free one from 7860 by default")
    parser.add_argument(
        "--share", action="store_true", help="open a public link through Gradio's relay for three days"
    )
    parser.add_argument("--device", help="where to run, such as cuda:0; Transformers chooses by default")
    parser.add_argument(
        "--images", type=Path, help="folder of example images; drawn emblems for a model of the embedded data"
    )
    parser.set_defaults(run=demo)


def demo(options: argparse.Namespace):
    try:
        from .demo import launch_demo
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}: pip install 'transformers-sat[demo]'") from error

    launch_demo(options.model, options.host, options.port, options.share, options.device, options.images)


def add_serve(commands):
    parser = commands.add_parser("serve", help="answer over HTTP, as the Hub's inference API does")
    parser.add_argument("model", help="SAT model: repository on the Hub or folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at, 0 for any free one (8000)")
    parser.add_argument("--device", help="where to run, such as cuda:0; Transformers chooses by default")
    parser.add_argument("--max_batch_size", type=int, default=8, help="most images in one forward pass (8)")
    parser.add_argument(
        "--max_wait_ms", type=float, default=5, help="how long an image waits for others in its batch (5)"
    )
    parser.add_argument("--max_request_mb", type=float, default=10, help="largest request, in megabytes (10)")
    parser.add_argument(
        "--max_pixels", type=int, default=25_000_000, help="most pixels of an image, width x height (25000000)"
    )
    parser.add_argument("--max_requests", type=int, default=256, help="most requests at a time, others get 429 (256)")
    parser.add_argument("--timeout_s", type=float, default=30, help="longest time for a request, in seconds (30)")
    parser.set_defaults(run=serve)


def serve(options: argparse.Namespace):
    try:
        from .serving import serve
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}: pip install 'transformers-sat[serve]'") from error

    serve(**{name: value for name, value in vars(options).items() if name not in ("command", "run")})


def threshold_choice(text: str) -> str | float:
    """The word or the number that was given; what fits is checked where it is used."""
    try:
        return float(text)
    except ValueError:
        return text


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["main"]
