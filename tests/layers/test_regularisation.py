import numpy as np
import pytest

import keras_vit
from keras_vit.layers import TransformerBlock, drop_path
from keras_vit.layers.drop_path import drop_path_rates


def test_drop_path_drops_whole_samples_and_rescales() -> None:
    x = np.ones((4000, 3, 2), "float32")
    out = np.asarray(drop_path(0.25, "drop")(x, training=True)).reshape(4000, 6)
    assert set(np.unique(out)) == {0.0, np.float32(1 / 0.75)}
    assert (out == out[:, :1]).all()
    assert abs((out[:, 0] == 0).mean() - 0.25) < 0.03


def test_drop_path_is_the_identity_at_inference() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    np.testing.assert_array_equal(drop_path(0.5, "drop")(x), x)


def test_the_branches_of_a_block_drop_independently() -> None:
    block = TransformerBlock(1, drop_path_rate=0.5)
    x = np.random.default_rng(0).normal(size=(400, 3, 4)).astype("float32")
    block.build(x.shape)
    for variable in block.weights:
        if variable.path.endswith(("attn/proj/bias", "mlp/fc2/bias")):
            step = 1.0 if "attn" in variable.path else 10.0
            variable.assign(np.full(variable.shape, step))
        elif "kernel" in variable.path:
            variable.assign(np.zeros(variable.shape))
    steps = np.round(np.asarray(block(x, training=True)) - x)[:, 0, 0]
    assert set(steps.tolist()) == {0, 2, 20, 22}  # none, attention, MLP, both; each scaled by 2


def test_stochastic_depth_rises_or_is_constant() -> None:
    assert drop_path_rates(0.2, 3) == [0.0, 0.1, 0.2]
    assert drop_path_rates(0.2, 3, "constant") == [0.2, 0.2, 0.2]
    with pytest.raises(ValueError, match='must be "linear" or "constant"'):
        drop_path_rates(0.2, 3, "quadratic")


def test_deit3_has_it_constant() -> None:
    """deit models_v2.py:200."""
    for name, rates in (
        ("deit3_small_patch16_224", [0.2, 0.2]),
        ("vit_tiny_patch16_224", [0, 0.2]),
    ):
        arguments = {"image_size": 32, "depth": 2, "embed_dim": 12, "num_heads": 1}
        model = keras_vit.load(name, weights=None, drop_path_rate=0.2, **arguments)
        assert [model.get_layer(f"blocks_{i}").drop_path_rate for i in (0, 1)] == rates
