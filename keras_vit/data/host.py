"""TensorFlow as a maker of batches only."""

from types import ModuleType

import keras


def tensorflow() -> ModuleType:
    """TensorFlow, kept off the GPUs where JAX or PyTorch trains: its first operation takes their memory.

    Where TensorFlow has been used before, its devices stay as its user has them.
    """
    import tensorflow as tf

    if keras.config.backend() != "tensorflow":
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:  # it has begun
            return tf
    return tf
