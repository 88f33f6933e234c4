"""ImageNet's reassessed labels ("ReaL", Beyer et al., arXiv:2006.07159): several right answers, or none.

The file is `real.json` of github.com/google-research/reassessed-imagenet: a list with the acceptable
classes of each of the 50,000 validation images, in the order of their file names. Images of which no
class is acceptable do not count.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_vit.data.sources import Dataset
from keras_vit.errors import KerasVitError, UsageError

_NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})\.")

RealLabels = Sequence[frozenset[int]]
"""The acceptable classes of each image, perhaps none."""


def real_labels(path: str | Path, dataset: Dataset, classes: int) -> RealLabels:
    """The acceptable classes of the images of a data set.

    Image files are told by the number in their names (`ILSVRC2012_val_00000001.JPEG` is the first), so
    that some may be missing; files of other names, all of them, are taken in the order of their names,
    whatever folder they are in; an array of all images as it stands.

    Args:
        path: the JSON file. dataset: its images. classes: number of logits.

    Raises:
        UsageError: there is no such file, or it does not belong to these images or this model.
        KerasVitError: the file is damaged.
    """
    entries = _read(Path(path))
    largest = max((max(entry) for entry in entries if entry), default=0)
    if largest >= classes:
        raise UsageError(f"{path} has a class {largest}, the model {classes} classes")
    places = _places(Path(path), dataset, len(entries))
    return [entries[place] for place in places]


def _read(path: Path) -> list[frozenset[int]]:
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise KerasVitError(f"{path}: not JSON ({error})") from error
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{path}: expected a list of lists of classes, one an image")
    for i, entry in enumerate(entries):
        if not isinstance(entry, list) or not all(type(x) is int and x >= 0 for x in entry):
            raise UsageError(f"{path}: entry {i} is not a list of classes but {str(entry)[:40]}")
    return [frozenset(entry) for entry in entries]


def _places(path: Path, dataset: Dataset, count: int) -> list[int]:
    """The entry of each image."""
    if isinstance(dataset.images, np.ndarray):
        _require_all(path, count, len(dataset))
        return [*range(count)]
    if not isinstance(dataset.images, tuple):
        raise UsageError(
            f"{path} goes by the names of image files: give the validation images as a folder"
        )
    names = [image.name for image in dataset.images]
    found = [_NUMBERED.match(name) for name in names]
    if all(found):
        numbers = [int(match[1]) for match in found if match]
        if not 1 <= min(numbers) <= max(numbers) <= count:
            raise UsageError(f"{path} has {count} images, the data an image {max(numbers)}")
        return [number - 1 for number in numbers]
    everything = sorted([*names, *(Path(image).name for image in dataset.skipped)])
    _require_all(path, count, len(everything))
    if len(set(everything)) < count:
        raise UsageError(f"{path} goes by file names, and several images have the same name")
    order = {name: place for place, name in enumerate(everything)}
    return [order[name] for name in names]


def _require_all(path: Path, entries: int, images: int) -> None:
    if entries != images:
        raise UsageError(
            f'{path} has {entries} images, the data {images}: give all of them (split="all")'
        )
