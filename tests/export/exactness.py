"""Exports a small model of every family in every format and prints, as JSON, how far the files are off.

`python exactness.py FOLDER`, in a process of its own: KERAS_BACKEND chooses the backend.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from onnx_cases import CVT, VIT, load

from keras_vit.export import export_model, open_artifact
from keras_vit.export.images import feed, structured_images
from keras_vit.export.reference import answers

BATCHES = (1, 2, 3, 8)
FILES = {"savedmodel": "model", "tflite": "model.tflite", "onnx": "model.onnx"}
CONVOLUTIONS = {"channels": [128, 256, 512, 1024], "num_classes": 7}
MODELS: dict[str, dict[str, Any]] = {
    "vit": {"name": "vit_tiny_patch16_224", **VIT},
    "deit": {"name": "deit_tiny_distilled_patch16_224", **VIT},
    "hybrid": {
        "name": "vit_small_r26_s32_224",
        "image_size": 64,
        "layers": [1],
        "embed_dim": 48,
        "num_heads": 3,
        "depth": 1,
        **CONVOLUTIONS,
    },
    "bit": {"name": "resnetv2_50x1_bit", "image_size": 33, "layers": [1, 1], **CONVOLUTIONS},
    "cvt": {"name": "cvt_13_224", **CVT},
}


def distances(family: str, folder: Path) -> dict[str, dict[str, float]]:
    """By format and batch size the largest difference over the standard deviation of the logits."""
    model = load(**MODELS[family])
    raw = structured_images(*model.inputs[0].shape[1:])
    images = feed(raw, "float32", "none", model.config.preprocessing)
    expected = answers(model, ["logits"], images)["logits"]
    found = {}
    for format, name in FILES.items():
        path = folder / family / name
        path.parent.mkdir(exist_ok=True)
        export_model(model, path, batch="dynamic", preprocessing="normalize", verify=False)
        artifact = open_artifact(path)
        found[format] = {
            str(size): distance(artifact.run_batch(raw[:size])["logits"], expected[:size], expected)
            for size in BATCHES
        }
    return found


def distance(have: np.ndarray, want: np.ndarray, every: np.ndarray) -> float:
    """Infinite where the top-1 differs although the margin is wider than twice the difference allowed."""
    first, second = np.sort(want, axis=1)[:, :-3:-1].T
    decided = first - second > 2e-5 * every.std()
    if (have.argmax(axis=1) != want.argmax(axis=1))[decided].any():
        return float("inf")
    return float(np.abs(have - want).max() / every.std())


if __name__ == "__main__":
    print(json.dumps({family: distances(family, Path(sys.argv[1])) for family in MODELS}))
