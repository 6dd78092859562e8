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
"""The model against the authors' numbers, against literal versions of the paper's formulas, and as Transformers expects
a model to behave."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sat_testing import FIXTURES, tiny_batch, tiny_config, tiny_model, without_drop_path
from torch import nn
from transformers import Trainer, TrainingArguments

from transformers_sat import SATForWeaklySupervisedLocalization, SATModel
from transformers_sat.convert import load_original_checkpoint
from transformers_sat.model.modeling_sat import (
    SATDropPath,
    SATPooledConvolution,
    normalization_loss,
    resize_position_embeddings,
)
from transformers_sat.training.trainer import freeze_encoder


# Golden numbers: outputs of the authors' implementation for a small checkpoint of theirs.


@pytest.fixture(scope="module")
def golden():
    with np.load(FIXTURES / "sat_micro_io.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def golden_model(attention: str) -> SATForWeaklySupervisedLocalization:
    model, _ = load_original_checkpoint(FIXTURES / "sat_micro_pth_tar.pth.tar", num_attention_heads=3)
    model.set_attn_implementation(attention)
    return without_drop_path(model)


def parameters_by_original_name(model):
    """The parameters whose gradients are golden, in groups where the authors' implementation fuses them."""
    embeddings = model.vit.embeddings
    named = {
        "loc_token": [embeddings.spatial_token],
        "loc_embed": [embeddings.spatial_position_embedding],
        "cls_token": [embeddings.cls_token],
        "pos_embed": [embeddings.position_embeddings],
        "head.weight": [model.classifier.convolution.weight],
        "head.bias": [model.classifier.convolution.bias],
    }
    for index in (11, 9, 0):
        attention = model.vit.layers[index].attention
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        named[f"blocks.{index}.attn.qkv.weight"] = [projection.weight for projection in projections]
    return named


