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
Fine-tunes SAT for weakly supervised object localization with Transformers' Trainer, calibrates its threshold on the
validation split and measures it on the test split.

    python examples/run_wsol.py examples/recipes/emblems.yaml
    python examples/run_wsol.py --dataset_name my_images --model_name_or_path facebook/deit-small-patch16-224 \\
        --image_size 224 --output_dir my_model --num_train_epochs 30 --learning_rate 1e-4
    torchrun --nproc-per-node 2 examples/run_wsol.py examples/recipes/emblems.yaml
"""

import json
import logging
import os
import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import datasets
import torch
import transformers
import yaml
from transformers import AutoConfig, AutoImageProcessor, HfArgumentParser, TrainingArguments, set_seed
from transformers.utils import is_torchvision_available

from transformers_sat import SATConfig, SATForWeaklySupervisedLocalization, SATImageProcessor, SATImageProcessorPil
from transformers_sat.convert import load_backbone
from transformers_sat.data import (
    EMBEDDED_DATASET,
    LocalizationDataset,
    StreamedLocalizationDataset,
    TrainingAugmentation,
    collate_localization,
    decode_image,
    drop_undecodable,
    has_boxes,
    has_masks,
    load_localization_dataset,
    load_streaming_dataset,
    read_class_names,
    select_fraction,
    select_samples_per_class,
)
from transformers_sat.drawn import emblem_backbone_path
from transformers_sat.evaluation import LocalizationEvaluation, evaluate_localization, evaluate_pixels
from transformers_sat.evaluation.report import write_reports
from transformers_sat.metrics import get_protocol
from transformers_sat.results import (
    RESULTS_FILE,
    public_name,
    results_record,
    summary,
    training_record,
    write_results,
)
from transformers_sat.training import (
    LocalizationMetrics,
    LocalizationTrainer,
    count_parameters,
    freeze_encoder,
)
from transformers_sat.training.runs import checkpoint_to_resume, plain_last_words, run_folder
from transformers_sat.visualization import Localization, contact_sheet
from transformers_sat.writing import replacing_file


logger = logging.getLogger(__name__)


@dataclass
class DataArguments:
    dataset_name: str = field(
        default=EMBEDDED_DATASET,
        metadata={
            "help": "`emblems` (embedded), a data set on the Hub, or a local folder (saved, Parquet, imagefolder)."
        },
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of a data set on the Hub."})
    image_column_name: str = field(default="image", metadata={"help": "Column of the images."})
    label_column_name: str = field(default="label", metadata={"help": "Column of the classes."})
    objects_column_name: str = field(
        default="objects", metadata={"help": "Column of the boxes (`bbox`: x, y, width, height), for evaluation only."}
    )
    validation_fraction: float = field(
        default=0.1, metadata={"help": "Share of `train` set apart when there is no `validation` split."}
    )
    classes: list[str] | None = field(
        default=None, metadata={"help": "Use only the images of these classes: their names, or a file of names."}
    )
    samples_per_class: int | None = field(
        default=None, metadata={"help": "Train on that many images of each class, chosen by `--seed`."}
    )
    train_fraction: float | None = field(
        default=None, metadata={"help": "Train on that share of each class, chosen by `--seed`."}
    )
    streaming: bool = field(
        default=False, metadata={"help": "Read the training images while they are used, from Parquet or the Hub."}
    )
    shuffle_buffer_size: int = field(
        default=1000, metadata={"help": "Number of images among which the next is drawn, with `--streaming`."}
    )
    skip_undecodable: bool = field(
        default=False, metadata={"help": "Leave out images that cannot be decoded, instead of stopping at them."}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only that many training images."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only that many images per other split."})
    horizontal_flip: bool = field(default=True, metadata={"help": "Flip half of the training images."})
    channel_permutation: bool = field(
        default=False, metadata={"help": "Exchange the colour channels of training images at random."}
    )
    min_crop_area: float | None = field(
        default=None,
        metadata={"help": "Train on random parts of at least this share of the image, not the paper's crops."},
    )
    color_jitter: float = field(
        default=0.0, metadata={"help": "Vary brightness, contrast and saturation by up to this share."}
    )
    grayscale_probability: float = field(
        default=0.0, metadata={"help": "Share of the training images that lose their colours."}
    )
    max_rotation: float = field(default=0.0, metadata={"help": "Turn training images by up to that many degrees."})
    erasing_probability: float = field(
        default=0.0, metadata={"help": "Share of the training images of which a rectangle is erased."}
    )
    fast_decoding: bool = field(
        default=False,
        metadata={"help": "Decode large JPEG training images at a fraction of their size: faster, other pixels."},
    )
    contact_sheet_samples: int = field(default=24, metadata={"help": "Images on the contact sheet; 0 for none."})

    def __post_init__(self):
        if self.samples_per_class is not None and self.train_fraction is not None:
            raise ValueError("`--samples_per_class` and `--train_fraction` are two ways to choose: give one of them.")
        if self.classes is not None:
            self.classes = read_class_names(self.classes)
        refused = ("samples_per_class", "train_fraction", "max_train_samples", "skip_undecodable")
        given = [f"`--{name}`" for name in refused if getattr(self, name)]
        if self.streaming and given:
            raise ValueError(
                f"{' and '.join(given)} cannot be had with `--streaming`, as all of the training images would have to be "
                "looked at first. `--max_steps` ends the training earlier; `transformers-sat prepare --skip_invalid` leaves "
                "out what cannot be decoded."
            )


@dataclass
class ModelArguments:
    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "ViT, DeiT, DINOv2 or SAT repository or folder to start from; the backbone that comes with the "
            "package for the embedded data, which other data sets must not leave out."
        },
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the model."})
    from_scratch: bool = field(default=False, metadata={"help": "Keep the backbone's sizes, but not its weights."})
    image_size: int | None = field(default=None, metadata={"help": "Side of the model's images; the backbone's own."})
    area_target: float | None = field(
        default=None,
        metadata={"help": "Lambda: mean share of the image that is foreground. The model's own, or 0.25."},
    )
    area_loss_weight: float | None = field(
        default=None, metadata={"help": "Weight of the area loss. The model's own, or 1."}
    )
    normalization_loss_weight: float | None = field(
        default=None, metadata={"help": "Weight of the normalization loss. The model's own, or 1."}
    )
    area_band_loss_weight: float | None = field(
        default=None, metadata={"help": "Weight of the per-image area band. The model's own, or 0."}
    )
    num_spatial_layers: int | None = field(
        default=None, metadata={"help": "Last blocks with spatial-query attention. The model's own, or 3."}
    )
    drop_path_rate: float | None = field(
        default=None, metadata={"help": "Stochastic depth of the last block. The model's own, or 0.1."}
    )
    trainable_layers: int | None = field(default=None, metadata={"help": "Train only that many last blocks; all."})
    new_parameters_learning_rate: float | None = field(
        default=None,
        metadata={"help": "Learning rate of the spatial token and the classifier; `learning_rate` as the others."},
    )
    attn_implementation: str | None = field(default=None, metadata={"help": "eager, sdpa, flash_attention_2, ..."})
    token: str | None = field(default=None, metadata={"help": "Access token for the Hub."})
    hub_license: str | None = field(
        default=None, metadata={"help": "Licence of the weights for the model card, such as apache-2.0."}
    )

    def config_fields(self) -> dict:
        """The fields of the configuration that were given."""
        names = {field.name for field in fields(self)} & set(SATConfig.__dataclass_fields__)
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass
class EvaluationArguments:
    protocol: str = field(default="sat", metadata={"help": "Evaluation protocol: `sat` (the paper's) or `wsoleval`."})
    thresholds: list[float] | None = field(
        default=None, metadata={"help": "Thresholds to choose from; 0.05 to 0.95 in steps of 0.05 for `sat`."}
    )

    def __post_init__(self):
        protocol = get_protocol(self.protocol)
        if self.thresholds is None:
            self.thresholds = list(protocol.calibration_thresholds)


def parse_arguments():
    parser = HfArgumentParser((DataArguments, ModelArguments, EvaluationArguments, TrainingArguments))
    file = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1].endswith((".yaml", ".yml", ".json")) else None
    if file is None:
        return parser.parse_args_into_dataclasses()
    # flags after the file win over it
    text = Path(file).read_text(encoding="utf-8")
    typed = json.loads(text) if file.endswith(".json") else yaml.safe_load(text)
    # YAML's values as they are written, as on a command line: `no` is a strategy here, not false
    settings = typed if file.endswith(".json") else yaml.load(text, Loader=yaml.BaseLoader)
    if not isinstance(settings, dict):
        raise ValueError(f"{file} must hold `name: value` pairs, got {type(settings).__name__}.")
    arguments = []
    for name, value in settings.items():
        if value in (None, "", "null", "~"):
            continue
        if isinstance(value, dict):
            value = json.dumps(typed[name])
        arguments += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return parser.parse_args_into_dataclasses(args=arguments + sys.argv[2:])


def set_up_logging(training_args: TrainingArguments):
    logging.basicConfig(
        format="%(asctime)s - %(levelname)s - %(message)s",
        datefmt="%H:%M:%S",
        level=logging.INFO if training_args.process_index == 0 else logging.ERROR,
    )
    if training_args.process_index == 0:
        transformers.utils.logging.set_verbosity(training_args.get_process_log_level())
    else:
        transformers.utils.logging.set_verbosity_error()
        datasets.utils.logging.set_verbosity_error()
        datasets.disable_progress_bars()
    logging.getLogger("httpx").setLevel(logging.WARNING)


def load_splits(
    data_args: DataArguments, model_args: ModelArguments, training_args: TrainingArguments
) -> tuple[dict[str, datasets.Dataset | datasets.IterableDataset], int | None]:
    """The splits by name, and the number of training images, which is not always known of a stream."""
    source = {
        "name": data_args.dataset_name,
        "config_name": data_args.dataset_config_name,
        "image_column": data_args.image_column_name,
        "label_column": data_args.label_column_name,
        "objects_column": data_args.objects_column_name,
        "classes": data_args.classes,
        "token": model_args.token,
    }
    # the main process writes the cache, the others read it
    with training_args.main_process_first(desc="loading the data set"):
        if data_args.streaming:
            rows, others, num_rows = load_streaming_dataset(**source)
            splits = {"train": rows, **others}
        else:
            splits = dict(load_localization_dataset(**source, validation_fraction=data_args.validation_fraction))
            if data_args.samples_per_class is not None:
                splits["train"] = select_samples_per_class(
                    splits["train"], data_args.samples_per_class, training_args.seed
                )
            if data_args.train_fraction is not None:
                splits["train"] = select_fraction(splits["train"], data_args.train_fraction, training_args.seed)
        for split, dataset in splits.items():
            if isinstance(dataset, datasets.IterableDataset):
                continue
            limit = data_args.max_train_samples if split == "train" else data_args.max_eval_samples
            if limit is not None and limit < len(dataset):
                # the first rows of a split are often of few classes
                dataset = dataset.shuffle(seed=training_args.seed).select(range(limit))
            splits[split] = drop_undecodable(dataset) if data_args.skip_undecodable else dataset
        if not data_args.streaming:
            num_rows = len(splits["train"])
    if num_rows is None and training_args.do_train and training_args.max_steps <= 0:
        raise ValueError(
            "The number of training images in the stream is not known: say with `--max_steps` how long to train."
        )
    return splits, num_rows


def training_data(
    rows: datasets.Dataset | datasets.IterableDataset,
    num_rows: int | None,
    image_processor: SATImageProcessor,
    image_size: int,
    data_args: DataArguments,
    seed: int,
) -> LocalizationDataset:
    augmentation = TrainingAugmentation(
        image_size,
        horizontal_flip=data_args.horizontal_flip,
        channel_permutation=data_args.channel_permutation,
        min_crop_area=data_args.min_crop_area,
        color_jitter=data_args.color_jitter,
        grayscale_probability=data_args.grayscale_probability,
        max_rotation=data_args.max_rotation,
        erasing_probability=data_args.erasing_probability,
    )
    settings = {"augmentation": augmentation, "seed": seed, "fast_decoding": data_args.fast_decoding}
    if data_args.streaming:
        settings |= {"num_rows": num_rows, "buffer_size": data_args.shuffle_buffer_size}
        return StreamedLocalizationDataset(rows, image_processor, **settings)
    return LocalizationDataset(rows, image_processor, **settings)


def backbone_name(data_args: DataArguments, model_args: ModelArguments) -> str:
    if model_args.model_name_or_path is not None:
        return model_args.model_name_or_path
    if data_args.dataset_name == EMBEDDED_DATASET:
        return str(emblem_backbone_path())
    raise ValueError(
        "`--model_name_or_path` is missing: SAT starts from a ViT that was trained to classify, such as "
        "facebook/deit-small-patch16-224."
    )


def align_classes(
    splits: dict[str, datasets.Dataset], name: str, model_args: ModelArguments, training_args: TrainingArguments
) -> dict[str, datasets.Dataset]:
    """Gives the data's classes the numbers that a SAT model knows them by."""
    config = AutoConfig.from_pretrained(
        name, token=model_args.token, revision=model_args.model_revision, trust_remote_code=False
    )
    class_names = splits["train"].features["label"].names
    if config.model_type != SATConfig.model_type and not training_args.do_train:
        logger.warning(f"{name} is a backbone: its spatial token and classifier are random, and so are the figures.")
    if config.model_type != SATConfig.model_type or list(config.id2label.values()) == class_names:
        return splits
    if sorted(config.label2id) == sorted(class_names):
        if isinstance(splits["train"], datasets.IterableDataset):
            raise ValueError(
                f"{name} has the data's classes in another order, which cannot be changed with `--streaming`. Start from a "
                "backbone, or give the data the model's order."
            )
        return {split: data.align_labels_with_mapping(config.label2id, "label") for split, data in splits.items()}
    if not training_args.do_train:
        raise ValueError(
            f"{name} was trained on other classes than the data has: {list(config.id2label.values())[:10]} against "
            f"{class_names[:10]}. Measure it on data with its own classes, or train it (`--do_train`)."
        )
    logger.warning(f"{name} was trained on other classes than the data has: its classifier has to learn them anew.")
    return splits


