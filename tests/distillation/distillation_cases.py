"""Logits and labels that the tests of distillation share, and a two-headed student."""

from typing import Any

import numpy as np

_rng = np.random.default_rng(3)

STUDENT = _rng.normal(size=(6, 2, 5)).astype("float32") * 2
TEACHER = _rng.normal(size=(6, 5)).astype("float32") * 3
LABELS = _rng.integers(0, 5, 6)
SHARES = _rng.dirichlet(np.ones(5), 6).astype("float32")
SETTINGS = [("hard", 0.5, 1.0), ("hard", 0.2, 1.0), ("soft", 0.1, 3.0), ("soft", 1.0, 1.0)]

DISTILLED = {"depth": 1, "embed_dim": 24, "num_heads": 2, "patch_size": 4}


def deit(**changes: Any) -> Any:
    """A distilled DeiT of ten classes, for images of 16 pixels."""
    import keras_vit

    arguments = {"weights": None, "image_size": 16, "num_classes": 10, **DISTILLED, **changes}
    return keras_vit.load("deit_tiny_distilled_patch16_224", **arguments)
