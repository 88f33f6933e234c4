"""The small models that are explained in these tests, and their images; also a script.

`python explained.py FOLDER` explains FOLDER/NAME.keras on the backend of the environment and writes
FOLDER/found.npz.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import keras_vit
from keras_vit import explain
from keras_vit.models import VisionModel

SMALL: dict[str, dict[str, Any]] = {
    "vit": {"name": "vit_small_patch16_224", "embed_dim": 24, "num_heads": 3, "depth": 2},
    "cvt": {
        "name": "cvt_13_224",
        "depth": (1, 1, 2),
        "embed_dim": (12, 24, 36),
        "num_heads": (1, 2, 3),
    },
    "bit": {"name": "resnetv2_50x1_bit", "layers": [1, 1], "channels": [128, 256, 512, 1024]},
    "hybrid": {
        "name": "vit_small_r26_s32_224",
        "layers": [1, 1],
        "channels": [128, 256, 512, 1024],
        "embed_dim": 24,
        "num_heads": 3,
        "depth": 2,
    },
}
SIZE = (48, 32)


def small(family: str, **arguments: Any) -> VisionModel:
    """With weights large enough that every part shows."""
    common = {"weights": None, "num_classes": 4, "image_size": SIZE}
    model = keras_vit.load(**{**SMALL[family], **common, **arguments})
    rng = np.random.default_rng(1)
    for variable in model.weights:
        noise = rng.normal(0, 0.3, variable.shape)
        variable.assign(1 + np.abs(noise) if "variance" in variable.path else noise)
    return model


def images(count: int = 2, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *size, 3)).astype("float32")


def explained(model: VisionModel, family: str) -> dict[str, np.ndarray]:
    """What depends on the backend, of one model."""
    found = {"cam": explain.grad_cam(model, images(), [1, 2])}
    if family == "vit":
        found["rollout"] = explain.attention_rollout(model, images())
        found["gradient"] = explain.gradient_rollout(model, images(), [1, 2])
    return {f"{family}/{name}": value for name, value in found.items()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found: dict[str, np.ndarray] = {}
    for file in folder.glob("*.keras"):
        found |= explained(keras_vit.load(file), file.stem)
    np.savez(folder / "found.npz", **found)
