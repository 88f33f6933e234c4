"""Images through a model a batch at a time, the next batch being decoded meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from keras_vit.data.transforms import ImageLike


@dataclass(frozen=True)
class Steps:
    """What is done to a batch of images.

    Attributes:
        prepare: images to the uint8 (B, h, w, C) that `run` takes, resized and cropped where it wants that.
        run: those to one row of numbers an image.
        largest_batch: how many images they take at a time; None is any number.
    """

    prepare: Callable[[Sequence[ImageLike] | np.ndarray], np.ndarray]
    run: Callable[[np.ndarray], np.ndarray]
    largest_batch: int | None = None


def rows(
    steps: Steps, images: Sequence[ImageLike] | np.ndarray, batch_size: int
) -> Iterator[np.ndarray]:
    """The rows of all images, float32 (at most batch_size, columns) at a time, in their order.

    No more than two batches of images are in memory.
    """
    size = min(batch_size, steps.largest_batch or batch_size, len(images))
    starts = range(0, len(images), size)
    # Pillow and the runtimes let go of the interpreter lock: one thread ahead is enough.
    with ThreadPoolExecutor(1) as ahead:

        def prepared(start: int) -> np.ndarray:
            return steps.prepare(images[start : start + size])

        coming = ahead.submit(prepared, 0)
        for start in starts:
            batch = coming.result()
            if start + size < len(images):
                coming = ahead.submit(prepared, start + size)
            yield np.asarray(steps.run(_filled(batch, size)), np.float32)[: len(batch)]


def _filled(batch: np.ndarray, size: int) -> np.ndarray:
    """A last, shorter batch filled up: a new shape would be traced and compiled anew."""
    missing = size - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch
