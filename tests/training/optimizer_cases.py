"""Training steps on whichever backend this process has; run by test_optimizer_backends."""

import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np

import keras_vit
from keras_vit.training import GroupedOptimizer, WarmupDecay, grouped
from keras_vit.training.fused_adam import TensorFlowAdam, TorchAdam

DECAY, RATE, WEIGHT_DECAY = 0.5, 0.1, 0.3


VIT = {"depth": 2, "embed_dim": 24, "num_heads": 2}
RESNET = {"layers": (1, 2), "channels": (128, 256), "stem_chs": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": VIT,
    "cvt_13_224": {
        "embed_dim": (16, 32),
        "depth": (1, 2),
        "num_heads": (1, 2),
        "embed_kernel": (7, 3),
        "embed_stride": (4, 2),
        "embed_padding": (2, 1),
        "qkv_bias": False,
    },
    "resnetv2_50x1_bit": RESNET,
    "vit_small_r26_s32_224": {**VIT, **RESNET, "init_values": 0.5},
}


def small(name: str = "vit_tiny_patch16_224", **overrides: Any) -> keras.Model:
    """A small model, by default a ViT of two blocks, all variables random, biases and norms too."""
    arguments = {**FAMILIES[name], "num_classes": 3}
    model = keras_vit.load(name, weights=None, image_size=32, **{**arguments, **overrides})
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape).astype("float32"))
    return model


def values(variables: Any) -> dict[str, np.ndarray]:
    return {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in variables}


def depth(path: str) -> int:
    """Layers between a variable of `small` and the head."""
    first = path.split("/")[0]
    return {"head": 0, "norm": 1, "blocks_1": 1, "blocks_0": 2}.get(first, 3)


def step(model: keras.Model, optimizer: Any, gradient: Callable[[Any], Any], jit: bool) -> None:
    """One step with gradients of our choice: those of a sum of products with constants."""
    weights = [keras.ops.convert_to_tensor(gradient(v)) for v in model.trainable_variables]

    class Given(keras.Model):
        """The model, with a loss that has just these gradients."""

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return sum(
                keras.ops.sum(keras.ops.convert_to_tensor(v) * w)
                for v, w in zip(self.trainable_variables, weights, strict=True)
            )

    given = Given(model.input, model.output)
    given.compile(optimizer, jit_compile=jit)
    given.fit(np.zeros((2, 32, 32, 3), "float32"), np.zeros(2), batch_size=2, verbose=0)


def ones(variable: Any) -> np.ndarray:
    return np.ones(variable.shape, "float32")


def noise(variable: Any) -> np.ndarray:
    return np.random.default_rng(len(variable.path)).normal(size=variable.shape).astype("float32")


def changes_are_powers_of_the_decay(jit: bool) -> None:
    model = small()
    before = values(model.trainable_variables)
    sgd = keras.optimizers.SGD(RATE, weight_decay=WEIGHT_DECAY)
    step(model, grouped(model, sgd, layer_decay=DECAY), ones, jit)
    for path, after in values(model.trainable_variables).items():
        rate = RATE * DECAY ** depth(path)
        kept = 1 - rate * WEIGHT_DECAY if path.endswith("kernel") else 1
        np.testing.assert_allclose(
            after, kept * before[path] - rate, rtol=1e-5, atol=1e-6, err_msg=path
        )


def clipped_before_the_groups(jit: bool) -> None:
    model = small()
    before = values(model.trainable_variables)
    gradients = {v.path: noise(v) for v in model.trainable_variables}
    norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    optimizer = grouped(
        model,
        keras.optimizers.SGD(RATE, weight_decay=WEIGHT_DECAY),
        layer_decay=DECAY,
        clip_norm=0.7,
    )
    step(model, optimizer, noise, jit)
    for path, after in values(model.trainable_variables).items():
        rate = RATE * DECAY ** depth(path)
        kept = 1 - rate * WEIGHT_DECAY if path.endswith("kernel") else 1
        expected = kept * before[path] - rate * gradients[path] * 0.7 / norm
        np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-6, err_msg=path)


