"""From a model and images to a trained file, its accuracy, and its answers.

The public names are resolved when they are first used, so that this import loads no Keras. No module
here is called like a function: the module would take the function's place.
"""

from typing import TYPE_CHECKING

from keras_vit._lazy import lazy

if TYPE_CHECKING:
    from keras_vit.training.evaluation import EvaluationReport as EvaluationReport
    from keras_vit.training.evaluation import evaluate as evaluate
    from keras_vit.training.fitting import Epoch as Epoch
    from keras_vit.training.fitting import TrainingReport as TrainingReport
    from keras_vit.training.fitting import train as train
    from keras_vit.training.optimizers import adamw as adamw
    from keras_vit.training.prediction import predict as predict
    from keras_vit.training.schedules import warmup_cosine as warmup_cosine

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

__getattr__ = lazy(__name__, _PUBLIC)
