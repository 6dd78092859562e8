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
"""Setting up a run: where the model starts, how its images are prepared, and the rows of each split."""

import logging

import datasets
from accelerate import PartialState

from ..convert import load_backbone
from ..data import (
    EMBEDDED_DATASET,
    LocalizationDataset,
    StreamedLocalizationDataset,
    TrainingAugmentation,
    check_headers,
    class_numbers_of,
    drop_undecodable,
    load_localization_dataset,
    load_streaming_dataset,
    select_fraction,
    select_samples_per_class,
)
from ..data.classes import class_names_of
from ..data.loading import check_whole_images
from ..drawn import emblem_backbone_path
from ..evaluation.split import EvaluationSplit
from ..metrics import get_protocol
from ..model.configuration_sat import SATConfig
from ..model.image_processing_sat import SATImageProcessor
from ..model.modeling_sat import SATForWeaklySupervisedLocalization
from ..safe_loading import ModelFiles, read_config, read_processor_settings
from .arguments import DataArguments, ModelArguments
from .trainer import check_learns_classes, freeze_encoder


logger = logging.getLogger(__name__)

# What a run goes on with of a start model's image processor.
KEPT_OF_PROCESSOR = ("image_mean", "image_std", "localization_threshold")


def start_name(data_args: DataArguments, model_args: ModelArguments) -> str:
    """The model to start from: the embedded backbone, if nothing was named for the embedded data."""
    if model_args.model_name_or_path is not None:
        return model_args.model_name_or_path
    if data_args.dataset_name == EMBEDDED_DATASET:
        return str(emblem_backbone_path())
    raise ValueError(
        "`--model_name_or_path` is missing: SAT starts from a ViT that was trained to classify, such as "
        "facebook/deit-small-patch16-224."
    )


def start_model(
    name: str,
    class_names: list[str],
    protocol: str = "sat",
    is_trained: bool = True,
    token: str | bool | None = None,
    revision: str = "main",
    **config_fields,
) -> tuple[SATForWeaklySupervisedLocalization, SATImageProcessor]:
    """
    A model to train, from a backbone or from a SAT model to go on with, and its image processor.

    Args:
        name (`str`): repository on the Hub or folder.
        class_names (`list[str]`):
            Classes of the data. A SAT model that has the same ones keeps its own order; see [`class_numbers_of`].
        protocol (`str`, *optional*, defaults to `"sat"`):
            Evaluation protocol, whose resize and crop the image processor has: it shows the model what it is measured
            on.
        is_trained (`bool`, *optional*, defaults to `True`):
            Whether the model is going to be trained. If not, a SAT model keeps its classes, whatever the data's.
        token (`str` or `bool`, *optional*): access token for the Hub.
        revision (`str`, *optional*, defaults to `"main"`): branch, tag or commit.
        config_fields: fields of [`SATConfig`] that differ from the repository's, such as `area_target`.

    Returns:
        `tuple` of [`SATForWeaklySupervisedLocalization`] and [`SATImageProcessor`], with the normalization that the
        start model is used to and, from a SAT model, its threshold.

    Raises:
        [`~transformers_sat.places.NoSuchPlaceError`]: if there is no such model.
        `OSError`, `ValueError`: see [`~transformers_sat.convert.load_backbone`]; also if `image_size` is not one
        number, or there is one class alone to train on.
    """
    if is_trained and len(class_names) < 2:
        raise ValueError(f"Training needs two classes or more, got {class_names}.")
    names = _classes_of_model(name, class_names, is_trained, token, revision)
    labels = {"id2label": dict(enumerate(names)), "label2id": {each: number for number, each in enumerate(names)}}
    model = load_backbone(name, token=token, revision=revision, **config_fields, **labels)
    image_size = model.config.image_size
    if not isinstance(image_size, int):
        raise ValueError(
            f"`image_size` must be one number: the protocols compare boxes in a square, got {image_size}."
        )
    settings = get_protocol(protocol).processor_settings(image_size)
    return model, SATImageProcessor(**settings, **_processor_settings(name, token, revision))


def set_up_model(
    name: str, class_names: list[str], model_args: ModelArguments, protocol: str, is_trained: bool
) -> tuple[SATForWeaklySupervisedLocalization, SATImageProcessor]:
    """[`start_model`] as a script's arguments ask for it: with fresh weights, another attention, frozen layers."""
    model, image_processor = start_model(
        name,
        class_names,
        protocol,
        is_trained,
        token=model_args.token,
        revision=model_args.model_revision,
        **model_args.config_fields(),
    )
    if model_args.from_scratch:
        model = SATForWeaklySupervisedLocalization(model.config)
    if model_args.attn_implementation is not None:
        model.set_attn_implementation(model_args.attn_implementation)
    if model_args.trainable_layers is not None:
        freeze_encoder(model, model_args.trainable_layers)
    return model, image_processor


