"""Recipes as data: reads `zoo/recipes/*.toml` and works out what a run is to be. No Keras.

A recipe is one file, `zoo/recipes/NAME.toml`:

* top level: `schema`, `title`, `source` (paper, table, repository file);
* `[settings]`: the fields of `Settings`; `[augmentation]`: those of `keras_vit.data.Augmentation`;
* `[model]`: arguments of `keras_vit.load` that the paper trains with, such as `drop_path_rate`;
* `[choices.C.V]`: what the value V of the choice C sets; `[choices.C]`'s `default` is its value;
* `[[rows]]`: settings, fields of the augmentation, model arguments and choices for some runs: those
  of an architecture that matches one of `models`, and of fewer than `below` training images, or `above`
  or more. Every row that fits applies, later ones over earlier ones: a paper's table, row by row.
"""

import difflib
import fnmatch
import functools
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from keras_vit import zoo
from keras_vit.data.augmentation import Augmentation
from keras_vit.errors import UsageError

PLAIN = "plain"
"""The recipe of a run that names none."""

_FOLDER = Path(zoo.__file__).parent / "recipes"
_SCHEMA = 1
# A warm-up of 500 steps in 2,500 is the papers' longest share; in a shorter run it shrinks to that.
_LONGEST_WARMUP = 0.2


@dataclass(frozen=True)
class Settings:
    """What a recipe sets, the augmentation apart. All can be overridden by keyword.

    Attributes:
        epochs, steps: length of the run; one of the two.
        batch_size: images a step.
        accumulation: batches that a step's images come in, so that fewer fit into memory.
        optimizer: `"adamw"`, `"adam"`, `"sgd"` (with `momentum`), or `"lamb"`.
        learning_rate: the highest, at a batch of `learning_rate_batch`; with another batch it scales as
            `learning_rate_scaling` says, `"linear"` or `"sqrt"`. None for the batch: it does not scale.
        weight_decay: times the learning rate, of kernels only. epsilon, beta_1, beta_2: Adam's, LAMB's.
        clip_norm: largest global norm of the gradients, or None.
        layer_decay: of the learning rate, layer by layer away from the head.
        schedule: `"cosine"`, `"linear"`, `"constant"`, or `"steps"` (a tenth at each of `milestones`,
            shares of the run).
        warmup_steps, warmup_epochs: length of the warm-up; it is a fifth of the run at most.
        warmup_start, end_rate: what warm-up and decay begin and end with.
        decay_from_start: as `from_start` of `WarmupDecay`.
        loss: `"softmax"`, or `"sigmoid"` with `loss_threshold`, `loss_sums_classes`.
        label_smoothing: of class labels, or with Mixup and CutMix of the mixed ones.
        average: momentum of the moving average of the weights, or None.
        train: `"all"`, `"head"` (linear probe), or `"lora"` (low-rank updates of rank `lora_rank`, and
            the head).
        freeze_blocks: that many first blocks, and the embeddings, never train.
        freeze_epochs: the head trains alone for that long.
        zero_head: a classifier that is not from a checkpoint starts at zero, with bias `head_bias`.
        seed: of the data's order and changes.
    """

    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 32
    accumulation: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    learning_rate_batch: int | None = None
    learning_rate_scaling: str = "linear"
    weight_decay: float = 0.0
    epsilon: float = 1e-8
    beta_1: float = 0.9
    beta_2: float = 0.999
    momentum: float = 0.9
    clip_norm: float | None = None
    layer_decay: float = 1.0
    schedule: str = "cosine"
    milestones: tuple[float, ...] = ()
    warmup_steps: int | None = None
    warmup_epochs: float | None = None
    warmup_start: float = 0.0
    end_rate: float = 0.0
    decay_from_start: bool = False
    loss: str = "softmax"
    loss_threshold: float | None = None
    loss_sums_classes: bool = False
    label_smoothing: float = 0.0
    average: float | None = None
    train: str = "all"
    lora_rank: int = 8
    freeze_blocks: int = 0
    freeze_epochs: int = 0
    zero_head: bool = False
    head_bias: float = 0.0
    seed: int = 0


# What the settings of a name must be one of.
_ONE_OF = {
    "optimizer": ("adamw", "adam", "sgd", "lamb"),
    "learning_rate_scaling": ("linear", "sqrt"),
    "schedule": ("cosine", "linear", "constant", "steps"),
    "loss": ("softmax", "sigmoid"),
    "train": ("all", "head", "lora"),
}
_CONDITIONS = ("models", "below", "above")
_POSITIVE = ("epochs", "steps", "batch_size", "accumulation", "learning_rate", "lora_rank")