def assert_gradient(parameters, expected):
    gradient = torch.cat([parameter.grad for parameter in parameters])
    assert (gradient - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
class TestGolden:
    def test_evaluation(self, golden, attention):
        with torch.no_grad():
            outputs = golden_model(attention)(golden["x"], output_spatial_maps=True, output_class_maps=True)
        torch.testing.assert_close(outputs.logits, golden["eval_logits"], atol=1e-5, rtol=0)
        torch.testing.assert_close(outputs.localization_map, golden["eval_map"], atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.stack(outputs.spatial_maps), golden["eval_block_masks"], atol=1e-5, rtol=0)
        torch.testing.assert_close(outputs.class_maps.mean((2, 3)), golden["eval_logits"], atol=1e-5, rtol=0)

    def test_losses_and_gradients(self, golden, attention):
        model = golden_model(attention).train()
        assert model.config.area_target == pytest.approx(golden["area_thr"].item())
        outputs = model(golden["x"], labels=golden["label"])
        torch.testing.assert_close(outputs.logits, golden["train_logits"], atol=1e-5, rtol=0)
        for ours, theirs in (("classification", "ce"), ("area", "area"), ("normalization", "norm")):
            torch.testing.assert_close(outputs.loss_dict[ours], golden[f"loss_{theirs}"], atol=1e-5, rtol=0)
        torch.testing.assert_close(outputs.loss, golden["loss_total"], atol=1e-5, rtol=0)

        outputs.loss.backward()
        named = parameters_by_original_name(model)
        assert {f"grad.{name}" for name in named} == {name for name in golden if name.startswith("grad.")}
        for name, parameters in named.items():
            assert_gradient(parameters, golden[f"grad.{name}"])

    def test_area_below_its_target(self, golden, attention):
        """A target above the mean area turns the sign inside the absolute value."""
        model = golden_model(attention).train()
        model.config.area_target = golden["alt_area_thr"].item()
        outputs = model(golden["x"], labels=golden["label"])
        torch.testing.assert_close(outputs.loss_dict["area"], golden["alt_loss_area"], atol=1e-5, rtol=0)
        torch.testing.assert_close(outputs.loss, golden["alt_loss_total"], atol=1e-5, rtol=0)
        outputs.loss.backward()
        assert_gradient([model.vit.embeddings.spatial_token], golden["alt_grad.loc_token"])
        assert_gradient([model.vit.embeddings.spatial_position_embedding], golden["alt_grad.loc_embed"])


def test_golden_areas(golden):
    """The mean of an image's map is its area, and the normalization value of a batch of one is that image's."""
    with torch.no_grad():
        maps = golden_model("sdpa")(golden["x"]).localization_map
    torch.testing.assert_close(maps.mean((1, 2)), golden["train_area"], atol=1e-5, rtol=0)
    values = torch.stack([normalization_loss(one[None]) for one in maps])
    torch.testing.assert_close(values, golden["train_norm"], atol=1e-5, rtol=0)


# The paper's formulas, written out.


def literal_forward(model, pixel_values):
    """
    Section 3 of the paper word by word, one image, head and block at a time: the N x N attention of every head is
    multiplied by the spatial mask, the classifier's maps are computed, then averaged.

    Returns logits, localization map and the mask of every spatial block.
    """
    config, vit = model.config, model.vit
    num_heads, head_size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    embeddings = vit.embeddings
    all_logits, all_maps, all_block_maps = [], [], []
    for image in pixel_values:
        patches = embeddings.patch_embeddings.projection(image[None])[0]
        grid = patches.shape[1:]
        patches = patches.flatten(1).T
        positions = embeddings.position_embeddings[0]
        tokens = torch.cat(
            [
                embeddings.cls_token[0] + positions[:1],
                patches + positions[1:],
                embeddings.spatial_token[0] + embeddings.spatial_position_embedding[0],
            ]
        )
        block_maps = []
        for index, layer in enumerate(vit.layers):
            attention = layer.attention
            normalized = layer.layernorm_before(tokens)
            queries, keys, values = (
                projection(normalized).split(head_size, dim=1)
                for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            scores = [queries[head] @ keys[head].T / math.sqrt(head_size) for head in range(num_heads)]
            if index >= config.num_hidden_layers - config.num_spatial_layers:
                mask = torch.sigmoid(sum(head_scores[-1] for head_scores in scores) / num_heads)
                block_maps.append(mask[1:-1].reshape(grid))
            else:
                mask = torch.ones(len(tokens), dtype=tokens.dtype)
            heads = [(scores[head].softmax(dim=-1) * mask[None, :]) @ values[head] for head in range(num_heads)]
            branch = attention.o_proj(torch.cat(heads, dim=1))
            tokens = tokens + branch * getattr(layer.layer_scale1, "lambda1", 1.0)
            branch = layer.mlp.fc2(nn.functional.gelu(layer.mlp.fc1(layer.layernorm_after(tokens))))
            tokens = tokens + branch * getattr(layer.layer_scale2, "lambda1", 1.0)
        patches = vit.layernorm(tokens)[1:-1].T.reshape(1, -1, *grid)
        class_maps = model.classifier.convolution(patches)[0]
        all_logits.append(class_maps.mean((1, 2)))
        all_maps.append(sum(block_maps) / len(block_maps))
        all_block_maps.append(torch.stack(block_maps))
    return torch.stack(all_logits), torch.stack(all_maps), torch.stack(all_block_maps, dim=1)


@pytest.fixture
def uncompiled_flex_attention(monkeypatch):
    """Flex attention as PyTorch's reference, without the minute that compiling it takes; so it takes float64 too."""
    from torch.nn.attention.flex_attention import flex_attention
    from transformers.integrations.flex_attention import WrappedFlexAttention

    monkeypatch.setattr(WrappedFlexAttention, "__call__", lambda self: flex_attention)


@pytest.mark.parametrize("overrides", [{}, {"layerscale_value": 0.7, "num_spatial_layers": 4}], ids=["vit", "dinov2"])
@pytest.mark.parametrize("attention", ["eager", "sdpa", "flex_attention"])
def test_attention_back_ends_equal_the_masked_attention_matrix(attention, overrides, uncompiled_flex_attention):
    model = tiny_model(**overrides).double()
    pixel_values = tiny_batch()[0].double()
    with torch.no_grad():
        logits, localization_map, block_maps = literal_forward(model, pixel_values)
        model.set_attn_implementation(attention)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*flex_attention called without torch.compile.*")
            outputs = model(pixel_values, output_spatial_maps=True)
    # the maps of the test have contrast: they would tell a wrong mask from a right one
    assert localization_map.std() > 0.05
    torch.testing.assert_close(outputs.logits, logits, atol=1e-9, rtol=0)
    torch.testing.assert_close(outputs.localization_map, localization_map, atol=1e-9, rtol=0)
    torch.testing.assert_close(torch.stack(outputs.spatial_maps), block_maps, atol=1e-9, rtol=0)


def test_gradients_equal_those_of_the_masked_attention_matrix():
    model = tiny_model().double()
    pixel_values = tiny_batch()[0].double()
    outputs = model(pixel_values)
    loss = outputs.logits.square().sum() + outputs.localization_map.pow(3).sum()
    names, parameters = zip(*model.named_parameters())
    ours = torch.autograd.grad(loss, parameters)
    logits, localization_map, _ = literal_forward(model, pixel_values)
    literal = torch.autograd.grad(logits.square().sum() + localization_map.pow(3).sum(), parameters)
    largest = max(gradient.abs().max().item() for gradient in literal)
    for name, gradient, expected in zip(names, ours, literal):
        torch.testing.assert_close(gradient, expected, atol=1e-12 * largest, rtol=1e-9, msg=name)


@settings(max_examples=40, deadline=None)
@given(
    grid=st.sampled_from([(1, 1), (1, 5), (2, 3), (14, 14), (3, 1)]),
    kernel_size=st.sampled_from([1, 3, 5, 7]),
    batch_size=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_pooled_convolution_is_the_mean_of_a_convolution(grid, kernel_size, batch_size, seed):
    torch.manual_seed(seed)
    classifier = SATPooledConvolution(tiny_config(classifier_kernel_size=kernel_size, num_labels=3)).double()
    patches = torch.randn(batch_size, *grid, 32, dtype=torch.float64)
    maps = nn.functional.conv2d(
        patches.permute(0, 3, 1, 2),
        classifier.convolution.weight,
        classifier.convolution.bias,
        padding=(kernel_size - 1) // 2,
    )
    logits, no_maps = classifier(patches)
    assert no_maps is None
    torch.testing.assert_close(logits, maps.mean((2, 3)), atol=1e-12, rtol=0)
    logits, class_maps = classifier(patches, output_class_maps=True)
    torch.testing.assert_close(logits, maps.mean((2, 3)), atol=1e-12, rtol=0)
    torch.testing.assert_close(class_maps, maps, atol=1e-12, rtol=0)


def normal_cdf(value: float) -> float:
    return torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(value, dtype=torch.float64)).item()


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 1000))
def test_normalization_loss_is_the_smoothed_map_times_its_complement(height, width, seed):
    limit = 6 + 13 / 6
    edges = torch.linspace(-limit, limit, 4, dtype=torch.float64).tolist()
    bins = torch.tensor([normal_cdf(stop) - normal_cdf(start) for start, stop in zip(edges, edges[1:])]).double()
    kernel = torch.outer(bins, bins).sqrt()
    kernel /= kernel.sum()
    # the values that the method's description gives
    assert [round(value, 4) for value in (kernel[1, 1].item(), kernel[0, 1].item())] == [0.8054, 0.0460]
    assert round(kernel[0, 0].item(), 4) == 0.0026

    maps = torch.rand(2, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    smoothed = nn.functional.conv2d(maps[:, None], kernel[None, None], padding=1)
    expected = (smoothed * (1 - smoothed)).mean()
    # the distribution's CDF is not accurate to float64, hence not 1e-12
    torch.testing.assert_close(normalization_loss(maps), expected, atol=1e-7, rtol=0)


def test_loss_is_the_weighted_sum_of_its_terms():
    model = tiny_model(area_target=0.3, area_loss_weight=2, normalization_loss_weight=0.5, drop_path_rate=0.0)
    pixel_values, labels = tiny_batch()
    outputs = model(pixel_values, labels=labels)
    classification = -outputs.logits.log_softmax(-1)[torch.arange(3), labels].mean()
    area = abs(outputs.localization_map.mean() - 0.3)
    torch.testing.assert_close(outputs.loss_dict["classification"], classification.detach())
    torch.testing.assert_close(outputs.loss_dict["area"], area.detach())
    expected = classification + 2 * area + 0.5 * outputs.loss_dict["normalization"]
    torch.testing.assert_close(outputs.loss, expected)
    assert set(outputs.loss_dict) == {"classification", "area", "normalization"}


def test_several_classes_per_image():
    """Labels of 0 and 1 for each class are scored by binary cross entropy."""
    model = tiny_model(drop_path_rate=0.0)
    pixel_values, _ = tiny_batch()
    labels = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).float()
    outputs = model(pixel_values, labels=labels)
    probabilities = outputs.logits.sigmoid()
    expected = -(labels * probabilities.log() + (1 - labels) * (1 - probabilities).log()).mean()
    torch.testing.assert_close(outputs.loss_dict["classification"], expected.detach())


