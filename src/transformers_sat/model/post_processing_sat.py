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
"""What SAT's image processors share, whatever their back end: reading images, and boxes and masks in their pixels."""

import enum
import math
import os
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
import torch
from transformers.image_processing_outputs import SemanticSegmentationPostProcessorOutput
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs
from transformers.utils import ModelOutput, logging

from .configuration_sat import MAX_INPUT_SIDE, copy_code
from .images_sat import IMAGE_FORMATS, MAX_IMAGE_PIXELS, ImageTooLargeError, fetch_file, read_image
from .inputs_sat import in_eight_bits, on_white
from .localization_sat import (
    Components,
    Masks,
    class_localization_map,
    locate,
    map_in_image,
    normalize_map,
)


logger = logging.get_logger(__name__)


# Of a PIL image, when its mode is converted.
PIXELS_AT_ONCE = 2**20

# The least score of a class that a multi-label model has found.
MULTI_LABEL_THRESHOLD = 0.5

# Far above any mean, deviation or factor for pixels.
MAX_VALUE = 1e6


class SATImageProcessorKwargs(ImagesKwargs, total=False):
    r"""
    localization_threshold (`float`, *optional*, defaults to `self.localization_threshold`):
        Foreground is where the normalized localization map is strictly greater than this value, in [0, 1]. It belongs to
        the model: calibrated on a validation split and saved with the processor.
    """

    localization_threshold: float | int


