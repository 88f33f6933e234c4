"""Attention maps, rollouts and distances equal what NumPy makes of a ViT of its own."""

from typing import Any

import keras
import numpy as np
import pytest
from explained import SIZE, images, small
from numpy_vit import arrays, forward

import keras_vit
from keras_vit import explain
from keras_vit.errors import UsageError

GRID, HEADS = (3, 2), 3


@pytest.fixture(scope="module")
def vit(models: dict[str, Any]) -> Any:
    return models["vit"]


@pytest.fixture(scope="module")
def scores(vit: Any) -> list[list[np.ndarray]]:
    """Of each image, of each block."""
    return [forward(arrays(vit), image, HEADS, [np.zeros(1)] * 2)[1] for image in images()]


def test_maps_of_the_class_token(vit: Any, scores: list[list[np.ndarray]]) -> None:
    found = explain.attention_maps(vit, images())
    assert list(found) == ["blocks_0", "blocks_1"]
    for i, maps in enumerate(found.values()):
        expected = np.array([of_image[i][:, 0, 1:] for of_image in scores])
        np.testing.assert_allclose(maps, expected.reshape(2, HEADS, *GRID), atol=1e-6)


def test_maps_of_a_patch_and_of_the_mean(vit: Any, scores: list[list[np.ndarray]]) -> None:
    patch, mean = (
        explain.attention_maps(vit, images(), query, ["blocks_1"]) for query in ((2, 1), "mean")
    )
    assert list(patch) == ["blocks_1"]
    expected = np.array([of_image[1] for of_image in scores])[..., 1:]
    of_patch = expected[:, :, 1 + 2 * 2 + 1].reshape(2, HEADS, *GRID)
    np.testing.assert_allclose(patch["blocks_1"], of_patch, atol=1e-6)
    of_mean = expected[:, :, 1:].mean(2).reshape(2, HEADS, *GRID)
    np.testing.assert_allclose(mean["blocks_1"], of_mean, atol=1e-6)


def test_maps_are_the_models_own_scores(models: dict[str, Any]) -> None:
    """And those sum to 1; in a CvT whose keys lie on a coarser grid."""
    model = models["cvt"]
    found = explain.attention_maps(model, images(), "mean")
    scored = keras_vit.attention_scores(model)(images())
    shapes = {name: maps.shape[1:] for name, maps in found.items()}
    assert shapes == {
        "stages_0_blocks_0": (1, 6, 4),
        "stages_1_blocks_0": (2, 3, 2),
        "stages_2_blocks_0": (3, 2, 1),
        "stages_2_blocks_1": (3, 2, 1),
    }
    for name, maps in found.items():
        whole = np.asarray(scored[name])
        np.testing.assert_allclose(whole.sum(-1), 1, atol=1e-6)
        prefix = int(name.startswith("stages_2"))
        expected = whole[:, :, prefix:, prefix:].mean(2).reshape(maps.shape)
        np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_a_cvt_has_class_maps_in_its_last_stage(models: dict[str, Any]) -> None:
    found = explain.attention_maps(models["cvt"], images())
    assert list(found) == ["stages_2_blocks_0", "stages_2_blocks_1"]


def rollout(scores: list[np.ndarray]) -> np.ndarray:
    """By the definition, without a product of matrices: from the last block back to the first."""
    row = np.zeros(scores[0].shape[-1])
    row[0] = 1
    for each in scores[::-1]:
        row = np.einsum("q,hqk->k", row, each) / len(each) / 2 + row / 2
    return row[1:].reshape(GRID)


def test_rollout(vit: Any, scores: list[list[np.ndarray]]) -> None:
    found = explain.attention_rollout(vit, images())
    np.testing.assert_allclose(found, [rollout(each) for each in scores], atol=1e-6)


def numeric_slopes(vit: Any, image: np.ndarray, index: int) -> list[np.ndarray]:
    """Central differences of a logit by every attention weight."""
    weights, step = arrays(vit), 1e-5
    slopes = [np.zeros((HEADS, 7, 7)) for _ in range(2)]
    for block, slope in enumerate(slopes):
        for place in np.ndindex(slope.shape):
            sides = []
            for side in (step, -step):
                offsets = [np.zeros((HEADS, 7, 7)) for _ in range(2)]
                offsets[block][place] = side
                sides.append(forward(weights, image, HEADS, offsets)[0][index])
            slope[place] = (sides[0] - sides[1]) / (2 * step)
    return slopes


def test_gradient_rollout(vit: Any, scores: list[list[np.ndarray]]) -> None:
    found = explain.gradient_rollout(vit, images()[:1], 2)
    total = np.eye(7)
    for score, slope in zip(scores[0], numeric_slopes(vit, images()[0], 2), strict=True):
        total = total + (score * slope).clip(0).mean(0) @ total
    expected = total[0, 1:].reshape(1, *GRID)
    np.testing.assert_allclose(found, expected, atol=1e-6 * expected.max(), rtol=1e-5)


