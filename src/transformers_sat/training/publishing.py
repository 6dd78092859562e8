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
"""Trainer, publishing what belongs to a model's repository and nothing else of a run's folder."""

from pathlib import Path

from huggingface_hub import CommitInfo, HfApi
from transformers.trainer import PushInProgress
from transformers.trainer_utils import HubStrategy

from ..hub.publishing import ADAPTER_CONFIG, MODEL_FILES, PUBLISHED_FILES, add_adapter_card, add_hub_files
from ..results import RESULTS_FILE, public_name, read_results
from .saving import SavingTrainer


class PublishingTrainer(SavingTrainer):
    """
    [`SavingTrainer`] whose pushes hold the files that [`~transformers_sat.hub.push_to_hub`] uploads, `results.json`
    and, with `hub_strategy` `checkpoint` or `all_checkpoints`, the checkpoints: no logs, reports or other files.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.args.push_to_hub:
            # each checkpoint is pushed with what PEFT notes there, of a folder of this machine its path
            for adapter in getattr(self.model, "peft_config", {}).values():
                adapter.base_model_name_or_path = public_name(adapter.base_model_name_or_path or None)

    def create_model_card(self, *args, **kwargs):
        """
        Writes the package's card in place of Trainer's, with the figures of `results.json` in the output folder once
        they are there, and beside it the code that a model on the Hub needs. Trainer's arguments say nothing that is
        not in that file.
        """
        if not self.is_world_process_zero():
            return
        path = Path(self.args.output_dir, RESULTS_FILE)
        about = {"results": read_results(path) if path.is_file() else None, "repo_id": self.hub_model_id}
        if Path(self.args.output_dir, ADAPTER_CONFIG).is_file():
            add_adapter_card(self.args.output_dir, self.model.config, **about)
        else:
            add_hub_files(self.args.output_dir, **about)

    def push_to_hub(
        self,
        commit_message: str = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs,
    ) -> CommitInfo | None:
        """
        Saves the model and uploads it with its card. All processes call it; the main one uploads.

        Args:
            commit_message (`str`, *optional*, defaults to `"End of training"`): summary of the commit.
            blocking (`bool`, *optional*, defaults to `True`): whether to wait for the upload, not return a future.
            token, revision, private: in place of Trainer's arguments of these names.
            kwargs: Trainer's for its own card, which this one does not need.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = token or self.args.hub_token
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        # what is being uploaded must not change under it
        self._finish_current_push()
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.create_model_card()
        return HfApi(token=token).upload_folder(
            repo_id=self.hub_model_id,
            folder_path=self.args.output_dir,
            allow_patterns=list(PUBLISHED_FILES),
            commit_message=commit_message,
            revision=revision or self.args.hub_revision,
            run_as_future=not blocking,
        )

    def _push_from_checkpoint(self, checkpoint_folder: str):
        # Trainer calls this before a checkpoint is complete; it is called again when it is
        is_unfinished = self._unfinished_folder is not None
        if is_unfinished or not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        if not (self.args.hub_always_push or self._push_is_done()):
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        title = f"Training in progress, step {self.state.global_step}"
        upload = {
            "repo_id": self.hub_model_id,
            "folder_path": checkpoint_folder,
            "revision": self.args.hub_revision,
            "run_as_future": True,
        }
        api = HfApi(token=self.args.hub_token)
        jobs = [api.upload_folder(**upload, allow_patterns=list(MODEL_FILES), commit_message=title)]
        places = {
            HubStrategy.CHECKPOINT: "last-checkpoint",
            HubStrategy.ALL_CHECKPOINTS: Path(checkpoint_folder).name,
        }
        if self.args.hub_strategy in places:
            place = places[self.args.hub_strategy]
            jobs.append(api.upload_folder(**upload, path_in_repo=place, commit_message=f"{title}, checkpoint"))
        if self._push_is_done():
            self.push_in_progress = PushInProgress(jobs)
        else:
            self.push_in_progress.jobs.extend(jobs)


__all__ = ["PublishingTrainer"]
