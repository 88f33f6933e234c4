"""BitForImageClassification of transformers: the same logits from its file, and it takes ours."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import keras_vit
from keras_vit.models import VisionModel
from keras_vit.weights.files import open_checkpoint

pytestmark = pytest.mark.parity

SCRIPT = "huggingface_bit.py"
SMALL = {
    "layers": [2, 1, 1, 1],
    "channels": [128, 256, 512, 1024],
    "num_classes": 10,
    "image_size": (66, 97),
}


@pytest.fixture(scope="module")
def folder(run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bit")
    run(SCRIPT, str(folder), "make")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> VisionModel:
    return keras_vit.load("resnetv2_50x1_bit.goog_in21k", weights=folder / "bit", **SMALL)


@pytest.fixture(scope="module")
def again(run: Callable[..., str], folder: Path, model: VisionModel) -> dict:
    """What transformers says of the folder that we write."""
    (folder / "again").mkdir()
    keras_vit.save_weights(model, folder / "again" / "model.safetensors", layout="huggingface")
    return json.loads(run(SCRIPT, str(folder), "check"))


def test_same_logits(folder: Path, model: VisionModel) -> None:
    expected = np.load(folder / "bit.npz")
    found = model.predict_on_batch(expected["images"])
    assert np.abs(found - expected["logits"]).max() <= 2e-5 * expected["logits"].std()


def test_the_layout_is_recognised(model: VisionModel) -> None:
    assert model.load_report.layout == "huggingface"


def test_transformers_takes_our_folder_strictly(again: dict) -> None:
    assert again == {"strict": True, "same": True}


def test_the_file_comes_back_bit_equal(folder: Path, again: dict) -> None:
    files = (folder / name / "model.safetensors" for name in ("bit", "again"))
    with open_checkpoint(next(files)) as before, open_checkpoint(next(files)) as after:
        assert set(before) == set(after)
        assert all(before.read(name).tobytes() == after.read(name).tobytes() for name in before)
