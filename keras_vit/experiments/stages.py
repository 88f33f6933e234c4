"""What a stage of an experiment can do. Each function leaves a model, or none, and gives what it measured."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.data.dataset import Dataset
from keras_vit.data.sources import load as load_data
from keras_vit.loading import load
from keras_vit.training.evaluation import evaluate as measure
from keras_vit.training.fitting import train as fit
from keras_vit.training.probing import draw_images, first_of
from keras_vit.training.probing import fewshot as probe

Measured = dict[str, float | int | None]


def train(
    output: Path,
    seed: int,
    *,
    model: str,
    data: Any,
    weights: str | None = "pretrained",
    image_size: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    shots: int | None = None,
    **arguments: Any,
) -> Measured:
    """`keras_vit.train`, and its last accuracy on the validation images.

    Args:
        output: the `.keras` file to write. seed: of it all.
        model: a name, or a `.keras` file to go on with. data: as in `keras_vit.data.load`.
        weights: of a name; `"none"` starts from scratch. image_size, overrides: as in `train`.
        shots: images of each class to train on; None is all.
        **arguments: of `train`.
    """
    if shots is not None:
        training, held_out = load_data(data, "train"), load_data(data, "validation")
        data = training.take(few(training, shots, seed))
        arguments = {**arguments, "validation": held_out}
    given: dict[str, Any] = {"image_size": image_size, "overrides": overrides}
    chosen: Any = model
    if model.endswith(".keras"):
        chosen, given = load(model), {}
    report = fit(
        chosen,
        data,
        output,
        weights=None if weights == "none" else weights,
        seed=seed,
        overwrite=True,
        **given,
        **arguments,
    )
    return {
        "accuracy": report.accuracy,
        "loss": report.loss,
        "seconds": report.seconds,
        "images": report.train_count,
        "validation_images": report.validation_count,
        "parameters": load(output).count_params(),
    }


def evaluate(
    output: Path,
    seed: int,
    *,
    model: str,
    data: Any,
    weights: str | None = "pretrained",
    image_size: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Measured:
    """`keras_vit.evaluate`.

    Args:
        output, seed: not used. model: a name or file. data: as in `keras_vit.data.load`.
        weights, image_size, overrides: of a name.
        **arguments: of `evaluate`.
    """
    chosen: Any = model
    if not model.endswith(".keras"):
        given: dict[str, Any] = {**(overrides or {})}
        if image_size is not None:
            given["image_size"] = image_size
        if overrides is not None:
            given["labels"] = load_data(data, "validation").class_names
        chosen = load(model, weights=weights, **given)
    report = measure(chosen, data, **arguments)
    return {
        "accuracy": report.top1,
        "top5": report.top5,
        "loss": report.loss,
        "seconds": report.seconds,
        "images": report.count,
        "validation_images": report.count,
        "images_per_second": report.images_per_second,
        "parameters": report.parameters,
    }


def fewshot(output: Path, seed: int, *, model: str, data: Any, shots: int) -> Measured:
    """`keras_vit.fewshot`: least squares on frozen features of a few images of each class.

    Args:
        output: not used. model: a name or file. data: as in `keras_vit.data.load`.
        seed: of the draw, the one of `train`'s `shots`. shots: images of each class.
    """
    report = probe(model, data, shots=(shots,), seeds=seed + 1, knn=())
    return {
        "accuracy": report.shots[0].each[seed],
        "seconds": report.feature_seconds + report.solve_seconds,
        "images": report.shots[0].images,
        "validation_images": report.count,
    }


def few(dataset: Dataset, shots: int, seed: int) -> np.ndarray:
    """The first images of each class in the random order in which `keras_vit.fewshot` draws them."""
    return np.sort(first_of(draw_images(dataset, seed), shots))


STAGES: Mapping[str, Callable[..., Measured]] = {
    "train": train,
    "evaluate": evaluate,
    "fewshot": fewshot,
}
"""By what the files call them."""
