"""Keras' Adam with its update as one operator; Keras' own reads or writes all weights a dozen times."""

import math
from typing import Any

import keras


def fused(optimizer: keras.optimizers.Optimizer) -> type[keras.optimizers.Optimizer]:
    """The class that computes in less time what Keras' Adam or AdamW does; any other optimizer's own.

    That there is one depends on the backend: XLA fuses Keras' own update on JAX, and on a GPU Keras
    updates many variables at once on PyTorch. The class takes the configuration of either optimizer.
    """
    own, backend = type(optimizer), keras.backend.backend()
    # On PyTorch Keras' instances are of other classes than they are made by. A subclass may do anything.
    adams = [type(kind()) for kind in (keras.optimizers.Adam, keras.optimizers.AdamW)]
    if own not in adams or optimizer.get_config()["amsgrad"]:
        return own
    if backend == "torch" and keras.ops.zeros(()).device.type == "cpu":
        return TorchAdam
    return TensorFlowAdam if backend == "tensorflow" else own


class TensorFlowAdam(keras.optimizers.Adam):
    """The update by the operator that XLA knows, too."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        import tensorflow as tf

        dtype, index = variable.dtype, self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.cast(self.beta_1, dtype) ** step,
            beta2_power=tf.cast(self.beta_2, dtype) ** step,
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), dtype),
        )


class TorchAdam(keras.optimizers.Adam):
    """The update by torch's fused one for the CPU.

    torch adds epsilon after the second moment is corrected for its bias, Keras before, as at the end of the
    paper's section 2 (arXiv:1412.6980): torch gets an epsilon that is corrected, too.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        import torch
        from torch.optim.adam import adam

        if torch.compiler.is_compiling():  # which traces no fused update, and fuses Keras' itself
            super().update_step(gradient, variable, learning_rate)
            return
        index, steps = self._get_variable_index(variable), int(self.iterations.value)
        with torch.no_grad():
            adam(
                [variable.value],
                [gradient.to(variable.value.dtype)],
                [self._momentums[index].value],
                [self._velocities[index].value],
                max_exp_avg_sqs=[],
                state_steps=[torch.tensor(float(steps))],
                fused=True,
                amsgrad=False,
                beta1=self.beta_1,
                beta2=self.beta_2,
                lr=float(learning_rate),
                weight_decay=0.0,
                eps=self.epsilon / math.sqrt(1 - self.beta_2 ** (steps + 1)),
                maximize=False,
            )
