"""What a frozen model makes of images: the vector that its classifier sees."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.data.sources import Dataset
from keras_vit.errors import KerasVitError, UsageError
from keras_vit.training.batching import Steps, rows
from keras_vit.training.classifiers import (
    ModelLike,
    artifact_steps,
    configuration,
    known_preprocessing,
    model_file,
    model_steps,
    output_called,
)

_FEATURES = "features"


@dataclass(frozen=True)
class Extractor:
    """A model ready to give features.

    Attributes:
        name: for reports.
        dimensions: numbers an image.
        steps: from images to them.
    """

    name: str
    dimensions: int
    steps: Steps

    def features(
        self, dataset: Dataset, batch_size: int, advance: Callable[[int], None]
    ) -> np.ndarray:
        """Of all images, float32 (images, dimensions); `advance` is called with each batch's images.

        Raises:
            KerasVitError: one is NaN or infinite.
        """
        found = np.empty((len(dataset), self.dimensions), np.float32)
        done = 0
        for batch in rows(self.steps, dataset.images, batch_size):
            if not np.isfinite(batch).all():
                raise KerasVitError(f"{self.name} gives features that are not finite")
            found[done : done + len(batch)] = batch
            done += len(batch)
            advance(len(batch))
        return found


def extractor(
    model: ModelLike, preprocessing: Preprocessing | None = None, layer: str | None = None
) -> Extractor:
    """Open whatever gives features.

    Args:
        model: as in `classifier`. Of a file that is not a `.keras` file, one that has an output
            `features`.
        preprocessing: of models and files that carry none.
        layer: a layer, or an output of a file, that gives one vector an image; None is what the
            classifier sees: with `num_classes=0` the model's own output, else the input of its `head`.

    Raises:
        UsageError: no such model, no such layer, not one vector an image, or no preprocessing.
        KerasVitError: a file that cannot be opened.
    """
    if not isinstance(model, str | os.PathLike):
        return _of_model(model, preprocessing, layer, None)
    path = model_file(model)
    if path.suffix == ".keras" or not path.exists():
        from keras_vit.loading import load

        name = str(path) if path.suffix == ".keras" else None
        return _of_model(load(path if name else model), preprocessing, layer, name)
    return _of_file(path, preprocessing, layer or _FEATURES)


def _of_model(
    model: Any, given: Preprocessing | None, layer: str | None, name: str | None
) -> Extractor:
    from keras_vit.export.interface import output_names, output_of
    from keras_vit.export.outputs import with_outputs

    config = configuration(model)
    name = name or (config.name if config else model.name)
    preprocessing = known_preprocessing(name, config.preprocessing if config else None, given)
    cut = with_outputs(model, output_names(model), [layer or _FEATURES])
    ((_, output),) = output_of(cut).items()
    steps = model_steps(cut, preprocessing)
    return Extractor(
        name=name,
        dimensions=_dimensions(name, output.shape),
        steps=Steps(steps.prepare, lambda images: _only(steps.run(images))),
    )


def _of_file(path: Path, given: Preprocessing | None, output: str) -> Extractor:
    from keras_vit.export import open_artifact

    artifact = open_artifact(path)
    shape = output_called(output, artifact, "export it with that output").shape
    preprocessing = known_preprocessing(str(path), artifact.preprocessing, given)
    return Extractor(
        name=str(path),
        dimensions=_dimensions(str(path), shape),
        steps=artifact_steps(artifact, preprocessing, output),
    )


def _only(outputs: Any) -> Any:
    """The one value of a dict."""
    (value,) = outputs.values()
    return value


def _dimensions(name: str, shape: tuple[int | None, ...]) -> int:
    if len(shape) != 2 or not shape[1]:
        raise UsageError(f"{name} does not give one vector an image there but {tuple(shape)}")
    return int(shape[1])
