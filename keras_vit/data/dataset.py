"""The one record that every source of images becomes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.data.records import Records


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images, decoded or not, by random access.

    Attributes:
        images: uint8 array (N, H, W, C), N image files, or N `Records` of TFRecord files.
        labels: int64 array (N,), each an index into `class_names`.
        class_names: in the order of the labels.
        skipped: files, or records by name, that `load(..., on_corrupt="skip")` left out.
    """

    images: np.ndarray | tuple[Path, ...] | Records
    labels: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[Path | str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Any:
        """One image: a uint8 array (H, W, C), its file, or its `EncodedImage`."""
        return self.images[index]

    def take(self, indices: np.ndarray) -> "Dataset":
        """The images at `indices`, in that order."""
        images = self.images
        chosen: Any
        if isinstance(images, np.ndarray):
            chosen = images[indices]
        elif isinstance(images, Records):
            chosen = images.take(indices)
        else:
            chosen = tuple(images[i] for i in indices)
        return replace(self, images=chosen, labels=self.labels[indices])


def joined(parts: Sequence[Dataset]) -> Dataset:
    """One data set of several with the same kind of images and the same classes."""
    images: Any = [part.images for part in parts]
    if isinstance(images[0], np.ndarray):
        images = np.concatenate(images)
    elif isinstance(images[0], Records):
        images = Records.joined(images)
    else:
        images = sum(images, ())
    return replace(parts[0], images=images, labels=np.concatenate([part.labels for part in parts]))