def load_model(name: str, model_args: ModelArguments, class_names: list[str]):
    config_fields = model_args.config_fields() | {
        "id2label": dict(enumerate(class_names)),
        "label2id": {class_name: label for label, class_name in enumerate(class_names)},
    }
    model = load_backbone(name, token=model_args.token, revision=model_args.model_revision, **config_fields)
    if model_args.from_scratch:
        model = SATForWeaklySupervisedLocalization(model.config)
    if model_args.attn_implementation is not None:
        model.set_attn_implementation(model_args.attn_implementation)
    if model_args.trainable_layers is not None:
        freeze_encoder(model, model_args.trainable_layers)
    return model


def load_image_processor(name: str, model_args: ModelArguments, image_size: int, protocol: str) -> SATImageProcessor:
    """
    A processor that shows the model what it is measured on, the protocol's resize and crop, with the normalization that
    the backbone is used to and, from a SAT model, its threshold.
    """
    processor_class = SATImageProcessor if is_torchvision_available() else SATImageProcessorPil
    settings = get_protocol(protocol).processor_settings(image_size)
    try:
        source = AutoImageProcessor.from_pretrained(
            name, token=model_args.token, revision=model_args.model_revision, trust_remote_code=False
        )
    except OSError:
        logger.warning(f"{name} has no image processor: its mean and deviation are taken to be ImageNet's.")
        return processor_class(**settings)
    kept = {key: getattr(source, key, None) for key in ("image_mean", "image_std", "localization_threshold")}
    return processor_class(**settings, **{key: value for key, value in kept.items() if value is not None})


