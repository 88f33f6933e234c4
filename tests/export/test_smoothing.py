from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from onnx_cases import CVT, EVA, VIT, images_for, load

from keras_vit.export.reference import answers
from keras_vit.export.smoothing import has_blocks, int8_error, smooth, smoothing_factors

LOUD = (
    *("norm1/gamma", "norm2/gamma", "norm1/scale", "norm2/scale"),
    *("mlp/norm/gamma", "attn/norm/gamma"),
    *("qkv/kernel", "proj_v/kernel", "v_proj/kernel", "fc1_x/kernel"),
)


def with_outliers(model: keras.Model) -> keras.Model:
    """A few channels of every norm, and of every value, thirty times as loud."""
    for variable in model.variables:
        if variable.path.endswith(LOUD):
            value = keras.ops.convert_to_numpy(variable).copy()
            value[..., -8::3] *= 30
            variable.assign(value)
    return model


def wrapped() -> keras.Model:
    """A backbone in a model of the user's."""
    backbone = load("vit_tiny_patch16_224", **{**VIT, "num_classes": 0})
    images = keras.Input((32, 32, 3))
    return keras.Model(images, keras.layers.Dense(7, name="mine")(backbone(images)))


# name -> (model, products that can be scaled)
MODELS: dict[str, tuple[Callable[[], keras.Model], int]] = {
    "vit": (lambda: load("vit_tiny_patch16_224", **VIT), 6),
    "norms of queries and keys, scales": (
        lambda: load("vit_tiny_patch16_224", **VIT, qk_norm=True, init_values=0.1, qkv_bias=False),
        6,
    ),
    "cvt": (lambda: load("cvt_13_224", **{**CVT, "depth": (1, 1, 1)}), 6),
    "wrapped": (wrapped, 6),
    "rotary, separate, norms inside": (lambda: load("eva02_base_patch16_clip_224", **EVA), 8),
    "rotary, gated, bias beside": (lambda: load("vit_small_plus_patch16_dinov3_qkvb", **EVA), 8),
    "norms behind": (lambda: load("eva02_enormous_patch14_clip_224", **EVA), 2),
}


@pytest.mark.parametrize("name", MODELS)
def test_float32_logits_stay(name: str) -> None:
    build, count = MODELS[name]
    model = with_outliers(build())
    images = images_for(model, 8)
    before = answers(model, ["logits"], images)["logits"]
    weights = [weight.copy() for weight in model.get_weights()]
    done, looked_at = smooth(model, images)
    after = answers(model, ["logits"], images)["logits"]
    assert looked_at == count
    assert len(done) >= count // 2
    assert any((a != b).any() for a, b in zip(weights, model.get_weights(), strict=True))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6 * before.std())


def test_only_where_it_helps() -> None:
    """Every change lessened the error of its product; without outliers there is little to change."""
    loud = with_outliers(load("vit_tiny_patch16_224", **VIT))
    done, _ = smooth(loud, images_for(loud, 8))
    assert all(change.after <= 0.9 * change.before for change in done)
    assert {"blocks_0/attn/qkv", "blocks_1/mlp/fc1"} <= {change.name for change in done}
    again, _ = smooth(loud, images_for(loud, 8))
    assert len(again) < len(done)


def test_model_without_blocks() -> None:
    model = load("resnetv2_50x1_bit", image_size=40, layers=(1, 1), num_classes=2)
    assert not has_blocks(model)
    assert smooth(model, images_for(model, 2)) == ((), 0)


def test_factors_are_the_papers() -> None:
    """Equation 4, but for a common factor, to the next power of two."""
    rng = np.random.default_rng(0)
    inputs, kernel = rng.normal(size=(20, 9)) * np.logspace(-1, 1, 9), rng.normal(size=(9, 5))
    inputs[:, 4] = 0
    factors = smoothing_factors(inputs, kernel, 0.3)
    loud, strong = np.abs(inputs).max(axis=0), np.abs(kernel).max(axis=1)
    off = np.log2(factors / (loud**0.3 / strong**0.7))[loud > 0]
    assert np.ptp(off) <= 1
    assert (np.log2(factors) == np.rint(np.log2(factors))).all()
    assert factors[4] == 1


def test_error_of_a_product() -> None:
    rng = np.random.default_rng(0)
    inputs, kernel = rng.normal(size=(600, 64)), rng.normal(size=(64, 32))
    plain = int8_error(inputs, kernel)
    assert 1e-5 < plain < 1e-3
    loud: Any = inputs.copy()
    loud[:, 3] *= 100
    assert int8_error(loud, kernel) > plain
    assert int8_error(np.zeros((4, 8)), np.ones((8, 2))) == 0
