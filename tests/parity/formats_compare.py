"""keras_vit's side of the comparison with the authors' files.

`python formats_compare.py FOLDER` loads each case that formats_reference.py made, writes it back under the
same names, and prints as JSON what was found.
"""

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from huggingface_compare import distance

import keras_vit
from keras_vit.weights.files import open_checkpoint

SMALL = {"image_size": 32, "patch_size": 8, "embed_dim": 48, "num_heads": 3, "depth": 2}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("vit_base_patch32_clip_quickgelu_224.openai", {"num_classes": 20}),
    "dinov2": ("vit_small_patch14_dinov2.lvd142m", {}),
    "dinov2-registers": ("vit_small_patch14_reg4_dinov2.lvd142m", {}),
    "dinov2-gated": ("vit_giant_patch14_reg4_dinov2.lvd142m", {"mlp_ratio": 128 / 48}),
    "tips": ("vit_base_patch14_reg1_tipsv2.webli", {}),
    "dino": ("vit_small_patch16_224.dino", {"checkpoint_key": "teacher"}),
    "mae": ("vit_base_patch16_224.mae", {}),
    "ijepa": ("vit_huge_patch14_gap_224.in1k_ijepa", {"checkpoint_key": "target_encoder"}),
    "open_clip": ("vit_base_patch16_siglip_224.webli", {}),
    "flexivit": ("flexivit_small.1200ep_in1k", {"num_classes": 7}),
    "siglip": ("vit_base_patch16_siglip_256.webli", {}),
    "siglip-scanned": ("vit_base_patch16_siglip_256.v2_webli", {}),
    "siglip-gap": ("vit_base_patch16_siglip_gap_256.v2_webli", {}),
}


def load(case: str, weights: Path, **more: Any) -> keras.Model:
    name, arguments = CASES[case]
    return keras_vit.load(name, weights=weights, **{**SMALL, **arguments, **more})


def compare(folder: Path, case: str) -> dict[str, Any]:
    expected = np.load(folder / f"{case}.outputs.npz")
    files = (folder / f"{case}{suffix}" for suffix in (".pth", ".npz"))
    file = next(path for path in files if path.exists())
    model = load(case, file, numerics="timm")
    layout = model.load_report.layout
    again = folder / f"{case}.again{'.npz' if layout == 'npz' else '.safetensors'}"
    keras_vit.save_weights(model, again, layout, overwrite=True)
    key = CASES[case][1].get("checkpoint_key")
    with open_checkpoint(file, key=key) as before, open_checkpoint(again) as after:
        changed = [
            name
            for name in after
            if name not in before or before.read(name).tobytes() != after.read(name).tobytes()
        ]
    return {
        "distance": distance(model.predict_on_batch(expected["images"]), expected["outputs"]),
        "layout": layout,
        "default": load(case, file).load_report.numerics,
        "changed": changed,
    }


if __name__ == "__main__":
    print(json.dumps({case: compare(Path(sys.argv[1]), case) for case in CASES}))
