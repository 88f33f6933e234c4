"""`recipe`: from a paper's table to the arguments of `compile` and `fit`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_vit.config import Preprocessing
from keras_vit.data.augmenting import augmented
from keras_vit.data.pipeline import batches, steps_per_epoch
from keras_vit.data.sources import Dataset, load
from keras_vit.errors import UsageError
from keras_vit.training.averaging import AverageWeights
from keras_vit.training.classifiers import class_count, configuration, known_preprocessing
from keras_vit.training.freezing import add_lora, freeze_blocks, head_layers, train_head_only
from keras_vit.training.lamb import Lamb
from keras_vit.training.losses import Accuracy, SigmoidCrossEntropy, SoftmaxCrossEntropy
from keras_vit.training.optimizers import grouped
from keras_vit.training.plan_table import table
from keras_vit.training.plans import Plan, plan
from keras_vit.training.schedules import WarmupDecay


@dataclass(frozen=True)
class Recipe:
    """A recipe for one model and one data set; `print` shows it.

    Attributes:
        plan: every number of the run.
        compile: keyword arguments of `keras.Model.compile`.
        fit: keyword arguments of `keras.Model.fit`: epochs, steps_per_epoch, callbacks.
        preprocessing: of the model. classes: its logits.
        notes: what the paper does and this model does not, one line each.
    """

    plan: Plan
    compile: Mapping[str, Any]
    fit: Mapping[str, Any]
    preprocessing: Preprocessing
    classes: int
    notes: tuple[str, ...] = ()

    @property
    def augmentation(self) -> Any:
        """The `keras_vit.data.Augmentation` of training images."""
        return self.plan.augmentation

    def augment(
        self,
        dataset: Any,
        *,
        start: int = 0,
        seed: int | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> Any:
        """Training batches for `fit`, of all epochs.

        Args:
            dataset: whatever `keras_vit.data.load` takes, a `keras_vit.data.Dataset`, or a tf.data.Dataset
                of single uint8 images and integer labels, in the order that they shall come in.
            start: batches that are done, to go on from there.
            seed: of order and changes; the plan's by default.
            shard: as in `keras_vit.data.batches`; not of a tf.data.Dataset.

        Returns:
            A tf.data.Dataset of (images, labels), as `keras_vit.data.batches` gives it.
        """
        size = self.plan.loaded_batch
        seed = self.plan.settings.seed if seed is None else seed
        changes = {"augment": self.augmentation, "start": start, "seed": seed}
        if _is_stream(dataset):
            if shard != (0, 1):
                raise UsageError("shard a tf.data dataset by its own shard(count, index)")
            # What is left of the passes when all steps are done is not asked for.
            passes = self.plan.epochs * -(-self.plan.steps_per_epoch // self._a_pass(size)) + 1
            return augmented(
                dataset, self.preprocessing, size, classes=self.classes, epochs=passes, **changes
            )
        dataset = dataset if isinstance(dataset, Dataset) else load(dataset, "train")
        passes = -(-self.plan.epochs * self.plan.steps_per_epoch // steps_per_epoch(dataset, size))
        return batches(
            dataset, self.preprocessing, size, shuffle=True, epochs=passes, shard=shard, **changes
        )

    def evaluation(
        self, dataset: Any, *, batch_size: int | None = None, shard: tuple[int, int] = (0, 1)
    ) -> Any:
        """Batches for `validation_data`, with the checkpoint's own transform.

        Args:
            dataset: as in `augment`; of a name with splits, its validation split.
            batch_size: in place of that of training. shard: as in `keras_vit.data.batches`.
        """
        size = batch_size or self.plan.loaded_batch
        if _is_stream(dataset):
            return augmented(dataset, self.preprocessing, size, drop_remainder=False)
        if not isinstance(dataset, Dataset):
            dataset = load(dataset, "validation")
        return batches(dataset, self.preprocessing, size, shard=shard)

    def _a_pass(self, size: int) -> int:
        return steps_per_epoch(self.plan.train_size, size)

    def to_dict(self) -> dict[str, Any]:
        """The resolved configuration, plain JSON data."""
        return {**self.plan.to_dict(), "notes": list(self.notes)}

    def __str__(self) -> str:
        return table(self.plan, self.notes)


def recipe(
    name: str,
    model: keras.Model,
    *,
    train_size: int,
    batch_size: int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    preprocessing: Preprocessing | None = None,
    **overrides: Any,
) -> Recipe:
    """A paper's recipe, for a model, a data set's size and a batch.

        r = keras_vit.recipe("finetune", model, train_size=50_000, batch_size=512, epochs=10)
        model.compile(**r.compile)
        model.fit(r.augment(train), validation_data=r.evaluation(valid), **r.fit)

    Args:
        name: `keras_vit.list_recipes()` has them.
        model: a classifier; a model of `keras_vit.load`, or any built Keras model. Where the recipe
            freezes layers, adds LoRA or zeroes a fresh classifier, this model is changed.
        train_size: training images.
        batch_size, epochs, steps: in place of the recipe's; `epochs` or `steps`, not both. A rate that
            the paper scales with the batch is scaled. A warm-up is a fifth of the run at most.
        preprocessing: of a Keras model that carries none.
        **overrides: a field of `Settings` (`learning_rate=1e-4`, `layer_decay=0.65`), of
            `keras_vit.data.Augmentation` (`mixup=0.2`, `flip=False`; or `augmentation=` it whole), or a
            choice of the recipe (`strength="medium2"`).

    Returns:
        A `Recipe`.

    Raises:
        UsageError: for an unknown recipe or setting, with the nearest one, or a value that cannot be.
    """
    config = configuration(model)
    if config and not config.arguments.get("num_classes", 1):
        raise UsageError(f"{model.name} gives features, not classes: load it with num_classes=N")
    known = known_preprocessing(model.name, config.preprocessing if config else None, preprocessing)
    made = plan(
        name,
        config.name.split(".")[0] if config else model.name,
        train_size=train_size,
        batch_size=batch_size,
        epochs=epochs,
        steps=steps,
        **overrides,
    )
    classes = class_count(model.name, [tuple(output.shape) for output in model.outputs])
    _prepare(model, made)
    callbacks = [AverageWeights()] if made.settings.average else []
    fit = {"epochs": made.epochs, "steps_per_epoch": made.steps_per_epoch, "callbacks": callbacks}
    return Recipe(made, _compile(model, made), fit, known, classes, _notes(model, made))


def _is_stream(dataset: Any) -> bool:
    """Whether it is a tf.data.Dataset, without asking TensorFlow."""
    return hasattr(dataset, "element_spec")


def _prepare(model: keras.Model, made: Plan) -> None:
    """Zeroes a fresh classifier, and freezes."""
    settings = made.settings
    if settings.zero_head and has_fresh_head(model):
        for head in head_layers(model):
            head.kernel.assign(keras.ops.zeros_like(head.kernel))
            head.bias.assign(keras.ops.full_like(head.bias, settings.head_bias))
    if settings.train == "head":
        train_head_only(model)
    if settings.train == "lora":
        add_lora(model, settings.lora_rank)
    if settings.freeze_blocks:
        freeze_blocks(model, settings.freeze_blocks)


def has_fresh_head(model: Any) -> bool:
    """Whether the classifier of a model of `keras_vit.load` is not from a checkpoint."""
    config = configuration(model)
    if config is None or config.weights is None:
        return config is not None
    report = getattr(model, "load_report", None)
    heads = tuple(layer.name + "/" for layer in head_layers(model))
    return report is not None and any(path.startswith(heads) for path in report.reinitialised)


def _compile(model: keras.Model, made: Plan) -> dict[str, Any]:
    settings = made.settings
    schedule = WarmupDecay(
        made.learning_rate,
        made.steps,
        made.warmup_steps,
        settings.schedule,
        settings.end_rate,
        settings.warmup_start,
        settings.decay_from_start,
        settings.milestones,
    )
    optimizer = grouped(
        model,
        _OPTIMIZERS[settings.optimizer](schedule, settings),
        layer_decay=settings.layer_decay,
        clip_norm=settings.clip_norm,
        accumulation=settings.accumulation,
        average=settings.average,
        backbone_start=made.thaw_step,
    )
    # Mixed labels have been smoothed where they were mixed.
    smoothing = settings.label_smoothing
    loss: keras.losses.Loss = SoftmaxCrossEntropy(smoothing)
    if settings.loss == "sigmoid":
        loss = SigmoidCrossEntropy(smoothing, settings.loss_threshold, settings.loss_sums_classes)
    return {"optimizer": optimizer, "loss": loss, "metrics": [Accuracy()]}


def _adam(kind: Any) -> Any:
    def make(schedule: Any, settings: Any) -> keras.optimizers.Optimizer:
        return kind(
            schedule,
            weight_decay=settings.weight_decay,
            beta_1=settings.beta_1,
            beta_2=settings.beta_2,
            epsilon=settings.epsilon,
        )

    return make


def _sgd(schedule: Any, settings: Any) -> keras.optimizers.Optimizer:
    decay = settings.weight_decay or None
    return keras.optimizers.SGD(schedule, momentum=settings.momentum, weight_decay=decay)


_OPTIMIZERS = {
    "adamw": _adam(keras.optimizers.AdamW),
    "adam": _adam(keras.optimizers.Adam),
    "lamb": _adam(Lamb),
    "sgd": _sgd,
}


def _notes(model: Any, made: Plan) -> tuple[str, ...]:
    """Where the model is not the one that the recipe trains."""
    config = configuration(model)
    has = dict(config.arguments) if config else {}
    return tuple(
        f"the recipe trains with {name}={wanted}, the model has {_shown(has.get(name))}: "
        f"load it with {name}={wanted}"
        for name, wanted in made.model_arguments.items()
        if not _same(has.get(name, 0.0), wanted)
    )


def _same(has: Any, wanted: Any) -> bool:
    if isinstance(has, tuple) and not isinstance(wanted, tuple | list):
        return all(one == wanted for one in has)
    return has == (tuple(wanted) if isinstance(wanted, list) else wanted)


def _shown(value: Any) -> str:
    if isinstance(value, tuple) and len(set(value)) == 1:
        return str(value[0])
    return "none" if value is None else str(value)