@dataclass(frozen=True)
class Plan:
    """A recipe for one run: everything is a number.

    Attributes:
        recipe: its name. title, source: of the recipe.
        train_size: images of an epoch.
        epochs, steps_per_epoch: as `fit` gets them; a step is `accumulation` batches there, and
            `steps_per_epoch` counts the batches.
        steps: of the optimizer, in all.
        warmup_steps: of them. thaw_step: before it the backbone is frozen.
        learning_rate: the highest, scaled to the batch.
        settings: the recipe's, rows, choices and overrides applied.
        augmentation: of training images.
        model_arguments: that the model should have been loaded with.
        choices: the value of each of the recipe's choices.
    """

    recipe: str
    title: str
    source: str
    train_size: int
    epochs: int
    steps_per_epoch: int
    steps: int
    warmup_steps: int
    thaw_step: int
    learning_rate: float
    settings: Settings
    augmentation: Augmentation
    model_arguments: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "augmentation": self.augmentation.to_dict()}

    @property
    def loaded_batch(self) -> int:
        """Images of one batch of the data."""
        return self.settings.batch_size // self.settings.accumulation


def list_recipes() -> dict[str, str]:
    """Every recipe's name and title, in alphabetical order."""
    return {name: str(document["title"]) for name, document in sorted(_documents().items())}


def setting_names(name: str) -> frozenset[str]:
    """What a recipe lets one override, the arguments of the model apart.

    Raises:
        UsageError: for an unknown recipe, with the nearest ones.
    """
    return frozenset(
        _names(Settings) | _names(Augmentation) | set(_document(name).get("choices", {}))
    )


def plan(
    name: str,
    architecture: str = "",
    *,
    train_size: int,
    batch_size: int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    **overrides: Any,
) -> Plan:
    """What a recipe makes of a run.

    Args:
        name: of the recipe.
        architecture: of the model, such as `"vit_base_patch16_224"`; chooses rows of the recipe.
        train_size: training images.
        batch_size: images a step; the recipe's by default, or all images where there are fewer.
        epochs, steps: length of the run, in place of the recipe's. Steps are grouped into epochs of about
            one pass, and rounded to them only where no such grouping is exact.
        **overrides: fields of `Settings`, of `keras_vit.data.Augmentation`, or choices of the recipe;
            `augmentation=` replaces it whole. A `learning_rate` given here is the highest rate as it is.

    Raises:
        UsageError: for an unknown name, with the nearest one, or a value that cannot be.
    """
    document = _document(name)
    given = {"batch_size": batch_size, "epochs": epochs, "steps": steps}
    overrides |= {key: value for key, value in given.items() if value is not None}
    if "epochs" in overrides and "steps" in overrides:
        raise UsageError("give epochs or steps, not both")
    if train_size < 1:
        raise UsageError(f"train_size is the number of training images; got {train_size}")
    merged = _Merged(name, document, architecture, train_size, overrides)
    settings = _checked(merged.settings, train_size)
    return _planned(name, document, train_size, settings, merged, "learning_rate" in overrides)


class _Merged:
    """A recipe's tables, one over the other, sorted into settings, augmentation and model."""

    def __init__(
        self,
        name: str,
        document: Mapping[str, Any],
        architecture: str,
        train_size: int,
        overrides: Mapping[str, Any],
    ) -> None:
        choices = document.get("choices", {})
        rows = [
            {key: value for key, value in row.items() if key not in _CONDITIONS}
            for row in document.get("rows", ())
            if _fits(row, architecture, train_size)
        ]
        everything = {key: value for row in rows for key, value in row.items()} | dict(overrides)
        self.choices = {}
        layers: list[Mapping[str, Any]] = [document.get("settings", {})]
        layers.append(document.get("augmentation", {}))
        self.model_arguments = dict(document.get("model", {}))
        for choice, values in choices.items():
            value = everything.get(choice, values["default"])
            options = [key for key in values if key != "default"]
            if value not in options:
                raise UsageError(f"{choice} must be one of {', '.join(options)}; got {value!r}")
            self.choices[choice] = value
            layers.append(values[value])
        layers += [*rows, overrides]
        self.values = {key: value for layer in layers for key, value in layer.items()}
        replaced = self.values.pop("augmentation", None)
        settings, augmentation = _names(Settings), _names(Augmentation) - {"label_smoothing"}
        arguments = _MODEL_ARGUMENTS
        known = settings | augmentation | arguments | set(choices) | {"augmentation"}
        for key in self.values:
            if key not in known:
                nearest = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.0)[0]
                raise UsageError(
                    f"the recipe {name!r} has no setting {key!r}; the nearest one is {nearest!r}"
                )
        self.model_arguments |= {k: v for k, v in self.values.items() if k in arguments}
        chosen = {k: v for k, v in self.values.items() if k in settings}
        # The length that was asked for takes the place of the recipe's, whichever way that was given.
        for one, other in (("epochs", "steps"), ("steps", "epochs")):
            if one in overrides:
                chosen.pop(other, None)
        for one, other in (("warmup_epochs", "warmup_steps"), ("warmup_steps", "warmup_epochs")):
            if one in overrides:
                chosen.pop(other, None)
        self.settings = Settings(**{k: _plain(v) for k, v in chosen.items()})
        changes = {k: _plain(v) for k, v in self.values.items() if k in augmentation}
        self.augmentation = replaced if replaced is not None else Augmentation(**changes)
        if self.augmentation.mixes:
            smoothing = self.settings.label_smoothing
            self.augmentation = replace(self.augmentation, label_smoothing=smoothing)


