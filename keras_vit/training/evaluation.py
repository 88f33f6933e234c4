"""How often a model is right: the same measure for a Keras model and for every exported file."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.data.sources import Dataset, load
from keras_vit.errors import UsageError
from keras_vit.training.classifiers import Classifier, ModelLike, classifier


@dataclass(frozen=True)
class Difference:
    """How far two models are from each other on the same images.

    Attributes:
        model: the other's name or path. top1: its accuracy, 0..1.
        agreement: share of images, 0..1, on which both have the same largest logit.
        max_difference: of any logit. relative_difference: that over the other's logits' standard
            deviation.
    """

    model: str
    top1: float
    agreement: float
    max_difference: float
    relative_difference: float


@dataclass(frozen=True)
class EvaluationReport:
    """What `evaluate` measured.

    Attributes:
        model: name or path. split: of the data.
        count: images. skipped: damaged files that were left out.
        top1, top5: share of images, 0..1, whose class is the largest logit, or among the five largest;
            top5 is None with five classes or fewer.
        loss: mean softmax cross-entropy, in nats.
        seconds: decoding and running, without opening the model.
        against: the comparison with another model, where one was given.
    """

    model: str
    split: str
    count: int
    skipped: int
    top1: float
    top5: float | None
    loss: float
    seconds: float
    against: Difference | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)


def evaluate(
    model: ModelLike,
    data: Any,
    *,
    split: str | None = None,
    batch_size: int = 32,
    preprocessing: Preprocessing | None = None,
    fraction: float = 0.2,
    on_corrupt: str = "fail",
    against: ModelLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Measure a classifier on labelled images, with the preprocessing that it carries.

    Classes are matched by name where the model knows every class name of the data (so that some of
    its classes may be missing, or in another order), and else by position.

    Args:
        model: a Keras model, a `.keras`, `.tflite` or `.onnx` file, a SavedModel, or a name.
        data: as in `keras_vit.data.load`.
        split: `"all"`, `"train"` or `"validation"`. By default `"validation"` of names, folders and
            files (the images that `train` held out), and `"all"` of arrays and `Dataset`s.
        batch_size: images at a time.
        preprocessing: of a model that carries none.
        fraction, on_corrupt: as in `keras_vit.data.load`; give those that `train` was given.
        against: another model, such as the Keras model that a file was made from, for the same images.
        progress: called with (images done, images) after every batch.

    Raises:
        UsageError: data that the model has other classes for, or a wrong argument.
        KerasVitError: a damaged image or file.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    if split is None:
        split = "validation" if isinstance(data, str | Path) else "all"
    dataset = load(data, split, fraction=fraction, on_corrupt=on_corrupt)
    classifying = classifier(model, preprocessing)
    targets = _targets(dataset, classifying)
    other = None if against is None else _other(against, preprocessing, classifying)
    start = time.perf_counter()
    logits = _all_logits(classifying, dataset, batch_size, progress)
    seconds = time.perf_counter() - start
    top1, top5, loss = measures(logits, targets)
    return EvaluationReport(
        model=classifying.name,
        split=split,
        count=len(dataset),
        skipped=len(dataset.skipped),
        top1=top1,
        top5=top5,
        loss=loss,
        seconds=seconds,
        against=None if other is None else _difference(other, logits, targets, dataset, batch_size),
    )


def _all_logits(
    classifying: Classifier,
    dataset: Dataset,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Logits of every image, float32 (images, classes)."""
    logits: list[np.ndarray] = []
    for batch in classifying.logits(dataset.images, batch_size):
        logits.append(batch)
        if progress is not None:
            progress(sum(map(len, logits)), len(dataset))
    return np.concatenate(logits)


def _other(
    against: ModelLike, preprocessing: Preprocessing | None, classifying: Classifier
) -> Classifier:
    other = classifier(against, preprocessing)
    if other.classes != classifying.classes:
        raise UsageError(
            f"{classifying.name} has {classifying.classes} classes and {other.name} {other.classes}"
        )
    return other


def _difference(
    other: Classifier, logits: np.ndarray, targets: np.ndarray, dataset: Dataset, batch_size: int
) -> Difference:
    theirs = _all_logits(other, dataset, batch_size).astype(np.float64)
    largest = float(np.abs(logits - theirs).max())
    return Difference(
        model=other.name,
        top1=measures(theirs, targets)[0],
        agreement=float((logits.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        max_difference=largest,
        relative_difference=largest / max(float(theirs.std()), np.finfo(float).tiny),
    )


def measures(logits: np.ndarray, targets: np.ndarray) -> tuple[float, float | None, float]:
    """(top1, top5, loss), as in `EvaluationReport`, of logits (N, classes) for target classes (N,)."""
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(exact, targets[:, None], axis=1)[:, 0]
    best = np.argsort(-exact, axis=1, kind="stable")[:, :5]
    hits = best == targets[:, None]
    top5 = float(hits.any(axis=1).mean()) if logits.shape[1] > 5 else None
    loss = (np.log(np.exp(exact).sum(axis=1)) - chosen).mean()
    return float(hits[:, 0].mean()), top5, float(loss)


def _targets(dataset: Dataset, classifying: Classifier) -> np.ndarray:
    """The data's labels as indices of logits."""
    names, labels = dataset.class_names, classifying.labels
    if labels is not None and set(names) <= set(labels):
        return np.array([labels.index(name) for name in names])[dataset.labels]
    if len(names) != classifying.classes:
        raise UsageError(
            f"{classifying.name} has {classifying.classes} classes{_some(labels)}, "
            f"the data {len(names)}{_some(names)}"
        )
    return dataset.labels


def _some(names: tuple[str, ...] | None) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
