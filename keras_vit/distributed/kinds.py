"""Which distributions there are, and on which backend: asked before anything is loaded. No Keras."""

import os
from collections.abc import Mapping

from keras_vit.errors import UsageError

KINDS = ("mirrored", "multiworker", "data-parallel", "model-parallel")

# Keras' own names (keras.distribution.initialize).
ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
NUMBER = "KERAS_DISTRIBUTION_PROCESS_ID"
_LAUNCHERS = ("SLURM_JOB_ID", "OMPI_COMM_WORLD_SIZE")  # that jax.distributed reads by itself

_JAX = "set KERAS_BACKEND=jax"
_REFUSED = {
    ("tensorflow", "multiworker"): "Keras 3 cannot fit with MultiWorkerMirroredStrategy "
    f"(keras-team/keras#20585): {_JAX} for several processes",
    ("tensorflow", "data-parallel"): f"data-parallel is JAX's: take mirrored, or {_JAX}",
    ("tensorflow", "model-parallel"): f"model-parallel is JAX's: {_JAX}",
    ("jax", "mirrored"): "mirrored is TensorFlow's: on JAX take data-parallel",
}


def require_kind(
    kind: str | None, backend: str, model_devices: int | None, environment: Mapping[str, str]
) -> None:
    """Refuse what cannot be distributed so.

    Args:
        kind: of `KINDS`, or None for one device. backend: Keras'.
        model_devices: as in `keras_vit.train`. environment: of the process.

    Raises:
        UsageError: an unknown kind, another backend's, or several processes without their addresses.
    """
    if kind is None:
        if model_devices is not None:
            raise UsageError("model_devices is of model-parallel: pass distribute, too")
        return
    if kind not in KINDS:
        raise UsageError(f"distribute must be one of {', '.join(KINDS)}; got {kind!r}")
    if backend == "torch":
        raise UsageError(
            f"Keras distributes on TensorFlow and JAX, not on PyTorch: {_JAX} or tensorflow"
        )
    if (backend, kind) in _REFUSED:
        raise UsageError(_REFUSED[backend, kind])
    if model_devices is not None and kind != "model-parallel":
        raise UsageError("model_devices is of model-parallel: pass that as distribute")
    if model_devices is not None and model_devices < 1:
        raise UsageError(f"model_devices must be above 0; got {model_devices}")
    if kind == "multiworker" and not in_company(environment):
        raise UsageError(
            f"multiworker needs {ADDRESSES}, {PROCESSES} and {NUMBER} in the environment of every "
            "process, or Slurm's"
        )


def in_company(environment: Mapping[str, str]) -> bool:
    """Whether a launcher has said that there are other processes."""
    return any(name in environment for name in (ADDRESSES, *_LAUNCHERS))


def current_backend() -> str:
    """Keras' backend."""
    import keras

    return str(keras.backend.backend())


def require_distribution(kind: str | None, model_devices: int | None) -> None:
    """`require_kind`, here and now."""
    require_kind(kind, current_backend(), model_devices, os.environ)