def test_smoothed_labels():
    """A share of each label is spread over all classes; the other terms stay what they are."""
    model = tiny_model(drop_path_rate=0.0)
    pixel_values, labels = tiny_batch()
    plain = model(pixel_values, labels=labels)
    model.config.label_smoothing = 0.1
    outputs = model(pixel_values, labels=labels)
    targets = torch.nn.functional.one_hot(labels, 5) * 0.9 + 0.1 / 5
    expected = -(targets * outputs.logits.softmax(-1).log()).sum(-1).mean()
    torch.testing.assert_close(outputs.loss_dict["classification"], expected.detach())
    assert {name: outputs.loss_dict[name] for name in ("area", "normalization")} == {
        name: plain.loss_dict[name] for name in ("area", "normalization")
    }
    with pytest.raises(ValueError, match="`label_smoothing` is of one class per image, got 0.1"):
        model(pixel_values, labels=torch.zeros(len(labels), 5))


def test_the_absolute_value_of_the_area_is_taken_after_the_batch_mean():
    """Two images at equal distances on both sides of the target cost nothing."""
    model = tiny_model()
    maps = torch.stack([torch.full((4, 4), 0.1), torch.full((4, 4), 0.4)])
    _, terms = model.localization_loss(torch.zeros(2, 5), maps, torch.tensor([0, 1]))
    assert terms["area"].item() == pytest.approx(0.0, abs=1e-7)


