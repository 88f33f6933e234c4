"""k nearest neighbours with weighted votes, as DINO evaluates features (arXiv:2104.14294, eval_knn.py).

The k training images of the largest cosine similarity vote for their classes, each with the weight
exp(similarity / temperature).
"""

from collections.abc import Sequence

import numpy as np

_BYTES = 2**28  # of similarities at a time


def neighbour_accuracies(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    counts: Sequence[int],
    temperature: float,
) -> list[float]:
    """The share of test images, 0..1, that k neighbours classify rightly, for each k of `counts`.

    Args:
        train, test: features, float32 (N, D) and (M, D).
        train_labels, test_labels: classes (N,) and (M,).
        counts: the values of k, each at most N.
        temperature: of the votes.
    """
    train, classes = _unit(train), int(train_labels.max()) + 1
    right = np.zeros(len(counts), np.int64)
    size = max(1, _BYTES // (4 * max(len(train), classes)))
    for start in range(0, len(test), size):
        similarity = _unit(test[start : start + size]) @ train.T
        nearest, best = _largest(similarity, max(counts))
        # A factor an image changes no decision, and keeps the largest vote at 1.
        weights = np.exp((best - best[:, :1]) / temperature)
        voters = train_labels[nearest]
        for i, k in enumerate(counts):
            answers = _votes(voters[:, :k], weights[:, :k], classes).argmax(axis=1)
            right[i] += (answers == test_labels[start : start + size]).sum()
    return (right / len(test)).tolist()


def _unit(features: np.ndarray) -> np.ndarray:
    """Of length 1; a vector of zeros stays one."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(length, np.finfo(np.float32).tiny)


def _largest(similarity: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and values (M, count) of the largest of each row, the largest first."""
    some = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(similarity, some, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1), np.take_along_axis(values, order, axis=1)


def _votes(voters: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Sum of the weights for each class, (M, classes)."""
    images = np.arange(len(voters))[:, None]
    flat = (images * classes + voters).ravel()
    return np.bincount(flat, weights.ravel(), len(voters) * classes).reshape(-1, classes)