def draw_contact_sheet(model, image_processor, dataset, path: str, num_samples: int, heading: str):
    """Draws images of a split as a user of the saved model gets them, in their own pixels."""
    names = model.config.id2label
    tiles = []
    for row in dataset.shuffle(seed=0).select(range(min(num_samples, len(dataset)))):
        image = decode_image(row["image"])
        inputs = image_processor(image, return_tensors="pt").to(model.device)
        with torch.no_grad():
            outputs = model(**inputs)
        found = image_processor.post_process_localization(outputs, target_sizes=[(image.height, image.width)])[0]
        label, score = found["labels"][0].item(), found["scores"][0].item()
        is_right = "" if label == row["label"] else f" (is {names[row['label']]})"
        bbox = (row.get("objects") or {}).get("bbox") or []
        tiles.append(
            Localization(
                image=image,
                localization_map=found["localization_map"].numpy(),
                predicted_boxes=found["boxes"].tolist(),
                true_boxes=[(x, y, x + width, y + height) for x, y, width, height in bbox],
                title=f"{names[label]} {score:.2f}{is_right}",
            )
        )
    contact_sheet(tiles, path, heading=heading)


class Measurement:
    """How the splits are measured: in training by the trainer, at the end as `transformers-sat evaluate` does."""

    def __init__(
        self, splits: dict[str, datasets.Dataset], image_processor: SATImageProcessor, arguments: EvaluationArguments
    ):
        self.image_processor = image_processor
        self.protocol, self.thresholds = arguments.protocol, arguments.thresholds
        self.splits = {split: splits[split] for split in ("validation", "test") if split in splits}
        self.with_boxes = {split: has_boxes(rows) for split, rows in self.splits.items()}
        self.with_masks = {split: has_masks(rows) for split, rows in self.splits.items()}
        for split in self.splits:
            if not self.with_boxes[split]:
                measured = "pixels and the classification" if self.with_masks[split] else "the classification"
                logger.warning(
                    f"The {split} split has no boxes for all of its images: localization cannot be measured on it, "
                    f"only {measured}."
                )
        if not self.with_boxes["validation"]:
            logger.warning(
                "Without boxes in the validation split the threshold cannot be chosen: it stays at "
                f"{image_processor.localization_threshold:g}."
            )

    def prepare(self, trainer: LocalizationTrainer, split: str) -> LocalizationMetrics:
        """Makes a split the one that the trainer evaluates on."""
        with_boxes = self.with_boxes[split]
        frame = self.image_processor.model_input_size()[0]
        trainer.eval_dataset = LocalizationDataset(
            self.splits[split], self.image_processor, protocol=self.protocol, with_boxes=with_boxes
        )
        trainer.compute_metrics = LocalizationMetrics(frame, self.protocol, self.thresholds, with_boxes=with_boxes)
        trainer.label_names = ["labels", "boxes"] if with_boxes else ["labels"]
        return trainer.compute_metrics

    def run(self, trainer: LocalizationTrainer) -> tuple[dict[str, dict], LocalizationEvaluation | None]:
        """
        Measures all splits; the validation split chooses the threshold, which the processor keeps. Returns the figures
        of each, and all that was found on the last, if it has boxes.
        """
        results, evaluation = {}, None
        for split in self.splits:
            if self.with_boxes[split]:
                evaluation = self._localize(trainer, split)
                results[split] = evaluation.result
            elif self.with_masks[split]:
                results[split], evaluation = self._measure_pixels(trainer, split), None
            else:
                metrics, evaluation = self.prepare(trainer, split), None
                trainer.evaluate(metric_key_prefix=split)
                results[split] = metrics.result
            figures = {name: value for name, value in results[split].items() if isinstance(value, int | float)}
            logged = {f"{split}_{name}": value for name, value in figures.items() if not isinstance(value, bool)}
            trainer.log(dict(logged))
            trainer.save_metrics(split, logged)
        return results, evaluation

    def _measure_pixels(self, trainer: LocalizationTrainer, split: str) -> dict:
        return evaluate_pixels(
            trainer.accelerator.unwrap_model(trainer.model),
            self.image_processor,
            self.splits[split],
            protocol=self.protocol,
            batch_size=trainer.args.per_device_eval_batch_size,
            num_workers=trainer.args.dataloader_num_workers,
            show_progress=not trainer.args.disable_tqdm,
        ).result

    def _localize(self, trainer: LocalizationTrainer, split: str) -> LocalizationEvaluation:
        chooses = split == "validation"
        evaluation = evaluate_localization(
            trainer.accelerator.unwrap_model(trainer.model),
            self.image_processor,
            self.splits[split],
            protocol=self.protocol,
            threshold="oracle" if chooses else self.image_processor.localization_threshold,
            thresholds=self.thresholds,
            batch_size=trainer.args.per_device_eval_batch_size,
            num_workers=trainer.args.dataloader_num_workers,
            show_progress=not trainer.args.disable_tqdm,
        )
        if chooses:
            self.image_processor.localization_threshold = evaluation.result["threshold"]
        elif self.with_boxes["validation"]:
            evaluation.result["threshold_choice"] = "validation"
        return evaluation