def test_area_band_penalises_only_images_outside_it():
    model = tiny_model(area_band_loss_weight=2.0, area_band_tolerance=0.1)
    maps = torch.stack([torch.full((4, 4), value) for value in (0.2, 0.32, 0.25, 0.65)])
    logits, labels = torch.zeros(4, 5), torch.zeros(4, dtype=torch.long)
    loss, terms = model.localization_loss(logits, maps, labels)
    assert terms["area_band"].item() == pytest.approx((0.65 - 0.25 - 0.1) / 4, abs=1e-6)
    model.config.area_band_loss_weight = 0.0
    loss_without, terms_without = model.localization_loss(logits, maps, labels)
    assert loss.item() - loss_without.item() == pytest.approx(2 * terms["area_band"].item(), abs=1e-6)
    assert "area_band" not in terms_without


# Images of other sizes.


def test_other_sizes_with_interpolated_positions():
    model = tiny_model()
    for height, width in ((32, 32), (48, 48), (16, 40), (64, 24), (8, 8)):
        pixel_values, labels = tiny_batch(size=(height, width))
        outputs = model(pixel_values, labels=labels, interpolate_pos_encoding=True, output_class_maps=True)
        grid = (height // 8, width // 8)
        assert outputs.localization_map.shape == (3, *grid)
        assert outputs.class_maps.shape == (3, 5, *grid)
        torch.testing.assert_close(outputs.class_maps.mean((2, 3)), outputs.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(48, 48), (16, 40), (64, 24)])
def test_interpolated_positions_are_the_vits(size):
    """ViT's own interpolation is the reference wherever it is defined: from a square grid."""
    from transformers.models.vit.modeling_vit import ViTEmbeddings

    embeddings = tiny_model().vit.embeddings
    reference = ViTEmbeddings(tiny_config())
    incompatible = reference.load_state_dict(embeddings.state_dict(), strict=False)
    assert set(incompatible.unexpected_keys) == {"spatial_token", "spatial_position_embedding"}
    pixel_values, _ = tiny_batch(size=size)
    ours, spatial_token = embeddings(pixel_values, interpolate_pos_encoding=True)
    assert spatial_token.shape == (3, 1, 32)
    torch.testing.assert_close(ours, reference(pixel_values, interpolate_pos_encoding=True))


def test_the_same_grid_needs_no_interpolation():
    model = tiny_model()
    pixel_values, _ = tiny_batch()
    torch.testing.assert_close(
        model(pixel_values).logits, model(pixel_values, interpolate_pos_encoding=True).logits, atol=0, rtol=0
    )


def test_grids_that_are_not_square():
    """A 4 x 6 grid of 8 x 4 pixels: rows first, and transposing the images is not transposing the map."""
    model = tiny_model(image_size=(32, 24), patch_size=(8, 4))
    pixel_values, _ = tiny_batch(size=(32, 24))
    outputs = model(pixel_values)
    assert outputs.localization_map.shape == (3, 4, 6)
    with torch.no_grad():
        logits, localization_map, _ = literal_forward(model.double(), pixel_values.double())
    torch.testing.assert_close(outputs.localization_map.double(), localization_map, atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs.logits.double(), logits, atol=1e-4, rtol=0)

    model.float()
    # twice as high: the positions of a constant column stay constant, so rows are interpolated along rows
    with torch.no_grad():
        positions = torch.arange(6.0).repeat(4, 1).flatten()[None, :, None].expand(1, 24, 32)
        model.vit.embeddings.position_embeddings[:, 1:] = positions
    taller = model.vit.embeddings.interpolate_pos_encoding(height=64, width=24)
    expected = torch.arange(6.0).repeat(8, 1).flatten()
    torch.testing.assert_close(taller[0, 1:, 0], expected, atol=1e-5, rtol=0)
    assert model(torch.randn(1, 3, 64, 24), interpolate_pos_encoding=True).localization_map.shape == (1, 8, 6)


def test_a_patch_follows_its_image():
    """Changing one patch of the image changes that patch's embedding and no other."""
    model = tiny_model(image_size=(16, 24))
    pixel_values, _ = tiny_batch(batch_size=1, size=(16, 24))
    changed = pixel_values.clone()
    changed[..., 8:16, 16:24] += 1.0
    (before, token), (after, same_token) = model.vit.embeddings(pixel_values), model.vit.embeddings(changed)
    assert torch.equal(token, same_token)
    different = (before != after).any(-1)[0]
    # cls, then row 0 of three patches, row 1 of three patches
    assert different.nonzero().flatten().tolist() == [1 + 3 + 2]


# The spatial token joins later.


