"""A trained model under its name: written whole, reopened, compared, and only then renamed."""

from pathlib import Path

import keras
import numpy as np

from keras_vit.config import ModelConfig
from keras_vit.errors import KerasVitError
from keras_vit.export.staging import publish, staging
from keras_vit.models.model import VisionModel
from keras_vit.outputs import require_free


def save_trained(
    model: keras.Model, config: ModelConfig, output: Path, overwrite: bool, images: np.ndarray
) -> None:
    """Write a model with its configuration, without the state of any optimizer.

    Args:
        model: Functional; it is not changed.
        config: travels with the file.
        output: as `keras_vit.outputs.require_output` accepts it.
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
        require_free(output, overwrite)
        publish([(file, output)], folder)
