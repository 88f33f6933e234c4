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
from keras_vit.training.batching import Steps, rows
from keras_vit.training.run_folder import RunFolder

if TYPE_CHECKING:
    from keras_vit.export import Artifact
    from keras_vit.export.report import Tensor

ModelLike = Any
"""A Keras model, the path of a `.keras`, `.tflite`, `.onnx` file, SavedModel or run, or a name."""

_SUFFIXES = (".keras", ".tflite", ".onnx")


@dataclass(frozen=True)
class Classifier:
    """A model ready to classify.

    Attributes:
        name: for reports.
        preprocessing: of its images.
        labels: one name a class, or None.
        classes: number of logits.
        steps: from images to them.
        taken_size: (height, width) of what `steps.run` takes; None for any.
        parameters, macs: as in `keras_vit.counting`; None where they are not known.
    """

    name: str
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None
    classes: int
    steps: Steps
    taken_size: tuple[int, int] | None
    parameters: int | None = None
    macs: int | None = None

    def logits(
        self, images: Sequence[ImageLike] | np.ndarray, batch_size: int
    ) -> Iterator[np.ndarray]:
        """Logits of all images, float32 (at most batch_size, classes) at a time.

        Raises:
            KerasVitError: a logit is NaN or infinite.
        """
        for logits in rows(self.steps, images, batch_size):
            if not np.isfinite(logits).all():
                raise KerasVitError(f"{self.name} gives logits that are not finite")
            yield logits


def classifier(
    model: ModelLike, preprocessing: Preprocessing | None = None, *, any_name: bool = False
) -> Classifier:
    """Open whatever classifies.

    Args:
        model: see `ModelLike`.
        preprocessing: of models and files that carry none; it may not contradict one that is there.
        any_name: take the only output of a file for its logits, whatever its name.

    Raises:
        UsageError: no such model, none that gives one row of logits an image, or no preprocessing.
        KerasVitError: a file that cannot be opened.
    """
    if not isinstance(model, str | os.PathLike):
        return _of_model(model, preprocessing)
    if Path(model).exists() or Path(model).suffix in _SUFFIXES:
        return _of_file(model_file(model), preprocessing, any_name)
    from keras_vit.loading import load

    return _of_model(load(model), preprocessing)


def model_file(path: str | os.PathLike[str]) -> Path:
    """The path itself, or the trained model in the folder of a run.

    Raises:
        UsageError: the run has not come to its end.
    """
    run = RunFolder(Path(path))
    if not run.exists:
        return Path(path)
    if not run.model.is_file():
        raise UsageError(f"the run in {path} has not come to its end: there is no {run.model.name}")
    return run.model


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
    from keras_vit.counting import known_counts

    config = configuration(model)
    if config is not None and not config.arguments.get("num_classes", 1):
        raise UsageError(f"{model.name} gives features, not classes: load it with num_classes=N")
    preprocessing = known_preprocessing(model.name, config.preprocessing if config else None, given)
    parameters, macs = known_counts(model)
    return Classifier(
        name=config.name if config else model.name,
        preprocessing=preprocessing,
        labels=config.labels if config else None,
        classes=class_count(model.name, [tuple(o.shape) for o in model.outputs]),
        steps=model_steps(model, preprocessing),
        taken_size=preprocessing.image_size,
        parameters=parameters,
        macs=macs,
    )


def model_steps(model: Any, preprocessing: Preprocessing) -> Steps:
    """From images to what a Keras model with one output gives."""
    return Steps(
        prepare=lambda images: eval_batch(images, preprocessing),
        run=lambda images: model.predict_on_batch(normalize(images, preprocessing)),
    )


def _of_file(path: Path, given: Preprocessing | None, any_name: bool) -> Classifier:
    from keras_vit.export import open_artifact

    artifact = open_artifact(path)
    only = any_name and len(artifact.outputs) == 1
    logits = artifact.outputs[0] if only else output_called("logits", artifact)
    preprocessing = known_preprocessing(str(path), artifact.preprocessing, given)
    return Classifier(
        name=str(path),
        preprocessing=preprocessing,
        labels=artifact.labels,
        classes=class_count(str(path), [logits.shape]),
        steps=artifact_steps(artifact, preprocessing, logits.name),
        taken_size=_taken_size(artifact, preprocessing),
        parameters=artifact.metadata.get("parameters"),
        macs=artifact.metadata.get("macs"),
    )


def output_called(name: str, artifact: "Artifact", advice: str = "") -> "Tensor":
    """One output of a file; where it is missing, the error ends in `advice`.

    Raises:
        UsageError: the file does not give it.
    """
    for output in artifact.outputs:
        if output.name == name:
            return output
    given = ", ".join(output.name for output in artifact.outputs)
    ending = f": {advice}" if advice else ""
    raise UsageError(f"{artifact.path} gives {given}, not {name}{ending}")


def artifact_steps(artifact: "Artifact", preprocessing: Preprocessing, output: str) -> Steps:
    """From images to one output of a file."""
    prepare, largest = _preparation(artifact, preprocessing)
    ready = _input_of(artifact, preprocessing)
    return Steps(prepare, lambda images: artifact.run(ready(images))[output], largest)


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


def _input_of(
    artifact: "Artifact", preprocessing: Preprocessing
) -> Callable[[np.ndarray], np.ndarray]:
    """What makes a file's input of prepared images."""
    if artifact.preprocessing_mode == "none":
        return lambda images: normalize(images, preprocessing)
    # The file normalises by itself: it takes 0..255, in the type that it was written for.
    dtype = np.dtype(artifact.inputs[0].dtype)
    return lambda images: _as_pixels(images, dtype)


def _as_pixels(images: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """0..255 in another type; what lies between integers is rounded."""
    if np.issubdtype(images.dtype, np.floating) and np.issubdtype(dtype, np.integer):
        images = np.clip(np.rint(images), 0, 255)
    return images.astype(dtype)


def _taken_size(artifact: "Artifact", preprocessing: Preprocessing) -> tuple[int, int] | None:
    """(height, width) of its images; None for a file that resizes whatever comes."""
    if artifact.preprocessing_mode != "baked":
        return preprocessing.image_size
    height, width, _ = artifact.image_shape
    return None if height is None or width is None else (height, width)
