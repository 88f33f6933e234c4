"""JAX and PyTorch, and their gradients, give the arrays that TensorFlow gives."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explained import explained

BACKENDS = ["jax", pytest.param("torch", marks=pytest.mark.parity)]
WHAT = ("vit/cam", "vit/rollout", "vit/gradient")


@pytest.fixture(scope="module")
def here(models: dict[str, Any]) -> dict[str, np.ndarray]:
    return explained(models["vit"], "vit")


@pytest.fixture(scope="module", params=BACKENDS)
def there(
    models: dict[str, Any],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp(request.param)
    models["vit"].save(folder / "vit.keras")
    done = subprocess.run(
        [sys.executable, "-P", str(Path(__file__).parent / "explained.py"), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": request.param},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(np.load(folder / "found.npz"))


@pytest.mark.parametrize("what", WHAT)
def test_the_same_on_another_backend(
    here: dict[str, np.ndarray], there: dict[str, np.ndarray], what: str
) -> None:
    assert here[what].max() > 0
    error = np.abs(there[what] - here[what]).max()
    assert error <= 1e-5 * here[what].max()
