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
"""Trainer, saving so that a run survives being killed, a full disk and its own end."""

import json
from pathlib import Path

from transformers import Trainer

from ..saving import save_model
from ..writing import write_json
from .checkpoints import naming_a_full_disk, newest_checkpoint, remove_old_checkpoints, writing_checkpoint


# In a checkpoint, the name of the best one. Trainer's own record is a path of this machine, and checkpoints are
# published.
BEST_CHECKPOINT = "best_checkpoint.json"


def has_optimizer(checkpoint: Path) -> bool:
    """Whether a checkpoint has what a run goes on with: PyTorch's or FSDP's `optimizer*`, DeepSpeed's `global_step*`."""
    return any(next(checkpoint.glob(pattern), None) for pattern in ("optimizer*", "global_step*"))


class SavingTrainer(Trainer):
    """
    [`~transformers.Trainer`] whose checkpoints are complete or not there, which saves no weights that are not finite,
    and whose arguments, with the Hub's token among them, are not pickled beside the weights (`training_args.bin`).
    """

    def __init__(self, *args, **kwargs):
        # the folder that a checkpoint is being written in, while one is
        self._unfinished_folder = None
        super().__init__(*args, **kwargs)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args, **kwargs):
        """
        Trains. For `resume_from_checkpoint=True` it goes on from the newest complete checkpoint, or begins if there is
        none.

        Raises:
            `ValueError`: if the checkpoint holds the model alone.
        """
        if resume_from_checkpoint is True:
            newest = newest_checkpoint(self.args.output_dir)
            resume_from_checkpoint = None if newest is None else str(newest)
        if resume_from_checkpoint and not has_optimizer(Path(resume_from_checkpoint)):
            raise ValueError(
                f"{resume_from_checkpoint} cannot be resumed from: it has no state of an optimizer, as checkpoints under "
                "`save_only_model`. Begin a new run from it as the model to start from."
            )
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _init_training_state(
        self, max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
    ):
        found = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        record = Path(resume_from_checkpoint or "", BEST_CHECKPOINT)
        if resume_from_checkpoint is not None and record.is_file():
            best = Path(self._get_output_dir(trial), json.loads(record.read_text(encoding="utf-8")))
            self.state.best_model_checkpoint = str(best) if best.is_dir() else None
        return found

    def _run_epoch(self, *args, **kwargs):
        # Trainer looks whether it is at the end after a step only: resumed at the end, it would make one too many
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _get_output_dir(self, trial) -> str:
        return self._unfinished_folder or super()._get_output_dir(trial)

    def _save_checkpoint(self, model, trial):
        run_folder = Path(self._get_output_dir(trial))
        checkpoint = run_folder / f"checkpoint-{self.state.global_step}"
        try:
            with writing_checkpoint(run_folder, self.state.global_step, self.args.should_save) as folder:
                self._unfinished_folder = str(folder.parent)
                super()._save_checkpoint(model, trial)
                best = self.state.best_model_checkpoint
                # if this one is the best, it is recorded where it is written
                self.state.best_model_checkpoint = None if best is None else str(run_folder / Path(best).name)
                if self.args.should_save:
                    self._record_best(folder)
        finally:
            self._unfinished_folder = None
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(checkpoint))
        # a checkpoint on its way to the Hub stays until it is there
        is_pushing = self.args.push_to_hub and self.is_world_process_zero() and not self._push_is_done()
        if self.args.should_save and not is_pushing:
            remove_old_checkpoints(checkpoint, self.args.save_total_limit, self.state.best_model_checkpoint)

    def _record_best(self, folder: Path):
        best = self.state.best_model_checkpoint
        self.state.best_model_checkpoint = None
        self.state.save_to_json(str(folder / "trainer_state.json"))
        self.state.best_model_checkpoint = best
        if best is not None:
            write_json(folder / BEST_CHECKPOINT, Path(best).name)

    def _push_is_done(self) -> bool:
        return self.push_in_progress is None or self.push_in_progress.is_done()

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None):
        folder = self.args.output_dir if output_dir is None else output_dir
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        with naming_a_full_disk(folder, "the model"):
            save_model(model, self.processing_class, folder, self.args.should_save, state_dict=state_dict)

    def save_metrics(self, split: str, metrics: dict[str, float], combined: bool = True):
        """Writes `<split>_results.json` and adds to `all_results.json`, as Trainer does, each of them whole."""
        if not self.is_world_process_zero():
            return
        folder = Path(self.args.output_dir)
        write_json(folder / f"{split}_results.json", metrics)
        if combined:
            path = folder / "all_results.json"
            known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            write_json(path, known | metrics)


__all__ = ["SavingTrainer"]
