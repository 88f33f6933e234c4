"""The gradient of the logits of chosen classes by a model's offsets."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_vit.errors import NoPictureError, UsageError
from keras_vit.explain.gradients import gradient
from keras_vit.explain.tracing import Images, Trace

Classes = int | ArrayLike | None


def class_gradients(
    model: keras.Model, symbols: Trace, outputs: list[Any]
) -> Callable[[Images, Classes], tuple[list[NDArray[Any]], list[NDArray[Any]]]]:
    """The gradient of one logit an image by every offset, at zero offsets.

    Args:
        model: what was traced. symbols: with offsets. outputs: symbolic tensors whose values are wanted, too.

    Returns:
        A function of images `(batch, height, width, channels)` and classes: an index for all, one an
        image, or None for each image's largest logit. It gives an array for each offset, and one for each
        of `outputs`; and raises UsageError for a class that is not there.

    Raises:
        NoPictureError: if the model gives no logits.
    """
    config = getattr(model, "config", None)
    features = config is not None and config.arguments.get("num_classes") == 0
    if features or len(symbols.output.shape) != 2:
        raise NoPictureError(f"{symbols.name} gives no logits: it was made without classes")
    number = symbols.output.shape[-1]
    traced = symbols.model([symbols.output, *outputs])

    def picked_logits(offsets: list[Any], rest: list[Any]) -> tuple[Any, Any]:
        images, chosen = rest
        logits, *others = traced([images, *offsets], training=False)
        # -1 is none chosen.
        index = keras.ops.where(chosen < 0, keras.ops.argmax(logits, -1), chosen)
        picked = keras.ops.one_hot(index, number, dtype=logits.dtype)
        return keras.ops.sum(logits * picked), others

    slopes = gradient(picked_logits)

    def call(images: Images, classes: Classes) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        chosen = np.full(len(images), -1, "int32")
        if classes is not None:
            chosen[:] = checked_classes(classes, len(images), number)
        shapes = [(len(images), *x.shape[1:]) for x in symbols.offsets.values()]
        zeros = [np.zeros(shape, np.float32) for shape in shapes]
        return slopes(zeros, [np.asarray(images, np.float32), chosen])

    return call


def checked_classes(classes: ArrayLike, count: int, number: int) -> NDArray[np.int32]:
    """One class an image, of `number` classes."""
    given = np.asarray(classes)
    if given.dtype.kind not in "iu" or given.shape not in ((), (count,)):
        raise UsageError(f"classes must be a whole number, or {count} of them, not {classes!r}")
    if given.min() < 0 or given.max() >= number:
        raise UsageError(f"classes must be in 0..{number - 1}, not {classes!r}")
    return np.broadcast_to(given, (count,)).astype("int32")
