"""timm reads the .npz files that are written, and computes what `numerics="timm"` does."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_vit

pytestmark = pytest.mark.parity

TOLERANCE = 2e-5  # of the standard deviation of the logits
SMALL = {"image_size": 32, "patch_size": 8, "depth": 2, "num_classes": 5}

# In a process of its own, since torchvision crashes when it is imported after TensorFlow.
TIMM = """
import sys
import numpy as np, timm, torch
arguments = dict(img_size=32, patch_size=8, depth=2, num_classes=5)
model = timm.create_model("vit_tiny_patch16_224", **arguments).eval()
model.load_pretrained(sys.argv[1])
images = torch.from_numpy(np.load(sys.argv[2])).permute(0, 3, 1, 2)
with torch.inference_mode():
    np.save(sys.argv[3], model(images).numpy())
"""


@pytest.fixture(scope="module")
def model() -> keras.Model:
    model = keras_vit.load("vit_tiny_patch16_224", weights=None, **SMALL)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        fan_in = max(1, int(np.prod(weight.shape[:-1])))
        scale = 1.5 / fan_in**0.5 if weight.name == "kernel" else 0.3
        weight.assign(scale * rng.normal(size=weight.shape) + (weight.name == "gamma"))
    return model


def test_timm_reads_an_npz(model: keras.Model, tmp_path: Path) -> None:
    path = keras_vit.save_weights(model, tmp_path / "x.npz")
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    files = [str(tmp_path / name) for name in ("images.npy", "logits.npy")]
    command = [sys.executable, "-P", "-c", TIMM, str(path), *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = np.load(tmp_path / "logits.npy")
    assert np.abs(model.predict_on_batch(images) - theirs).max() <= TOLERANCE * np.std(theirs)
