"""From a model and images to a trained file, its accuracy, and its answers.

The public names are resolved when they are first used, so that this import loads no Keras. No module
here is called like a function: the module would take the function's place.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluation import EvaluationReport as EvaluationReport
    from .evaluation import evaluate as evaluate
    from .fitting import Epoch as Epoch
    from .fitting import TrainingReport as TrainingReport
    from .fitting import train as train
    from .optimizers import adamw as adamw
    from .prediction import predict as predict
    from .schedules import warmup_cosine as warmup_cosine

_PUBLIC = {
    "train": "fitting",
    "TrainingReport": "fitting",
    "Epoch": "fitting",
    "evaluate": "evaluation",
    "EvaluationReport": "evaluation",
    "predict": "prediction",
    "adamw": "optimizers",
    "warmup_cosine": "schedules",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'keras_vit.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"keras_vit.training.{_PUBLIC[name]}"), name)
