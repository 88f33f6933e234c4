import keras
import numpy as np
import pytest

from keras_vit.layers import AttentionPool


def loud(layer: keras.layers.Layer, shape: tuple[int, ...]) -> keras.layers.Layer:
    rng = np.random.default_rng(1)
    layer.build(shape)
    layer.set_weights([rng.normal(0, 0.5, w.shape) for w in layer.get_weights()])
    return layer


def plain_pool(layer: AttentionPool, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One image and one head after the other, in float64: (pooled, scores)."""
    weights = {v.path.split("/", 1)[-1]: np.asarray(v, "float64") for v in layer.weights}

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    size, width = layer.head_dim, tokens.shape[-1]
    pooled, scores = [], []
    for image in tokens.astype("float64"):
        query, both = dense(weights["latent"][0, 0], "q"), dense(image, "kv")
        heads = []
        for first in range(0, width, size):
            logits = both[:, first : first + size] @ query[first : first + size] / size**0.5
            share = np.exp(logits - logits.max())
            heads.append(share / share.sum())
        scores.append(heads)
        mixed = np.concatenate(
            [
                share @ both[:, width + head * size : width + (head + 1) * size]
                for head, share in enumerate(heads)
            ]
        )
        x = dense(mixed, "proj")
        normed = (x - x.mean()) / np.sqrt(x.var() + layer.norm_eps)
        hidden = dense(normed * weights["norm/gamma"] + weights["norm/beta"], "mlp/fc1")
        pooled.append(x + dense(hidden / (1 + np.exp(-1.702 * hidden)), "mlp/fc2"))
    return np.array(pooled), np.array(scores)[:, :, None]


@pytest.mark.parametrize("prefix", [0, 2])
def test_equals_the_definition(prefix: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 7, 12)).astype("float32")
    layer = loud(AttentionPool(3, 2.5, "quick_gelu", num_prefix_tokens=prefix), x.shape)
    pooled, scores = layer(x, return_attention_scores=True)
    expected_pooled, expected_scores = plain_pool(layer, x[:, prefix:])
    np.testing.assert_allclose(pooled, expected_pooled, atol=2e-6 * expected_pooled.std() * 10)
    np.testing.assert_allclose(scores, expected_scores, atol=2e-6)
    np.testing.assert_allclose(layer(x), pooled, atol=1e-5 * expected_pooled.std())


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="num_heads=5, width=12"):
        AttentionPool(5).build((None, 7, 12))


def test_comes_back_from_its_configuration() -> None:
    layer = loud(AttentionPool(3, 2.5, "quick_gelu", 1e-5, num_prefix_tokens=1), (None, 7, 12))
    again = AttentionPool.from_config(layer.get_config())
    again.build((None, 7, 12))
    again.set_weights(layer.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 7, 12)).astype("float32")
    np.testing.assert_array_equal(again(x), layer(x))
