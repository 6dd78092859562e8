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
"""
What an Inference Endpoint of the Hub runs: images and parameters in, JSON out, for three tasks of the Hub's API.

The file lies beside the weights and is imported on its own, so it imports nothing from the package.
"""

import base64
import binascii
import io
import os
import re
import string
from collections.abc import Sequence

import PIL.Image
import torch
from transformers import Pipeline, PreTrainedModel, pipeline


MAX_IMAGES = 32
BATCH_SIZE = 8
# Of an image's answer: each class has all its masks again.
MAX_MASK_BYTES = 4_000_000
MAX_MESSAGE = 400
CORNERS = ("xmin", "ymin", "xmax", "ymax")
WHITESPACE = string.whitespace.encode()

COMMON_PARAMETERS = ("task", "threshold", "top_k")
PLACE_PARAMETERS = ("localization_threshold", "multiple_boxes")
# The parameters of each task; those of a task in the Hub's API are among them.
PARAMETERS = {
    "object-detection": (*COMMON_PARAMETERS, *PLACE_PARAMETERS),
    "image-segmentation": (
        *COMMON_PARAMETERS,
        *PLACE_PARAMETERS,
        "mask_threshold",
        "overlap_mask_area_threshold",
        "subtask",
    ),
    "image-classification": (*COMMON_PARAMETERS, "function_to_apply"),
}
TASKS = tuple(PARAMETERS)


class RequestError(ValueError):
    """A request that is not answered, through its own fault. Its message goes to whoever sent it."""

    def __init__(self, message: str):
        super().__init__(clean_message(message))


