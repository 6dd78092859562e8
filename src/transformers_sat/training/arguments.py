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
"""What a training script is told about data, model and evaluation, for [`~transformers.HfArgumentParser`]."""

from dataclasses import dataclass, field, fields

from ..data import EMBEDDED_DATASET
from ..evaluation.engine import EvaluationSettings
from ..fields import read_class_names
from ..metrics import get_protocol
from ..model.configuration_sat import SATConfig


def option(default, help: str):
    """A field with its line of `--help`."""
    return field(default=default, metadata={"help": help})


@dataclass
class DataArguments:
    """Which images to train and measure on, and what is done to those to train on."""

    dataset_name: str = option(
        EMBEDDED_DATASET,
        "`emblems` (embedded), a data set on the Hub, or a local folder (saved, Parquet, imagefolder).",
    )
    dataset_config_name: str | None = option(None, "Configuration of a data set on the Hub.")
    image_column_name: str = option("image", "Column of the images.")
    label_column_name: str = option("label", "Column of the classes.")
    objects_column_name: str = option(
        "objects", "Column of the boxes (`bbox`: x, y, width, height), for evaluation only."
    )
    validation_fraction: float = option(0.1, "Share of `train` set apart when there is no `validation` split.")
    classes: list[str] | None = option(None, "Use only the images of these classes: their names, or a file of names.")
    samples_per_class: int | None = option(None, "Train on that many images of each class, chosen by `--seed`.")
    train_fraction: float | None = option(None, "Train on that share of each class, chosen by `--seed`.")
    streaming: bool = option(False, "Read the training images while they are used, from Parquet or the Hub.")
    shuffle_buffer_size: int = option(1000, "Number of images among which the next is drawn, with `--streaming`.")
    skip_undecodable: bool = option(False, "Leave out images that cannot be decoded, instead of stopping at them.")
    max_train_samples: int | None = option(None, "Use only that many training images.")
    max_eval_samples: int | None = option(None, "Use only that many images per other split.")
    horizontal_flip: bool = option(True, "Flip half of the training images.")
    channel_permutation: bool = option(False, "Exchange the colour channels of training images at random.")
    min_crop_area: float | None = option(
        None, "Train on random parts of at least this share of the image, not the paper's crops."
    )
    color_jitter: float = option(0.0, "Vary brightness, contrast and saturation by up to this share.")
    grayscale_probability: float = option(0.0, "Share of the training images that lose their colours.")
    max_rotation: float = option(0.0, "Turn training images by up to that many degrees.")
    erasing_probability: float = option(0.0, "Share of the training images of which a rectangle is erased.")
    fast_decoding: bool = option(
        False, "Decode large JPEG training images at a fraction of their size: faster, other pixels."
    )

    def __post_init__(self):
        if self.samples_per_class is not None and self.train_fraction is not None:
            raise ValueError("`--samples_per_class` and `--train_fraction` are two ways to choose: give one of them.")
        if self.classes is not None:
            self.classes = read_class_names(self.classes)
        refused = ("samples_per_class", "train_fraction", "max_train_samples", "skip_undecodable")
        given = [f"`--{name}`" for name in refused if getattr(self, name)]
        if self.streaming and given:
            raise ValueError(
                f"{' and '.join(given)} cannot be had with `--streaming`, as all of the training images would have "
                "to be looked at first. `--max_steps` ends the training earlier; `transformers-sat prepare "
                "--skip_invalid` leaves out what cannot be decoded."
            )


@dataclass
class ModelArguments:
    """What to start from, and what of it is changed and trained."""

    model_name_or_path: str | None = option(
        None,
        "Repository or folder to start from: a ViT, DeiT, DINOv2, DINOv3, CLIP, SigLIP, a ViT of timm, or SAT; the backbone "
        "that comes with the package for the embedded data, which other data sets must not leave out.",
    )
    model_revision: str = option("main", "Branch, tag or commit of the model.")
    from_scratch: bool = option(False, "Keep the backbone's sizes, but not its weights.")
    image_size: int | None = option(
        None, "Side of the model's images; a SAT model's own, that of a backbone's image processor, or 224 at most."
    )
    area_target: float | None = option(
        None, "Lambda: mean share of the image that is foreground. The model's own, or 0.25."
    )
    area_loss_weight: float | None = option(None, "Weight of the area loss. The model's own, or 1.")
    normalization_loss_weight: float | None = option(None, "Weight of the normalization loss. The model's own, or 1.")
    area_band_loss_weight: float | None = option(None, "Weight of the per-image area band. The model's own, or 0.")
    num_spatial_layers: int | None = option(None, "Last blocks with spatial-query attention. The model's own, or 3.")
    spatial_token_layer: int | None = option(
        None, "Block that the spatial token joins at. The model's own, or 0 (the input)."
    )
    drop_path_rate: float | None = option(None, "Stochastic depth of the last block. The model's own, or 0.1.")
    trainable_layers: int | None = option(None, "Train only that many last blocks; all.")
    new_parameters_learning_rate: float | None = option(
        None, "Learning rate of the spatial token and the classifier; `learning_rate` as the others."
    )
    area_loss_per_micro_batch: bool = option(
        False,
        "Under gradient accumulation take the area loss of each micro-batch alone: not the paper's loss, but without the "
        "forward pass that looks at the whole batch first.",
    )
    attn_implementation: str | None = option(None, "eager, sdpa, flash_attention_2, ...")
    overwrite_output_dir: bool = option(
        False, "Begin anew in an output folder that holds a model: it and its checkpoints are replaced."
    )
    token: str | None = option(None, "Access token for the Hub.")
    hub_license: str | None = option(None, "Licence of the weights for the model card, such as apache-2.0.")

    def config_fields(self) -> dict:
        """The fields of the configuration that were given."""
        names = {each.name for each in fields(self)} & set(SATConfig.__dataclass_fields__)
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass
class EvaluationArguments:
    """How localization is measured. The threshold is chosen on the validation split."""

    protocol: str = option("sat", "Evaluation protocol: `sat` (the paper's) or `wsoleval`.")
    localization_thresholds: list[float] | None = option(
        None, "Thresholds to choose from; 0.05 to 0.95 in steps of 0.05 for `sat`."
    )

    def __post_init__(self):
        protocol = get_protocol(self.protocol)
        if self.localization_thresholds is None:
            self.localization_thresholds = list(protocol.calibration_thresholds)
        # refused before any training
        EvaluationSettings(self.protocol, localization_thresholds=self.localization_thresholds)


__all__ = ["DataArguments", "EvaluationArguments", "ModelArguments"]
