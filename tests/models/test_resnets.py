"""BiT and the hybrids, as models of `load`: names, sizes, stems of the caller's, training, reloading."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.errors import CheckpointError, UsageError
from keras_vit.models import VisionModel

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 33, 33, 3)).astype("float32")
NARROW = {"channels": [128, 256, 512, 1024], "weights": None, "num_classes": 4}
SMALL = {
    "bit": {"name": "resnetv2_50x1_bit", "layers": [2, 1], "image_size": 33, **NARROW},
    "hybrid": {
        "name": "vit_small_r26_s32_224",
        "layers": [1, 1],
        "embed_dim": 48,
        "num_heads": 3,
        "depth": 2,
        "image_size": 33,
        **NARROW,
    },
}
both = pytest.mark.parametrize("family", ["bit", "hybrid"])
# The same layers are trained in either; a hybrid's graph takes half a minute to trace.
both_one_slow = pytest.mark.parametrize(
    "family", ["bit", pytest.param("hybrid", marks=pytest.mark.slow)]
)


def small(family: str, **arguments: Any) -> VisionModel:
    return keras_vit.load(**{**SMALL[family], **arguments})


def names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]


# Graphs


def test_layers_of_bit() -> None:
    blocks = ["stages_0_blocks_0", "stages_0_blocks_1", "stages_1_blocks_0"]
    assert names(small("bit")) == ["images", "stem", *blocks, "norm", "relu", "pool", "head"]


def test_layers_of_a_hybrid() -> None:
    blocks = ["stages_0_blocks_0", "stages_1_blocks_0"]
    transformer = ["patch_embed", "embedding", "blocks_0", "blocks_1", "norm", "pool", "head"]
    assert names(small("hybrid")) == ["images", "stem", *blocks, *transformer]


@pytest.mark.parametrize(
    ("family", "layer", "shape"),
    [
        ("bit", "stem", (None, 9, 9, 64)),
        ("bit", "stages_0_blocks_1", (None, 9, 9, 128)),
        ("bit", "stages_1_blocks_0", (None, 5, 5, 256)),
        ("bit", "pool", (None, 256)),
        ("hybrid", "stem", (None, 9, 9, 64)),
        ("hybrid", "stages_1_blocks_0", (None, 5, 5, 256)),
        ("hybrid", "patch_embed", (None, 5, 5, 48)),
        ("hybrid", "blocks_1", (None, 26, 48)),
    ],
)
def test_a_layers_output_is_a_feature(family: str, layer: str, shape: tuple) -> None:
    model = small(family)
    assert model.get_layer(layer).output.shape == shape
    feature = keras.Model(model.input, model.get_layer(layer).output)
    assert feature.predict_on_batch(IMAGES).shape == (3, *shape[1:])


def test_r_ti_has_a_stem_alone() -> None:
    """8 x 8 pixels of the stem's map are a patch, which is 32 x 32 pixels of the image."""
    model = keras_vit.load("R+ViT-Ti/16", weights=None, depth=1, image_size=96)
    assert names(model)[:4] == ["images", "stem", "patch_embed", "embedding"]
    assert model.get_layer("embedding").output.shape == (None, 10, 192)


def test_the_width_factor_multiplies_every_width() -> None:
    model = small("bit", name="resnetv2_50x3_bit", layers=[1, 1])
    assert model.get_layer("stem").output.shape[-1] == 192
    assert model.get_layer("stages_1_blocks_0").output.shape[-1] == 768


@both
def test_without_classes_the_output_is_the_pooled_features(family: str) -> None:
    width = {"bit": 256, "hybrid": 48}[family]
    assert small(family, num_classes=0).output.shape == (None, width)


def test_bit_without_pooling_gives_the_map() -> None:
    assert small("bit", num_classes=0, global_pool="").output.shape == (None, 5, 5, 256)


def test_drop_path_rises_over_all_blocks() -> None:
    model = small("bit", layers=[2, 1, 2], drop_path_rate=0.4)
    rates = [layer.drop_path_rate for layer in model.layers if "blocks" in layer.name]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@both