_MODEL_ARGUMENTS = {
    "image_size",
    "drop_rate",
    "drop_path_rate",
    "pos_drop_rate",
    "proj_drop_rate",
    "global_pool",
}


def _names(kind: type) -> set[str]:
    return {f.name for f in fields(kind)}


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _fits(row: Mapping[str, Any], architecture: str, train_size: int) -> bool:
    patterns = row.get("models", ["*"])
    known = any(fnmatch.fnmatchcase(architecture, pattern) for pattern in patterns)
    return known and row.get("above", 0) <= train_size < row.get("below", math.inf)


def _checked(settings: Settings, train_size: int) -> Settings:
    """The settings, with a batch that the data can fill."""
    for name, known in _ONE_OF.items():
        if getattr(settings, name) not in known:
            raise UsageError(
                f"{name} must be one of {', '.join(known)}; got {getattr(settings, name)!r}"
            )
    for name in _POSITIVE:
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise UsageError(f"{name} must be above 0; got {value}")
    if settings.epochs is None and settings.steps is None:
        raise UsageError("give the length of the run: epochs or steps")
    batch = min(settings.batch_size, train_size)
    if batch % settings.accumulation:
        batch = settings.batch_size - settings.batch_size % settings.accumulation
        if settings.batch_size % settings.accumulation:
            raise UsageError(
                f"{settings.batch_size} images a step do not split into {settings.accumulation} "
                "equal batches"
            )
        batch = min(batch, train_size - train_size % settings.accumulation)
        if batch == 0:
            raise UsageError(f"{train_size} images do not fill {settings.accumulation} batches")
    return replace(settings, batch_size=batch)


def _planned(
    name: str,
    document: Mapping[str, Any],
    train_size: int,
    settings: Settings,
    merged: _Merged,
    rate_as_given: bool,
) -> Plan:
    """The lengths in steps, and the rate for the batch."""
    a_pass = max(train_size // settings.batch_size, 1)
    if settings.epochs is not None:
        epochs, per_epoch = settings.epochs, a_pass
    else:
        assert settings.steps is not None
        epochs, per_epoch = in_epochs(settings.steps, a_pass)
    steps = epochs * per_epoch
    return Plan(
        recipe=name,
        title=document["title"],
        source=document["source"],
        train_size=train_size,
        epochs=epochs,
        steps_per_epoch=per_epoch * settings.accumulation,
        steps=steps,
        warmup_steps=_warmup(settings, steps, a_pass),
        thaw_step=min(settings.freeze_epochs * a_pass, steps),
        learning_rate=settings.learning_rate * (1.0 if rate_as_given else _batch_factor(settings)),
        settings=settings,
        augmentation=merged.augmentation,
        model_arguments=merged.model_arguments,
        choices=merged.choices,
    )


def in_epochs(steps: int, a_pass: int) -> tuple[int, int]:
    """A number of steps as (epochs, steps of each), each about one pass over the data.

    Exact where a divisor lies within half and twice of a pass, or where the run is shorter than one.
    """
    if steps <= a_pass:
        return 1, steps
    divisors = [n for n in range(a_pass // 2 + 1, 2 * a_pass + 1) if steps % n == 0]
    if divisors:
        each = min(divisors, key=lambda n: abs(math.log(n / a_pass)))
        return steps // each, each
    epochs = round(steps / a_pass)
    return epochs, round(steps / epochs)


def _warmup(settings: Settings, steps: int, a_pass: int) -> int:
    asked = settings.warmup_steps or round((settings.warmup_epochs or 0.0) * a_pass)
    return min(asked, int(_LONGEST_WARMUP * steps))


def _batch_factor(settings: Settings) -> float:
    if settings.learning_rate_batch is None:
        return 1.0
    ratio = settings.batch_size / settings.learning_rate_batch
    return ratio if settings.learning_rate_scaling == "linear" else math.sqrt(ratio)


@functools.cache
def _documents() -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(_FOLDER.glob("*.toml")):
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != _SCHEMA:
            raise ValueError(f"{path.name}: schema must be {_SCHEMA}, not {document['schema']}")
        found[path.stem] = document
    return found


def _document(name: str) -> Mapping[str, Any]:
    documents = _documents()
    if name not in documents:
        nearest = difflib.get_close_matches(name, documents, n=3, cutoff=0.0)
        raise UsageError(f"there is no recipe {name!r}; the nearest ones are {', '.join(nearest)}")
    return documents[name]
