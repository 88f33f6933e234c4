"""How good a frozen model's features are: few-shot least squares, and nearest neighbours beside it."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.data.sources import Dataset, load
from keras_vit.errors import UsageError
from keras_vit.training.classifiers import ModelLike
from keras_vit.training.extraction import extractor
from keras_vit.training.least_squares import LeastSquares
from keras_vit.training.neighbours import neighbour_accuracies

L2 = 2.0**10
"""big_vision's (configs/common_fewshot.py)."""

L2_GRID = tuple(2.0**power for power in range(-10, 20))
"""Scenic's (scenic/train_lib/transfer/fewshot_utils.py), whence big_vision's earlier versions had it."""

NEIGHBOURS = (10, 20, 100, 200)
"""DINO's (eval_knn.py)."""


@dataclass(frozen=True)
class ShotResult:
    """The classifiers of so many training images a class.

    Attributes:
        shots: training images a class. images: of all classes; less than shots times classes where a
            class has not as many.
        top1: accuracy on the test images, 0..1, the mean over the seeds.
        deviation: standard deviation between the seeds (of the sample); None with one seed.
        each: the accuracy of each seed.
        best_l2: the l2 of the grid with the largest mean, the smallest of equal ones. best_top1,
            best_deviation: what it reaches. It is chosen on the test images themselves: an upper
            bound, and not a result.
    """

    shots: int
    images: int
    top1: float
    deviation: float | None
    each: tuple[float, ...]
    best_l2: float
    best_top1: float
    best_deviation: float | None


@dataclass(frozen=True)
class NeighbourResult:
    """k nearest neighbours among all training images: the accuracy on the test images, 0..1."""

    k: int
    top1: float


@dataclass(frozen=True)
class FewShotReport:
    """What `fewshot` measured.

    Attributes:
        model: name or path. features: numbers an image.
        classes: of the data. train_count, count: its training and test images.
        skipped: damaged files that were left out.
        smallest_class: training images of the class that has the fewest.
        l2: of the least squares. seeds: how many.
        shots: least squares, for each number of shots. neighbours: for each k.
        temperature: of the neighbours' votes.
        feature_seconds, solve_seconds: decoding and running the model; all that follows.
    """

    model: str
    features: int
    classes: int
    train_count: int
    count: int
    skipped: int
    smallest_class: int
    l2: float
    seeds: int
    shots: tuple[ShotResult, ...]
    neighbours: tuple[NeighbourResult, ...]
    temperature: float
    feature_seconds: float
    solve_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)