def adam_takes_keras_steps(jit: bool) -> None:
    """Three steps of AdamW by the formula in Keras' documentation, in float64."""
    model = small()
    rate, beta_1, beta_2, epsilon = 0.01, 0.8, 0.95, 1e-3
    adamw = keras.optimizers.AdamW(rate, WEIGHT_DECAY, beta_1, beta_2, epsilon)
    optimizer = grouped(model, adamw, layer_decay=DECAY)
    own = {"tensorflow": TensorFlowAdam, "torch": TorchAdam}.get(keras.backend.backend())
    assert {type(copy) for copy in optimizer.optimizers} == {own or type(adamw)}
    expected = {path: value.astype("float64") for path, value in values(model.weights).items()}
    first, second = (dict.fromkeys(expected, 0.0) for _ in range(2))
    for t in range(1, 4):
        step(model, optimizer, lambda variable: noise(variable) * 10.0**-t, jit)  # noqa: B023
        for variable in model.trainable_variables:
            path, gradient = variable.path, noise(variable).astype("float64") * 10.0**-t
            group_rate = rate * DECAY ** depth(path)
            first[path] = beta_1 * first[path] + (1 - beta_1) * gradient
            second[path] = beta_2 * second[path] + (1 - beta_2) * gradient**2
            change = first[path] / (np.sqrt(second[path]) + epsilon)
            correction = np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
            kept = 1 - group_rate * WEIGHT_DECAY if path.endswith("kernel") else 1
            expected[path] = kept * expected[path] - group_rate * correction * change
    for path, after in values(model.trainable_variables).items():
        np.testing.assert_allclose(after, expected[path], rtol=2e-6, atol=1e-6, err_msg=path)


def dense() -> keras.Model:
    """A model that is traced quickly: Dense layers, the same at each call."""
    keras.utils.set_random_seed(2)
    features = keras.Input((6,))
    x = keras.layers.Dense(5, activation="tanh", name="first")(features)
    return keras.Model(features, keras.layers.Dense(3, name="last")(x))


def accumulated_batches_are_one_step(jit: bool) -> None:
    """Four batches of four each make the step of sixteen: Adam, clip, decay, average, schedule."""
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(32, 6)).astype("float32"), rng.integers(0, 3, 32)
    results = []
    for accumulation in (1, 4):
        model = dense()
        optimizer = grouped(
            model,
            keras.optimizers.AdamW(WarmupDecay(1e-2, 4, 1), weight_decay=0.1, epsilon=1e-3),
            layer_decay=DECAY,
            clip_norm=0.1,
            accumulation=accumulation,
            average=0.5,
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss=loss, jit_compile=jit)
        size = 16 // accumulation
        model.fit(features, labels, batch_size=size, shuffle=False, verbose=0, epochs=2)
        assert int(optimizer.iterations) == 4, int(optimizer.iterations)
        results.append(values(optimizer.variables[:1] + model.trainable_variables))
    for path, expected in results[0].items():
        np.testing.assert_allclose(results[1][path], expected, rtol=2e-4, atol=2e-5, err_msg=path)


def mixed_precision_stays_finite(jit: bool) -> None:
    """Twenty steps in each, with everything on; float16 starts with a scale that overflows."""
    for policy in ("mixed_bfloat16", "mixed_float16"):
        model = small(dtype=policy)
        keras.utils.set_random_seed(0)
        rng = np.random.default_rng(1)
        images, labels = rng.normal(size=(40, 32, 32, 3)).astype("float32"), np.arange(40) % 3
        r = keras_vit.recipe("finetune", model, train_size=40, batch_size=10, epochs=5, average=0.9)
        model.compile(**{**r.compile, "metrics": None}, jit_compile=jit)
        history = model.fit(images, labels, epochs=5, batch_size=10, verbose=0).history["loss"]
        assert np.isfinite(history).all(), (policy, history)
        for path, value in values(model.weights).items():
            assert np.isfinite(value.astype("float32")).all(), (policy, path)
        assert history[-1] < history[0], (policy, history)
        scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        assert scaled == (policy == "mixed_float16")


