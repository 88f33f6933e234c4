"""Each rule for a layer of Keras, an activation or an operation, against Keras itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from onnx_cases import difference, exaggerate, images_for, operators, written

import keras_vit.layers
from keras_vit.export.onnx_activations import ACTIVATIONS
from keras_vit.export.onnx_graph import NoRule
from keras_vit.export.onnx_writer import RULES

TOLERANCE = 1e-5  # of the output's standard deviation

MAPS: dict[str, Callable[[], Any]] = {
    "conv, same": lambda: layers.Conv2D(5, 3, strides=2, padding="same"),
    "conv, groups": lambda: layers.Conv2D(12, 3, groups=3, use_bias=False),
    "conv, dilated": lambda: layers.Conv2D(5, (3, 2), dilation_rate=2, activation="relu"),
    "depthwise conv": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
    "conv transpose": lambda: layers.Conv2DTranspose(5, 2, strides=2),
    "conv transpose, overlapping": lambda: layers.Conv2DTranspose(5, 3, strides=2, use_bias=False),
    "max pool, same": lambda: layers.MaxPooling2D(3, 2, "same"),
    "average pool, same": lambda: layers.AveragePooling2D(3, 2, "same"),
    "average pool": lambda: layers.AveragePooling2D(2),
    "zero padding": lambda: layers.ZeroPadding2D(((1, 2), (0, 3))),
    "global mean": lambda: layers.GlobalAveragePooling2D(),
    "global mean, kept": lambda: layers.GlobalAveragePooling2D(keepdims=True),
    "global maximum": lambda: layers.GlobalMaxPooling2D(),
    "batch norm": lambda: layers.BatchNormalization(),
    "batch norm, bare": lambda: layers.BatchNormalization(scale=False, center=False),
    "group norm": lambda: layers.GroupNormalization(3),
    "instance norm": lambda: layers.GroupNormalization(-1, scale=False),
    "layer norm": lambda: layers.LayerNormalization(),
    "layer norm, bare": lambda: layers.LayerNormalization(scale=False, center=False),
    "rms norm": lambda: layers.RMSNormalization(),
    "unit norm": lambda: layers.UnitNormalization(),
    "dense on a map": lambda: layers.Dense(4),
    "dense without bias": lambda: layers.Dense(4, use_bias=False),
    "flatten": lambda: layers.Flatten(),
    "reshape": lambda: layers.Reshape((-1, 3)),
    "permute": lambda: layers.Permute((3, 1, 2)),
    "relu": lambda: layers.ReLU(),
    "relu with a limit": lambda: layers.ReLU(max_value=0.7),
    "relu with a slope": lambda: layers.ReLU(negative_slope=0.3),
    "leaky relu": lambda: layers.LeakyReLU(0.1),
    "elu": lambda: layers.ELU(0.5),
    "softmax": lambda: layers.Softmax(),
    "softmax over rows": lambda: layers.Softmax(axis=1),
    "rescaling": lambda: layers.Rescaling(0.5, offset=-1),
    "rescaling, a number a channel": lambda: layers.Rescaling([1, 2, 3, 4, 5, 6], offset=[0.5] * 6),
    "normalization": lambda: layers.Normalization(mean=[1, 2, 3, 4, 5, 6], variance=[0.5] * 6),
    "dropout": lambda: layers.Dropout(0.5),
    "dropout in training mode": lambda: lambda x: layers.Dropout(0.5)(x, training=True),
    "augmentation": lambda: layers.RandomFlip(),
    "gated mlp": lambda: keras_vit.layers.GatedMLP(5),
    "gated mlp, separate": lambda: keras_vit.layers.GatedMLP(5, "gelu", False, norm_eps=1e-6),
    "two layers": lambda: keras.Sequential([layers.Conv2D(4, 1), layers.ReLU()]),
}


def behind_a_convolution(layer: Callable[[Any], Any], shape: tuple[int, int, int]) -> keras.Model:
    """A layer on a map of this shape, of signed numbers."""
    images = keras.Input((16, 16, 3))
    height, width, channels = shape
    x = layers.Conv2D(channels, (17 - height, 17 - width))(images)
    return exaggerate(keras.Model(images, layer(x)))


@pytest.mark.parametrize("name", MAPS)
def test_layer_on_a_map(name: str, tmp_path: Path) -> None:
    model = behind_a_convolution(MAPS[name](), (9, 10, 6))
    assert difference(model, tmp_path) <= TOLERANCE


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("function", ACTIVATIONS, ids=lambda function: function.__name__)
def test_activation(function: Any, opset: int, tmp_path: Path) -> None:
    model = behind_a_convolution(layers.Dense(8, activation=function), (14, 14, 4))
    assert difference(model, tmp_path, opset=opset) <= TOLERANCE


MERGES = {
    "add": layers.Add,
    "subtract": layers.Subtract,
    "multiply": layers.Multiply,
    "average": layers.Average,
    "maximum": layers.Maximum,
    "minimum": layers.Minimum,
    "concatenate": layers.Concatenate,
}


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("name", MERGES)
def test_merging(name: str, layout: str, tmp_path: Path) -> None:
    """A map that is stored channels first, and one that is not."""
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1)(images)
    merged = MERGES[name]()([x, layers.Dense(3)(images)])
    model = exaggerate(keras.Model(images, merged))
    assert difference(model, tmp_path, layout=layout) <= TOLERANCE


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "x + x": lambda x: x + x * 2.0,
    "1 - x": lambda x: 1.0 - x,
    "x / array": lambda x: x / np.array([1, 2, 3, 4], np.float32),
    "array + x": lambda x: ops.add(np.ones((1, 4), np.float32), x),
    "maximum": lambda x: ops.maximum(x, 0.1),
    "minimum": lambda x: ops.minimum(x, x[:, :1]),
    "power": lambda x: ops.power(ops.abs(x), 1.5),
    "x[:, 0]": lambda x: x[:, 0],
    "x[:, -1, 1:]": lambda x: x[:, -1, 1:],
    "x[:, 1:9:3]": lambda x: x[:, 1:9:3],
    "mean": lambda x: ops.mean(x, axis=1),
    "mean of pixels": lambda x: ops.mean(x, axis=(1, 2), keepdims=True),
    "max": lambda x: ops.max(x, axis=-1),
    "sum": lambda x: ops.sum(x, axis=(-1, 1)),
    "min": lambda x: ops.min(x, axis=2),
    "sqrt": lambda x: ops.sqrt(ops.exp(x)),
    "log": lambda x: ops.log(1.0 + ops.abs(x)),
    "negative": lambda x: ops.negative(x),
    "relu, sigmoid, tanh": lambda x: ops.tanh(ops.sigmoid(ops.relu(x))),
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu, tanh": lambda x: ops.gelu(x),
    "erf": lambda x: ops.erf(x),
    "softmax": lambda x: ops.softmax(x, axis=-1),
    "reshape": lambda x: ops.reshape(x, (-1, 20, 10)),
    "reshape of the batch": lambda x: ops.reshape(ops.reshape(x, (-1, 20, 2)), (-1, 200)),
    "transpose": lambda x: ops.transpose(x, (0, 3, 1, 2)),
    "squeeze": lambda x: ops.squeeze(ops.expand_dims(x, 2), 2),
    "concatenate": lambda x: ops.concatenate([x, x], axis=1),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name: str, tmp_path: Path) -> None:
    """`keras.ops` between layers."""
    model = behind_a_convolution(OPERATIONS[name], (10, 5, 4))
    assert difference(model, tmp_path) <= TOLERANCE


@pytest.mark.parametrize("opset", [17, 18])
def test_reductions_before_and_after_their_axes_became_inputs(opset: int, tmp_path: Path) -> None:
    def both(x: Any) -> Any:
        return ops.mean(x, axis=1) + ops.max(x, axis=2)

    assert difference(behind_a_convolution(both, (6, 6, 4)), tmp_path, opset=opset) <= TOLERANCE


def test_attention_of_keras(tmp_path: Path) -> None:
    """Between other queries and keys, with values of another width."""

    def attention(x: Any) -> Any:
        tokens = layers.Reshape((36, 8))(x)
        return layers.MultiHeadAttention(2, 3, value_dim=5)(tokens[:, :7], tokens)

    assert difference(behind_a_convolution(attention, (6, 6, 8)), tmp_path) <= TOLERANCE


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_maximum_over_padded_zeros(padding: str, tmp_path: Path) -> None:
    """Zeros are the maximum where all else is negative; onnxruntime fuses them away from a Pad."""

    def pooled(x: Any) -> Any:
        return layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(-ops.abs(x)))

    assert difference(behind_a_convolution(pooled, (9, 10, 6)), tmp_path) <= TOLERANCE


def test_layer_that_is_called_twice(tmp_path: Path) -> None:
    """Its weights are in the file once."""
    shared = layers.Conv2D(6, 3, padding="same", name="shared")
    model = behind_a_convolution(lambda x: shared(ops.relu(shared(x))), (6, 6, 6))
    assert difference(model, tmp_path) <= TOLERANCE
    proto, _ = written(model, tmp_path, images_for(model))
    kernels = [tensor for tensor in proto.graph.initializer if list(tensor.dims) == [6, 6, 3, 3]]
    assert len(kernels) == 1


def test_lora_is_merged(tmp_path: Path) -> None:
    model = behind_a_convolution(layers.Dense(4, name="dense"), (5, 5, 4))
    model.get_layer("dense").enable_lora(2)
    exaggerate(model)
    assert difference(model, tmp_path) <= TOLERANCE


def test_a_scale_for_integers(tmp_path: Path) -> None:
    images = keras.Input((8, 8, 3), dtype="uint8")
    x = layers.Rescaling(1 / 127.5, offset=-1)(layers.RandomFlip()(images))
    model = exaggerate(keras.Model(images, layers.Conv2D(4, 3)(x)))
    raw = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    assert difference(model, tmp_path, raw) <= TOLERANCE


class Doubled(layers.Dense):
    """Looks like Dense and is not."""

    def call(self, inputs: Any) -> Any:
        return 2 * super().call(inputs)


class CallOfItsOwn(keras.Model):
    """Looks Functional and does more."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        return 2 * super().call(inputs)


