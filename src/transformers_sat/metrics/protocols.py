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
"""The evaluation protocols as objects: what differs between them is here, and nowhere else."""

from collections.abc import Iterator, Sequence

import numpy as np
import PIL.Image
import torch

from ..model.localization_sat import normalize_map, resize_map
from .components import MASKS_AT_ONCE, largest_component_boxes
from .contours import contour_boxes, load_opencv, resize_and_normalize, resize_cubic
from .map_boxes import MapBoxes


# Thresholds that are nearer to each other than this are the same one.
SAME_THRESHOLD = 1e-9

# Cubic interpolation overshoots by less than the largest value; what is smaller than this cannot overflow.
SAFE_SHARE = 1 / 8


class Protocol:
    """
    A way of measuring localization. Subclasses set the attributes and give the methods that have no body here.

    The frame is where boxes are compared: a square of `frame_size` pixels, cut from the middle of the image after a
    resize to a larger or equal square.

    Attributes:
        name (`str`):
            What users and results call it.
        resize_per_crop (`float`):
            Side of the resized image, divided by that of the frame.
        thresholds (`tuple[float, ...]`):
            Cuts of the normalized map, from 0 to 1, that `BoxAccuracy` counts at unless others are given.
        calibration_thresholds (`tuple[float, ...]`):
            What the threshold of a model is chosen from unless others are given.
        has_ten_crop (`bool`):
            Whether the class may be that of ten crops of the resized image.
        box_accuracies (`tuple[str, ...]`):
            If all boxes of a map are scored, too, beside the one around its largest component: the names of two more
            figures, the accuracy of the one at IoU 0.5, and the mean over the IoUs of the accuracy of the best of all.
            `max_` says that the best threshold was taken, for each IoU its own.
        fits_post_processing (`bool`):
            Whether post-processing cuts maps in the same way, so that a threshold that is chosen under the protocol
            is right for the image processor's `localization_threshold`.
    """

    name: str
    resize_per_crop: float = 1.0
    thresholds: tuple[float, ...]
    calibration_thresholds: tuple[float, ...]
    has_ten_crop: bool = False
    box_accuracies: tuple[str, ...] = ()
    fits_post_processing: bool = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def scores_all_boxes(self) -> bool:
        """Whether the best of all boxes of a map is scored, apart from the one around the largest component."""
        return bool(self.box_accuracies)

    def check_requirements(self):
        """Raises an `ImportError` that says what to install, if a package is missing that the protocol needs."""

    def check_frame(self, frame_size: int):
        """Raises a `ValueError` if the protocol has no frame of that size."""
        if not isinstance(frame_size, int) or frame_size < 2:
            raise ValueError(
                f"The side of the square frame must be an integer of at least 2 pixels, got {frame_size!r}."
            )

    # The frame: where images, masks and true boxes land.

    def resized_side(self, frame_size: int = 224) -> int:
        """Side in pixels to which an image is resized, aspect ratio not kept, before the frame is cut."""
        self.check_frame(frame_size)
        return round(frame_size * self.resize_per_crop)

    def frame_start(self, frame_size: int = 224) -> int:
        """The first row and column of the resized image that the frame holds."""
        return (self.resized_side(frame_size) - frame_size) // 2

    def processor_settings(self, frame_size: int = 224) -> dict:
        """
        What an image processor is told to show the model the frame.

        Args:
            frame_size (`int`, *optional*, defaults to 224):
                Side of the images that the model sees.

        Returns:
            `dict`: `size`, `do_center_crop` and `crop_size`, for the processor's constructor or a call of it.
        """
        side = self.resized_side(frame_size)
        return {
            "size": {"height": side, "width": side},
            "do_center_crop": side != frame_size,
            "crop_size": {"height": frame_size, "width": frame_size},
        }

    def image_in_frame(self, image: PIL.Image.Image, frame_size: int = 224) -> PIL.Image.Image:
        """
        An image as the model sees it, to draw on.

        Args:
            image (`PIL.Image.Image`):
                Image of any size.
            frame_size (`int`, *optional*, defaults to 224):
                Side of the frame.

        Returns:
            `PIL.Image.Image` of `frame_size` x `frame_size` pixels, resized bilinearly.
        """
        side, start = self.resized_side(frame_size), self.frame_start(frame_size)
        resized = image.resize((side, side), PIL.Image.Resampling.BILINEAR)
        return resized.crop((start, start, start + frame_size, start + frame_size))

    def mask_in_frame(self, mask: np.ndarray, frame_size: int = 224) -> np.ndarray:
        """
        Brings a mask to the frame by nearest pixel, as the published PxAP (Choe et al., CVPR 2020, section 4.1).

        Args:
            mask (`np.ndarray` of shape `(height, width)`):
                Boolean, at any resolution.
            frame_size (`int`, *optional*, defaults to 224):
                Side of the frame.

        Returns:
            `np.ndarray` of shape `(frame_size, frame_size)`, boolean.

        Raises:
            ImportError: If OpenCV is not installed.
        """
        cv2 = load_opencv()
        side, start = self.resized_side(frame_size), self.frame_start(frame_size)
        pixels = np.ascontiguousarray(mask, dtype=bool).view(np.uint8)
        resized = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_NEAREST).view(bool)
        return resized[start : start + frame_size, start : start + frame_size]

    def ground_truth_boxes(self, bbox: np.ndarray, image_size: tuple[int, int], frame_size: int = 224) -> np.ndarray:
        """
        Brings true boxes from original pixels to the frame and truncates coordinates toward zero; see the function
        [`ground_truth_boxes`], which takes the protocol's name.
        """
        corners = _corners_of(bbox)
        height, width = image_size
        if height <= 0 or width <= 0:
            raise ValueError(f"`image_size` must be a positive (height, width), got {tuple(image_size)}.")
        original = np.array([width, height, width, height], dtype=np.float64)
        return np.trunc(self._corners_in_frame(corners, original, frame_size)).astype(np.int64)

    def _corners_in_frame(self, corners: np.ndarray, original: np.ndarray, frame_size: int) -> np.ndarray:
        """Corners in original pixels, whose sides are `(width, height, width, height)`, to the frame; not rounded."""
        raise NotImplementedError

    # From a map to boxes.

    def map_in_frame(self, localization_map: torch.Tensor, frame_size: int = 224) -> np.ndarray:
        """
        Normalizes one map and resizes it to the frame: what is cut.

        Args:
            localization_map (`torch.Tensor` of shape `(height, width)`):
                Map of any resolution and range of values. One that is constant, or holds a NaN or an infinity, gives
                zeros.
            frame_size (`int`, *optional*, defaults to 224):
                Side of the frame.

        Returns:
            `np.ndarray` of shape `(frame_size, frame_size)`: values from 0 to 1.
        """
        raise NotImplementedError

    def cut(self, maps: torch.Tensor, thresholds: np.ndarray, frame_size: int = 224) -> Iterator[MapBoxes]:
        """
        Cuts maps at all thresholds.

        Args:
            maps (`torch.Tensor` of shape `(batch_size, height, width)`):
                Maps of any resolution and range of values, on the CPU.
            thresholds (`np.ndarray` of shape `(num_thresholds,)`):
                float64, each from 0 to 1.
            frame_size (`int`, *optional*, defaults to 224):
                Side of the frame.

        Yields:
            [`MapBoxes`]: the boxes of each map. Where nothing is above a threshold it is one, the protocol's fallback.
        """
        raise NotImplementedError

    def finite_maps(self, maps: torch.Tensor, frame_size: int = 224) -> np.ndarray:
        """
        Tells which maps of a batch are finite: their values and their range, before and after what the protocol does to
        them. All others are scored as maps that show nothing.

        Args:
            maps (`torch.Tensor` of shape `(batch_size, height, width)`): maps on the CPU.
            frame_size (`int`, *optional*, defaults to 224): side of the frame.

        Returns:
            `np.ndarray` of shape `(batch_size,)`, boolean.
        """
        # also NaN, which is both the smallest and the largest
        return _range_of(maps.float())[1].isfinite().numpy()

    def centered_boxes(self, frame_size: int = 224) -> np.ndarray:
        """
        The predictions that look at nothing: centred squares of every side, the last of which is the whole image.

        Returns:
            `np.ndarray` of shape `(frame_size, 4)`, int64: corners as the protocol writes those of its predictions, so
            row `side - 1` is the box of a centred square mask with that many pixels a side.
        """
        side = np.arange(1, frame_size + 1)
        start = (frame_size - side) // 2
        return np.stack([start, start, start + side, start + side], axis=1)

    # How true and predicted boxes are compared.

    def iou(self, boxes: np.ndarray, true_boxes: np.ndarray) -> np.ndarray:
        """IoU of predicted and true boxes of shape `(..., 4)`, whose leading dimensions broadcast."""
        return box_iou(boxes, true_boxes)

    def largest_share(self, true_boxes: np.ndarray, frame_size: int = 224) -> float:
        """The share of the frame, from 0 to 1, that the largest of an image's true boxes, `(num_boxes, 4)`, covers."""
        inside = true_boxes.clip(0, frame_size - 1)
        return float(_area(inside[:, :2], inside[:, 2:]).max() / frame_size**2)

    def drawn_boxes(self, true_boxes: np.ndarray) -> list[list[int]]:
        """True boxes to draw beside predicted ones: they end on their last pixel, predicted ones behind it."""
        return (np.reshape(true_boxes, (-1, 4)) + [0, 0, 1, 1]).tolist()

    # The threshold.

    def best_choice(self, gt_known: np.ndarray, top1: np.ndarray) -> int:
        """
        Which of several choices, of a threshold for instance, does best.

        Args:
            gt_known (`np.ndarray` of shape `(num_choices,)`):
                How many images have a right box, whatever the class.
            top1 (`np.ndarray` of shape `(num_choices,)`):
                How many have a right box and the right class.

        Returns:
            `int`: index of the best choice, of equal ones the first.
        """
        raise NotImplementedError

    def thresholds_to_count(
        self, threshold: str | float, thresholds: Sequence[float] | None = None
    ) -> Sequence[float]:
        """
        The thresholds that a metric must count at.

        Args:
            threshold (`str` or `float`):
                Where figures are wanted: a number, or a word for how one is to be chosen.
            thresholds (`Sequence[float]`, *optional*):
                What is chosen from; the protocol's `calibration_thresholds` by default.

        Returns:
            `Sequence[float]`: what is chosen from, with the number in its place among it.
        """
        thresholds = self.calibration_thresholds if thresholds is None else thresholds
        if isinstance(threshold, str):
            return thresholds
        apart = [other for other in thresholds if abs(other - threshold) > SAME_THRESHOLD]
        return sorted([*apart, threshold])