def test_other_channels(family: str) -> None:
    assert small(family, in_chans=5).predict_on_batch(np.zeros((1, 33, 33, 5))).shape == (1, 4)


@both
def test_any_image_size_at_run_time(family: str) -> None:
    model, fixed = small(family, dynamic_image_size=True), small(family)
    fixed.set_weights(model.get_weights())
    expected = fixed.predict_on_batch(IMAGES)
    np.testing.assert_allclose(model.predict_on_batch(IMAGES), expected, atol=1e-5)
    assert model.predict_on_batch(np.zeros((2, 50, 71, 3))).shape == (2, 4)


def test_the_papers_heads_and_branches_start_at_zero() -> None:
    hybrid, bit = (small(family, numerics="source") for family in ("hybrid", "bit"))
    assert not np.asarray(hybrid.get_layer("stages_0_blocks_0").norm3.gamma).any()
    assert not np.asarray(hybrid.get_layer("head").kernel).any()
    assert not np.asarray(bit.get_layer("head").kernel).any()


def test_timms_initialisation() -> None:
    model = small("bit", num_classes=1000)
    assert np.std(np.asarray(model.get_layer("head").kernel)) == pytest.approx(0.01, rel=0.05)
    kernel = np.asarray(model.get_layer("stages_1_blocks_0").conv2.kernel)
    assert kernel.std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)


# A stem of the caller's


@pytest.fixture(scope="module")
def stem() -> keras.Model:
    bit = small("bit")
    return keras.Model(bit.input, bit.get_layer("stages_0_blocks_1").output)


@pytest.fixture(scope="module")
def stemmed(stem: keras.Model) -> VisionModel:
    return small("hybrid", stem=stem, patch_size=(3, 3))


def test_a_stem_of_the_callers(stemmed: VisionModel, stem: keras.Model) -> None:
    """Its layers are the model's own, under their names."""
    blocks = ["stages_0_blocks_0", "stages_0_blocks_1"]
    assert names(stemmed)[:6] == ["images", "stem", *blocks, "patch_embed", "embedding"]
    feature = keras.Model(stemmed.input, stemmed.get_layer("stages_0_blocks_1").output)
    expected = stem.predict_on_batch(IMAGES)
    np.testing.assert_array_equal(feature.predict_on_batch(IMAGES), expected)
    assert stemmed.get_layer("patch_embed").output.shape == (None, 3, 3, 48)


def test_its_configuration_is_plain_json(stemmed: VisionModel) -> None:
    assert stemmed.config is not None
    again = json.loads(json.dumps(stemmed.config.to_dict()))
    assert again["arguments"]["stem"]["config"]["layers"][1]["config"]["name"] == "stem"


def test_it_reloads(stemmed: VisionModel, tmp_path: Path) -> None:
    stemmed.save(tmp_path / "stemmed.keras")
    again = keras_vit.load(tmp_path / "stemmed.keras")
    assert again.config == stemmed.config
    expected = stemmed.predict_on_batch(IMAGES)
    np.testing.assert_array_equal(again.predict_on_batch(IMAGES), expected)


def test_a_new_classifier_keeps_the_stem(stemmed: VisionModel) -> None:
    new = stemmed.reset_classifier(7)
    assert new.output.shape == (None, 7)
    before, after = (
        keras.Model(model.input, model.get_layer("pool").output).predict_on_batch(IMAGES)
        for model in (stemmed, new)
    )
    np.testing.assert_array_equal(after, before)


def test_a_stem_of_keras_own_layers() -> None:
    images = keras.Input((None, None, 3))
    stem = keras.Model(images, keras.layers.Conv2D(8, 4, 4)(images), name="own")
    model = small("hybrid", stem=stem)
    assert model.get_layer("embedding").output.shape == (None, 8 * 8 + 1, 48)
    assert model.predict_on_batch(IMAGES).shape == (3, 4)


