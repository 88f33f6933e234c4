"""A Keras model as one TensorFlow function from `images` to named outputs. TensorFlow only."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_vit.export.interface import named
from keras_vit.export.report import Tensor


class Serving(tf.Module):
    """A model, with its preprocessing in front, as a function and the variables that it reads.

    Only those variables are held, each once; Keras' own ExportArchive holds every one twice.

    Args:
        model: takes images, gives a tensor, a list or a dict.
        front: runs before it, or None.
        images: the input, None in its shape where it is free.
        outputs: the outputs' names in order, for a model that gives a tensor or a list.
    """

    def __init__(
        self,
        model: keras.Model,
        front: keras.Model | None,
        images: Tensor,
        outputs: Sequence[str],
    ) -> None:
        super().__init__()
        spec = tf.TensorSpec(images.shape, images.dtype, name=images.name)

        @tf.function(input_signature=[spec])
        def serve(images: Any) -> dict[str, Any]:
            prepared = images if front is None else front(images, training=False)
            return named(model(prepared, training=False), outputs)

        self.function = serve
        self.concrete = serve.get_concrete_function()
        self.weights = list(self.concrete.variables)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the variables."""
        return sum(int(tf.size(weight)) * weight.dtype.size for weight in self.weights)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What the function gives."""
        return tuple(
            Tensor(name, tuple(value.shape.as_list()), value.dtype.name)
            for name, value in self.concrete.structured_outputs.items()
        )
