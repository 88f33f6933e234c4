"""Every product of a block is split, whatever the family calls it."""

import keras
import pytest

import keras_vit
from keras_vit.distributed.layouts import AXIS, layout_map

MODELS = {
    "vit_tiny_patch16_224": {"depth": 1},
    "cvt_13_224": {"embed_dim": (24, 48, 64), "depth": (1, 1, 1), "num_heads": (1, 2, 2)},
    "eva02_tiny_patch14_224": {"depth": 1},
    "eva02_base_patch14_448": {"depth": 1},
    "vit_small_plus_patch16_dinov3_qkvb": {"depth": 1},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_product_of_a_block_is_split(name):
    model = keras_vit.load(name, weights=None, image_size=32, num_classes=0, **MODELS[name])
    layouts = layout_map(keras.distribution.DeviceMesh((1, 2), ("batch", AXIS), ["cpu:0", "cpu:1"]))
    kernels = [
        weight.path
        for weight in model.weights
        if weight.path.endswith("/kernel") and len(weight.shape) == 2
    ]
    assert len(kernels) >= 4
    assert [path for path in kernels if layouts[path] is None] == []
