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
"""Image processor class for SAT, on torchvision."""

from typing import TYPE_CHECKING

from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling

from .post_processing_sat import SATImageProcessorKwargs, SATPostProcessingMixin


if TYPE_CHECKING:
    # Transformers gets and saves what a file imports together with it
    from .image_processing_pil_sat import SATImageProcessorPil  # noqa: F401


class SATImageProcessor(SATPostProcessingMixin, TorchvisionBackend):
    """
    Prepares images for SAT (resize, optional centre crop, normalisation with ImageNet's mean and deviation) and turns
    the model's output into boxes and masks in the images' own pixels, undoing resize and crop.

    The defaults resize to 224 x 224, so that the model sees the whole image. The paper's evaluation is
    `size={"height": 256, "width": 256}, do_center_crop=True`.
    """

    valid_kwargs = SATImageProcessorKwargs
    resample = PILImageResampling.BILINEAR
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"height": 224, "width": 224}
    crop_size = {"height": 224, "width": 224}
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    # the threshold of the paper's evaluation on CUB-200-2011
    localization_threshold = 0.4


__all__ = ["SATImageProcessor"]
