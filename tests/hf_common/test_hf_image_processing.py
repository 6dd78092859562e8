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

"""Hugging Face's common tests of image processors, on both back ends of SAT's."""

import subprocess
import unittest
from unittest import mock

import torch
from transformers_suite.test_image_processing_common import (
    ImageProcessingTester,
    ImageProcessingTestMixin,
    PostProcessSemanticSegmentationTestMixin,
)

from transformers_sat import SATImageProcessor, SATImageProcessorPil
from transformers_sat.model.modeling_sat import SATForWeaklySupervisedLocalizationOutput


class SATImageProcessingTester(ImageProcessingTester):
    num_labels = 5

    def __init__(self, parent, **kwargs):
        kwargs.setdefault("size", {"height": 24, "width": 18})
        super().__init__(parent, **kwargs)

    def _get_image_processing_classes(self):
        # the suite looks them up by the name of this file's folder
        return {"torchvision": SATImageProcessor, "pil": SATImageProcessorPil}

    def prepare_post_process_semantic_segmentation_inputs(self):
        outputs = SATForWeaklySupervisedLocalizationOutput(
            logits=torch.randn(self.batch_size, self.num_labels),
            localization_map=torch.rand(self.batch_size, 4, 3),
        )
        return {"outputs": outputs}, {"num_labels": self.num_labels, "height": 4, "width": 3}


class SATImageProcessingTest(ImageProcessingTestMixin, PostProcessSemanticSegmentationTestMixin, unittest.TestCase):
    image_processor_tester_class = SATImageProcessingTester
    # switches the test of `BatchFeature.to` on
    test_cast_dtype = True

    def test_pil_can_run_without_torchvision(self):
        # The suite's script loads the processor in a process of its own, where nothing has registered SAT.
        run = subprocess.run

        def run_with_sat(command, **kwargs):
            *interpreter, script = command[:3]
            script = script.replace("from transformers import", "import transformers_sat\nfrom transformers import")
            return run([*interpreter, script, *command[3:]], **kwargs)

        with mock.patch.object(subprocess, "run", run_with_sat):
            super().test_pil_can_run_without_torchvision()


class SATImageProcessingWithCropTester(SATImageProcessingTester):
    def __init__(self, parent, **kwargs):
        super().__init__(
            parent,
            do_center_crop=True,
            size={"height": 26, "width": 26},
            crop_size={"height": 18, "width": 18},
            image_mean=[0.5, 0.5, 0.5],
            image_std=[0.5, 0.5, 0.5],
            **kwargs,
        )


class SATImageProcessingWithCropTest(SATImageProcessingTest):
    """The same with the centre crop of the paper's evaluation."""

    image_processor_tester_class = SATImageProcessingWithCropTester
