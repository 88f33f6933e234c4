import keras
import numpy as np
import pytest

from keras_vit.layers import Attention


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def plain_attention(layer: Attention, x: np.ndarray) -> np.ndarray:
    """One head after the other, in float64, straight from arXiv:1706.03762."""
    weights = {v.path.split("/", 1)[-1]: np.asarray(v, "float64") for v in layer.weights}
    kernel, bias = weights["qkv/kernel"], weights["qkv/bias"]
    width, depth = x.shape[-1], layer.head_dim
    heads = []
    for head in range(layer.num_heads):
        columns = [
            slice(part * width + head * depth, part * width + (head + 1) * depth)
            for part in range(3)
        ]
        q, k, v = (x @ kernel[:, c] + bias[c] for c in columns)
        heads.append(softmax(q @ k.swapaxes(-1, -2) / depth**0.5) @ v)
    return np.concatenate(heads, -1) @ weights["proj/kernel"] + weights["proj/bias"]


def loud(layer: keras.layers.Layer, shape: tuple[int, ...]) -> keras.layers.Layer:
    rng = np.random.default_rng(1)
    layer.build(shape)
    layer.set_weights([rng.normal(0, 0.5, w.shape) for w in layer.get_weights()])
    return layer


def test_equals_the_definition() -> None:
    x = np.random.default_rng(0).normal(size=(2, 7, 12)).astype("float32")
    layer = loud(Attention(3), x.shape)
    np.testing.assert_allclose(layer(x), plain_attention(layer, x), atol=2e-6 * 20)


def test_softmax_is_float32_in_float16() -> None:
    """Scores far beyond float16's 65504 would be infinite, and their softmax not a number."""
    x = np.full((1, 5, 8), 30.0, "float32")
    layer = loud(Attention(1, dtype="mixed_float16"), x.shape)
    assert np.isfinite(keras.ops.convert_to_numpy(layer(x)).astype("float32")).all()


def test_attention_dropout_only_in_training() -> None:
    x = np.random.default_rng(0).normal(size=(2, 7, 12)).astype("float32")
    layer = loud(Attention(3, attn_drop_rate=0.5), x.shape)
    np.testing.assert_allclose(layer(x), plain_attention(layer, x), atol=4e-5)
    assert np.abs(layer(x, training=True) - plain_attention(layer, x)).max() > 0.01


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="num_heads=5, width=12"):
        Attention(5).build((None, 7, 12))
