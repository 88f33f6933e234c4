"""The same model on JAX gives the logits that it gives on TensorFlow; a file saved under one loads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_vit
from keras_vit.golden import seeded_images, seeded_tensor

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


# Every other family: a file saved here loads on the other backends, and one of theirs here.

FAMILIES = {
    "cvt_13_224": {"depth": (1, 1, 1)},
    "resnetv2_50x1_bit": {"layers": (1, 1)},
    "vit_small_r26_s32_224": {"layers": (1, 1), "depth": 1},
}

ELSEWHERE = """
import sys, numpy as np, keras_vit
folder, images = sys.argv[1], np.load(sys.argv[1] + "/images.npy")
for name in sys.argv[2:]:
    model = keras_vit.load(f"{folder}/{name}.keras")
    np.save(f"{folder}/{name}.npy", model.predict_on_batch(images))
    model.save(f"{folder}/{name}.theirs.keras")
"""


OTHERS = [
    pytest.param("jax", marks=pytest.mark.slow),
    pytest.param("torch", marks=pytest.mark.parity),
]


@pytest.fixture(scope="module", params=OTHERS)
def elsewhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of this process, their logits on another backend, and its files."""
    folder = tmp_path_factory.mktemp(request.param)
    np.save(folder / "images.npy", seeded_images(3, 64, 64))
    for name, arguments in FAMILIES.items():
        model = keras_vit.load(name, weights=None, num_classes=4, image_size=64, **arguments)
        for variable in model.weights:
            variable.assign(seeded_tensor(variable.path.replace("/", "."), variable.shape))
        model.save(folder / f"{name}.keras")
    done = subprocess.run(
        [sys.executable, "-P", "-c", ELSEWHERE, str(folder), *FAMILIES],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": request.param},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("file", ["{}.keras", "{}.theirs.keras"], ids=["ours", "theirs"])
def test_files_of_other_families_give_the_same_logits(
    elsewhere: Path, name: str, file: str
) -> None:
    model = keras_vit.load(elsewhere / file.format(name))
    expected = model.predict_on_batch(np.load(elsewhere / "images.npy"))
    found = np.load(elsewhere / f"{name}.npy")
    assert np.abs(found - expected).max() <= 1e-5 * expected.std()