def set_up_splits(
    data_args: DataArguments, seed: int, token: str | None = None, is_trained: bool = True
) -> tuple[dict[str, datasets.Dataset | datasets.IterableDataset], int | None]:
    """
    The splits by name, with the subsets that were asked for.

    Args:
        data_args ([`DataArguments`]): which data.
        seed (`int`): seed of the choice of subsets.
        token (`str`, *optional*): access token for the Hub.
        is_trained (`bool`, *optional*, defaults to `True`):
            Whether a training goes before the measuring, whose result a damaged image would cost: what is measured is then
            decoded now, and not looked at by its headers alone.

    Returns:
        The splits, and the number of training images, which is not always known of a stream.
    """
    source = {
        "name": data_args.dataset_name,
        "config_name": data_args.dataset_config_name,
        "columns": {
            "image": data_args.image_column_name,
            "label": data_args.label_column_name,
            "objects": data_args.objects_column_name,
        },
        "classes": data_args.classes,
        "token": token,
    }
    if data_args.streaming:
        rows, others, num_rows = load_streaming_dataset(**source)
        return {"train": rows, **_limited(others, data_args, seed, is_trained)}, num_rows
    splits = dict(load_localization_dataset(**source, validation_fraction=data_args.validation_fraction))
    if data_args.samples_per_class is not None:
        splits["train"] = select_samples_per_class(splits["train"], data_args.samples_per_class, seed)
    if data_args.train_fraction is not None:
        splits["train"] = select_fraction(splits["train"], data_args.train_fraction, seed)
    splits = _limited(splits, data_args, seed, is_trained)
    return splits, len(splits["train"])


def splits_to_measure(
    rows: dict[str, datasets.Dataset], config: SATConfig, image_processor: SATImageProcessor, protocol: str
) -> dict[str, EvaluationSplit]:
    """
    The validation and, if it has classes, the test split, with a warning for each that lacks boxes.

    Args:
        rows (`dict[str, datasets.Dataset]`): the splits by name.
        config ([`SATConfig`]): configuration of the model that is to be measured.
        image_processor ([`SATImageProcessor`]): the model's, whose threshold stays where none can be chosen.
        protocol (`str`): evaluation protocol.

    Raises:
        `ValueError`: as [`EvaluationSplit.of`], and if the validation split has no classes.
    """
    splits = {}
    for name in ("validation", "test"):
        if name not in rows:
            continue
        split = EvaluationSplit.of(name, rows[name], config, protocol)
        if name == "test" and not split.has_labels:
            logger.warning("The test split is not measured: its images have no classes.")
            continue
        splits[name] = split.check_labels()
        if not split.has_boxes:
            logger.warning(
                f"The {name} split has no boxes for all of its images: localization cannot be measured on it, only "
                f"{'pixels and the' if split.has_masks else 'the'} classification."
            )
    if not splits["validation"].has_boxes:
        logger.warning(
            "Without boxes in the validation split the threshold cannot be chosen: it stays at "
            f"{image_processor.localization_threshold:g}."
        )
    return splits


def set_up_training_data(
    rows: datasets.Dataset | datasets.IterableDataset,
    num_rows: int | None,
    model: SATForWeaklySupervisedLocalization,
    image_processor: SATImageProcessor,
    data_args: DataArguments,
    seed: int,
) -> LocalizationDataset:
    """
    The training rows as inputs of the model, augmented as was asked for; `num_rows` is that of a stream, if known.
    """
    check_learns_classes(model.config)
    augmentation = TrainingAugmentation(
        model.config.image_size,
        horizontal_flip=data_args.horizontal_flip,
        channel_permutation=data_args.channel_permutation,
        min_crop_area=data_args.min_crop_area,
        color_jitter=data_args.color_jitter,
        grayscale_probability=data_args.grayscale_probability,
        max_rotation=data_args.max_rotation,
        erasing_probability=data_args.erasing_probability,
    )
    settings = {
        "augmentation": augmentation,
        "seed": seed,
        "fast_decoding": data_args.fast_decoding,
        "class_numbers": class_numbers_of(rows, model.config),
    }
    if data_args.streaming:
        settings |= {"num_rows": num_rows, "buffer_size": data_args.shuffle_buffer_size}
        return StreamedLocalizationDataset(rows, image_processor, **settings)
    return LocalizationDataset(rows, image_processor, **settings)


def _classes_of_model(name: str, class_names: list[str], is_trained: bool, token, revision: str) -> list[str]:
    """The model's own classes, if it is a SAT model that has the data's or is not trained, and else the data's."""
    config = read_config(ModelFiles(name, token, revision))
    if config.model_type != SATConfig.model_type:
        if not is_trained:
            logger.warning(
                f"{name} is a backbone: its spatial token and classifier are random, and so are the figures."
            )
        return class_names
    own = class_names_of(config)
    if not is_trained or sorted(own) == sorted(class_names):
        return own
    logger.warning(f"{name} was trained on other classes than the data has: its classifier has to learn them anew.")
    return class_names


def _processor_settings(name: str, token, revision: str) -> dict:
    settings = read_processor_settings(ModelFiles(name, token, revision))
    if not settings:
        logger.warning(f"{name} has no image processor: its mean and deviation are taken to be ImageNet's.")
    return {key: settings[key] for key in KEPT_OF_PROCESSOR if settings.get(key) is not None}


def _limited(
    splits: dict[str, datasets.Dataset], data_args: DataArguments, seed: int, is_trained: bool
) -> dict[str, datasets.Dataset]:
    limited = {}
    for split, dataset in splits.items():
        limit = data_args.max_train_samples if split == "train" else data_args.max_eval_samples
        if limit is not None and limit < len(dataset):
            # the first rows of a split are often of few classes
            dataset = dataset.shuffle(seed=seed).select(range(limit))
        if data_args.skip_undecodable:
            dataset = drop_undecodable(dataset)
        elif PartialState().is_main_process:
            check = check_whole_images if is_trained and split != "train" else check_headers
            check(dataset, f"the split `{split}`")
        limited[split] = dataset
    return limited


__all__ = ["set_up_model", "set_up_splits", "set_up_training_data", "splits_to_measure", "start_model", "start_name"]
