"""Gradient checkpointing (arXiv:1604.06174): memory for the forward pass against computing it twice."""

from collections.abc import Callable
from typing import Any

import keras


def recomputed(layer: Any, function: Callable[..., Any], inputs: Any, training: bool | None) -> Any:
    """`function(inputs, training)`; with checkpointing, in training, `inputs` alone are kept.

    Everything else is computed again for the gradients, so `function` must neither draw random numbers nor
    update a variable, as BatchNorm does.
    """
    if training and layer.gradient_checkpointing:
        return keras.remat(function)(inputs)
    return function(inputs, training)


def require_no_dropout(gradient_checkpointing: bool, **rates: float) -> None:
    """Refuses checkpointing with dropout inside, which would drop something else the second time.

    Raises:
        ValueError: if it is on and one of the rates is not 0.
    """
    if gradient_checkpointing and any(rates.values()):
        received = ", ".join(f"{name}={rate}" for name, rate in rates.items())
        raise ValueError(
            f"gradient_checkpointing needs {' and '.join(rates)} of 0. Received: {received}"
        )
