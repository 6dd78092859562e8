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
from transformers.models.auto import modeling_auto
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_sat import SATConfig
from .image_processing_pil_sat import SATImageProcessorPil
from .image_processing_sat import SATImageProcessor
from .modeling_sat import SATForWeaklySupervisedLocalization, SATModel
from .pipeline_sat import WeaklySupervisedLocalizationPipeline


# Each Auto class, and the table of class names by which its stock pipeline recognises the models it can run:
# registering a model does not add it there, and the pipeline would log an error at each use.
AUTO_CLASSES = {
    AutoModelForImageClassification: modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    AutoModelForObjectDetection: modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
    AutoModelForImageSegmentation: modeling_auto.MODEL_FOR_IMAGE_SEGMENTATION_MAPPING_NAMES,
    AutoModelForSemanticSegmentation: modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES,
    AutoModelForInstanceSegmentation: modeling_auto.MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES,
    AutoModelForUniversalSegmentation: modeling_auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES,
}


def register():
    """Registers configuration, models, image processors and the pipeline. Runs when `transformers_sat` is imported."""
    model_type = SATConfig.model_type
    AutoConfig.register(model_type, SATConfig, exist_ok=True)
    AutoModel.register(SATConfig, SATModel, exist_ok=True)
    modeling_auto.MODEL_MAPPING_NAMES[model_type] = SATModel.__name__
    for auto_class, names in AUTO_CLASSES.items():
        auto_class.register(SATConfig, SATForWeaklySupervisedLocalization, exist_ok=True)
        names[model_type] = SATForWeaklySupervisedLocalization.__name__

    image_processor_classes = {"torchvision": SATImageProcessor, "pil": SATImageProcessorPil}
    AutoImageProcessor.register(SATConfig, image_processor_classes=image_processor_classes, exist_ok=True)

    PIPELINE_REGISTRY.register_pipeline(
        "weakly-supervised-localization",
        pipeline_class=WeaklySupervisedLocalizationPipeline,
        pt_model=AutoModelForObjectDetection,
        type="image",
    )


__all__ = ["register"]
