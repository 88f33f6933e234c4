"""Counting a batch at a time gives what scikit-learn and NumPy give of all logits at once."""

import numpy as np
import pytest
from sklearn import metrics

from keras_vit.training.scoring import Tally, ranks_and_losses

IMAGES, CLASSES = 500, 12


@pytest.fixture(scope="module")
def logits():
    # Of few values, so that many are equal.
    rng = np.random.default_rng(0)
    return rng.integers(-6, 6, (IMAGES, CLASSES)).astype(np.float32) / 2


def counted(logits, labels, logits_of, real=None, batch=32):
    tally = Tally(labels, logits_of, logits.shape[1], real)
    for start in range(0, len(logits), batch):
        tally.add(logits[start : start + batch])
    return tally


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(1).integers(0, CLASSES, IMAGES)


@pytest.fixture(scope="module")
def tally(logits, labels):
    return counted(logits, labels, np.arange(CLASSES))


def test_top1_and_loss(tally, logits, labels):
    assert tally.top1 / tally.count == metrics.accuracy_score(labels, logits.argmax(axis=1))
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    assert tally.loss / tally.count == pytest.approx(metrics.log_loss(labels, shares))


def test_top5_of_equal_logits_takes_the_first(tally, logits, labels):
    five = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    assert tally.top5 == (five == labels[:, None]).any(axis=1).sum()


def test_ranks_are_places_in_a_stable_sort(logits, labels):
    order = np.argsort(-logits, axis=1, kind="stable")
    ranks, _ = ranks_and_losses(logits, labels)
    assert np.array_equal(np.take_along_axis(order, ranks[:, None], axis=1)[:, 0], labels)


def test_confusion(tally, logits, labels):
    expected = metrics.confusion_matrix(labels, logits.argmax(axis=1))
    assert np.array_equal(tally.confusion[:, :-1], expected)
    assert not tally.confusion[:, -1].any()
    assert np.array_equal(tally.right, np.diagonal(expected))


def test_data_with_some_of_the_classes_in_another_order(logits):
    logits_of = np.array([7, 2, 11])
    labels = np.random.default_rng(2).integers(0, 3, IMAGES)
    tally = counted(logits, labels, logits_of)
    answers = logits.argmax(axis=1)
    for row in range(3):
        taken = answers[labels == row]
        expected = [*((taken == k).sum() for k in logits_of), (~np.isin(taken, logits_of)).sum()]
        assert tally.confusion[row].tolist() == expected
    assert tally.top1 == (answers == logits_of[labels]).sum() == tally.right.sum()


@pytest.mark.parametrize("batch", [1, 7, IMAGES])
def test_the_batch_size_changes_nothing(tally, logits, labels, batch):
    again = counted(logits, labels, np.arange(CLASSES), batch=batch)
    assert np.array_equal(again.confusion, tally.confusion)
    assert (again.top1, again.top5) == (tally.top1, tally.top5)
    assert again.loss == pytest.approx(tally.loss)


def test_real_accuracy_is_that_of_the_authors_lines(logits, labels):
    rng = np.random.default_rng(3)
    real = [rng.choice(CLASSES, rng.integers(0, 4), replace=False).tolist() for _ in labels]
    tally = counted(logits, labels, np.arange(CLASSES), [frozenset(entry) for entry in real])
    # README of google-research/reassessed-imagenet.
    predictions = np.argmax(logits, -1)
    is_correct = [pred in real[i] for i, pred in enumerate(predictions) if real[i]]
    assert tally.real_right / tally.real_count == np.mean(is_correct)
    assert tally.real_count == len(is_correct) < IMAGES


def test_very_many_classes_have_no_matrix():
    logits_of = np.arange(Tally.LARGEST_CONFUSION + 1)
    logits = np.zeros((1, len(logits_of)), np.float32)
    assert counted(logits, np.array([0]), logits_of).confusion is None
