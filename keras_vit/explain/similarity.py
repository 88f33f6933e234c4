"""How alike what two models make of the same images is, layer by layer."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import UsageError
from keras_vit.explain.tokens import layer_with_tokens
from keras_vit.explain.tracing import BLOCKS, Images, Trace, trace
from keras_vit.layers import Bottleneck

_BATCH = 16


@dataclass(frozen=True)
class Similarity:
    """Linear CKA between layers.

    Attributes:
        rows: layers of the first model. columns: layers of the second.
        values: `(rows, columns)`, in 0..1.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: NDArray[np.float64]


def layer_similarity(
    first: keras.Model,
    second: keras.Model,
    images: Images,
    second_images: Images | None = None,
    *,
    first_at: Iterable[str] | None = None,
    second_at: Iterable[str] | None = None,
) -> Similarity:
    """The linear CKA of every layer of one model with every layer of another, or of the same.

    Kornblith et al., arXiv:1905.00414, equation 4 with linear kernels; exact, not from minibatches. What a
    layer makes of an image is one vector: all tokens or pixels, the class token, too, as in
    arXiv:2108.08810.

    Args:
        first, second: models of `keras_vit.load`.
        images: float32 `(images, height, width, channels)`, as the first model takes them; 2 at least.
            What all layers of one model make of all of them is kept at once.
        second_images: the same pictures as the second model takes them; None where it takes `images`.
        first_at, second_at: layers that give tokens or a map; None is all blocks.

    Raises:
        UsageError: for fewer than 2 images, differing numbers of them, a layer that is not there or gives
            the same for all images, or images that a model does not take.
    """
    others = images if second_images is None else second_images
    if len(images) != len(others):
        raise UsageError(
            f"{len(images)} images and {len(others)} of the second model: not the same"
        )
    rows = _grams(first, images, first_at)
    columns = _grams(second, others, second_at)
    values = [[float((row * column).sum()) for column in columns.values()] for row in rows.values()]
    return Similarity(tuple(rows), tuple(columns), np.array(values))


def linear_cka(x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]) -> float:
    """Linear centred kernel alignment of two representations of the same samples.

    Args:
        x, y: `(samples, dimensions)`, whose dimensions may differ.

    Returns:
        A number in 0..1: 1 where one is the other rotated, scaled and shifted.

    Raises:
        UsageError: for fewer than 2 samples, differing numbers, or samples that are all the same.
    """
    if len(x) != len(y):
        raise UsageError(f"{len(x)} samples and {len(y)}: not the same")
    return float((_unit_gram([x], "x") * _unit_gram([y], "y")).sum())


def _grams(
    model: keras.Model, images: Images, at: Iterable[str] | None
) -> dict[str, NDArray[np.float64]]:
    """Of each layer, its centred Gram matrix of norm 1."""
    symbols = trace(model, images)
    if at is None:
        blocks = (*BLOCKS, Bottleneck)
        names = [name for name, layer in symbols.layers.items() if isinstance(layer, blocks)]
    else:
        names = [layer_with_tokens(symbols, name) for name in at]
    if not names:
        raise UsageError(f"{model.name} has no blocks: name layers of it")
    features = _features(symbols, names, images)
    return {name: _unit_gram(features.pop(name), f"{name} of {model.name}") for name in names}


def _features(
    symbols: Trace, names: list[str], images: Images
) -> dict[str, list[NDArray[np.float32]]]:
    """Of each layer `(images, numbers)`, batch by batch; of a pair both."""
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    model = symbols.model({name: symbols.outputs[name] for name in names})
    for start in range(0, len(images), _BATCH):
        for name, values in model.predict_on_batch(images[start : start + _BATCH]).items():
            parts = [np.asarray(part, np.float32) for part in keras.tree.flatten(values)]
            flat = [part.reshape(len(part), -1) for part in parts]
            found[name].append(np.concatenate(flat, 1))
    return found


def _unit_gram(batches: list[NDArray[np.floating[Any]]], what: str) -> NDArray[np.float64]:
    """The Gram matrix of the centred samples, which is the centred Gram matrix, of norm 1."""
    samples = np.concatenate(batches).astype(np.float64)
    if len(samples) < 2:
        raise UsageError("similarity needs 2 images at least")
    size = np.square(samples).sum()
    samples -= samples.mean(0)
    gram = samples @ samples.T
    norm = np.linalg.norm(gram)
    # What rounding in float32 leaves of equal samples is about 1e-14 of their squares.
    if norm <= 1e-12 * size:
        raise UsageError(f"{what} is the same for all images: no similarity to speak of")
    return gram / norm
