"""Training checkpoints that torch wrote, with wrappers and averages, through `load`."""

from pathlib import Path

import numpy as np
import pytest

import keras_vit
from keras_vit.errors import CheckpointError
from keras_vit.weights.files import open_checkpoint

pytestmark = pytest.mark.parity

SMALL = {"num_classes": 2, "image_size": 32, "depth": 1}


@pytest.fixture(scope="module")
def training_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """{"state_dict": ones, "state_dict_ema": twos, ...} under DataParallel's prefix, and alone."""
    import torch

    folder = tmp_path_factory.mktemp("torch")
    model = keras_vit.load("vit_tiny_patch16_224", weights=None, **SMALL)
    with open_checkpoint(keras_vit.save_weights(model, folder / "x.safetensors")) as names:
        ones = {f"module.{name}": torch.ones(names.shape(name)) for name in names}
    twos = {name: 2 * tensor for name, tensor in ones.items()}
    torch.save({"epoch": 7, "state_dict": ones, "state_dict_ema": twos}, folder / "last.pth.tar")
    torch.save({"epoch": 7, "state_dict_ema": twos}, folder / "ema.pth.tar")
    return folder / "last.pth.tar"


@pytest.mark.parametrize(("key", "value"), [(None, 1), ("state_dict_ema", 2)])
def test_the_entry_that_is_asked_for(training_checkpoint: Path, key: str, value: int) -> None:
    model = keras_vit.load(
        "vit_tiny_patch16_224", weights=training_checkpoint, checkpoint_key=key, **SMALL
    )
    assert all((np.asarray(weight) == value).all() for weight in model.get_weights())


def test_an_average_is_not_taken_unasked(training_checkpoint: Path) -> None:
    alone = training_checkpoint.with_name("ema.pth.tar")
    with pytest.raises(CheckpointError, match="state_dict_ema"):
        keras_vit.load("vit_tiny_patch16_224", weights=alone, **SMALL)
