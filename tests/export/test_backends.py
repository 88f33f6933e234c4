"""Exports from Keras on JAX and on PyTorch: the same files; by the TensorFlow child, but for ONNX."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
import keras
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import FILES, tiny_vit
from keras_vit.export import export_model

folder, model = Path(sys.argv[2]), tiny_vit()
reports = [
    export_model(model, folder / name, preprocessing="normalize") for name in FILES.values()
]
print(json.dumps([keras.backend.backend(), [report.to_dict() for report in reports]]))
"""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.parity)])
def test_every_format(tmp_path: Path, backend: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    name, reports = json.loads(result.stdout.splitlines()[-1])
    assert name == backend
    assert [report["format"] for report in reports] == ["savedmodel", "tflite", "onnx"]
    for report in reports:
        assert report["verified"]
        assert report["comparison"]["relative_difference"] < 1e-4
        assert report["comparison"]["top1_agreement"] == 1
