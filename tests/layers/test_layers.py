"""What every layer has to do: reload from its configuration, state its output's shape, keep dtypes."""

import keras
import numpy as np
import pytest

from keras_vit import layers

TOKENS = (2, 5, 12)
LAYERS = {
    "attention": (lambda **kw: layers.Attention(3, **kw), TOKENS),
    "attention-qk-norm": (lambda **kw: layers.Attention(3, qk_norm=True, **kw), TOKENS),
    "mlp": (lambda **kw: layers.MLP(24, **kw), TOKENS),
    "gated-mlp": (lambda **kw: layers.GatedMLP(10, **kw), TOKENS),
    "gated-mlp-separate": (
        lambda **kw: layers.GatedMLP(10, "gelu", packed=False, norm_eps=1e-6, **kw),
        TOKENS,
    ),
    "block": (lambda **kw: layers.TransformerBlock(3, **kw), TOKENS),
    "block-layer-scale": (
        lambda **kw: layers.TransformerBlock(3, init_values=0.1, drop_path_rate=0.1, **kw),
        TOKENS,
    ),
    "rotary-attention": (
        lambda **kw: layers.RotaryAttention(
            3, qkv_fused=False, key_bias=False, inner_norm=True, **kw
        ),
        TOKENS,
    ),
    "rotary-attention-beside": (
        lambda **kw: layers.RotaryAttention(3, key_bias=False, qk_norm=True, norm="rms", **kw),
        TOKENS,
    ),
    "eva-block": (
        lambda **kw: layers.EvaBlock(
            3, mlp="swiglu", mlp_norm=True, init_values=0.1, drop_path_rate=0.1, **kw
        ),
        TOKENS,
    ),
    "eva-block-post-norm": (lambda **kw: layers.EvaBlock(3, post_norm=True, **kw), TOKENS),
    "layer-norm": (lambda **kw: layers.LayerNormalization(epsilon=1e-6, **kw), TOKENS),
    "layer-scale": (lambda **kw: layers.LayerScale(0.5, **kw), TOKENS),
    "pool-token": (lambda **kw: layers.TokenPool("token", 1, **kw), TOKENS),
    "pool-avgmax": (lambda **kw: layers.TokenPool("avgmax", 1, **kw), TOKENS),
    "patch-embedding": (lambda **kw: layers.PatchEmbedding(6, (4, 2), **kw), (2, 8, 8, 3)),
    "token-embedding": (
        lambda **kw: layers.TokenEmbedding((2, 3), dist_token=True, reg_tokens=2, **kw),
        (2, 2, 3, 12),
    ),
    "standardized-conv": (
        lambda **kw: layers.StandardizedConv2D(6, 3, 2, form="deviation", **kw),
        (2, 7, 8, 4),
    ),
    "group-norm": (lambda **kw: layers.GroupNorm(3, 1e-6, **kw), (2, 4, 5, 6)),
    "resnet-stem": (
        lambda **kw: layers.ResNetStem(32, True, "same", "same", **kw),
        (2, 17, 20, 3),
    ),
    "bottleneck": (
        lambda **kw: layers.Bottleneck(128, 2, projection=True, drop_path_rate=0.1, **kw),
        (2, 5, 6, 32),
    ),
    "bottleneck-post": (
        lambda **kw: layers.Bottleneck(128, 2, False, True, "same", 1e-6, 1e-5, "deviation", **kw),
        (2, 5, 6, 32),
    ),
    "map-pool": (lambda **kw: layers.MapPool("avgmax", **kw), (2, 4, 5, 6)),
    "preprocess": (
        lambda **kw: layers.Preprocess((8, 8), (0.5,) * 3, (0.5,) * 3, crop_pct=0.9, **kw),
        (2, 11, 13, 3),
    ),
}
every_layer = pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS.keys())


def inputs(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 2, shape).astype("float32")


@every_layer
def test_reloads_from_its_configuration(make, shape) -> None:
    layer = make(name="one")
    expected = layer(inputs(shape))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(inputs(shape)), expected)


@every_layer
def test_states_its_output_shape(make, shape) -> None:
    layer = make()
    assert tuple(layer(inputs(shape)).shape) == layer.compute_output_shape(shape)


@every_layer
def test_symbolic_call_has_a_dynamic_batch(make, shape) -> None:
    output = make()(keras.Input(shape[1:]))
    assert output.shape[0] is None


@every_layer
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_weights_in_float32(make, shape, policy) -> None:
    layer = make(dtype=policy)
    output = layer(inputs(shape))
    assert keras.backend.standardize_dtype(output.dtype) == policy.removeprefix("mixed_")
    assert {variable.dtype for variable in layer.weights} <= {"float32"}


@every_layer
def test_names_have_no_dots(make, shape) -> None:
    layer = make()
    layer.build(shape)
    assert not [variable.path for variable in layer.weights if "." in variable.path]
