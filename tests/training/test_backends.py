"""Training, saving and evaluating on every backend, each in a process of its own."""

import os
import subprocess
import sys

import pytest

CODE = """
import sys
import numpy as np
import keras_vit
from keras_vit.data import load

few = load("digits").take(np.arange(96))
report = keras_vit.train(
    "vit_tiny_patch16_224", few, sys.argv[1], weights=None, image_size=32, epochs=2, shift=0.1,
    overrides=dict(depth=1, embed_dim=48), validation=few)
measured = keras_vit.evaluate(sys.argv[1], few)
assert abs(measured.top1 - report.accuracy) < 1e-6, (measured, report)
assert report.epochs[1].loss < report.epochs[0].loss, report
print(report.accuracy)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend", ["tensorflow", "jax", pytest.param("torch", marks=pytest.mark.parity)]
)
def test_train_and_evaluate(backend, tmp_path):
    subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "m.keras")],
        check=True,
        env={**os.environ, "KERAS_BACKEND": backend},
    )
