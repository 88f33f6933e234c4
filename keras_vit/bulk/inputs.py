"""What to look at: image files, folders of them, or the records of TFRecord files, without labels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_vit.data.records import Keys, Records, indexed, records
from keras_vit.data.sources import image_files
from keras_vit.data.tfrecord_source import is_tfrecord, tfrecord_files
from keras_vit.errors import UsageError

_LAYOUTS = (Keys("image/encoded", None), Keys("image", None))


@dataclass(frozen=True)
class Inputs:
    """Images in an order that does not change.

    Attributes:
        images: N files, or N `Records`.
    """

    images: Sequence[Path] | Records

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Of one image: its path, or its TFRecord file and its place there; no two are the same."""
        if isinstance(self.images, Records):
            return self.images.name(index)
        return str(self.images[index])

    def part(self, start: int, stop: int) -> "Sequence[Path] | Records":
        """Images from one number to before another."""
        return self.images[start:stop]

    def shard(self, index: int, count: int) -> "Inputs":
        """The images of worker number `index` of `count`, side by side, as many for each as can be."""
        total = len(self)
        return Inputs(self.part(total * index // count, total * (index + 1) // count))

    def fingerprint(self) -> str:
        """16 hexadecimal digits of all names in their order."""
        digest = hashlib.blake2b(digest_size=8)
        for index in range(len(self)):
            digest.update(self.name(index).encode() + b"\n")
        return digest.hexdigest()


def inputs(spec: str | Path | Sequence[str | Path]) -> Inputs:
    """Images by what the user calls them.

    Args:
        spec: files and folders (searched, sorted), or TFRecord files as `keras_vit.data.load` names them;
            their records are tf.train.Examples with image/encoded or image.

    Raises:
        UsageError: nothing is there, or one image twice.
        KerasVitError: TFRecord files that cannot be read.
    """
    one = spec if isinstance(spec, str | Path) else None
    if one is None and len(spec) == 1:  # type: ignore[arg-type]
        one = spec[0]  # type: ignore[index]
    if one is not None and is_tfrecord(one):
        files = tfrecord_files(one)
        images, _ = records(files, indexed(files, _LAYOUTS)[0])
        return Inputs(images)
    found = image_files(spec)
    if len(set(found)) < len(found):
        twice = next(path for path in found if found.count(path) > 1)
        raise UsageError(f"{twice} is among the images twice")
    return Inputs(found)