class EndpointHandler:
    """
    A SAT model behind the Hub's inference API.

    Args:
        path (`str`, *optional*):
            Folder of the model; the one that holds this file by default. Its code is run: it is where this code is from.
        localizer ([`WeaklySupervisedLocalizationPipeline`], *optional*):
            The pipeline to use instead of loading one.
        max_pixels (`int`, *optional*):
            Largest width times height of an image; the image processor's limit by default.

    Raises:
        `ValueError`: if weights are missing in the folder or of another shape, or if the model does not answer for a first
            image, or with values that are not finite.

    Example:

    ```python
    >>> handler = EndpointHandler("sat-deit-s-cub")
    >>> handler({"inputs": image, "parameters": {"localization_threshold": 0.5}})
    [{'score': 0.93, 'label': 'Sooty Albatross', 'box': {'xmin': 17, 'ymin': 40, 'xmax': 203, 'ymax': 188}}]
    ```"""

    def __init__(self, path: str = "", localizer: Pipeline | None = None, max_pixels: int | None = None):
        if localizer is None:
            folder = path or os.path.dirname(os.path.abspath(__file__))
            localizer = pipeline("weakly-supervised-localization", model=folder, trust_remote_code=True)
            check_weights(localizer.model, folder)
        self.localizer = localizer
        self.limits = {} if max_pixels is None else {"max_pixels": max_pixels}
        self.check_model()

    def __call__(self, data: dict) -> list:
        """
        Answers one request.

        Args:
            data (`dict`): its entries are

                - **inputs** (`PIL.Image.Image`, `bytes`, `str`, or a list of at most 32): images, decoded, as the bytes
                  of a file (BMP, GIF, JPEG, PNG, TIFF, WebP), or those as base64 with or without a `data:` header. Nothing
                  is fetched: addresses are refused.
                - **parameters** (`dict`, *optional*), all optional:
                    - **task** (`str`): `object-detection` (default), `image-segmentation` or `image-classification`.
                    - **threshold** (`float` in [0, 1]): the least score: results with a smaller one are left out; none by
                      default, or 0.5 for the detections and segments of a multi-label model if there is no `top_k`.
                    - **top_k** (`int`): most classes to return; 5 for classification by default, otherwise 1, or all of a
                      multi-label model.
                    - **localization_threshold** (`float` in [0, 1]): cut of the localization map; the one saved with
                      the model by default. Not for classification.
                    - **multiple_boxes** (`bool`, defaults to `False`): whether to return every connected component,
                      instead of the largest alone. Not for classification.
                    - **mask_threshold** (`float` in [0, 1]): the name that the Hub's API has for `localization_threshold`
                      in segmentation.
                    - **subtask**, **overlap_mask_area_threshold**: the Hub's, for segmentation. Only `"instance"` fits,
                      and masks never overlap, so neither changes anything.
                    - **function_to_apply** (`str`): `"softmax"` (default), `"sigmoid"` (default of a multi-label model) or
                      `"none"`, for classification.

        Returns:
            `list[dict]` for one image, a list of them for a list; the most probable class comes first, then the
            largest component:

            - detection: **score** (`float`), **label** (`str`), **box** (`dict[str, int]`: `xmin`, `ymin`, `xmax`, `ymax`
              in pixels of the upright image, far ends exclusive).
            - segmentation: **score**, **label**, **mask** (`str`: a PNG as base64, foreground 255, background 0).
            - classification: **score**, **label**.

        Raises:
            `RequestError`, a `ValueError`: if the request is not as described; the message says what is wrong with which
                part.
            `RuntimeError`: if the model's values are not finite.
        """
        images, parameters = self.read(data)
        answers = []
        for start in range(0, len(images), BATCH_SIZE):
            prepared = [self.prepare(image) for image in images[start : start + BATCH_SIZE]]
            answers += [self.answer(output, parameters) for output in self.forward(prepared)]
        return answers if isinstance(data["inputs"], (list, tuple)) else answers[0]

    def read(self, data: dict) -> tuple[list, dict]:
        """The images of a request, not decoded yet, and its parameters, checked and completed."""
        if not isinstance(data, dict) or "inputs" not in data:
            raise RequestError("A request must be an object with `inputs` (an image) and, if wanted, `parameters`.")
        unknown = set(data) - {"inputs", "parameters"}
        if unknown:
            raise RequestError(
                f"Unknown entries in the request: {_names(unknown)}; expected `inputs` and `parameters`."
            )
        inputs = data["inputs"]
        images = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if not 1 <= len(images) <= MAX_IMAGES:
            raise RequestError(f"`inputs` must hold between 1 and {MAX_IMAGES} images, got {len(images)}.")
        return images, check_parameters(data.get("parameters"))

    def check_model(self):
        """
        Answers a first image for each task, before there are requests.

        Raises:
            `ValueError`: if that fails, as where model and image processor do not fit, or if logits or map are not finite.
        """
        try:
            (output,) = self.forward([self.prepare(self.first_image())])
            for task in TASKS:
                self.answer(output, check_parameters({"task": task}))
            # every class has a name
            every_class = {"task": "image-classification", "top_k": self.localizer.model.config.num_labels}
            self.answer(output, check_parameters(every_class))
        except Exception as error:
            raise ValueError(
                f"The model does not answer: a first image ended in {type(error).__name__}: {clean_message(str(error))} "
                "Check its weights, and that the sizes of its image processor are those of its config."
            ) from error

    def first_image(self) -> PIL.Image.Image:
        """An image to try the model with; not square, as some image processors leave images their shape."""
        return PIL.Image.linear_gradient("L").resize((320, 240)).convert("RGB")

    def prepare(self, image) -> dict:
        """Decodes one image: its size and the model's input."""
        if isinstance(image, str):
            image = decode_base64(image)
        if isinstance(image, (bytes, bytearray)):
            if not image:
                raise RequestError("The image in `inputs` is empty (0 bytes).")
            try:
                image = self.localizer.image_processor.decode_image(io.BytesIO(image), "in `inputs`", **self.limits)
            except ValueError as error:
                raise RequestError(str(error)) from error
        elif not isinstance(image, PIL.Image.Image):
            raise RequestError(
                f"An image in `inputs` must be base64, the bytes of a file or a PIL image, got {type(image).__name__}."
            )
        try:
            return self.localizer.preprocess(image)
        except ValueError as error:
            raise RequestError(str(error)) from error

    def forward(self, prepared: list[dict]) -> list[dict]:
        """Runs the model on what `prepare` made of some images, as one batch."""
        outputs = self.localizer.forward(
            {
                "target_size": [inputs["target_size"] for inputs in prepared],
                "pixel_values": torch.cat([inputs["pixel_values"] for inputs in prepared]),
            }
        )
        return [
            {"target_size": size, **{name: outputs[name][row : row + 1] for name in OUTPUTS if name in outputs}}
            for row, size in enumerate(outputs["target_size"])
        ]

    def check_finite(self, output: dict):
        """`RuntimeError` if the model's values for an image are NaN or infinite."""
        if not all(output[name].isfinite().all() for name in ("logits", "localization_map")):
            raise RuntimeError("The model's values for an image are not finite (NaN or infinite).")

    def answer(self, output: dict, parameters: dict) -> list[dict]:
        """What one request is told of one image."""
        self.check_finite(output)
        id2label = self.localizer.model.config.id2label
        top_k, threshold = parameters["top_k"], parameters["threshold"]
        if top_k is not None:
            top_k = min(top_k, len(output["logits"][0]))
        if parameters["task"] == "image-classification":
            function = parameters["function_to_apply"] or ("sigmoid" if "class_scores" in output else "softmax")
            scores, labels = SCORES[function](output["logits"][0].float()).topk(top_k)
            return [
                {"score": score, "label": id2label[label]}
                for score, label in zip(scores.tolist(), labels.tolist())
                # with "none" a score is a logit, of any size
                if threshold is None or score >= threshold
            ]
        (result,) = self.localizer.image_processor.post_process_localization(
            output,
            target_sizes=[output["target_size"]],
            top_k=top_k,
            **{name: parameters[name] for name in ("threshold", "localization_threshold", "multiple_boxes")},
        )
        if parameters["task"] == "object-detection":
            name, shapes = "box", [dict(zip(CORNERS, map(round, box))) for box in result["boxes"].tolist()]
        else:
            name, shapes = "mask", encode_masks(result["masks"])
        return [
            {"score": score, "label": id2label[label], name: shape}
            for score, label, shape in zip(result["scores"].tolist(), result["labels"].tolist(), shapes)
        ]


