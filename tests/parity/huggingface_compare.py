"""keras_vit's side of the comparison with transformers, on the backend that KERAS_BACKEND names.

`python huggingface_compare.py FOLDER` loads each case that huggingface_reference.py made, writes it
back to FOLDER/CASE-again/ and prints as JSON what was found.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from safetensors.numpy import load_file

import keras_vit

SMALL = {"image_size": 32, "patch_size": 8, "embed_dim": 48, "num_heads": 3, "depth": 2}
CASES = {
    "vit": ("vit_tiny_patch16_224", {"num_classes": 5}),
    "vit-features": ("vit_tiny_patch16_224", {"num_classes": 0}),
    "vit-pooler": ("vit_tiny_patch16_224", {"num_classes": 0, "representation_size": 40}),
    "vit-tanh": ("vit_tiny_patch16_224", {"num_classes": 5, "qkv_bias": False}),
    "deit-distilled": ("deit_tiny_distilled_patch16_224", {"num_classes": 5}),
}


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.std(theirs))


def compare(folder: Path, case: str) -> dict:
    name, arguments = CASES[case]
    expected = np.load(folder / f"{case}.npz")

    def outputs(weights: Path, **more: object) -> tuple[keras.Model, float]:
        model = keras_vit.load(name, weights=weights, **SMALL, **arguments, **more)
        found = model.predict_on_batch(expected["images"])
        return model, distance(found, expected["outputs"])

    hub, hub_distance = outputs(folder / case)
    settings = dict(hub.load_report.settings)
    _, memory_distance = outputs(folder / f"{case}-v5.safetensors", **settings)
    _, timm_distance = outputs(folder / case, numerics="timm")
    (folder / f"{case}-again").mkdir(exist_ok=True)
    file = folder / f"{case}-again" / "model.safetensors"
    keras_vit.save_weights(hub, file, "huggingface", overwrite=True)
    before, after = load_file(folder / case / "model.safetensors"), load_file(file)
    return {
        "hub": hub_distance,
        "memory": memory_distance,
        "timm": timm_distance,
        "layout": hub.load_report.layout,
        "settings": settings,
        "round_trip": before.keys() == after.keys()
        and all(before[key].tobytes() == after[key].tobytes() for key in before),
    }


if __name__ == "__main__":
    print(json.dumps({case: compare(Path(sys.argv[1]), case) for case in CASES}))
