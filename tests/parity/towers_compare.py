"""keras_vit's side of the comparison with transformers' towers, on the backend that KERAS_BACKEND names.

`python towers_compare.py FOLDER` loads each case that towers_reference.py made, at two image sizes, writes it
back to FOLDER/CASE-again/ and prints as JSON what was found.
"""

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from huggingface_compare import distance
from safetensors.numpy import load_file

import keras_vit

SMALL = {"patch_size": 8, "embed_dim": 48, "num_heads": 3, "depth": 2, "mlp_ratio": 4.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov2": ("vit_small_patch14_dinov2.lvd142m", {}),
    "dinov2-registers": ("vit_small_patch14_reg4_dinov2.lvd142m", {"reg_tokens": 3}),
    "dinov2-gated": ("vit_giant_patch14_dinov2.lvd142m", {"mlp_ratio": 128 / 48}),
    "dinov3": ("vit_small_patch16_dinov3_qkvb", {"global_pool": "token"}),
    "dinov3-gated": ("vit_small_plus_patch16_dinov3_qkvb", {"global_pool": "token"}),
    "clip": ("vit_base_patch32_clip_224.openai", {"num_classes": 0}),
    "clip-projected": ("vit_base_patch32_clip_224.openai", {"num_classes": 20}),
    "clip-whole": ("vit_base_patch32_clip_224.openai", {"num_classes": 20}),
    "siglip": ("vit_base_patch16_siglip_224.webli", {}),
    "siglip-whole": ("vit_base_patch16_siglip_224.webli", {}),
    "mae": ("vit_base_patch16_224.mae", {}),
}


def load(case: str, weights: Path, side: int, **more: Any) -> keras.Model:
    """The catalogue's grid is not these files', which are square."""
    name, arguments = CASES[case]
    return keras_vit.load(
        name, weights=weights, **{**SMALL, **arguments, **more, "image_size": side}
    )


def compare(folder: Path, case: str) -> dict[str, Any]:
    expected = np.load(folder / f"{case}.npz")

    def off(side: int, model: keras.Model) -> float:
        return distance(
            model.predict_on_batch(expected[f"images{side}"]), expected[f"outputs{side}"]
        )

    model = load(case, folder / case, 32)
    settings = dict(model.load_report.settings)
    memory = load(case, folder / f"{case}-v5.safetensors", 32, **settings)
    (folder / f"{case}-again").mkdir(exist_ok=True)
    file = folder / f"{case}-again" / "model.safetensors"
    keras_vit.save_weights(model, file, "huggingface", overwrite=True)
    before, after = load_file(folder / case / "model.safetensors"), load_file(file)
    return {
        "hub": off(32, model),
        "resized": off(48, load(case, folder / case, 48)),
        "memory": off(32, memory),
        "layout": model.load_report.layout,
        "numerics": model.load_report.numerics,
        "changed": [
            key
            for key, array in after.items()
            if before.get(key, before.get(key.removeprefix("vision_model."))).tobytes()
            != array.tobytes()
        ],
    }


if __name__ == "__main__":
    print(json.dumps({case: compare(Path(sys.argv[1]), case) for case in CASES}))
