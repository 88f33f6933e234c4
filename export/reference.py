"""What the model itself answers, on the backend at hand, in whole float32."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from keras_vit.export.interface import named

_BATCH = 4  # images at a time: the model may be large and runs operation by operation here


def answers(
    model: keras.Model,
    names: Sequence[str],
    images: np.ndarray,
    front: keras.Model | None = None,
) -> dict[str, np.ndarray]:
    """Every output of `model(front(images))` by name, in inference.

    Args:
        model: takes images, gives a tensor, a list or a dict.
        names: of the outputs of a model that gives a tensor or a list.
        images: as `front`, or without it the model, takes them.
    """
    batches = []
    with _whole_float32():
        for start in range(0, len(images), _BATCH):
            batch: Any = keras.ops.convert_to_tensor(images[start : start + _BATCH])
            batch = batch if front is None else front(batch, training=False)
            outputs = named(model(batch, training=False), names)
            batches.append({k: keras.ops.convert_to_numpy(v) for k, v in outputs.items()})
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


@contextmanager
def _whole_float32() -> Iterator[None]:
    """No TensorFloat-32: GPUs multiply with 10 bits of mantissa where they are let, and files do not."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            experimental = tf.config.experimental
            before = experimental.tensor_float_32_execution_enabled()
            experimental.enable_tensor_float_32_execution(False)
            try:
                yield
            finally:
                experimental.enable_tensor_float_32_execution(before)
        case "jax":
            import jax

            with jax.default_matmul_precision("highest"):
                yield
        case "torch":
            import torch

            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
            try:
                with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
                    yield
            finally:
                torch.set_float32_matmul_precision(before)
        case _:
            yield
