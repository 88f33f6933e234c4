"""Models with rotary positions, written directly."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from onnx_cases import EVA, difference, images_for, load, operators, written

import keras_vit

TOLERANCE = 1e-5  # of the output's standard deviation
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "interleaved, separate, sub-LN": ("eva02_base_patch16_clip_224", {}),
    "learned": ("vit_small_patch16_rope_mixed_ape_224", {}),
    "in halves, gated": ("vit_small_plus_patch16_dinov3_qkvb", {}),
    "keys in groups": (
        "vit_base_patch16_sapiens2",
        {"num_heads": 4, "num_kv_heads": 2, "grouped_blocks": (0, 1)},
    ),
    "norms behind": ("eva02_enormous_patch14_clip_224", {"init_values": 0.5}),
    "norms of interleaved": (
        "vit_small_patch16_rope_224",
        {"qk_norm": True, "image_size": (32, 48)},
    ),
}


def small(case: str, **more: Any) -> keras.Model:
    name, arguments = CASES[case]
    return load(name, **{**EVA, **arguments, **more})


@pytest.mark.parametrize("case", CASES)
def test_is_what_the_model_gives(case: str, tmp_path: Path) -> None:
    assert difference(small(case), tmp_path) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("case", ["interleaved, separate, sub-LN", "learned", "in halves, gated"])
def test_of_any_size(case: str, tmp_path: Path) -> None:
    """The angles are made when the file runs."""
    model = small(case, dynamic_image_size=True)
    images = np.random.default_rng(0).normal(size=(2, 40, 56, 3)).astype("float32")
    assert difference(model, tmp_path, images) <= TOLERANCE


@pytest.mark.slow
def test_attention_as_an_operator(tmp_path: Path) -> None:
    model = small("keys in groups")
    proto, _ = written(model, tmp_path, images_for(model), opset=23, attention="operator")
    assert operators(proto)["Attention"] == 2
    assert difference(model, tmp_path, opset=23, attention="operator") <= TOLERANCE


@pytest.mark.slow
def test_attention_maps_beside(tmp_path: Path) -> None:
    model = keras_vit.attention_scores(small("interleaved, separate, sub-LN"))
    assert difference(model, tmp_path) <= TOLERANCE


def test_angles_of_one_size_are_weights(tmp_path: Path) -> None:
    """Nothing is left of how they were made."""
    model = small("interleaved, separate, sub-LN")
    proto, _ = written(model, tmp_path, images_for(model))
    assert not {"Cos", "Sin", "Range"} & set(operators(proto))
