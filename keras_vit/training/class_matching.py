"""Which logit a class of the data is: by its name, its WordNet identifier, its number or its place."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from keras_vit import catalogue
from keras_vit.data.sources import Dataset
from keras_vit.errors import UsageError

_SYNSET = re.compile(r"n\d{8}")
_IMAGENET = "imagenet1k"
_SYNSETS = "imagenet_synsets"


def class_logits(
    names: Sequence[str], labels: Sequence[str] | None, classes: int, model: str
) -> np.ndarray:
    """The index of the logit that each class of the data is.

    The first of these that fits:

    1. the model knows every name, so that some of its classes may be missing, in any order;
    2. the names are WordNet identifiers, as in ILSVRC's folders and Imagenette (`n01440764`), and the
       model has the 1000 ImageNet classes, or labels of the same meaning;
    3. the names are the numbers of all classes, as in ImageNet-V2 (`0` to `999`): sorted as text, as
       folders are, 10 comes before 2;
    4. there are as many names as logits: by position.

    Args:
        names: of the data's classes. labels: of the logits, or None. classes: number of logits.
        model: its name, for the error.

    Returns:
        int64 (len(names),).

    Raises:
        UsageError: none of them fits.
    """
    known = [*labels] if labels is not None else []
    for meant in (names, _meaning(names)):
        if meant and set(meant) <= set(known):
            return np.array([known.index(name) for name in meant], np.int64)
    places = _imagenet_places(names) if labels is None and classes == 1000 else []
    if places:
        return np.array(places, np.int64)
    if len(names) != classes:
        raise UsageError(
            f"{model} has {classes} classes{_some(labels)}, the data {len(names)}{_some(names)}"
        )
    numbers = [int(name) for name in names if re.fullmatch("[0-9]+", name)]
    by_number = sorted(numbers) == [*range(classes)]
    return np.array(numbers if by_number else range(classes), np.int64)


def targets_of(
    dataset: Dataset, labels: Sequence[str] | None, classes: int, model: str
) -> np.ndarray:
    """The data's labels as indices of logits, int64 (images,); see `class_logits`."""
    return class_logits(dataset.class_names, labels, classes, model)[dataset.labels]


def _meaning(names: Sequence[str]) -> list[str]:
    """What ImageNet's classes of these WordNet identifiers are called; nothing if they are no such."""
    words = catalogue.labels(_IMAGENET)
    return [words[place] for place in _imagenet_places(names)]


def _imagenet_places(names: Sequence[str]) -> list[int]:
    """The indices of ImageNet-1k's classes of these WordNet identifiers; nothing if they are no such."""
    if not all(_SYNSET.fullmatch(name) for name in names):
        return []
    order: Mapping[str, int] = {name: i for i, name in enumerate(catalogue.labels(_SYNSETS))}
    return [order[name] for name in names] if set(names) <= order.keys() else []


def _some(labels: Sequence[str] | None) -> str:
    return f" ({', '.join(labels[:3])}{', ...' if len(labels) > 3 else ''})" if labels else ""
