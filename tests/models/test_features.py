"""Features between the blocks, as maps and tokens, and the pyramid of them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.errors import UsageError

VIT = {"weights": None, "image_size": (32, 48), "patch_size": 8, "depth": 3, "num_classes": 4}
IMAGES = np.random.default_rng(0).normal(size=(2, 32, 48, 3)).astype("float32")
BIT = {"layers": (1, 2), "channels": (128, 256), "stem_chs": 32}
CVT = {
    "embed_dim": (16, 32),
    "depth": (1, 2),
    "num_heads": (1, 2),
    "embed_kernel": (7, 3),
    "embed_stride": (4, 2),
    "embed_padding": (2, 1),
}


def loud(name: str, **arguments: Any) -> keras.Model:
    model = keras_vit.load(name, **{"weights": None, **arguments})
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.5, 0.3, variable.shape))
    return model


@pytest.fixture(scope="module")
def vit() -> keras.Model:
    return loud("deit_tiny_distilled_patch16_224", **VIT)


@pytest.fixture(scope="module")
def cvt() -> keras.Model:
    return loud("cvt_13_224", image_size=(32, 48), num_classes=4, **CVT)


def given(model: keras.Model, layer: str) -> Any:
    return keras.Model(model.input, model.get_layer(layer).output).predict(IMAGES, verbose=0)


def test_maps_are_the_patch_tokens_in_place(vit: keras.Model) -> None:
    found = keras_vit.features(vit, at=[0, 2]).predict(IMAGES, verbose=0)
    for value, layer in zip(found, ("embedding", "blocks_1"), strict=True):
        np.testing.assert_array_equal(value, given(vit, layer)[:, 2:].reshape(2, 4, 6, 192))


def test_prefix_tokens_stand_beside_a_map(vit: keras.Model) -> None:
    grid, prefix = keras_vit.features(vit, at=[-1], prefix="keep").predict(IMAGES, verbose=0)
    tokens = given(vit, "blocks_2")
    np.testing.assert_array_equal(prefix, tokens[:, :2])
    np.testing.assert_array_equal(grid.reshape(2, 24, 192), tokens[:, 2:])


@pytest.mark.parametrize(("prefix", "first"), [("keep", 0), ("drop", 2)])
def test_tokens(vit: keras.Model, prefix: str, first: int) -> None:
    model = keras_vit.features(vit, at=1, format="tokens", prefix=prefix)
    expected = given(vit, "blocks_2")[:, first:]
    assert model.output.shape == (None, *expected.shape[1:])
    np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), expected)


def test_the_norm_is_the_models_last(vit: keras.Model) -> None:
    tokens = keras_vit.features(vit, at=1, format="tokens", prefix="keep", norm=True)
    np.testing.assert_allclose(
        tokens.predict(IMAGES, verbose=0), given(vit, "norm"), rtol=1e-5, atol=1e-5
    )


def test_a_number_is_that_many_last_ones_and_none_all(vit: keras.Model) -> None:
    assert len(keras_vit.features(vit, at=2).outputs) == 2
    assert len(keras_vit.features(vit).outputs) == 3


def test_nothing_behind_the_last_feature_is_computed(vit: keras.Model) -> None:
    names = {layer.name for layer in keras_vit.features(vit, at=[1]).layers}
    assert "blocks_0" in names
    assert not names & {"blocks_1", "norm", "head"}


def test_weights_are_shared(vit: keras.Model) -> None:
    assert {id(w) for w in keras_vit.features(vit).weights} <= {id(w) for w in vit.weights}


def test_images_of_any_size() -> None:
    model = loud("vit_tiny_patch16_224", **{**VIT, "dynamic_image_size": True})
    assert keras_vit.features(model, at=1).predict(IMAGES, verbose=0).shape == (2, 4, 6, 192)
    smaller = IMAGES[:, :16, :24]
    assert keras_vit.features(model, at=1).predict(smaller, verbose=0).shape == (2, 2, 3, 192)


def test_stages_of_cvt(cvt: keras.Model) -> None:
    first, (grid, token) = keras_vit.features(cvt, prefix="keep").predict(IMAGES, verbose=0)
    np.testing.assert_array_equal(first, given(cvt, "stages_0_blocks_0"))
    expected = given(cvt, "stages_1_blocks_1")
    np.testing.assert_array_equal(grid, expected[0])
    np.testing.assert_array_equal(token, expected[1])


def test_tokens_of_cvt(cvt: keras.Model) -> None:
    tokens = keras_vit.features(cvt, at=1, format="tokens", prefix="keep").predict(
        IMAGES, verbose=0
    )
    grid, token = given(cvt, "stages_1_blocks_1")
    np.testing.assert_array_equal(tokens[:, :1], token)
    np.testing.assert_array_equal(tokens[:, 1:], grid.reshape(2, -1, 32))


def test_stages_of_bit_the_last_one_normed() -> None:
    bit = loud("resnetv2_50x1_bit", image_size=(32, 48), num_classes=4, **BIT)
    stem, _, last = keras_vit.features(bit, at=[0, 1, 2], norm=True).predict(IMAGES, verbose=0)
    np.testing.assert_array_equal(stem, given(bit, "stem"))
    np.testing.assert_allclose(last, given(bit, "relu"), rtol=1e-4, atol=1e-5)


def test_they_save(vit: keras.Model, tmp_path: Path) -> None:
    model = keras_vit.features(vit, at=[1, 3], prefix="keep")
    model.save(tmp_path / "features.keras")
    again = keras.saving.load_model(tmp_path / "features.keras")
    expected, found = (keras.tree.flatten(m.predict(IMAGES, verbose=0)) for m in (model, again))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"at": [4]}, r"features at 0 to 3, not at \[4\]"),
        ({"at": 4}, "has 3 blocks or stages, not 4"),
        ({"at": []}, "not at none"),
        ({"format": "nchw"}, "format must be one of"),
        ({"prefix": "class"}, "prefix one of"),
    ],
)
def test_what_is_not_there_is_refused(
    vit: keras.Model, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        keras_vit.features(vit, **arguments)


def test_a_norm_of_pooled_features_is_refused() -> None:
    model = loud("vit_tiny_patch16_224", **{**VIT, "global_pool": "avg", "fc_norm": True})
    with pytest.raises(UsageError, match="norms what it has pooled alone"):
        keras_vit.features(model, norm=True)


def test_a_pyramid_has_every_scale(vit: keras.Model) -> None:
    model = keras_vit.feature_pyramid(vit, channels=16)
    shapes = [value.shape for value in model.predict(IMAGES, verbose=0)]
    assert shapes == [(2, 16, 24, 16), (2, 8, 12, 16), (2, 4, 6, 16), (2, 2, 3, 16)]


def test_a_pyramid_needs_one_map(cvt: keras.Model) -> None:
    with pytest.raises(UsageError, match="stages of several sizes"):
        keras_vit.feature_pyramid(cvt)


def test_a_pyramid_of_another_scale(vit: keras.Model) -> None:
    with pytest.raises(UsageError, match="got 3"):
        keras_vit.feature_pyramid(vit, scales=(3,))