def main():
    data_args, model_args, evaluation_args, training_args = parse_arguments()
    set_up_logging(training_args)
    # refused before anything is loaded
    with run_folder(training_args.output_dir):
        resumed = checkpoint_to_resume(
            training_args.output_dir, training_args.resume_from_checkpoint, "--resume_from_checkpoint True"
        )
        train_and_measure(data_args, model_args, evaluation_args, training_args, resumed)


def train_and_measure(
    data_args: DataArguments,
    model_args: ModelArguments,
    evaluation_args: EvaluationArguments,
    training_args: TrainingArguments,
    resumed: str | None,
):
    name = backbone_name(data_args, model_args)
    set_seed(training_args.seed)

    splits, num_rows = load_splits(data_args, model_args, training_args)
    splits = align_classes(splits, name, model_args, training_args)
    class_names = splits["train"].features["label"].names
    model = load_model(name, model_args, class_names)
    image_size = model.config.image_size
    if not isinstance(image_size, int):
        raise ValueError(
            f"`image_size` must be one number: the protocols compare boxes in a square, got {image_size}."
        )
    image_processor = load_image_processor(name, model_args, image_size, evaluation_args.protocol)
    total, trainable = count_parameters(model)
    logger.info(f"{total / 1e6:.2f} M parameters, {trainable / 1e6:.2f} M to train; {len(class_names)} classes")

    measurement = Measurement(splits, image_processor, evaluation_args)
    training_args.remove_unused_columns = False
    training_args.batch_eval_metrics = True
    trainer = LocalizationTrainer(
        model=model,
        args=training_args,
        train_dataset=training_data(
            splits["train"], num_rows, image_processor, image_size, data_args, training_args.seed
        ),
        # a place holder for its checks; `prepare` sets the examples and what is computed on them
        eval_dataset=splits["validation"],
        processing_class=image_processor,
        data_collator=collate_localization,
        new_parameters_learning_rate=model_args.new_parameters_learning_rate,
    )
    measurement.prepare(trainer, "validation")

    # it is published: names of what others can find, and no folders of this machine
    model_name, dataset_name = public_name(model_args.model_name_or_path), public_name(data_args.dataset_name)
    record = results_record(
        {},
        command="examples/run_wsol.py",
        model=model_name or "the embedded backbone",
        dataset=dataset_name,
        config_name=data_args.dataset_config_name,
        seed=training_args.seed,
        num_processes=training_args.world_size,
        license=model_args.hub_license,
        arguments={
            "data": asdict(data_args) | {"dataset_name": dataset_name},
            "model": asdict(model_args) | {"model_name_or_path": model_name, "token": None},
        },
        **training_record(training_args),
    )
    if training_args.do_train:
        train_result = trainer.train(resume_from_checkpoint=resumed)
        trainer.log_metrics("train", train_result.metrics)
        trainer.save_metrics("train", train_result.metrics)
        record["train_seconds"] = train_result.metrics["train_runtime"]
        # before any measuring, so that a failure there loses nothing
        trainer.save_model()
        trainer.save_state()

    results, evaluation = measurement.run(trainer)
    trainer.save_model()
    output_dir = training_args.output_dir
    if trainer.is_world_process_zero():
        record["results"] = {split: {evaluation_args.protocol: figures} for split, figures in results.items()}
        write_results(os.path.join(output_dir, RESULTS_FILE), record)
        if training_args.push_to_hub:
            # for the widget of the model's page
            with replacing_file(os.path.join(output_dir, "example.png")) as unfinished:
                decode_image(splits[list(results)[-1]][0]["image"]).save(unfinished)
        print(f"\n{summary(record['results'])}\n\nresults: {os.path.join(output_dir, RESULTS_FILE)}")
        split = list(results)[-1]
        model = trainer.model.eval()
        if evaluation is not None:
            report = Path(output_dir, "report")
            write_reports([evaluation], splits[split], model.config.id2label, report)
            print(f"plots, worst and best cases, one row per image: {report}")
        if data_args.contact_sheet_samples > 0:
            sheet = os.path.join(output_dir, "contact_sheet.png")
            draw_contact_sheet(
                model,
                image_processor,
                splits[split],
                sheet,
                data_args.contact_sheet_samples,
                heading=f"{dataset_name}, {split}: true boxes green, predicted boxes red",
            )
            print(f"contact sheet: {sheet}")
        print(
            "\nload it:\n"
            "  import transformers_sat; from transformers import AutoModel, pipeline\n"
            f'  model = AutoModel.from_pretrained("{output_dir}")\n'
            f'  localizer = pipeline("weakly-supervised-localization", model="{output_dir}")\n'
        )

    if training_args.push_to_hub:
        # the card of this model, with the figures just written, in place of the automatic one
        trainer.push_to_hub()
    trainer.end()


if __name__ == "__main__":
    with plain_last_words():
        main()
