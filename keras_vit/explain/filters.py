"""What the first layer sees."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import NoPictureError
from keras_vit.explain.components import principal_components
from keras_vit.explain.tracing import keras_model
from keras_vit.layers import ConvEmbedding, PatchEmbedding, ResNetStem


def filter_components(
    model: keras.Model, count: int = 28
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The principal components of the filters of the first layer.

    arXiv:2010.11929, figure 7, left: of a ViT's patch embedding; of a CvT's first token embedding; of a
    hybrid's or a BiT's first convolution, standardised as the model applies it. A filter is a sample, its
    weights are the variables, the mean filter is taken off.

    Args:
        model: a model of `keras_vit.load`. count: how many components.

    Returns:
        The components `(count, height, width, channels)`, of norm 1, the largest variance first, each with
        its largest weight positive; and the share of the variance that each explains, `(count,)`.

    Raises:
        UsageError: if no layer of this package sees the images first, or there are not that many
            components.
    """
    filters = first_filters(model)
    *size, number = filters.shape
    samples = filters.reshape(-1, number).T
    found, shares = principal_components(samples, count, "filters")
    return found.reshape(count, *size), shares


def first_filters(model: keras.Model) -> NDArray[np.float64]:
    """`(height, width, channels, filters)` of the layer that sees the images first.

    Raises:
        NoPictureError: if no layer of this package does.
    """
    layers = keras_model(model).layers
    filters = next((_FILTERS[type(x)](x) for x in layers if type(x) in _FILTERS), None)
    if filters is None:
        raise NoPictureError(f"{model.name} has no patch embedding or stem of keras_vit's")
    return filters


def _array(variable: Any) -> NDArray[np.float64]:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)


def _standardized(stem: Any) -> NDArray[np.float64]:
    kernel = _array(stem.conv.kernel)
    return (kernel - kernel.mean((0, 1, 2))) / kernel.std((0, 1, 2))


# Of each layer that may see the images first, in the order of a model's layers: (h, w, channels, filters).
_FILTERS: dict[type, Any] = {
    ResNetStem: _standardized,
    ConvEmbedding: lambda layer: _array(layer.proj.kernel),
    PatchEmbedding: lambda layer: _array(layer.proj.kernel),
}