def test_gradient_rollout_of_the_prediction(vit: Any) -> None:
    classes = vit.predict_on_batch(images()).argmax(-1)
    found, expected = (explain.gradient_rollout(vit, images(), c) for c in (None, classes))
    np.testing.assert_array_equal(found, expected)


def test_distance(vit: Any, scores: list[list[np.ndarray]]) -> None:
    """In a loop over pairs of patches of 16 pixels."""
    found = explain.attention_distance(vit, images())
    places = [(row, column) for row in range(3) for column in range(2)]
    for i, name in enumerate(("blocks_0", "blocks_1")):
        expected = np.zeros(HEADS)
        for of_image in scores:
            for q, (row, column) in enumerate(places):
                for k, (r, c) in enumerate(places):
                    far = 16 * ((row - r) ** 2 + (column - c) ** 2) ** 0.5
                    expected += of_image[i][:, 1 + q, 1 + k] * far / (2 * 6)
        np.testing.assert_allclose(found[name], expected, atol=1e-6 * 16)


def test_distance_of_a_cvt(models: dict[str, Any]) -> None:
    """The first stage: tokens 4 pixels apart, every second of them a key."""
    found = explain.attention_distance(models["cvt"], images(), ["stages_0_blocks_0"])
    scored = np.asarray(keras_vit.attention_scores(models["cvt"])(images())["stages_0_blocks_0"])
    queries = [(4 * r, 4 * c) for r in range(12) for c in range(8)]
    keys = [(8 * r, 8 * c) for r in range(6) for c in range(4)]
    far = np.array(
        [[((q[0] - k[0]) ** 2 + (q[1] - k[1]) ** 2) ** 0.5 for k in keys] for q in queries]
    )
    expected = (scored * far).sum(-1).mean((0, 2))
    np.testing.assert_allclose(found["stages_0_blocks_0"], expected, atol=1e-5)


def test_prefix_tokens_are_left_out() -> None:
    model = small("vit", name="deit_tiny_distilled_patch16_224", depth=1)
    scored = np.asarray(keras_vit.attention_scores(model)(images())["blocks_0"])
    found = explain.attention_maps(model, images(), "distillation")["blocks_0"]
    np.testing.assert_allclose(found, scored[:, :, 1, 2:].reshape(2, HEADS, *GRID), atol=1e-6)


@pytest.mark.parametrize("call", [explain.gradient_rollout, explain.grad_cam])
def test_features_are_no_logits(call: Any) -> None:
    with pytest.raises(UsageError, match="gives no logits: it was made without classes"):
        call(small("vit", num_classes=0, depth=1), images())


def test_any_size() -> None:
    model = small("vit", dynamic_image_size=True, depth=1)
    assert explain.attention_rollout(model, images(1, (32, 80))).shape == (1, 2, 5)
    assert explain.grad_cam(model, images(1, (32, 80))).shape == (1, 2, 5)


def test_the_model_stays_as_it_was(vit: Any) -> None:
    before = [layer.name for layer in vit.layers]
    explain.attention_rollout(vit, images())
    assert [layer.name for layer in vit.layers] == before
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(vit))
    assert [layer.name for layer in again.layers] == before


@pytest.mark.parametrize(
    ("family", "call", "message"),
    [
        ("bit", explain.attention_maps, "has no attention: grad_cam shows"),
        ("bit", explain.attention_rollout, "has no attention"),
        ("bit", explain.attention_distance, "has no attention"),
        ("cvt", explain.attention_rollout, "has no rollout: its blocks differ"),
        ("cvt", explain.gradient_rollout, "has no rollout: its blocks differ"),
        ("vit", lambda m, x: explain.attention_maps(m, x, (3, 0)), r"not on the grid of \(3, 2\)"),
        ("vit", lambda m, x: explain.attention_rollout(m, x, "distillation"), "there is: class"),
        ("vit", lambda m, x: explain.attention_maps(m, x, at=["x"]), "no attention in x: there is"),
        (
            "cvt",
            lambda m, x: explain.attention_maps(m, x, at=["stages_0_blocks_0"]),
            r"no class token here \(there is: none\)",
        ),
        ("vit", lambda m, x: explain.attention_maps(m, x[:, 1:]), r"takes images of"),
        ("vit", lambda m, x: explain.gradient_rollout(m, x, 4), r"classes must be in 0..3"),
        ("vit", lambda m, x: explain.gradient_rollout(m, x, [1]), "a whole number, or 2 of them"),
    ],
)
def test_what_cannot_be(models: dict[str, Any], family: str, call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        call(models[family], images(size=SIZE))
    assert "\n" not in str(caught.value)
