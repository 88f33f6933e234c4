"""One small ViT trained on real digits, once for all tests of training, evaluation, prediction."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))  # for the helpers beside the tests

TINY = {"depth": 1, "embed_dim": 96}


@dataclass(frozen=True)
class Trained:
    """What `train` returned and told on the way."""

    report: Any
    path: Path
    progress: tuple[Any, ...]


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    import keras_vit

    path = tmp_path_factory.mktemp("trained") / "digits.keras"
    progress: list[Any] = []
    report = keras_vit.train(
        "vit_tiny_patch16_224",
        "digits",
        path,
        weights=None,
        image_size=32,
        overrides=TINY,
        epochs=6,
        learning_rate=1e-3,
        progress=progress.append,
    )
    return Trained(report, path, tuple(progress))


@pytest.fixture(scope="session")
def model(trained: Trained) -> Any:
    import keras_vit

    return keras_vit.load(trained.path)


@pytest.fixture
def untrained() -> Any:
    """A smaller ViT of ten classes, fresh for every test."""
    import keras_vit

    overrides = {**TINY, "embed_dim": 48}
    return keras_vit.load(
        "vit_tiny_patch16_224", weights=None, image_size=32, num_classes=10, **overrides
    )
