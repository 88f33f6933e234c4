"""What patches have in common: the principal components of their tokens."""

import keras
import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import UsageError
from keras_vit.explain.components import principal_components
from keras_vit.explain.tracing import Images, Trace, trace
from keras_vit.layers.grids import grid_and_prefix


def token_components(
    model: keras.Model,
    images: Images,
    count: int = 3,
    at: str | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """The patches of all images on the principal components of their tokens.

    As DINOv2 shows them (arXiv:2304.07193, figure 1): three components are red, green and blue. There the
    background goes first, by the first component of all patches: `mask = token_components(model, images,
    1)[..., 0] > 0`, or `< 0`, since a sign has no meaning; then `token_components(model, images, mask=mask)`.

    Args:
        model: a model of `keras_vit.load`.
        images: float32 `(batch, height, width, channels)`, as the model takes them.
        count: how many components.
        at: a layer that gives tokens or a map; None is the last one that does: the final norm, or what
            stands before the pooling. A CvT's is the map of its last block.
        mask: `(batch, rows, columns)`, which patches count; None is all.

    Returns:
        `(batch, rows, columns, count)`, each component 0 in the mean, in the units of the tokens, the
        largest variance first; NaN outside of the mask.

    Raises:
        UsageError: for a layer without tokens, more components than patches or channels, a mask of another
            shape, or images that the model does not take.
    """
    symbols = trace(model, images)
    name = layer_with_tokens(symbols, at)
    place = symbols.places[name]
    grid, _ = grid_and_prefix(symbols.outputs[name])
    tokens = symbols.run({name: grid}, images)[name]
    if tokens.ndim == 3:
        tokens = place.on_grid(tokens, 1)
    kept = np.ones(tokens.shape[:3], bool) if mask is None else np.asarray(mask, bool)
    if kept.shape != tokens.shape[:3]:
        raise UsageError(f"mask must be {tokens.shape[:3]}, not {kept.shape}")
    samples = tokens[kept].astype(np.float64)
    directions, _ = principal_components(samples, count, "patches")
    found = np.full((*kept.shape, count), np.nan)
    found[kept] = (samples - samples.mean(0)) @ directions.T
    return found


def layer_with_tokens(symbols: Trace, at: str | None) -> str:
    """The layer of that name, or the last one.

    Raises:
        UsageError: if it gives neither a map nor tokens.
    """
    names = list(symbols.places)
    if at is not None and at not in names:
        raise UsageError(f"{at!r} gives neither a map nor tokens: {', '.join(names)} do")
    return names[-1] if at is None else at
