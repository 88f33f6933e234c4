"""What a user can get wrong with the range of images, and what he may not be warned of."""

import re

import numpy as np
import pytest

from keras_vit.config import Preprocessing
from keras_vit.data import load, normalize
from keras_vit.training.image_range import range_warning

IMAGENET = Preprocessing((8, 8), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
HALF = Preprocessing((8, 8))


@pytest.fixture(params=[IMAGENET, HALF], ids=["imagenet", "half"])
def preprocessing(request) -> Preprocessing:
    return request.param


def _photographs() -> np.ndarray:
    """Pixels with the statistics of ImageNet: uint8 (16, 8, 8, 3)."""
    draws = np.random.default_rng(0).normal((0.485, 0.456, 0.406), 0.225, (16, 8, 8, 3))
    return (draws.clip(0, 1) * 255).round().astype(np.uint8)


FINE = {
    "photographs": _photographs(),
    "digits": load("digits").images[:64],
    "black and white": (_photographs() > 128).astype(np.uint8) * 255,
    "dark": _photographs() // 4,
    "bright": 255 - _photographs() // 4,
    "one image": _photographs()[:1],
}


@pytest.mark.parametrize("images", FINE.values(), ids=FINE.keys())
def test_real_images_pass(images, preprocessing):
    assert range_warning(normalize(images, preprocessing), preprocessing) is None


BYTES = {
    "scaled to 0..1": ((_photographs() > 99).astype(np.uint8), "scaled to 0..1"),
    "digits of 0..16": (load("digits").images[:64] // 16, "brightest pixel is 15 of 255"),
    "black": (np.zeros((4, 8, 8, 3), np.uint8), "every pixel is 0 of 255"),
    "grey": (np.full((4, 8, 8, 3), 128, np.uint8), "every pixel is 128 of 255"),
    "all the same": (np.repeat(_photographs()[:1], 9, axis=0), "the first 9 images .* the same"),
    "flat": (_photographs() // 64 + 120, "hardly any contrast"),
    "normalised, cut to bytes": (
        normalize(_photographs(), IMAGENET).astype(np.int64).astype(np.uint8),
        "normalised and then cut to bytes",
    ),
}


@pytest.mark.parametrize(("images", "message"), BYTES.values(), ids=BYTES.keys())
def test_bytes_that_are_no_pictures_are_told(images, message, preprocessing):
    found = range_warning(normalize(images, preprocessing), preprocessing)
    assert found is not None and re.search(message, found), found


def test_values_that_were_never_normalised_are_told(preprocessing):
    found = range_warning(_photographs().astype(np.float32), preprocessing)
    assert found is not None and "not normalised" in found


def test_values_that_are_scaled_only_are_told(preprocessing):
    found = range_warning(_photographs() / np.float32(255), preprocessing)
    assert found is not None and "scaled to 0..1 only" in found


def test_values_that_are_normalised_twice_are_told(preprocessing):
    twice = normalize(normalize(_photographs(), preprocessing) * 255, preprocessing)
    found = range_warning(twice * 4, preprocessing)
    assert found is not None and "wrong range" in found


def test_values_of_another_normalisation_are_told():
    found = range_warning(normalize(_photographs(), IMAGENET), HALF)
    assert found is not None and "normalised in another way" in found


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_told(value, preprocessing):
    images = normalize(_photographs(), preprocessing)
    images[0, 0, 0, 0] = value
    assert range_warning(images, preprocessing) == "the images hold values that are not finite"


def test_the_expected_range_is_named():
    found = range_warning(_photographs().astype(np.float32), HALF)
    assert found is not None and "run from 0 to 255, this model takes -1 to 1" in found
