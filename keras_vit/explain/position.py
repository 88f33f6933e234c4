"""How alike the position embeddings of patches are."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import NoPictureError, UsageError
from keras_vit.explain.tracing import keras_model
from keras_vit.layers import ConvEmbedding, TokenEmbedding


def position_similarity(model: keras.Model, at: str | None = None) -> NDArray[np.float64]:
    """The cosine similarity of every patch's position embedding to every other's.

    arXiv:2010.11929, figure 7, centre: there `result[row, column]` is the small picture at (row, column).

    Args:
        model: a model of `keras_vit.load` with learned positions. Published CvTs have none; a CvT made
            with `position_embedding=True` has them by stage.
        at: the layer; None is the first that has positions.

    Returns:
        `(rows, columns, rows, columns)`, in -1..1, of the grid that the positions are learned for.

    Raises:
        NoPictureError: if there are no position embeddings. UsageError: for a layer without.
    """
    there = {layer.name: layer for layer in keras_model(model).layers if _positioned(layer)}
    if not there:
        raise NoPictureError(f"{model.name} has no position embedding, as CvT and BiT have none")
    if at is not None and at not in there:
        raise UsageError(f"no position embedding in {at}: there is {', '.join(there)}")
    vectors = _vectors(there[at or next(iter(there))])
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.einsum("rcd,sud->rcsu", unit, unit)


def _positioned(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, TokenEmbedding | ConvEmbedding) and layer.position_embedding


def _vectors(layer: Any) -> NDArray[np.float64]:
    """(rows, columns, dim): those of the patches."""
    values = np.asarray(keras.ops.convert_to_numpy(layer.pos_embed), np.float64)
    rows, columns = layer.grid_size
    return values.reshape(-1, values.shape[-1])[-rows * columns :].reshape(rows, columns, -1)
