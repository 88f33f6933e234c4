"""A small run with everything random on, in a process of its own, that prints its steps and is killed.

Usage: python killed_run.py FOLDER SETTINGS, where SETTINGS is JSON:
    digests: a file for {step: digest of weights, optimizer, averages and seeds};
    kill_at_flush: SIGKILL instead of the n-th flush of a file to the disk: a checkpoint, the log or
        the description is written then, and not yet under its name, or just renamed;
    train: further arguments of `keras_vit.train`.
"""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_vit
from keras_vit.data import load
from keras_vit.training.checkpoints import values, variables_of

ARGUMENTS: dict[str, Any] = {
    "weights": None,
    "image_size": 16,
    "overrides": {
        "depth": 2,
        "embed_dim": 48,
        "num_heads": 2,
        "patch_size": 4,
        "drop_rate": 0.1,
        "drop_path_rate": 0.2,
    },
    "recipe": "finetune",
    "settings": {"average": 0.9, "mixup": 0.2, "cutmix": 0.5, "layer_decay": 0.8},
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "fraction": 0.25,
    "checkpoint_steps": 3,
    "deterministic": True,
    "resume": True,
}


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Of weights, seeds and optimizer, bit for bit."""
    state = hashlib.sha256()
    for name in sorted(arrays):
        if name.startswith(("model.", "optimizer.")):
            state.update(name.encode())
            state.update(np.ascontiguousarray(arrays[name]).tobytes())
    return state.hexdigest()


class Digests(keras.callbacks.Callback):
    """The state after every step."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file, self.found = file, {}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.found[len(self.found) + 1] = digest(values(variables_of(self.model)))

    def on_train_end(self, logs: Any = None) -> None:
        self.file.write_text(json.dumps(self.found))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_flush(count: int) -> None:
    flush, seen = os.fsync, 0

    def counted(descriptor: int) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            die()
        flush(descriptor)

    os.fsync = counted


def main(folder: str, settings: Mapping[str, Any]) -> None:
    if settings.get("kill_at_flush"):
        kill_at_flush(settings["kill_at_flush"])

    def on_step(done: int, total: int) -> None:
        print("step", done, flush=True)

    file = settings.get("digests")
    keras_vit.train(
        "vit_tiny_patch16_224",
        load("digits").take(np.arange(200)),
        folder,
        on_step=on_step,
        callbacks=[Digests(Path(file))] if file else [],
        **{**ARGUMENTS, **settings.get("train", {})},
    )


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
