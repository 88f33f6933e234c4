"""How often a model is right: the same measure for a Keras model and for every exported file."""

import csv
import dataclasses
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.data.sources import Dataset, load
from keras_vit.errors import UsageError
from keras_vit.outputs import require_output
from keras_vit.training.class_matching import class_logits
from keras_vit.training.classifiers import Classifier, ModelLike, classifier
from keras_vit.training.real_labels import RealLabels, real_labels
from keras_vit.training.scoring import Tally, measures
from keras_vit.weights.whole_file import whole_file

Progress = Callable[[int, int], None]
"""Called with (images done, images)."""


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
class ClassResult:
    """One class of the data.

    Attributes:
        name: as the data has it. count: its images.
        top1: share of them, 0..1, that were right; None without images.
    """

    name: str
    count: int
    top1: float | None


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
        images_per_second: without the first batch, in which the model may be traced and compiled, where
            there are several.
        parameters: number of weights. macs: multiply-adds of one image. Those of the Keras model that a
            file was made from; None where they are not known.
        mean_per_class: the mean of the classes' top1, 0..1.
        classes: each class of the data, in its order.
        confusion: a row a class, as `classes`: how many of its images were taken for each class, in
            the same order; with one column more, for any other class, where the model has such. None
            with more than 2048 classes.
        real: top-1 with ImageNet's reassessed labels, 0..1, over the `real_count` images that have any;
            None where those labels were not given.
    """

    model: str
    split: str
    count: int
    skipped: int
    top1: float
    top5: float | None
    loss: float
    seconds: float
    against: Difference | None
    images_per_second: float
    parameters: int | None
    macs: int | None
    mean_per_class: float
    classes: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    real: float | None = None
    real_count: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _Candidate:
    """A model that fits the data.

    Attributes:
        logits_of: the logit that each class of the data is, int64 (data classes,).
        real: the acceptable logits of each image, where asked for.
    """

    classifying: Classifier
    logits_of: np.ndarray
    real: RealLabels | None


@dataclass
class _Work:
    """The images that `passes` models see, and how far they are with them."""

    dataset: Dataset
    split: str
    batch_size: int
    passes: int
    progress: Progress | None
    done: int = 0

    def logits(self, classifying: Classifier) -> Iterator[np.ndarray]:
        """Logits of all images, a batch at a time."""
        for logits in classifying.logits(self.dataset.images, self.batch_size):
            yield logits
            self.done += len(logits)
            if self.progress is not None:
                self.progress(self.done, self.passes * len(self.dataset))


@dataclass(frozen=True)
class _Expected:
    """What another model gave: its logits, float32 (images, classes), and their accuracy."""

    model: str
    logits: np.ndarray
    top1: float


class _Options(TypedDict, total=False):
    """The keywords of `evaluate`, for type checkers."""

    split: str | None
    batch_size: int
    preprocessing: Preprocessing | None
    fraction: float
    on_corrupt: str
    classes: Sequence[str] | str | Path | None
    download: bool
    against: ModelLike | None
    real: str | Path | None
    confusion: str | Path | None
    overwrite: bool
    progress: Progress | None


@overload
def evaluate(
    model: list[ModelLike] | tuple[ModelLike, ...], data: Any, **options: Unpack[_Options]
) -> list[EvaluationReport]: ...


@overload
def evaluate(model: ModelLike, data: Any, **options: Unpack[_Options]) -> EvaluationReport: ...


def evaluate(
    model: ModelLike | Sequence[ModelLike],
    data: Any,
    *,
    split: str | None = None,
    batch_size: int = 32,
    preprocessing: Preprocessing | None = None,
    fraction: float = 0.2,
    on_corrupt: str = "fail",
    classes: Sequence[str] | str | Path | None = None,
    download: bool = False,
    against: ModelLike | None = None,
    real: str | Path | None = None,
    confusion: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EvaluationReport | list[EvaluationReport]:
    """Measure a classifier on labelled images, with the preprocessing that it carries; or several.

    Classes are matched by name where the model knows every class name of the data (so that some of
    its classes may be missing, or in another order); folders that are called by ImageNet's WordNet
    identifiers (ILSVRC, Imagenette) or by the numbers of all classes (ImageNet-V2) by these; and else
    by position.

    Args:
        model: a Keras model, a `.keras`, `.tflite` or `.onnx` file, a SavedModel, or a name; or a list
            of such, in any mixture, for the same images. The folder of a finished run stands for its
            model.
        data: as in `keras_vit.data.load`.
        split: as in `keras_vit.data.load`. By default `"validation"` of names, folders and files (the
            images that `train` held out), and `"all"` of arrays and `Dataset`s.
        batch_size: images at a time.
        preprocessing: of a model that carries none.
        fraction, on_corrupt, classes, download: as in `keras_vit.data.load`; give those that `train`
            was given.
        against: another model, such as the Keras model that a file was made from, for the same images.
        real: `real.json` of reassessed-imagenet, for the accuracy on ImageNet's reassessed labels.
        confusion: a .csv file for the confusion matrix, with the names of the classes.
        overwrite: whether that file may be replaced.
        progress: called with (images done, images) after every batch, over all models.

    Returns:
        The report; of a list of models as many, in that order.

    Raises:
        UsageError: data that the model has other classes for, or a wrong argument.
        KerasVitError: a damaged image or file.
    """
    models = [*model] if isinstance(model, list | tuple) else [model]
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    if not models or (confusion is not None and len(models) > 1):
        raise UsageError(f"evaluate needs {'one model for confusion=' if models else 'a model'}")
    if confusion is not None:
        require_output(Path(confusion), (".csv",), overwrite)
    if split is None:
        split = "validation" if isinstance(data, str | Path) else "all"
    dataset = load(
        data,
        split,
        fraction=fraction,
        on_corrupt=on_corrupt,
        classes=classes,
        download=download,
    )
    if confusion is not None and len(dataset.class_names) > Tally.LARGEST_CONFUSION:
        raise UsageError(f"confusion= takes at most {Tally.LARGEST_CONFUSION} classes")
    # All are opened before the first one works: what does not fit is refused now.
    candidates = [_candidate(classifier(one, preprocessing), dataset, real) for one in models]
    other = None if against is None else _other(against, preprocessing, candidates, dataset)
    work = _Work(dataset, split, batch_size, len(models) + (other is not None), progress)
    expected = None if other is None else _expected(other, work)
    reports = [_report(candidate, work, expected) for candidate in candidates]
    if confusion is not None:
        _write_confusion(reports[0], Path(confusion))
    return reports if isinstance(model, list | tuple) else reports[0]


def _candidate(classifying: Classifier, dataset: Dataset, real: str | Path | None) -> _Candidate:
    labels, classes, name = classifying.labels, classifying.classes, classifying.name
    logits_of = class_logits(dataset.class_names, labels, classes, name)
    acceptable = None if real is None else real_labels(real, dataset, classes)
    return _Candidate(classifying, logits_of, acceptable)


def _other(
    against: ModelLike,
    preprocessing: Preprocessing | None,
    candidates: Sequence[_Candidate],
    dataset: Dataset,
) -> _Candidate:
    other = classifier(against, preprocessing)
    for one in (candidate.classifying for candidate in candidates):
        if other.classes != one.classes:
            raise UsageError(
                f"{one.name} has {one.classes} classes and {other.name} {other.classes}"
            )
    return _candidate(other, dataset, None)


def _expected(other: _Candidate, work: _Work) -> _Expected:
    logits = np.concatenate([*work.logits(other.classifying)])
    targets = other.logits_of[work.dataset.labels]
    return _Expected(other.classifying.name, logits, measures(logits, targets)[0])


def _report(candidate: _Candidate, work: _Work, expected: _Expected | None) -> EvaluationReport:
    """What one model does."""
    classifying, dataset = candidate.classifying, work.dataset
    tally = Tally(dataset.labels, candidate.logits_of, classifying.classes, candidate.real)
    agreed, largest, start = 0, 0.0, time.perf_counter()
    marks: list[tuple[int, float]] = []
    for logits in work.logits(classifying):
        if expected is not None:
            theirs = expected.logits[tally.count : tally.count + len(logits)]
            agreed += int((logits.argmax(axis=1) == theirs.argmax(axis=1)).sum())
            largest = max(largest, float(np.abs(logits - theirs.astype(np.float64)).max()))
        tally.add(logits)
        marks.append((tally.count, time.perf_counter() - start))
    classes = _class_results(dataset, tally)
    shares = [one.top1 for one in classes if one.top1 is not None]
    return EvaluationReport(
        model=classifying.name,
        split=work.split,
        count=tally.count,
        skipped=len(dataset.skipped),
        top1=tally.top1 / tally.count,
        top5=tally.top5 / tally.count if classifying.classes > 5 else None,
        loss=tally.loss / tally.count,
        seconds=marks[-1][1],
        against=None if expected is None else _difference(expected, agreed, largest),
        images_per_second=_rate(marks),
        parameters=classifying.parameters,
        macs=classifying.macs,
        mean_per_class=sum(shares) / len(shares),
        classes=classes,
        confusion=_confusion(tally, classifying.classes),
        real=tally.real_right / tally.real_count if tally.real_count else None,
        real_count=None if candidate.real is None else tally.real_count,
    )


def _rate(marks: Sequence[tuple[int, float]]) -> float:
    """Images a second, of (images, seconds) after each batch; the first one is left out."""
    (first, begin), (count, end) = (marks[0] if len(marks) > 1 else (0, 0.0)), marks[-1]
    return (count - first) / (end - begin)


def _difference(expected: _Expected, agreed: int, largest: float) -> Difference:
    spread = float(expected.logits.std(dtype=np.float64))
    return Difference(
        model=expected.model,
        top1=expected.top1,
        agreement=agreed / len(expected.logits),
        max_difference=largest,
        relative_difference=largest / max(spread, np.finfo(float).tiny),
    )


def _class_results(dataset: Dataset, tally: Tally) -> tuple[ClassResult, ...]:
    counts = np.bincount(dataset.labels, minlength=len(dataset.class_names)).tolist()
    return tuple(
        ClassResult(name, count, right / count if count else None)
        for name, count, right in zip(
            dataset.class_names, counts, tally.right.tolist(), strict=True
        )
    )


def _confusion(tally: Tally, classes: int) -> tuple[tuple[int, ...], ...] | None:
    """The matrix as it is reported: without the last column where it has no meaning."""
    if tally.confusion is None:
        return None
    others = classes > len(tally.logits_of)
    matrix = tally.confusion if others else tally.confusion[:, :-1]
    return tuple(map(tuple, matrix.tolist()))


def _write_confusion(report: EvaluationReport, path: Path) -> None:
    """Rows are the true classes, columns what they were taken for."""
    assert report.confusion is not None
    names = [one.name for one in report.classes]
    others = ["(another)"] * (len(report.confusion[0]) - len(names))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *names, *others])
    writer.writerows([name, *row] for name, row in zip(names, report.confusion, strict=True))
    with whole_file(path) as file:
        file.write_text(text.getvalue(), encoding="utf-8")
