"""Rotary positions against their definition: complex numbers that are turned."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_vit import layers
from keras_vit.layers.rotary import rotate

GRID = (2, 3, 4, 8)  # of which height 3 and width 4 count
HEAD_DIM = 16


def embedding(**arguments: Any) -> layers.RotaryEmbedding:
    return layers.RotaryEmbedding(HEAD_DIM, num_prefix_tokens=2, **arguments)


def table_of(**arguments: Any) -> np.ndarray:
    """(cosines, sines) of the patches, (2, 12, pairs)."""
    (table,) = embedding(**arguments)(np.zeros(GRID, "float32"))
    return keras.ops.convert_to_numpy(table)[:, 2:, 0]


def angles(y: np.ndarray, x: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Of every patch, row by row: half of the pairs turn with y, half with x."""
    rows, columns = (c.reshape(-1, 1) * frequencies for c in np.meshgrid(y, x, indexing="ij"))
    return np.concatenate([rows, columns], 1)


FREQUENCIES = 100.0 ** -(np.arange(4) / 4)
EXPECTED = {
    "index": ({}, angles(np.arange(3), np.arange(4), FREQUENCIES)),
    "columns first": (
        {"columns_first": True},
        np.roll(angles(np.arange(3), np.arange(4), FREQUENCIES), 4, 1),
    ),
    "offset": ({"offset": 1.0}, angles(np.arange(3) + 1, np.arange(4) + 1, FREQUENCIES)),
    "reference grid": (
        {"reference_grid": (6, 2)},
        angles(2 * np.arange(3), np.arange(4) / 2, FREQUENCIES),
    ),
    "centered": (
        {"coordinates": "centered"},
        angles(np.array([-2, 0, 2]) / 3, np.array([-3, -1, 1, 3]) / 4, 2 * np.pi * FREQUENCIES),
    ),
}


@pytest.mark.parametrize("case", EXPECTED)
def test_angles(case: str) -> None:
    arguments, expected = EXPECTED[case]
    cosines, sines = table_of(temperature=100.0, **arguments)
    np.testing.assert_allclose(cosines, np.cos(expected), atol=1e-6)
    np.testing.assert_allclose(sines, np.sin(expected), atol=1e-6)


def test_rounded_periods_are_those_of_bfloat16() -> None:
    periods = ops.cast(ops.cast(100.0 ** (np.arange(4) / 4), "bfloat16"), "float32")
    found = np.arctan2(*table_of(temperature=100.0, rounded_periods=True)[::-1])
    np.testing.assert_allclose(found[1, 4:], 1 / ops.convert_to_numpy(periods), rtol=1e-6)


def test_learned_frequencies_turn_with_rows_and_columns_by_block_and_head() -> None:
    layer = embedding(learned=(3, 5), columns_first=True)
    layer.build(GRID)
    frequencies = np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype("float32")
    layer.freqs.assign(frequencies)
    tables = layer(np.zeros(GRID, "float32"))
    y, x = np.divmod(np.arange(12), 4)
    for block, table in enumerate(tables):
        of_x, of_y = frequencies[:, block]
        expected = y[:, None, None] * of_y + x[:, None, None] * of_x
        np.testing.assert_allclose(table[0][2:], np.cos(expected), atol=1e-5)
        np.testing.assert_allclose(table[1][2:], np.sin(expected), atol=1e-5)


def test_first_frequencies_are_axial_ones_turned() -> None:
    """The magnitudes are those of the temperature, and the pair's two halves at right angles."""
    layer = embedding(learned=(2, 3), temperature=10.0)
    layer.build(GRID)
    x, y = keras.ops.convert_to_numpy(layer.freqs)
    magnitudes = np.tile(10.0 ** -(np.arange(4) / 4), 2)
    np.testing.assert_allclose(np.hypot(x, y), np.broadcast_to(magnitudes, x.shape), rtol=1e-5)
    np.testing.assert_allclose((x * np.roll(x, 4, -1) + y * np.roll(y, 4, -1)), 0, atol=1e-6)


