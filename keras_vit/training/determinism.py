"""Computing so that the same run gives the same bits."""

import keras


def require_determinism(deterministic: bool) -> None:
    """Switch the backend to deterministic operations, where it has such a switch and it is asked for.

    TensorFlow: `tf.config.experimental.enable_op_determinism`. PyTorch:
    `torch.use_deterministic_algorithms`. JAX has no switch: on a CPU its operations are deterministic,
    on a GPU they are with `XLA_FLAGS=--xla_gpu_deterministic_ops=true` in the environment.

    It holds for the rest of the process. On all backends it takes the same machine, the same number of
    threads and the same versions to get the same bits.
    """
    if not deterministic:
        return
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            tf.config.experimental.enable_op_determinism()
        case "torch":
            import torch

            torch.use_deterministic_algorithms(True)