@pytest.mark.parametrize("size", [(32, 32), (16, 40)])
def test_before_the_spatial_token_joins_the_blocks_are_the_vits(size):
    """ViT's own encoder, with the same weights, is the reference for what is before; the paper's model for what is after."""
    from transformers import ViTModel

    model = tiny_model(spatial_token_layer=2)
    reference = ViTModel(tiny_config(), add_pooling_layer=False).eval()
    incompatible = reference.load_state_dict(model.vit.state_dict(), strict=False)
    assert incompatible.missing_keys == []
    pixel_values, _ = tiny_batch(size=size)
    options = {"interpolate_pos_encoding": True, "output_hidden_states": True}
    outputs, expected = model(pixel_values, **options), reference(pixel_values, **options)
    for ours, state in zip(outputs.hidden_states[:3], expected.hidden_states[:3], strict=True):
        torch.testing.assert_close(ours, state, atol=1e-5, rtol=0)
    token = model.vit.embeddings.spatial_token + model.vit.embeddings.spatial_position_embedding
    state, maps = torch.cat((expected.hidden_states[2], token.expand(3, -1, -1)), dim=1), []
    for layer in model.vit.layers[2:]:
        state, spatial_mask = layer(state, None)
        maps.append(spatial_mask[:, 1:-1])
    torch.testing.assert_close(outputs.localization_map.flatten(1), torch.stack(maps).mean(0))


def test_frozen_blocks_before_the_spatial_token_take_no_gradient():
    model = tiny_model(spatial_token_layer=2).train()
    freeze_encoder(model, 2)
    pixel_values, labels = tiny_batch()
    inputs = []
    model.vit.layers[2].register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    states = []
    model.vit.layers[1].register_forward_hook(lambda module, arguments, output: states.append(output[0]))
    model(pixel_values, labels=labels).loss.backward()
    assert not states[0].requires_grad and inputs[0].requires_grad
    assert model.vit.embeddings.spatial_token.grad.abs().sum() > 0
    assert model.vit.embeddings.spatial_position_embedding.grad.abs().sum() > 0


@pytest.mark.parametrize("token_layer", [0, 2])
def test_tokens_that_are_masked_change_nothing(token_layer):
    model = tiny_model(spatial_token_layer=token_layer)
    pixel_values, _ = tiny_batch()
    attention_mask = torch.ones(3, 18)
    attention_mask[:, 6] = 0
    changed = pixel_values.clone()
    # the sixth token is the second patch of the second row
    changed[..., 8:16, 8:16] += 1.0
    first, second = (
        model(pixels, attention_mask=attention_mask, output_hidden_states=True) for pixels in (pixel_values, changed)
    )
    assert not torch.equal(first.hidden_states[0], second.hidden_states[0])
    others = attention_mask[0].bool()
    torch.testing.assert_close(first.hidden_states[-1][:, others], second.hidden_states[-1][:, others])


# Errors.


@pytest.mark.parametrize(
    ("shape", "kwargs", "message"),
    [
        ((1, 3, 32, 36), {}, "multiples of the patch size .*8x8.*32x36"),
        ((1, 3, 36, 32), {"interpolate_pos_encoding": True}, "multiples of the patch size .*36x32"),
        ((1, 3, 48, 48), {}, "interpolate_pos_encoding"),
        ((1, 1, 32, 32), {}, "channel"),
    ],
    ids=["width", "height", "size", "channels"],
)
def test_images_that_do_not_fit(shape, kwargs, message):
    with pytest.raises(ValueError, match=message):
        tiny_model()(torch.zeros(shape), **kwargs)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 5, 1]), r"between 0 and 4.*\[5\]"),
        (torch.tensor([0, -1, 1]), r"between 0 and 4.*\[-1\]"),
        (torch.tensor([0.0, 1.0, 2.0]), r"\(3, 5\).*\(3,\).*integers"),
        (torch.tensor([0, 1]), r"\(3,\).*\(2,\)"),
        (torch.zeros(3, 5, dtype=torch.long), r"\(3,\).*\(3, 5\)"),
        (torch.zeros(3, 4), r"\(3, 5\).*\(3, 4\)"),
    ],
    ids=["too large", "negative", "float", "too few", "one-hot integers", "too few classes"],
)
def test_labels_that_do_not_fit(labels, message):
    with pytest.raises(ValueError, match=f"`labels`.*{message}"):
        tiny_model()(tiny_batch()[0], labels=labels)


# Outputs as Transformers has them.


def test_optional_outputs():
    model = tiny_model()
    model.set_attn_implementation("eager")
    pixel_values, labels = tiny_batch()
    outputs = model(pixel_values)
    assert list(outputs.keys()) == ["logits", "localization_map"]
    outputs = model(
        pixel_values,
        labels=labels,
        output_hidden_states=True,
        output_attentions=True,
        output_spatial_maps=True,
        output_class_maps=True,
    )
    assert [state.shape for state in outputs.hidden_states] == [(3, 18, 32)] * 5
    assert [attention.shape for attention in outputs.attentions] == [(3, 4, 18, 18)] * 4
    for attention in outputs.attentions:
        torch.testing.assert_close(attention.sum(-1), torch.ones(3, 4, 18))
    assert len(outputs.spatial_maps) == 2
    torch.testing.assert_close(torch.stack(outputs.spatial_maps).mean(0), outputs.localization_map)
    last_hidden_state = model.vit(pixel_values).last_hidden_state
    torch.testing.assert_close(model.vit.layernorm(outputs.hidden_states[-1]), last_hidden_state)
    torch.testing.assert_close(outputs.hidden_states[0], torch.cat(model.vit.embeddings(pixel_values), dim=1))