class SATPostProcessingMixin:
    """
    Reading of images and post-processing for SAT's image processors.

    All post-processing follows the paper's evaluation: the map is min-max normalized at the model's grid, laid over the
    image (bilinear), cut at the threshold (strictly greater), and the largest 8-connected component gives the mask
    and the box. A map that is constant, or nowhere above the threshold, says nothing about the place: box and mask are
    then all that the model saw of the image. So they are for a map with NaN or infinite values, with a warning.

    Raises:
        `ValueError`: if a setting has another type or is out of its range; sizes are at most 4096 px a side.
    """

    def __init__(self, **kwargs):
        # as they are given, since the back ends stumble over sizes of other forms
        for name in ("size", "crop_size"):
            _check_size(name, kwargs.get(name))
        super().__init__(**kwargs)
        self._check_settings()

    def _check_settings(self):
        for name in ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_pad"):
            value = getattr(self, name)
            if not isinstance(value, bool | None):
                raise ValueError(f"`{name}` must be true or false, got {value!r}.")
        if self.do_pad:
            raise ValueError("`do_pad` must be false: post-processing undoes a resize and a centre crop alone.")
        if self.do_center_crop and not (self.crop_size.height and self.crop_size.width):
            raise ValueError(f"`crop_size` must be a height and a width, got {dict(self.crop_size)}.")
        threshold = self.localization_threshold
        if not _is_number(threshold) or not 0.0 <= threshold <= 1.0:
            raise ValueError(f"`localization_threshold` must be a number between 0 and 1, got {threshold!r}.")
        if not _is_number(self.rescale_factor) or not 0.0 < self.rescale_factor <= MAX_VALUE:
            raise ValueError(f"`rescale_factor` must be a number above 0, got {self.rescale_factor!r}.")
        for name in ("image_mean", "image_std"):
            values = getattr(self, name)
            channels = values if isinstance(values, tuple) else (values,) * 3
            if len(channels) != 3 or not all(_is_number(value) and abs(value) <= MAX_VALUE for value in channels):
                raise ValueError(f"`{name}` must be a number, or one for each of three channels, got {values!r}.")
            if name == "image_std" and min(channels) <= 0:
                raise ValueError(f"`image_std` must be positive, got {values!r}.")
        # torchvision's own modes are an enumeration that is not a number
        if not isinstance(self.resample, enum.Enum) and self.resample not in list(PILImageResampling):
            raise ValueError(f"`resample` must be one of Pillow's filters, 0 to 5, got {self.resample!r}.")

    def to_dict(self) -> dict:
        """As Transformers' own, which would name one back end's code, and not the other's."""
        settings = super().to_dict()
        if settings.get("auto_map"):
            settings["auto_map"] = {"AutoImageProcessor": code_of_back_ends()}
        return settings

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs):
        """As Transformers' own; with the code, where the settings name it, as those of a published model do."""
        if getattr(self, "auto_map", None):
            copy_code(save_directory)
        return super().save_pretrained(save_directory, **kwargs)

    def fetch_images(self, image_url_or_urls):
        """
        Loads paths and URLs as upright PIL images (the EXIF orientation is applied); other images pass unchanged.

        Raises:
            [`ImageTooLargeError`]: if an image has more pixels, or a longer side, than is decoded.
            `ValueError`: if a file cannot be decoded, or an address not be fetched; the message has its path or address.
        """
        if isinstance(image_url_or_urls, (list, tuple)):
            return [self.fetch_images(image) for image in image_url_or_urls]
        if isinstance(image_url_or_urls, str):
            is_file = os.path.isfile(image_url_or_urls)
            return self.decode_image(
                image_url_or_urls if is_file else fetch_file(image_url_or_urls), image_url_or_urls
            )
        return super().fetch_images(image_url_or_urls)

    def decode_image(
        self,
        file: str | os.PathLike | bytes | BinaryIO,
        name: str,
        formats: Sequence[str] | None = None,
        max_pixels: int = MAX_IMAGE_PIXELS,
    ) -> PIL.Image.Image:
        """
        Reads an upright PIL image (the EXIF orientation is applied). Its size is looked at before it is decoded.

        Args:
            file (`str`, `os.PathLike`, `bytes` or binary file): path or content.
            name (`str`): what errors call it.
            formats (`Sequence[str]`, *optional*): those of `IMAGE_FORMATS` to accept; all by default.
            max_pixels (`int`, *optional*, defaults to `MAX_IMAGE_PIXELS`): width times height, at most.

        Raises:
            [`ImageTooLargeError`]: if the image has more pixels, or a longer side, than is decoded.
            `ValueError`: if it cannot be decoded.
        """
        return read_image(file, name, max_pixels, IMAGE_FORMATS if formats is None else formats)

    def preprocess(self, images, *args, **kwargs):
        """As the back end does it; what is for the model's output is refused instead of passed over."""
        if "localization_threshold" in kwargs:
            raise ValueError(
                "`localization_threshold` changes nothing about the model's input: give it to `post_process_localization`, "
                "or to the image processor when it is made."
            )
        if kwargs.get("do_rescale", self.do_rescale) and _is_rescaled(images):
            logger.warning_once(
                "Images with values from 0.0 to 1.0 are rescaled once more, and then nearly black: pass `do_rescale=False`."
            )
        return super().preprocess(images, *args, **kwargs)

    def process_image(self, image, **kwargs):
        """
        As the back end does it, after laying transparent images on white, and bringing those of 16 bits to the 8 bits that
        `rescale_factor` is for.
        """
        strips = []
        for strip in _strips(image):
            strips.append(super().process_image(_as_plain(strip), **kwargs))
        if len(strips) == 1:
            return strips[0]
        return torch.cat(strips, dim=1) if self.backend == "torchvision" else np.concatenate(strips, axis=1)

    def resize(self, image, size, **kwargs):
        """As the back end does it, unless a strip would fill the memory once its shorter side is as long as wanted."""
        shorter, longer = sorted(image.shape[-2:])
        if size.shortest_edge and not size.longest_edge:
            resized = size.shortest_edge * longer // shorter
            if size.shortest_edge * resized > MAX_IMAGE_PIXELS:
                raise ImageTooLargeError(
                    f"An image with sides of {longer} and {shorter} pixels would have {resized} x {size.shortest_edge} after "
                    f"the resize to `shortest_edge`, more than {MAX_IMAGE_PIXELS} pixels; cut it up first."
                )
        return super().resize(image, size, **kwargs)

    def post_process_localization(
        self,
        outputs: ModelOutput,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        *,
        threshold: float | None = None,
        localization_threshold: float | None = None,
        top_k: int | None = None,
        multiple_boxes: bool = False,
    ) -> list[dict]:
        """
        Turns the output of [`SATForWeaklySupervisedLocalization`] into classes, boxes and masks in original pixels.

        Args:
            outputs ([`SATForWeaklySupervisedLocalizationOutput`]):
                Output of the model for images that this processor prepared with its own settings.
            target_sizes (`torch.Tensor` of shape `(batch_size, 2)` or list of `tuple[int, int]`, *optional*):
                Height and width of each original image. The size that the model was given by default.
            threshold (`float`, *optional*):
                The least score, in [0, 1]: rows with a smaller one are left out. By default 0, or 0.5 for a multi-label
                model unless `top_k` is given.
            localization_threshold (`float`, *optional*):
                Cut of the normalized map, in [0, 1]; `self.localization_threshold` by default.
            top_k (`int`, *optional*):
                Number of most probable classes to return; by default 1, or all for a multi-label model, of which `threshold`
                chooses. The map is the same for all, so each gets the same boxes; where `outputs` have the `class_maps` of
                a multi-label model each has its own, see [`class_localization_map`].
            multiple_boxes (`bool`, *optional*, defaults to `False`):
                Whether to return every connected component, instead of the largest alone.

        Returns:
            `list[dict]`: one dictionary per image, whose first four entries have one row per class and component, the
            most probable class first, then the largest component:

            - **scores** (`torch.FloatTensor` of shape `(n,)`): probability of the class; with `multiple_boxes` times the
              component's largest value in the normalized map.
            - **labels** (`torch.LongTensor` of shape `(n,)`): classes.
            - **boxes** (`torch.FloatTensor` of shape `(n, 4)`): corners `(x0, y0, x1, y1)` in pixels, far ends exclusive.
            - **masks** ([`Masks`], a sequence of length `n`): foreground; `masks[0]` is a `torch.BoolTensor` of shape
              `(height, width)`, made when it is asked for, and `masks[:]` all of them as one of shape `(n, height, width)`.
            - **localization_map** (`torch.FloatTensor` of shape `(height, width)`): normalized map, in [0, 1]; 0 where
              the model did not see the image.
            - **class_localization_maps** (`list[torch.FloatTensor]`), of a multi-label model with `class_maps` alone: the
              normalized map of each row.

        Raises:
            `ValueError`: if `outputs` are of another model, `target_sizes` are not one (height, width) per image,
                `threshold` or `localization_threshold` is not a number in [0, 1], `top_k` no whole number in [1, number
                of classes] or `multiple_boxes` neither true nor false.
        """
        if threshold is not None:
            _check_share("threshold", threshold)
        if not isinstance(multiple_boxes, bool):
            raise ValueError(f"`multiple_boxes` must be true or false, got {_short(multiple_boxes)}.")
        probabilities, maps, images = self._check_outputs(outputs, target_sizes)
        num_labels = probabilities.shape[1]
        is_multi_label = outputs.get("class_scores") is not None
        if threshold is None:
            threshold = MULTI_LABEL_THRESHOLD if is_multi_label and top_k is None else 0.0
        if top_k is None:
            top_k = num_labels if is_multi_label else 1
        if isinstance(top_k, bool) or not isinstance(top_k, Integral) or not 1 <= top_k <= num_labels:
            raise ValueError(f"`top_k` must be a whole number between 1 and {num_labels}, got {_short(top_k)}.")

        class_maps = _class_maps(outputs)
        options = {
            "threshold": threshold,
            "localization_threshold": localization_threshold,
            "multiple_boxes": multiple_boxes,
        }
        top_probabilities, top_labels = probabilities.topk(top_k, dim=1)
        results = []
        for row, (localization_map, image) in enumerate(zip(maps, images)):
            scores, labels = top_probabilities[row], top_labels[row]
            if class_maps is None:
                results.append(self._rows_of_map(localization_map, image, scores, labels, **options))
                continue
            # no part of a map can make a smaller probability larger
            kept = ~(scores < threshold)
            results.append(
                self._rows_of_classes(
                    localization_map,
                    class_maps[row],
                    image,
                    scores[kept],
                    labels[kept],
                    **options,
                )
            )
        return results

    def _rows_of_map(
        self,
        localization_map: torch.Tensor,
        image: tuple,
        probabilities: torch.Tensor,
        labels: torch.Tensor,
        *,
        threshold: float,
        localization_threshold: float | None,
        multiple_boxes: bool,
    ) -> dict:
        """What `post_process_localization` gives of one image, for classes that share a map."""
        in_pixels, components = self._locate(localization_map, *image, localization_threshold, multiple_boxes)
        peaks = torch.ones(len(components))
        if multiple_boxes:
            peaks = torch.tensor([components.peak(index, in_pixels.numpy()) for index in range(len(components))])
        scores = probabilities[:, None] * peaks
        # a score that is not a number is no small one: it is seen, not left out
        classes, places = (~(scores < threshold)).nonzero(as_tuple=True)
        return {
            "scores": scores[classes, places],
            "labels": labels[classes],
            "boxes": torch.from_numpy(components.boxes).float()[places],
            "masks": Masks([(components, place) for place in places.tolist()], in_pixels.shape),
            "localization_map": in_pixels,
        }

    def _rows_of_classes(
        self,
        localization_map: torch.Tensor,
        class_maps: torch.Tensor,
        image: tuple,
        probabilities: torch.Tensor,
        labels: torch.Tensor,
        **options,
    ) -> dict:
        """What `post_process_localization` gives of one image, for classes with maps of their own."""
        # without a class: the map, and entries of no rows
        whole = self._rows_of_map(localization_map, image, probabilities[:0], labels[:0], **options)
        parts = [
            self._rows_of_map(
                class_localization_map(localization_map, class_maps[label]),
                image,
                probabilities[row : row + 1],
                labels[row : row + 1],
                **options,
            )
            for row, label in enumerate(labels.tolist())
        ]
        return {
            **{name: torch.cat([part[name] for part in (whole, *parts)]) for name in ("scores", "labels", "boxes")},
            "masks": Masks([place for part in parts for place in part["masks"].places], whole["masks"].size),
            "localization_map": whole["localization_map"],
            "class_localization_maps": [part["localization_map"] for part in parts for _ in part["labels"]],
        }

    def post_process_object_detection(
        self,
        outputs: ModelOutput,
        threshold: float = 0.5,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        *,
        localization_threshold: float | None = None,
        multiple_boxes: bool = False,
    ) -> list[dict[str, torch.Tensor]]:
        """
        Detections as the `object-detection` pipeline expects them: the most probable class and its box; of a multi-label
        model all classes that reach `threshold`, which may be none.

        Args:
            outputs ([`SATForWeaklySupervisedLocalizationOutput`]): output of the model.
            threshold (`float`, *optional*, defaults to 0.5):
                The least score, in [0, 1]: detections with a smaller one are left out.
            target_sizes (`torch.Tensor` or list of `tuple[int, int]`, *optional*):
                Height and width of each original image. The size that the model was given by default.
            localization_threshold (`float`, *optional*):
                Cut of the normalized map, in [0, 1]; `self.localization_threshold` by default.
            multiple_boxes (`bool`, *optional*, defaults to `False`): see `post_process_localization`.

        Returns:
            `list[dict]`: per image `scores`, `labels` and `boxes` as in `post_process_localization`.

        Raises:
            `ValueError`: as `post_process_localization`.
        """
        _check_share("threshold", threshold)
        results = self.post_process_localization(
            outputs,
            target_sizes,
            threshold=threshold,
            localization_threshold=localization_threshold,
            multiple_boxes=multiple_boxes,
        )
        return [{name: result[name] for name in ("scores", "labels", "boxes")} for result in results]

    def post_process_instance_segmentation(
        self,
        outputs: ModelOutput,
        threshold: float = 0.5,
        mask_threshold: float | None = None,
        overlap_mask_area_threshold: float | None = None,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        *,
        localization_threshold: float | None = None,
        multiple_boxes: bool = False,
    ) -> list[dict]:
        """
        Segments as the `image-segmentation` pipeline expects them: the most probable class and its mask; of a multi-label
        model all classes that reach `threshold`, which may be none. A pixel of several has the most probable.

        Args:
            outputs ([`SATForWeaklySupervisedLocalizationOutput`]): output of the model.
            threshold (`float`, *optional*, defaults to 0.5):
                The least score, in [0, 1]: segments with a smaller one are left out.
            mask_threshold (`float`, *optional*):
                Not used: the map is cut at `localization_threshold`. The pipeline passes it, whatever the model.
            overlap_mask_area_threshold (`float`, *optional*):
                Not used: the masks of an image do not overlap. The pipeline passes it.
            target_sizes (`torch.Tensor` or list of `tuple[int, int]`, *optional*):
                Height and width of each original image. The size that the model was given by default.
            localization_threshold (`float`, *optional*):
                Cut of the normalized map, in [0, 1]; `self.localization_threshold` by default.
            multiple_boxes (`bool`, *optional*, defaults to `False`): see `post_process_localization`.

        Returns:
            `list[dict]`: per image `segmentation`, a tensor of shape `(height, width)` with the id of each pixel's
            segment or -1, and `segments_info`, a list of `{"id", "label_id", "was_fused", "score"}`.

        Raises:
            `ValueError`: as `post_process_localization`.
        """
        _check_share("threshold", threshold)
        unused = {"mask_threshold": mask_threshold, "overlap_mask_area_threshold": overlap_mask_area_threshold}
        for name, value in unused.items():
            if value is not None:
                _check_share(name, value)
        results = self.post_process_localization(
            outputs,
            target_sizes,
            threshold=threshold,
            localization_threshold=localization_threshold,
            multiple_boxes=multiple_boxes,
        )
        segmentations = []
        for result in results:
            segments_info = [
                {"id": segment, "label_id": label, "was_fused": False, "score": round(score, 6)}
                for segment, (label, score) in enumerate(zip(result["labels"].tolist(), result["scores"].tolist()))
            ]
            segmentations.append({"segmentation": result["masks"].numbered(), "segments_info": segments_info})
        return segmentations

    def post_process_semantic_segmentation(
        self,
        outputs: ModelOutput,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        *,
        return_segmentation_scores: bool = False,
        background_id: int | None = None,
        localization_threshold: float | None = None,
    ) -> list[torch.Tensor] | list[SemanticSegmentationPostProcessorOutput]:
        """
        The class of each pixel. SAT has no background class, and the stock pipeline knows none: by default every pixel
        has the image's class, and `background_id` marks the pixels outside the mask. Of a multi-label model with
        `class_maps`, a pixel has the one of the classes found whose probability times map is largest there.

        Args:
            outputs ([`SATForWeaklySupervisedLocalizationOutput`]): output of the model.
            target_sizes (`torch.Tensor` or list of `tuple[int, int]`, *optional*):
                Height and width of each original image. The size of the patch grid by default.
            return_segmentation_scores (`bool`, *optional*, defaults to `False`):
                Whether to return the scores of all classes too.
            background_id (`int`, *optional*):
                Label for pixels that are not foreground, such as 255 or -1.
            localization_threshold (`float`, *optional*):
                Cut of the normalized map, in [0, 1]; `self.localization_threshold` by default.

        Returns:
            `list[torch.LongTensor]` of shape `(height, width)`, or with `return_segmentation_scores` a list of
            [`~transformers.image_processing_outputs.SemanticSegmentationPostProcessorOutput`], whose
            `segmentation_scores` of shape `(num_labels, height, width)` are probability times normalized map.

        Raises:
            `ValueError`: as `post_process_localization`.
        """
        # no image to lay the map on: its own grid
        grid = tuple(outputs["localization_map"].shape[1:]) if target_sizes is None else None
        probabilities, maps, images = self._check_outputs(outputs, target_sizes, default_size=grid)
        class_maps = _class_maps(outputs)
        results = []
        for row, (localization_map, image, scores) in enumerate(zip(maps, images, probabilities)):
            found = {scores.argmax().item(): localization_map}
            if class_maps is not None:
                labels = (scores >= MULTI_LABEL_THRESHOLD).nonzero().flatten().tolist() or list(found)
                found = {label: class_localization_map(localization_map, class_maps[row, label]) for label in labels}
            pixel_scores = None
            if return_segmentation_scores:
                pixel_scores = scores[:, None, None] * self._in_pixels(localization_map, *image)[0]
            segmentation, foreground = self._classes_of_pixels(
                found, scores, image, localization_threshold, pixel_scores
            )
            if background_id is not None:
                segmentation[~foreground] = background_id
            if return_segmentation_scores:
                segmentation = SemanticSegmentationPostProcessorOutput(
                    {"segmentation": segmentation, "segmentation_scores": pixel_scores}
                )
            results.append(segmentation)
        return results

    def _classes_of_pixels(
        self,
        found: dict[int, torch.Tensor],
        scores: torch.Tensor,
        image: tuple,
        localization_threshold: float | None,
        pixel_scores: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        The class of each pixel among those found, each with its map, and whether the pixel is foreground of any. The
        scores of these classes are written to `pixel_scores`, of shape `(num_labels, height, width)`, if they are wanted:
        that takes memory for every class of the model.
        """
        size = image[0]
        segmentation = torch.full(size, next(iter(found)))
        foreground, best = torch.zeros(size, dtype=torch.bool), torch.zeros(size)
        for label, class_map in found.items():
            in_pixels, components = self._locate(class_map, *image, localization_threshold)
            in_pixels *= scores[label]
            foreground |= torch.from_numpy(components.labels > 0)
            if pixel_scores is not None:
                pixel_scores[label] = in_pixels
            segmentation[in_pixels > best] = label
            best = torch.maximum(best, in_pixels)
        return segmentation, foreground

    def model_input_size(self) -> tuple[int, int]:
        """
        Size of the images that the model is given.

        Returns:
            `tuple[int, int]`: height and width, in pixels.

        Raises:
            `ValueError`: if it depends on the image, as after a resize to `shortest_edge` without a crop.
        """
        if self.do_center_crop:
            return self.crop_size["height"], self.crop_size["width"]
        if self.do_resize and self.size.height and self.size.width:
            return self.size.height, self.size.width
        raise ValueError(
            "The size of the model's images depends on each image with this processor's settings; pass `target_sizes`, the "
            "(height, width) of each original image."
        )

    def _check_outputs(
        self,
        outputs: ModelOutput,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None,
        default_size: tuple[int, int] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, list[tuple]]:
        """
        Class probabilities and raw maps, on the CPU in float32, and for each image its (height, width) and the part
        of it that the model saw. Without `target_sizes` that is all of what the model was given.
        """
        logits, maps = outputs.get("logits"), outputs.get("localization_map")
        if logits is None or maps is None:
            raise ValueError(
                "`outputs` must have `logits` and `localization_map`, as those of "
                f"`SATForWeaklySupervisedLocalization`; got {list(outputs.keys())}."
            )
        if target_sizes is None:
            height, width = default_size or self.model_input_size()
            images = [((height, width), (0.0, 0.0, float(width), float(height)))] * len(maps)
        else:
            images = [(size, self._seen_part(size)) for size in _sizes(target_sizes, len(maps))]
        probabilities = outputs.get("class_scores")
        if probabilities is None:
            probabilities = logits.detach().float().softmax(-1)
        return probabilities.detach().cpu().float(), maps.detach().cpu().float(), images

    def _locate(
        self,
        localization_map: torch.Tensor,
        size: tuple[int, int],
        seen: tuple[float, float, float, float],
        localization_threshold: float | None,
        multiple: bool = False,
    ) -> tuple[torch.Tensor, Components]:
        """Normalized map `(height, width)` and components of one image."""
        if localization_threshold is None:
            localization_threshold = self.localization_threshold
        _check_share("localization_threshold", localization_threshold)
        in_pixels, pixels = self._in_pixels(localization_map, size, seen)
        return in_pixels, locate(in_pixels, localization_threshold, multiple, fallback_box=pixels)

    def _in_pixels(
        self, localization_map: torch.Tensor, size: tuple[int, int], seen: tuple[float, float, float, float]
    ) -> tuple[torch.Tensor, tuple[int, int, int, int]]:
        """Normalized map `(height, width)` of one image, 0 where the model did not see it, and the pixels that it saw."""
        if not localization_map.isfinite().all():
            logger.warning("A localization map has NaN or infinite values; the whole image is returned for it.")
        in_pixels, (x0, y0, x1, y1) = map_in_image(normalize_map(localization_map), size, seen)
        if in_pixels.shape != size:
            seen_map, in_pixels = in_pixels, torch.zeros(size)
            in_pixels[y0:y1, x0:x1] = seen_map
        return in_pixels, (x0, y0, x1, y1)

    def _seen_part(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The part `(x0, y0, x1, y1)` of an image of `size` that reaches the model, in the image's pixels."""
        height, width = size
        if not self.do_center_crop:
            return 0.0, 0.0, float(width), float(height)
        resized_height, resized_width = self._resized_size(size) if self.do_resize else size
        crop_height, crop_width = self.crop_size["height"], self.crop_size["width"]
        # the back ends' own rounding: it differs where the crop is larger than the image and padded
        rounded = math.trunc if self.backend == "torchvision" else math.floor
        top, left = rounded((resized_height - crop_height) / 2), rounded((resized_width - crop_width) / 2)
        scale_y, scale_x = height / resized_height, width / resized_width
        return left * scale_x, top * scale_y, (left + crop_width) * scale_x, (top + crop_height) * scale_y

    def _resized_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of an image of `size` after the resize."""
        if self.size.height and self.size.width:
            return self.size.height, self.size.width
        if self.size.shortest_edge and not self.size.longest_edge:
            shortest = min(size)
            return tuple(
                self.size.shortest_edge if side == shortest else int(self.size.shortest_edge * side / shortest)
                for side in size
            )
        raise ValueError(
            "Post-processing undoes a resize to `height` and `width` or to `shortest_edge`; this processor has "
            f"`size={dict(self.size)}`."
        )


def code_of_back_ends() -> dict[str, str]:
    """The image processors that lie beside this file, for an `auto_map`."""
    classes = {
        "torchvision": "image_processing_sat.SATImageProcessor",
        "pil": "image_processing_pil_sat.SATImageProcessorPil",
    }
    folder = Path(__file__).parent
    return {name: path for name, path in classes.items() if (folder / f"{path.partition('.')[0]}.py").is_file()}


def _check_size(name: str, size: int | dict[str, int] | Sequence[int] | SizeDict | None):
    if size is None:
        return
    sides = [size, size]
    if isinstance(size, dict | SizeDict):
        sides = list(dict(size).values())
    elif isinstance(size, list | tuple):
        sides = size if len(size) == 2 else []
    is_whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if not sides or not is_whole or not all(1 <= side <= MAX_INPUT_SIDE for side in sides):
        raise ValueError(
            f"`{name}` must be a side or a (height, width), each between 1 and {MAX_INPUT_SIDE} px, got {size!r}."
        )


def _class_maps(outputs: ModelOutput) -> torch.Tensor | None:
    """Those of a multi-label model, if they are at hand; of others, one class is found, and its place is the map's."""
    class_maps = outputs.get("class_maps") if outputs.get("class_scores") is not None else None
    return None if class_maps is None else class_maps.detach().cpu().float()


def _sizes(target_sizes: torch.Tensor | Sequence[tuple[int, int]], num_images: int) -> list[tuple[int, int]]:
    try:
        sizes = [(int(height), int(width)) for height, width in target_sizes]
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`target_sizes` must hold one (height, width) per image, such as [(480, 640)], got "
            f"{_short(target_sizes)}. Thresholds are given by name."
        ) from error
    if len(sizes) != num_images:
        raise ValueError(
            f"`target_sizes` must hold one (height, width) per image: {num_images} expected, got {len(sizes)}."
        )
    for size in sizes:
        if min(size) < 1:
            raise ValueError(
                f"`target_sizes` must hold a height and a width of at least 1 pixel, got the size {size}."
            )
    return sizes


