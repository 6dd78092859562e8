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
"""Tells Transformers' Auto classes and pipelines about SAT."""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForImageSegmentation,
    AutoModelForInstanceSegmentation,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)
from transformers.pipelines import PIPELINE_REGISTRY

from .model.configuration_sat import SATConfig
from .model.image_processing_pil_sat import SATImageProcessorPil
from .model.image_processing_sat import SATImageProcessor
from .model.modeling_sat import SATForWeaklySupervisedLocalization, SATModel
from .model.pipeline_sat import WeaklySupervisedLocalizationPipeline


TASK = "weakly-supervised-localization"

HEAD_AUTO_CLASSES = (
    AutoModelForImageClassification,
    AutoModelForObjectDetection,
    AutoModelForImageSegmentation,
    AutoModelForSemanticSegmentation,
    AutoModelForInstanceSegmentation,
    AutoModelForUniversalSegmentation,
)


def register():
    """Registers configuration, models, image processors and the pipeline. Runs when `transformers_sat` is imported."""
    model_type = SATConfig.model_type
    AutoConfig.register(model_type, SATConfig, exist_ok=True)
    AutoModel.register(SATConfig, SATModel, exist_ok=True)
    for auto_class in HEAD_AUTO_CLASSES:
        auto_class.register(SATConfig, SATForWeaklySupervisedLocalization, exist_ok=True)

    image_processor_classes = {"torchvision": SATImageProcessor, "pil": SATImageProcessorPil}
    AutoImageProcessor.register(SATConfig, image_processor_classes=image_processor_classes, exist_ok=True)

    # a second time, it would be spoken of as overwritten
    if PIPELINE_REGISTRY.supported_tasks.get(TASK, {}).get("impl") is not WeaklySupervisedLocalizationPipeline:
        PIPELINE_REGISTRY.register_pipeline(
            TASK,
            pipeline_class=WeaklySupervisedLocalizationPipeline,
            pt_model=AutoModelForObjectDetection,
            type="image",
        )
    # A published configuration names the pipeline's code, for those who have only Transformers. `pipeline()` would ask for
    # `trust_remote_code` because of that, though the pipeline is registered here: so it reads as empty, and is saved as it is.
    SATConfig.custom_pipelines = property(
        lambda config: {}, lambda config, pipelines: config.__dict__.update(custom_pipelines=pipelines)
    )


__all__ = ["HEAD_AUTO_CLASSES", "register"]
