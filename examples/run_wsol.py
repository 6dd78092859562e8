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
        --image_size 224 --output_dir my_model --do_train --num_train_epochs 30 --learning_rate 1e-4
    torchrun --nproc-per-node 2 examples/run_wsol.py examples/recipes/emblems.yaml
"""

import json
import logging
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import datasets
import transformers
import yaml
from transformers import HfArgumentParser, TrainingArguments, set_seed

from transformers_sat.data import check_training_classes, decode_image
from transformers_sat.evaluation import EvaluationSettings, EvaluationSplit, LocalizationEvaluation, evaluate_splits
from transformers_sat.evaluation.report import draw_sample, write_reports
from transformers_sat.results import (
    RESULTS_FILE,
    public_name,
    results_record,
    summary,
    total_batch_size,
    training_record,
    write_results,
)
from transformers_sat.saving import save_image_processor
from transformers_sat.training import (
    DataArguments,
    EvaluationArguments,
    LocalizationTrainer,
    ModelArguments,
    count_parameters,
    set_up_model,
    set_up_splits,
    set_up_training_data,
    splits_to_measure,
    start_name,
)
from transformers_sat.training.checkpoints import check_classes
from transformers_sat.training.runs import (
    begin_run,
    check_numbers,
    note_run,
    plain_last_words,
    run_folder,
    run_settings,
)
from transformers_sat.writing import replacing_file


logger = logging.getLogger(__name__)


@dataclass
class ReportArguments:
    contact_sheet_samples: int = field(default=24, metadata={"help": "Images on the contact sheet; 0 for none."})


def parse_arguments():
    """Arguments of a YAML or JSON file, if the first word names one, and flags, which win over it."""
    parser = HfArgumentParser((DataArguments, ModelArguments, EvaluationArguments, ReportArguments, TrainingArguments))
    file = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1].endswith((".yaml", ".yml", ".json")) else None
    if file is None:
        return parser.parse_args_into_dataclasses()
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


def main():
    data_args, model_args, evaluation_args, report_args, training_args = parse_arguments()
    set_up_logging(training_args)
    check_numbers(training_args)
    # one run at a time in a folder; a second one is refused before anything is loaded
    with run_folder(training_args.output_dir):
        run = run_settings(data_args, model_args, training_args, total_batch_size(training_args))
        overwrite = model_args.overwrite_output_dir
        resumed = begin_run(training_args.output_dir, run, training_args.resume_from_checkpoint, overwrite)

        # data and model
        name = start_name(data_args, model_args)
        set_seed(training_args.seed)
        rows, num_rows = load_rows(data_args, model_args, training_args)
        class_names = rows["train"].features["label"].names
        model, image_processor = set_up_model(
            name, class_names, model_args, evaluation_args.protocol, training_args.do_train
        )
        if resumed is not None:
            check_classes(resumed, model.config)
        total, trainable = count_parameters(model)
        logger.info(f"{total / 1e6:.2f} M parameters, {trainable / 1e6:.2f} M to train; {len(class_names)} classes")
        splits = splits_to_measure(rows, model.config, image_processor, evaluation_args.protocol)

        # training
        settings = EvaluationSettings(
            evaluation_args.protocol, "oracle", evaluation_args.localization_thresholds, keep_images=False
        )
        trainer = LocalizationTrainer(
            model,
            training_args,
            train_dataset=set_up_training_data(
                rows["train"], num_rows, model, image_processor, data_args, training_args.seed
            ),
            eval_dataset=rows["validation"],
            processing_class=image_processor,
            evaluation_settings=settings,
            new_parameters_learning_rate=model_args.new_parameters_learning_rate,
            area_loss_per_micro_batch=model_args.area_loss_per_micro_batch,
        )
        record = record_of(data_args, model_args, training_args)
        note_run(training_args.output_dir, run, overwrite)
        if training_args.do_train:
            record["train_seconds"] = train(trainer, resumed)
        else:
            trainer.save_model()

        # figures, drawings, the Hub
        split, evaluation = measure(trainer, splits, evaluation_args, record)
        if trainer.is_world_process_zero():
            report(trainer, split, evaluation, rows[split], record, report_args)
        if training_args.push_to_hub:
            # the card of this model, with the figures just written, in place of the automatic one
            trainer.push_to_hub()
        trainer.end()


def load_rows(data_args: DataArguments, model_args: ModelArguments, training_args: TrainingArguments) -> tuple:
    """The rows of each split, and the number of training images, which is not always known of a stream."""
    # the main process writes the cache, the others read it
    with training_args.main_process_first(desc="loading the data set"):
        rows, num_rows = set_up_splits(data_args, training_args.seed, model_args.token, training_args.do_train)
    if training_args.do_train and num_rows is None and training_args.max_steps <= 0:
        raise ValueError(
            "The number of training images in the stream is not known: say with `--max_steps` how long to train."
        )
    if training_args.do_train and not data_args.streaming:
        check_training_classes(rows["train"], "The training split")
    return rows, num_rows


def train(trainer: LocalizationTrainer, resumed: str | None) -> float:
    """Trains, writes what was logged, and gives the seconds that it took."""
    metrics = trainer.train(resume_from_checkpoint=resumed).metrics
    # before anything else, so that a failure there loses nothing
    trainer.save_model()
    trainer.log_metrics("train", metrics)
    trainer.save_metrics("train", metrics)
    trainer.save_state()
    return metrics["train_runtime"]


def record_of(data_args: DataArguments, model_args: ModelArguments, training_args: TrainingArguments) -> dict:
    """
    What `results.json` says of the run. It is published: names of what others can find, no folders of this machine.
    """
    model_name, dataset_name = public_name(model_args.model_name_or_path), public_name(data_args.dataset_name)
    return results_record(
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
        **(training_record(training_args, model_args.area_loss_per_micro_batch) if training_args.do_train else {}),
    )


def measure(
    trainer: LocalizationTrainer,
    splits: dict[str, EvaluationSplit],
    evaluation_args: EvaluationArguments,
    record: dict,
) -> tuple[str, LocalizationEvaluation]:
    """
    Measures all splits, and adds their figures to the record; the validation split chooses the threshold, which the
    image processor keeps. What is found is written at once. Returns the last split, the test split if there is one,
    with all that was found on it.
    """
    args = trainer.args
    settings = EvaluationSettings(
        protocol=evaluation_args.protocol,
        localization_thresholds=evaluation_args.localization_thresholds,
        batch_size=args.per_device_eval_batch_size,
        num_workers=args.dataloader_num_workers,
        show_progress=not args.disable_tqdm,
    )
    model = trainer.accelerator.unwrap_model(trainer.model)
    for split, evaluation in evaluate_splits(model, trainer.processing_class, splits, settings):
        result = evaluation.result
        record["results"][split] = {result["protocol"]: result}
        figures = {name: value for name, value in result.items() if type(value) in (int, float)}
        figures = {f"{split}_{name}": value for name, value in figures.items()}
        trainer.log(dict(figures))
        trainer.save_metrics(split, figures)
        if trainer.is_world_process_zero():
            save_image_processor(trainer.processing_class, args.output_dir)
            write_results(Path(args.output_dir, RESULTS_FILE), record)
    return split, evaluation


def report(
    trainer: LocalizationTrainer,
    split: str,
    evaluation: LocalizationEvaluation,
    rows: datasets.Dataset,
    record: dict,
    report_args: ReportArguments,
):
    """Prints the figures, draws what was measured, and says how to load the model."""
    output_dir, class_names = trainer.args.output_dir, trainer.model.config.id2label
    if trainer.args.push_to_hub:
        # for the widget of the model's page
        with replacing_file(Path(output_dir, "example.png")) as unfinished:
            decode_image(rows[0]["image"]).save(unfinished)
    print(f"\n{summary(record['results'])}\nresults: {Path(output_dir, RESULTS_FILE)}")
    folder = Path(output_dir, "report")
    write_reports([evaluation], rows, class_names, folder)
    print(f"report: {folder}")
    if report_args.contact_sheet_samples > 0:
        sheet = Path(output_dir, "contact_sheet.png")
        heading = f"{record['dataset']}, {split}: true boxes green, predicted boxes red"
        draw_sample(evaluation, report_args.contact_sheet_samples, rows, class_names, heading, sheet)
        print(f"contact sheet: {sheet}")
    print(
        "\nload it:\n"
        "  import transformers_sat; from transformers import AutoModel, pipeline\n"
        f'  model = AutoModel.from_pretrained("{output_dir}")\n'
        f'  localizer = pipeline("weakly-supervised-localization", model="{output_dir}")\n'
    )


if __name__ == "__main__":
    with plain_last_words():
        main()
