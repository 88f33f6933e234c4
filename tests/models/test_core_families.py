"""One small model of ViT, DeiT, DeiT-III, the hybrids, BiT and CvT, from a file to a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whole_road import tuned_saved_exported, with_noise

import keras_vit
from keras_vit.models import VisionModel

VIT = {"embed_dim": 48, "num_heads": 3, "depth": 2, "patch_size": 8}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", VIT),
    "deit": ("deit_tiny_distilled_patch16_224", VIT),
    "deit3": ("deit3_small_patch16_224", VIT),
    "hybrid": ("vit_tiny_r_s16_p8_224", {**VIT, "patch_size": 2, "stem_chs": 32}),
    "bit": ("resnetv2_50x1_bit", {"layers": (1, 1), "channels": (128, 256), "stem_chs": 32}),
    "cvt": ("cvt_13_224", {"embed_dim": (8, 16, 32), "depth": (1, 1, 2), "num_heads": (1, 2, 4)}),
}
# Of the last block the class token alone is looked at, and its query passes the convolution by.
STILL = {
    "cvt": [
        f"stages_2_blocks_1/attn/conv_proj_q/{x}" for x in ("conv/kernel", "bn/gamma", "bn/beta")
    ]
}
IMAGES = np.random.default_rng(0).normal(size=(4, 64, 48, 3)).astype("float32")


def loaded(family: str, weights: Path | None, **arguments: Any) -> VisionModel:
    name, small = SMALL[family]
    return keras_vit.load(name, weights=weights, num_classes=4, **small, **arguments)


@pytest.mark.slow
@pytest.mark.in_turn(3)
@pytest.mark.parametrize("family", SMALL)
def test_from_a_file_to_three_formats(family: str, tmp_path: Path) -> None:
    """Loaded at another size, fine-tuned one step, saved, reloaded, exported; each file verified."""
    model = with_noise(loaded(family, None, image_size=48))
    file = keras_vit.save_weights(model, tmp_path / "small.safetensors")
    model = loaded(family, file, image_size=(64, 48))
    resized = [row[0] for row in model.load_report.resized]
    assert resized == ["pos_embed"] * any(layer.name == "embedding" for layer in model.layers)
    tuned_saved_exported(model, IMAGES, tmp_path, STILL.get(family, []))
