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
"""Measuring a model on data with masks and no boxes, as OpenImages30k has them."""

import sys
from dataclasses import dataclass

import datasets
import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import BaseImageProcessor

from ..metrics import PixelAveragePrecision, Protocol, get_protocol
from ..metrics.classification import ranks_of_labels
from ..model.modeling_sat import SATForWeaklySupervisedLocalization
from ..results import with_pixels
from .engine import ids_not_finite, predict, with_undecoded_images
from .images import EvaluationImages, class_numbers_of, collate_images
from .processes import gather_lists, process_count, share_of_process


@dataclass
class PixelEvaluation:
    """
    What [`evaluate_pixels`] found. It is the same on every process.

    Attributes:
        result (`dict`):
            `num_non_finite_maps` and, if there are any, their `non_finite_image_ids`, `top1_cls` and `top5_cls` in percent, `pxap` of the maps and, in `whole_image` and `center`, of the baselines, `protocol`, `image_size` and `num_images`.
        precision_recall (`dict`): see [`~transformers_sat.metrics.PixelAveragePrecision.curve`].
    """

    result: dict
    precision_recall: dict


def evaluate_pixels(
    model: SATForWeaklySupervisedLocalization,
    image_processor: BaseImageProcessor,
    dataset: datasets.Dataset,
    protocol: str | Protocol = "wsoleval",
    batch_size: int = 32,
    num_workers: int = 0,
    show_progress: bool = False,
) -> PixelEvaluation:
    """
    Measures classification and the average precision of pixels (PxAP, Choe et al., CVPR 2020) on a split whose images
    all have a mask. It needs no boxes and no threshold.

    Where a process group of `torch.distributed` exists, the processes share the images.

    Args:
        model ([`SATForWeaklySupervisedLocalization`]): the model, on the device to use.
        image_processor ([`SATImageProcessor`] or [`SATImageProcessorPil`]): normalizes the images.
        dataset (`datasets.Dataset`): rows with `image`, `label`, `mask` and perhaps `ignore_mask`.
        protocol (`str` or [`~transformers_sat.metrics.Protocol`], *optional*, defaults to `"wsoleval"`):
            Whose resize and crop; `"wsoleval"` is the published one.
        batch_size (`int`, *optional*, defaults to 32): number of images at a time, on each process.
        num_workers (`int`, *optional*, defaults to 0): number of further processes that load images.
        show_progress (`bool`, *optional*, defaults to `False`): whether the first process shows a bar.

    Returns:
        [`PixelEvaluation`]

    Raises:
        `ValueError`: if not all of the images have a mask, or the model lacks classes of the data set.
    """
    protocol = get_protocol(protocol)
    dataset = with_undecoded_images(dataset)
    numbers = class_numbers_of(dataset, model.config)
    image_size = model.config.image_size
    images = EvaluationImages(dataset, image_processor, protocol, image_size, numbers, with_boxes=False)
    if images.masks is None:
        raise ValueError(
            f"Pixels cannot be measured: not all images have a `mask`. The columns are {dataset.column_names}."
        )
    share = torch.utils.data.Subset(images, share_of_process(len(images), batch_size))
    loader = torch.utils.data.DataLoader(
        share, batch_size=batch_size, num_workers=num_workers, collate_fn=collate_images
    )
    pixels, ranks, non_finite_rows = PixelAveragePrecision(image_size=image_size), [], []
    is_hidden = not show_progress or process_count()[0] > 0
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for batch in tqdm(loader, desc=f"pixels, {protocol.name}", unit="batch", file=sys.stderr, disable=is_hidden):
            maps, scores, _ = predict(model, batch["pixel_values"])
            pixels.update(maps, batch["mask"], batch.get("ignore_mask"))
            ranks += ranks_of_labels(scores, batch["labels"]).tolist()
            # they are resized as for PxAP, whatever the protocol crops
            finite = pixels.protocol.finite_maps(maps, image_size)
            non_finite_rows += [row for row, is_finite in zip(batch["rows"], finite, strict=True) if not is_finite]
    model.train(was_training)
    pixels.all_reduce_()
    ranks = np.array(gather_lists(ranks))
    figures = pixels.compute()
    result = {
        "protocol": protocol.name,
        "image_size": image_size,
        "num_images": len(ranks),
        "num_non_finite_maps": figures["num_non_finite_maps"],
        **ids_not_finite(non_finite_rows, dataset),
        "top1_cls": 100.0 * float((ranks < 1).mean()),
        # the first five of fewer classes hold any label
        "top5_cls": 100.0 * float((ranks < 5).mean()) if model.config.num_labels >= 5 else None,
    }
    return PixelEvaluation(with_pixels(result, figures), pixels.curve())


__all__ = ["PixelEvaluation", "evaluate_pixels"]
