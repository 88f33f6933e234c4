"""Rules of BiT's and the hybrids' layers; the standardisation of kernels is done as they are written."""

from typing import Any

import numpy as np

from keras_vit import layers
from keras_vit.export.onnx_graph import Graph, Rule, Value, as_array
from keras_vit.export.onnx_parts import (
    combine,
    convolve,
    pad_map,
    pool,
)
from keras_vit.export.onnx_rules_norms import group_norm


def standardized_conv(graph: Graph, layer: Any, x: Value) -> Value:
    """A plain convolution with the standardised kernel."""
    size = layer.kernel_size
    kernel = graph.weight(
        layer,
        "kernel",
        (layer.filters, x.channels, size, size),
        lambda: standardized_kernel(layer).transpose(3, 2, 0, 1),
    )
    padding = [size // 2] * 4 if layer.padding == "symmetric" else "same"
    return convolve(graph, x, kernel, None, (layer.strides, layer.strides), padding)


def standardized_kernel(layer: Any) -> np.ndarray:
    """The kernel (height, width, channels, filters) of a `StandardizedConv2D`, in float64 until the end."""
    kernel = as_array(layer.kernel).astype(np.float64)
    centred = kernel - kernel.mean((0, 1, 2))
    variance = (centred**2).mean((0, 1, 2))
    if layer.form == "variance":
        return (centred / np.sqrt(variance + layer.epsilon)).astype(np.float32)
    return (centred / (np.sqrt(variance) + layer.epsilon)).astype(np.float32)


def group_norm_ours(graph: Graph, layer: Any, x: Value) -> Value:
    """GroupNorm of a map."""
    gamma, beta = (lambda: layer.gamma), (lambda: layer.beta)
    return group_norm(graph, layer, x, layer.groups, layer.epsilon, gamma, beta)


def bottleneck(graph: Graph, layer: Any, x: Value) -> Value:
    """The residual block of BiT and of the hybrids."""

    def relu(y: Value) -> Value:
        return graph.node("Relu", y)

    if layer.pre_activation:
        y = relu(graph.layer(layer.norm1, x))
        shortcut = graph.layer(layer.downsample_conv, y) if layer.projection else x
        y = relu(graph.layer(layer.norm2, graph.layer(layer.conv1, y)))
        y = relu(graph.layer(layer.norm3, graph.layer(layer.conv2, y)))
        return combine(graph, "Add", [shortcut, graph.layer(layer.conv3, y)])
    shortcut = x
    if layer.projection:
        shortcut = graph.layer(layer.downsample_norm, graph.layer(layer.downsample_conv, x))
    y = relu(graph.layer(layer.norm1, graph.layer(layer.conv1, x)))
    y = relu(graph.layer(layer.norm2, graph.layer(layer.conv2, y)))
    y = graph.layer(layer.norm3, graph.layer(layer.conv3, y))
    return relu(combine(graph, "Add", [shortcut, y]))


def resnet_stem(graph: Graph, layer: Any, x: Value) -> Value:
    """Convolution, perhaps norm, and the maximum of windows, in which BiT's zeros take part."""
    x = graph.layer(layer.conv, x)
    if layer.use_norm:
        x = graph.node("Relu", graph.layer(layer.norm, x))
    padding = "same"
    if layer.pool_padding == "zero":
        x, padding = pad_map(graph, x, 1, 1, 1, 1), "valid"
    return pool(graph, "MaxPool", x, (3, 3), (2, 2), padding)


RULES: dict[type, Rule] = {
    layers.StandardizedConv2D: standardized_conv,
    layers.GroupNorm: group_norm_ours,
    layers.Bottleneck: bottleneck,
    layers.ResNetStem: resnet_stem,
}