# Of the model's outputs, what answers are made of.
OUTPUTS = ("logits", "localization_map", "class_scores", "class_maps")
SCORES = {"softmax": lambda logits: logits.softmax(-1), "sigmoid": torch.sigmoid, "none": lambda logits: logits}


def check_weights(model: PreTrainedModel, folder: str):
    """
    Looks once more at the files of a loaded model, as Transformers only logs what it has made up.

    Args:
        model (`PreTrainedModel`): the model.
        folder (`str`): its folder.

    Raises:
        `ValueError`: if weights are missing or of another shape.
    """
    _, found = type(model).from_pretrained(folder, output_loading_info=True)
    wrong = sorted({*found["missing_keys"], *(str(entry[0]) for entry in found["mismatched_keys"])})
    if wrong:
        raise ValueError(
            f"{folder}: {len(wrong)} weights of the model are missing or of another shape, such as {', '.join(wrong[:3])}; "
            "get the model again."
        )


def check_parameters(parameters: dict | None) -> dict:
    """
    The parameters of a request; `None` stands for one that is not given, and has a default that depends on the model.

    Raises:
        `RequestError`: if one is unknown to the task, or of the wrong type or range.
    """
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise RequestError(f"`parameters` must be an object, got {type(parameters).__name__}.")
    given = {name: value for name, value in parameters.items() if value is not None}
    task = given.get("task", "object-detection")
    if not isinstance(task, str) or task not in TASKS:
        raise RequestError(f"`task` must be one of {list(TASKS)}, got {_short(task)}.")
    unknown = set(given) - set(PARAMETERS[task])
    if unknown:
        raise RequestError(f"Unknown parameters for {task}: {_names(unknown)}; there are {sorted(PARAMETERS[task])}.")

    for name in ("threshold", "localization_threshold", "mask_threshold", "overlap_mask_area_threshold"):
        if name in given and not (_is_number(given[name]) and 0 <= given[name] <= 1):
            raise RequestError(f"`{name}` must be a number between 0 and 1, got {_short(given[name])}.")
    top_k = given.get("top_k", 5 if task == "image-classification" else None)
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
        raise RequestError(f"`top_k` must be a whole number from 1, got {_short(top_k)}.")
    multiple_boxes = given.get("multiple_boxes", False)
    if not isinstance(multiple_boxes, bool):
        raise RequestError(f"`multiple_boxes` must be true or false, got {_short(multiple_boxes)}.")
    if given.get("subtask", "instance") != "instance":
        raise RequestError(
            f"`subtask` must be 'instance', the only one this model has, got {_short(given['subtask'])}."
        )
    function_to_apply = given.get("function_to_apply")
    if function_to_apply is not None and (not isinstance(function_to_apply, str) or function_to_apply not in SCORES):
        raise RequestError(f"`function_to_apply` must be one of {list(SCORES)}, got {_short(function_to_apply)}.")
    if {"localization_threshold", "mask_threshold"} <= set(given):
        raise RequestError("`localization_threshold` and `mask_threshold` are the same parameter; give one of them.")
    return {
        "task": task,
        "threshold": given.get("threshold"),
        "top_k": top_k,
        "localization_threshold": given.get("localization_threshold", given.get("mask_threshold")),
        "multiple_boxes": multiple_boxes,
        "function_to_apply": function_to_apply,
    }


