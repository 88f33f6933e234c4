"""Rules of Keras' own layers: those inside ours, and those that wrap a model or replace its head.

Normalisations have a file of their own, `onnx_rules_norms`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_vit.export.onnx_activations import activate, scalar, softmax
from keras_vit.export.onnx_graph import Graph, NoRule, Rule, Value, as_array
from keras_vit.export.onnx_parts import (
    channelwise,
    combine,
    convolve,
    count,
    floats,
    linear,
    pad_map,
    pool,
    reduce,
    reshape,
    transpose,
)


def same(_graph: Graph, _layer: Any, x: Value) -> Value:
    """Layers that do nothing in inference."""
    return x


def as_floats(graph: Graph, _layer: Any, x: Value) -> Value:
    """Layers that only cast in inference."""
    return floats(graph, x)


def dense(
    graph: Graph, layer: Any, x: Value, factors: Callable[[], np.ndarray] | None = None
) -> Value:
    """Dense; a LoRA layer's kernel is the merged one.

    Args:
        factors: one number for each output, folded into kernel and bias.
    """

    def scaled(value: Any) -> np.ndarray:
        return as_array(value) if factors is None else as_array(value) * as_array(factors())

    bias = (lambda: scaled(layer.bias)) if layer.use_bias else None
    y = linear(graph, x, layer, lambda: scaled(layer.kernel), bias, layer.units)
    return activate(graph, layer.activation, y)


def conv(graph: Graph, layer: Any, x: Value) -> Value:
    """Conv2D, grouped and dilated ones too."""
    _require_last(layer)
    height, width = layer.kernel_size
    channels = x.channels // layer.groups
    kernel = graph.weight(
        layer,
        "kernel",
        (layer.filters, channels, height, width),
        lambda: as_array(layer.kernel).transpose(3, 2, 0, 1),
    )
    bias = None
    if layer.use_bias:
        bias = graph.weight(layer, "bias", (layer.filters,), lambda: layer.bias)
    y = convolve(
        graph, x, kernel, bias, layer.strides, layer.padding, layer.groups, layer.dilation_rate
    )
    return activate(graph, layer.activation, y)


def conv_transpose(graph: Graph, layer: Any, x: Value) -> Value:
    """Conv2DTranspose without padding, whose windows leave no gaps."""
    _require_last(layer)
    gaps = any(size < stride for size, stride in zip(layer.kernel_size, layer.strides, strict=True))
    if layer.padding != "valid" or gaps or layer.output_padding or layer.dilation_rate != (1, 1):
        raise NoRule(f"no rule for Conv2DTranspose with padding or gaps, layer {layer.name!r}")
    size, strides = layer.kernel_size, layer.strides
    kernel = graph.weight(
        layer,
        "kernel",
        (x.channels, layer.filters, *size),
        lambda: as_array(layer.kernel).transpose(3, 2, 0, 1),
    )
    bias = []
    if layer.use_bias:
        bias = [graph.weight(layer, "bias", (layer.filters,), lambda: layer.bias)]
    x = graph.channels_first(x)
    sides = [
        side and (side - 1) * stride + span
        for side, stride, span in zip(x.shape[1:3], strides, size, strict=True)
    ]
    shape = (x.shape[0], *sides, layer.filters)
    y = graph.node(
        "ConvTranspose",
        x,
        kernel,
        *bias,
        shape=shape,
        kernel_shape=list(size),
        strides=list(strides),
    )
    return activate(graph, layer.activation, y)


def depthwise_conv(graph: Graph, layer: Any, x: Value) -> Value:
    """DepthwiseConv2D."""
    _require_last(layer)
    channels = x.channels
    filters = channels * layer.depth_multiplier
    kernel = graph.weight(
        layer,
        "kernel",
        (filters, 1, *layer.kernel_size),
        lambda: depthwise_kernel(layer),
    )
    bias = graph.weight(layer, "bias", (filters,), lambda: layer.bias) if layer.use_bias else None
    y = convolve(
        graph, x, kernel, bias, layer.strides, layer.padding, channels, layer.dilation_rate
    )
    return activate(graph, layer.activation, y)


def depthwise_kernel(layer: Any) -> np.ndarray:
    """(height, width, channels, multiplier) -> (channels * multiplier, 1, height, width)."""
    kernel = as_array(layer.kernel)
    return kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])


def _require_last(layer: Any) -> None:
    """Shapes are read channels last."""
    if layer.data_format != "channels_last":
        raise NoRule(f"no rule for channels_first, layer {layer.name!r}")


def pooling(op: str) -> Rule:
    """MaxPooling2D and AveragePooling2D."""

    def rule(graph: Graph, layer: Any, x: Value) -> Value:
        _require_last(layer)
        return pool(graph, op, x, layer.pool_size, layer.strides, layer.padding)

    return rule


def global_pooling(op: str) -> Rule:
    """The mean or the largest of everything between the batch and the channels."""

    def rule(graph: Graph, layer: Any, x: Value) -> Value:
        _require_last(layer)
        return reduce(graph, op, x, range(1, len(x.shape) - 1), layer.keepdims)

    return rule


def zero_padding(graph: Graph, layer: Any, x: Value) -> Value:
    """ZeroPadding2D."""
    _require_last(layer)
    (top, bottom), (left, right) = layer.padding
    return pad_map(graph, x, top, left, bottom, right)


def merging(op: str) -> Rule:
    """Add, Multiply and so on, of any number of inputs."""

    def rule(graph: Graph, _: Any, inputs: Sequence[Value]) -> Value:
        return combine(graph, op, inputs)

    return rule


def average(graph: Graph, _: Any, inputs: Sequence[Value]) -> Value:
    """The mean of all inputs."""
    return graph.node("Mul", combine(graph, "Add", inputs), scalar(1 / len(inputs)))


def concatenate(graph: Graph, layer: Any, inputs: Sequence[Value]) -> Value:
    """Concatenate along any axis."""
    return concatenated(graph, inputs, layer.axis)


def concatenated(graph: Graph, inputs: Sequence[Value], axis: int) -> Value:
    """Values one after the other along an axis."""
    inputs = [graph.channels_last(x) for x in inputs]
    shape = list(inputs[0].shape)
    axis %= len(shape)
    sides = [x.shape[axis] for x in inputs]
    shape[axis] = None if None in sides else sum(side or 0 for side in sides)
    return graph.node("Concat", *inputs, shape=shape, axis=axis)


def flatten(graph: Graph, layer: Any, x: Value) -> Value:
    """All axes but the first as one."""
    _require_last(layer)
    return reshape(graph, x, (x.shape[0], count(*x.shape[1:])))


def reshaped(graph: Graph, layer: Any, x: Value) -> Value:
    """Reshape; Keras finds the side that is -1."""
    return reshape(graph, x, (x.shape[0], *layer.compute_output_shape(x.shape)[1:]))


def permuted(graph: Graph, layer: Any, x: Value) -> Value:
    """Permute, whose axes start at 1."""
    return transpose(graph, x, (0, *layer.dims))


def activation(graph: Graph, layer: Any, x: Value) -> Value:
    """Activation by a function."""
    return activate(graph, layer.activation, x)


def relu(graph: Graph, layer: Any, x: Value) -> Value:
    """ReLU, with a slope or a limit perhaps."""
    if layer.threshold or (layer.negative_slope and layer.max_value is not None):
        raise NoRule(f"no rule for ReLU with a threshold, layer {layer.name!r}")
    if layer.negative_slope:
        return graph.node("LeakyRelu", x, alpha=float(layer.negative_slope))
    if layer.max_value is not None:
        return graph.node("Clip", x, scalar(0.0), scalar(layer.max_value))
    return graph.node("Relu", x)


def leaky_relu(graph: Graph, layer: Any, x: Value) -> Value:
    """LeakyReLU."""
    return graph.node("LeakyRelu", x, alpha=float(layer.negative_slope))


def elu(graph: Graph, layer: Any, x: Value) -> Value:
    """ELU."""
    return graph.node("Elu", x, alpha=float(layer.alpha))


def softmax_layer(graph: Graph, layer: Any, x: Value) -> Value:
    """Softmax over one axis."""
    axis = layer.axis[0] if isinstance(layer.axis, list | tuple) else layer.axis
    if isinstance(layer.axis, list | tuple) and len(layer.axis) != 1:
        raise NoRule(f"no rule for a softmax over axes {layer.axis}, layer {layer.name!r}")
    return softmax(graph, x, axis)


def rescaling(graph: Graph, layer: Any, x: Value) -> Value:
    """Rescaling by numbers, or by one number a channel."""
    x = floats(graph, x)
    for op, value, neutral in (("Mul", layer.scale, 1.0), ("Add", layer.offset, 0.0)):
        array = np.asarray(value, np.float32)
        if array.ndim > 1:
            raise NoRule(f"no rule for a rescaling by {array.shape}, layer {layer.name!r}")
        if array.ndim == 0 and array == neutral:
            continue
        if array.size == 1:
            x = graph.node(op, x, array.reshape(()))
        else:
            x = channelwise(graph, op, x, layer, op.lower(), partial(np.copy, array))
    return x


def normalization(graph: Graph, layer: Any, x: Value) -> Value:
    """Normalization by one mean and variance a channel, as Keras does it: (x - mean) / deviation."""
    channels = x.channels
    mean, variance = as_array(layer.mean).reshape(-1), as_array(layer.variance).reshape(-1)
    if layer.invert or mean.size not in (1, channels):
        raise NoRule(f"no rule for Normalization with {mean.size} means, layer {layer.name!r}")
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    x = floats(graph, x)
    x = channelwise(graph, "Sub", x, layer, "mean", lambda: np.broadcast_to(mean, channels))
    return channelwise(graph, "Div", x, layer, "std", lambda: np.broadcast_to(deviation, channels))


def multi_head_attention(
    graph: Graph, layer: Any, query: Value, value: Value, key: Value | None = None
) -> Value:
    """MultiHeadAttention over the second of three axes, without masks."""
    key = value if key is None else key
    ranks = [len(x.shape) for x in (query, value, key)]
    heads, size = layer.num_heads, layer.key_dim
    if ranks != [3, 3, 3]:
        raise NoRule(f"no rule for attention between {ranks} axes, layer {layer.name!r}")

    def projected(dense: Any, x: Value, width: int, factor: float, perm: Sequence[int]) -> Value:
        kernel = lambda: factor * as_array(dense.kernel).reshape(-1, heads * width)  # noqa: E731
        bias = (lambda: factor * as_array(dense.bias).reshape(-1)) if layer.use_bias else None
        y = linear(graph, x, dense, kernel, bias, heads * width)
        return transpose(graph, reshape(graph, y, (*y.shape[:2], heads, width)), perm)

    width = layer.value_dim
    with graph.scope("query"):
        q = projected(layer.query_dense, query, size, size**-0.5, (0, 2, 1, 3))
    with graph.scope("key"):
        k = projected(layer.key_dense, key, size, 1.0, (0, 2, 3, 1))
    with graph.scope("value"):
        v = projected(layer.value_dense, value, width, 1.0, (0, 2, 1, 3))
    mixed = attend(graph, q, k, v)[0]
    dense = layer.output_dense
    units = int(as_array(dense.kernel).shape[-1])
    kernel = lambda: as_array(dense.kernel).reshape(heads * width, units)  # noqa: E731
    bias = (lambda: dense.bias) if layer.use_bias else None
    if as_array(dense.kernel).ndim != 3:
        raise NoRule(f"no rule for attention to several axes, layer {layer.name!r}")
    with graph.scope("output"):
        return linear(graph, mixed, dense, kernel, bias, units)


def attend(graph: Graph, query: Value, key: Value, value: Value) -> tuple[Value, Value]:
    """Scaled queries, transposed keys and values, to the mixed values and the softmax.

    Args:
        query: (batch, heads, queries, size). key: (batch, heads, size, keys).
        value: (batch, heads, keys, width).

    Returns:
        (batch, queries, heads * width), and (batch, heads, queries, keys).
    """
    batch, heads, queries, _ = query.shape
    logits = graph.node("MatMul", query, key, shape=(batch, heads, queries, key.shape[3]))
    scores = softmax(graph, logits)
    width = value.shape[3]
    mixed = graph.node("MatMul", scores, value, shape=(batch, heads, queries, width))
    mixed = transpose(graph, mixed, (0, 2, 1, 3))
    return reshape(graph, mixed, (batch, queries, count(heads, width))), scores


_NOTHING = (
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.AlphaDropout,
    layers.ActivityRegularization,
    layers.Identity,
)
"""What does nothing in inference."""

_AUGMENTATIONS = (
    layers.RandomBrightness,
    layers.RandomContrast,
    layers.RandomFlip,
    layers.RandomRotation,
    layers.RandomTranslation,
    layers.RandomZoom,
)
"""What gives its images as floats and does nothing else in inference."""

CASTING = {*_AUGMENTATIONS, layers.Rescaling, layers.Normalization}
"""Layers that take images of any element type."""

RULES: dict[type, Rule] = {
    **dict.fromkeys(_NOTHING, same),
    **dict.fromkeys(_AUGMENTATIONS, as_floats),
    layers.Dense: dense,
    layers.Conv2D: conv,
    layers.Conv2DTranspose: conv_transpose,
    layers.DepthwiseConv2D: depthwise_conv,
    layers.MaxPooling2D: pooling("MaxPool"),
    layers.AveragePooling2D: pooling("AveragePool"),
    layers.GlobalAveragePooling1D: global_pooling("ReduceMean"),
    layers.GlobalAveragePooling2D: global_pooling("ReduceMean"),
    layers.GlobalMaxPooling1D: global_pooling("ReduceMax"),
    layers.GlobalMaxPooling2D: global_pooling("ReduceMax"),
    layers.ZeroPadding2D: zero_padding,
    layers.Add: merging("Add"),
    layers.Subtract: merging("Sub"),
    layers.Multiply: merging("Mul"),
    layers.Maximum: merging("Max"),
    layers.Minimum: merging("Min"),
    layers.Average: average,
    layers.Concatenate: concatenate,
    layers.Flatten: flatten,
    layers.Reshape: reshaped,
    layers.Permute: permuted,
    layers.Activation: activation,
    layers.ReLU: relu,
    layers.LeakyReLU: leaky_relu,
    layers.ELU: elu,
    layers.Softmax: softmax_layer,
    layers.Rescaling: rescaling,
    layers.Normalization: normalization,
    layers.MultiHeadAttention: multi_head_attention,
}
