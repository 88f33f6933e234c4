"""The authors' own code, run once on weights that are drawn from their names: `tests/golden/*.json`.

A file says which code gave its outputs and how; the weights are drawn again by `keras_vit.golden`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_vit
from keras_vit.golden import seeded_images, seeded_tensors
from keras_vit.weights.files import write_safetensors

FILES = sorted((Path(__file__).parent / "golden").glob("*.json"))


@pytest.fixture(params=FILES, ids=[path.stem for path in FILES])
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(request.param.read_text(encoding="utf-8"))


def written(golden: dict[str, Any], folder: Path) -> Path:
    """The seeded tensors as a checkpoint of the authors' format."""
    tensors = seeded_tensors(golden["tensors"])
    if golden["layout"] == "npz":
        np.savez(folder / "golden.npz", **tensors)
        return folder / "golden.npz"
    write_safetensors(folder / "golden.safetensors", tensors)
    return folder / "golden.safetensors"


def distance(golden: dict[str, Any], weights: Path, numerics: str) -> float:
    """The largest difference over the standard deviation of the authors' outputs."""
    model = keras_vit.load(
        golden["name"], weights=weights, numerics=numerics, **golden["arguments"]
    )
    assert model.load_report.layout == golden["layout"]
    ours = model.predict_on_batch(seeded_images(*golden["images"]))
    theirs = np.array(golden["outputs"])
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / theirs.std())


def test_equals_the_authors_code(golden: dict[str, Any], tmp_path: Path) -> None:
    """To 1e-5, or three times what separates their float32 run from their float64 run."""
    tolerance = max(1e-5, 3 * golden["float64_distance"])
    assert distance(golden, written(golden, tmp_path), golden["numerics"]) <= tolerance


@pytest.mark.parametrize(
    "stem", ["vit_small_patch16_npz", "hybrid_r26_s32_npz", "hybrid_r_ti_s16_npz", "bit_r50x1_npz"]
)
def test_timms_arithmetic_is_another(stem: str, tmp_path: Path) -> None:
    """That the comparison above would notice an epsilon, a form of GELU or of the standardisation."""
    path = Path(__file__).parent / "golden" / f"{stem}.json"
    golden = json.loads(path.read_text(encoding="utf-8"))
    assert distance(golden, written(golden, tmp_path), "timm") > 5e-5


def test_the_seeded_tensors_are_drawn_by_name_alone() -> None:
    one, other = (seeded_tensors({name: (3, 4)})[name] for name in ("a.weight", "b.weight"))
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(seeded_tensors({"a.weight": (3, 4)})["a.weight"], one)
