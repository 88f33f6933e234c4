"""Writes tests/golden/models/VERSION/*.keras: a tiny model of every kind, as this version saves it.

Later versions are held to reading them (tests/test_golden_models.py), so a version writes them once.
Usage: python tools/write_golden_models.py
"""

import json
from pathlib import Path
from typing import Any

import keras

import keras_vit
from keras_vit.golden import seeded_images, seeded_tensor, summary

FOLDER = Path(__file__).parent.parent / "tests" / "golden" / "models"
VIT = {"patch_size": 8, "depth": 1, "embed_dim": 8, "num_heads": 2}
RESNET = {"layers": (1, 1), "channels": (128, 128), "stem_chs": 32}
CVT = {
    "embed_dim": (8, 16),
    "depth": (1, 1),
    "num_heads": (1, 2),
    "embed_kernel": (7, 3),
    "embed_stride": (4, 2),
    "embed_padding": (2, 1),
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", VIT),
    "deit_distilled": ("deit_tiny_distilled_patch16_224", VIT),
    "deit3": ("deit3_small_patch16_224", VIT),
    "cvt": ("cvt_13_224", CVT),
    "bit": ("resnetv2_50x1_bit", {"layers": (1,), "channels": (128,), "stem_chs": 32}),
    "hybrid": ("vit_small_r26_s32_224", {**VIT, **RESNET, "patch_size": 1}),
    "dinov2_registers": ("vit_small_patch14_reg4_dinov2", VIT),
    "clip": ("vit_base_patch16_clip_224.openai", VIT),
    "siglip": ("vit_base_patch16_siglip_224", VIT),
    "eva02": ("eva02_tiny_patch14_224", VIT),
    "dinov3": ("vit_small_patch16_dinov3", VIT),
}


def model(name: str, arguments: dict[str, Any]) -> keras.Model:
    """A model of weights that are drawn from their paths."""
    built = keras_vit.load(name, weights=None, image_size=32, labels=["a", "b", "c"], **arguments)
    for variable in built.weights:
        variable.assign(seeded_tensor(variable.path, tuple(variable.shape)))
    return built


def main() -> None:
    folder = FOLDER / keras_vit.__version__
    folder.mkdir(parents=True)
    outputs = {}
    for kind, (name, arguments) in MODELS.items():
        built = model(name, arguments)
        built.save(folder / f"{kind}.keras")
        outputs[kind] = summary(built.predict_on_batch(seeded_images(1, 32, 32)))
    text = json.dumps(outputs, indent=1)
    (folder / "outputs.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
