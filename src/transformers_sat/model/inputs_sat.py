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
"""What an image may be given as, and its colours as the model sees them: the same for every way that an image takes."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image
import torch

from .images_sat import fetch_file, one_line, read_image, upright


ACCEPTED = (
    "An image is a path, an address (http:// or https://), base64, the bytes of a file, a PIL image, a NumPy array of shape "
    "(height, width, 3) or a tensor of shape (3, height, width), with values of uint8 or from 0.0 to 1.0; several are a "
    "list, a generator or a data set"
)


def to_image(value: Any, timeout: float | None = None) -> PIL.Image.Image:
    """
    An upright image, whatever it is given as.

    Args:
        value:
            A path, an address, base64, the bytes of a file or an open one, a PIL image, a NumPy array of shape
            `(height, width, 3)`, a `torch.Tensor` of shape `(3, height, width)`, or a row of a data set that has one of
            these as `image`. Arrays and tensors hold `uint8`, or floating-point values from 0.0 to 1.0; with one channel
            they are grey, with four the last is the opacity.
        timeout (`float`, *optional*): seconds to wait for an address; 60 by default.

    Raises:
        [`ImageTooLargeError`], `ValueError`: if it cannot be decoded or fetched, or an array is of another shape or range.
        `TypeError`: if it is something else.
    """
    if isinstance(value, PIL.Image.Image):
        if 0 in value.size:
            raise ValueError(f"Got an image of {value.width} x {value.height} pixels. {ACCEPTED}.")
        return upright(value)
    if isinstance(value, torch.Tensor):
        if value.ndim != 3 or value.shape[0] not in (1, 3, 4):
            raise ValueError(f"Got a tensor of shape {tuple(value.shape)}. {ACCEPTED}.")
        value = value.detach().cpu().movedim(0, -1)
        # NumPy has no bfloat16
        value = (value.float() if value.is_floating_point() else value).numpy()
    if isinstance(value, np.ndarray):
        return _of_array(value)
    if isinstance(value, Mapping):
        return to_image(_of_row(value), timeout)
    if isinstance(value, str) and not os.path.exists(value):
        return read_image(fetch_file(value, timeout), value)
    if isinstance(value, str | os.PathLike):
        if not os.path.isfile(value):
            raise ValueError(f"There is no file {one_line(value)}.")
        return read_image(value, str(value))
    if isinstance(value, bytes | bytearray) or hasattr(value, "read"):
        return read_image(value, "that was given as bytes")
    raise TypeError(f"Got {type(value).__name__}. {ACCEPTED}.")


def as_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """
    An image in red, green and blue of 8 bits each; what is transparent lies on white.

    Raises:
        `ValueError`: if its values have no known range.
    """
    return on_white(in_eight_bits(image)).convert("RGB")


def on_white(image: PIL.Image.Image) -> PIL.Image.Image:
    """An image laid on white where it is transparent; any other unchanged. The colours under the transparency are lost."""
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and image.mode == "RGB":
        # so Pillow leaves the level of a grey image that it brings to RGB; of 16 bits it is no level of that
        if transparent > 255:
            return image
        image = image.copy()
        image.info["transparency"] = (transparent,) * 3
    if not image.has_transparency_data:
        return image
    white = PIL.Image.new("RGBA", image.size, "white")
    return PIL.Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def in_eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """
    An image of 16 bits as 8 bits; any other unchanged.

    Raises:
        `ValueError`: if its values are floating-point numbers, which have no known range, or outside 16 bits.
    """
    if image.mode == "F":
        raise ValueError("Floating-point images (PIL mode `F`) have no known range; convert them to 8 bits first.")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"Images of PIL mode `{image.mode}` must have values between 0 and 65535, got {values.min()} to {values.max()}; "
            "convert them to 8 bits first."
        )
    grey = PIL.Image.fromarray(np.round(values / 257).astype(np.uint8))
    if "transparency" in image.info:
        opaque = values != image.info["transparency"]
        grey = PIL.Image.merge("LA", (grey, PIL.Image.fromarray(opaque.astype(np.uint8) * 255)))
    return grey


def _of_array(array: np.ndarray) -> PIL.Image.Image:
    """An array of shape `(height, width)` or `(height, width, channels)` as an image."""
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))):
        raise ValueError(f"Got an array of shape {array.shape}. {ACCEPTED}.")
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"Got an array of {array.dtype} with values from {array.min()} to {array.max()}. {ACCEPTED}."
            )
        array = np.round(array.astype(np.float32) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"Got an array of {array.dtype}. {ACCEPTED}.")
    return PIL.Image.fromarray(np.ascontiguousarray(array))


def _of_row(row: Mapping) -> Any:
    """What a row of a data set holds for an image: under `image`, or a file's `bytes` or `path`, not decoded."""
    for name in ("image", "bytes", "path"):
        if row.get(name) is not None:
            return row[name]
    raise ValueError(f"Got a row without `image`, but with {one_line(list(row), 100)}. {ACCEPTED}.")


__all__ = ["ACCEPTED", "as_rgb", "in_eight_bits", "on_white", "to_image"]
