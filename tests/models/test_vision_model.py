"""A model of `load` is a plain Keras model: what Keras documents works on it."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.errors import UsageError
from keras_vit.models import VisionModel

SMALL = {"weights": None, "image_size": 32, "patch_size": 8, "depth": 2}
IMAGES = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")


def tiny(**arguments: object) -> VisionModel:
    return keras_vit.load("vit_tiny_patch16_224", **{**SMALL, **arguments})


@pytest.fixture(scope="module")
def model() -> VisionModel:
    return tiny(num_classes=4, labels=["a", "b", "c", "d"], drop_path_rate=0.1, init_values=0.1)


@pytest.fixture(scope="module")
def saved(model: VisionModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return path


def test_interface(model: VisionModel) -> None:
    assert model.input.name == "images"
    assert model.input.shape == (None, 32, 32, 3)
    assert model.output.shape == (None, 4)


def test_variable_paths(model: VisionModel) -> None:
    paths = {variable.path for variable in model.weights}
    assert {"blocks_1/mlp/fc1/kernel", "embedding/pos_embed", "patch_embed/proj/bias"} <= paths


def test_block_output_is_a_feature(model: VisionModel) -> None:
    features = keras.Model(model.input, model.get_layer("blocks_0").output)
    assert features.predict(IMAGES, verbose=0).shape == (3, 17, 192)


def test_configuration_travels_with_the_file(model: VisionModel, saved: Path) -> None:
    again = keras_vit.load(saved)
    assert again.config == model.config
    assert again.labels == ("a", "b", "c", "d")


def test_saved_model_gives_the_same_logits(model: VisionModel, saved: Path) -> None:
    again = keras.saving.load_model(saved)
    np.testing.assert_array_equal(
        again.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0)
    )


@pytest.mark.parametrize(
    "imports",
    [
        "import keras, keras_vit",
        *(
            pytest.param(f"import {name}, keras", marks=pytest.mark.slow)
            for name in ("keras_vit", "keras_vit.layers")
        ),
    ],
)
def test_reloads_in_a_process_that_has_only_imported_keras_vit(saved: Path, imports: str) -> None:
    code = f"{imports}; print(keras.saving.load_model({str(saved)!r}).config.name)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "vit_tiny_patch16_224.augreg_in21k_ft_in1k", done.stderr[-800:]


def test_preprocess_takes_images_of_any_size(model: VisionModel) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 50, 70, 3), dtype="uint8")
    prepared = keras.ops.convert_to_numpy(model.preprocess(images))
    assert prepared.shape == (2, 32, 32, 3)
    assert -1 <= prepared.min() < prepared.max() <= 1


def test_a_clone_has_no_preprocessing(model: VisionModel) -> None:
    with pytest.raises(UsageError, match="no configuration"):
        _ = keras.models.clone_model(model).preprocess


def test_fit_lowers_the_loss(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = tiny(num_classes=2)
    x = np.concatenate([IMAGES + 1, IMAGES - 1] * 4)
    y = np.array([0, 0, 0, 1, 1, 1] * 4)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss)
    history = model.fit(x, y, epochs=4, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_stays_near_float32(policy: str) -> None:
    keras.utils.set_random_seed(0)
    model = tiny(num_classes=7, init_values=0.5)
    for variable in model.weights:
        variable.assign(keras.ops.convert_to_numpy(variable) * 1.5 + 0.01)
    mixed = tiny(num_classes=7, init_values=0.5, dtype=policy)
    mixed.set_weights(model.get_weights())
    expected, found = (m.predict(IMAGES, verbose=0) for m in (model, mixed))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.05 * expected.std() + 0.05


@pytest.mark.parametrize(
    "policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
def test_mixed_precision_fits_without_nan(policy: str) -> None:
    model = tiny(num_classes=2, dtype=policy)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss)
    model.fit(IMAGES * 50, np.array([0, 1, 0]), epochs=3, verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.usefixtures("few_objects")
def test_quantized_model_reloads_twice(tmp_path: Path) -> None:
    model = tiny(num_classes=4)
    model.quantize("int8")
    expected = model.predict(IMAGES, verbose=0)
    for name in ("once.keras", "twice.keras"):
        model.save(tmp_path / name)
        model = keras_vit.load(tmp_path / name)
        np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), expected)


def test_lora_trains_few_weights_and_saves_them_merged(tmp_path: Path) -> None:
    model = tiny(num_classes=4)
    for i in range(2):
        model.get_layer(f"blocks_{i}").attn.qkv.enable_lora(2)
    for variable in model.trainable_variables:
        if "lora" in variable.path:
            variable.assign(keras.random.normal(variable.shape, stddev=0.1, seed=1))
    expected = model.predict(IMAGES, verbose=0)
    model.save(tmp_path / "lora.keras")
    again = keras_vit.load(tmp_path / "lora.keras")
    np.testing.assert_allclose(again.predict(IMAGES, verbose=0), expected, atol=1e-5)


def test_any_image_size_at_run_time() -> None:
    model = tiny(num_classes=4, dynamic_image_size=True)
    fixed = tiny(num_classes=4)
    fixed.set_weights(model.get_weights())
    np.testing.assert_allclose(
        model.predict(IMAGES, verbose=0), fixed.predict(IMAGES, verbose=0), atol=1e-5
    )
    assert model.predict(np.zeros((2, 40, 56, 3)), verbose=0).shape == (2, 4)


def test_without_classes_the_output_is_the_pooled_features() -> None:
    assert tiny(num_classes=0).output.shape == (None, 192)


def test_without_pooling_every_token_has_an_output() -> None:
    assert tiny(num_classes=0, global_pool="").output.shape == (None, 17, 192)


def test_a_distilled_model_averages_its_heads() -> None:
    model = keras_vit.load("deit_tiny_distilled_patch16_224", **SMALL, num_classes=4)
    heads = keras.Model(model.input, [model.get_layer(n).output for n in ("head", "head_dist")])
    first, second = heads.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), (first + second) / 2, atol=1e-6)


def test_the_pre_training_head_is_dense_and_tanh() -> None:
    model = tiny(num_classes=4, representation_size=16)
    inner = keras.Model(model.input, model.get_layer("pre_logits").output)
    assert inner.output.shape == (None, 16)
    assert np.abs(inner.predict(IMAGES * 9, verbose=0)).max() < 1


def test_drop_path_rises_linearly() -> None:
    model = tiny(depth=4, drop_path_rate=0.3)
    rates = [model.get_layer(f"blocks_{i}").drop_path_rate for i in range(4)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])


def test_the_papers_head_starts_at_zero() -> None:
    model = tiny(num_classes=4, numerics="source")
    assert not np.asarray(model.get_layer("head").kernel).any()
    assert model.get_layer("blocks_0").act == "gelu_tanh"


def test_keras_name_of_the_activation_is_taken() -> None:
    assert tiny(activation="gelu_tanh").config.arguments["act"] == "gelu_tanh"
