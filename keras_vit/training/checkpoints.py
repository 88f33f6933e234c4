"""What a run has to remember to go on exactly: every variable, and where it was.

One file holds both. It is written beside its name, flushed to the disk and then renamed, by a thread
of its own: the run waits for the copy of its variables, not for the disk, and whatever moment it is
killed at, the name holds a whole checkpoint, the new or the old one.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vit.errors import KerasVitError
from keras_vit.training.run_folder import replace_durably

_RECORD = "record"


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a run.

    Attributes:
        arrays: values by name, in the order of `variables_of`, and whatever else was kept.
        record: plain JSON data.
    """

    arrays: Mapping[str, np.ndarray]
    record: Mapping[str, Any]


class CheckpointFile:
    """One name that holds the newest checkpoint.

    Args:
        path: the file, `.safetensors`; its folder exists.
        writes: whether this process writes it; else another does, and `write` does nothing.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._written: Future[None] | None = None

    def write(self, checkpoint: Checkpoint) -> None:
        """Begin to write, once the one before is written. The arrays may not change any more.

        Raises:
            KerasVitError: the one before could not be written.
        """
        self.wait()
        self._written = self._thread.submit(_write, self.path, checkpoint)

    def wait(self) -> None:
        """Return when the newest checkpoint is on the disk.

        Raises:
            KerasVitError: it could not be written; the old one is still there.
        """
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def close(self) -> None:
        """Wait, without a word about what could not be written, and end the thread."""
        self._thread.shutdown()

    def read(self) -> Checkpoint | None:
        """The newest checkpoint, or None where there is none yet.

        Raises:
            KerasVitError: the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="np", backend="pread") as file:
                arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
                return Checkpoint(arrays, json.loads(file.metadata()[_RECORD]))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise KerasVitError(f"{self.path} is damaged: {error}") from error


def variables_of(model: keras.Model) -> dict[str, keras.Variable]:
    """Every variable that a step of `fit` reads and writes, metrics apart, by a name of its own.

    Weights, the seeds of dropout, and the optimizer's: rates, moments, averages, loss scales, those of
    every part of a `MultiOptimizer`.
    """
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return _named("model", model.variables) | _named("optimizer", model.optimizer.variables)


def metrics_of(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of the metrics, which hold the mean of the epoch so far."""
    return _named("metrics", model.metrics_variables)


def weights_of(model: keras.Model) -> dict[str, keras.Variable]:
    """The weights alone, by other names than those of `variables_of`."""
    return _named("weights", model.weights)


def values(variables: Mapping[str, keras.Variable]) -> dict[str, np.ndarray]:
    """Copies, which later steps leave alone; bfloat16, which NumPy does not have, as float32."""
    copies = {}
    for name, variable in variables.items():
        array = np.array(keras.ops.convert_to_numpy(variable), order="C")
        copies[name] = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
    return copies


def restore(variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray]) -> None:
    """Give every variable its value of a checkpoint.

    Raises:
        KerasVitError: the checkpoint is one of other variables.
    """
    kinds = {name.partition(".")[0] for name in variables}
    stored = [name for name in arrays if name.partition(".")[0] in kinds]
    for name, variable in variables.items():
        array = arrays.get(name)
        if array is None or array.shape != tuple(variable.shape):
            found = "nothing" if array is None else f"shape {array.shape}"
            raise KerasVitError(
                f"the checkpoint is of another model: it has {found} for {variable.path} of shape "
                f"{tuple(variable.shape)}"
            )
    if len(stored) > len(variables):
        raise KerasVitError(
            f"the checkpoint is of another model: it has {len(stored)} arrays for {len(variables)} "
            "variables"
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def random_state() -> dict[str, np.ndarray]:
    """The state of random numbers that no variable holds.

    Only PyTorch has such: a Dropout of Keras without a seed draws from its global generators there.
    """
    if keras.backend.backend() != "torch":
        return {}
    import torch

    states = {"random.cpu": torch.get_rng_state().numpy().copy()}
    for i in range(torch.cuda.device_count()):
        states[f"random.cuda.{i}"] = torch.cuda.get_rng_state(i).numpy().copy()
    return states


def restore_random_state(arrays: Mapping[str, np.ndarray]) -> None:
    """Give the generators their states of a checkpoint, those that it has."""
    if keras.backend.backend() != "torch":
        return
    import torch

    if "random.cpu" in arrays:
        torch.set_rng_state(torch.from_numpy(arrays["random.cpu"]))
    for i in range(torch.cuda.device_count()):
        if f"random.cuda.{i}" in arrays:
            torch.cuda.set_rng_state(torch.from_numpy(arrays[f"random.cuda.{i}"]), i)


def _named(kind: str, variables: Sequence[keras.Variable]) -> dict[str, keras.Variable]:
    """By kind and position: a path may differ between processes (`seed_generator_2`), or come twice."""
    return {f"{kind}.{i:06}": variable for i, variable in enumerate(variables)}


def _write(path: Path, checkpoint: Checkpoint) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    draft = path.with_name(f".{path.name}.tmp")
    try:
        draft.touch()
        mode = draft.stat().st_mode
        save_file(dict(checkpoint.arrays), draft, {_RECORD: json.dumps(checkpoint.record)})
        draft.chmod(mode)  # the library makes files that only their owner may read
        replace_durably(draft, path)
    except (OSError, SafetensorError) as error:
        draft.unlink(missing_ok=True)
        raise KerasVitError(f"cannot write {path}: {error}") from error
