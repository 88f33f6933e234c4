"""What is explained: a model or a file, ready, with images as it sees them and as it takes them."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_vit.config import ModelConfig, Preprocessing
from keras_vit.data.transforms import ImageLike, eval_batch, normalize
from keras_vit.errors import UsageError
from keras_vit.training.classifiers import (
    artifact_steps,
    configuration,
    known_preprocessing,
    model_file,
)
from keras_vit.training.scoring import probabilities

if TYPE_CHECKING:
    from keras_vit.export import Artifact

_BATCH = 8


@dataclass(frozen=True)
class Subject:
    """A model and images.

    Attributes:
        model: it. name: for titles. weights: where they came from, if that is known.
        labels: one a class, or None.
        seen: uint8 `(images, height, width, channels)`, resized and cropped as the model sees them.
        images: the same as `model` takes them.
        file_names: one an image.
    """

    model: "keras.Model | Artifact"
    name: str
    weights: str | None
    labels: tuple[str, ...] | None
    seen: NDArray[np.uint8]
    images: NDArray[Any]
    file_names: tuple[str, ...]

    def first(self, count: int) -> "Subject":
        """The same with fewer images."""
        return dataclasses.replace(
            self,
            seen=self.seen[:count],
            images=self.images[:count],
            file_names=self.file_names[:count],
        )

    def shares(self) -> NDArray[np.float32] | None:
        """The probabilities of classes `(images, classes)`; None of a model that gives no logits."""
        if isinstance(self.model, keras.Model):
            config = configuration(self.model)
            shapes = [tuple(output.shape) for output in self.model.outputs]
            if len(shapes) != 1 or len(shapes[0]) != 2:
                return None
            if config is not None and not config.arguments.get("num_classes", 1):
                return None
            starts = range(0, len(self.images), _BATCH)
            batches = [self.images[start : start + _BATCH] for start in starts]
            logits = np.concatenate([self.model.predict_on_batch(batch) for batch in batches])
            return probabilities(np.asarray(logits, np.float32))
        if not any(output.name == "logits" for output in self.model.outputs):
            return None
        answers = [self.model.run(image[None])["logits"][0] for image in self.images]
        return probabilities(np.asarray(answers, np.float32))

    def class_index(self, wanted: int | str | None) -> int | None:
        """A class by its number or its label.

        Raises:
            UsageError: for a label that the model does not have.
        """
        if wanted is None or isinstance(wanted, int):
            return wanted
        if self.labels and wanted in self.labels:
            return self.labels.index(wanted)
        if wanted.isdecimal():
            return int(wanted)
        known = ", ".join((self.labels or ())[:5]) or "none: give a number"
        raise UsageError(f"no class {wanted!r} among the model's labels: {known}, ...")

    def label(self, index: int) -> str:
        """The name of a class, or its number."""
        return self.labels[index] if self.labels else f"class {index}"


def subject(
    model: Any,
    images: Sequence[ImageLike],
    preprocessing: Preprocessing | None = None,
    image_size: tuple[int, int] | None = None,
) -> Subject:
    """Open a model and prepare images for it.

    Args:
        model: a Keras model, a `.keras`, `.tflite` or `.onnx` file, a SavedModel or run folder, or a name.
        images: files or arrays.
        preprocessing: of models that carry none.
        image_size: (height, width) for a model or file that takes any; None is its preprocessing's.

    Raises:
        UsageError: no such model or image, or a size that the model does not take.
        KerasVitError: a damaged file.
    """
    opened = _opened(model) if isinstance(model, str | os.PathLike) else model
    names = tuple(
        Path(image).name if isinstance(image, str | os.PathLike) else f"image {i + 1}"
        for i, image in enumerate(images)
    )
    if isinstance(opened, keras.Model):
        return _of_model(opened, images, names, preprocessing, image_size)
    return _of_artifact(opened, images, names, preprocessing, image_size)


def _opened(model: str | os.PathLike[str]) -> Any:
    path = Path(model)
    if not path.exists() and path.suffix not in (".keras", ".tflite", ".onnx"):
        from keras_vit.loading import load

        return load(model)
    from keras_vit.export import open_artifact
    from keras_vit.export.formats import recognise
    from keras_vit.loading import load_saved

    path = model_file(path)
    return load_saved(path) if recognise(path) == "keras" else open_artifact(path)


def _of_model(
    model: keras.Model,
    images: Sequence[ImageLike],
    names: tuple[str, ...],
    given: Preprocessing | None,
    image_size: tuple[int, int] | None,
) -> Subject:
    config = configuration(model)
    values = known_preprocessing(model.name, config.preprocessing if config else None, given)
    values = _at_size(model.name, values, model.inputs[0].shape[1:3], image_size)
    seen = eval_batch(images, values)
    return Subject(
        model=model,
        name=_title(config) if config else model.name,
        weights=config.weights if config else None,
        labels=config.labels if config else None,
        seen=seen,
        images=normalize(seen, values),
        file_names=names,
    )


def _title(config: ModelConfig) -> str:
    """The name; its tag, which tells whose weights they are, only where training began with them."""
    origin = config.training["model"]["weights"] if config.training else config.weights
    return config.name if origin else config.name.partition(".")[0]


def _of_artifact(
    artifact: "Artifact",
    images: Sequence[ImageLike],
    names: tuple[str, ...],
    given: Preprocessing | None,
    image_size: tuple[int, int] | None,
) -> Subject:
    from keras_vit.export.images import as_seen, feed

    values = known_preprocessing(str(artifact.path), artifact.preprocessing, given)
    mode = artifact.preprocessing_mode
    if mode != "baked":
        sides = artifact.image_shape[:2]
        values = _at_size(str(artifact.path), values, sides, image_size)
    elif image_size is not None:
        raise UsageError(f"{artifact.path} resizes images itself: leave out image_size")
    prepare = artifact_steps(artifact, values, "").prepare
    if None in artifact.image_shape[:2] and mode == "baked":
        # It takes any size, but one a batch: so large that its own resize has nothing left to do.
        raw = eval_batch(
            images, dataclasses.replace(values, image_size=values.uncropped, crop_pct=1.0)
        )
    else:
        raw = prepare(images)
    return Subject(
        model=artifact,
        name=artifact.path.name,
        weights=artifact.metadata.get("weights"),
        labels=artifact.labels,
        seen=as_seen(raw, mode, values),
        images=feed(raw, artifact.images.dtype, mode, values),
        file_names=names,
    )


def _at_size(
    name: str,
    values: Preprocessing,
    sides: Sequence[int | None],
    wanted: tuple[int, int] | None,
) -> Preprocessing:
    """The preprocessing at the size that is wanted, or else at the model's own."""
    fixed = None if None in sides else (int(sides[0] or 0), int(sides[1] or 0))
    if fixed is not None and wanted not in (None, fixed):
        raise UsageError(
            f"{name} takes images of {fixed[0]}x{fixed[1]} and no others: leave out image_size"
        )
    return dataclasses.replace(values, image_size=fixed or wanted or values.image_size)
