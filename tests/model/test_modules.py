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
"""The model calls its modules: what acts on a module (adapters, hooks, pruning, offloading) acts on the output."""

import accelerate
import pytest
import torch
from sat_testing import tiny_batch, tiny_model
from torch import nn
from torch.nn.utils import prune


class Wrapped(nn.Module):
    """A module in the place of another, which it calls; it has no weights of its own to read."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, *inputs):
        return self.inner(*inputs)


class LowRank(nn.Module):
    """A convolution with an adapter of rank 2 beside it, as PEFT's LoRA makes one."""

    def __init__(self, inner: nn.Conv2d):
        super().__init__()
        self.inner = inner
        self.down = nn.Conv2d(inner.in_channels, 2, inner.kernel_size, padding=inner.padding, bias=False)
        self.up = nn.Conv2d(2, inner.out_channels, 1, bias=False)

    def forward(self, inputs):
        return self.inner(inputs) + self.up(self.down(inputs))

    def merged_weight(self) -> torch.Tensor:
        return self.inner.weight + torch.einsum("or,rihw->oihw", self.up.weight[:, :, 0, 0], self.down.weight)


@pytest.mark.parametrize("output_class_maps", [False, True])
def test_every_module_with_weights_is_called_once(output_class_maps):
    model = tiny_model(layerscale_value=0.5)
    calls = {}
    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            calls[name] = 0
            module.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    assert "classifier.convolution" in calls
    model(tiny_batch()[0], output_class_maps=output_class_maps)
    assert set(calls.values()) == {1}, calls


def test_modules_may_be_wrapped():
    model = tiny_model(layerscale_value=0.5)
    pixel_values, labels = tiny_batch()
    expected = model(pixel_values, labels=labels, output_class_maps=True)
    for name, module in list(model.named_modules()):
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.LayerNorm)):
            model.set_submodule(name, Wrapped(module))
    outputs = model(pixel_values, labels=labels, output_class_maps=True)
    for name in ("loss", "logits", "localization_map", "class_maps"):
        torch.testing.assert_close(outputs[name], expected[name], atol=0, rtol=0)


def test_an_adapter_on_the_classifier_counts_and_learns():
    torch.manual_seed(0)
    model = tiny_model()
    pixel_values, labels = tiny_batch()
    before = model(pixel_values).logits
    adapter = model.classifier.convolution = LowRank(model.classifier.convolution)
    outputs = model(pixel_values, labels=labels)
    assert (outputs.logits - before).abs().min() > 1e-4
    outputs.loss.backward()
    assert adapter.down.weight.grad.abs().max() > 0
    assert adapter.up.weight.grad.abs().max() > 0

    with_maps = model(pixel_values, output_class_maps=True)
    torch.testing.assert_close(with_maps.class_maps.mean((2, 3)), outputs.logits, atol=1e-5, rtol=0)
    with torch.no_grad():
        adapter.inner.weight.copy_(adapter.merged_weight())
    model.classifier.convolution = adapter.inner
    torch.testing.assert_close(model(pixel_values).logits, outputs.logits, atol=1e-5, rtol=0)


def test_the_classifier_is_pruned():
    model = tiny_model().train()
    pixel_values, labels = tiny_batch()
    prune.l1_unstructured(model.classifier.convolution, "weight", amount=0.5)
    kept = model.classifier.convolution.weight_mask
    assert 0.4 < kept.mean() < 0.6
    for _ in range(2):
        model.zero_grad()
        model(pixel_values, labels=labels).loss.backward()
        gradient = model.classifier.convolution.weight_orig.grad
        assert gradient.abs().max() > 0
        assert not gradient[kept == 0].any()


@pytest.mark.parametrize("where", ["cpu", "disk", "classifier on disk", "device map"])
def test_weights_may_lie_elsewhere(where, tmp_path):
    model = tiny_model(layerscale_value=0.5)
    pixel_values, _ = tiny_batch()
    with torch.no_grad():
        expected = model(pixel_values, output_class_maps=True)
        if where == "cpu":
            accelerate.cpu_offload(model, execution_device="cpu")
        elif where == "disk":
            accelerate.disk_offload(model, offload_dir=tmp_path, execution_device="cpu")
        elif where == "classifier on disk":
            accelerate.disk_offload(model.classifier, offload_dir=tmp_path, execution_device="cpu")
        else:
            accelerate.dispatch_model(
                model, {"vit": "cpu", "classifier": "disk"}, main_device="cpu", offload_dir=tmp_path
            )
        assert model.classifier.convolution.weight.device.type == "meta"
        for output_class_maps in (False, True):
            outputs = model(pixel_values, output_class_maps=output_class_maps)
            torch.testing.assert_close(outputs.logits, expected.logits, atol=1e-5, rtol=0)
            torch.testing.assert_close(outputs.localization_map, expected.localization_map, atol=1e-6, rtol=0)
    torch.testing.assert_close(outputs.class_maps, expected.class_maps, atol=1e-5, rtol=0)
