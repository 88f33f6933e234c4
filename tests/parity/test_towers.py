"""DINOv2, DINOv3, CLIP, SigLIP and MAE of transformers: the same outputs, and it takes our files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.parity

TOLERANCE = 2e-5  # of the standard deviation of the outputs
CASES = (
    *("dinov2", "dinov2-registers", "dinov2-gated", "dinov3", "dinov3-gated"),
    *("clip", "clip-projected", "clip-whole", "siglip", "siglip-whole", "mae"),
)
# Tokens that only training needs, and with registers the class token, which has its position added.
CHANGED = {
    "dinov2": {"embeddings.mask_token"},
    "dinov2-gated": {"embeddings.mask_token"},
    "dinov3": {"embeddings.mask_token"},
    "dinov3-gated": {"embeddings.mask_token"},
    "dinov2-registers": {
        "embeddings.mask_token",
        "embeddings.cls_token",
        "embeddings.position_embeddings",
    },
}


@pytest.fixture(scope="module")
def folder(run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("towers")
    run("towers_reference.py", str(folder), "make")
    return folder


@pytest.fixture(scope="module")
def compared(run: Callable[..., str], folder: Path) -> dict[str, dict]:
    return json.loads(run("towers_compare.py", str(folder), KERAS_BACKEND="tensorflow"))


@pytest.fixture(scope="module")
def checked(run: Callable[..., str], folder: Path, compared: dict[str, dict]) -> dict[str, dict]:
    return json.loads(run("towers_reference.py", str(folder), "check"))


@pytest.mark.parametrize("case", CASES)
def test_a_folder_of_the_hub(compared: dict[str, dict], case: str) -> None:
    assert compared[case]["hub"] <= TOLERANCE, compared[case]
    assert compared[case]["layout"] == "huggingface"


@pytest.mark.parametrize("case", CASES)
def test_at_another_size(compared: dict[str, dict], case: str) -> None:
    """Positions are resized as transformers does it."""
    assert compared[case]["resized"] <= TOLERANCE, compared[case]


@pytest.mark.parametrize("case", CASES)
def test_names_of_version_5(compared: dict[str, dict], case: str) -> None:
    assert compared[case]["memory"] <= TOLERANCE, compared[case]


@pytest.mark.parametrize("case", CASES)
def test_the_file_comes_back_bit_equal(compared: dict[str, dict], case: str) -> None:
    assert set(compared[case]["changed"]) == CHANGED.get(case, set())


@pytest.mark.parametrize("case", CASES)
def test_transformers_takes_what_is_written(checked: dict[str, dict], case: str) -> None:
    assert checked[case]["strict"], checked[case]
    assert checked[case]["distance"] <= TOLERANCE, checked[case]
