"""Anything that classifies images, behind one function: a Keras model, a file of any format, a name."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vit.config import ModelConfig, Preprocessing
from keras_vit.data.transforms import ImageLike, decoded, eval_batch, normalize
from keras_vit.errors import KerasVitError, UsageError

if TYPE_CHECKING:
    from keras_vit.export import Artifact

ModelLike = Any
"""A Keras model, the path of a `.keras`, `.tflite`, `.onnx` file or SavedModel, or a name."""

_SUFFIXES = (".keras", ".tflite", ".onnx")


@dataclass(frozen=True)
class Classifier:
    """A model ready to classify.

    Attributes:
        name: for reports.
        preprocessing: of its images.
        labels: one name a class, or None.
        classes: number of logits.
        prepare: images to the uint8 (B, h, w, C) that `run` takes, resized and cropped where it wants that.
        run: those to logits (B, classes).
        largest_batch: how many images it takes at a time; None is any number.
    """

    name: str
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None
    classes: int
    prepare: Callable[[Sequence[ImageLike] | np.ndarray], np.ndarray]
    run: Callable[[np.ndarray], np.ndarray]
    largest_batch: int | None = None

    def logits(
        self, images: Sequence[ImageLike] | np.ndarray, batch_size: int
    ) -> Iterator[np.ndarray]:
        """Logits of all images, float32 (at most batch_size, classes) at a time.

        Raises:
            KerasVitError: a logit is NaN or infinite.
        """
        batch_size = min(batch_size, self.largest_batch or batch_size)
        for start in range(0, len(images), batch_size):
            batch = self.prepare(images[start : start + batch_size])
            # A last, shorter batch is filled up: a new shape would be traced and compiled anew.
            missing = min(batch_size, len(images)) - len(batch)
            filled = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
            logits = np.asarray(self.run(filled), np.float32)[: len(batch)]
            if not np.isfinite(logits).all():
                raise KerasVitError(f"{self.name} gives logits that are not finite")
            yield logits


def classifier(model: ModelLike, preprocessing: Preprocessing | None = None) -> Classifier:
    """Open whatever classifies.

    Args:
        model: see `ModelLike`.
        preprocessing: of models and files that carry none; it may not contradict one that is there.

    Raises:
        UsageError: no such model, none that gives one row of logits an image, or no preprocessing.
        KerasVitError: a file that cannot be opened.
    """
    if not isinstance(model, str | os.PathLike):
        return _of_model(model, preprocessing)
    if Path(model).exists() or Path(model).suffix in _SUFFIXES:
        return _of_file(Path(model), preprocessing)
    from keras_vit.loading import load

    return _of_model(load(model), preprocessing)


def known_preprocessing(
    name: str, stored: Preprocessing | None, given: Preprocessing | None
) -> Preprocessing:
    """What a model carries, else what the caller gave.

    Raises:
        UsageError: neither, or both and they differ.
    """
    if stored is None and given is None:
        raise UsageError(f"{name} carries no preprocessing: pass preprocessing=Preprocessing(...)")
    if stored is not None and given not in (None, stored):
        raise UsageError(f"{name} carries its own preprocessing: leave out preprocessing=")
    return stored or given  # type: ignore[return-value]


def configuration(model: Any) -> ModelConfig | None:
    """Of a model of ours; None of any other Keras model."""
    config = getattr(model, "config", None)
    return config if isinstance(config, ModelConfig) else None


def class_count(name: str, shapes: Sequence[tuple[int | None, ...]]) -> int:
    """The number of classes of a model with outputs of these shapes.

    Raises:
        UsageError: unless there is one output (batch, classes).
    """
    if len(shapes) != 1 or len(shapes[0]) != 2 or not shapes[0][1]:
        raise UsageError(f"{name} does not give (batch, classes) but {', '.join(map(str, shapes))}")
    return int(shapes[0][1])


def _of_model(model: Any, given: Preprocessing | None) -> Classifier:
    config = configuration(model)
    if config is not None and not config.arguments.get("num_classes", 1):
        raise UsageError(f"{model.name} gives features, not classes: load it with num_classes=N")
    preprocessing = known_preprocessing(model.name, config.preprocessing if config else None, given)
    return Classifier(
        name=config.name if config else model.name,
        preprocessing=preprocessing,
        labels=config.labels if config else None,
        classes=class_count(model.name, [tuple(o.shape) for o in model.outputs]),
        prepare=lambda images: eval_batch(images, preprocessing),
        run=lambda images: model.predict_on_batch(normalize(images, preprocessing)),
    )


def _of_file(path: Path, given: Preprocessing | None) -> Classifier:
    from keras_vit.export import open_artifact

    artifact = open_artifact(path)
    outputs = [o for o in artifact.outputs if o.name == "logits"]
    if not outputs:
        names = ", ".join(o.name for o in artifact.outputs)
        raise UsageError(f"{path} gives {names}, not logits")
    preprocessing = known_preprocessing(str(path), artifact.preprocessing, given)
    prepare, largest = _preparation(artifact, preprocessing)
    return Classifier(
        name=str(path),
        preprocessing=preprocessing,
        labels=artifact.labels,
        classes=class_count(str(path), [o.shape for o in outputs]),
        prepare=prepare,
        run=_runner(artifact, preprocessing),
        largest_batch=largest,
    )


def _preparation(
    artifact: "Artifact", preprocessing: Preprocessing
) -> tuple[Callable[[Sequence[ImageLike] | np.ndarray], np.ndarray], int | None]:
    """What has to be done before a file sees images, and how many of them it takes at a time."""
    if artifact.preprocessing_mode != "baked":
        return lambda images: eval_batch(images, preprocessing), None
    height, width, channels = artifact.image_shape
    if height is None or width is None:  # any size, but one a batch
        return lambda images: decoded(images[0], channels or 3)[None], 1
    # As a camera of that size would have seen them: the file does the rest.
    camera = dataclasses.replace(
        preprocessing, image_size=(height, width), crop_pct=1.0, crop_mode="center"
    )
    return lambda images: eval_batch(images, camera), None


def _runner(
    artifact: "Artifact", preprocessing: Preprocessing
) -> Callable[[np.ndarray], np.ndarray]:
    if artifact.preprocessing_mode == "none":
        return lambda images: artifact.predict(normalize(images, preprocessing))
    # The file normalises by itself: it takes 0..255, in the type that it was written for.
    dtype = artifact.inputs[0].dtype
    return lambda images: artifact.predict(images.astype(dtype))
