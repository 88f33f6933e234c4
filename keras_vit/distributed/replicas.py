"""Gradients of replicas under a tf.distribute strategy."""

from collections.abc import Sequence
from typing import Any

import keras


def summed(grads: Sequence[Any]) -> tuple[list[Any], int]:
    """The sum of every gradient over all replicas, None staying None, and how many replicas there are.

    Keras' optimizers sum gradients when they apply them; who needs the sum before, to clip it, gives them
    a share of one replica each. Outside of a strategy nothing changes, and the number is 1.
    """
    context = _context()
    if context is None:
        return list(grads), 1
    import tensorflow as tf

    found = iter(
        context.all_reduce(tf.distribute.ReduceOp.SUM, [g for g in grads if g is not None])
    )
    return [None if g is None else next(found) for g in grads], context.num_replicas_in_sync


def _context() -> Any:
    """TensorFlow's replica context, where there are several replicas."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None
