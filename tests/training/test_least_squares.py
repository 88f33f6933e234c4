"""The closed form against independent solutions of the same problem."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge

from keras_vit.training.least_squares import LeastSquares

STRENGTHS = [2.0**power for power in (-10, -3, 0, 7, 10, 19)]
SIZES = {"more images than features": 300, "fewer images than features": 30}


@pytest.fixture(scope="module")
def digits():
    data = load_digits()  # 64 features, of which some are constant
    return data.data.astype(np.float32), data.target


def expanded(features, train):
    """Standardised by the training images, with the constant feature; big_vision's conventions."""
    exact = features.astype(np.float64)
    spread = np.std(exact[train], axis=0) + 1e-5
    scaled = (exact - np.mean(exact[train], axis=0)) / spread
    return np.hstack([scaled, np.full((len(scaled), 1), 100.0)])


def targets(labels):
    return 2.0 * np.eye(10)[labels] - 1.0


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("l2", STRENGTHS)
def test_weights_solve_the_normal_equations(digits, size, l2):
    features, labels = digits
    x, y = expanded(features, slice(size))[:size], targets(labels[:size])
    matrix = x.T @ x + l2 * np.eye(x.shape[1])
    expected = np.linalg.solve(matrix, x.T @ y)
    found = LeastSquares.fit(features[:size], labels[:size], 10).weights(l2)
    # What backward stable solutions in float64 may differ by.
    tolerance = len(matrix) * np.finfo(float).eps * np.linalg.cond(matrix)
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_weights_are_those_of_a_ridge_regression(digits, size):
    features, labels = digits
    x, y = expanded(features, slice(size))[:size], targets(labels[:size])
    ridge = Ridge(alpha=2.0**10, fit_intercept=False, solver="svd").fit(x, y)
    found = LeastSquares.fit(features[:size], labels[:size], 10).weights(2.0**10)
    assert np.abs(found - ridge.coef_.T).max() <= 1e-9 * np.abs(ridge.coef_).max()


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_accuracies_of_all_strengths(digits, size):
    features, labels = digits
    x, y = expanded(features, slice(size)), targets(labels[:size])
    ridges = [Ridge(alpha=l2, fit_intercept=False).fit(x[:size], y) for l2 in STRENGTHS]
    expected = [(r.predict(x[size:]).argmax(axis=1) == labels[size:]).mean() for r in ridges]
    solved = LeastSquares.fit(features[:size], labels[:size], 10)
    assert solved.accuracies(features[size:], labels[size:], STRENGTHS) == pytest.approx(expected)
    assert len(set(expected)) > 2  # the strength matters here


def test_a_class_without_training_images_is_never_answered(digits):
    features, labels = digits
    known = np.flatnonzero(labels[:300] != 3)
    solved = LeastSquares.fit(features[known], labels[known], 10)
    threes = np.flatnonzero(labels == 3)
    assert solved.accuracies(features[threes], labels[threes], [1.0]) == [0.0]
