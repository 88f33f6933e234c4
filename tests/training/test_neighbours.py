"""Weighted votes of neighbours, against scikit-learn and against a loop."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from keras_vit.training import neighbours
from keras_vit.training.neighbours import neighbour_accuracies

COUNTS = (1, 5, 20, 200)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return data.data.astype(np.float32), data.target


def test_accuracies_are_scikit_learns(digits):
    features, labels = digits
    parts = features[:600], labels[:600], features[600:], labels[600:]
    expected = [
        KNeighborsClassifier(k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
        .fit(features[:600], labels[:600])
        .score(features[600:], labels[600:])
        for k in COUNTS
    ]  # fmt: skip
    assert neighbour_accuracies(*parts, COUNTS, 0.07) == pytest.approx(expected)
    assert len(set(expected)) > 2


@pytest.mark.parametrize("temperature", [1e-3, 0.07, 10.0])
def test_votes_are_weighted(digits, temperature):
    features, labels = digits[0][:60], digits[1][:60]
    test, test_labels = digits[0][60:100], digits[1][60:100]
    right = 0
    for image, label in zip(test.astype(np.float64), test_labels, strict=True):
        lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(image)
        similarity = features @ image / lengths
        votes = np.zeros(10)
        for place in np.argsort(-similarity)[:15]:
            votes[labels[place]] += np.exp((similarity[place] - 1) / temperature)
        right += votes.argmax() == label
    found = neighbour_accuracies(features, labels, test, test_labels, [15], temperature)
    assert found == [right / 40]


def test_chunks_of_test_images_change_nothing(digits, monkeypatch):
    parts = digits[0][:300], digits[1][:300], digits[0][300:], digits[1][300:]
    whole = neighbour_accuracies(*parts, COUNTS, 0.07)
    monkeypatch.setattr(neighbours, "_BYTES", 4 * 300 * 7)
    assert neighbour_accuracies(*parts, COUNTS, 0.07) == whole


def test_an_image_of_zeros_is_an_image():
    train = np.array([[1, 0], [0, 1]], np.float32)
    labels = np.array([0, 1])
    found = neighbour_accuracies(train, labels, np.zeros((1, 2), np.float32), labels[:1], [2], 0.07)
    assert found == [1.0]  # both vote alike; the first class of equal ones
