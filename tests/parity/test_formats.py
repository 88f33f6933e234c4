"""The authors' own files: DINO, DINOv2, TIPS, MAE, I-JEPA, CLIP, open_clip and big_vision.

They are made of timm's models by the authors' names, and timm reads most of them as well.
"""

import json
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.parity

TOLERANCE = 2e-5  # of the standard deviation of the outputs
# The layout that is recognised, and whose arithmetic it means where the caller does not say.
CASES = {
    "openai": ("official", "source"),
    "dinov2": ("official", "source"),
    "dinov2-registers": ("official", "source"),
    "dinov2-gated": ("official", "source"),
    "tips": ("official", "timm"),
    "dino": ("timm", "timm"),
    "mae": ("timm", "timm"),
    "ijepa": ("timm", "timm"),
    "open_clip": ("timm", "timm"),
    "flexivit": ("npz", "source"),
    "siglip": ("npz", "source"),
    "siglip-scanned": ("npz", "source"),
    "siglip-gap": ("npz", "source"),
}
# What is written as it was read. Prefixes and stacks are not written again, nor what only training needs.
_REGISTERS = {"mask_token", "cls_token", "pos_embed"}
CHANGED = {
    "openai": set(),
    "dinov2": {"mask_token"},
    "dinov2-registers": _REGISTERS,
    "dinov2-gated": _REGISTERS,
    "mae": set(),
    "ijepa": set(),
    "flexivit": set(),
    "siglip": set(),
}


@pytest.fixture(scope="module")
def compared(run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("formats")
    run("formats_reference.py", str(folder))
    return json.loads(run("formats_compare.py", str(folder), KERAS_BACKEND="tensorflow"))


@pytest.mark.parametrize("case", CASES)
def test_the_file_computes_what_timm_does(compared: dict[str, dict], case: str) -> None:
    assert compared[case]["distance"] <= TOLERANCE, compared[case]


@pytest.mark.parametrize("case", CASES)
def test_the_layout_is_recognised(compared: dict[str, dict], case: str) -> None:
    assert (compared[case]["layout"], compared[case]["default"]) == CASES[case]


@pytest.mark.parametrize("case", CHANGED)
def test_the_file_comes_back_bit_equal(compared: dict[str, dict], case: str) -> None:
    assert set(compared[case]["changed"]) == CHANGED[case]
