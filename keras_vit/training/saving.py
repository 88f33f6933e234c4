"""A trained model under its name: written whole, reopened, compared, and only then renamed."""

from pathlib import Path

import keras
import numpy as np

from keras_vit.config import ModelConfig
from keras_vit.errors import KerasVitError, UsageError
from keras_vit.export.staging import publish, staging
from keras_vit.models.model import VisionModel


def require_output(output: Path, overwrite: bool) -> None:
    """Before any work: refuse a name that cannot become a `.keras` file.

    Raises:
        UsageError: another suffix, no such folder, or an existing file without `overwrite`.
        KerasVitError: the folder cannot be written.
    """
    if output.suffix != ".keras":
        raise UsageError(f"a trained model is a .keras file. Received: {output}")
    if not output.parent.is_dir():
        raise UsageError(f"the folder {output.parent} does not exist")
    _require_free(output, overwrite)
    with staging(output):
        """Proves that the folder can be written."""


def _require_free(output: Path, overwrite: bool) -> None:
    if output.is_dir():
        raise UsageError(f"{output} is a folder; choose another name")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; pass overwrite=True to replace it")


def save_trained(
    model: keras.Model, config: ModelConfig, output: Path, overwrite: bool, images: np.ndarray
) -> None:
    """Write a model with its configuration, without the state of any optimizer.

    Args:
        model: Functional; it is not changed.
        config: travels with the file.
        output: as `require_output` accepts it.
        overwrite: whether an existing file may be replaced.
        images: a batch of the model's input, on which the reopened file must give the same logits.

    Raises:
        UsageError: the output has come to exist meanwhile.
        KerasVitError: it cannot be written or reopened, or gives other logits.
    """
    saved = VisionModel(model.input, model.output, name=model.name, config=config)
    with staging(output) as folder:
        file = folder / output.name
        saved.save(file)
        try:
            reopened = keras.saving.load_model(file)
        except Exception as error:
            raise KerasVitError(
                f"{output} was not written: Keras cannot reopen this model; register its own classes "
                "with keras.saving.register_keras_serializable"
            ) from error
        expected, actual = saved.predict_on_batch(images), reopened.predict_on_batch(images)
        if not np.allclose(actual, expected, rtol=0, atol=1e-4 * np.std(expected)):
            raise KerasVitError(f"{output} was not written: reopened, it gives other logits")
        _require_free(output, overwrite)
        publish([(file, output)], folder)
