"""Which logit a class of the data is."""

import numpy as np
import pytest

from keras_vit import catalogue
from keras_vit.errors import UsageError
from keras_vit.training.class_matching import class_logits

IMAGENET = catalogue.labels("imagenet1k")
SYNSETS = catalogue.labels("imagenet_synsets")
IMAGENETTE = [  # and the words that its authors give for them
    ("n01440764", "tench"),
    ("n02102040", "English springer"),
    ("n02979186", "cassette player"),
    ("n03000684", "chain saw"),
    ("n03028079", "church"),
    ("n03394916", "French horn"),
    ("n03417042", "garbage truck"),
    ("n03425413", "gas pump"),
    ("n03445777", "golf ball"),
    ("n03888257", "parachute"),
]
AS_FOLDERS_ARE_SORTED = sorted(map(str, range(1000)))


def found(names, labels=None, classes=None):
    return class_logits(names, labels, classes or len(labels or names), "model").tolist()


def test_names_that_the_model_knows():
    assert found(["cat", "ant"], ["ant", "bee", "cat"]) == [2, 0]


def test_a_thousand_identifiers_sorted_are_in_the_order_of_the_logits():
    assert len(set(SYNSETS)) == 1000
    assert sorted(SYNSETS) == list(SYNSETS)


@pytest.mark.parametrize("labels", [IMAGENET, SYNSETS, None], ids=["words", "identifiers", "none"])
def test_imagenettes_folders_of_a_model_of_imagenet(labels):
    logits = found([synset for synset, _ in IMAGENETTE], labels, 1000)
    assert logits == [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]
    assert [IMAGENET[i].lower() for i in logits] == [word.lower() for _, word in IMAGENETTE]


def test_identifiers_of_a_model_with_few_of_the_labels():
    assert found(["n01440764", "n03888257"], ["parachute", "boat", "tench"]) == [2, 0]


def test_unknown_identifiers_are_refused():
    with pytest.raises(UsageError, match=r"1000 classes, the data 2 \(n00000001, n01440764\)"):
        found(["n00000001", "n01440764"], None, 1000)


@pytest.mark.parametrize("labels", [IMAGENET, None], ids=["words", "none"])
def test_imagenet_v2s_folders_are_numbers(labels):
    logits = found(AS_FOLDERS_ARE_SORTED, labels, 1000)
    assert logits[:4] == [0, 1, 10, 100]
    assert np.array_equal(logits, [int(name) for name in AS_FOLDERS_ARE_SORTED])


def test_names_win_over_numbers():
    labels = AS_FOLDERS_ARE_SORTED[:12]  # as a model has them that was trained on such folders
    assert found(labels, labels) == [*range(12)]


def test_numbers_that_are_not_those_of_all_classes_are_names():
    assert found(["1999", "1980", "2020"]) == [0, 1, 2]
    with pytest.raises(UsageError, match="model has 1000 classes"):
        found([*map(str, range(10))], IMAGENET)


def test_as_many_go_by_position():
    assert found(["cat", "dog"], ["chat", "chien"]) == [0, 1]
