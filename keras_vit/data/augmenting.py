"""The same changes on a tf.data dataset of the user's own."""

from collections.abc import Mapping
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.data.augmentation import Augmentation
from keras_vit.data.calls import Calls
from keras_vit.data.changes import Changes
from keras_vit.data.host import tensorflow
from keras_vit.data.mixing import mix
from keras_vit.data.pipeline import check_seed
from keras_vit.data.threads import processors
from keras_vit.errors import UsageError

if TYPE_CHECKING:
    import tensorflow as tf


def augmented(
    dataset: "tf.data.Dataset",
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    augment: Augmentation | None = None,
    classes: int | None = None,
    epochs: int = 1,
    start: int = 0,
    seed: int = 0,
    drop_remainder: bool = True,
    threads: int | None = None,
) -> "tf.data.Dataset":
    """Single images of a tf.data dataset, changed, normalised and batched as `batches` does it.

    The order is the dataset's: shuffle it before, with a seed where a run shall be repeatable. Image
    number n of the stream is changed by (seed, n) alone.

    Args:
        dataset: of (image, label), or of {"image": ..., "label": ...} as TFDS has them: uint8 images
            (H, W, C) of any sizes and integer labels, not batched.
        preprocessing: of the model.
        batch_size: images a step.
        augment: changes; None only evaluates.
        classes: how many there are; Mixup and CutMix need it.
        epochs: how often to go through the dataset. start: steps that are done, to go on after them.
        seed: of the changes.
        drop_remainder: leave out a smaller last batch.
        threads: that change images; by default one a processor.

    Returns:
        As `batches`.

    Raises:
        UsageError: elements of another kind, or a wrong argument.
    """
    tf = tensorflow()

    check_seed(seed)
    augment = augment or Augmentation()
    if batch_size < 1 or epochs < 1 or start < 0:
        raise UsageError(
            f"batch_size and epochs are 1 or more and start 0 or more; got {batch_size}, {epochs} and "
            f"{start}"
        )
    if augment.repeats > 1:
        raise UsageError("repeats need random access: give keras_vit.data.load's data, not tf.data")
    if augment.mixes and classes is None:
        raise UsageError("Mixup and CutMix need the number of classes: pass classes=")
    changes = Changes(augment, preprocessing)

    def change(number: Any, image: Any) -> np.ndarray:
        out = np.empty((1, *changes.shape), np.float32)
        changes.apply([changes.decoded(image)], [Random(f"{seed} {int(number)}")], out)
        return out[0]

    def changed(number: Any, element: Any) -> tuple[Any, Any]:
        image, label = _pair(element)
        found = tf.numpy_function(changing, [number, image], tf.float32)
        return tf.ensure_shape(found, changes.shape), tf.cast(label, tf.int64)

    def mixed(images: np.ndarray, labels: np.ndarray, step: Any) -> tuple[np.ndarray, np.ndarray]:
        # A copy: TensorFlow's own memory is not to be written.
        return mix(
            images.copy(), labels, classes or 0, augment, np.random.RandomState([seed, step])
        )

    def shares(step: Any, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        types = [tf.float32, tf.float32]
        images, labels = tf.numpy_function(mixing, [*batch, step], types)
        rows = batch[0].shape[0]
        shapes = (rows, *changes.shape), (rows, classes)
        return tf.ensure_shape(images, shapes[0]), tf.ensure_shape(labels, shapes[1])

    _check(dataset.element_spec)
    changing, mixing = Calls(change), Calls(mixed)
    first = start * batch_size
    numbered = dataset.repeat(epochs).skip(first).enumerate(first)
    stream = numbered.map(changed, num_parallel_calls=threads or processors(), deterministic=True)
    stream = stream.batch(batch_size, drop_remainder=drop_remainder)
    if augment.mixes:
        stream = stream.enumerate(start).map(shares, num_parallel_calls=2, deterministic=True)
    return stream.prefetch(1)


def _pair(element: Any) -> tuple[Any, Any]:
    if isinstance(element, Mapping):
        return element["image"], element["label"]
    return element[0], element[1]


def _check(spec: Any) -> None:
    import tensorflow as tf

    try:
        image, label = _pair(spec)
        single = image.dtype == tf.uint8 and image.shape.rank in (None, 3)
        fits = single and label.dtype.is_integer and label.shape.rank in (None, 0)
    except (KeyError, IndexError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise UsageError(
            "a tf.data dataset has single (image, label) elements, not batched: uint8 (H, W, C) and an "
            f"integer; got {spec}"
        )
