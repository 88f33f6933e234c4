"""Our LayerNormalization is Keras', in fewer operations."""

import keras
import numpy as np
import pytest

from keras_vit.layers import LayerNormalization


def both(shape: tuple[int, ...], **arguments: object) -> tuple[keras.layers.Layer, ...]:
    """Ours and Keras' own, with the same random weights."""
    pair = (LayerNormalization(**arguments), keras.layers.LayerNormalization(**arguments))
    rng = np.random.default_rng(3)
    for layer in pair:
        layer.build(shape)
    weights = [rng.normal(1, 0.3, weight.shape) for weight in pair[0].weights]
    for layer in pair:
        layer.set_weights(weights)
    return pair


def outputs(layers: tuple[keras.layers.Layer, ...], x: np.ndarray) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(layer(x)) for layer in layers]


def test_equals_keras() -> None:
    """Tokens far from zero too, where the difference of large squares would show."""
    x = np.random.default_rng(0).normal(50, 2, (3, 7, 96)).astype("float32")
    mine, theirs = outputs(both(x.shape, epsilon=1e-6), x)
    exact = x.astype("float64") - x.mean(-1, keepdims=True, dtype="float64")
    exact /= np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-6)
    gamma, beta = both(x.shape)[0].get_weights()
    np.testing.assert_allclose(mine, exact * gamma + beta, atol=2e-5)
    np.testing.assert_allclose(mine, theirs, atol=2e-5)


def test_equals_keras_to_a_millionth() -> None:
    x = np.random.default_rng(1).normal(0, 1, (3, 7, 96)).astype("float32")
    mine, theirs = outputs(both(x.shape, epsilon=1e-6), x)
    np.testing.assert_allclose(mine, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [{"axis": [1, 2]}, {"scale": False}, {"center": False}],
    ids=["axes", "no gamma", "no beta"],
)
def test_other_arguments_are_keras_own(arguments: dict[str, object]) -> None:
    x = np.random.default_rng(2).normal(0, 1, (2, 5, 6)).astype("float32")
    mine, theirs = outputs(both(x.shape, **arguments), x)
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_computes_in_float32_whatever_the_policy(dtype: str) -> None:
    """Squares of 300 leave float16, whose largest number is 65504."""
    x = np.random.default_rng(4).normal(0, 300, (2, 3, 64)).astype("float32")
    layer = LayerNormalization(dtype=dtype)
    half = keras.ops.cast(x, layer.compute_dtype)
    have = layer(half)
    assert keras.backend.standardize_dtype(have.dtype) == layer.compute_dtype
    want = LayerNormalization()(keras.ops.cast(half, "float32"))
    want = keras.ops.cast(want, layer.compute_dtype)
    have, want = (keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")) for y in (have, want))
    np.testing.assert_array_equal(have, want)


def test_weights_go_by_the_name_of_keras_class() -> None:
    """What files of weights of older models, with Keras' own class in a list, call it."""
    assert LayerNormalization.__name__ == keras.layers.LayerNormalization.__name__
