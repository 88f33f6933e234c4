"""`check`: is a file still the one that was exported, does it run, does it compute what a model does."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.errors import ExportError, UsageError
from keras_vit.export.artifact import open_artifact
from keras_vit.export.formats import recognise
from keras_vit.export.images import feed, structured_images
from keras_vit.export.report import CheckReport, Tensor
from keras_vit.export.sidecar import preprocessing_of, read_sidecar, sha256, size_of
from keras_vit.export.verify import Finding, examine_in_child

if TYPE_CHECKING:
    import keras

_SIZE = 224  # of the test images, where the artifact takes any


def check(
    path: str | os.PathLike[str], against: "str | os.PathLike[str] | keras.Model | None" = None
) -> CheckReport:
    """Reopen an artifact in its own runtime, in a child process, and say what is wrong with it.

    Looked at are the operators, the interface, the labels and preprocessing, the SHA-256 in the JSON
    beside it, and what it answers to structured images at several batch sizes: finite, the same alone
    as in a batch, and the same as `against`.

    Args:
        path: a `.keras`, `.tflite` or `.onnx` file, or a SavedModel folder.
        against: a Keras model or the path of any such file that should compute the same; None
            compares the artifact with itself at batch 1.

    Returns:
        The findings; `report.passed` is whether nothing is wrong.

    Raises:
        UsageError: nothing is there, or `against` cannot be fed the same images.
    """
    path = Path(path)
    format = recognise(path)
    with tempfile.TemporaryDirectory(prefix="keras_vit.check.") as name:
        folder = Path(name)
        try:
            sidecar = read_sidecar(path)
            opened = _describe(path, format, folder)
        ...
