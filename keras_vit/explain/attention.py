"""What each head of each block looks at."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import keras
import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import UsageError
from keras_vit.explain.places import Query
from keras_vit.explain.sources import scores, traced
from keras_vit.explain.tracing import Images, Trace, asked

if TYPE_CHECKING:
    from keras_vit.export import Artifact


def attention_maps(
    model: "keras.Model | Artifact",
    images: Images,
    query: Query = "class",
    at: Iterable[str] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """How much a token attends to each patch, by block and head.

    The softmax of the attention, one row of it: what the class token attends to in itself and in other
    tokens before the patches is left out, so a map sums to at most 1. `keras_vit.attention_scores` gives
    the whole softmax.

    Args:
        model: a model of `keras_vit.load` with attention: ViT, DeiT, DINOv2, hybrids, CvT; or a file that
            was exported with `outputs=["attention"]`, of `keras_vit.export.open_artifact`.
        images: `(batch, height, width, channels)`, as the model or the file takes them.
        query: which token looks: `"class"`, `"distillation"`, `(row, column)` of a patch, or `"mean"`, the
            mean of all patches. A CvT has a class token in its last stage alone, and fewer patches in
            later stages.
        at: names of blocks, such as `["blocks_0"]`; None is every block that has the query.

    Returns:
        For each block `(batch, heads, rows, columns)`, in 0..1. The grid is that of the keys: in a CvT with
        strided keys, coarser than that of the queries.

    Raises:
        UsageError: for a model without attention (BiT), a block or a query that is not there, or images
            that the model does not take.
    """
    symbols = traced(model, images)
    wanted = asked(symbols, at)
    there = [name for name in wanted if at is not None or _has(symbols, name, query)]
    rows = {name: symbols.places[name].rows_of(query) for name in there or wanted}
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in rows}
    for each in scores(model, images, list(rows)):
        for name, values in each.items():
            found[name].append(values[:, rows[name]].mean(1))
    return {name: symbols.keys[name].on_grid(np.stack(maps)) for name, maps in found.items()}


def _has(symbols: Trace, name: str, query: Query) -> bool:
    try:
        symbols.places[name].rows_of(query)
    except UsageError:
        return False
    return True