def fewshot(
    model: ModelLike,
    data: Any,
    *,
    shots: Sequence[int] = (1, 5, 10, 25),
    seeds: int = 3,
    l2: float = L2,
    l2_grid: Sequence[float] = L2_GRID,
    knn: Sequence[int] | None = None,
    temperature: float = 0.07,
    layer: str | None = None,
    batch_size: int = 32,
    preprocessing: Preprocessing | None = None,
    fraction: float = 0.2,
    on_corrupt: str = "fail",
    classes: Sequence[str] | str | Path | None = None,
    download: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FewShotReport:
    """Measure a frozen model's features: no weight of it is trained.

    Linear classifiers are solved in closed form on a few training images a class (see
    `training.least_squares`), and k nearest neighbours vote among all training images (see
    `training.neighbours`). Each image goes through the model once; the rest is NumPy in float64.

    Args:
        model: a Keras model, a `.keras` file, a name, or another file with an output `features`.
        data: as in `keras_vit.data.load`: its training images teach, its validation images test.
        shots: training images a class. Those of seed s are the first of
            `numpy.random.default_rng(s).permutation` of each class in turn, as big_vision draws them;
            a class with fewer gives all it has.
        seeds: how many draws.
        l2: strength of the regularisation.
        l2_grid: strengths of which the best is reported, too.
        knn: the values of k; None are 10, 20, 100 and 200 as far as there are training images, and an
            empty list is none, which leaves out the training images that no draw needs.
        temperature: of the neighbours' votes.
        layer: which layer's output are the features; None is what the classifier sees.
        batch_size: images at a time.
        preprocessing: of a model that carries none.
        fraction, on_corrupt, classes, download: as in `keras_vit.data.load`.
        progress: called with (images done, images) after every batch.

    Raises:
        UsageError: a wrong argument, data without two parts, or a model without features.
        KerasVitError: a damaged image or file, or features that are not finite.
    """
    _check(shots, seeds, [l2, *l2_grid], batch_size, temperature)
    train, test = (
        load(
            data,
            split,
            fraction=fraction,
            on_corrupt=on_corrupt,
            classes=classes,
            download=download,
        )
        for split in ("train", "validation")
    )
    counts = _neighbour_counts(knn, len(train))
    skipped = len(train.skipped) + len(test.skipped)
    extracting = extractor(model, preprocessing, layer)
    draws = [draw_images(train, seed) for seed in range(seeds)]
    train_count, sizes = len(train), np.bincount(train.labels, minlength=len(train.class_names))
    if not counts:
        train, draws = _needed_only(train, draws, max(shots))
    advance = _advance(progress, len(train) + len(test))
    start = time.perf_counter()
    x, x_test = (extracting.features(part, batch_size, advance) for part in (train, test))
    middle = time.perf_counter()
    probe = _Probe(x, train.labels, x_test, test.labels, len(train.class_names))
    results = tuple(probe.shots(count, draws, l2, l2_grid) for count in shots)
    nearest = probe.neighbours(counts, temperature)
    return FewShotReport(
        model=extracting.name,
        features=extracting.dimensions,
        classes=len(train.class_names),
        train_count=train_count,
        count=len(test),
        skipped=skipped,
        smallest_class=int(sizes.min()),
        l2=l2,
        seeds=seeds,
        shots=results,
        neighbours=nearest,
        temperature=temperature,
        feature_seconds=middle - start,
        solve_seconds=time.perf_counter() - middle,
    )


Draw = Sequence[np.ndarray]
"""For each class the places of its training images in a random order."""


@dataclass(frozen=True)
class _Probe:
    """Features and classes of the training and the test images."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: int

    def shots(
        self, count: int, draws: Sequence[Draw], l2: float, l2_grid: Sequence[float]
    ) -> ShotResult:
        chosen = [first_of(draw, count) for draw in draws]
        found = np.array([self._accuracies(places, [l2, *l2_grid]) for places in chosen])
        best = 1 + int(found[:, 1:].mean(axis=0).argmax()) if l2_grid else 0
        each, reached = found[:, 0].tolist(), found[:, best].tolist()
        return ShotResult(
            shots=count,
            images=len(chosen[0]),
            top1=statistics.mean(each),
            deviation=_deviation(each),
            each=tuple(each),
            best_l2=float([l2, *l2_grid][best]),
            best_top1=statistics.mean(reached),
            best_deviation=_deviation(reached),
        )

    def _accuracies(self, places: np.ndarray, strengths: Sequence[float]) -> list[float]:
        solved = LeastSquares.fit(self.train[places], self.train_labels[places], self.classes)
        return solved.accuracies(self.test, self.test_labels, strengths)

    def neighbours(self, counts: Sequence[int], temperature: float) -> tuple[NeighbourResult, ...]:
        if not counts:
            return ()
        known, asked = (self.train, self.train_labels), (self.test, self.test_labels)
        found = neighbour_accuracies(*known, *asked, counts, temperature)
        return tuple(NeighbourResult(k, top1) for k, top1 in zip(counts, found, strict=True))


def _check(
    shots: Sequence[int],
    seeds: int,
    strengths: Iterable[float],
    batch_size: int,
    temperature: float,
) -> None:
    if not shots or min(shots) < 1 or seeds < 1 or batch_size < 1:
        raise UsageError(
            f"shots, seeds and batch_size must be at least 1, got {list(shots)}, {seeds}, {batch_size}"
        )
    if not all(0 < value < np.inf for value in (*strengths, temperature)):
        raise UsageError("l2, l2_grid and temperature must be positive")


def _neighbour_counts(knn: Sequence[int] | None, images: int) -> tuple[int, ...]:
    if knn is None:
        return tuple(k for k in NEIGHBOURS if k <= images)
    if knn and not 1 <= min(knn) <= max(knn) <= images:
        raise UsageError(f"knn must be 1 to {images}, the training images; got {list(knn)}")
    return tuple(knn)


def draw_images(train: Dataset, seed: int) -> Draw:
    """Of each class the places of its images, in the random order in which `fewshot` takes them."""
    rng = np.random.default_rng(seed)
    return [
        rng.permutation(np.flatnonzero(train.labels == label))
        for label in range(len(train.class_names))
    ]


def first_of(draw: Draw, count: int) -> np.ndarray:
    """The first images of each class."""
    return np.concatenate([places[:count] for places in draw])


def _needed_only(train: Dataset, draws: Sequence[Draw], count: int) -> tuple[Dataset, list[Draw]]:
    """The training images of the largest draws alone, and the draws among them."""
    needed = np.unique(np.concatenate([first_of(draw, count) for draw in draws]))
    renumbered: list[Draw] = [
        [np.searchsorted(needed, places[:count]) for places in draw] for draw in draws
    ]
    return train.take(needed), renumbered


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _advance(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    return advance
