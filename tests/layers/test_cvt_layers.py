"""CvT's layers: what every layer has to do, and each one's arithmetic against NumPy."""

import keras
import numpy as np
import pytest

from keras_vit import layers
from keras_vit.layers.windows import window_count, windowed_shape

MAP, TOKEN = (2, 6, 5, 12), (2, 1, 12)
LAYERS = {
    "embedding": (lambda **kw: layers.ConvEmbedding(6, 7, 4, 2, **kw), [(2, 17, 22, 3)]),
    "embedding-class-token": (
        lambda **kw: layers.ConvEmbedding(6, 3, 2, 1, class_token=True, **kw),
        [MAP],
    ),
    "embedding-positions": (
        lambda **kw: layers.ConvEmbedding(
            6, 3, 2, 1, position_embedding=True, grid_size=(4, 4), **kw
        ),
        [MAP],
    ),
    "projection-conv": (lambda **kw: layers.ConvProjection("conv", stride=2, **kw), [MAP]),
    "projection-average": (lambda **kw: layers.ConvProjection("average", stride=2, **kw), [MAP]),
    "projection-linear": (lambda **kw: layers.ConvProjection("linear", stride=2, **kw), [MAP]),
    "attention": (lambda **kw: layers.ConvAttention(3, **kw), [MAP]),
    "attention-class-token": (lambda **kw: layers.ConvAttention(3, **kw), [MAP, TOKEN]),
    "attention-no-bias": (lambda **kw: layers.ConvAttention(3, qkv_bias=False, **kw), [MAP]),
    "block": (lambda **kw: layers.ConvTransformerBlock(3, drop_path_rate=0.1, **kw), [MAP]),
    "block-class-token": (
        lambda **kw: layers.ConvTransformerBlock(3, projection="average", **kw),
        [MAP, TOKEN],
    ),
}
every_layer = pytest.mark.parametrize(("make", "shapes"), LAYERS.values(), ids=LAYERS.keys())


def inputs(shapes: list[tuple[int, ...]]) -> object:
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0, 2, shape).astype("float32") for shape in shapes]
    return arrays[0] if len(arrays) == 1 else arrays


def loud(layer: keras.layers.Layer) -> None:
    """Random weights, of which a mistake in any shows; variances stay positive."""
    rng = np.random.default_rng(1)
    for variable in layer.weights:
        values = rng.normal(0, 0.5, variable.shape)
        variable.assign(np.abs(values) + 0.2 if "variance" in variable.path else values)


def shape_of(tensors: object) -> object:
    return keras.tree.map_structure(lambda x: tuple(x.shape), tensors)


# What every layer has to do


@every_layer
def test_reloads_from_its_configuration(make, shapes) -> None:
    layer = make(name="one")
    layer(inputs(shapes))
    loud(layer)
    expected = layer(inputs(shapes))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again(inputs(shapes))
    again.set_weights(layer.get_weights())
    found = again(inputs(shapes))
    keras.tree.map_structure(np.testing.assert_array_equal, found, expected)
    assert again.get_config() == layer.get_config()


@every_layer
def test_states_its_output_shape(make, shapes) -> None:
    layer = make()
    stated = layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])
    found = shape_of(layer(inputs(shapes)))
    assert keras.tree.flatten(found) == keras.tree.flatten(stated)


@every_layer
def test_symbolic_call_states_the_same_shape(make, shapes) -> None:
    symbols = [keras.Input(shape[1:]) for shape in shapes]
    outputs = keras.tree.flatten(make()(symbols if len(shapes) > 1 else symbols[0]))
    found = keras.tree.flatten(make()(inputs(shapes)))
    assert [x.shape[0] for x in outputs] == [None] * len(found)
    assert [tuple(x.shape[1:]) for x in outputs] == [tuple(x.shape[1:]) for x in found]


@every_layer
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_weights_in_float32(make, shapes, policy) -> None:
    layer = make(dtype=policy)
    for output in keras.tree.flatten(layer(inputs(shapes))):
        found = keras.backend.standardize_dtype(output.dtype)
        assert found == policy.removeprefix("mixed_")
    assert {variable.dtype for variable in layer.weights} <= {"float32"}


@every_layer
def test_names_have_no_dots(make, shapes) -> None:
    layer = make()
    layer(inputs(shapes))
    assert not [variable.path for variable in layer.weights if "." in variable.path]


# Windows


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "padding", "count"),
    [(224, 7, 4, 2, 56), (56, 3, 2, 1, 28), (75, 7, 4, 2, 19), (14, 3, 1, 1, 14), (6, 2, 2, 0, 3)],
)
def test_window_count(length, kernel, stride, padding, count) -> None:
    assert window_count(length, kernel, stride, padding) == count


