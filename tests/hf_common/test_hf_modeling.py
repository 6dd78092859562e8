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

"""Hugging Face's common tests of configurations, models, training and pipelines, on SAT."""

import unittest
from unittest import mock

import torch
from tiny_models import TINY
from torch import nn
from transformers_suite.test_configuration_common import ConfigTester
from transformers_suite.test_modeling_common import ModelTesterMixin, floats_tensor
from transformers_suite.test_pipeline_mixin import PipelineTesterMixin, pipeline_test_mapping, transformers_module
from transformers_suite.test_training_mixin import TrainingTesterMixin

from transformers_sat import (
    SATConfig,
    SATForWeaklySupervisedLocalization,
    SATImageProcessor,
    SATImageProcessorPil,
    SATModel,
)


# The pipeline tests import what this table names; what it comes with is not distributed.
pipeline_test_mapping["image-classification"] = {"test": "pipeline_checks.ImageClassificationChecks"}
pipeline_test_mapping["image-feature-extraction"] = {"test": "pipeline_checks.ImageFeatureExtractionChecks"}
pipeline_test_mapping["image-segmentation"] = {"test": "pipeline_checks.ImageSegmentationChecks"}
pipeline_test_mapping["object-detection"] = {"test": "pipeline_checks.ObjectDetectionChecks"}

# They look processor classes up by name in `transformers`.
transformers_module.SATImageProcessor = SATImageProcessor
transformers_module.SATImageProcessorPil = SATImageProcessorPil


class SATModelTester:
    """Makes the tiny configuration and the inputs that the common tests ask for."""

    sequence_classification_class = SATForWeaklySupervisedLocalization

    def __init__(self, parent, batch_size=13, num_labels=8, is_training=True, **overrides):
        self.parent = parent
        self.batch_size = batch_size
        self.num_labels = num_labels
        self.is_training = is_training
        self.overrides = overrides
        for name, value in {**TINY, **overrides}.items():
            setattr(self, name, value)
        # [cls, registers, patches, spatial]
        self.seq_length = self.get_config().num_prefix_tokens + (self.image_size // self.patch_size) ** 2 + 1

    def get_config(self):
        return SATConfig(**{**TINY, **self.overrides}, num_labels=self.num_labels)

    def prepare_config_and_inputs_for_common(self):
        pixel_values = floats_tensor([self.batch_size, self.num_channels, self.image_size, self.image_size])
        return self.get_config(), {"pixel_values": pixel_values}


class SATCommonTests(ModelTesterMixin, TrainingTesterMixin):
    all_model_classes = (SATModel, SATForWeaklySupervisedLocalization)
    # There are no token embeddings to resize.
    test_resize_embeddings = False

    # Maps settle to 0 or 1, where the area term's gradient vanishes with the others, well before the last step.
    training_overfit_batch_size = 8
    training_overfit_learning_rate = 2e-3

    # of the configuration
    fields = {}
    model_tester = None

    def setUp(self):
        self.model_tester = SATModelTester(self, **self.fields)
        self.config_tester = ConfigTester(
            self,
            config_class=SATConfig,
            has_text_modality=False,
            hidden_size=48,
            **self.fields,
        )

    def test_config(self):
        self.config_tester.run_common_tests()

    @unittest.skip(reason="SAT takes images: it has no inputs_embeds")
    def test_inputs_embeds(self):
        pass

    def test_model_get_set_embeddings(self):
        # The suite's version wants token embeddings; an image's are the projection of its patches.
        for model_class in self.all_model_classes:
            model = model_class(self.model_tester.get_config())
            patch_embeddings = getattr(model, "vit", model).embeddings.patch_embeddings
            self.assertIs(model.get_input_embeddings(), patch_embeddings)
            self.assertIsNone(model.get_output_embeddings())

            replacement = nn.Identity()
            model.set_input_embeddings(replacement)
            self.assertIs(model.get_input_embeddings(), replacement)

    def test_training_overfit(self):
        # The suite's training loop takes any batch, but makes one only for text, whose configurations have a vocabulary.
        with mock.patch.object(SATConfig, "vocab_size", 0, create=True):
            super().test_training_overfit()

    def _get_model_modality(self):
        return "text"

    def _create_text_training_batch(self, batch_size, seq_length, vocab_size):
        tester = self.model_tester
        # from the generator that the suite has seeded, unlike `floats_tensor`
        pixel_values = torch.rand(batch_size, tester.num_channels, tester.image_size, tester.image_size)
        return {"pixel_values": pixel_values, "labels": torch.arange(batch_size) % tester.num_labels}


class SATModelTest(SATCommonTests, PipelineTesterMixin, unittest.TestCase):
    pipeline_model_mapping = {
        "image-classification": SATForWeaklySupervisedLocalization,
        "image-feature-extraction": SATModel,
        "image-segmentation": SATForWeaklySupervisedLocalization,
        "object-detection": SATForWeaklySupervisedLocalization,
    }

    def run_task_tests(self, task, dtype="float32"):
        # The suite skips a task whose model or processor does not load; for ours that is a failure.
        try:
            super().run_task_tests(task, dtype=dtype)
        except unittest.SkipTest as reason:
            if task in self.pipeline_model_mapping:
                self.fail(f"The {task} pipeline was not tested: {reason}")
            raise


class SATWithLayerScaleTest(SATCommonTests, unittest.TestCase):
    """With the blocks of a DINOv2 backbone."""

    fields = {"layerscale_value": 1.0}


class SATWithRotaryPositionsTest(SATCommonTests, unittest.TestCase):
    """With the tokens and blocks of a DINOv3 backbone."""

    fields = {"layerscale_value": 1.0, "num_register_tokens": 2, "rope_theta": 100.0, "use_gated_mlp": True}

    @unittest.skip(reason="Of the older names in the mapping, a ViT's, those of its plain feed-forward are not in use")
    def test_reverse_loading_mapping(self):
        pass


class SATWithoutClassTokenTest(SATCommonTests, unittest.TestCase):
    """With the embeddings of SigLIP, and CLIP's normalization of them."""

    fields = {"use_class_token": False, "has_embedding_norm": True, "hidden_act": "quick_gelu"}
