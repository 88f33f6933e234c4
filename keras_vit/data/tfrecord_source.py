"""TFRecord files of encoded images, named by a pattern or by their folder."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.data.dataset import Dataset
from keras_vit.data.records import Index, Keys, indexed, records
from keras_vit.errors import UsageError

PREFIX = "tfrecord:"

# Of ImageNet's files (tf-slim's build_imagenet_data.py), and of TFDS'.
_IMAGENET = Keys("image/encoded", "image/class/label", "image/class/text")
_PLAIN = Keys("image", "label")
_VALIDATION = ("val", "test")


def is_tfrecord(spec: Any) -> bool:
    """Whether data are asked for as `tfrecord:PATTERN`, or a path with `.tfrecord` in its name."""
    text = str(spec) if isinstance(spec, str | Path) else ""
    return text.startswith(PREFIX) or ".tfrecord" in Path(text).name


def tfrecord_parts(spec: str | Path, names: Sequence[str] | None) -> Mapping[str, Dataset]:
    """`train` and `validation` of a folder with files train* and val* (or test*), else `all`.

    Args:
        spec: a pattern such as `images/train-*.tfrecord`; after `tfrecord:` also files of any name, such
            as `tfrecord:imagenet/train-*`, and a folder. The records are tf.train.Examples with
            image/encoded and image/class/label, or with image and label.
        names: class names. Without them image/class/text gives them, or the labels as text.

    ImageNet's labels count from 1, and 0 is nothing: where the data have image/class/label and no label 0,
    1 becomes class 0.

    Raises:
        UsageError: no such files, or labels that the names do not cover.
        KerasVitError: files that cannot be read.
    """
    groups = _groups(str(spec).removeprefix(PREFIX))
    files = [path for group in groups.values() for path in group]
    indices, keys = indexed(files, [_IMAGENET, _PLAIN])
    shift = int(keys is _IMAGENET and all((index.label > 0).all() for index in indices))
    classes = _classes(files[0], indices, shift, names)
    found, at = {}, 0
    for part, group in groups.items():
        images, labels = records(group, indices[at : at + len(group)])
        found[part] = Dataset(images, labels - shift, classes)
        at += len(group)
    return found


def tfrecord_files(spec: str | Path) -> list[Path]:
    """All files that `spec` means, as `tfrecord_parts` takes it.

    Raises:
        UsageError: no such files.
    """
    groups = _groups(str(spec).removeprefix(PREFIX))
    return [path for group in groups.values() for path in group]


def _groups(pattern: str) -> dict[str, list[Path]]:
    if not Path(pattern).is_dir():
        files = [Path(path) for path in sorted(glob.glob(pattern)) if Path(path).is_file()]  # noqa: PTH207
        if not files:
            raise UsageError(f"{pattern}: no such TFRecord files")
        return {"all": files}
    files = sorted(p for p in Path(pattern).iterdir() if p.is_file() and p.name[0] != ".")
    train = [path for path in files if path.name.startswith("train")]
    for prefix in _VALIDATION:
        validation = [path for path in files if path.name.startswith(prefix)]
        if train and validation:
            return {"train": train, "validation": validation}
    if not files:
        raise UsageError(f"{pattern}: no files in this folder")
    return {"all": files}


def _classes(
    path: Path, indices: Sequence[Index], shift: int, names: Sequence[str] | None
) -> tuple[str, ...]:
    labels = np.concatenate([index.label for index in indices])
    low, high = int(labels.min()) - shift, int(labels.max()) - shift
    if low < 0 or (names is not None and high >= len(names)):
        of = "" if names is None else f", for {len(names)} classes"
        raise UsageError(f"{path}: labels run from {low + shift} to {high + shift}{of}")
    if names is not None:
        return tuple(names)
    text = {label - shift: name for index in indices for label, name in index.names.items()}
    return tuple(text.get(label, str(label)) for label in range(high + 1))
