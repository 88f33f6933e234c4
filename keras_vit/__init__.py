"""Vision Transformers for Keras 3: pretrained weights in, verified files out.

The public names are resolved when they are first used: `import keras_vit`, `list_models` and `info`
load neither Keras nor TensorFlow.
"""

from keras_vit._lazy import lazy
from keras_vit._registration import register

__version__ = "0.1.0"

_PUBLIC = {
    "list_models": "catalogue",
    "info": "catalogue",
    "model_card": "model_cards",
    "load": "loading",
    "save_weights": "saving",
    "attention_scores": "models.attention_scores",
    "features": "models.features",
    "feature_pyramid": "models.features",
    "zero_shot": "models.zero_shot",
    "convert": "converting",
    "recipe": "training",
    "list_recipes": "training",
    "train": "training",
    "evaluate": "training",
    "fewshot": "training",
    "predict": "training",
    "experiment": "experiments.running",
    "list_experiments": "experiments.specs",
    "export_model": "export",
    "check": "export",
    "benchmark": "export",
    "verify": "verifying",
    "doctor": "diagnosis",
}

_PACKAGES = ("data", "explain", "export", "layers", "models", "training")

__all__ = ["__version__", *_PUBLIC]


__getattr__ = lazy(__name__, _PUBLIC, _PACKAGES)


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES])


register()
