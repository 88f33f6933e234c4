"""keras_vit's side of `authors_reference.py`: `python authors_compare.py FOLDER` prints JSON."""

import json
import sys
from pathlib import Path

import keras
import numpy as np

import keras_vit

SMALL = {"depth": 2, "num_classes": 5}
CASES = {
    "eva02-clip": ("eva02_base_patch16_clip_224", {}),
    "eva02-pretrained": ("eva02_tiny_patch14_224", {"num_classes": 0}),
    "dinov3": ("vit_small_patch16_dinov3_qkvb", {}),
    "dinov3-gated": ("vit_small_plus_patch16_dinov3_qkvb", {}),
    "perception-encoder": ("vit_pe_core_tiny_patch16_384", {}),
    "perception-encoder-tower": ("vit_pe_spatial_tiny_patch16_512", {"num_classes": 0}),
    "sapiens2": ("vit_base_patch16_sapiens2", {"num_kv_heads": None}),
}


def distance(model: keras.Model, expected: dict, outputs: str = "outputs") -> float:
    found = model.predict_on_batch(expected["images"])
    return float(np.abs(found - expected[outputs]).max() / expected[outputs].std())


def compare(folder: Path, case: str) -> dict:
    expected = np.load(folder / f"{case}.npz")
    name, arguments = CASES[case]
    arguments = {**SMALL, "image_size": expected["images"].shape[1:3], **arguments}
    file = folder / f"{case}.pth"
    model = keras_vit.load(name, weights=file, numerics="timm", **arguments)
    result = {"layout": model.load_report.layout, "timm": distance(model, expected)}
    if "source" in expected:
        model = keras_vit.load(name, weights=file, **arguments)
        result["source"] = distance(model, expected, "source")
        result["between"] = distance(model, expected)
    return result


if __name__ == "__main__":
    print(json.dumps({case: compare(Path(sys.argv[1]), case) for case in CASES}))
