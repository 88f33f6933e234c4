"""A small run, on one device or on several, that prints its losses.

Usage: python distributed_run.py SETTINGS, where SETTINGS is JSON:
    devices: virtual devices of this process;
    output: the run folder; weights: an .npz file for the final weights;
    model: its name; kill_at: the step at which this process kills itself;
    settings: the optimizer and what belongs to it;
    train: further arguments of `keras_vit.train`.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

os.environ["XLA_FLAGS"] = (
    f"--xla_force_host_platform_device_count={json.loads(sys.argv[1])['devices']}"
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_vit
from keras_vit.data import load

SETTINGS: dict[str, Any] = json.loads(sys.argv[1])
# Not Adam, whose first steps make a last bit of a small gradient a whole step.
MOMENTUM = {"optimizer": "sgd", "momentum": 0.9}


class Losses(keras.callbacks.Callback):
    """The loss of every step, as `fit` reports its running mean."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[float] = []
        self.split = 0  # weights that no device has whole

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.found.append(float((logs or {})["loss"]))
        print("step", len(self.found), flush=True)
        if len(self.found) == SETTINGS.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        if keras.backend.backend() == "jax":
            weights = [weight.value for weight in self.model.weights]
            self.split = sum(not weight.sharding.is_fully_replicated for weight in weights)


def main() -> None:
    if keras.backend.backend() == "tensorflow" and SETTINGS["devices"] > 1:
        import tensorflow as tf

        parts = [tf.config.LogicalDeviceConfiguration()] * SETTINGS["devices"]
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    losses = Losses()
    data = load("digits").take(np.arange(230))
    report = keras_vit.train(
        SETTINGS.get("model", "vit_tiny_patch16_224"),
        data,
        SETTINGS["output"],
        weights=None,
        image_size=16,
        overrides={"depth": 2, "embed_dim": 48, "num_heads": 2, "patch_size": 4},
        epochs=2,
        batch_size=20,
        learning_rate=2e-3,
        settings={**SETTINGS.get("settings", MOMENTUM), "clip_norm": 0.5},
        validation=data.take(np.arange(41)),  # which no two devices can share
        checkpoint_steps=3,
        callbacks=[losses],
        **SETTINGS.get("train", {}),
    )
    if SETTINGS.get("weights") and os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", "0") == "0":
        weights = keras_vit.load(f"{SETTINGS['output']}/model.keras").get_weights()
        np.savez(SETTINGS["weights"], *weights)
    rows = [(e.loss, e.val_loss, e.val_accuracy) for e in report.epochs]
    result = {"losses": losses.found, "epochs": rows, "split": losses.split}
    print("result", json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
