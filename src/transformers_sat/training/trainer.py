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
"""Transformers' Trainer with what SAT's recipe adds to it."""

import logging
import re
from dataclasses import replace
from functools import partial

import datasets
import numpy as np
import torch
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import get_parameter_names
from transformers.trainer_utils import EvalLoopOutput, has_length

from ..data.classes import class_numbers_of
from ..data.dataset import NOT_FOR_THE_MODEL, LocalizationDataset, collate_localization
from ..data.loading import check_headers, check_training_classes
from ..data.streaming import StreamedLocalizationDataset
from ..data.transforms import TrainingAugmentation
from ..evaluation.counts import figures_of, logged_figures
from ..evaluation.engine import EvaluationSettings, Measurement
from ..evaluation.images import EvaluationImages, share_loader
from ..evaluation.split import EvaluationSplit, with_undecoded_images
from ..model.configuration_sat import SATConfig
from ..model.image_processing_pil_sat import SATImageProcessorPil
from ..model.image_processing_sat import SATImageProcessor
from ..model.modeling_sat import SATForWeaklySupervisedLocalization
from .accumulation import WholeBatch, look_at_whole_batch
from .divergence import DivergenceWatch
from .publishing import PublishingTrainer


logger = logging.getLogger(__name__)

# Beside biases and normalizations, the recipe leaves tokens and position embeddings out of weight decay (section 4.1).
NO_WEIGHT_DECAY = [
    r"bias",
    r"norm",
    r"lambda1",
    r"cls_token",
    r"spatial_token",
    r"register_tokens",
    r"position_embedding",
]

# What no ViT checkpoint fills: the spatial token with its position, and the classifier.
NEW_PARAMETERS = ("vit.embeddings.spatial_token", "vit.embeddings.spatial_position_embedding", "classifier.")
# What wrappers for data parallelism, compilation and adapters (PEFT) put before and into a parameter's name.
WRAPPER_PREFIX = re.compile(r"^(?:(?:module|_orig_mod|base_model\.model)\.)*")
ADAPTER_PARTS = re.compile(r"\.(?:modules_to_save\.[^.]+|base_layer)(?=\.)")


def is_new_parameter(name: str) -> bool:
    """Whether no ViT checkpoint fills a parameter; by its name in the model, or in one that wraps it."""
    return ADAPTER_PARTS.sub("", WRAPPER_PREFIX.sub("", name)).startswith(NEW_PARAMETERS)


class EpochCallback(TrainerCallback):
    """
    Tells the training data the epoch. Accelerate's loaders do so themselves, but not with several processes, nor when
    training goes on in the middle of an epoch.
    """

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        if hasattr(train_dataloader.dataset, "set_epoch"):
            train_dataloader.dataset.set_epoch(int(state.epoch))


def is_rows(dataset) -> bool:
    """Whether a data set holds rows in the schema, and not yet the model's inputs."""
    return isinstance(dataset, datasets.Dataset | datasets.IterableDataset) and (
        dataset.column_names is None or "pixel_values" not in dataset.column_names
    )


def check_arguments(args: TrainingArguments):
    """Raises `ValueError` for what Trainer offers and images or SAT have no use for."""
    if args.use_liger_kernel:
        raise ValueError("`use_liger_kernel` must be left out: there are no Liger kernels for SAT.")
    if args.train_sampling_strategy not in ("random", "sequential"):
        raise ValueError(
            f"`train_sampling_strategy` must be `random` or `sequential`, got `{args.train_sampling_strategy}`: images of "
            "one size cannot be grouped by their length."
        )


def check_learns_classes(config: SATConfig):
    """Raises `ValueError` if a model is multi-label: the rows of a data set have one class each."""
    if config.has_independent_classes:
        raise ValueError(
            "The model is multi-label, and rows have one class each in `label`: give it "
            '`problem_type="single_label_classification"`, or data that hold `pixel_values` and, in `labels`, a 0 or 1 for '
            "each class."
        )