def test_optional_outputs_from_the_configuration():
    model = tiny_model(output_hidden_states=True)
    assert len(model(tiny_batch()[0]).hidden_states) == 5


def test_return_dict_false():
    model = tiny_model()
    pixel_values, labels = tiny_batch()
    expected = model(pixel_values, labels=labels)
    loss, loss_dict, logits, localization_map = model(pixel_values, labels=labels, return_dict=False)
    torch.testing.assert_close(loss, expected.loss)
    assert loss_dict.keys() == expected.loss_dict.keys()
    torch.testing.assert_close(logits, expected.logits)
    torch.testing.assert_close(localization_map, expected.localization_map)
    last_hidden_state, localization_map = model.vit(pixel_values, return_dict=False)
    assert last_hidden_state.shape == (3, 18, 32)
    torch.testing.assert_close(localization_map, expected.localization_map)


def test_loss_dict_carries_no_graph():
    outputs = tiny_model()(tiny_batch()[0], labels=tiny_batch()[1])
    assert outputs.loss.requires_grad
    assert not any(term.requires_grad for term in outputs.loss_dict.values())


def test_attention_mask_hides_tokens():
    """An image's masked patches can hold anything without a change in the other patches' map and hidden states."""
    model = tiny_model()
    pixel_values, _ = tiny_batch(batch_size=1)
    changed = pixel_values.clone()
    changed[..., 24:, :] = 7.0
    attention_mask = torch.ones(1, 18, dtype=torch.long)
    attention_mask[:, 1 + 12 : 1 + 16] = 0
    first, second = (model.vit(x, attention_mask=attention_mask) for x in (pixel_values, changed))
    torch.testing.assert_close(first.localization_map[:, :3], second.localization_map[:, :3])
    torch.testing.assert_close(first.last_hidden_state[:, :13], second.last_hidden_state[:, :13])
    assert not torch.allclose(model.vit(pixel_values).localization_map, model.vit(changed).localization_map)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_half_precision(dtype, attention):
    model = tiny_model(gain=3.0)
    pixel_values, labels = tiny_batch()
    expected = model(pixel_values, labels=labels)
    model.to(dtype).set_attn_implementation(attention)
    outputs = model(pixel_values, labels=labels)
    # maps and losses are what half precision would spoil
    assert outputs.localization_map.dtype == outputs.loss.dtype == torch.float32
    assert outputs.logits.dtype == dtype
    assert (outputs.localization_map - expected.localization_map).abs().max() < 0.05
    assert (outputs.loss - expected.loss).abs() < 0.05
    outputs.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_autocast():
    model = tiny_model(gain=3.0)
    pixel_values, labels = tiny_batch()
    expected = model(pixel_values, labels=labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(pixel_values, labels=labels)
    assert (outputs.localization_map - expected.localization_map).abs().max() < 0.05
    assert (outputs.loss - expected.loss).abs() < 0.1


# Training.


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_activation_checkpointing_gives_equal_gradients(use_reentrant):
    pixel_values, labels = tiny_batch()
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model(drop_path_rate=0.0).train()
        if checkpointing:
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)
                model.activation_checkpointing_enable({"use_reentrant": use_reentrant})
            assert model.is_activation_checkpointing
            pixel_values = pixel_values.clone().requires_grad_(use_reentrant)
        model(pixel_values, labels=labels).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("training", [False, True])
def test_compiles_as_one_graph(training):
    torch.compiler.reset()
    model = tiny_model(drop_path_rate=0.0, num_hidden_layers=2, num_spatial_layers=1).train(training)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    pixel_values, labels = tiny_batch()
    kwargs = {"labels": labels} if training else {}
    expected, outputs = model(pixel_values, **kwargs), compiled(pixel_values, **kwargs)
    torch.testing.assert_close(outputs.logits, expected.logits)
    torch.testing.assert_close(outputs.localization_map, expected.localization_map)
    if training:
        torch.testing.assert_close(outputs.loss, expected.loss)
        names, parameters = zip(*model.named_parameters())
        gradients = torch.autograd.grad(outputs.loss, parameters)
        for name, ours, theirs in zip(names, gradients, torch.autograd.grad(expected.loss, parameters)):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4, msg=name)


def test_compiles_with_drop_path():
    torch.compiler.reset()
    model = tiny_model(drop_path_rate=0.5, num_hidden_layers=2, num_spatial_layers=1).train()
    pixel_values, labels = tiny_batch()
    assert torch.compile(model, backend="aot_eager", fullgraph=True)(pixel_values, labels=labels).loss.isfinite()


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    drop_path = SATDropPath(0.3)
    branch, residual = torch.ones(20000, 2, 3), torch.rand(20000, 2, 3)
    assert torch.equal(drop_path.eval()(branch, residual), branch + residual)
    # without the residual only the branch, dropped or scaled, is left
    torch.testing.assert_close(drop_path.train()(torch.zeros_like(branch), residual), residual)
    dropped = drop_path(branch, torch.zeros_like(residual))
    per_sample = dropped.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    torch.testing.assert_close(per_sample[:, 0].unique(), torch.tensor([0.0, 1 / 0.7]))
    # five standard deviations of the mean of 20000 draws
    assert abs(dropped.mean().item() - 1.0) < 5 * math.sqrt(0.3 / 0.7 / 20000)


