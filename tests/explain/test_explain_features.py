"""Positions, filters, token components, Grad-CAM and CKA equal NumPy's."""

from typing import Any

import keras
import numpy as np
import pytest
from explained import SIZE, images, small
from numpy_vit import arrays, forward

from keras_vit import explain
from keras_vit.errors import UsageError


def tokens(model: Any, layer: str) -> np.ndarray:
    return np.asarray(keras.Model(model.input, model.get_layer(layer).output)(images()))


def test_positions(models: dict[str, Any]) -> None:
    found = explain.position_similarity(models["vit"])
    vectors = np.asarray(models["vit"].get_layer("embedding").pos_embed)[0, 1:].astype(float)
    assert found.shape == (3, 2, 3, 2)
    for i, one in enumerate(vectors):
        for j, other in enumerate(vectors):
            expected = one @ other / (one @ one) ** 0.5 / (other @ other) ** 0.5
            assert abs(found[i // 2, i % 2, j // 2, j % 2] - expected) < 1e-6


def test_positions_of_a_cvt_that_has_them() -> None:
    model = small("cvt", position_embedding=(False, True, False))
    found = explain.position_similarity(model)
    vectors = np.asarray(model.get_layer("stages_1_embed").pos_embed)[0].astype(float)
    one, other = vectors[1, 2], vectors[5, 3]
    expected = one @ other / (one @ one) ** 0.5 / (other @ other) ** 0.5
    assert found.shape == (6, 4, 6, 4)
    assert abs(found[1, 2, 5, 3] - expected) < 1e-6


@pytest.mark.parametrize(
    ("family", "shape"),
    [("vit", (16, 16, 3)), ("cvt", (7, 7, 3)), ("bit", (7, 7, 3)), ("hybrid", (7, 7, 3))],
)
def test_filters(models: dict[str, Any], family: str, shape: tuple[int, ...]) -> None:
    """Eigenvectors of the covariance of the filters, their eigenvalues its shares."""
    model = models[family]
    found, shares = explain.filter_components(model, 5)
    layer = {"vit": "patch_embed", "cvt": "stages_0_embed"}.get(family, "stem")
    inner = model.get_layer(layer)
    kernel = np.asarray((inner.conv if layer == "stem" else inner.proj).kernel, np.float64)
    if layer == "stem":
        kernel = (kernel - kernel.mean((0, 1, 2))) / kernel.std((0, 1, 2))
    samples = kernel.reshape(-1, kernel.shape[-1]).T
    covariance = np.cov(samples.T)
    centred = samples - samples.mean(0)
    values = np.linalg.eigvalsh(centred @ centred.T)[
        ::-1
    ]  # those of the covariance, but for a factor
    assert found.shape == (5, *shape)
    np.testing.assert_allclose(shares, values[:5] / values.sum(), atol=1e-6)
    flat, total = found.reshape(5, -1), np.trace(covariance)
    np.testing.assert_allclose(flat @ covariance, shares[:, None] * total * flat, atol=1e-6 * total)
    np.testing.assert_allclose(flat @ flat.T, np.eye(5), atol=1e-6)
    assert (np.abs(found).max((1, 2, 3)) == found.max((1, 2, 3))).all()


@pytest.mark.parametrize(("family", "layer", "prefix"), [("vit", "norm", 1), ("bit", "relu", 0)])
def test_token_components(models: dict[str, Any], family: str, layer: str, prefix: int) -> None:
    """Their covariance is diagonal, its entries the largest eigenvalues of the tokens' covariance."""
    found = explain.token_components(models[family], images(), 2)
    features = tokens(models[family], layer).astype(float)
    flat = (features[:, prefix:] if prefix else features).reshape(-1, features.shape[-1])
    grid = (3, 2) if prefix else features.shape[1:3]
    assert found.shape == (2, *grid, 2)
    values = np.linalg.eigvalsh(np.cov(flat.T))[::-1][:2]
    covariance = np.cov(found.reshape(-1, 2).T)
    np.testing.assert_allclose(covariance, np.diag(values), atol=1e-5 * values[0])


def test_token_components_of_a_mask(models: dict[str, Any]) -> None:
    mask = np.array([[[1, 0], [1, 1], [0, 0]], [[0, 1], [1, 1], [1, 0]]], bool)
    found = explain.token_components(models["vit"], images(), 1, mask=mask)[..., 0]
    samples = tokens(models["vit"], "norm")[:, 1:][mask.reshape(2, 6)].astype(float)
    centred = samples - samples.mean(0)
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    assert np.isnan(found[~mask]).all()
    np.testing.assert_allclose(np.abs(found[mask]), np.abs(centred @ direction), atol=1e-4)


def test_grad_cam_of_bit(models: dict[str, Any]) -> None:
    """After the last map are a mean and a dense layer, so the gradient is the dense layer's kernel."""
    model = models["bit"]
    values, kernel = tokens(model, "relu"), np.asarray(model.get_layer("head").kernel)
    pixels = values.shape[1] * values.shape[2]
    found = explain.grad_cam(model, images(), [3, 0])
    for i, index in enumerate((3, 0)):
        expected = (values[i] @ kernel[:, index] / pixels).clip(0)
        np.testing.assert_allclose(found[i], expected, atol=1e-6 * expected.max(), rtol=1e-5)


@pytest.mark.parametrize(
    ("family", "default", "grid"),
    [
        ("vit", "blocks_0", (3, 2)),
        ("cvt", "stages_2_blocks_0", (3, 2)),
        ("hybrid", "stages_1_blocks_0", (6, 4)),
    ],
)
def test_grad_cams_default_layer(
    models: dict[str, Any], family: str, default: str, grid: tuple[int, int]
) -> None:
    found = explain.grad_cam(models[family], images(), 1)
    np.testing.assert_array_equal(found, explain.grad_cam(models[family], images(), 1, default))
    assert found.shape == (2, *grid)
    assert found.max() > 0


def test_grad_cam_of_a_vit(models: dict[str, Any]) -> None:
    """Its gradient by central differences of a NumPy ViT."""
    model, image, step = models["vit"], images()[0], 1e-5
    weights, slopes = arrays(model), np.zeros((7, 24))
    for place in np.ndindex(slopes.shape):
        moved = np.zeros((7, 24))
        moved[place] = step
        sides = [forward(weights, image, 3, [np.zeros(1)] * 2, s)[0][1] for s in (moved, -moved)]
        slopes[place] = (sides[0] - sides[1]) / (2 * step)
    values = tokens(model, "blocks_0")[0, 1:].astype(float)
    expected = (values @ slopes[1:].mean(0)).clip(0).reshape(1, 3, 2)
    found = explain.grad_cam(model, images()[:1], 1)
    np.testing.assert_allclose(found, expected, atol=2e-6 * expected.max(), rtol=1e-5)


def test_grad_cam_where_no_gradient_comes(models: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="do not depend on the patches at blocks_1"):
        explain.grad_cam(models["vit"], images(), 1, "blocks_1")


def hsic_cka(x: np.ndarray, y: np.ndarray) -> float:
    """By Kornblith's definition: HSIC with the centring matrix."""
    n = len(x)
    centring = np.eye(n) - 1 / n
    k, m = (centring @ (z @ z.T) @ centring for z in (x.astype(float), y.astype(float)))
    return np.trace(k @ m) / (np.trace(k @ k) * np.trace(m @ m)) ** 0.5


def test_layer_similarity(models: dict[str, Any]) -> None:
    batch = images(20)
    found = explain.layer_similarity(models["vit"], models["cvt"], batch)
    assert found.rows == ("blocks_0", "blocks_1")
    assert len(found.columns) == 4
    first, second = models["vit"], models["cvt"]
    x = np.asarray(keras.Model(first.input, first.get_layer("blocks_1").output)(batch))
    pair = keras.Model(second.input, second.get_layer("stages_2_blocks_0").output)(batch)
    y = np.concatenate([np.asarray(part).reshape(20, -1) for part in pair], 1)
    expected = hsic_cka(x.reshape(20, -1), y)
    assert abs(found.values[1, found.columns.index("stages_2_blocks_0")] - expected) < 1e-6


def test_a_layer_is_like_itself(models: dict[str, Any]) -> None:
    found = explain.layer_similarity(models["bit"], models["bit"], images(4))
    np.testing.assert_allclose(np.diag(found.values), 1, atol=1e-6)
    np.testing.assert_allclose(found.values, found.values.T, atol=1e-12)


def test_linear_cka() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 5)), rng.normal(size=(9, 7))
    assert abs(explain.linear_cka(x, y) - hsic_cka(x, y)) < 1e-6
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    assert abs(explain.linear_cka(x, 3 * x @ rotation + 1) - 1) < 1e-6


@pytest.mark.parametrize(
    ("family", "call", "message"),
    [
        ("cvt", lambda m, x: explain.position_similarity(m), "has no position embedding"),
        ("bit", lambda m, x: explain.position_similarity(m), "has no position embedding"),
        ("vit", lambda m, x: explain.position_similarity(m, "norm"), "there is embedding"),
        ("vit", lambda m, x: explain.filter_components(m), "24 filters have 1 to 24 components"),
        ("vit", lambda m, x: explain.token_components(m, x, at="head"), "neither a map nor tokens"),
        ("vit", lambda m, x: explain.token_components(m, x, mask=np.ones(3)), "mask must be"),
        ("vit", lambda m, x: explain.layer_similarity(m, m, x[:1]), "2 images at least"),
        ("vit", lambda m, x: explain.layer_similarity(m, m, x, x[:1]), "not the same"),
        ("vit", lambda m, x: explain.layer_similarity(m, m, 0 * x), "the same for all images"),
    ],
)
def test_what_there_is_not(models: dict[str, Any], family: str, call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        call(models[family], images(size=SIZE))
    assert "\n" not in str(caught.value)