class SatProtocol(Protocol):
    """
    `"sat"`, that of SAT (Wu et al., ICCV 2023, arXiv 2303.10438) as the authors' evaluator computes it.

    The image is resized to 256 x 256, and the centre 224 x 224 is the frame. The map is normalized at its own size and
    resized bilinearly. Foreground is strictly above the threshold, compared in float32. The box is that around the
    8-connected component with the most pixels, of equal ones the first in a row by row scan, with exclusive far ends.
    Where nothing is above the threshold it is the whole image. One threshold serves all figures: the first of those
    with the largest sum of GT-known Loc and Top-1 Loc.
    """

    name = "sat"
    resize_per_crop = 256 / 224
    # The grid over which the paper's training chooses.
    thresholds = (0.30, 0.35, 0.40, 0.45)
    # The paper's own four are among them.
    calibration_thresholds = tuple(step / 20 for step in range(1, 20))
    has_ten_crop = True
    fits_post_processing = True

    def _corners_in_frame(self, corners: np.ndarray, original: np.ndarray, frame_size: int) -> np.ndarray:
        # The order of the operations is the published one: it decides which integer a coordinate truncates to.
        corners = corners / original * self.resized_side(frame_size) - self.frame_start(frame_size)
        corners[:, :2] = corners[:, :2].clip(min=0)
        corners[:, 2:] = corners[:, 2:].clip(max=frame_size - 1)
        return corners

    def map_in_frame(self, localization_map: torch.Tensor, frame_size: int = 224) -> np.ndarray:
        return resize_map(normalize_map(localization_map), (frame_size, frame_size)).numpy()

    def cut(self, maps: torch.Tensor, thresholds: np.ndarray, frame_size: int = 224) -> Iterator[MapBoxes]:
        in_float32 = thresholds.astype(np.float32)[:, None, None]
        each = np.arange(len(thresholds))
        # A few maps at a time, or one if there are many thresholds, bound the memory that the masks take.
        num_maps = max(1, MASKS_AT_ONCE // len(thresholds))
        for first in range(0, len(maps), num_maps):
            pixels = self.map_in_frame(maps[first : first + num_maps], frame_size)
            masks = (pixels[:, None] > in_float32).reshape(-1, frame_size, frame_size)
            for boxes in largest_component_boxes(masks).reshape(-1, len(thresholds), 4):
                yield MapBoxes(boxes, first=each, largest=each, level_of_threshold=each)

    def best_choice(self, gt_known: np.ndarray, top1: np.ndarray) -> int:
        return int((gt_known + top1).argmax())


class WsolevalProtocol(Protocol):
    """
    `"wsoleval"`, that of Choe et al. (CVPR 2020, section 4.1; MaxBoxAccV2 from its longer version, arXiv 2007.04178).

    The image is resized to 224 x 224, all of which is the frame. The map is resized bicubically, normalized there and
    rounded down to 256 grey levels. Foreground is strictly above `int(threshold * maximum)`. Boxes are those of the
    contours that OpenCV finds: of the one with the largest area for MaxBoxAcc, of all for MaxBoxAccV2. Far ends are
    exclusive and clipped to 223. Where nothing is above the threshold the box is `[0, 0, 0, 0]`. Each IoU has its own
    best threshold; Top-1 and Top-5 Loc are at that of MaxBoxAcc.
    """

    name = "wsoleval"
    thresholds = calibration_thresholds = tuple(np.arange(0, 1, 0.001).tolist())
    box_accuracies = ("max_box_acc", "max_box_acc_v2")

    def check_requirements(self):
        load_opencv()

    def _corners_in_frame(self, corners: np.ndarray, original: np.ndarray, frame_size: int) -> np.ndarray:
        return corners * self.resized_side(frame_size) / original

    def map_in_frame(self, localization_map: torch.Tensor, frame_size: int = 224) -> np.ndarray:
        return resize_and_normalize(localization_map, frame_size)

    def finite_maps(self, maps: torch.Tensor, frame_size: int = 224) -> np.ndarray:
        values = maps if maps.dtype == torch.float64 else maps.float()
        magnitude, spread = _range_of(values)
        finite = spread.isfinite().numpy()
        # near the largest number of their type, values are infinite after the cubic resize
        may_overflow = (magnitude > torch.finfo(values.dtype).max * SAFE_SHARE) & (spread > 0)
        for index in np.flatnonzero(finite & may_overflow.numpy()):
            resized = resize_cubic(values[index].numpy(), frame_size)
            with np.errstate(over="ignore", invalid="ignore"):
                finite[index] = np.isfinite(resized.max() - resized.min())
        return finite

    def cut(self, maps: torch.Tensor, thresholds: np.ndarray, frame_size: int = 224) -> Iterator[MapBoxes]:
        for localization_map in maps:
            yield contour_boxes(self.map_in_frame(localization_map, frame_size), thresholds)

    def centered_boxes(self, frame_size: int = 224) -> np.ndarray:
        return np.minimum(super().centered_boxes(frame_size), frame_size - 1)

    def best_choice(self, gt_known: np.ndarray, top1: np.ndarray) -> int:
        return int(gt_known.argmax())


PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (SatProtocol(), WsolevalProtocol())}


