"""What gives a new model: another classifier, attention maps as outputs."""

from pathlib import Path

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.errors import UsageError
from keras_vit.models import VisionModel

SMALL = {"weights": None, "image_size": 32, "patch_size": 8, "depth": 2}
IMAGES = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")


def loud(model: VisionModel) -> VisionModel:
    rng = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.3, variable.shape))
    return model


@pytest.fixture(scope="module")
def model() -> VisionModel:
    return loud(keras_vit.load("vit_tiny_patch16_224", **SMALL, num_classes=4))


@pytest.fixture(scope="module")
def distilled() -> VisionModel:
    return loud(keras_vit.load("deit_tiny_distilled_patch16_224", **SMALL, num_classes=4))


def predicted(model: keras.Model) -> np.ndarray:
    return model.predict(IMAGES, verbose=0)


def test_reset_classifier_keeps_what_comes_before(model: VisionModel) -> None:
    features = keras.Model(model.input, model.get_layer("pool").output)
    np.testing.assert_array_equal(predicted(model.reset_classifier(0)), predicted(features))


def test_reset_classifier_gives_a_new_head_and_its_labels(model: VisionModel) -> None:
    new = model.reset_classifier(2, labels=["cat", "dog"])
    assert new.output.shape == (None, 2)
    assert new.labels == ("cat", "dog")
    assert new.config.arguments["num_classes"] == 2


def test_reset_classifier_leaves_the_old_model(model: VisionModel) -> None:
    before = predicted(model)
    new = model.reset_classifier(2)
    for variable in new.weights:
        variable.assign(keras.ops.zeros_like(variable))
    np.testing.assert_array_equal(predicted(model), before)
    assert model.output.shape == (None, 4)


@pytest.mark.parametrize("classes", [0, 7])
def test_reset_classifier_of_a_distilled_model(distilled: VisionModel, classes: int) -> None:
    new = distilled.reset_classifier(classes)
    assert new.output.shape == (None, classes or 192)
    assert ("head_dist" in {layer.name for layer in new.layers}) == bool(classes)


def test_reset_classifier_and_back(model: VisionModel) -> None:
    assert model.reset_classifier(0).reset_classifier(5).output.shape == (None, 5)


def test_reset_classifier_keeps_frozen_layers_and_the_policy() -> None:
    mixed = keras_vit.load("vit_tiny_patch16_224", **SMALL, dtype="mixed_bfloat16")
    mixed.get_layer("blocks_0").trainable = False
    new = mixed.reset_classifier(3)
    assert not new.get_layer("blocks_0").trainable
    assert new.get_layer("blocks_1").compute_dtype == "bfloat16"


def test_reset_classifier_refuses_a_quantized_model() -> None:
    quantized = keras_vit.load("vit_tiny_patch16_224", **SMALL, num_classes=4)
    quantized.quantize("int8")
    with pytest.raises(UsageError, match="before quantizing"):
        quantized.reset_classifier(3)


def test_reset_classifier_wants_as_many_labels(model: VisionModel) -> None:
    with pytest.raises(UsageError, match="num_classes=3, but there are 2 labels"):
        model.reset_classifier(3, labels=["a", "b"])


def test_attention_scores_are_shares(model: VisionModel) -> None:
    scores = predicted(keras_vit.attention_scores(model))["blocks_1"]
    assert scores.shape == (3, 3, 17, 17)
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-6)


def test_attention_scores_equal_the_definition(model: VisionModel) -> None:
    block = model.get_layer("blocks_0")
    x = keras.ops.convert_to_numpy(
        block.norm1(keras.Model(model.input, model.get_layer("embedding").output)(IMAGES))
    ).astype("float64")
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in block.attn.qkv.weights)
    query, key, _ = (
        part.reshape(3, 17, 3, 64).transpose(0, 2, 1, 3)
        for part in np.split(x @ kernel + bias, 3, axis=-1)
    )
    expected = np.exp(query @ key.swapaxes(-1, -2) / 8)
    expected /= expected.sum(-1, keepdims=True)
    found = predicted(keras_vit.attention_scores(model, at=["blocks_0"]))["blocks_0"]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_attention_scores_come_beside_the_same_logits(model: VisionModel) -> None:
    found = predicted(keras_vit.attention_scores(model, at=["blocks_1"]))
    assert set(found) == {"logits", "blocks_1"}
    np.testing.assert_allclose(found["logits"], predicted(model), atol=1e-5)


def test_attention_scores_share_the_weights(model: VisionModel) -> None:
    assert {id(w) for w in keras_vit.attention_scores(model).weights} == {
        id(w) for w in model.weights
    }


def test_a_model_with_attention_scores_saves(model: VisionModel, tmp_path: Path) -> None:
    both = keras_vit.attention_scores(model)
    both.save(tmp_path / "both.keras")
    again = keras.saving.load_model(tmp_path / "both.keras")
    for name, expected in predicted(both).items():
        np.testing.assert_array_equal(predicted(again)[name], expected)


def test_attention_scores_of_an_unknown_block(model: VisionModel) -> None:
    with pytest.raises(UsageError, match="no attention in blocks_9: there is blocks_0, blocks_1"):
        keras_vit.attention_scores(model, at=["blocks_9"])
