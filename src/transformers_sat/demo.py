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
"""A page to try a model with: images in, classes, maps and boxes out (Gradio)."""

import html
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import gradio as gr
import numpy as np
import PIL.Image
import torch
from transformers.utils import ModelOutput

from .drawn.emblems import draw_emblem, emblem_class_names, load_photographs, pattern_of_class
from .escaping import visible
from .model.images_sat import IMAGE_FORMATS, has_image_suffix, read_image, upright
from .model.inputs_sat import as_rgb
from .model.pipeline_sat import WeaklySupervisedLocalizationPipeline
from .safe_loading import load_localizer
from .visualization import Localization, draw_localization
from .writing import write_text


# The map that the model's boxes are from; the others are shown to understand it.
MEAN_MAP = "mean of the blocks"

NUM_CLASSES_SHOWN = 5

# What a visitor's session may leave on the server, and for how long.
MAX_FILE_SIZE = "20mb"
SECONDS_KEPT = 3600


@dataclass
class SeenImage:
    """
    An image and what the model made of it: all that is needed to move sliders without running the model again.

    Args:
        image (`PIL.Image.Image`): the image, upright, in RGB.
        outputs (`dict[str, torch.Tensor]`): the model's `logits`, and of a multi-label model `class_scores` and `class_maps`.
        maps (`dict[str, torch.Tensor]`): raw localization maps `(1, grid_height, grid_width)`: their mean, and each block's.
    """

    image: PIL.Image.Image
    outputs: dict[str, torch.Tensor]
    maps: dict[str, torch.Tensor]
    folder: tempfile.TemporaryDirectory = field(default_factory=lambda: tempfile.TemporaryDirectory("_sat_demo"))


@dataclass
class Place(Localization):
    """
    What one setting of the sliders gives, to draw and to write down.

    Args:
        labels (`list[str]`): class of each box; the most probable one, or each that a multi-label model found.
        scores (`list[float]`): its probability, times the part's largest map value where there are several boxes.
    """

    labels: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    @property
    def boxes(self) -> list[list[int]]:
        """A box for each of `labels`: corners `(x0, y0, x1, y1)` in pixels, far ends exclusive."""
        return self.predicted_boxes


class Localizer:
    """
    Runs a model once per image ([`see`]), and reads its maps as often as one likes ([`locate`]).

    Args:
        pipeline ([`WeaklySupervisedLocalizationPipeline`]): model and image processor.
    """

    def __init__(self, pipeline: WeaklySupervisedLocalizationPipeline):
        self.model = pipeline.model.eval()
        self.image_processor = pipeline.image_processor

    @property
    def localization_threshold(self) -> float:
        """The cut of the map that is stored with the model."""
        return float(self.image_processor.localization_threshold)

    @property
    def map_names(self) -> list[str]:
        """The maps that [`see`] gives: the mean first, then the spatial blocks, counted from 1."""
        last, count = self.model.config.num_hidden_layers, self.model.config.num_spatial_layers
        return [MEAN_MAP, *(f"block {block}" for block in range(last - count + 1, last + 1))]

    @property
    def class_names(self) -> list[str]:
        id2label = self.model.config.id2label
        return [id2label[label] for label in range(len(id2label))]

    @torch.inference_mode()
    def see(self, image: PIL.Image.Image) -> SeenImage:
        """The one forward pass."""
        image = as_rgb(upright(image))
        inputs = self.image_processor(image, return_tensors="pt").to(self.model.device, self.model.dtype)
        outputs = self.model(**inputs, output_spatial_maps=True)
        maps = [outputs.localization_map, *outputs.spatial_maps]
        named = dict(zip(self.map_names, (map_.float().cpu() for map_ in maps), strict=True))
        kept = ("logits", "class_scores", "class_maps")
        return SeenImage(image, {name: outputs[name].float().cpu() for name in kept if name in outputs}, named)

    def class_scores(self, seen: SeenImage) -> dict[str, float]:
        """Probability of each class."""
        scores = seen.outputs.get("class_scores", seen.outputs["logits"].softmax(-1))
        return dict(zip(self.class_names, scores[0].tolist(), strict=True))

    def locate(
        self,
        seen: SeenImage,
        localization_threshold: float | None = None,
        multiple_boxes: bool = False,
        map_name: str = MEAN_MAP,
    ) -> Place:
        """
        Cuts a map at a threshold; the model is not run.

        Args:
            seen ([`SeenImage`]): result of [`see`].
            localization_threshold (`float`, *optional*): from 0 to 1; the one stored with the model by default.
            multiple_boxes (`bool`, *optional*, defaults to `False`): a box for every connected part, not the largest only.
            map_name (`str`, *optional*, defaults to the mean): one of `map_names`.

        Returns:
            [`Place`]
        """
        result = self.image_processor.post_process_localization(
            ModelOutput(localization_map=seen.maps[map_name], **seen.outputs),
            target_sizes=[(seen.image.height, seen.image.width)],
            localization_threshold=localization_threshold,
            multiple_boxes=multiple_boxes,
        )[0]
        return Place(
            image=seen.image,
            localization_map=result["localization_map"].numpy(),
            predicted_boxes=result["boxes"].round().int().tolist(),
            labels=[self.class_names[label] for label in result["labels"].tolist()],
            scores=result["scores"].tolist(),
        )


