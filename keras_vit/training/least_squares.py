"""Regularised least squares in closed form, for many strengths of the regularisation at once.

The few-shot classifier of the ViT paper (arXiv:2010.11929, section 4.1), with the conventions of
big_vision/evaluators/fewshot_lsr.py: features are standardised by the training images' mean and
standard deviation, a constant feature of 100 stands for a bias that is hardly regularised, targets are
1 for the right class and -1 for the others. The weights minimise |Xw - y|^2 + l2 |w|^2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

_BIAS = 100.0
_EPSILON = 1e-5  # of the standard deviation
_TEST_BYTES = 2**28  # of the test images' float64 arrays at a time


@dataclass(frozen=True)
class LeastSquares:
    """Classifiers of every l2, solved up to a diagonal.

    With X of N images and D features, the weights are X'(XX' + l2 I)^-1 y = (X'X + l2 I)^-1 X'y. The
    eigenvectors of the smaller of the two square matrices make each l2 a division.

    Attributes:
        mean, std: of the features, (D,).
        left: (D + 1, R). eigenvalues: (R,). right: (R, classes). The weights of one l2 are
            left @ diag(1 / (eigenvalues + l2)) @ right.
    """

    mean: np.ndarray
    std: np.ndarray
    left: np.ndarray
    eigenvalues: np.ndarray
    right: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, labels: np.ndarray, classes: int) -> Self:
        """Solve in float64 for features (N, D) of the classes (N,), each below `classes`."""
        exact = features.astype(np.float64)
        mean, std = exact.mean(axis=0), exact.std(axis=0) + _EPSILON
        x = _standardised(exact, mean, std)
        y = np.where(labels[:, None] == np.arange(classes), 1.0, -1.0)
        if len(x) >= x.shape[1]:
            eigenvalues, vectors = np.linalg.eigh(x.T @ x)
            left, right = vectors, vectors.T @ (x.T @ y)
        else:
            eigenvalues, vectors = np.linalg.eigh(x @ x.T)
            left, right = x.T @ vectors, vectors.T @ y
        return cls(mean, std, left, eigenvalues, right)

    def weights(self, l2: float) -> np.ndarray:
        """(D + 1, classes) of standardised features and the constant one."""
        return (self.left / (self.eigenvalues + l2)) @ self.right

    def accuracies(
        self, features: np.ndarray, labels: np.ndarray, strengths: Sequence[float]
    ) -> list[float]:
        """The share of images, 0..1, that each l2 classifies rightly; features (N, D), classes (N,)."""
        right = np.zeros(len(strengths), np.int64)
        size = max(1, _TEST_BYTES // (8 * max(self.left.shape[0], self.right.shape[1])))
        for start in range(0, len(features), size):
            exact = features[start : start + size].astype(np.float64)
            inside = _standardised(exact, self.mean, self.std) @ self.left
            for i, l2 in enumerate(strengths):
                answers = (inside / (self.eigenvalues + l2)) @ self.right
                right[i] += (answers.argmax(axis=1) == labels[start : start + size]).sum()
        return (right / len(features)).tolist()


def _standardised(exact: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """With the constant feature at the end."""
    return np.pad((exact - mean) / std, ((0, 0), (0, 1)), constant_values=_BIAS)
