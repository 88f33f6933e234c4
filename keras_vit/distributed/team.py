"""The devices and processes that train one model together."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_vit.distributed.kinds import in_company
from keras_vit.distributed.layouts import AXIS, layout_map
from keras_vit.errors import KerasVitError, UsageError
from keras_vit.training.plans import Plan

_BATCH_AXIS = "batch"


@dataclass(frozen=True)
class Team:
    """Who trains together.

    Attributes:
        kind: of `keras_vit.distributed.kinds.KINDS`, or None.
        replicas: parts that a batch is split into. processes: how many there are. number: of this one.
        scope: within it models are made and fitted.
    """

    kind: str | None = None
    replicas: int = 1
    processes: int = 1
    number: int = 0
    scope: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files."""
        return self.number == 0

    @property
    def shard(self) -> tuple[int, int]:
        """(index, count) of this process's part of a training batch."""
        return self.number, self.processes

    def wait(self, name: str) -> None:
        """Go on when all processes have come here."""
        if self.processes > 1:
            from jax.experimental.multihost_utils import sync_global_devices

            sync_global_devices(name)

    def require_plan(self, plan: Plan) -> None:
        """Refuse what the replicas cannot do together.

        Raises:
            UsageError: a batch that is no multiple of them; of mirrored, averages and accumulation.
        """
        size, settings = plan.loaded_batch, plan.settings
        if self.kind == "mirrored" and (settings.average or settings.accumulation > 1):
            raise UsageError(
                "mirrored training neither averages weights nor accumulates gradients: set average to "
                "none and accumulation to 1, or take data-parallel on JAX"
            )
        if size % self.replicas:
            raise UsageError(
                f"a batch of {size} images cannot be shared by {self.replicas} devices: choose another "
                "batch_size"
            )

    def held_out(self, images: int, size: int) -> tuple[int, tuple[int, int]]:
        """Batch size and shard of validation, such that the means stay those of all images.

        Images that the replicas cannot share evenly are shown to each of them, in batches that cannot
        be split: a mean over copies is the same.
        """
        size = min(size, images)
        if (
            self.kind == "mirrored"
        ):  # TensorFlow shares what is left over, once a first batch was even
            return max(size - size % self.replicas, 1), (0, 1)
        if images % self.replicas == 0 and size % self.replicas == 0:
            return size, self.shard
        here = self.replicas // self.processes
        return (size - 1 if here > 1 and size % here == 0 else size), (0, 1)

    def alone(self, model: keras.Model) -> keras.Model:
        """A model that this process can use by itself: its own, where it shares none with others."""
        if self.processes == 1:
            return model
        copy = type(model).from_config(model.get_config())
        copy.set_weights(model.get_weights())
        return copy

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"kind": self.kind, "replicas": self.replicas, "processes": self.processes}


def join(kind: str | None, model_devices: int | None = None) -> Team:
    """The team of this process, when all others have joined it.

    Args:
        kind: as `require_distribution` lets it pass.
        model_devices: devices that share one copy of the model; None is all.

    Raises:
        UsageError: a number of devices that cannot be split so.
        KerasVitError: the other processes were not met.
    """
    if kind is None:
        return Team()
    return _mirrored() if kind == "mirrored" else _of_jax(kind, model_devices)


def _mirrored() -> Team:
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    return Team("mirrored", strategy.num_replicas_in_sync, scope=strategy.scope)


def _of_jax(kind: str, model_devices: int | None) -> Team:
    import os

    import jax

    if in_company(os.environ) and not jax.distributed.is_initialized():
        try:
            keras.distribution.initialize()
        except (RuntimeError, ValueError) as error:
            raise KerasVitError(f"the other processes were not met: {error}") from error
    devices = np.array(keras.distribution.list_devices())
    processes, number = jax.process_count(), jax.process_index()
    if kind == "model-parallel":
        return _model_parallel(devices, model_devices or len(devices), processes)
    distribution = _EvenData(devices=devices.tolist(), auto_shard_dataset=False)
    return Team(kind, len(devices), processes, number, distribution.scope)


def _model_parallel(devices: np.ndarray, model_devices: int, processes: int) -> Team:
    if processes > 1:
        raise UsageError("model-parallel is for the devices of one process; take data-parallel")
    if len(devices) % model_devices:
        raise UsageError(f"{len(devices)} devices cannot be split into {model_devices} each")
    shape = (len(devices) // model_devices, model_devices)
    mesh = keras.distribution.DeviceMesh(shape, (_BATCH_AXIS, AXIS), devices)
    distribution = _EvenModel(layout_map=layout_map(mesh), batch_dim_name=_BATCH_AXIS)
    return Team("model-parallel", shape[0], scope=distribution.scope)


class _EvenData(keras.distribution.DataParallel):
    """Batches that the devices of this process cannot share evenly go whole to each of them."""

    def get_data_layout(self, data_shape: Any) -> Any:
        here = self.num_model_replicas // self.num_processes
        return _layout(self, data_shape, here) or super().get_data_layout(data_shape)


class _EvenModel(keras.distribution.ModelParallel):
    """As `_EvenData`."""

    def get_data_layout(self, data_shape: Any) -> Any:
        return _layout(self, data_shape, self.num_model_replicas) or super().get_data_layout(
            data_shape
        )


def _layout(distribution: Any, data_shape: Any, here: int) -> Any:
    """Of a whole batch on each device; None where it can be split."""
    if data_shape[0] % here == 0:
        return None
    return keras.distribution.TensorLayout([None] * len(data_shape), distribution.device_mesh)