def test_sides_that_are_not_known_stay_so() -> None:
    assert windowed_shape((2, None, 56, 3), 8, 3, 2, 1) == (2, None, 28, 8)
    assert layers.ConvProjection("average", stride=2).compute_output_shape((2, None, 6, 3)) == (
        2,
        None,
        4,
        3,
    )


def windows(x: np.ndarray, kernel: int, stride: int, padding: int) -> np.ndarray:
    """(batch, h, w, kernel, kernel, channels) of zero-padded maps, in float64."""
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(x.astype("float64"), sides)
    view = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
    return view[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)


def normalised(x: np.ndarray, epsilon: float) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)


def test_embedding_is_a_convolution_padded_alike_on_all_sides_and_a_norm() -> None:
    layer = layers.ConvEmbedding(5, 7, 4, 2, norm_eps=0.1)
    x = inputs([(2, 16, 24, 3)])
    layer.build(x.shape)
    loud(layer)
    kernel, bias, gamma, beta = (np.asarray(w, "float64") for w in layer.weights)
    convolved = np.einsum("bhwklc,klcd->bhwd", windows(x, 7, 4, 2), kernel) + bias
    expected = normalised(convolved, 0.1) * gamma + beta
    np.testing.assert_allclose(np.asarray(layer(x)), expected, atol=2e-5)


def test_class_token_is_the_same_for_every_image() -> None:
    layer = layers.ConvEmbedding(5, 3, 2, 1, class_token=True)
    _, token = layer(inputs([MAP]))
    np.testing.assert_array_equal(token, np.repeat(layer.cls_token, 2, axis=0))


def test_positions_are_added_to_the_map() -> None:
    plain = layers.ConvEmbedding(5, 3, 2, 1)
    positioned = layers.ConvEmbedding(5, 3, 2, 1, position_embedding=True, grid_size=(3, 3))
    x = inputs([MAP])
    expected = np.asarray(plain(x))
    positioned(x)
    positions = np.random.default_rng(0).normal(size=(1, 3, 3, 5)).astype("float32")
    positioned.set_weights([positions, *plain.get_weights()])
    np.testing.assert_allclose(positioned(x), expected + positions, atol=1e-6)


def test_positions_are_resized_with_aligned_corners() -> None:
    layer = layers.ConvEmbedding(2, 1, 1, 0, position_embedding=True, grid_size=(2, 3))
    layer.build((None, None, None, 1))
    loud(layer)
    positions, *_, gamma, beta = (np.asarray(w) for w in layer.weights)
    layer.norm.gamma.assign(0 * gamma)
    layer.norm.beta.assign(0 * beta)
    resized = np.asarray(layer(np.zeros((1, 3, 5, 1), "float32")))[0]
    np.testing.assert_allclose(resized[::2, ::2], positions[0], atol=1e-6)
    np.testing.assert_allclose(resized[1, 0], positions[0, :, 0].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(resized[0, 1], positions[0, 0, :2].mean(axis=0), atol=1e-6)


def test_positions_need_a_grid() -> None:
    with pytest.raises(ValueError, match="needs grid_size"):
        layers.ConvEmbedding(2, 1, 1, 0, position_embedding=True)


# Projections


def test_conv_projection_is_a_depthwise_convolution_and_a_batch_norm() -> None:
    layer = layers.ConvProjection("conv", stride=2, bn_eps=0.1)
    x = inputs([MAP])
    layer.build(x.shape)
    loud(layer)
    kernel, gamma, beta, mean, variance = (np.asarray(w, "float64") for w in layer.weights)
    convolved = np.einsum("bhwklc,klc->bhwc", windows(x, 3, 2, 1), kernel[..., 0])
    expected = (convolved - mean) / np.sqrt(variance + 0.1) * gamma + beta
    np.testing.assert_allclose(np.asarray(layer(x)), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(6, 5), (4, 4), (7, 3)])
def test_average_cuts_off_what_lies_beyond_the_padding(size) -> None:
    """Zeros that are padded count; windows that reach beyond them are smaller (torch's ceil_mode)."""
    x = inputs([(2, *size, 3)])
    found = np.asarray(layers.ConvProjection("average", stride=2)(x))
    assert found.shape[1:3] == tuple(size_ // 2 + 1 for size_ in size)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for i in range(found.shape[1]):
        for j in range(found.shape[2]):
            window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]  # slices end with the padding
            np.testing.assert_allclose(found[:, i, j], window.mean(axis=(1, 2)), atol=1e-6)


def test_linear_projection_changes_nothing() -> None:
    x = inputs([MAP])
    np.testing.assert_array_equal(layers.ConvProjection("linear", stride=2)(x), x)


def test_unknown_projection() -> None:
    with pytest.raises(ValueError, match=r"must be one of .*'conv', 'average', 'linear'.*'max'"):
        layers.ConvProjection("max")


def test_average_without_a_pixel_in_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="stride=3, padding=1, kernel_size=3"):
        layers.ConvProjection("average", stride=3)


