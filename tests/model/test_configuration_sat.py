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
"""The configuration: defaults, what is refused, and what survives a file."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from sat_testing import tiny_config
from transformers import AutoConfig, DeiTConfig, ViTConfig

from transformers_sat import SATConfig


def test_defaults_are_the_papers():
    config = SATConfig()
    assert config.model_type == "sat"
    assert (config.num_spatial_layers, config.classifier_kernel_size) == (3, 3)
    assert (config.area_target, config.area_loss_weight, config.normalization_loss_weight) == (0.25, 1.0, 1.0)
    assert (config.drop_path_rate, config.layer_norm_eps) == (0.1, 1e-6)
    assert config.layerscale_value is None
    # what goes beyond the paper is off
    assert (config.num_register_tokens, config.use_class_token, config.num_prefix_tokens) == (0, True, 1)
    assert (config.has_embedding_norm, config.rope_theta, config.use_gated_mlp) == (False, None, False)
    assert config.area_band_loss_weight == 0.0
    vit = ViTConfig()
    for name in ("hidden_size", "num_hidden_layers", "image_size", "patch_size", "qkv_bias", "initializer_range"):
        assert getattr(config, name) == getattr(vit, name)


@pytest.mark.parametrize(
    ("field", "value", "arguments"),
    [
        ("num_spatial_layers", 0, {}),
        ("num_spatial_layers", -1, {}),
        ("num_spatial_layers", 13, {}),
        ("num_spatial_layers", 3, {"num_hidden_layers": 2}),
        ("spatial_token_layer", -1, {}),
        ("spatial_token_layer", 10, {}),
        ("spatial_token_layer", 8, {"num_spatial_layers": 5}),
        ("num_register_tokens", -1, {}),
        ("num_register_tokens", 1025, {}),
        ("rope_theta", 0.0, {}),
        ("rope_theta", float("inf"), {}),
        ("rope_theta", float("nan"), {}),
        ("rope_theta", 100.0, {"hidden_size": 36, "num_attention_heads": 6}),
        ("area_target", 0.0, {}),
        ("area_target", 1.0, {}),
        ("area_target", -0.1, {}),
        ("area_target", float("nan"), {}),
        ("area_loss_weight", -1.0, {}),
        ("normalization_loss_weight", -0.5, {}),
        ("area_band_loss_weight", -0.5, {}),
        ("area_band_tolerance", -0.5, {}),
        ("label_smoothing", 1.0, {}),
        ("classifier_kernel_size", 0, {}),
        ("classifier_kernel_size", 2, {}),
        ("classifier_kernel_size", 4, {}),
        ("classifier_kernel_size", -3, {}),
        ("drop_path_rate", 1.0, {}),
        ("drop_path_rate", -0.1, {}),
        ("num_attention_heads", 5, {"hidden_size": 32}),
        ("num_attention_heads", 0, {"hidden_size": 32}),
        ("num_attention_heads", -2, {"hidden_size": 32}),
        ("image_size", 225, {}),
        ("image_size", 8, {"patch_size": 16}),
        ("image_size", (224, 230), {}),
        ("patch_size", 0, {}),
        ("hidden_size", 0, {}),
        ("hidden_size", -768, {}),
        ("hidden_size", 2**18, {"num_attention_heads": 1}),
        ("intermediate_size", 0, {}),
        ("intermediate_size", 10**9, {}),
        ("num_hidden_layers", 257, {}),
        ("num_channels", 0, {}),
        ("image_size", 4096 + 16, {}),
        ("image_size", (16, 8192), {}),
        ("image_size", 4096, {"patch_size": 8}),
        ("image_size", [224], {}),
        ("patch_size", [16, 16, 16], {}),
        ("hidden_act", "no_such_activation", {}),
        ("hidden_dropout_prob", 1.0, {}),
        ("attention_probs_dropout_prob", -0.1, {}),
        ("initializer_range", float("inf"), {}),
        ("layer_norm_eps", 0.0, {}),
        ("layer_norm_eps", float("nan"), {}),
        ("layerscale_value", float("nan"), {}),
        ("area_loss_weight", float("nan"), {}),
    ],
)
def test_values_out_of_range(field, value, arguments):
    with pytest.raises(StrictDataclassError, match=f"`{field}`"):
        SATConfig(**{field: value, **arguments})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_spatial_layers", 2.0),
        ("spatial_token_layer", 2.0),
        ("spatial_token_layer", True),
        ("num_spatial_layers", "3"),
        ("num_spatial_layers", None),
        ("area_target", "a quarter"),
        ("area_loss_weight", None),
        ("normalization_loss_weight", "1"),
        ("classifier_kernel_size", 3.0),
        ("classifier_kernel_size", (3, 3)),
        ("drop_path_rate", "0.1"),
        ("layerscale_value", "1e-5"),
        ("layer_norm_eps", "small"),
    ],
)
def test_values_of_another_type(field, value):
    with pytest.raises(StrictDataclassError, match=field):
        SATConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id2label", []),
        ("id2label", {}),
        ("id2label", {"zero": "ant"}),
        ("id2label", {0: "ant", 2: "bee"}),
        ("id2label", {0: "ant", 1: None}),
        ("num_labels", 0),
        ("num_labels", -1),
        ("num_labels", "5"),
        ("num_labels", 10**9),
        ("dtype", "load"),
        ("dtype", "int8"),
        ("torch_dtype", "complex64"),
    ],
)
def test_fields_that_transformers_does_not_check(field, value):
    """It names a billion labels, and takes any function of torch for a dtype."""
    with pytest.raises(ValueError, match=f"`{field.removeprefix('torch_')}`"):
        SATConfig(**{field: value})


def test_the_largest_vit_fits():
    """ViT-22B of Dehghani et al. (2023), and 4096 px in patches of 16."""
    config = SATConfig(hidden_size=6144, num_hidden_layers=48, num_attention_heads=48, intermediate_size=24576)
    assert config.num_hidden_layers == 48
    assert SATConfig(image_size=4096, patch_size=16, dtype="bfloat16", num_labels=21843).num_labels == 21843


def test_a_field_set_later_is_checked_before_it_is_saved(tmp_path):
    config = tiny_config()
    config.num_spatial_layers = 9
    with pytest.raises(StrictDataclassError, match="`num_spatial_layers`"):
        config.save_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("image_size", "patch_size"), [(30, 6), ((32, 48), 8), (32, (8, 4)), ((28, 42), (14, 7)), ([32, 48], [8, 8])]
)
def test_grids_that_are_not_square(image_size, patch_size, tmp_path):
    config = tiny_config(image_size=image_size, patch_size=patch_size)
    config.save_pretrained(tmp_path)
    again = SATConfig.from_pretrained(tmp_path)
    for name in ("image_size", "patch_size"):
        value = getattr(again, name)
        expected = getattr(config, name)
        assert value == expected or tuple(value) == tuple(expected)


def test_round_trip(tmp_path):
    config = SATConfig(
        num_spatial_layers=5,
        area_target=0.35,
        area_loss_weight=2,
        normalization_loss_weight=0.5,
        area_band_loss_weight=1,
        area_band_tolerance=0.05,
        label_smoothing=0.1,
        classifier_kernel_size=5,
        drop_path_rate=0,
        layerscale_value=1,
        id2label={0: "cat", 1: "dog"},
        label2id={"cat": 0, "dog": 1},
    )
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "sat"
    again = SATConfig.from_pretrained(tmp_path)
    assert again.num_labels == 2
    for other in (again, AutoConfig.from_pretrained(tmp_path)):
        fields = other.to_dict()
        # where it was read from
        fields["_name_or_path"] = config.to_dict()["_name_or_path"]
        assert fields == config.to_dict() | {"transformers_version": other.transformers_version}
    assert SATConfig.from_pretrained(tmp_path, area_target=0.4).area_target == 0.4


@pytest.mark.parametrize("source_class", [ViTConfig, DeiTConfig])
def test_a_vits_configuration_reads_as_one(source_class, tmp_path):
    source = source_class(hidden_size=384, num_attention_heads=6, intermediate_size=1536, image_size=384, num_labels=7)
    fields = {name: value for name, value in source.to_dict().items() if name != "model_type"}
    for config in (SATConfig(**fields), SATConfig(**fields, num_spatial_layers=2)):
        for name in ("hidden_size", "num_attention_heads", "intermediate_size", "image_size", "num_labels"):
            assert getattr(config, name) == getattr(source, name)
        assert config.model_type == "sat"
        assert config.layer_norm_eps == source.layer_norm_eps
    source.save_pretrained(tmp_path)
    assert SATConfig.from_pretrained(tmp_path).hidden_size == 384


def test_positional_arguments_are_refused():
    with pytest.raises((TypeError, ValueError)):
        SATConfig(384)
