"""Attention followed through all blocks, from the output back to the patches."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import keras
import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import NoPictureError
from keras_vit.explain.class_scores import Classes, checked_classes, class_gradients
from keras_vit.explain.places import Query
from keras_vit.explain.sources import scores, traced
from keras_vit.explain.tracing import BLOCKS, Images, Trace, asked, trace

if TYPE_CHECKING:
    from keras_vit.export import Artifact

Matrices = Iterable[NDArray[np.floating]]


def attention_rollout(
    model: "keras.Model | Artifact", images: Images, query: Query = "class"
) -> NDArray[np.float64]:
    """Which patches a token at the end comes from, if attention were all there is.

    In each block the mean over heads, plus the identity for the residual branch, each row divided by its
    sum; then the product over the blocks, the last leftmost (Abnar and Zuidema, arXiv:2005.00928, and
    arXiv:2010.11929, appendix D.8 and figure 6).

    Args:
        model: a ViT, DeiT, DINOv2 or hybrid of `keras_vit.load`, or a file, as in `attention_maps`. A CvT
            has no rollout: its keys are fewer than its queries, and its stages differ in their tokens.
        images: `(batch, height, width, channels)`, as the model takes them.
        query: `"class"`, `"distillation"`, `(row, column)` of a patch, or `"mean"` of all patches, for
            models that pool them.

    Returns:
        `(batch, rows, columns)`, each value in 0..1, at most 1 in sum: the tokens before the patches have
        the rest.

    Raises:
        UsageError: for a model that has no rollout (CvT, BiT), a query that is not there, or images that
            the model does not take.
    """
    symbols = traced(model, images)
    name, rows = _last_block(symbols, query)
    of_images = scores(model, images, symbols.blocks)
    joint = [rolled(each.values())[rows].mean(0) for each in of_images]
    return symbols.places[name].on_grid(np.array(joint))


def rolled(scores: Matrices) -> NDArray[np.float64]:
    """The rollout of one image.

    Args:
        scores: of each block, in their order, `(heads, tokens, tokens)`, whose rows sum to 1.

    Returns:
        `(tokens, tokens)`, whose rows sum to 1.
    """
    joint: NDArray[np.float64] | None = None
    for each in scores:
        mixed = each.mean(0, dtype=np.float64) + np.eye(each.shape[-1])
        mixed /= mixed.sum(-1, keepdims=True)
        joint = mixed if joint is None else mixed @ joint
    assert joint is not None
    return joint


def gradient_rollout(
    model: keras.Model, images: Images, classes: Classes = None, query: Query = "class"
) -> NDArray[np.float64]:
    """Which patches speak for a class: a rollout of attention weighted with its gradient.

    Chefer, Gur and Wolf, arXiv:2103.15679, equations 5 and 6, for self-attention: in each block the mean
    over heads of the positive part of attention times the gradient of the class's logit by it; from
    R = 1, `R += that @ R`, block by block.

    Args:
        model, images, query: as in `attention_rollout`; the model gives logits.
        classes: the class asked about, one for all images or one an image; None is each image's own
            prediction.

    Returns:
        `(batch, rows, columns)`, 0 or more, in the units of a logit and not bounded.

    Raises:
        UsageError: as `attention_rollout`, and for a model without logits or a class that it lacks.
    """
    symbols = trace(model, images)
    name, rows = _last_block(symbols, query)
    plain = trace(model, images, scores=True)
    symbols = trace(model, images, scores=True, offsets=plain.scores)
    gradients = class_gradients(model, symbols, [*symbols.scores.values()])
    number = symbols.output.shape[-1]
    chosen: list[int | None] = [None] * len(images)
    if classes is not None:
        chosen = [int(i) for i in checked_classes(classes, len(images), number)]
    joint = []
    for image, one in zip(images, chosen, strict=True):
        slopes, weights = gradients(image[None], one)
        pairs = zip((x[0] for x in weights), (x[0] for x in slopes), strict=True)
        joint.append(relevance(pairs)[rows].mean(0))
    return symbols.places[name].on_grid(np.array(joint))


def relevance(pairs: Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]]) -> NDArray:
    """The gradient-weighted rollout of one image.

    Args:
        pairs: of each block, in their order, its scores and the gradient by them, `(heads, tokens, tokens)`.

    Returns:
        `(tokens, tokens)`, float64.
    """
    total: NDArray[np.float64] | None = None
    for weights, slopes in pairs:
        if total is None:
            total = np.eye(weights.shape[-1])
        total = total + np.maximum(weights * slopes, 0).mean(0, dtype=np.float64) @ total
    assert total is not None
    return total


def _last_block(symbols: Trace, query: Query) -> tuple[str, list[int]]:
    """The last block, and the tokens there that the query means."""
    names = asked(symbols, None)
    counts = {symbols.places[name].count for name in names}
    if len(counts) > 1 or counts != {symbols.keys[name].count for name in names}:
        raise NoPictureError(
            f"{symbols.name} has no rollout: its blocks differ in their tokens, or have fewer keys than "
            "queries, as a CvT's do; attention_maps and grad_cam work"
        )
    blocks = [name for name, layer in symbols.layers.items() if isinstance(layer, BLOCKS)]
    if lacking := [name for name in blocks if name not in symbols.keys]:
        raise NoPictureError(
            f"{symbols.name} has no rollout: it does not give {', '.join(lacking)}"
        )
    return names[-1], symbols.places[names[-1]].rows_of(query)
