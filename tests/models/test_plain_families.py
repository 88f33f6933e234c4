"""One small model of each family of plain ViTs, from a file to a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whole_road import tuned_saved_exported, with_noise

import keras_vit
from keras_vit.models import VisionModel
from keras_vit.training.groups import decays, layer_positions

TINY = {"embed_dim": 48, "num_heads": 3, "depth": 2, "patch_size": 8, "num_classes": 4}
NAMES = {
    "dinov2": "vit_giant_patch14_reg4_dinov2.lvd142m",
    "dino": "vit_small_patch16_224.dino",
    "mae": "vit_base_patch16_224.mae",
    "clip": "vit_base_patch32_clip_quickgelu_224.openai",
    "siglip": "vit_so400m_patch16_siglip_256.v2_webli",
    "flexivit": "flexivit_small.1200ep_in1k",
    "ijepa": "vit_huge_patch14_gap_224.in1k_ijepa",
    "tips": "vit_base_patch14_reg1_tipsv2.webli",
    "radio": "vit_base_patch16_radio_v3.c_radio",
    "vit_timm": "test_vit3.r160_in1k",
    "mobileclip": "vit_base_mci_224.apple_mclip",
}
IMAGES = np.random.default_rng(0).normal(size=(4, 48, 32, 3)).astype("float32")


def tiny(family: str) -> dict[str, Any]:
    return {**TINY, "patch_size": 16} if family == "mobileclip" else TINY


def small(family: str) -> VisionModel:
    return with_noise(keras_vit.load(NAMES[family], weights=None, image_size=32, **tiny(family)))


def test_attention_pooling_belongs_to_the_head() -> None:
    model = small("siglip")
    positions = layer_positions(model)
    assert (positions["blocks_1"], positions["norm"]) == (2, 2)
    assert (positions["attn_pool"], positions["head"]) == (3, 3)
    undecayed = {v.path.split("/")[-1] for v in model.trainable_variables if not decays(v)}
    assert undecayed == {"bias", "gamma", "beta", "pos_embed", "latent"}


@pytest.mark.slow
@pytest.mark.in_turn(6)
@pytest.mark.parametrize("family", NAMES)
def test_from_a_file_to_three_formats(family: str, tmp_path: Path) -> None:
    """Loaded at another size, fine-tuned one step, saved, reloaded, exported; each file verified."""
    file = keras_vit.save_weights(small(family), tmp_path / "small.safetensors")
    model = keras_vit.load(NAMES[family], weights=file, image_size=(48, 32), **tiny(family))
    assert [row[0] for row in model.load_report.resized] == ["pos_embed"]
    tuned_saved_exported(model, IMAGES, tmp_path)
