"""Batches for `fit`, `evaluate` and `predict`, on every backend.

A batch is a function of the seed, the epoch and its index, and of nothing else: no global random
state, no dependence on threads, so that a run can be repeated, or continued from its middle.
"""

from dataclasses import dataclass

import keras
import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.data.sources import Dataset
from keras_vit.data.transforms import eval_batch, normalize
from keras_vit.errors import KerasVitError, UsageError

CACHE_BYTES = 2**30


@dataclass(frozen=True)
class Augmentation:
    """Light changes of training images.

    Attributes:
        shift: largest move, up, down, left and right, as a share of the image's side; the border's
            colour fills in.
        flip: mirror every second image. Not for digits, letters or traffic signs.
    """

    shift: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 1:
            raise UsageError(f"shift is a share of the image's side, 0 to 1; got {self.shift}")


class Batches(keras.utils.PyDataset):
    """A `Dataset` as (images, labels) batches: float32 (B, h, w, C), normalised, and int64 (B,).

    Args:
        dataset: labelled images.
        preprocessing: of the model.
        batch_size: images a batch; the last one may be smaller.
        shuffle: another order every epoch, and no smaller last batch (each left-over image comes in
            another epoch), so that `fit` compiles for one shape.
        augment: changes of the images.
        seed: of order and changes.
        cache_bytes: keep the decoded images in memory when they take less than this; else the files
            are decoded anew every epoch. A damaged one is then found in the middle of `fit`, and the
            error stays in `failure`, because TensorFlow turns it into one of its own on the way up.
    """

    def __init__(
        self,
        dataset: Dataset,
        preprocessing: Preprocessing,
        batch_size: int,
        *,
        shuffle: bool = False,
        augment: Augmentation | None = None,
        seed: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ):
        # Not Keras' workers: they start on an epoch before `on_epoch_begin` has announced it.
        super().__init__(workers=1)
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, got {batch_size}")
        self.dataset = dataset
        self.preprocessing = preprocessing
        self.batch_size = min(batch_size, len(dataset))
        self.shuffle = shuffle
        self.augment = augment or Augmentation()
        self.seed = seed
        self.epoch = -1
        self.failure: KerasVitError | None = None
        self._ordered = -1, np.empty(0, np.int64)
        height, width = preprocessing.image_size
        small = len(dataset) * height * width * len(preprocessing.mean) <= cache_bytes
        self._cache = eval_batch(dataset.images, preprocessing) if small else None

    def __len__(self) -> int:
        if self.shuffle:
            return len(self.dataset) // self.batch_size
        return -(-len(self.dataset) // self.batch_size)

    def on_epoch_begin(self) -> None:
        self.epoch += 1

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._order()[index * self.batch_size : (index + 1) * self.batch_size]
        images = self._decoded(chosen) if self._cache is None else self._cache[chosen]
        # Keras reads a first batch before the first epoch, to learn the shapes.
        rng = np.random.default_rng([self.seed, max(self.epoch, 0), index])
        images = _augmented(images, self.augment, rng)
        return normalize(images, self.preprocessing), self.dataset.labels[chosen]

    def _decoded(self, chosen: np.ndarray) -> np.ndarray:
        try:
            return eval_batch(self.dataset.take(chosen).images, self.preprocessing)
        except KerasVitError as error:
            self.failure = error
            raise

    def _order(self) -> np.ndarray:
        """The epoch's order of the images, made once an epoch."""
        epoch = max(self.epoch, 0) if self.shuffle else 0
        if self._ordered[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            count = len(self.dataset)
            self._ordered = epoch, rng.permutation(count) if self.shuffle else np.arange(count)
        return self._ordered[1]


def _augmented(images: np.ndarray, augment: Augmentation, rng: np.random.Generator) -> np.ndarray:
    if augment.shift:
        images = _shifted(images, augment.shift, rng)
    if augment.flip:
        mirrored = rng.random(len(images)) < 0.5
        images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    return images


def _shifted(images: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by whole pixels, its edge repeated: a random crop of the padded image."""
    count, height, width, _ = images.shape
    rows = _moved(height, share, count, rng)[:, :, None]
    columns = _moved(width, share, count, rng)[:, None, :]
    return images[np.arange(count)[:, None, None], rows, columns]


def _moved(side: int, share: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, side) source positions, each row shifted by up to `share * side` and clamped."""
    reach = round(share * side)
    offsets = rng.integers(-reach, reach, size=count, endpoint=True)
    return np.clip(np.arange(side) + offsets[:, None], 0, side - 1)
