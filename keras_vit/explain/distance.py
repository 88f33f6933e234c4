"""How far heads look."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_vit.explain.places import Place
from keras_vit.explain.sources import scores, traced
from keras_vit.explain.tracing import Images, asked

if TYPE_CHECKING:
    from keras_vit.export import Artifact


def attention_distance(
    model: "keras.Model | Artifact", images: Images, at: Iterable[str] | None = None
) -> dict[str, NDArray[np.float64]]:
    """The mean distance between a patch and those that it attends to, by block and head.

    The distance between the centres of two patches, in pixels of the image, weighted with the attention
    and summed over keys; then the mean over queries and images (arXiv:2010.11929, appendix D.7 and
    figure 7, right). As in scenic's and keras.io's code ("Investigating Vision Transformer
    representations"), class, distillation and register tokens are left out on both sides and the rest is
    not divided by its sum: what a patch looks at in them counts as distance 0.

    Args:
        model: a model of `keras_vit.load` with attention, or a file, as in `attention_maps`. In a hybrid a
            pixel of the feature map counts as the image's height over the map's.
        images: `(batch, height, width, channels)`, as the model takes them; the paper has 128.
        at: names of blocks; None takes all.

    Returns:
        For each block `(heads,)`, in pixels.

    Raises:
        UsageError: for a model without attention (BiT), a block that is not there, or images that the
            model does not take.
    """
    symbols = traced(model, images)
    wanted = asked(symbols, at)
    distances = {name: _distances(symbols.places[name], symbols.keys[name]) for name in wanted}
    total: dict[str, Any] = dict.fromkeys(wanted, 0.0)
    for each in scores(model, images, wanted):
        for name, values in each.items():
            queries, keys = (len(p.prefix) for p in (symbols.places[name], symbols.keys[name]))
            seen = values[:, queries:, keys:]
            total[name] = total[name] + np.einsum("hqk,qk->h", seen, distances[name])
    return {name: total[name] / (len(images) * len(distances[name])) for name in wanted}


def _distances(queries: Place, keys: Place) -> NDArray[np.float64]:
    """(queries, keys), in pixels."""
    return np.linalg.norm(queries.centres()[:, None] - keys.centres(), axis=-1)