# What the thresholds are, for those who gave one in the place of another argument.
MEANINGS = {
    "threshold": "the least score; the map is cut at `localization_threshold`, and sizes of images are `target_sizes`",
    "localization_threshold": "the cut of the normalized map",
    "mask_threshold": "which SAT does not use; sizes of images are `target_sizes`",
    "overlap_mask_area_threshold": "which SAT does not use; sizes of images are `target_sizes`",
}


def _check_share(name: str, value):
    if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= value <= 1.0:
        raise ValueError(f"`{name}` must be a number between 0 and 1, got {_short(value)} ({MEANINGS[name]}).")


def _is_rescaled(images) -> bool:
    """Whether an image, or the first of several, has floating-point values from 0 to 1."""
    while isinstance(images, list | tuple) and images:
        images = images[0]
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(images) if images.dtype.kind == "f" else None
    if not isinstance(images, torch.Tensor) or not images.is_floating_point() or images.numel() == 0:
        return False
    return bool((images.min() >= 0) & (images.max() <= 1))


def _short(value) -> str:
    """What was given, for an error; it can be long."""
    return f"{value!r:.80}"


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _strips(image) -> Iterator:
    """
    A PIL image in strips of rows, other images whole: what the conversion of a strip takes (up to 20 bytes a pixel, with
    transparency or 16 bits) is small.
    """
    if not isinstance(image, PIL.Image.Image):
        yield image
        return
    num_rows = max(PIXELS_AT_ONCE // image.width, 1)
    for top in range(0, image.height, num_rows):
        yield image.crop((0, top, image.width, min(top + num_rows, image.height)))


def _as_plain(image):
    """Images without transparency and of 8 bits a channel."""
    if isinstance(image, PIL.Image.Image):
        return on_white(in_eight_bits(image))
    if isinstance(image, np.ndarray) and image.dtype == np.uint16:
        return np.round(image / 257).astype(np.uint8)
    if isinstance(image, torch.Tensor) and image.dtype == torch.uint16:
        return (image.float() / 257).round().to(torch.uint8)
    return image


__all__ = ["SATImageProcessorKwargs", "SATPostProcessingMixin"]
