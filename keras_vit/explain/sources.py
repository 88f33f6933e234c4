"""Attention from a Keras model, or from an exported file that gives it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_vit import catalogue
from keras_vit.config import ModelConfig
from keras_vit.errors import NoPictureError, UsageError
from keras_vit.explain.tracing import Images, Trace, trace
from keras_vit.layers.initializers import skip_initialization
from keras_vit.models.factory import build_model, builder_of

if TYPE_CHECKING:
    from keras_vit.export import Artifact

_OUTPUT = "attention_{}"  # as `keras_vit.export.outputs` calls a block's


def traced(model: "keras.Model | Artifact", images: Images) -> Trace:
    """Where the tokens of each block lie, for images of this size.

    Of a file, by its configuration: the model is drawn anew, without its weights. Its `keys` are those
    of the blocks whose attention the file gives.

    Raises:
        NoPictureError: for a file that gives no attention, or is not of a model of ours.
        UsageError: for images that the model does not take.
    """
    if isinstance(model, keras.Model):
        return trace(model, images)
    given = {output.name for output in model.outputs}
    if model.config is None:
        raise NoPictureError(f"{model.path} does not say which of keras_vit's models it holds")
    config = ModelConfig.from_dict(model.config)
    with skip_initialization():
        drawn = build_model(builder_of(catalogue.info(config.name).builder), config)
    size = _size_seen(model, images)
    symbols = trace(drawn, np.empty((1, *size, images.shape[-1]), np.float32))
    symbols.name = str(model.path)
    symbols.keys = {k: place for k, place in symbols.keys.items() if _OUTPUT.format(k) in given}
    if not symbols.keys:
        raise NoPictureError(
            f'{model.path} gives no attention: export it with outputs=["logits", "attention"]'
        )
    return symbols


def scores(
    model: "keras.Model | Artifact", images: Images, names: Sequence[str]
) -> Iterator[dict[str, NDArray[Any]]]:
    """The scores of blocks for one image after another, `(heads, queries, keys)`: a batch's could be large.

    Args:
        model: what was traced. images: as it takes them. names: the blocks.
    """
    if not isinstance(model, keras.Model):
        for image in images:
            given = model.run(image[None])
            yield {name: np.asarray(given[_OUTPUT.format(name)][0], np.float32) for name in names}
        return
    symbols = trace(model, images, scores=names)
    network = symbols.model(dict(symbols.scores))
    for image in images:
        found = network.predict_on_batch(image[None])
        # In the order of the blocks, which some backends do not keep.
        yield {name: np.asarray(found[name][0], np.float32) for name in names}


def _size_seen(artifact: "Artifact", images: Images) -> tuple[int, int]:
    """(height, width) of the images after what the file does to them itself."""
    preprocessing = artifact.preprocessing
    if artifact.preprocessing_mode == "baked" and preprocessing is not None:
        return preprocessing.image_size
    shape = artifact.images.shape
    if len(shape) != images.ndim or any(
        known not in (None, given) for known, given in zip(shape[1:], images.shape[1:], strict=True)
    ):
        raise UsageError(f"{artifact.path} takes {artifact.images}, not {images.shape}")
    return images.shape[1], images.shape[2]
