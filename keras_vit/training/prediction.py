"""What a model sees in images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from keras_vit.bulk.prediction import BulkReport, predict_table
from keras_vit.config import Preprocessing
from keras_vit.data.sources import image_files
from keras_vit.data.transforms import ImageLike
from keras_vit.errors import UsageError
from keras_vit.training.classifiers import ModelLike, classifier
from keras_vit.training.scoring import probabilities

Answers = list[list[tuple[str, float]]]


@overload
def predict(
    model: ModelLike,
    images: str | Path | np.ndarray | Sequence[ImageLike],
    *,
    top: int = 5,
    batch_size: int = 32,
    preprocessing: Preprocessing | None = None,
) -> Answers: ...
@overload
def predict(
    model: ModelLike,
    images: str | Path | Sequence[str | Path],
    *,
    top: int = 5,
    batch_size: int = 32,
    preprocessing: Preprocessing | None = None,
    output: str | Path,
    shard: tuple[int, int] = (0, 1),
    on_corrupt: str = "fail",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> BulkReport: ...
def predict(
    model: ModelLike,
    images: str | Path | np.ndarray | Sequence[ImageLike],
    *,
    top: int = 5,
    batch_size: int = 32,
    preprocessing: Preprocessing | None = None,
    output: str | Path | None = None,
    shard: tuple[int, int] = (0, 1),
    on_corrupt: str = "fail",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Answers | BulkReport:
    """The most probable classes of each image, returned, or in bulk into a table of one row an image.

    The table has the columns `image` (its path, or TFRecord file and place), `label_1`, `probability_1` and
    so on, and `error`. Until it is whole, `OUTPUT.parts` beside it holds what is done: a call that was
    killed at any moment goes on when it is repeated, and ends with exactly one row an image.

    Args:
        model: a Keras model, a `.keras`, `.tflite` or `.onnx` file, a SavedModel, or a name.
        images: a file, a folder (its image files, sorted: `keras_vit.data.image_files` lists them),
            one uint8 array (H, W, C), a batch (N, H, W, C), or a sequence of files and arrays.
        top: classes an image.
        batch_size: images at a time.
        preprocessing: of a model that carries none.
        output: the table to write, `.parquet` (by pyarrow), `.csv` or `.jsonl`. `images` are then files,
            folders, or TFRecord files as `keras_vit.data.load` names them.
        shard: (index, count) of this worker among several, on any machines: it takes its share of the
            images and writes `OUTPUT-00001-of-00004.parquet`.
        on_corrupt: `"fail"`, or `"skip"`: the row of a damaged image says so in its `error`.
        overwrite: replace a table that exists, and begin anew where one was begun.
        progress: called with (images done, images).

    Returns:
        With `output` a `BulkReport`, else for each image up to `top` pairs of label and probability
        (0..1), the most probable first. The labels are the model's own, or the indices of its logits as
        text where it has none.

    Raises:
        UsageError: no such file, a wrong argument, or parts of another job beside the table.
        KerasVitError: a damaged image or model file.
        MissingPackageError: pyarrow, for Parquet.
    """
    if top < 1 or batch_size < 1:
        raise UsageError(f"top and batch_size must be at least 1, got {top} and {batch_size}")
    if output is not None:
        return predict_table(
            model,
            _paths(images),
            Path(output),
            top=top,
            batch_size=batch_size,
            preprocessing=preprocessing,
            shard=shard,
            on_corrupt=on_corrupt,
            overwrite=overwrite,
            progress=progress,
        )
    if shard != (0, 1):
        raise UsageError("shard is of a table: give the output, too")
    found = _images(images)
    classifying = classifier(model, preprocessing)
    labels = classifying.labels or tuple(map(str, range(classifying.classes)))
    return [
        _best(*rows, labels, top)
        for batch in classifying.logits(found, batch_size)
        for rows in zip(batch, probabilities(batch), strict=True)
    ]


def _paths(images: str | Path | np.ndarray | Sequence[ImageLike]) -> Sequence[str | Path]:
    listed = [images] if isinstance(images, str | Path) else [*images]
    paths = [path for path in listed if isinstance(path, str | Path)]
    if len(paths) < len(listed):
        raise UsageError("a table is of image files, folders or TFRecord files, not of arrays")
    return paths


def _images(images: str | Path | np.ndarray | Sequence[ImageLike]) -> Sequence[ImageLike]:
    if isinstance(images, np.ndarray):
        return [images] if images.ndim < 4 else list(images)
    if isinstance(images, str | Path):
        return image_files(images)
    return [
        path
        for image in images
        for path in (image_files(image) if isinstance(image, str | Path) else [image])
    ]


def _best(
    logits: np.ndarray, shares: np.ndarray, labels: Sequence[str], top: int
) -> list[tuple[str, float]]:
    order = np.argsort(-logits, kind="stable")[:top]
    return [(labels[i], float(shares[i])) for i in order]
