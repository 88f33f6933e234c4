"""From a model and images to a trained file, its accuracy, and its answers.

The public names are resolved when they are first used, so that this import loads no Keras. No module
here is called like a function: the module would take the function's place.
"""

from typing import TYPE_CHECKING

from keras_vit._lazy import lazy

if TYPE_CHECKING:
    from keras_vit.training.averaging import AverageWeights as AverageWeights
    from keras_vit.training.averaging import averaged as averaged
    from keras_vit.training.evaluation import EvaluationReport as EvaluationReport
    from keras_vit.training.evaluation import evaluate as evaluate
    from keras_vit.training.fitting import train as train
    from keras_vit.training.grouped_optimizer import GroupedOptimizer as GroupedOptimizer
    from keras_vit.training.groups import Group as Group
    from keras_vit.training.groups import parameter_groups as parameter_groups
    from keras_vit.training.image_range import range_warning as range_warning
    from keras_vit.training.lamb import Lamb as Lamb
    from keras_vit.training.losses import Accuracy as Accuracy
    from keras_vit.training.losses import SigmoidCrossEntropy as SigmoidCrossEntropy
    from keras_vit.training.losses import SoftmaxCrossEntropy as SoftmaxCrossEntropy
    from keras_vit.training.optimizers import adamw as adamw
    from keras_vit.training.optimizers import grouped as grouped
    from keras_vit.training.plans import Plan as Plan
    from keras_vit.training.plans import Settings as Settings
    from keras_vit.training.plans import list_recipes as list_recipes
    from keras_vit.training.plans import plan as plan
    from keras_vit.training.prediction import predict as predict
    from keras_vit.training.probing import FewShotReport as FewShotReport
    from keras_vit.training.probing import fewshot as fewshot
    from keras_vit.training.recipes import Recipe as Recipe
    from keras_vit.training.recipes import recipe as recipe
    from keras_vit.training.schedules import WarmupDecay as WarmupDecay
    from keras_vit.training.schedules import warmup_cosine as warmup_cosine
    from keras_vit.training.training_report import Epoch as Epoch
    from keras_vit.training.training_report import TrainingReport as TrainingReport

_PUBLIC = {
    "train": "fitting",
    "TrainingReport": "training_report",
    "Epoch": "training_report",
    "evaluate": "evaluation",
    "EvaluationReport": "evaluation",
    "predict": "prediction",
    "fewshot": "probing",
    "FewShotReport": "probing",
    "adamw": "optimizers",
    "warmup_cosine": "schedules",
    "recipe": "recipes",
    "Recipe": "recipes",
    "list_recipes": "plans",
    "plan": "plans",
    "Plan": "plans",
    "Settings": "plans",
    "grouped": "optimizers",
    "GroupedOptimizer": "grouped_optimizer",
    "Group": "groups",
    "parameter_groups": "groups",
    "Lamb": "lamb",
    "WarmupDecay": "schedules",
    "SoftmaxCrossEntropy": "losses",
    "SigmoidCrossEntropy": "losses",
    "Accuracy": "losses",
    "AverageWeights": "averaging",
    "averaged": "averaging",
    "range_warning": "image_range",
}

__all__ = [*_PUBLIC]

__getattr__ = lazy(__name__, _PUBLIC)
