"""Vision Transformers for Keras 3: pretrained weights in, verified files out.

The public names are resolved when they are first used: `import keras_vit`, `list_models` and `info`
load neither Keras nor TensorFlow.
"""

import importlib
from typing import Any

from keras_vit._registration import register

__version__ = "0.1.0"

_PUBLIC = {
    "list_models": "catalogue",
    "info": "catalogue",
    "load": "loading",
    "save_weights": "saving",
    "attention_scores": "models.attention_scores",
    "convert": "converting",
    "train": "training",
    "evaluate": "training",
    "predict": "training",
    "export_model": "export",
    "check": "export",
    "doctor": "diagnosis",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'keras_vit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"keras_vit.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


register()
