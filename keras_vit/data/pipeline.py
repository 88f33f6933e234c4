"""Batches for `fit`, `evaluate` and `predict`, as tf.data, on every backend.

Batch number t of a run is a function of the seed and of t, and of nothing else: no global random state,
no dependence on threads. So a run can be repeated, continued from its middle (`start`), and shared among
workers (`shard`).
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.data.ahead import Ahead, Job
from keras_vit.data.augmentation import Augmentation
from keras_vit.data.calls import Calls
from keras_vit.data.changes import Changes
from keras_vit.data.host import tensorflow
from keras_vit.data.mixing import mix
from keras_vit.data.sources import Dataset
from keras_vit.data.threads import processors
from keras_vit.errors import KerasVitError, UsageError

if TYPE_CHECKING:
    import tensorflow as tf

CACHE_BYTES = 2**30
_ALIGNMENT = 64  # bytes, of TensorFlow's own arrays
_CHUNKS = 4  # a thread: images differ in size, and the last one must not wait alone


def batches(
    dataset: Dataset,
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    augment: Augmentation | None = None,
    shuffle: bool = False,
    epochs: int = 1,
    start: int = 0,
    seed: int = 0,
    shard: tuple[int, int] = (0, 1),
    cache_bytes: int = CACHE_BYTES,
    drop_remainder: bool | None = None,
    threads: int | None = None,
) -> "tf.data.Dataset":
    """A `Dataset` as one stream of (images, labels) over all epochs of a run.

    To `fit`, say `steps_per_epoch=steps_per_epoch(dataset, batch_size)`, and `epochs`; a stream of one
    epoch, as for validation, needs neither.

    Args:
        dataset: labelled images.
        preprocessing: of the model.
        batch_size: images a step, of all workers together; no more than there are images.
        augment: changes of the images; None only evaluates.
        shuffle: another order every epoch.
        epochs: how many.
        start: steps of the run that are done: the stream goes on from there.
        seed: of order and changes.
        shard: (index, count) of this worker: it gets its part of every batch. Together the workers see
            what one alone would have seen, but for Mixup and CutMix, which mix within a part.
        cache_bytes: keep decoded images in memory while they take less than this together.
        drop_remainder: leave out an epoch's smaller last batch, so that `fit` compiles for one shape;
            by default when shuffling, where the left-over images come in another epoch.
        threads: that decode and change images; by default one a processor.

    Returns:
        Batches: float32 (B, h, w, C), normalised, and labels int64 (B,), or float32 (B, classes) with
        Mixup or CutMix. It is not serialisable: it runs in this process. Within `plain_errors()` a
        damaged image is one line.

    Raises:
        UsageError: a wrong argument.
    """
    tf = tensorflow()

    check_seed(seed)
    drop = shuffle if drop_remainder is None else drop_remainder
    maker = _Batches(
        dataset,
        preprocessing,
        min(batch_size, len(dataset)),
        augment or Augmentation(),
        shuffle,
        seed,
        shard,
        cache_bytes,
        steps_per_epoch(dataset, batch_size, drop_remainder=drop),
        epochs,
        threads or processors(),
    )
    if epochs < 1 or not 0 <= start <= epochs * maker.steps:
        raise UsageError(
            f"a run of {epochs} epochs of {maker.steps} steps cannot start at step {start}"
        )
    mixes = maker.augment.mixes
    rows = maker.rows if len(dataset) % maker.batch_size == 0 or drop else None
    images = tf.TensorSpec((rows, *maker.changes.shape), tf.float32)
    labels = tf.TensorSpec((rows, maker.classes) if mixes else (rows,), _label_type(mixes))

    calls = Calls(maker)

    def made(step: Any) -> Any:
        found = tf.numpy_function(calls, [step], [images.dtype, labels.dtype])
        return tuple(
            tf.ensure_shape(f, s.shape) for f, s in zip(found, (images, labels), strict=True)
        )

    # One call at a time, and only when a batch is wanted: the maker itself works ahead. Threads of
    # TensorFlow that call Python while it exits would never return.
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    steps = tf.data.Dataset.range(start, epochs * maker.steps)
    return steps.map(made).with_options(options)


def steps_per_epoch(dataset: Dataset | int, batch_size: int, *, drop_remainder: bool = True) -> int:
    """Steps of one epoch of `batches`, 1 at least.

    Args:
        dataset: or its number of images.
        batch_size: images a step, of all workers together.
        drop_remainder: as `batches` has it; true for training.

    Raises:
        UsageError: a batch size below 1, or no images.
    """
    count = dataset if isinstance(dataset, int) else len(dataset)
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    if count < 1:
        raise UsageError("the data holds no images")
    return max(count // batch_size, 1) if drop_remainder else -(-count // batch_size)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Within it, an error of ours that comes out of a stream is ours again, one line.

    TensorFlow turns whatever a stream raises into errors of its own, with a traceback as message.

    Raises:
        KerasVitError: a damaged image, a missing file.
    """
    try:
        yield
    except KerasVitError:
        raise
    except Exception as error:
        own = re.search(r"\b(?:KerasVitError|UsageError): (.+)", str(error))
        if own is None:
            raise
        raise KerasVitError(own[1].strip()) from None


