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
"""What a split can be measured by: found out once, before anything is measured."""

from dataclasses import dataclass, replace

import datasets
from transformers import PreTrainedConfig

from ..data.box_columns import with_boxes_in_lists
from ..data.boxes import check_boxes_with_images, check_masks_with_images, with_checked_boxes
from ..data.classes import class_numbers_of, row_without_class
from ..data.loading import MASK_COLUMNS, check_class_type, has_boxes, has_masks, is_usable, rows_with_boxes
from ..metrics import Protocol, get_protocol


@dataclass(frozen=True)
class EvaluationSplit:
    """
    A split, what it can be measured by, and how it is shown to the model. [`EvaluationSplit.of`] makes it.

    Attributes:
        name (`str`): what messages call it.
        dataset (`datasets.Dataset`): its rows, images not decoded.
        protocol ([`~transformers_sat.metrics.Protocol`]): how images, boxes and masks are brought to the frame.
        image_size (`int`): side of the square frame, which is that of the model's images, in pixels.
        has_boxes (`bool`): whether every image has a box, so that localization can be measured.
        has_masks (`bool`): whether every image has a mask, so that pixels can be.
        has_labels (`bool`): whether the images have classes.
        class_numbers (`list[int]`, *optional*): the model's number for each class; the same numbers if `None`.
    """

    name: str
    dataset: datasets.Dataset
    protocol: Protocol
    image_size: int
    has_boxes: bool
    has_masks: bool
    has_labels: bool
    class_numbers: list[int] | None

    @classmethod
    def of(
        cls, name: str, dataset: datasets.Dataset, config: PreTrainedConfig, protocol: str | Protocol = "sat"
    ) -> "EvaluationSplit":
        """
        Looks at a split.

        Args:
            name (`str`): what messages call it.
            dataset (`datasets.Dataset`):
                Rows with `image` and, to be measured by, `label`, `objects` (`bbox`: COCO boxes in pixels), `mask` and
                `ignore_mask`.
            config ([`~transformers.PreTrainedConfig`]): configuration of the model that is to be measured.
            protocol (`str` or [`~transformers_sat.metrics.Protocol`], *optional*, defaults to `"sat"`):
                `"sat"` or `"wsoleval"`.

        Raises:
            `ValueError`: if there are no images, a box cannot be one or boxes do not fit their images, a class is not one
                of the model's, the protocol is not known, or the model's images are not square.
        """
        protocol = get_protocol(protocol)
        if not isinstance(config.image_size, int):
            raise ValueError(
                f"The protocols compare boxes in a square frame: `image_size` must be one number, got "
                f"{config.image_size}."
            )
        if "image" not in dataset.column_names:
            raise ValueError(f"The {name} split has no column `image`. Its columns are {dataset.column_names}.")
        if len(dataset) == 0:
            raise ValueError(f"The {name} split has no images.")
        check_class_type(dataset, "label", f"The {name} split")
        dataset = with_boxes_in_lists(dataset.with_format(None), "objects", f"The {name} split")
        dataset = with_checked_boxes(dataset, f"The {name} split")
        has_labels = _has_labels(name, dataset)
        if not has_labels and "label" in dataset.column_names:
            dataset = dataset.remove_columns("label")
        dataset, measures_boxes = with_undecoded_images(dataset), has_boxes(dataset)
        if measures_boxes:
            check_boxes_with_images(dataset, f"The {name} split")
        measures_pixels = is_usable(dataset, "mask") and has_masks(dataset)
        if measures_pixels:
            masks = [column for column in MASK_COLUMNS if is_usable(dataset, column)]
            check_masks_with_images(dataset, f"The {name} split", masks)
        return cls(
            name=name,
            dataset=dataset,
            protocol=protocol,
            image_size=config.image_size,
            has_boxes=measures_boxes,
            has_masks=measures_pixels,
            has_labels=has_labels,
            class_numbers=class_numbers_of(dataset, config) if has_labels else None,
        )

    def under(self, protocol: str | Protocol) -> "EvaluationSplit":
        """The same split under another protocol."""
        return replace(self, protocol=get_protocol(protocol))

    @property
    def image_ids(self) -> list | range:
        """Ids of the images, their rows where there are none."""
        return self.dataset["image_id"] if "image_id" in self.dataset.column_names else range(len(self.dataset))

    def check_boxes(self) -> "EvaluationSplit":
        """The split itself; `ValueError` if localization cannot be measured on it."""
        if not self.has_boxes:
            number = len(rows_with_boxes(self.dataset))
            raise ValueError(
                f"Localization cannot be measured on the {self.name} split: of its {len(self.dataset)} images {number or 'none'} "
                f"ha{'ve' if number > 1 else 's'} boxes, and all must have. It needs a column `objects` with `bbox`, for each "
                "image at least one COCO box (x, y, width, height) in pixels; other images of the same classes will do. Its "
                f"columns are {self.dataset.column_names}."
            )
        return self

    def check_labels(self) -> "EvaluationSplit":
        """The split itself; `ValueError` if it has no classes."""
        if not self.has_labels:
            raise ValueError(
                f"The {self.name} split cannot be measured: row 0 has no class, and neither has any other. It needs a column "
                f"`label` that is not empty, and not -1; its columns are {self.dataset.column_names}."
            )
        return self


def with_undecoded_images(dataset: datasets.Dataset | datasets.IterableDataset):
    """Rows as plain values, whatever they are given as, with images as files, which the torch data sets decode themselves."""
    dataset = dataset.with_format(None)
    for column in ("image", *MASK_COLUMNS):
        if column in dataset.column_names and isinstance(dataset.features[column], datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


def _has_labels(name: str, dataset: datasets.Dataset) -> bool:
    """Whether there are classes: test sets whose classes are kept back have none, or -1 for each."""
    if "label" not in dataset.column_names:
        return False
    # without the images, which rows that were chosen would be copied with
    labels = dataset.select_columns("label")
    values = set(labels.unique("label"))
    if values <= {None, -1}:
        return False
    if (row := row_without_class(labels)) is not None:
        raise ValueError(
            f"The {name} split, row {row}: `label` is empty, or -1, and other rows have a class; leave the image out, or give "
            "it one."
        )
    return True


__all__ = ["EvaluationSplit", "with_undecoded_images"]
