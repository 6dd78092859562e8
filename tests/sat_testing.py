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
"""Small configurations, models and images that several test modules share."""

from pathlib import Path

import torch

from transformers_sat import SATConfig, SATForWeaklySupervisedLocalization


FIXTURES = Path(__file__).parent / "fixtures"

# Names and sizes of a model that runs in milliseconds: 4 x 4 patches, two plain blocks and two spatial ones.
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
    "num_spatial_layers": 2,
    "num_labels": 5,
}


def tiny_config(**overrides) -> SATConfig:
    return SATConfig(**{**TINY, **overrides})


def tiny_model(seed: int = 0, gain: float = 10.0, **overrides) -> SATForWeaklySupervisedLocalization:
    """
    A model in evaluation mode whose maps have contrast: fresh weights give maps of 0.5 everywhere, which hides errors,
    so all weights are `gain` times larger, biases are not zero, and the spatial token is large.
    """
    torch.manual_seed(seed)
    model = SATForWeaklySupervisedLocalization(tiny_config(**overrides)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layernorm" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
            elif "lambda1" not in name:
                parameter.mul_(gain)
        for token in (model.vit.embeddings.spatial_token, model.vit.embeddings.spatial_position_embedding):
            token.normal_()
    return model


def tiny_batch(batch_size: int = 3, size: int | tuple[int, int] = 32, num_labels: int = 5, seed: int = 0):
    """Pixel values and labels."""
    generator = torch.Generator().manual_seed(seed)
    height, width = (size, size) if isinstance(size, int) else size
    pixel_values = torch.randn(batch_size, 3, height, width, generator=generator)
    return pixel_values, torch.randint(num_labels, (batch_size,), generator=generator)


def without_drop_path(model: torch.nn.Module) -> torch.nn.Module:
    """The same model, deterministic in training too."""
    for layer in model.vit.layers:
        layer.drop_path.drop_prob = 0.0
    return model


__all__ = ["FIXTURES", "TINY", "tiny_batch", "tiny_config", "tiny_model", "without_drop_path"]
