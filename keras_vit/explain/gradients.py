"""The gradient of a number, by each backend's own means."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

Arrays = list[NDArray[Any]]
# From two lists of tensors, to a number and a list of tensors.
Function = Callable[[list[Any], list[Any]], tuple[Any, Any]]


def gradient(function: Function) -> Callable[[Arrays, Arrays], tuple[Arrays, Arrays]]:
    """Differentiate with `tf.GradientTape`, `jax.grad` or `torch.autograd.grad`.

    Args:
        function: of two lists of tensors; it gives a number, by the first list of which there is to be a
            gradient, and a list of other tensors that are wanted.

    Returns:
        A function of two lists of arrays. It gives the gradient by each of the first, shaped like it
        (zeros where the number does not depend on it), and the other tensors; all as float32 arrays.
    """
    differentiated = _BACKENDS[keras.backend.backend()](function)

    def call(at: Arrays, rest: Arrays) -> tuple[Arrays, Arrays]:
        tensors = ([keras.ops.convert_to_tensor(x) for x in each] for each in (at, rest))
        found, others = differentiated(*tensors)
        return [_array(x) for x in found], [_array(x) for x in others]

    return call


def _array(tensor: Any) -> NDArray[Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor), np.float32)


def _tensorflow(function: Function) -> Function:
    import tensorflow as tf

    def call(at: list[Any], rest: list[Any]) -> tuple[Any, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(at)
            number, others = function(at, rest)
        return tape.gradient(number, at, unconnected_gradients="zero"), others

    return call


def _jax(function: Function) -> Function:
    import jax

    # Compiled: without that, each operation is for itself, when it is first seen.
    return jax.jit(jax.grad(function, has_aux=True))


def _torch(function: Function) -> Function:
    import torch

    def call(at: list[Any], rest: list[Any]) -> tuple[Any, Any]:
        at = [tensor.detach().requires_grad_() for tensor in at]
        number, others = function(at, rest)
        found = torch.autograd.grad(number, at, allow_unused=True)
        zeros = (torch.zeros_like(tensor) for tensor in at)
        return [zero if g is None else g for g, zero in zip(found, zeros, strict=True)], others

    return call


_BACKENDS: dict[str, Callable[[Function], Function]] = {
    "tensorflow": _tensorflow,
    "jax": _jax,
    "torch": _torch,
}