def decode_base64(text: str) -> bytes:
    """
    The bytes of base64 text, with or without a `data:` header and line breaks.

    Raises:
        `RequestError`: if it is something else, such as an address.
    """
    header, comma, content = text.partition(",")
    if comma and header.startswith("data:"):
        if not header.endswith(";base64"):
            raise RequestError("A `data:` image in `inputs` must be in base64 (`data:image/png;base64,...`).")
        text = content
    elif "://" in text[:20]:
        raise RequestError(
            f"`inputs` is an address ({_short(text)}), and nothing is fetched: send the image itself, as base64."
        )
    try:
        return base64.b64decode(text.encode("ascii").translate(None, WHITESPACE), validate=True)
    except UnicodeEncodeError as error:
        raise RequestError(
            f"The image in `inputs` is not valid base64: character {error.start} is none of ASCII."
        ) from error
    except binascii.Error as error:
        raise RequestError(f"The image in `inputs` is not valid base64: {error}.") from error


def encode_masks(masks: Sequence[torch.Tensor]) -> list[str]:
    """
    The masks of a result as PNG in base64, foreground 255, background 0; those that classes share are encoded once.

    Raises:
        `RequestError`: if they would take more than `MAX_MASK_BYTES`.
    """
    encoded = {}
    num_bytes = 0
    for row, place in enumerate(masks.places):
        if place not in encoded:
            file = io.BytesIO()
            PIL.Image.fromarray(masks[row].numpy()).convert("L").save(file, format="PNG")
            encoded[place] = base64.b64encode(file.getvalue()).decode("ascii")
        num_bytes += len(encoded[place])
    if num_bytes > MAX_MASK_BYTES:
        raise RequestError(
            f"The masks of an image would take {num_bytes} bytes, more than the {MAX_MASK_BYTES} that are sent; ask for "
            "fewer classes (`top_k`), a larger `threshold` or no `multiple_boxes`."
        )
    return [encoded[place] for place in masks.places]


def clean_message(text: str) -> str:
    """
    A message as a client may read it: a line of at most `MAX_MESSAGE` characters without Python's names for objects, such
    as `<_io.BytesIO object at 0x7f3a...>` in what Pillow says.
    """
    text = text[: 4 * MAX_MESSAGE].encode("utf-8", "backslashreplace").decode("utf-8")
    rest = None
    while text != rest:  # one may hold another
        rest, text = text, _OBJECT.sub("", text)
    text = " ".join(_ADDRESS.sub("", text).split())
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 3]}..."


_OBJECT = re.compile(r" ?<[A-Za-z_][^<>]*(?:>|$)")
_ADDRESS = re.compile(r"\bat 0x[0-9A-Fa-f]+")


def _short(value) -> str:
    """What was given, for an error: a plain value in at most 100 characters, of others their kind; it can be megabytes."""
    if isinstance(value, str):
        text = repr(value[:100])
    elif value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 10**100):
        text = repr(value)
    else:
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _names(names: set) -> str:
    """A few of them, for an error."""
    shown = sorted(_short(name) for name in names)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


__all__ = [
    "MAX_IMAGES",
    "PARAMETERS",
    "TASKS",
    "EndpointHandler",
    "RequestError",
    "check_parameters",
    "clean_message",
]
