"""A Keras model as TensorFlow functions from `images` to named outputs. TensorFlow only."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_vit.export.interface import named
from keras_vit.export.report import Tensor


class Serving:
    """A model, with its preprocessing in front, as a function and the variables that it reads.

    Only those variables are saved, each once; Keras' own ExportArchive holds every one twice. Functions are
    traced once: a `tf.function` in a saved module would be traced, and stored, a second time.

    Args:
        model: takes images, gives a tensor, a list or a dict.
        front: runs before it, or None.
        images: the input, None in its shape where it is free.
        outputs: the outputs' names in order, for a model that gives a tensor or a list.
        xla: compile the model by XLA, anew for each batch size. What is before it is not compiled:
            images may have any size there.

    Attributes:
        forward: the model alone, for further functions: its graph is stored once.
        function, concrete: the whole. batch: its fixed batch size, or None.
        module: what is saved; it holds the variables.
    """

    def __init__(
        self,
        model: keras.Model,
        front: keras.Model | None,
        images: Tensor,
        outputs: Sequence[str],
        xla: bool = False,
    ) -> None:
        shape, dtype = images.shape, images.dtype
        if front is not None:
            shape, dtype = (shape[0], *front.output.shape[1:]), front.output.dtype

        @tf.function(
            input_signature=[tf.TensorSpec(shape, dtype, name="prepared")],
            jit_compile=True if xla else None,
        )
        def forward(prepared: Any) -> dict[str, Any]:
            return named(model(prepared, training=False), outputs)

        self.forward = forward.get_concrete_function()

        @tf.function(input_signature=[tf.TensorSpec(images.shape, images.dtype, name=images.name)])
        def serve(images: Any) -> dict[str, Any]:
            return self.forward(images if front is None else front(images, training=False))

        self.function, self.concrete = serve, serve.get_concrete_function()
        self.batch = images.shape[0]
        self.module = tf.Module()
        self.module.weights = list(self.concrete.variables)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the variables, and of the matrices that resize images."""
        variables = self.concrete.variables
        constants = [
            op.outputs[0] for op in self.concrete.graph.get_operations() if op.type == "Const"
        ]
        return sum(
            value.shape.num_elements() * value.dtype.size for value in [*variables, *constants]
        )

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What the function gives."""
        return tuple(
            Tensor(name, tuple(value.shape.as_list()), value.dtype.name)
            for name, value in self.concrete.structured_outputs.items()
        )