def checkpointed_gradients_are_the_same(jit: bool) -> None:
    """Stochastic depth on, whose branches must be the same ones when they are computed again."""
    images = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
    # Compiling every family takes minutes: where all is compiled, the ViT alone.
    compiled = jit or keras.backend.backend() == "jax"
    for name in list(FAMILIES)[: 1 if compiled else None]:
        results = []
        for checkpointing in (False, True):
            keras.utils.set_random_seed(3)
            model = small(name, drop_path_rate=0.5, gradient_checkpointing=checkpointing)
            # Small enough that no softmax is saturated, behind which gradients are rounding alone.
            model.set_weights([0.3 * weight for weight in model.get_weights()])
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            # A rate of 1: what a weight of 1 changes by is rounded to 1e-7.
            model.compile(keras.optimizers.SGD(1.0), loss=loss, jit_compile=jit)
            before = values(model.weights)
            model.fit(images, np.arange(8) % 3, batch_size=8, verbose=0)
            after = values(model.weights)
            results.append({path: after[path] - before[path] for path in after})
        for path, expected in results[0].items():
            # What moves all keys alike has no gradient but for rounding: softmax does not see it.
            if not path.endswith("conv_proj_k/bn/beta"):
                scale = np.abs(expected).max() + 1e-6
                assert np.abs(results[1][path] - expected).max() < 1e-3 * scale, (name, path)


def averages_follow_and_are_left_in_the_model(jit: bool) -> None:
    model = small()
    expected = values(model.trainable_variables)
    current = dict(expected)
    optimizer = grouped(model, keras.optimizers.SGD(RATE), average=0.15)
    for t in range(3):
        step_only(model, optimizer, ones)
        current = {path: value - np.float32(RATE) for path, value in current.items()}
        momentum = min(0.15, (1 + t) / (10 + t))
        expected = {
            path: momentum * value + (1 - momentum) * current[path]
            for path, value in expected.items()
        }
    raw = values(model.trainable_variables)
    optimizer.exchange_averages()
    for path, value in values(model.trainable_variables).items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-5, atol=1e-5, err_msg=path)
    optimizer.exchange_averages()
    for path, value in values(model.trainable_variables).items():
        np.testing.assert_array_equal(value, raw[path], err_msg=path)
    optimizer.finalize_variable_values(model.trainable_variables)
    for path, value in values(model.trainable_variables).items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-5, atol=1e-5, err_msg=path)


def step_only(model: keras.Model, optimizer: Any, gradient: Callable[[Any], Any]) -> None:
    """`apply`, outside `fit`."""
    variables = model.trainable_variables
    optimizer.apply([keras.ops.convert_to_tensor(gradient(v)) for v in variables], variables)


def comes_back_from_its_configuration(jit: bool) -> None:
    model = small()
    optimizer = grouped(
        model,
        keras.optimizers.AdamW(WarmupDecay(0.1, 10, 2), weight_decay=0.2),
        layer_decay=DECAY,
        clip_norm=1.0,
        accumulation=2,
        average=0.9,
    )
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, GroupedOptimizer)
    assert again.get_config() == optimizer.get_config()
    for _ in range(3):
        step_only(model, optimizer, noise)
    again.build(model.trainable_variables)
    again.set_weights([keras.ops.convert_to_numpy(v) for v in optimizer.variables])
    start = values(model.trainable_variables)
    for _ in range(3):
        step_only(model, optimizer, noise)
    expected = values(model.trainable_variables)
    for variable in model.trainable_variables:
        variable.assign(start[variable.path])
    for _ in range(3):
        step_only(model, again, noise)
    for path, value in values(model.trainable_variables).items():
        np.testing.assert_array_equal(value, expected[path], err_msg=path)


CASES = (
    changes_are_powers_of_the_decay,
    clipped_before_the_groups,
    adam_takes_keras_steps,
    accumulated_batches_are_one_step,
    averages_follow_and_are_left_in_the_model,
    comes_back_from_its_configuration,
)
LONG_CASES = (mixed_precision_stays_finite, checkpointed_gradients_are_the_same)

if __name__ == "__main__":
    jit = sys.argv[1] == "jit"
    for case in (*CASES, *LONG_CASES):
        case(jit)
        print(case.__name__, flush=True)