@pytest.mark.parametrize(
    ("stem", "message"),
    [
        (lambda: small("bit"), "Functional Keras model from one batch of images"),
        (lambda: keras.Sequential([keras.layers.Conv2D(3, 3)]), "Functional Keras model"),
    ],
    ids=["no-map", "no-inputs"],
)
def test_not_a_stem(stem: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small("hybrid", stem=stem())


def test_a_stem_of_another_size(stem: keras.Model) -> None:
    with pytest.raises(ValueError, match=r"takes images of \(33, 33, 3\).*\(64, 64, 3\)"):
        small("hybrid", stem=stem, image_size=64)


def test_other_libraries_have_no_names_for_it(stemmed: VisionModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="timm has no model with stem="):
        keras_vit.save_weights(stemmed, tmp_path / "x.safetensors", layout="timm")


# Training, precision, files


@pytest.mark.slow
@both
def test_a_fit_lowers_the_loss(family: str) -> None:
    keras.utils.set_random_seed(0)
    model = small(family, num_classes=2, layers=[1])
    before = {weight.path: np.array(weight) for weight in model.trainable_variables}
    x = np.concatenate([IMAGES + 1, IMAGES - 1] * 2)
    y = np.array([0, 0, 0, 1, 1, 1] * 2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss, jit_compile=False)
    history = model.fit(x, y, epochs=8, verbose=0).history["loss"]
    assert history[-1] < 0.9 * history[0]
    unmoved = [w.path for w in model.trainable_variables if np.array_equal(before[w.path], w)]
    assert not unmoved


@both
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_stays_near_float32(family: str, policy: str) -> None:
    model, mixed = small(family), small(family, dtype=policy)
    mixed.set_weights(model.get_weights())
    expected, found = (each.predict_on_batch(IMAGES * 20) for each in (model, mixed))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.1 * expected.std() + 0.02


@both_one_slow
def test_mixed_precision_fits_without_nan(family: str) -> None:
    model = small(family, layers=[1], dtype="mixed_bfloat16")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss, jit_compile=False)
    model.fit(IMAGES * 50, np.array([0, 1, 0]), epochs=2, verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


RELOAD = """
import sys, numpy as np, keras_vit, keras
model = keras.saving.load_model(sys.argv[1])
print(model.config.name)
np.save(sys.argv[3], model.predict_on_batch(np.load(sys.argv[2])))
"""


@both_one_slow
def test_reloads_in_a_fresh_process(family: str, tmp_path: Path) -> None:
    model = small(family)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", IMAGES)
    files = [str(tmp_path / name) for name in ("model.keras", "images.npy", "logits.npy")]
    done = subprocess.run(
        [sys.executable, "-P", "-c", RELOAD, *files], capture_output=True, text=True
    )
    assert done.stdout.strip() == model.config.name, done.stderr[-800:]
    found, expected = np.load(tmp_path / "logits.npy"), model.predict_on_batch(IMAGES)
    np.testing.assert_allclose(found, expected, atol=1e-6)


# Checkpoints


def randomized(model: VisionModel) -> VisionModel:
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize(
    ("family", "layout", "file"),
    [
        ("bit", "timm", "x.safetensors"),
        ("bit", "npz", "x.npz"),
        ("bit", "huggingface", "model.safetensors"),
        ("hybrid", "timm", "x.safetensors"),
        ("hybrid", "npz", "x.npz"),
    ],
)
def test_each_layout_comes_back_bit_equal(
    family: str, layout: str, file: str, tmp_path: Path
) -> None:
    model = randomized(small(family))
    path = keras_vit.save_weights(model, tmp_path / file, layout=layout)
    again = small(family, weights=path)
    assert again.load_report.layout == layout
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        assert np.array(ours).tobytes() == np.array(theirs).tobytes(), ours.path


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return dict(stored)


def test_names_of_bits_npz(tmp_path: Path) -> None:
    shapes = {
        name: array.shape
        for name, array in arrays(keras_vit.save_weights(small("bit"), tmp_path / "x.npz")).items()
    }
    assert shapes["resnet/root_block/standardized_conv2d/kernel"] == (7, 7, 3, 64)
    assert shapes["resnet/block1/unit02/a/standardized_conv2d/kernel"] == (1, 1, 128, 32)
    assert shapes["resnet/block2/unit01/a/proj/standardized_conv2d/kernel"] == (1, 1, 128, 256)
    assert shapes["resnet/group_norm/gamma"] == (256,)
    assert shapes["resnet/head/conv2d/kernel"] == (1, 1, 256, 4)


def test_names_of_a_hybrids_npz(tmp_path: Path) -> None:
    shapes = {
        name: array.shape
        for name, array in arrays(
            keras_vit.save_weights(small("hybrid"), tmp_path / "x.npz")
        ).items()
    }
    assert shapes["conv_root/kernel"] == (7, 7, 3, 64)
    assert shapes["gn_root/scale"] == (1, 1, 1, 64)
    assert shapes["block1/unit1/gn_proj/bias"] == (1, 1, 1, 128)
    assert shapes["block2/unit1/conv2/kernel"] == (3, 3, 64, 64)
    assert shapes["embedding/kernel"] == (1, 1, 256, 48)


def test_numbered_convolutions_of_bits_npz(tmp_path: Path) -> None:
    model = randomized(small("bit"))
    stored = arrays(keras_vit.save_weights(model, tmp_path / "x.npz"))
    numbered = {
        name.replace("standardized_conv2d", f"standardized_conv2d_{i}"): array
        for i, (name, array) in enumerate(stored.items())
    }
    np.savez(tmp_path / "numbered.npz", **numbered)
    again = small("bit", weights=tmp_path / "numbered.npz")
    assert all(map(np.array_equal, again.get_weights(), model.get_weights()))


def test_group_norms_of_an_npz_may_be_vectors(tmp_path: Path) -> None:
    model = randomized(small("hybrid"))
    stored = arrays(keras_vit.save_weights(model, tmp_path / "x.npz"))
    np.savez(
        tmp_path / "flat.npz",
        **{name: array.squeeze() if "gn" in name else array for name, array in stored.items()},
    )
    again = small("hybrid", weights=tmp_path / "flat.npz")
    assert all(map(np.array_equal, again.get_weights(), model.get_weights()))


@both
def test_an_npz_computes_as_its_authors_did(family: str, tmp_path: Path) -> None:
    path = keras_vit.save_weights(small(family), tmp_path / "x.npz")
    assert small(family, weights=path).config.numerics == "source"
    assert small(family, weights=path, numerics="timm").config.numerics == "timm"


def test_a_hybrids_positions_are_resized(tmp_path: Path) -> None:
    path = keras_vit.save_weights(randomized(small("hybrid")), tmp_path / "x.safetensors")
    report = small("hybrid", weights=path, image_size=(33, 65)).load_report
    assert report.resized == (("pos_embed", (1, 26, 48), (1, 46, 48), "bicubic_antialias"),)


def test_a_hybrid_that_is_not_square_comes_back(tmp_path: Path) -> None:
    model = randomized(small("hybrid", image_size=(33, 65)))
    path = keras_vit.save_weights(model, tmp_path / "x.safetensors")
    assert small("hybrid", weights=path, image_size=(33, 65)).load_report.resized == ()


def test_another_depth_is_another_model(tmp_path: Path) -> None:
    path = keras_vit.save_weights(small("bit"), tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="missing: stages"):
        small("bit", weights=path, layers=[2, 2])


def test_one_channel_gets_the_sum_of_three(tmp_path: Path) -> None:
    model = randomized(small("bit"))
    path = keras_vit.save_weights(model, tmp_path / "x.safetensors")
    gray = small("bit", weights=path, in_chans=1)
    kernels = [np.asarray(each.get_layer("stem").conv.kernel) for each in (gray, model)]
    np.testing.assert_allclose(kernels[0], kernels[1].sum(2, keepdims=True), atol=1e-6)
