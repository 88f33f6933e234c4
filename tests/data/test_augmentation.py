"""Augmentation as data: it travels as JSON, and what it does not mean is refused in one line."""

import json

import pytest

from keras_vit.data import Augmentation
from keras_vit.errors import UsageError

FULL = Augmentation(
    flip=True,
    crop="inception",
    scale=(0.2, 1.0),
    interpolation="random",
    policy="rand-m9-mstd0.5-inc1",
    erasing=0.25,
    mixup=0.8,
    cutmix=1.0,
    label_smoothing=0.1,
    repeats=3,
)


def test_it_comes_back_from_json():
    assert Augmentation.from_dict(json.loads(json.dumps(FULL.to_dict()))) == FULL


def test_an_unknown_name_is_misuse():
    with pytest.raises(UsageError, match="augmentation has no 'mixdown'; it has shift, flip"):
        Augmentation.from_dict({"mixdown": 1})


@pytest.mark.parametrize(
    "value",
    [
        {"shift": 1.5},
        {"crop": "random"},
        {"interpolation": "nearest"},
        {"scale": (0.5, 0.1)},
        {"scale": (0.5, 1.1)},
        {"ratio": (0.0, 1.0)},
        {"color_jitter": -0.1},
        {"erasing": 1.5},
        {"mixup": -1.0},
        {"cutmix": -1.0},
        {"mix_probability": 2.0},
        {"switch_probability": 2.0},
        {"label_smoothing": 1.0},
        {"repeats": 0},
        {"policy": "rand-x9"},
        {"policy": "augmix-m5"},
        {"policy": "randaug(2)"},
    ],
)
def test_a_value_out_of_its_range_is_misuse(value):
    with pytest.raises(UsageError, match=next(iter(value))):
        Augmentation(**value)


@pytest.mark.parametrize(
    ("mixing", "mixes"),
    [
        ({}, False),
        ({"mixup": 0.1}, True),
        ({"cutmix": 1.0}, True),
        ({"mixup": 0.1, "mix_probability": 0.0}, False),
        ({"label_smoothing": 0.1}, False),
    ],
)
def test_whether_labels_are_mixed(mixing, mixes):
    assert Augmentation(**mixing).mixes is mixes