def get_protocol(protocol: str | Protocol) -> Protocol:
    """
    Gives a protocol by its name.

    Args:
        protocol (`str` or [`Protocol`]):
            A name, `"sat"` or `"wsoleval"`, or a protocol, which is given back.

    Returns:
        [`Protocol`]

    Raises:
        ValueError: If there is no protocol of that name.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        raise ValueError(f"`protocol` must be one of {tuple(PROTOCOLS)}, got {protocol!r}.")
    return PROTOCOLS[protocol]


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """
    Intersection over union as both protocols count it: with 1 added to every width and height.

    Args:
        boxes (`np.ndarray` of shape `(..., 4)`):
            Corners `(x0, y0, x1, y1)`.
        others (`np.ndarray` of shape `(..., 4)`):
            Corners to compare with; the leading dimensions broadcast.

    Returns:
        `np.ndarray` of the broadcast leading shape, float64, from 0 to 1. A box that ends before it starts has IoU 0.
    """
    boxes, others = np.asarray(boxes), np.asarray(others)
    intersection = _area(np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:]))
    union = _area(boxes[..., :2], boxes[..., 2:]) + _area(others[..., :2], others[..., 2:]) - intersection
    return intersection / np.where(union > 0, union, 1)


def _range_of(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each map its largest absolute value, and the difference of its largest and smallest value."""
    smallest, largest = maps.amin(dim=(-2, -1)), maps.amax(dim=(-2, -1))
    return torch.maximum(smallest.abs(), largest.abs()), largest - smallest


def _area(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Pixels of boxes with both corners, `(..., 2)`, inside; 0 for a box that ends before it starts."""
    return np.prod(np.maximum(end - start + 1, 0), axis=-1)


def _corners_of(bbox: np.ndarray) -> np.ndarray:
    """COCO boxes, checked, as float64 corners `(x0, y0, x1, y1)`."""
    bbox = np.asarray(bbox, dtype=np.float64)
    if bbox.size == 0:
        bbox = bbox.reshape(0, 4)
    if bbox.ndim != 2 or bbox.shape[1] != 4:
        raise ValueError(f"`bbox` must have the shape (num_boxes, 4), got {bbox.shape}.")
    if not np.isfinite(bbox).all() or (bbox[:, 2:] < 0).any():
        raise ValueError(f"`bbox` must hold finite (x, y, width, height) with no negative side, got {bbox.tolist()}.")
    return np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)


__all__ = [
    "PROTOCOLS",
    "Protocol",
    "SatProtocol",
    "WsolevalProtocol",
    "box_iou",
    "get_protocol",
]
