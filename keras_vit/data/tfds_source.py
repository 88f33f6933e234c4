"""Data sets of TensorFlow Datasets by name, by public API: only their files and features are asked for."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.data.dataset import Dataset
from keras_vit.data.records import Keys, Records, indexed, records
from keras_vit.errors import KerasVitError, UsageError, require

PREFIX = "tfds:"
_TRAIN = "train"
_VALIDATION = ("validation", "test")


def is_tfds(spec: Any) -> bool:
    """Whether data are asked for as `tfds:NAME`."""
    return isinstance(spec, str) and spec.startswith(PREFIX)


def tfds_parts(spec: str, split: str, download: bool) -> Mapping[str, Dataset]:
    """The parts that a split of `keras_vit.data.load` needs, or all images as `all`.

    Args:
        spec: `tfds:NAME[/CONFIG][:VERSION][#SPLIT]`. Without a split expression, `train` is the data
            set's own, and `validation` its `validation` or else its `test`.
        split: `"all"`, `"train"`, `"validation"`, or an expression of TFDS, such as `"train[:90%]"`.
        download: prepare a data set that is not.

    Raises:
        UsageError: a data set or split that does not exist, or that is not prepared.
        KerasVitError: damaged files.
    """
    name, expression = _parsed(spec)
    builder = _builder(name, download)
    if expression is not None:
        return {"all": _read(builder, expression)}
    own = builder.info.splits
    validation = next((v for v in _VALIDATION if v in own), None)
    if split not in ("all", "train", "validation"):
        return {split: _read(builder, split)}
    if _TRAIN not in own or validation is None:
        return {"all": _read(builder, _TRAIN if _TRAIN in own else "all")}
    wanted = {"train": _TRAIN, "validation": validation}
    return {part: _read(builder, of) for part, of in wanted.items() if split in ("all", part)}


def tfds_images(spec: str) -> Records:
    """The images of a data set that needs no labels: its training images, or those of `#SPLIT`.

    Raises:
        UsageError, KerasVitError: as `tfds_parts`.
    """
    import tensorflow_datasets as tfds

    name, expression = _parsed(spec)
    builder = _builder(name, download=False)
    features = dict(builder.info.features.items())
    image = next((n for n, f in features.items() if isinstance(f, tfds.features.Image)), None)
    if image is None:
        raise UsageError(f"{spec} has no images: its features are {', '.join(sorted(features))}")
    return _records(builder, expression or _TRAIN, Keys(image, None))[0]


def _parsed(spec: str) -> tuple[str, str | None]:
    name, _, expression = spec.removeprefix(PREFIX).partition("#")
    found = re.fullmatch(r"[\w-]+(?:/[\w.-]+)?(?::([\w.*]+))?", name)
    if not found:
        raise UsageError(f"{spec}: data of TFDS are tfds:NAME[/CONFIG][:VERSION][#SPLIT]")
    if found[1] and not re.match(r"[\d*]", found[1]):
        plain = name.partition(":")[0]
        raise UsageError(
            f"{spec}: {found[1]!r} is no version; a split is written {PREFIX}{plain}#{found[1]}"
        )
    return name, expression or None


def _builder(name: str, download: bool) -> Any:
    require("tensorflow_datasets", "data")
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name)
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UsageError(f"TensorFlow Datasets has no {name!r} for us: {reason}") from error
    if builder.is_prepared():
        return builder
    if not download:
        raise UsageError(
            f"{PREFIX}{name} is not prepared in {builder.data_dir}: run `tfds build {name}`, set "
            "TFDS_DATA_DIR to where it is, or pass download=True"
        )
    try:
        builder.download_and_prepare()
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise KerasVitError(f"{PREFIX}{name} cannot be prepared: {reason}") from error
    return builder


def _read(builder: Any, expression: str) -> Dataset:
    image, label, names = _features(builder)
    images, labels = _records(builder, expression, Keys(image, label))
    return Dataset(images, labels, names)


def _records(builder: Any, expression: str, keys: Keys) -> tuple[Records, np.ndarray]:
    """The images and labels that a split expression names, in the order of the files."""
    if builder.info.file_format.value != "tfrecord":
        raise UsageError(
            f"{PREFIX}{builder.info.full_name} is prepared as {builder.info.file_format.value}; "
            "prepare it as tfrecord (tfds build --file_format=tfrecord)"
        )
    try:
        instructions = builder.info.splits[expression].file_instructions
    except Exception as error:
        own = ", ".join(builder.info.splits)
        raise UsageError(
            f"{PREFIX}{builder.info.full_name} has no split {expression!r}; it has {own}"
        ) from error
    instructions = [i for i in instructions if i.take]
    if not instructions:
        raise UsageError(f"{PREFIX}{builder.info.full_name}: {expression!r} holds no images")
    # The splits of an expression may share files; each file is scanned once.
    files = sorted({Path(i.filename) for i in instructions})
    found, _ = indexed(files, [keys])
    images, labels = records(files, found)
    first = dict(zip(files, np.cumsum([0, *(len(f.label) for f in found)]), strict=False))
    chosen = np.concatenate(
        [first[Path(i.filename)] + np.arange(i.skip, i.skip + i.take) for i in instructions]
    )
    return images.take(chosen), labels[chosen]


def _features(builder: Any) -> tuple[str, str, tuple[str, ...]]:
    """(image's name, label's name, class names), by the supervised keys or by type."""
    import tensorflow_datasets as tfds

    features, keys = dict(builder.info.features.items()), builder.info.supervised_keys
    image, label = keys if keys and len(keys) == 2 else ("image", "label")
    if not (
        isinstance(features.get(image), tfds.features.Image)
        and isinstance(features.get(label), tfds.features.ClassLabel)
    ):
        raise UsageError(
            f"{PREFIX}{builder.info.full_name} has no image with one class: its features are "
            f"{', '.join(sorted(features))}"
        )
    return image, label, tuple(features[label].names)
