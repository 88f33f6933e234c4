import numpy as np
import pytest

from keras_vit.layers import TokenEmbedding
from keras_vit.resize import resize_grid

GRID = np.arange(2 * 2 * 3 * 4, dtype="float32").reshape(2, 2, 3, 4)


def built(**arguments: object) -> TokenEmbedding:
    layer = TokenEmbedding((2, 3), **arguments)
    layer.build((None, 2, 3, 4))
    for number, variable in enumerate(layer.weights, 1):
        variable.assign(np.full(variable.shape, 1000.0 * number))
    return layer


def test_order_is_class_distillation_registers_patches() -> None:
    layer = built(dist_token=True, reg_tokens=2, position_embedding=False)
    out = np.asarray(layer(GRID))
    assert out[0, :, 0].tolist() == [1000, 2000, 3000, 3000, 0, 4, 8, 12, 16, 20]


def test_positions_reach_the_class_token() -> None:
    assert np.asarray(built()(GRID))[0, 0, 0] == 1000 + 2000


def test_no_embed_class_leaves_the_prefix_alone() -> None:
    out = np.asarray(built(no_embed_class=True)(GRID))
    assert out[0, :2, 0].tolist() == [1000, 2000]


def test_positions_are_resized_to_a_grid_of_another_size() -> None:
    layer = built(reg_tokens=1)
    rng = np.random.default_rng(0)
    layer.pos_embed.assign(rng.normal(size=layer.pos_embed.shape))
    positions = np.asarray(layer.pos_embed)
    out = np.asarray(layer(np.zeros((1, 5, 4, 4), "float32")))
    expected = resize_grid(positions[0, 2:].reshape(2, 3, 4), (5, 4), "bicubic_antialias")
    np.testing.assert_allclose(out[0, 2:], expected.reshape(20, 4), atol=1e-6)


@pytest.mark.parametrize(
    "method",
    ["bicubic_antialias", "bilinear_antialias", "bicubic", "bilinear", "linear_align_corners"],
)
@pytest.mark.parametrize("size", [(2, 3), (5, 4), (1, 2), (9, 1)])
def test_resize_in_the_graph_equals_the_one_in_numpy(method: str, size: tuple[int, int]) -> None:
    """With sizes unknown when the graph is drawn, the matrices are computed in it."""
    import keras

    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow has sizes that are unknown when a graph is drawn")
    import tensorflow as tf

    layer = built(pos_resize=method)
    layer.pos_embed.assign(np.random.default_rng(0).normal(size=layer.pos_embed.shape))
    traced = tf.function(layer.call, input_signature=[tf.TensorSpec((None, None, None, 4))])
    grid = np.zeros((1, *size, 4), "float32")
    np.testing.assert_allclose(traced(grid), layer(grid), atol=2e-6)