def test_batch_norm_moves_by_a_tenth_of_what_it_sees() -> None:
    layer = layers.ConvProjection("conv")
    x = inputs([MAP])
    layer.build(x.shape)
    convolved = np.asarray(layer.conv(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))), "float64")
    layer(x, training=True)
    np.testing.assert_allclose(layer.bn.moving_mean, 0.1 * convolved.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(
        layer.bn.moving_variance, 0.9 + 0.1 * convolved.var((0, 1, 2)), atol=1e-6
    )


# Attention


@pytest.fixture
def attention() -> tuple[layers.ConvAttention, list[np.ndarray]]:
    layer, x = layers.ConvAttention(3), inputs([MAP, TOKEN])
    layer(x)
    loud(layer)
    return layer, x


def by_hand(layer: layers.ConvAttention, x: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The definition in NumPy: the output and the softmax."""
    grid, token = x

    def heads(convolution: keras.layers.Layer, dense: keras.layers.Layer) -> np.ndarray:
        pixels = np.asarray(convolution(grid), "float64").reshape(2, -1, 12)
        kernel, bias = (np.asarray(w, "float64") for w in dense.weights)
        tokens = np.concatenate([token, pixels], axis=1) @ kernel + bias
        return tokens.reshape(2, -1, 3, 4).transpose(0, 2, 1, 3)

    query = heads(layer.conv_proj_q, layer.proj_q)
    key, value = (
        heads(getattr(layer, f"conv_proj_{p}"), getattr(layer, f"proj_{p}")) for p in "kv"
    )
    scores = np.exp(
        query @ key.swapaxes(-1, -2) / 12**0.5
    )  # the root of the width, not of a head's
    scores /= scores.sum(-1, keepdims=True)
    mixed = (scores @ value).transpose(0, 2, 1, 3).reshape(2, -1, 12)
    kernel, bias = (np.asarray(w, "float64") for w in layer.proj.weights)
    return mixed @ kernel + bias, scores


def test_attention_equals_the_definition(attention) -> None:
    layer, x = attention
    expected, _ = by_hand(layer, x)
    np.testing.assert_allclose(np.asarray(layer(x)), expected, atol=1e-5)


def test_attention_scores_equal_the_definition(attention) -> None:
    layer, x = attention
    mixed, scores = layer(x, return_attention_scores=True)
    expected, expected_scores = by_hand(layer, x)
    np.testing.assert_allclose(np.asarray(mixed), expected, atol=1e-5)
    np.testing.assert_allclose(np.asarray(scores), expected_scores, atol=1e-5)
    assert scores.shape == layer.score_shape([MAP, TOKEN]) == (2, 3, 31, 10)


def test_scores_are_float32_under_a_mixed_policy() -> None:
    layer = layers.ConvAttention(3, dtype="mixed_bfloat16")
    _, scores = layer(inputs([MAP, TOKEN]), return_attention_scores=True)
    assert keras.backend.standardize_dtype(scores.dtype) == "float32"
    np.testing.assert_allclose(np.asarray(scores).sum(-1), 1, atol=1e-6)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="num_heads=5, width=12"):
        layers.ConvAttention(5).build(MAP)


# Blocks


def test_block_gives_the_scores_of_its_attention() -> None:
    block = layers.ConvTransformerBlock(3)
    x = inputs([MAP, TOKEN])
    block(x)
    loud(block)
    outputs, scores = block(x, return_attention_scores=True)
    for found, expected in zip(outputs, block(x), strict=True):
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=1e-5)
    assert scores.shape == (2, 3, 31, 10)


def test_symbolic_scores_state_their_shape() -> None:
    symbols = [keras.Input(MAP[1:]), keras.Input(TOKEN[1:])]
    (grid, token), scores = layers.ConvTransformerBlock(3)(symbols, return_attention_scores=True)
    assert (grid.shape, token.shape) == ((None, 6, 5, 12), (None, 1, 12))
    assert (scores.shape, scores.dtype) == ((None, 3, 31, 10), "float32")


def test_branches_of_a_block_drop_whole_samples_independently() -> None:
    block = layers.ConvTransformerBlock(1, drop_path_rate=0.5)
    x = [np.zeros((400, 2, 2, 4), "float32"), np.zeros((400, 1, 4), "float32")]
    block(x)
    for variable in block.weights:
        if variable.path.endswith(("attn/proj/bias", "mlp/fc2/bias")):
            variable.assign(np.full(variable.shape, 1.0 if "attn" in variable.path else 10.0))
        elif "kernel" in variable.path:
            variable.assign(np.zeros(variable.shape))
    grid, token = (np.asarray(out).reshape(400, -1) for out in block(x, training=True))
    steps = np.concatenate([grid, token], axis=1)
    assert (steps == steps[:, :1]).all()  # the class token goes with its image
    assert set(steps[:, 0].tolist()) == {0, 2, 20, 22}  # none, attention, MLP, both; scaled by 2
