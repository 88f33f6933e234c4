"""`train`: a model and labelled images in, one whole `.keras` file out."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vit.config import ModelConfig, Preprocessing
from keras_vit.data.augmentation import Augmentation
from keras_vit.data.pipeline import batches, plain_errors, steps_per_epoch
from keras_vit.data.sources import Dataset, load
from keras_vit.errors import KerasVitError, UsageError
from keras_vit.loading import load as load_model
from keras_vit.outputs import require_output
from keras_vit.training.classifiers import class_count, configuration, known_preprocessing
from keras_vit.training.optimizers import adamw
from keras_vit.training.saving import save_trained
from keras_vit.training.schedules import warmup_cosine

_FRESH_RATE, _FINE_TUNING_RATE = 1e-3, 1e-4
_SPLITS = ("train", "validation")
_MEASURED = ("loss", "accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class Epoch:
    """An epoch that has ended.

    Attributes:
        number, total: from 1 to `total`.
        seconds: of this epoch, its validation included.
        loss, accuracy: while training. val_loss, val_accuracy: at the end of the epoch.
    """

    number: int
    total: int
    seconds: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class TrainingReport:
    """What `train` did.

    Attributes:
        path: the saved model.
        class_names: its labels.
        epochs: one record each.
        accuracy, loss: on the validation images, of the saved weights.
        train_count, validation_count: images.
        skipped: damaged files that were left out.
        seconds: in `fit`, all epochs.
    """

    path: str
    class_names: tuple[str, ...]
    epochs: tuple[Epoch, ...]
    accuracy: float
    loss: float
    train_count: int
    validation_count: int
    skipped: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)


def train(
    model: str | keras.Model,
    data: Any,
    output: str | Path,
    *,
    weights: str | Path | None = "pretrained",
    image_size: int | tuple[int, int] | None = None,
    labels: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float | None = None,
    warmup: float = 0.1,
    weight_decay: float = 0.05,
    shift: float = 0.0,
    flip: bool = False,
    validation: Any = None,
    fraction: float = 0.2,
    on_corrupt: str = "fail",
    seed: int = 0,
    overwrite: bool = False,
    preprocessing: Preprocessing | None = None,
    progress: Callable[[Epoch], None] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainingReport:
    """Fine-tune a classifier with `fit`, or train it from scratch, and save it.

    AdamW with warm-up and cosine decay, gradients clipped to norm 1, softmax cross-entropy. The file
    holds the last epoch's weights, the class names and the preprocessing, and appears under its name
    when it is whole and gives the same logits after reopening; an interrupted run leaves nothing.

    Args:
        model: a catalogue name, or a Keras model with one logit a class, which is trained in place.
        data: as in `keras_vit.data.load`: `"digits"`, a folder, an .npz file, arrays.
        output: the file to write, `.keras`.
        weights, image_size: as in `keras_vit.load`, for a name. `weights=None` trains from scratch.
        labels: class names instead of the data's, in the same order.
        overrides: further arguments of the model's builder, for a name: `{"drop_path_rate": 0.1}`.
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: the highest; by default 1e-3 from scratch and 1e-4 for loaded weights.
        warmup: share of all steps during which the rate rises.
        weight_decay: of kernels; biases, norms, tokens and position embeddings never decay.
        shift: random moves of training images, as a share of their side.
        flip: mirror training images at random; wrong for digits and letters.
        validation: other data to validate with; by default the data's own validation split.
        fraction, on_corrupt: as in `keras_vit.data.load`. The images held out depend on `fraction`
            alone and not on `seed`, so that `evaluate` finds them again.
        seed: of fresh weights, order, augmentation and dropout (`keras.utils.set_random_seed`).
        overwrite: whether `output` may be replaced.
        preprocessing: of a Keras model that carries none.
        progress: called after every epoch.
        callbacks: Keras callbacks for `fit`.

    Raises:
        UsageError: an output that exists or cannot be, other classes than the data's, a wrong
            argument.
        KerasVitError: damaged data, a loss that is not finite, an output that cannot be written.
        KeyboardInterrupt: as it came.
    """
    output = Path(output)
    require_output(output, [".keras"], overwrite)
    train_data, held_out_data = _datasets(data, validation, labels, fraction, on_corrupt)
    names = train_data.class_names
    keras.utils.set_random_seed(seed)
    if isinstance(model, keras.Model):
        if image_size is not None or overrides:
            raise UsageError("image_size and overrides are for a model's name, not a built model")
    else:
        changes = {**(overrides or {}), "image_size": image_size}
        model = load_model(model, weights=weights, labels=names, **changes)
    config = _configuration(model, preprocessing, names)
    if learning_rate is None:
        learning_rate = _FINE_TUNING_RATE if config.weights else _FRESH_RATE
    stream = batches(
        train_data,
        config.preprocessing,
        batch_size,
        shuffle=True,
        augment=Augmentation(shift, flip),
        epochs=epochs,
        seed=seed,
    )
    held_out = batches(held_out_data, config.preprocessing, batch_size)
    epoch_steps = steps_per_epoch(train_data, batch_size)
    steps = epochs * epoch_steps
    rate = warmup_cosine(learning_rate, steps, round(warmup * steps))
    optimizer = adamw(model, rate, weight_decay)
    recorder = _Recorder(progress)
    start = time.perf_counter()
    _fit(model, optimizer, stream, held_out, epochs, epoch_steps, [recorder, *callbacks])
    seconds = time.perf_counter() - start
    origin = f"trained for {epochs} epochs from {config.weights or 'scratch'}"
    config = dataclasses.replace(config, labels=names, weights=origin)
    save_trained(model, config, output, overwrite, next(held_out.as_numpy_iterator())[0])
    last = recorder.epochs[-1]
    return TrainingReport(
        path=str(output),
        class_names=names,
        epochs=tuple(recorder.epochs),
        accuracy=last.val_accuracy,
        loss=last.val_loss,
        train_count=len(train_data),
        validation_count=len(held_out_data),
        skipped=len(train_data.skipped) + len(held_out_data.skipped),
        seconds=seconds,
    )


class _Recorder(keras.callbacks.Callback):
    """Keeps a record of every epoch, tells the caller, and stops a run that has diverged."""

    def __init__(self, progress: Callable[[Epoch], None] | None) -> None:
        super().__init__()
        self.progress = progress
        self.epochs: list[Epoch] = []

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        measured = {name: float((logs or {})[name]) for name in _MEASURED}
        seconds = time.perf_counter() - self.start
        self.epochs.append(Epoch(epoch + 1, self.params["epochs"], seconds, **measured))
        if not np.isfinite([measured["loss"], measured["val_loss"]]).all():
            raise KerasVitError(
                f"the loss is not finite after epoch {epoch + 1}: lower the learning rate"
            )
        if self.progress is not None:
            self.progress(self.epochs[-1])


def _fit(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    stream: Any,
    held_out: Any,
    epochs: int,
    steps_per_epoch: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    # A second model of the same layers: the caller's stays as he compiled it, and what is saved holds
    # no optimizer state, which would triple the file.
    fitted = keras.Model(model.input, model.output)
    fitted.compile(
        optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    with plain_errors():
        fitted.fit(
            stream,
            validation_data=held_out,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            shuffle=False,  # the stream is in its order
            callbacks=callbacks,
            verbose=0,
        )


def _datasets(
    data: Any,
    validation: Any,
    labels: Sequence[str] | None,
    fraction: float,
    on_corrupt: str,
) -> tuple[Dataset, Dataset]:
    """What to train on, and what to validate with, under the same class names."""
    if validation is None:
        both = [load(data, s, fraction=fraction, on_corrupt=on_corrupt) for s in _SPLITS]
    else:
        both = [load(spec, on_corrupt=on_corrupt) for spec in (data, validation)]
    names = both[0].class_names
    if both[1].class_names != names:
        raise UsageError(
            f"the validation data has {len(both[1].class_names)} classes of other names or in "
            f"another order than the {len(names)} of the training data"
        )
    if labels is not None:
        if len(labels) != len(names):
            raise UsageError(f"{len(labels)} labels for {len(names)} classes")
        both = [dataclasses.replace(part, class_names=tuple(labels)) for part in both]
    return both[0], both[1]


def _configuration(
    model: keras.Model, preprocessing: Preprocessing | None, names: Sequence[str]
) -> ModelConfig:
    """What the saved model will say of itself, before training; checks that it fits the data."""
    config = configuration(model)
    known = known_preprocessing(model.name, config.preprocessing if config else None, preprocessing)
    classes = class_count(model.name, [tuple(output.shape) for output in model.outputs])
    if classes != len(names):
        raise UsageError(
            f"{model.name} has {classes} outputs, the data {len(names)} classes "
            f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        )
    shape = (*known.image_size, len(known.mean))
    taken = model.input.shape[1:]
    if len(taken) != 3 or any(t not in (None, s) for t, s in zip(taken, shape, strict=True)):
        raise UsageError(
            f"{model.name} takes images {tuple(taken)}, its preprocessing makes {shape}"
        )
    return config or ModelConfig(model.name, "custom", {}, known)