def inside(layer: Any) -> keras.Model:
    images = keras.Input((8, 8, 4))
    return keras.Model(images, layer(images))


def quantised() -> keras.Model:
    model = inside(layers.Dense(2, name="d"))
    model.get_layer("d").quantize("int8")
    return model


def own_call() -> keras.Model:
    images = keras.Input((8, 8, 4))
    return CallOfItsOwn(images, layers.Dense(2)(images))


REFUSED: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "a class without a rule": (
        lambda: inside(layers.SeparableConv2D(4, 3, name="s")),
        "SeparableConv2D, layer 's'",
    ),
    "a subclass of one with a rule": (lambda: inside(Doubled(2)), "no rule for Doubled"),
    "a model with a call of its own": (own_call, "CallOfItsOwn, which has a call of its own"),
    "an activation of the user's": (
        lambda: inside(layers.Dense(2, activation=lambda x: x)),
        "the activation '<lambda>'",
    ),
    "an operation without a rule": (lambda: inside(ops.erfinv), "operation Erfinv"),
    "channels first": (
        lambda: inside(layers.GlobalAveragePooling2D(data_format="channels_first", name="g")),
        "channels_first, layer 'g'",
    ),
    "a masked softmax": (
        lambda: inside(lambda x: layers.Softmax()(x, mask=np.ones((8, 8, 4), bool))),
        "Softmax called with mask",
    ),
    "a quantised layer": (quantised, "no rule for Dense, layer 'd'"),
    "a padded transposed convolution": (
        lambda: inside(layers.Conv2DTranspose(2, 3, padding="same")),
        "Conv2DTranspose with padding",
    ),
    "norm over two axes": (
        lambda: inside(layers.LayerNormalization(axis=[2, 3])),
        "LayerNormalization over axes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    """Before anything is written."""
    build, message = REFUSED[case]
    model = build()
    images = np.zeros((1, 8, 8, 4), np.float32)
    with pytest.raises(NoRule, match=message):
        written(model, tmp_path, images)
    assert list(tmp_path.iterdir()) == []


def test_every_layer_of_ours_has_a_rule() -> None:
    """One without is written by tf2onnx: slower, larger, and at opset 18."""
    ours = [getattr(keras_vit.layers, name) for name in keras_vit.layers.__all__]
    kinds = [kind for kind in ours if isinstance(kind, type) and issubclass(kind, layers.Layer)]
    assert kinds and not [kind.__name__ for kind in kinds if kind not in RULES]


def test_equal_nodes_are_drawn_once(tmp_path: Path) -> None:
    def twice(x: Any) -> Any:
        return ops.relu(x) + ops.relu(x)

    model = behind_a_convolution(twice, (5, 5, 4))
    proto, _ = written(model, tmp_path, images_for(model))
    assert operators(proto)["Relu"] == 1
