"""Weight decay acts on kernels alone; float16 gets loss scaling."""

import keras
import numpy as np
import pytest

from keras_vit.training import adamw


def test_without_gradients_kernels_shrink_and_nothing_else_moves(untrained):
    for variable in untrained.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, seed=1))
    before = {v.path: keras.ops.convert_to_numpy(v) for v in untrained.trainable_variables}
    optimizer = adamw(untrained, 0.1, weight_decay=0.5)
    zeros = [keras.ops.zeros(v.shape) for v in untrained.trainable_variables]
    optimizer.apply(zeros, untrained.trainable_variables)
    for variable in untrained.trainable_variables:
        kept = 1 - 0.1 * 0.5 if variable.path.endswith("kernel") else 1
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(variable),
            kept * before[variable.path],
            rtol=1e-6,
            err_msg=variable.path,
        )


def test_tokens_positions_norms_and_biases_are_among_the_undecayed(untrained):
    undecayed = {
        v.path.split("/")[-1]
        for v in untrained.trainable_variables
        if not v.path.endswith("kernel")
    }
    assert {"cls_token", "pos_embed", "gamma", "beta", "bias"} <= undecayed


@pytest.mark.parametrize(
    ("policy", "scaled"), [("float32", False), ("mixed_bfloat16", False), ("mixed_float16", True)]
)
def test_float16_is_trained_with_loss_scaling(policy, scaled):
    images = keras.Input((4,))
    model = keras.Model(images, keras.layers.Dense(2, dtype=policy)(images))
    optimizer = adamw(model, 1e-3, 0.05)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == scaled
