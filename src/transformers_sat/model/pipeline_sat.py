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
"""The `weakly-supervised-localization` pipeline."""

from collections.abc import Iterator, Sequence
from types import GeneratorType

import numpy as np
import PIL.Image
import torch
from transformers import Pipeline

from .inputs_sat import ACCEPTED, to_image
from .localization_sat import Components


class WeaklySupervisedLocalizationPipeline(Pipeline):
    """
    What is in an image and where: class, box, mask and localization map in the image's own pixels.

    Example:

    ```python
    >>> import transformers_sat
    >>> from transformers import pipeline

    >>> localizer = pipeline("weakly-supervised-localization", model="org/sat-deit-s-cub")
    >>> localizer("bird.jpg")[0]["box"]
    {'xmin': 17, 'ymin': 40, 'xmax': 203, 'ymax': 188}
    ```"""

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = False

    def __call__(self, inputs=None, *, images=None, **kwargs):
        """
        Localizes what is in the images.

        Args:
            inputs (`str`, `os.PathLike`, `bytes`, `PIL.Image`, `np.ndarray`, `torch.Tensor`, or several of them):
                Path, URL, base64, content of a file, or image: arrays have the shape `(height, width, 3)`, tensors
                `(3, height, width)`, both `uint8` or floating-point values from 0.0 to 1.0. Several are a list, a generator
                or a data set, whose rows have them as `image`. Transparent images are laid on white.
            images: another name for `inputs`.
            timeout (`float`, *optional*): seconds to wait for a URL; 60 by default.
            threshold (`float`, *optional*):
                The least score, in [0, 1]: results with a smaller one are left out. By default 0, or 0.5 for a multi-label
                model unless `top_k` is given.
            localization_threshold (`float`, *optional*):
                Cut of the normalized map, in [0, 1]; the one saved with the model by default.
            top_k (`int`, *optional*):
                Number of most probable classes to return; by default 1, or all that reach `threshold` for a multi-label
                model.
            multiple_boxes (`bool`, *optional*, defaults to `False`):
                Whether to return every connected component, instead of the largest alone.

        Returns:
            `list[dict]` for one image, a list of them for a list, an iterator of them for a generator or a data set: per
            class (and component)

            - **label** (`str`): name of the class.
            - **score** (`float`): its probability (see `SATImageProcessor.post_process_localization`).
            - **box** (`dict[str, int]`): `xmin`, `ymin`, `xmax`, `ymax` in pixels, far ends exclusive.
            - **mask** (`PIL.Image`): foreground 255, background 0, of the image's size; classes share that of a component.
            - **localization_map** (`np.ndarray` of shape `(height, width)`): normalized map, in [0, 1]; of a multi-label
              model that of the class.
        """
        if (inputs is None) == (images is None):
            raise TypeError(f"One of `inputs` and `images` must be given. {ACCEPTED}.")
        inputs = _in_a_form_of_transformers(images if inputs is None else inputs)
        return [] if isinstance(inputs, list) and not inputs else super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self, threshold=None, localization_threshold=None, top_k=None, multiple_boxes=None, timeout=None
    ):
        given = {
            "threshold": threshold,
            "localization_threshold": localization_threshold,
            "top_k": top_k,
            "multiple_boxes": multiple_boxes,
        }
        preprocessing = {} if timeout is None else {"timeout": timeout}
        return preprocessing, {}, {name: value for name, value in given.items() if value is not None}

    def preprocess(self, image, timeout=None):
        # upright, as the stock pipelines do; the boxes are in the upright image's pixels
        image = to_image(image, timeout)
        inputs = self.image_processor(image, return_tensors="pt").to(self.dtype)
        return {"target_size": (image.height, image.width), **inputs}

    def _forward(self, model_inputs):
        target_size = model_inputs.pop("target_size")
        outputs = self.model(**model_inputs)
        # flat, so that the base class can take batches apart
        return outputs.__class__({"target_size": target_size, **outputs})

    def postprocess(self, model_outputs, **parameters):
        result = self.image_processor.post_process_localization(
            model_outputs, target_sizes=[model_outputs["target_size"]], **parameters
        )[0]
        places = result["masks"].places
        # one for all that share it
        maps = [result["localization_map"].numpy()] * len(places)
        if "class_localization_maps" in result:
            maps = [class_map.numpy() for class_map in result["class_localization_maps"]]
        # classes can share a place
        masks = {place: mask_image(*place) for place in set(places)}
        return [
            {
                "label": self.model.config.id2label[label],
                "score": score,
                "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), map(round, box))),
                "mask": masks[place],
                "localization_map": localization_map,
            }
            for score, label, box, place, localization_map in zip(
                result["scores"].tolist(), result["labels"].tolist(), result["boxes"].tolist(), places, maps
            )
        ]


def _in_a_form_of_transformers(inputs):
    """Several images as the base class knows them: a list, a generator or a torch data set. One image as it is."""
    if isinstance(inputs, tuple):
        return list(inputs)
    is_several = isinstance(inputs, Iterator) or hasattr(inputs, "column_names") or isinstance(inputs, Sequence)
    is_one = isinstance(inputs, str | bytes | bytearray) or hasattr(inputs, "read")
    if is_several and not is_one and not isinstance(inputs, list | GeneratorType | torch.utils.data.Dataset):
        return (image for image in inputs)
    return inputs


def mask_image(components: Components, index: int) -> PIL.Image.Image:
    """The mask of a component as an image: foreground 255, background 0."""
    pixels = np.zeros(components.labels.shape, dtype=np.uint8)
    components.fill(index, pixels, 255)
    return PIL.Image.fromarray(pixels)


__all__ = ["WeaklySupervisedLocalizationPipeline"]