def test_drop_path_grows_linearly_with_depth():
    rates = [layer.drop_path.drop_prob for layer in SATModel(tiny_config(drop_path_rate=0.3)).layers]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert [layer.drop_path.drop_prob for layer in SATModel(tiny_config(drop_path_rate=0.0)).layers] == [0.0] * 4
    single = SATModel(tiny_config(num_hidden_layers=1, num_spatial_layers=1, drop_path_rate=0.3))
    assert single.layers[0].drop_path.drop_prob == 0.0


def test_drop_path_acts_in_training_only():
    model = tiny_model(drop_path_rate=0.9)
    pixel_values, _ = tiny_batch()
    torch.testing.assert_close(model(pixel_values).logits, model(pixel_values).logits, atol=0, rtol=0)
    torch.testing.assert_close(
        model(pixel_values).logits, without_drop_path(tiny_model(drop_path_rate=0.9))(pixel_values).logits
    )
    model.train()
    assert not torch.allclose(model(pixel_values).logits, model(pixel_values).logits)


def test_layer_scale_exists_only_when_configured():
    names = dict(tiny_model().named_parameters())
    assert not any("layer_scale" in name for name in names)
    model = SATForWeaklySupervisedLocalization(tiny_config(layerscale_value=0.25))
    gains = {name: gain for name, gain in model.named_parameters() if "layer_scale" in name}
    assert set(gains) == {f"vit.layers.{i}.layer_scale{branch}.lambda1" for i in range(4) for branch in (1, 2)}
    for gain in gains.values():
        torch.testing.assert_close(gain.detach(), torch.full((32,), 0.25))


def test_initialization():
    model = SATForWeaklySupervisedLocalization(tiny_config(hidden_size=512, num_labels=40))
    convolution = model.classifier.convolution
    # PyTorch's default: uniform within 1 / sqrt(fan in)
    bound = 1 / math.sqrt(512 * 9)
    for parameter in (convolution.weight, convolution.bias):
        assert parameter.abs().max() <= bound
    assert convolution.weight.abs().max() > 0.99 * bound
    assert convolution.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    for token in (model.vit.embeddings.spatial_token, model.vit.embeddings.spatial_position_embedding):
        assert token.std().item() == pytest.approx(0.02, rel=0.15)
        assert abs(token.mean().item()) < 0.004
    assert model.vit.layers[0].attention.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model.vit.layers[0].attention.q_proj.bias.any()


def test_spatial_blocks_are_the_last():
    model = SATModel(tiny_config(num_hidden_layers=5, num_spatial_layers=3))
    assert [layer.attention.is_spatial for layer in model.layers] == [False, False, True, True, True]


class Images(torch.utils.data.Dataset):
    def __init__(self, num_images: int):
        self.pixel_values, self.labels = tiny_batch(batch_size=num_images)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"pixel_values": self.pixel_values[index], "labels": self.labels[index]}


def test_trainer_accumulates_the_mean_of_the_losses(tmp_path):
    """
    Two accumulated batches of four: the reported loss is the mean of the two losses and the step follows the mean of
    their gradients, so a plain gradient step can be predicted.
    """
    model = tiny_model(drop_path_rate=0.0).train()
    data = Images(8)
    losses = [model(data.pixel_values[i : i + 4], labels=data.labels[i : i + 4]).loss for i in (0, 4)]
    expected_loss = (losses[0] + losses[1]) / 2
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(expected_loss, list(parameters.values()))
    expected = {name: p.detach() - 0.1 * g for (name, p), g in zip(parameters.items(), gradients)}

    arguments = TrainingArguments(
        output_dir=tmp_path,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        max_steps=1,
        optim="sgd",
        learning_rate=0.1,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
    )

    class InOrder(Trainer):
        def _get_train_sampler(self, *args, **kwargs):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    trainer = InOrder(model, arguments, train_dataset=data)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(expected_loss.item(), abs=1e-4)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("side", [-1, 1])
