"""A model of every family, in every format, from every backend: the files give the model's logits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from exactness import BATCHES, FILES, MODELS

TOLERANCE = 1e-5  # of the standard deviation of the logits

pytestmark = pytest.mark.slow


@pytest.fixture(
    scope="module", params=["tensorflow", "jax", pytest.param("torch", marks=pytest.mark.parity)]
)
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, dict[str, float]]]:
    """Family -> format -> batch size -> largest difference."""
    script = Path(__file__).parent / "exactness.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path_factory.mktemp("exactness")],
        env={**os.environ, "KERAS_BACKEND": request.param},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("format", FILES)
@pytest.mark.parametrize("family", MODELS)
def test_logits_are_the_models(
    found: dict[str, dict[str, dict[str, float]]], family: str, format: str
) -> None:
    differences = found[family][format]
    assert list(differences) == [str(size) for size in BATCHES]
    assert max(differences.values()) <= TOLERANCE, differences
