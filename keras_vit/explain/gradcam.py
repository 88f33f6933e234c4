"""Grad-CAM: where a map speaks for a class."""

import keras
import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import NoPictureError
from keras_vit.explain.class_scores import Classes, class_gradients
from keras_vit.explain.tokens import layer_with_tokens
from keras_vit.explain.tracing import Images, Trace, trace
from keras_vit.layers import PatchEmbedding
from keras_vit.layers.grids import grid_and_prefix


def grad_cam(
    model: keras.Model, images: Images, classes: Classes = None, at: str | None = None
) -> NDArray[np.float32]:
    """Which places of a map speak for a class.

    Selvaraju et al., arXiv:1610.02391, equations 1 and 2: each channel weighs the mean over the map of the
    gradient of the class's logit; the positive part of the weighted sum. Tokens are taken as a map, those
    before the patches left out.

    Args:
        model: a model of `keras_vit.load`, of any family, that gives logits.
        images: float32 `(batch, height, width, channels)`, as the model takes them.
        classes: the class asked about, one for all images or one an image; None is each image's own
            prediction.
        at: a layer that gives a map or tokens. None is BiT's last map; a hybrid's last map before the
            Transformer; in ViT and CvT what goes into the last block, for where a class token is read,
            the patches that leave it do not count.

    Returns:
        `(batch, rows, columns)`, 0 or more, in the units of a logit times the map's size.

    Raises:
        UsageError: for a layer without a map, one on which the logits do not depend, a class that is not
            there, a model without logits, or images that it does not take.
    """
    symbols = trace(model, images)
    name = _default(symbols) if at is None else layer_with_tokens(symbols, at)
    grid, _ = grid_and_prefix(symbols.outputs[name])
    symbols = trace(model, images, offsets={name: grid})
    grid, _ = grid_and_prefix(symbols.outputs[name])
    (slopes,), (values,) = class_gradients(model, symbols, [grid])(images, classes)
    if slopes.ndim == 3:
        place = symbols.places[name]
        slopes, values = place.on_grid(slopes, 1), place.on_grid(values, 1)
    if not slopes.any():
        raise NoPictureError(
            f"the logits of {symbols.name} do not depend on the patches at {name}: an earlier layer, or a "
            "head whose weights are not zero"
        )
    return np.maximum(np.einsum("bhwc,bc->bhw", values, slopes.mean((1, 2))), 0)


def _default(symbols: Trace) -> str:
    names = list(symbols.places)
    for name in names[1:]:
        if isinstance(symbols.layers[name], PatchEmbedding):
            return names[names.index(name) - 1]
    return names[names.index(symbols.blocks[-1]) - 1] if symbols.blocks else names[-1]
