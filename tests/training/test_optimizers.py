"""Weight decay acts on kernels alone; float16 gets loss scaling; whose steps are fused; what is saved."""

import io
import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_vit.training import adamw, grouped
from keras_vit.training.fused_adam import TensorFlowAdam


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


class Negated(keras.optimizers.AdamW):
    """A user's own, with the signs of the gradients turned."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(-gradient, variable, learning_rate)


@pytest.mark.parametrize(
    ("optimizer", "fused"),
    [
        (keras.optimizers.AdamW(1e-3, weight_decay=0.1), True),
        (keras.optimizers.Adam(1e-3), True),
        (keras.optimizers.Adam(1e-3, amsgrad=True), False),
        (keras.optimizers.Adamax(1e-3), False),
        (Negated(1e-3, weight_decay=0.1), False),
    ],
    ids=["adamw", "adam", "amsgrad", "adamax", "subclass"],
)
def test_groups_of_kerass_adam_alone_take_the_fused_step(optimizer, fused, untrained):
    copies = grouped(untrained, optimizer).optimizers
    assert {type(copy) for copy in copies} == {TensorFlowAdam if fused else type(optimizer)}


def test_a_users_optimizer_steps_as_it_does_by_itself_decayed_or_not(untrained):
    before = {v.path: keras.ops.convert_to_numpy(v) for v in untrained.trainable_variables}
    optimizer = grouped(untrained, Negated(0.1, weight_decay=0.0))
    optimizer.apply([keras.ops.ones(v.shape) for v in untrained.trainable_variables])
    for variable in untrained.trainable_variables:
        after = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(
            after, before[variable.path] + 0.1, rtol=1e-5, atol=1e-6, err_msg=variable.path
        )


def test_a_sparse_gradient_of_tensorflow_is_a_whole_one():
    ids = keras.Input((3,), dtype="int32")
    embedding = keras.layers.Embedding(5, 4)
    model = keras.Model(ids, keras.layers.Flatten()(embedding(ids)))
    model.compile(adamw(model, 0.1, 0.0, clip_norm=None), "mse", run_eagerly=True)
    before = embedding.get_weights()[0]
    model.fit(np.array([[0, 2, 2]]), np.full((1, 12), 9.0), verbose=0)
    moved = (embedding.get_weights()[0] != before).all(axis=1)
    assert moved.tolist() == [True, False, True, False, False]


def test_a_saved_model_goes_on_and_holds_the_optimizers_state_once(untrained, tmp_path, recwarn):
    optimizer = grouped(untrained, keras.optimizers.AdamW(1e-2), layer_decay=0.5, average=0.9)
    untrained.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    untrained.fit(images, np.arange(4), verbose=0)
    untrained.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for expected, found in zip(optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (expected, found)))
    assert not [w for w in recwarn if "Skipping variable" in str(w.message)]
    sizes: list[int] = []
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        file = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    file.visititems(lambda _, item: sizes.append(item.size if getattr(item, "shape", ()) else 0))
    shapes = [tuple(v.shape) for v in (*untrained.weights, *optimizer.variables)]
    assert sum(sizes) == sum(int(np.prod(shape)) for shape in shapes if shape)