def test_the_area_of_the_whole_batch(side):
    """Parts that know it, each with its share of the images, add up to the loss and gradient of the whole."""
    model = tiny_model(drop_path_rate=0.0).train()
    pixel_values, labels = tiny_batch(batch_size=8)
    maps = model(pixel_values).localization_map.detach()
    # sorted, and the target between the parts, so that one of them is on its other side
    order = maps.mean((1, 2)).argsort()
    pixel_values, labels, maps = pixel_values[order], labels[order], maps[order]
    parts = [slice(0, 5), slice(5, 8)]
    means = [maps[part].mean().item() for part in parts]
    area = maps.mean()
    model.config.area_target = (area.item() + means[0 if side < 0 else 1]) / 2
    assert means[0] < model.config.area_target < means[1]
    parameters = list(model.parameters())
    whole = model(pixel_values, labels=labels)
    expected = torch.autograd.grad(whole.loss, parameters)

    for known in (area, area.expand(8)):
        losses = []
        for part in parts:
            batch_area = known if known.ndim == 0 else known[part]
            outputs = model(pixel_values[part], labels=labels[part], batch_area=batch_area)
            torch.testing.assert_close(outputs.loss_dict["area"], whole.loss_dict["area"], atol=1e-6, rtol=0)
            losses.append(outputs.loss * len(labels[part]) / 8)
        torch.testing.assert_close(sum(losses), whole.loss, atol=1e-6, rtol=0)
        for found, gradient in zip(torch.autograd.grad(sum(losses), parameters), expected, strict=True):
            torch.testing.assert_close(found, gradient, atol=1e-5, rtol=1e-4)


def test_trainer_gathers_logits_and_maps_only(tmp_path):
    arguments = TrainingArguments(
        output_dir=tmp_path, per_device_eval_batch_size=4, use_cpu=True, disable_tqdm=True, report_to="none"
    )
    model = tiny_model()
    data = Images(6)
    predictions = Trainer(model, arguments).predict(data)
    logits, maps = predictions.predictions
    with torch.no_grad():
        expected = model(data.pixel_values)
    np.testing.assert_allclose(logits, expected.logits, atol=1e-5)
    np.testing.assert_allclose(maps, expected.localization_map, atol=1e-5)


def test_saving_and_loading_gives_equal_outputs(tmp_path):
    model = tiny_model(layerscale_value=0.5)
    pixel_values, _ = tiny_batch()
    model.save_pretrained(tmp_path)
    reloaded = SATForWeaklySupervisedLocalization.from_pretrained(tmp_path)
    torch.testing.assert_close(reloaded(pixel_values).logits, model(pixel_values).logits, atol=1e-6, rtol=1e-6)
    base = SATModel.from_pretrained(tmp_path)
    torch.testing.assert_close(base(pixel_values).localization_map, model(pixel_values).localization_map)


def test_saved_weights_load_as_a_state_dict(tmp_path):
    """Resuming a run reads the file of weights without `from_pretrained`, whichever names it was saved under."""
    source = tiny_model()
    for save_original_format in (True, False):
        source.save_pretrained(tmp_path, save_original_format=save_original_format)
        model = tiny_model(seed=1)
        incompatible = model.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
        assert not incompatible.missing_keys
        assert not incompatible.unexpected_keys
        for name, parameter in source.named_parameters():
            assert torch.equal(model.get_parameter(name), parameter), name
    # the base model's own weights too, and a state dict of this version
    base = SATModel(tiny_config())
    base.load_state_dict(source.vit.state_dict())
    assert torch.equal(base.layers[3].mlp.fc1.weight, source.vit.layers[3].mlp.fc1.weight)


def test_a_run_is_resumed(tmp_path):
    """Two steps, then one more after loading the first step's checkpoint, end at the same weights."""

    def run(max_steps: int, folder, resume=None):
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=4,
            max_steps=max_steps,
            lr_scheduler_type="constant",
            learning_rate=1e-3,
            save_steps=1,
            use_cpu=True,
            disable_tqdm=True,
            report_to="none",
            seed=3,
        )
        trainer = Trainer(tiny_model(drop_path_rate=0.0), arguments, train_dataset=Images(8))
        trainer.train(resume_from_checkpoint=resume)
        return dict(trainer.model.named_parameters())

    whole = run(2, tmp_path / "whole")
    run(1, tmp_path / "parts")
    parts = run(2, tmp_path / "parts", resume=str(tmp_path / "parts" / "checkpoint-1"))
    for name, parameter in whole.items():
        torch.testing.assert_close(parts[name], parameter, atol=1e-6, rtol=1e-5, msg=name)


def test_resize_position_embeddings():
    positions = torch.randn(1, 1 + 3 * 2, 4)
    assert resize_position_embeddings(positions, (3, 2), (3, 2)) is positions
    larger = resize_position_embeddings(positions, (3, 2), (6, 3))
    assert larger.shape == (1, 1 + 6 * 3, 4)
    torch.testing.assert_close(larger[:, 0], positions[:, 0])
    # rows that are all alike stay alike, so rows come first
    rows = torch.tensor([1.0, 2.0]).repeat(3)[None, :, None]
    resized = resize_position_embeddings(torch.cat([torch.zeros(1, 1, 1), rows], dim=1), (3, 2), (5, 2))
    torch.testing.assert_close(resized[0, 1:, 0], torch.tensor([1.0, 2.0]).repeat(5))
    with pytest.raises(ValueError, match="3x3 patches.*7"):
        resize_position_embeddings(positions, (3, 3), (6, 3))
