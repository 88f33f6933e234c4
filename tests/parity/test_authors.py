"""Files as EVA-02, DINOv3, the Perception Encoder and Sapiens2 publish them."""

import json
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.parity

TOLERANCE = 2e-5  # of the standard deviation of the outputs
AUTHORS = (
    "eva02-clip",
    "eva02-pretrained",
    "dinov3",
    "dinov3-gated",
    "perception-encoder",
    "perception-encoder-tower",
    "sapiens2",
)


@pytest.fixture(scope="module")
def found(run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    folder = str(tmp_path_factory.mktemp("authors"))
    run("authors_reference.py", folder)
    return json.loads(run("authors_compare.py", folder, KERAS_BACKEND="tensorflow"))


@pytest.mark.parametrize("case", AUTHORS)
def test_what_timm_makes_of_the_authors_file(found: dict[str, dict], case: str) -> None:
    assert found[case]["timm"] <= TOLERANCE, found[case]


@pytest.mark.parametrize("case", AUTHORS)
def test_the_layout_is_recognised(found: dict[str, dict], case: str) -> None:
    others = {"eva02-pretrained": "pretraining", "perception-encoder-tower": "official_tower"}
    assert found[case]["layout"] == others.get(case, "official")


@pytest.mark.parametrize("case", ["dinov3", "dinov3-gated"])
def test_the_authors_file_means_their_rounded_periods(found: dict[str, dict], case: str) -> None:
    assert found[case]["source"] <= TOLERANCE, found[case]
    assert found[case]["between"] > 10 * TOLERANCE, found[case]