def place_as_json(place: Place, localization_threshold: float, map_name: str) -> str:
    """What the download holds: the boxes, and how they came about."""
    names = ("xmin", "ymin", "xmax", "ymax")
    objects = [
        {"label": label, "score": score, "box": dict(zip(names, box, strict=True))}
        for label, score, box in zip(place.labels, place.scores, place.boxes, strict=True)
    ]
    content = {
        "width": place.image.width,
        "height": place.image.height,
        "localization_threshold": localization_threshold,
        "map": map_name,
        "objects": objects,
    }
    return json.dumps(content, indent=2)


def example_images(localizer: Localizer, folder: str | os.PathLike | None = None) -> list[str] | list[PIL.Image.Image]:
    """
    Images to begin with.

    Args:
        localizer ([`Localizer`]): the model.
        folder (`str` or `os.PathLike`, *optional*): where images lie.

    Returns:
        `list`: the folder's images by path, in the order of their names. Without a folder three freshly drawn emblems if
        those are what the model knows and the packages with their photographs are installed, else nothing.

    Raises:
        `ValueError`: if there is no image in the folder.
    """
    if folder is not None:
        paths = sorted(str(path) for path in Path(folder).glob("*") if has_image_suffix(path.name))
        if not paths:
            raise ValueError(f"There is no image ({', '.join(IMAGE_FORMATS)}) in the folder {folder}.")
        return paths
    if localizer.class_names != emblem_class_names():
        return []
    try:
        photographs = load_photographs("test")
    except ImportError:
        return []
    images = []
    for label in (9, 5, 1):
        random = np.random.default_rng([5, label])
        pixels, _ = draw_emblem(random, label, pattern_of_class(label), photographs, image_size=560)
        images.append(PIL.Image.fromarray(pixels))
    return images


def build_demo(localizer: Localizer, examples: Sequence[str | PIL.Image.Image] = ()) -> gr.Blocks:
    """
    The page.

    Args:
        localizer ([`Localizer`]): the model.
        examples (`Sequence`, *optional*): paths of images, or images, to begin with.

    Returns:
        `gradio.Blocks`: to `launch`.
    """
    with gr.Blocks(
        title="What is in the image, and where", analytics_enabled=False, delete_cache=(SECONDS_KEPT, SECONDS_KEPT)
    ) as demo:
        gr.Markdown(
            "# What is in the image, and where\n"
            "SAT learns from image labels alone. Its spatial token tells foreground from background; "
            "cut at a threshold, that map gives the box."
        )
        seen = gr.State(time_to_live=SECONDS_KEPT)
        with gr.Row():
            with gr.Column():
                image = image_input(examples)
                settings = setting_inputs(localizer)
            with gr.Column():
                shown = place_outputs()
                classes = gr.Label(num_top_classes=NUM_CLASSES_SHOWN, label="Classes", elem_id="classes")
        maps = gr.Gallery(
            label="Maps of the spatial blocks, and their mean",
            columns=len(localizer.map_names),
            height="auto",
            interactive=False,
            elem_id="maps",
        )
        image.change(partial(look, localizer), [image, *settings], [seen, classes, maps, *shown], api_name="localize")
        for setting in settings:
            # the newest setting counts, those that came while the last was drawn are passed over
            setting.change(
                partial(show, localizer),
                [seen, *settings],
                shown,
                show_progress="hidden",
                trigger_mode="always_last",
                api_visibility="private",
            )
    return demo


def image_input(examples: Sequence[str | PIL.Image.Image]) -> gr.Image:
    """Where an image is given, with those to begin with below."""
    # by path, so that it is decoded here
    image = gr.Image(type="filepath", image_mode=None, label="Image", sources=["upload", "clipboard"], elem_id="image")
    image.preprocess = path_of_upload
    if examples:
        gr.Examples([[example] for example in examples], inputs=image, label="Example images")
    return image


