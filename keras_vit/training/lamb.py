"""LAMB (arXiv:1904.00962) as DeiT-III trains with it: apex' FusedLAMB, timm's `Lamb`."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_vit")
class Lamb(keras.optimizers.Optimizer):
    """Adam's step plus weight decay, scaled to the norm of the weights it changes.

    `keras.optimizers.Lamb` decays weights apart from that, and scales the step of undecayed weights, too.
    Here as in apex and timm (timm/optim/lamb.py) the decay is part of the step, and a variable that does
    not decay takes Adam's step as it is.

    Args:
        learning_rate: a number or a schedule.
        weight_decay: share of the weights in the step, before the scaling; 0 or None for none.
        beta_1, beta_2: decays of the gradient's first and second moment.
        epsilon: added to the root of the second.
        **kwargs: as in `keras.optimizers.Optimizer`.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        weight_decay: float | None = 0.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.decay, self.beta_1, self.beta_2, self.epsilon = weight_decay, beta_1, beta_2, epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")
        self.velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        gradient = ops.cast(gradient, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        index = self._get_variable_index(variable)
        momentum, velocity = self.momentums[index], self.velocities[index]
        self.assign_add(momentum, (gradient - momentum) * (1 - self.beta_1))
        self.assign_add(velocity, (ops.square(gradient) - velocity) * (1 - self.beta_2))
        unbiased = momentum / (1 - ops.power(ops.cast(self.beta_1, dtype), step))
        scale = ops.sqrt(velocity / (1 - ops.power(ops.cast(self.beta_2, dtype), step)))
        change = unbiased / (scale + self.epsilon)
        if self.decay:
            change = change + self.decay * ops.convert_to_tensor(variable)
            change = change * _trust(ops.convert_to_tensor(variable), change)
        self.assign_sub(variable, ops.cast(learning_rate, dtype) * change)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "weight_decay": self.decay,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }


def _trust(weights: Any, change: Any) -> Any:
    """Norm of the weights over that of their change; 1 where either is 0."""
    ours, theirs = ops.norm(weights), ops.norm(change)
    known = ops.logical_and(ours > 0, theirs > 0)
    return ops.where(known, ours / ops.where(known, theirs, 1.0), 1.0)
