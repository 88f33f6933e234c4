"""The same model on JAX gives the logits that it gives on TensorFlow; a file saved under one loads."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import keras_vit

SCRIPT = """
import json, sys, keras, numpy as np, keras_vit
images = np.load(sys.argv[1])
model = keras_vit.load(sys.argv[2])
first = model.predict(images, verbose=0)
model.compile(keras.optimizers.AdamW(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
losses = model.fit(images, np.array([0, 1, 2]), epochs=5, verbose=0).history["loss"]
model.save(sys.argv[3])
last = model.predict(images, verbose=0)
print(json.dumps([first.tolist(), losses, last.tolist()]))
"""


@pytest.fixture(scope="module")
def there_and_back(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a JAX process computes with a file that this process saved, and the file it saves."""
    folder = tmp_path_factory.mktemp("jax")
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")
    np.save(folder / "images.npy", images)
    model = keras_vit.load(
        "deit3_small_patch16_224",
        weights=None,
        num_classes=4,
        image_size=32,
        depth=2,
        init_values=0.5,
    )
    model.save(folder / "ours.keras")
    paths = [folder / name for name in ("images.npy", "ours.keras", "theirs.keras")]
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, *map(str, paths)],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, losses, last = json.loads(done.stdout.splitlines()[-1])
    expected = model.predict(images, verbose=0)
    return {
        "expected": expected,
        "first": np.array(first),
        "losses": losses,
        "last": np.array(last),
        "reloaded": keras_vit.load(paths[2]).predict(images, verbose=0),
    }


def test_same_logits_on_jax(there_and_back: dict) -> None:
    expected = there_and_back["expected"]
    assert np.abs(there_and_back["first"] - expected).max() <= 1e-5 * expected.std()


def test_fits_on_jax(there_and_back: dict) -> None:
    assert there_and_back["losses"][-1] < there_and_back["losses"][0]


def test_a_file_saved_on_jax_loads_here(there_and_back: dict) -> None:
    last = there_and_back["last"]
    assert np.abs(there_and_back["reloaded"] - last).max() <= 1e-5 * last.std()
