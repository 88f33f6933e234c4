"""ViT and DeiT of transformers: the same outputs from their files, and they take ours."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.parity

TOLERANCE = 2e-5  # of the standard deviation of the outputs
CASES = ("vit", "vit-features", "vit-pooler", "vit-tanh", "deit-distilled")


@pytest.fixture(scope="module")
def folder(run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("huggingface")
    run("huggingface_reference.py", str(folder), "make")
    return folder


@pytest.fixture(scope="module", params=("tensorflow", "jax", "torch"))
def compared(
    run: Callable[..., str], folder: Path, request: pytest.FixtureRequest
) -> dict[str, dict]:
    return json.loads(run("huggingface_compare.py", str(folder), KERAS_BACKEND=request.param))


@pytest.fixture(scope="module")
def checked(run: Callable[..., str], folder: Path) -> dict[str, dict]:
    run("huggingface_compare.py", str(folder), KERAS_BACKEND="tensorflow")
    return json.loads(run("huggingface_reference.py", str(folder), "check"))


@pytest.mark.parametrize("case", CASES)
def test_a_folder_of_the_hub(compared: dict[str, dict], case: str) -> None:
    assert compared[case]["hub"] <= TOLERANCE, compared[case]


@pytest.mark.parametrize("case", CASES)
def test_names_of_version_5(compared: dict[str, dict], case: str) -> None:
    assert compared[case]["memory"] <= TOLERANCE, compared[case]


@pytest.mark.parametrize("case", CASES)
def test_the_epsilon_of_the_folder_is_what_made_them_equal(
    compared: dict[str, dict], case: str
) -> None:
    """With the catalogue's 1e-6 the small embeddings of these files give something else."""
    assert compared[case]["timm"] > 100 * TOLERANCE, compared[case]


@pytest.mark.parametrize("case", CASES)
def test_settings_are_reported(compared: dict[str, dict], case: str) -> None:
    tanh = {"norm_eps": 1e-5, "act": "gelu_tanh"}
    expected = tanh if case == "vit-tanh" else {"norm_eps": 1e-12, "act": "gelu"}
    assert compared[case]["settings"] == expected


@pytest.mark.parametrize("case", CASES)
def test_the_layout_is_recognised(compared: dict[str, dict], case: str) -> None:
    assert compared[case]["layout"] == "huggingface"


@pytest.mark.parametrize("case", CASES)
def test_the_file_comes_back_bit_equal(compared: dict[str, dict], case: str) -> None:
    assert compared[case]["round_trip"]


@pytest.mark.parametrize("case", CASES)
def test_transformers_loads_what_is_written_strictly(checked: dict[str, dict], case: str) -> None:
    assert checked[case]["strict"], checked[case]


@pytest.mark.parametrize("case", CASES)
def test_and_computes_the_same_bits(checked: dict[str, dict], case: str) -> None:
    assert checked[case]["same"], checked[case]
