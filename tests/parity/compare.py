"""Loads what reference.py wrote into keras_vit and prints, as JSON, how far the outputs are.

`python compare.py FOLDER REQUESTS`, in a process of its own: KERAS_BACKEND chooses the backend, and timm
is not there. Differences are the largest one over the standard deviation of the reference.
"""

import json
import math
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from safetensors.numpy import load_file

import keras_vit

NAMES = {"img_size": "image_size"}


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / theirs.std())


def compare(folder: Path, request: dict) -> dict:
    """Loads one reference; the blocks are compared only when the logits are off."""
    expected = np.load(folder / f"{request['id']}.npz")
    arguments = request["arguments"] | request.get("ours", {}) | request["adapt"]
    if request["size"]:  # a model that takes images of any size in timm
        arguments["image_size"] = request["size"]
    file = folder / f"{request['id']}.safetensors"
    model = keras_vit.load(request["name"], weights=file, **arguments)
    logits, features = answers(model, expected["images"])
    result = {
        "logits": distance(logits, expected["logits"]),
        "features": distance(features, expected["features"]),
        "resized": [row[0] for row in model.load_report.resized],
        "round_trip": bool(request["adapt"]) or writes_back(model, file),
    }
    if max(result["logits"], result["features"]) > 2e-5:
        names = [layer.name for layer in model.layers if layer.name in expected]
        outputs = [model.get_layer(name).output for name in names]
        found = keras.Model(model.input, outputs).predict_on_batch(expected["images"])
        result["blocks"] = {
            name: distance(ours[:1], expected[name])
            for name, ours in zip(names, found, strict=True)
        }
    return result


def writes_back(model: keras.Model, file: Path) -> bool:
    """Whether the model's weights are, under timm's names, bit for bit the file that was loaded."""
    with tempfile.TemporaryDirectory() as folder:
        again = load_file(keras_vit.save_weights(model, Path(folder) / "again.safetensors"))
    before = load_file(file)
    return before.keys() == again.keys() and all(
        before[name].shape == again[name].shape and before[name].tobytes() == again[name].tobytes()
        for name in before
    )


def answers(model: keras.Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logits, and what goes into the classifier; of a distilled model, the mean for its two.

    In one graph, since tracing and compiling it is what takes the time.
    """
    heads = [layer for layer in model.layers if layer.name.startswith("head")]
    features = [head.input for head in heads] or [
        model.output
    ]  # without a classifier they are equal
    both = keras.Model(model.input, {"logits": model.output, "features": features})
    found = both.predict_on_batch(images)
    return found["logits"], np.mean(found["features"], axis=0)


def attempt(folder: Path, request: dict) -> dict:
    """One request that cannot be loaded must not hide the others."""
    try:
        return compare(folder, request)
    except Exception as error:
        return {"logits": math.inf, "features": math.inf, "error": repr(error), "resized": []}


if __name__ == "__main__":
    requests = json.loads(sys.argv[2])
    print(json.dumps({r["id"]: attempt(Path(sys.argv[1]), r) for r in requests}))
