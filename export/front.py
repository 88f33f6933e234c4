"""What an artifact does to its images before the model sees them."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_vit.config import Preprocessing
from keras_vit.errors import UsageError
from keras_vit.layers import Preprocess


@keras.saving.register_keras_serializable("keras_vit")
class Normalize(keras.layers.Layer):
    """Images of 0..255 -> what a checkpoint wants: `(images / 255 - mean) / std`.

    Args:
        mean, std: one number a channel, of images scaled to 0..1.

    Input: (batch, height, width, channels), any integer or float type. Output: the same, float32.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**{"trainable": False, "dtype": "float32", **kwargs})
        self.mean = [float(value) for value in mean]
        self.std = [float(value) for value in std]

    def call(self, images: Any) -> Any:
        """One multiplication and one addition a pixel."""
        scale = [1 / (255 * std) for std in self.std]
        offset = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        # Channels come last here whatever Keras' global setting says.
        return keras.ops.cast(images, "float32") * keras.ops.convert_to_tensor(
            scale, "float32"
        ) + keras.ops.convert_to_tensor(offset, "float32")

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        """Float32 of the same shape."""
        return keras.KerasTensor(images.shape, dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "mean": self.mean, "std": self.std}


def build_front(
    preprocessing: str | keras.layers.Layer,
    values: Preprocessing | None,
    shape: Sequence[int | None],
    input_dtype: str,
) -> keras.Model | None:
    """The model that runs before the model, or None.

    Args:
        preprocessing: `"none"`, `"normalize"`, `"baked"` or a layer of your own.
        values: what the checkpoint wants done to images.
        shape: (height, width, channels) of the images that the artifact takes; None for a free side.
        input_dtype: their element type.

    Raises:
        UsageError: `"normalize"` or `"baked"` without values for this number of channels.
    """
    layer: Any = preprocessing
    match preprocessing:
        case "none":
            return None
        case "normalize":
            known = _known(preprocessing, values, shape[-1])
            layer = Normalize(known.mean, known.std, name="normalize")
        case "baked":
            known = _known(preprocessing, values, shape[-1])
            layer = Preprocess(**known.to_dict(), dtype="float32", name="preprocess")
    images = keras.Input(shape, dtype=input_dtype, name="images")
    return keras.Model(images, layer(images), name="preprocessing")


def _known(mode: str, values: Preprocessing | None, channels: int | None) -> Preprocessing:
    if values is None:
        raise UsageError(
            f'preprocessing="{mode}" needs a model with a configuration of ours; for a plain Keras '
            "model pass a layer, such as keras.layers.Rescaling(1 / 127.5, offset=-1)"
        )
    if not len(values.mean) == len(values.std) == channels:
        raise UsageError(
            f"the model takes {channels} channels but its configuration has {len(values.mean)} means "
            f"and {len(values.std)} standard deviations"
        )
    return values
