"""Outputs on request: what they are, by NumPy from the model's own; what is refused."""

from typing import Any

import keras
import numpy as np
import pytest
from onnx_cases import CVT, VIT, images_for, load, operators, written

from keras_vit.errors import UsageError
from keras_vit.export.interface import output_names
from keras_vit.export.outputs import TopK, expected_outputs, with_outputs
from keras_vit.export.ranking import ranking_problems
from keras_vit.export.reference import answers


@pytest.fixture(scope="module")
def vit() -> keras.Model:
    return load("vit_tiny_patch16_224", **VIT)


@pytest.fixture(scope="module")
def images(vit: keras.Model) -> np.ndarray:
    return images_for(vit)


@pytest.fixture(scope="module")
def logits(vit: keras.Model, images: np.ndarray) -> np.ndarray:
    return answers(vit, ["logits"], images)["logits"]


def ask(model: keras.Model, images: np.ndarray, *wanted: str) -> dict[str, np.ndarray]:
    whole = with_outputs(model, output_names(model), wanted)
    return answers(whole, list(whole.output), images)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(1, keepdims=True), dtype=np.float64)
    return exponentials / exponentials.sum(1, keepdims=True)


def test_none_is_the_model_itself(vit: keras.Model) -> None:
    assert with_outputs(vit, ["logits"], None) is vit


def test_probabilities(vit: keras.Model, images: np.ndarray, logits: np.ndarray) -> None:
    given = ask(vit, images, "probabilities", "logits")
    assert set(given) == {"probabilities", "logits"}
    np.testing.assert_array_equal(given["logits"], logits)
    np.testing.assert_allclose(given["probabilities"], softmax(logits), atol=1e-6)


def test_the_best_classes(vit: keras.Model, images: np.ndarray, logits: np.ndarray) -> None:
    given = ask(vit, images, "top3", "top1")
    best = np.argsort(-logits, axis=1)[:, :3]
    np.testing.assert_array_equal(given["top3_classes"], best)
    assert given["top3_classes"].dtype == np.int32
    values = np.take_along_axis(softmax(logits), best, axis=1)
    np.testing.assert_allclose(given["top3_probabilities"], values, atol=1e-6)
    np.testing.assert_array_equal(given["top1_classes"], best[:, :1])


def test_features_are_what_the_classifier_sees(
    vit: keras.Model, images: np.ndarray, logits: np.ndarray
) -> None:
    features = ask(vit, images, "features")["features"]
    kernel, bias = vit.get_layer("head").get_weights()
    np.testing.assert_allclose(features @ kernel + bias, logits, rtol=1e-5, atol=1e-5)


def test_features_of_two_classifiers() -> None:
    """Their mean, which is what the model without classes gives."""
    model = load("deit_tiny_distilled_patch16_224", **VIT)
    bare = load("deit_tiny_distilled_patch16_224", **{**VIT, "num_classes": 0})
    for layer in bare.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights() if layer.weights else [])
    images = images_for(model)
    expected = answers(bare, ["features"], images)["features"]
    np.testing.assert_allclose(ask(model, images, "features")["features"], expected, atol=1e-5)


def test_attention_and_blocks(vit: keras.Model, images: np.ndarray) -> None:
    given = ask(vit, images, "attention", "blocks_1", "norm")
    assert list(given) == ["attention_blocks_0", "attention_blocks_1", "blocks_1", "norm"]
    assert given["attention_blocks_1"].shape == (3, 3, 17, 17)
    np.testing.assert_allclose(given["attention_blocks_0"].sum(-1), 1, atol=1e-5)
    normed = vit.get_layer("norm")(given["blocks_1"])
    np.testing.assert_allclose(given["norm"], keras.ops.convert_to_numpy(normed), atol=1e-5)


def test_attention_of_one_block() -> None:
    model = load("cvt_13_224", **CVT)
    given = ask(model, images_for(model), "attention_stages_2_blocks_1", "logits")
    assert list(given) == ["attention_stages_2_blocks_1", "logits"]


def test_a_softmax_that_is_there_already_is_not_taken_again() -> None:
    images = keras.Input((4, 4, 3))
    x = keras.layers.Flatten()(images)
    model = keras.Model(images, keras.layers.Dense(5, "softmax", name="probabilities")(x))
    values = np.random.default_rng(0).normal(size=(3, 4, 4, 3)).astype(np.float32)
    given = ask(model, values, "logits", "probabilities", "top2")
    np.testing.assert_array_equal(given["probabilities"], given["logits"])
    np.testing.assert_allclose(given["probabilities"].sum(1), 1, atol=1e-6)


def test_the_model_stays_as_it_was(vit: keras.Model, images: np.ndarray) -> None:
    before = vit.get_layer("blocks_1").output
    ask(vit, images, "attention", "blocks_1")
    assert vit.get_layer("blocks_1").output is before


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["blocks_9"], r"no output 'blocks_9': .* layers patch_embed, embedding, blocks_0"),
        (["top8"], '"top8" of a model with 7 classes'),
        (["attention_norm"], "no attention in norm"),
        ("logits", "a list such as"),
        ([], "a list such as"),
    ],
)
def test_refused(vit: keras.Model, wanted: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_outputs(vit, ["logits"], wanted)


def test_features_have_no_probabilities() -> None:
    model = load("vit_tiny_patch16_224", **{**VIT, "num_classes": 0})
    with pytest.raises(UsageError, match="probabilities need logits"):
        with_outputs(model, ["features"], ["top5"])


def test_top_k_reloads() -> None:
    layer = TopK(3, name="best")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.k == 3 and again.name == "best"


def test_onnx_writes_them_all(vit: keras.Model, images: np.ndarray, tmp_path: Any) -> None:
    wanted = ["logits", "probabilities", "top3", "features", "attention", "blocks_0"]
    whole = with_outputs(vit, ["logits"], wanted)
    proto, given = written(whole, tmp_path, images)
    expected = expected_outputs(vit, ["logits"], wanted, images)
    assert list(given) == list(expected)
    for name, value in expected.items():
        if name == "top3_classes":
            assert ranking_problems(name, given[name], value, 1e-6) == []
        else:
            np.testing.assert_allclose(given[name], value, atol=2e-5 * value.std(), err_msg=name)
    assert operators(proto)["TopK"] == 1


class TestRanks:
    scores = np.array([[0.1, 0.5, 0.3, 0.0999], [0.2, 0.1, 0.3, 0.4]])

    @pytest.mark.parametrize(
        "classes", [[[1, 2, 0], [3, 2, 0]], [[1, 2, 3], [3, 2, 0]]], ids=["right", "a tie"]
    )
    def test_passes(self, classes: Any) -> None:
        assert ranking_problems("top3_classes", np.array(classes), self.scores, 1e-3) == []

    @pytest.mark.parametrize(
        ("classes", "problem"),
        [
            ([[2, 1, 0], [3, 2, 0]], "top3_classes of 1 of 2 images"),
            ([[1, 2, 2], [3, 2, 1]], "top3_classes of 2 of 2 images"),
            ([[1, 2, 4], [3, 2, 0]], "outside 0..3"),
            ([[1, 2, 0]], "shape"),
        ],
        ids=["swapped", "twice", "no class", "too few"],
    )
    def test_fails(self, classes: Any, problem: str) -> None:
        (found,) = ranking_problems("top3_classes", np.array(classes), self.scores, 1e-3)
        assert problem in found