@pytest.mark.parametrize("interleaved", [True, False])
def test_rotation_is_a_product_of_complex_numbers(interleaved: bool) -> None:
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 1, 14, 2, HEAD_DIM)).astype("float32")
    table = embedding(temperature=10.0)(np.zeros(GRID, "float32"))[0]
    cosines, sines = keras.ops.convert_to_numpy(table)

    def turned(x: np.ndarray) -> np.ndarray:
        one, other = (x[..., ::2], x[..., 1::2]) if interleaved else np.split(x, 2, -1)
        return (one + 1j * other) * (cosines + 1j * sines)

    expected = (turned(query) * turned(key).conj()).real.sum(-1)
    found = rotate(query, table, interleaved) * rotate(key, table, interleaved)
    np.testing.assert_allclose(ops.sum(found, -1), expected, atol=1e-5)


def test_tokens_before_the_patches_stay() -> None:
    x = np.random.default_rng(0).normal(size=(1, 14, 2, HEAD_DIM)).astype("float32")
    (table,) = embedding()(np.zeros(GRID, "float32"))
    found = keras.ops.convert_to_numpy(rotate(x, table, False))
    np.testing.assert_array_equal(found[:, :2], x[:, :2])
    assert np.abs(found[:, 3:] - x[:, 3:]).max() > 0.1


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="sizes that are not known")
@pytest.mark.parametrize(
    "arguments",
    [{"reference_grid": (7, 7), "offset": 1.0}, {"coordinates": "centered"}, {"learned": (2, 3)}],
    ids=["index", "centered", "learned"],
)
def test_a_size_known_at_run_time_alone_gives_the_same(arguments: dict[str, Any]) -> None:
    layer = embedding(**arguments)
    grid = keras.Input((None, None, 8))
    any_size = keras.Model(grid, layer(grid))
    tables = keras.tree.flatten(any_size.predict(np.zeros(GRID, "float32"), verbose=0))
    for found, expected in zip(tables, layer(np.zeros(GRID, "float32")), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_tables_are_float32_in_half_precision_down_to_the_rotation() -> None:
    """Of angles up to 40 in bfloat16 nothing would be left."""
    keras.utils.set_random_seed(0)
    images = keras.Input((40, 1, HEAD_DIM))
    (table,) = layers.RotaryEmbedding(
        HEAD_DIM, num_prefix_tokens=0, dtype="mixed_bfloat16", name="rope"
    )(images)
    assert table.dtype == "float32"
    tokens = keras.Input((40, HEAD_DIM))
    attention = layers.RotaryAttention(1, dtype="mixed_bfloat16")
    half = keras.Model([images, tokens], attention(tokens, rope=table))
    whole = layers.RotaryAttention(1)
    whole.build((None, 40, HEAD_DIM))
    for one, other in zip(whole.weights, attention.weights, strict=True):
        one.assign(other)
    x = np.random.default_rng(0).normal(size=(2, 40, HEAD_DIM)).astype("float32")
    grid = np.zeros((2, 40, 1, HEAD_DIM), "float32")
    (exact,) = layers.RotaryEmbedding(HEAD_DIM, num_prefix_tokens=0)(grid)
    found = keras.ops.convert_to_numpy(ops.cast(half([grid, x]), "float32"))
    expected = keras.ops.convert_to_numpy(whole(x, rope=exact))
    assert np.abs(found - expected).max() < 0.05 * expected.std()


def test_reloads_from_its_configuration() -> None:
    layer = embedding(
        coordinates="index",
        temperature=7.0,
        columns_first=True,
        offset=0.5,
        reference_grid=(3, 5),
        rounded_periods=True,
    )
    again = layers.RotaryEmbedding.from_config(layer.get_config())
    expected = layer(np.zeros(GRID, "float32"))[0]
    np.testing.assert_array_equal(again(np.zeros(GRID, "float32"))[0], expected)


@pytest.mark.parametrize("arguments", [{"coordinates": "pixel"}, {"head_dim": 6}])
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="coordinates must be one of"):
        layers.RotaryEmbedding(**{"head_dim": 8, **arguments})


# Attention


TOKENS = np.random.default_rng(1).normal(size=(2, 14, 32)).astype("float32")


