"""The recipe `scratch` learns scikit-learn's digits with every family, in minutes (benchmarks/README.md)."""

import keras
import pytest

import keras_vit
from keras_vit.data import load

# The least validation accuracy, and a small configuration for images of 8 pixels, enlarged to 32.
MODELS = {
    "vit_tiny_patch16_224": (0.97, {"patch_size": 8, "depth": 4, "embed_dim": 96, "num_heads": 3}),
    "cvt_13_224": (
        0.98,
        {"embed_dim": (32, 64, 96), "depth": (1, 1, 1), "num_heads": (1, 2, 3)},
    ),
    "vit_tiny_r_s16_p8_224": (
        0.98,
        {"patch_size": 2, "depth": 2, "embed_dim": 96, "num_heads": 3, "stem_chs": 32},
    ),
    "resnetv2_50x1_bit": (
        0.98,
        {"layers": (1, 1), "channels": (128, 256), "stem_chs": 32},
    ),
}


@pytest.mark.slow
@pytest.mark.in_turn(4)
@pytest.mark.parametrize("name", MODELS)
def test_digits(name):
    least, overrides = MODELS[name]
    keras.utils.set_random_seed(0)
    train, validation = load("digits", "train"), load("digits", "validation")
    model = keras_vit.load(name, weights=None, image_size=32, num_classes=10, **overrides)
    r = keras_vit.recipe("scratch", model, train_size=len(train))
    model.compile(**r.compile)
    model.fit(r.augment(train), validation_data=r.evaluation(validation), **r.fit, verbose=0)
    accuracy = model.evaluate(r.evaluation(validation), return_dict=True, verbose=0)["accuracy"]
    assert accuracy >= least
