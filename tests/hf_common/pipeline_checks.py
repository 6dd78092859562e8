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
What each stock pipeline has to give, in place of the `tests.pipelines` modules, which are not distributed.

`PipelineTesterMixin` loads a model and its image processor, takes a pipeline and examples from `get_test_pipeline`, and
hands them to `run_pipeline_test`.
"""

import unittest

import numpy as np
import torch
from fetch_hub_objects_for_ci import PHOTOGRAPHS
from PIL import Image
from transformers import pipeline


# colour, grey and transparent photographs, of three shapes
EXAMPLES = [str(PHOTOGRAPHS / name) for name in ("chelsea.png", "camera.png", "horse.png")]


class PipelineChecks(unittest.TestCase):
    task = None

    def get_test_pipeline(
        self, model, tokenizer=None, image_processor=None, feature_extractor=None, processor=None, dtype="float32"
    ):
        return pipeline(self.task, model=model, image_processor=image_processor, dtype=dtype), EXAMPLES

    def run_pipeline_test(self, pipe, examples):
        self.assertEqual(pipe.dtype, pipe.model.dtype)
        images = [*examples, Image.open(examples[0])]
        results = pipe(images, **self.parameters(pipe))
        self.assertEqual(len(results), len(images))
        for image, result in zip(images, results):
            self.check(pipe, image if isinstance(image, Image.Image) else Image.open(image), result)

    def parameters(self, pipe):
        return {}

    def check(self, pipe, image, result):
        raise NotImplementedError

    def check_score_and_label(self, pipe, item):
        self.assertIn(item["label"], pipe.model.config.label2id)
        self.assertGreaterEqual(item["score"], 0.0)
        self.assertLessEqual(item["score"], 1.0)


class ImageClassificationChecks(PipelineChecks):
    task = "image-classification"

    def check(self, pipe, image, result):
        self.assertEqual({item["label"] for item in result}, set(pipe.model.config.label2id))
        for item in result:
            self.check_score_and_label(pipe, item)
        scores = [item["score"] for item in result]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertAlmostEqual(sum(scores), 1.0, places=2)


class ObjectDetectionChecks(PipelineChecks):
    task = "object-detection"

    def parameters(self, pipe):
        return {"threshold": 0.0}

    def check(self, pipe, image, result):
        self.assertGreater(len(result), 0)
        for item in result:
            self.check_score_and_label(pipe, item)
            box = item["box"]
            self.assertTrue(0 <= box["xmin"] < box["xmax"] <= image.width, box)
            self.assertTrue(0 <= box["ymin"] < box["ymax"] <= image.height, box)


class ImageSegmentationChecks(PipelineChecks):
    task = "image-segmentation"

    def parameters(self, pipe):
        return {"threshold": 0.0}

    def check(self, pipe, image, result):
        self.assertGreater(len(result), 0)
        for item in result:
            self.check_score_and_label(pipe, item)
            self.assertEqual(item["mask"].size, image.size)
            self.assertTrue(set(np.unique(item["mask"])) <= {0, 255})


class ImageFeatureExtractionChecks(PipelineChecks):
    task = "image-feature-extraction"

    def parameters(self, pipe):
        return {"return_tensors": True}

    def check(self, pipe, image, result):
        config = pipe.model.config
        num_patches = (config.image_size // config.patch_size) ** 2
        self.assertEqual(tuple(result.shape), (1, 1 + num_patches + 1, config.hidden_size))
        self.assertTrue(torch.isfinite(result).all())


__all__ = [
    "ImageClassificationChecks",
    "ImageFeatureExtractionChecks",
    "ImageSegmentationChecks",
    "ObjectDetectionChecks",
]
