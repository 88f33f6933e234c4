"""Activation functions, each as ONNX operators."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_vit.export.onnx_graph import Graph, NoRule, Value
from keras_vit.layers.activations import gelu, gelu_tanh, quick_gelu, silu


def activate(graph: Graph, function: Any, x: Value) -> Value:
    """An activation function of a layer, called on `x` alone.

    Raises:
        NoRule: it is not in the table.
    """
    if function is None:
        return x
    rule = ACTIVATIONS.get(function) if callable(function) else None
    if rule is None:
        raise NoRule(f"no rule for the activation {getattr(function, '__name__', function)!r}")
    return rule(graph, x)


def operator(op: str, **attributes: Any) -> Callable[[Graph, Value], Value]:
    """The rule of a function that is one operator."""

    def rule(graph: Graph, x: Value) -> Value:
        return graph.node(op, x, **attributes)

    return rule


def scalar(value: float) -> np.ndarray:
    """A float32 constant."""
    return np.array(value, np.float32)


def exact_gelu(graph: Graph, x: Value) -> Value:
    """Gelu, or before opset 20 the form with a division, which onnxruntime fuses; not with a product."""
    if graph.opset >= 20:
        return graph.node("Gelu", x)
    erf = graph.node("Erf", graph.node("Div", x, scalar(2**0.5)))
    return graph.node("Mul", graph.node("Mul", x, graph.node("Add", erf, scalar(1.0))), scalar(0.5))


def tanh_gelu(graph: Graph, x: Value) -> Value:
    """`0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`."""
    if graph.opset >= 20:
        return graph.node("Gelu", x, approximate="tanh")
    cube = graph.node("Mul", graph.node("Pow", x, scalar(3.0)), scalar(0.044715))
    inner = graph.node("Mul", graph.node("Add", x, cube), scalar((2 / np.pi) ** 0.5))
    factor = graph.node("Add", graph.node("Tanh", inner), scalar(1.0))
    return graph.node("Mul", graph.node("Mul", x, scalar(0.5)), factor)


def _quick_gelu(graph: Graph, x: Value) -> Value:
    sigmoid = graph.node("Sigmoid", graph.node("Mul", x, scalar(1.702)))
    return graph.node("Mul", x, sigmoid)


def _silu(graph: Graph, x: Value) -> Value:
    return graph.node("Mul", x, graph.node("Sigmoid", x))


def _relu6(graph: Graph, x: Value) -> Value:
    return graph.node("Clip", x, scalar(0.0), scalar(6.0))


def softmax(graph: Graph, x: Value, axis: int = -1) -> Value:
    """Softmax over an axis, as Keras counts it."""
    return graph.node("Softmax", graph.channels_last(x), axis=axis)


def _linear(_: Graph, x: Value) -> Value:
    return x


_keras = keras.activations
ACTIVATIONS: dict[Any, Callable[[Graph, Value], Value]] = {
    gelu: exact_gelu,
    gelu_tanh: tanh_gelu,
    quick_gelu: _quick_gelu,
    silu: _silu,
    _keras.linear: _linear,
    _keras.gelu: exact_gelu,
    _keras.relu: operator("Relu"),
    _keras.relu6: _relu6,
    _keras.sigmoid: operator("Sigmoid"),
    _keras.tanh: operator("Tanh"),
    _keras.softmax: softmax,
    _keras.silu: _silu,
    _keras.elu: operator("Elu"),
    _keras.selu: operator("Selu", alpha=1.6732631921768188, gamma=1.0507010221481323),
    _keras.softplus: operator("Softplus"),
    _keras.softsign: operator("Softsign"),
    _keras.exponential: operator("Exp"),
    _keras.leaky_relu: operator("LeakyRelu", alpha=0.2),
    _keras.hard_sigmoid: operator("HardSigmoid", alpha=1 / 6, beta=0.5),
    _keras.hard_silu: operator("HardSwish"),
}