class _Batches:
    """Makes batch number t, whatever came before it."""

    def __init__(
        self,
        dataset: Dataset,
        preprocessing: Preprocessing,
        batch_size: int,
        augment: Augmentation,
        shuffle: bool,
        seed: int,
        shard: tuple[int, int],
        cache_bytes: int,
        steps: int,
        epochs: int,
        threads: int,
    ) -> None:
        self.dataset, self.batch_size, self.steps = dataset, batch_size, steps
        self.augment, self.seed, self.shard = augment, seed, shard
        self.classes = len(dataset.class_names)
        self.changes = Changes(augment, preprocessing)
        self.rows = _share(batch_size, shard, dataset, steps)
        self.threads = threads
        self._source = _Cache(lambda i: self.changes.decoded(dataset.image(i)), cache_bytes)
        self._order = lru_cache(2)(
            lambda epoch: _order(len(dataset), shuffle, augment, seed, epoch)
        )
        self._ahead = Ahead(self._begin, threads, epochs * steps)

    def __call__(self, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._ahead(int(step))

    def _begin(self, step: int) -> Job:
        """The work for a batch, in pieces."""
        epoch, index = divmod(step, self.steps)
        positions = self._positions(index)
        order = self._order(epoch)
        images = _aligned((len(positions), *self.changes.shape))

        def fill(rows: slice) -> None:
            chosen = positions[rows]
            # Seeds are strings, which Python hashes by itself: the same draws in every version.
            rngs = [Random(f"{self.seed} {epoch} {position}") for position in chosen]
            found = (self._source(int(order[position])) for position in chosen)
            self.changes.apply(found, rngs, images[rows])

        def finish() -> tuple[np.ndarray, np.ndarray]:
            labels = self.dataset.labels[order[np.array(positions)]]
            if not self.augment.mixes:
                return images, labels
            draws = np.random.RandomState([self.seed, epoch, index, self.shard[0]])
            return mix(images, labels, self.classes, self.augment, draws)

        size = max(1, len(positions) // (self.threads * _CHUNKS))
        starts = range(0, len(positions), size)
        return Job([partial(fill, slice(i, i + size)) for i in starts], finish)

    def _positions(self, index: int) -> range:
        """This worker's part of a batch, as positions in the epoch's order."""
        first = index * self.batch_size
        size = min(self.batch_size, len(self.dataset) - first)
        worker, count = self.shard
        # In turns: repeated images, side by side, go to different workers, as DeiT has it.
        return range(first + worker, first + size, count)


def check_seed(seed: int) -> None:
    """Refuse what NumPy takes for no seed."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed lies between 0 and 2**32; got {seed}")


def _order(count: int, shuffle: bool, augment: Augmentation, seed: int, epoch: int) -> np.ndarray:
    """The images of an epoch, int64 (count,)."""
    if not shuffle:
        return np.arange(count)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return np.repeat(order[: -(-count // augment.repeats)], augment.repeats)[:count]


def _share(batch_size: int, shard: tuple[int, int], dataset: Dataset, steps: int) -> int:
    """This worker's images of a whole batch."""
    index, count = shard
    if not 0 <= index < count:
        raise UsageError(f"shard is (index, count) with 0 <= index < count; got {shard}")
    if batch_size % count:
        raise UsageError(f"a batch of {batch_size} images cannot be shared by {count} workers")
    rest = len(dataset) - (steps - 1) * batch_size
    if rest < count:
        raise UsageError(
            f"the last batch has {rest} images for {count} workers: choose another batch_size"
        )
    return batch_size // count


class _Cache:
    """Remembers what a function gave while that takes less than `room` bytes together."""

    def __init__(self, function: Callable[[int], Any], room: int) -> None:
        self.function, self.room = function, room
        self.kept: dict[int, Any] = {}
        self.lock = threading.Lock()

    def __call__(self, index: int) -> Any:
        found = self.kept.get(index)
        if found is None:
            found = self.function(index)
            size = _bytes(found)
            with self.lock:
                if index not in self.kept and size <= self.room:
                    self.kept[index] = found
                    self.room -= size
        return found


def _bytes(image: Any) -> int:
    """Of an array or a Pillow image, which holds RGB in four bytes."""
    if isinstance(image, np.ndarray):
        return image.nbytes
    return image.width * image.height * (4 if len(image.getbands()) == 3 else 1)


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """An empty float32 array where TensorFlow takes it without a copy."""
    size = 4 * int(np.prod(shape))
    room = np.empty(size + _ALIGNMENT, np.uint8)
    first = -room.ctypes.data % _ALIGNMENT
    return room[first : first + size].view(np.float32).reshape(shape)


def _label_type(mixes: bool) -> Any:
    return np.float32 if mixes else np.int64
