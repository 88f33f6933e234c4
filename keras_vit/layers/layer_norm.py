"""Layer normalisation of tokens."""

from typing import Any

import keras
from keras import ops


# Keras names a layer in a list by its class when it saves weights: by this name, files of models that
# held Keras' own class can be read, and the other way round.
@keras.saving.register_keras_serializable("keras_vit")
class LayerNormalization(keras.layers.LayerNormalization):
    """Keras' LayerNormalization (arXiv:1607.06450) in its short form.

    `d = x - mean(x)`, then `d * rsqrt(mean(d * d) + epsilon) * gamma + beta`, in at least float32 whatever
    the dtype policy. Keras forms `x * factor + offset`, which takes three operators more in a TFLite file
    and is slower on JAX and on TensorFlow without XLA (benchmarks/README.md, "LayerNorm"). On PyTorch, which
    has a kernel of its own, and for other axes than the last one or without gamma or beta, it is Keras' own
    computation.
    """

    def call(self, inputs: Any) -> Any:
        plain = self.axis == [-1] and self.scale and self.center and not self.rms_scaling
        if keras.backend.backend() == "torch" or not plain:
            return super().call(inputs)
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        d = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(d * d, axis=-1, keepdims=True)
        normalized = d * ops.rsqrt(variance + self.epsilon)
        return ops.cast(normalized * self.gamma + self.beta, self.compute_dtype)