def noisy(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Built, with noise on every weight."""
    layer.build(TOKENS.shape)
    rng = np.random.default_rng(2)
    for weight in layer.weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape))
    return layer


def by_name(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    return {weight.path.split("/", 1)[-1]: weight for weight in layer.weights}


def test_without_a_table_it_is_plain_attention() -> None:
    rotary, plain = noisy(layers.RotaryAttention(2)), layers.Attention(2)
    plain.build(TOKENS.shape)
    for name, weight in by_name(plain).items():
        weight.assign(by_name(rotary)[name])
    np.testing.assert_allclose(rotary(TOKENS), plain(TOKENS), atol=1e-6)


def test_a_bias_beside_is_one_with_zeros_for_the_keys() -> None:
    beside, joint = noisy(layers.RotaryAttention(2, key_bias=False)), layers.RotaryAttention(2)
    joint.build(TOKENS.shape)
    weights = by_name(beside)
    for name, weight in by_name(joint).items():
        if name != "qkv/bias":
            weight.assign(weights[name])
    parts = [weights["q_bias"], np.zeros(32, "float32"), weights["v_bias"]]
    by_name(joint)["qkv/bias"].assign(ops.concatenate(parts))
    np.testing.assert_allclose(beside(TOKENS), joint(TOKENS), atol=1e-6)


def test_separate_projections_are_the_parts_of_a_joint_one() -> None:
    joint = noisy(layers.RotaryAttention(2))
    separate = layers.RotaryAttention(2, qkv_fused=False)
    separate.build(TOKENS.shape)
    weights = by_name(joint)
    for name, weight in by_name(separate).items():
        if name.startswith("proj"):
            weight.assign(weights[name])
        else:
            part = "qkv".index(name[0])
            weight.assign(ops.split(weights[f"qkv/{name.split('/')[1]}"], 3, axis=-1)[part])
    np.testing.assert_allclose(separate(TOKENS), joint(TOKENS), atol=1e-6)


def test_a_head_of_keys_serves_a_group_of_heads() -> None:
    grouped = noisy(layers.RotaryAttention(4, num_kv_heads=2, qkv_fused=False))
    whole = layers.RotaryAttention(4, qkv_fused=False)
    whole.build(TOKENS.shape)
    for name, weight in by_name(whole).items():
        value = by_name(grouped)[name]
        if name[0] in "kv":
            heads = ops.reshape(value, (*value.shape[:-1], 2, 8))
            value = ops.reshape(ops.repeat(heads, 2, axis=-2), weight.shape)
        weight.assign(value)
    np.testing.assert_allclose(grouped(TOKENS), whole(TOKENS), atol=1e-6)


def test_keys_in_groups_need_projections_of_their_own() -> None:
    with pytest.raises(ValueError, match="num_kv_heads must divide"):
        layers.RotaryAttention(4, num_kv_heads=2)


# Block


def test_a_norm_of_a_plain_perceptron_is_refused() -> None:
    with pytest.raises(ValueError, match='with mlp_norm not "mlp"'):
        layers.EvaBlock(2, mlp_norm=True)


def test_norms_behind_are_added_as_they_come() -> None:
    block = noisy(layers.EvaBlock(2, post_norm=True))
    x = TOKENS + block.norm1(block.attn(TOKENS))
    np.testing.assert_allclose(block(TOKENS), x + block.norm2(block.mlp(x)), atol=1e-6)


def test_layer_scale_of_attention_alone() -> None:
    block = noisy(layers.EvaBlock(2, init_values=0.1, mlp_layer_scale=False, norm="rms"))
    x = TOKENS + block.ls1(block.attn(block.norm1(TOKENS)))
    np.testing.assert_allclose(block(TOKENS), x + block.mlp(block.norm2(x)), atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's tape")
def test_gradients_computed_twice_are_the_same() -> None:
    """Those of learned frequencies too, which come in beside the tokens."""
    import tensorflow as tf

    def gradients(checkpointing: bool) -> list[np.ndarray]:
        keras.utils.set_random_seed(0)
        rope = layers.RotaryEmbedding(16, learned=(1, 2), num_prefix_tokens=2)
        block = layers.EvaBlock(2, mlp="swiglu", gradient_checkpointing=checkpointing)
        rope.build(GRID)
        rng = np.random.default_rng(3)
        noisy(block)
        rope.freqs.assign(rng.normal(size=rope.freqs.shape))
        with tf.GradientTape() as tape:
            (table,) = rope(np.zeros(GRID, "float32"))
            loss = tf.reduce_sum(block(TOKENS, rope=table, training=True) ** 2)
        variables = [rope.freqs.value, *(v.value for v in block.trainable_variables)]
        return [g.numpy() for g in tape.gradient(loss, variables)]

    for once, twice in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_allclose(twice, once, atol=1e-3 * np.abs(once).max())
