"""The gated perceptron against its formula in NumPy."""

from typing import Any

import keras
import numpy as np
import pytest

from keras_vit.layers import GatedMLP

INPUTS = np.random.default_rng(0).normal(0, 1, (2, 5, 12)).astype("float32")


def filled(**arguments: Any) -> tuple[GatedMLP, dict[str, np.ndarray]]:
    """A built layer with noise on every weight, and those weights by name."""
    layer = GatedMLP(10, **arguments)
    layer.build(INPUTS.shape)
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(weight + rng.normal(0, 0.5, weight.shape))
    return layer, {
        w.path.split("/", 1)[-1]: keras.ops.convert_to_numpy(w).astype(float) for w in layer.weights
    }


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_packed_is_silu_of_the_first_half_times_the_second() -> None:
    layer, w = filled()
    hidden = INPUTS @ w["fc1/kernel"] + w["fc1/bias"]
    product = hidden[..., :10] * sigmoid(hidden[..., :10]) * hidden[..., 10:]
    expected = product @ w["fc2/kernel"] + w["fc2/bias"]
    np.testing.assert_allclose(layer(INPUTS), expected, atol=1e-4)


def test_separate_has_a_norm_between() -> None:
    layer, w = filled(packed=False, norm_eps=0.1)
    gate, value = (INPUTS @ w[f"fc1_{x}/kernel"] + w[f"fc1_{x}/bias"] for x in "gx")
    product = gate * sigmoid(gate) * value
    product -= product.mean(-1, keepdims=True)
    product /= np.sqrt((product**2).mean(-1, keepdims=True) + 0.1)
    product = product * w["norm/gamma"] + w["norm/beta"]
    expected = product @ w["fc2/kernel"] + w["fc2/bias"]
    np.testing.assert_allclose(layer(INPUTS), expected, atol=1e-4)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.usefixtures("few_objects")
def test_quantized_reloads(packed: bool) -> None:
    """Each Dense keeps its own policy."""
    images = keras.Input((5, 12))
    model = keras.Model(images, GatedMLP(16, packed=packed, name="mlp")(images))
    model.quantize("int8")
    again = keras.Model.from_config(model.get_config())
    modes = [layer.quantization_mode for layer in again.get_layer("mlp").parts if layer.weights]
    assert modes == ["int8"] * (2 if packed else 3)