class LocalizationTrainer(PublishingTrainer):
    """
    [`~transformers.Trainer`] for rows in the schema of the data sets (`image`, `label` and, to measure localization,
    `objects`), which trains as the paper does and measures localization.

    `train`, `evaluate` and `predict` take the rows as they are. `evaluate` gives the loss and the figures of
    [`~transformers_sat.evaluation.EvaluationSettings`]' protocol, such as `eval_gt_known_loc` and `eval_top1_loc`, at
    the threshold that is best on these rows, `eval_threshold`; without boxes `eval_top1_cls`. `predict` gives logits
    and localization maps and, for rows with classes, the figures at the image processor's threshold. Any number of
    processes gives what one gives.

    It logs each term of the loss and leaves biases, normalizations, tokens and position embeddings out of weight
    decay. It stops with [`TrainingDivergedError`] before the first step whose loss or gradient is not finite. Its
    checkpoints ([`SavingTrainer`]) are complete or not there, and its pushes ([`PublishingTrainer`]) hold the model
    alone.

    Args:
        model ([`SATForWeaklySupervisedLocalization`], *optional*): what to train, or `model_init` among `kwargs`.
        args ([`~transformers.TrainingArguments`], *optional*): Trainer's. `remove_unused_columns` is switched off.
        train_dataset (`datasets.Dataset`, `datasets.IterableDataset` or a torch data set, *optional*):
            Rows, or what gives the model's inputs, such as a [`LocalizationDataset`], which is used as it is.
        eval_dataset (likewise, or a dictionary of such, *optional*): what `evaluate` measures.
        processing_class ([`SATImageProcessor`] or [`SATImageProcessorPil`], *optional*): needed for rows.
        augmentation ([`TrainingAugmentation`], *optional*): for training rows; the paper's by default.
        evaluation_settings ([`~transformers_sat.evaluation.EvaluationSettings`], *optional*):
            How rows are measured. Batch size, workers and progress are those of `args`. By default under `"sat"`, at
            the best threshold, with no images kept.
        new_parameters_learning_rate (`float`, *optional*):
            Learning rate of the spatial token, its position and the classifier; that of the rest if not given. The
            schedule scales both.
        area_loss_per_micro_batch (`bool`, *optional*, defaults to `False`):
            Whether gradient accumulation takes the area loss of each micro-batch alone. By default it is that of all images
            of the step, as if they were one batch, for which a forward pass of the step's images looks at their maps first.
        kwargs: Trainer's.

    Attributes:
        last_evaluation ([`~transformers_sat.evaluation.LocalizationEvaluation`]):
            All that the last evaluation of rows found, with protocol and baselines.

    Raises:
        `ValueError`: if rows lack a column, classes or images that can be opened, hold classes that the model has not, or
            come without an image processor; and for arguments that images have no use for.

    Example:

    ```python
    trainer = LocalizationTrainer(
        model, args, train_dataset=rows["train"], eval_dataset=rows["validation"], processing_class=image_processor
    )
    trainer.train()
    image_processor.localization_threshold = trainer.evaluate()["eval_threshold"]
    print(trainer.predict(rows["test"]).metrics["test_gt_known_loc"])
    ```
    """

    def __init__(
        self,
        model: SATForWeaklySupervisedLocalization | None = None,
        args: TrainingArguments | None = None,
        *,
        train_dataset=None,
        eval_dataset=None,
        augmentation: TrainingAugmentation | None = None,
        evaluation_settings: EvaluationSettings | None = None,
        new_parameters_learning_rate: float | None = None,
        area_loss_per_micro_batch: bool = False,
        **kwargs,
    ):
        self.new_parameters_learning_rate = new_parameters_learning_rate
        self.area_loss_per_micro_batch = area_loss_per_micro_batch
        self.evaluation_settings = evaluation_settings or EvaluationSettings(
            localization_threshold="oracle", keep_images=False
        )
        self.last_evaluation = None
        self._splits = {}
        if kwargs.get("data_collator") is None:
            kwargs["data_collator"] = collate_localization
        eval_datasets = eval_dataset.values() if isinstance(eval_dataset, dict) else [eval_dataset]
        for name in ("compute_metrics", "preprocess_logits_for_metrics"):
            if kwargs.get(name) is not None and any(map(is_rows, eval_datasets)):
                raise ValueError(
                    f"`{name}` is for an `eval_dataset` that gives the model's inputs, such as a "
                    "LocalizationDataset; rows are measured as `evaluation_settings` says."
                )
        if args is not None:
            check_arguments(args)
        super().__init__(
            model,
            args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            **kwargs,
        )
        self._smooth_in_the_model()
        # columns are the data sets' business, not of the model's arguments
        self.args.remove_unused_columns = False
        if is_rows(train_dataset) or isinstance(train_dataset, LocalizationDataset):
            check_learns_classes(self.model.config)
        if is_rows(train_dataset):
            self.train_dataset = self._training_data(train_dataset, augmentation)
        for dataset in eval_datasets:
            if is_rows(dataset):
                check_headers(self._split_of(dataset).check_labels().dataset, "`eval_dataset`")
        if self.args.load_best_model_at_end and eval_dataset is not None and all(map(is_rows, eval_datasets)):
            self._check_best_metric()
        self.add_callback(EpochCallback())
        # it would log a loss that is not finite as the mean of those before, and wait for the device at every batch
        self.args.logging_nan_inf_filter = False
        self._divergence = DivergenceWatch(
            self.accelerator,
            self.train_dataset,
            self.args.output_dir,
            save=lambda folder: self.save_model(folder, _internal_call=True),
        )
        self._loss_terms = {}
        self._num_loss_terms = 0
        self._micro_batches = []
        self._whole_batch = None

    def _smooth_in_the_model(self):
        """Hands label smoothing to the model's own loss: Trainer's takes the logits alone and drops all other terms."""
        factor = self.args.label_smoothing_factor
        if factor == 0:
            return
        config = self.model.config
        if config.has_independent_classes:
            raise ValueError(
                f"`label_smoothing_factor` is of one class per image, and the model is multi-label: got {factor}, must be 0."
            )
        if not 0 < factor < 1:
            raise ValueError(f"`label_smoothing_factor` must be at least 0 and below 1, got {factor}.")
        config.label_smoothing = factor
        self.label_smoother = None

    # Rows.

    def _training_data(self, rows, augmentation: TrainingAugmentation | None) -> LocalizationDataset:
        config = self.model.config
        missing = [name for name in ("image", "label") if name not in rows.column_names]
        if missing:
            raise ValueError(
                f"`train_dataset` has no column `{missing[0]}`; rename yours. Its columns are {rows.column_names}."
            )
        self._check_image_processor()
        rows = with_undecoded_images(rows)
        if isinstance(rows, datasets.Dataset):
            check_training_classes(rows, "`train_dataset`")
            check_headers(rows, "`train_dataset`")
        settings = {
            "augmentation": augmentation or TrainingAugmentation(config.image_size),
            "seed": self.args.seed,
            "class_numbers": class_numbers_of(rows, config),
        }
        kind = StreamedLocalizationDataset if isinstance(rows, datasets.IterableDataset) else LocalizationDataset
        return kind(rows, self.processing_class, **settings)

    def _check_image_processor(self):
        if not isinstance(self.processing_class, SATImageProcessor | SATImageProcessorPil):
            raise ValueError(
                "Rows need `processing_class`, a SATImageProcessor that prepares their images, got "
                f"{type(self.processing_class).__name__}."
            )

    def _split_of(self, rows: datasets.Dataset) -> EvaluationSplit:
        """What the rows can be measured by, looked up once for each data set."""
        if id(rows) not in self._splits:
            self._check_image_processor()
            if isinstance(rows, datasets.IterableDataset):
                raise ValueError("A stream cannot be measured: load the rows of `eval_dataset` without `streaming`.")
            split = EvaluationSplit.of("evaluation", rows, self.model.config, self.evaluation_settings.protocol)
            if split.has_labels:
                check_learns_classes(self.model.config)
            if split.has_labels and not split.has_boxes:
                logger.warning(
                    "Not all of the images to measure have boxes: localization cannot be measured on them, only "
                    f"{'pixels and the' if split.has_masks else 'the'} classification."
                )
            # with the rows, whose id is theirs as long as they are there
            self._splits[id(rows)] = rows, split
        return self._splits[id(rows)][1]

    def _check_best_metric(self):
        """Raises `ValueError` if what the best model is chosen by is not among the figures; Trainer would tell later."""
        several = self.eval_dataset if isinstance(self.eval_dataset, dict) else {"": self.eval_dataset}
        known = []
        for name, rows in several.items():
            split = self._split_of(rows)
            figures = [
                "loss",
                *figures_of(split.protocol, self.model.config.num_labels, split.has_boxes, split.has_masks),
            ]
            known += [f"{name}_{figure}" if name else figure for figure in figures]
        metric = self.args.metric_for_best_model
        if metric is not None and metric.removeprefix("eval_") not in known:
            raise ValueError(f"`metric_for_best_model` must be one of {', '.join(known)}, got {metric}.")

    # Measuring.

    def get_eval_dataloader(self, eval_dataset=None) -> DataLoader:
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, str):
            dataset = self.eval_dataset[dataset]
        return self._loader_of(dataset) if is_rows(dataset) else super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset) -> DataLoader:
        return self._loader_of(test_dataset) if is_rows(test_dataset) else super().get_test_dataloader(test_dataset)

    def _loader_of(self, rows: datasets.Dataset) -> DataLoader:
        images = EvaluationImages(
            self._split_of(rows), self.processing_class, ten_crop=self.evaluation_settings.ten_crop
        )
        return share_loader(images, self.args.eval_batch_size, self.args.dataloader_num_workers)

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        images = getattr(dataloader.dataset, "dataset", None)
        if not isinstance(images, EvaluationImages):
            return super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        is_prediction = description == "Prediction"
        settings = self.evaluation_settings
        if is_prediction:
            settings = replace(settings, localization_threshold=self.processing_class.localization_threshold)
        elif settings.localization_threshold == "validation":
            settings = replace(settings, localization_threshold="oracle")
        self.callback_handler.eval_dataloader = dataloader
        predicted = []

        def after_batch(batch, maps, scores):
            if is_prediction:
                labels = batch["labels"].tolist() if "labels" in batch else [None] * len(maps)
                predicted.extend(zip(batch["rows"], scores.numpy(), maps.numpy(), labels, strict=True))
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

        measurement = Measurement(images, settings)
        measurement.run(self._model_to_measure(), dataloader, self._forward, after_batch)
        metrics = {}
        if images.split.has_labels:
            self.last_evaluation = measurement.evaluation()
            metrics = {"loss": self.last_evaluation.loss, **logged_figures(self.last_evaluation.result)}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items() if value is not None}
        predictions, labels = self._in_order(predicted, images.split.has_labels) if is_prediction else (None, None)
        return EvalLoopOutput(predictions, labels, metrics, num_samples=len(images))

    def _model_to_measure(self) -> SATForWeaklySupervisedLocalization:
        """
        The model on its device, in the precision of `args`, and not wrapped: shares of processes need not be even.
        """
        if not self.is_in_train and (self.args.fp16_full_eval or self.args.bf16_full_eval):
            dtype = torch.float16 if self.args.fp16_full_eval else torch.bfloat16
            self.model.to(dtype=dtype, device=self.args.device)
        if not self.accelerator._models:
            self.accelerator.prepare_model(self.model, evaluation_mode=True)
        return self.accelerator.unwrap_model(self.model)

    def _forward(self, model, pixel_values: torch.Tensor, labels: torch.Tensor | None) -> dict:
        with self.compute_loss_context_manager():
            if labels is None:
                return model(pixel_values=pixel_values, output_class_maps=False)
            inputs = {"pixel_values": pixel_values, "labels": labels}
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        return {**outputs, "loss": loss}

    def _in_order(self, predicted: list[tuple], has_labels: bool) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """Logits and maps of the images of all processes, and their classes."""
        predicted = sorted(gather_object(predicted), key=lambda image: image[0])
        _, logits, maps, labels = zip(*predicted, strict=True)
        return (np.stack(logits), np.stack(maps)), np.array(labels) if has_labels else None

    # Training.

    def _init_training_state(self, *args, **kwargs):
        # `auto_find_batch_size` begins again after batches that did not fit
        self._divergence.forget()
        self._loss_terms, self._num_loss_terms = {}, 0
        self._micro_batches, self._whole_batch = [], None
        return super()._init_training_state(*args, **kwargs)

    def get_train_dataloader(self) -> DataLoader:
        num_images = self.args.train_batch_size * self.args.world_size
        if self.args.dataloader_drop_last and has_length(self.train_dataset) and len(self.train_dataset) < num_images:
            raise ValueError(
                f"`dataloader_drop_last` leaves nothing to train on: a batch is {num_images} images on all processes, and "
                f"there are {len(self.train_dataset)}. Leave it out, or make the batches smaller."
            )
        return super().get_train_dataloader()

    def _get_train_sampler(self, train_dataset=None):
        train_dataset = self.train_dataset if train_dataset is None else train_dataset
        if isinstance(train_dataset, StreamedLocalizationDataset):
            return train_dataset.sampler()
        return super()._get_train_sampler(train_dataset)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        return get_parameter_names(model, [nn.LayerNorm], NO_WEIGHT_DECAY)

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        is_made_here = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_made_here and self.new_parameters_learning_rate is not None:
            named = (self.model if model is None else model).named_parameters()
            new = {id(each) for name, each in named if each.requires_grad and is_new_parameter(name)}
            if not new:
                raise ValueError(
                    "`new_parameters_learning_rate` has nothing to act on: neither the spatial token nor the classifier "
                    'is trained. Of an adapter name them, `modules_to_save=["vit.embeddings", "classifier"]`.'
                )
            for group in list(optimizer.param_groups):
                moved = [parameter for parameter in group["params"] if id(parameter) in new]
                if moved:
                    group["params"] = [parameter for parameter in group["params"] if id(parameter) not in new]
                    optimizer.add_param_group(group | {"params": moved, "lr": self.new_parameters_learning_rate})
        return optimizer

    def get_batch_samples(self, *args, **kwargs):
        batches, num_items_in_batch = super().get_batch_samples(*args, **kwargs)
        # not looked at yet: after a resume the random state is set behind this
        self._micro_batches = [] if self.area_loss_per_micro_batch or len(batches) == 1 else batches
        return batches, num_items_in_batch

    def _whole_batch_of_step(self, model: nn.Module) -> WholeBatch | None:
        """What the micro-batches of a step make together, looked at once a step; `None` without accumulation."""
        if self._micro_batches:
            batches, self._micro_batches = self._micro_batches, []
            self._whole_batch = look_at_whole_batch(self.accelerator, model, map(self._prepare_inputs, batches))
        return self._whole_batch

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        known = {name: value for name, value in inputs.items() if name not in NOT_FOR_THE_MODEL}
        whole_batch = self._whole_batch_of_step(model) if model.training else None
        if whole_batch is not None:
            known |= whole_batch.inputs_for(known)
        # Trainer calls the model without labels for a `compute_loss_func`, which would have no terms to weigh
        forward = model if self.compute_loss_func is None else partial(model, labels=known.get("labels"))
        loss, outputs = super().compute_loss(
            forward, known, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        # a `compute_loss_func` says itself what a micro-batch weighs
        weight = 1.0
        if whole_batch is not None and self.compute_loss_func is None:
            weight = whole_batch.weight_of(known)
            loss = loss * weight
        if model.training:
            self._divergence.see(loss, inputs)
            # summed where they are: reading them at each step would make an accelerator wait
            for name, term in outputs["loss_dict"].items():
                self._loss_terms[name] = self._loss_terms.get(name, 0.0) + term * weight
            self._num_loss_terms += 1
        return (loss, outputs) if return_outputs else loss

    def _get_grad_norm(self, model, grad_norm=None):
        # the last that Trainer does before it makes the step
        grad_norm = super()._get_grad_norm(model, grad_norm)
        self._divergence.check(self.state.global_step + 1, grad_norm)
        self._whole_batch = None
        return grad_norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._num_loss_terms > 0:
            for name, total in self._loss_terms.items():
                mean = self.accelerator.gather(total / self._num_loss_terms).mean().item()
                logs[f"{name}_loss"] = round(mean, 4)
            self._loss_terms, self._num_loss_terms = {}, 0
        super().log(logs, start_time)


def freeze_encoder(model: SATForWeaklySupervisedLocalization, trainable_layers: int):
    """
    Leaves the last `trainable_layers` blocks, the final normalization, the spatial token with its position and the
    classifier to train, and freezes the rest of the encoder.

    Args:
        model ([`SATForWeaklySupervisedLocalization`]): the model, changed in place.
        trainable_layers (`int`): number of last blocks to train; 0 trains none.

    Raises:
        `ValueError`: if the model has fewer blocks.
    """
    num_layers = model.config.num_hidden_layers
    if not 0 <= trainable_layers <= num_layers:
        raise ValueError(f"`trainable_layers` must be between 0 and {num_layers}, got {trainable_layers}.")
    model.vit.requires_grad_(False)
    trained = [model.vit.layernorm, *model.vit.layers[num_layers - trainable_layers :]]
    for module in trained:
        module.requires_grad_(True)
    for parameter in (model.vit.embeddings.spatial_token, model.vit.embeddings.spatial_position_embedding):
        parameter.requires_grad_(True)


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Number of parameters, and of those that train."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


__all__ = ["LocalizationTrainer", "count_parameters", "freeze_encoder"]
