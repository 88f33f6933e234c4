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


@pytest.mark.usefixtures("few_objects")
def test_reset_classifier_refuses_a_quantized_model() -> None:
    quantized = keras_vit.load("vit_tiny_patch16_224", **SMALL, num_classes=4)
    quantized.quantize("int8")
    with pytest.raises(UsageError, match="before quantizing it"):
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


def test_another_image_size_resizes_the_positions_as_loading_does(
    model: VisionModel, tmp_path: Path
) -> None:
    model.save(tmp_path / "model.keras")
    again = keras_vit.load(
        "vit_tiny_patch16_224",
        num_classes=4,
        **{**SMALL, "weights": tmp_path / "model.keras", "image_size": (48, 40)},
    )
    new = model.set_image_size((48, 40))
    assert new.input.shape == (None, 48, 40, 3)
    assert new.config.preprocessing.image_size == (48, 40)
    for ours, theirs in zip(new.weights, again.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (ours, theirs)))


def test_the_same_image_size_changes_nothing(distilled: VisionModel) -> None:
    np.testing.assert_array_equal(predicted(distilled.set_image_size(32)), predicted(distilled))


def test_positions_that_are_not_tokens_keep_their_size() -> None:
    cvt = keras_vit.load("cvt_13_224", weights=None, image_size=32, position_embedding=True)
    with pytest.raises(UsageError, match="depends on the image size and is not resized"):
        cvt.set_image_size(64)


def test_first_blocks_alone(model: VisionModel) -> None:
    new = model.keep_blocks(1)
    tokens = keras.Model(model.input, model.get_layer("blocks_0").output)
    normed = model.get_layer("norm")(tokens(IMAGES))
    expected = model.get_layer("head")(normed[:, 0])
    np.testing.assert_allclose(predicted(new), expected, rtol=1e-5, atol=1e-5)
    assert new.config.arguments["depth"] == 1


@pytest.mark.parametrize("count", [0, 3])
def test_no_other_number_of_blocks(model: VisionModel, count: int) -> None:
    with pytest.raises(UsageError, match=f"has 2 blocks: keep 1 to 2. Received: {count}"):
        model.keep_blocks(count)


def test_stages_are_not_shortened() -> None:
    bit = keras_vit.load("resnetv2_50x1_bit", weights=None, image_size=32, layers=(1,))
    with pytest.raises(UsageError, match="no row of blocks to shorten"):
        bit.keep_blocks(1)


def test_layers_that_were_added_are_not_lost(model: VisionModel) -> None:
    texts = np.eye(4, dtype="float32")
    with pytest.raises(UsageError, match="before quantizing it, enabling LoRA or adding layers"):
        keras_vit.zero_shot(model, texts).set_image_size(48)