def setting_inputs(localizer: Localizer) -> list[gr.components.Component]:
    """What [`show`] is told beside the image, in its order."""
    own = localizer.localization_threshold
    return [
        gr.Slider(
            0,
            1,
            value=own,
            step=0.01,
            label="Localization threshold",
            info=f"Foreground is where the map is greater. The model's own is {own:g}.",
            elem_id="localization_threshold",
        ),
        gr.Slider(0, 1, value=0.5, step=0.05, label="Opacity of the map", elem_id="opacity"),
        gr.Checkbox(label="A box for every part, not the largest only", elem_id="multiple"),
        gr.Radio(localizer.map_names, value=MEAN_MAP, label="Map that the boxes are from", elem_id="map"),
    ]


def place_outputs() -> list[gr.components.Component]:
    """What [`show`] returns, in its order."""
    return [
        gr.Image(
            label="Place", format="png", interactive=False, buttons=["download", "fullscreen"], elem_id="drawing"
        ),
        gr.Dataframe(
            headers=["class", "score", "x0", "y0", "x1", "y1"],
            label="Boxes, in pixels of the image",
            interactive=False,
            elem_id="boxes",
        ),
        gr.DownloadButton("Download the boxes (JSON)", interactive=False, elem_id="download"),
    ]


def show(
    localizer: Localizer,
    seen: SeenImage | None,
    localization_threshold: float,
    opacity: float,
    multiple_boxes: bool,
    map_name: str,
) -> tuple:
    """Drawing, table of boxes and their file, for the sliders' setting; no forward pass."""
    if seen is None:
        return None, None, gr.DownloadButton(interactive=False)
    place = localizer.locate(seen, localization_threshold, multiple_boxes, map_name)
    rows = [
        [label, round(score, 3), *box]
        for label, score, box in zip(place.labels, place.scores, place.boxes, strict=True)
    ]
    path = Path(seen.folder.name, "boxes.json")
    write_text(path, place_as_json(place, localization_threshold, map_name))
    return draw_localization(place, opacity), rows, gr.DownloadButton(value=str(path), interactive=True)


def look(localizer: Localizer, path: str | None, *settings) -> tuple:
    """The forward pass, and what it shows."""
    if path is None:
        return None, None, [], *show(localizer, None, *settings)
    try:
        seen = localizer.see(read_image(path, Path(path).name))
    except ValueError as error:
        # Gradio shows messages as HTML, and this one has the name of a visitor's file
        raise gr.Error(html.escape(visible(str(error)))) from error
    places = [replace(localizer.locate(seen, map_name=name), predicted_boxes=()) for name in localizer.map_names]
    maps = [(draw_localization(place, 0.7), name) for place, name in zip(places, localizer.map_names, strict=True)]
    return seen, localizer.class_scores(seen), maps, *show(localizer, seen, *settings)


def path_of_upload(upload: gr.components.image.ImageData | None) -> str | None:
    """In the place of Gradio's way, which opens the file to look at its mode: any format, and before any limit."""
    return None if upload is None else upload.path


def launch_demo(
    model_name_or_path: str,
    host: str = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    device: str | None = None,
    images: str | os.PathLike | None = None,
    block: bool = True,
) -> gr.Blocks:
    """
    Loads a model and serves the page until it is interrupted.

    Args:
        model_name_or_path (`str`): repository or folder of a SAT model.
        host (`str`, *optional*, defaults to `"127.0.0.1"`): address to listen at.
        port (`int`, *optional*): port to listen at; a free one from 7860 by default.
        share (`bool`, *optional*, defaults to `False`): whether to open a public link through Gradio's relay.
        device (`str`, *optional*): where to run; Transformers chooses by default.
        images (`str` or `os.PathLike`, *optional*): folder of example images, see [`example_images`].
        block (`bool`, *optional*, defaults to `True`): whether to wait for the end.

    Returns:
        `gradio.Blocks`: the page, served.

    Raises:
        `ValueError`: as [`~transformers_sat.safe_loading.load_localizer`] and [`example_images`].
        `OSError`: if the port is taken.
    """
    localizer = Localizer(load_localizer(model_name_or_path, device=device))
    demo = build_demo(localizer, example_images(localizer, images))
    demo.launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=not block,
        max_file_size=MAX_FILE_SIZE,
        # fonts of the visitor's machine: nothing is fetched from a third party
        theme=gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        footer_links=[],
        ssr_mode=False,
    )
    return demo


__all__ = [
    "Localizer",
    "Place",
    "SeenImage",
    "build_demo",
    "example_images",
    "launch_demo",
    "place_as_json",
]
