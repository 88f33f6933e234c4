"""Right and wrong answers, counted a batch at a time, so that no logits have to be kept."""

from collections.abc import Sequence

import numpy as np

from keras_vit.training.real_labels import RealLabels


class Tally:
    """What has been counted so far.

    Args:
        targets: the logit that is right, for each image, int64 (images,).
        labels: the data's class of each image, int64 (images,).
        logits_of: the logit that each class of the data is, int64 (data classes,).
        classes: number of logits.
        real: the acceptable logits of each image, where they are known.

    Attributes:
        count: images so far.
        top1, top5: how many of them were right, as in `measures`.
        loss: sum of their cross-entropies, in nats.
        confusion: int64 (data classes, data classes + 1): images of a class (row) that were taken for
            a class of the data (column), or in the last column for another one. None with more than
            `LARGEST_CONFUSION` classes.
        right: of each class of the data, how many images were right, int64 (data classes,).
        real_count, real_right: images with acceptable logits, and how many were given one.
    """

    LARGEST_CONFUSION = 2048

    def __init__(
        self,
        labels: np.ndarray,
        logits_of: np.ndarray,
        classes: int,
        real: RealLabels | None = None,
    ) -> None:
        self.labels, self.logits_of, self.real = labels, logits_of, real
        self.count = self.top1 = self.top5 = self.real_count = self.real_right = 0
        self.loss = 0.0
        known = len(logits_of)
        self.right = np.zeros(known, np.int64)
        large = known > self.LARGEST_CONFUSION
        self.confusion = None if large else np.zeros((known, known + 1), np.int64)
        self._class_of = np.full(classes, known, np.int64)
        self._class_of[logits_of] = np.arange(known)

    def add(self, logits: np.ndarray) -> None:
        """Count the next images, by their logits (B, classes)."""
        span = slice(self.count, self.count + len(logits))
        labels = self.labels[span]
        ranks, losses = ranks_and_losses(logits, self.logits_of[labels])
        answers = logits.argmax(axis=1)
        self.count += len(logits)
        self.top1 += int((ranks == 0).sum())
        self.top5 += int((ranks < 5).sum())
        self.loss += float(losses.sum())
        np.add.at(self.right, labels, ranks == 0)
        if self.confusion is not None:
            np.add.at(self.confusion, (labels, self._class_of[answers]), 1)
        if self.real is not None:
            self._add_real(answers, self.real[span])

    def _add_real(self, answers: np.ndarray, acceptable: Sequence[frozenset[int]]) -> None:
        for answer, good in zip(answers.tolist(), acceptable, strict=True):
            self.real_count += bool(good)
            self.real_right += answer in good


def measures(logits: np.ndarray, targets: np.ndarray) -> tuple[float, float | None, float]:
    """(top1, top5, loss) as in `EvaluationReport`, of logits (N, classes) for target classes (N,)."""
    ranks, losses = ranks_and_losses(logits, targets)
    top5 = float((ranks < 5).mean()) if logits.shape[1] > 5 else None
    return float((ranks == 0).mean()), top5, float(losses.mean())


def ranks_and_losses(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many logits come before the right one, and its softmax cross-entropy in nats; (N,) each.

    Of equal logits the first comes first, as in `argmax`.
    """
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(exact, targets[:, None], axis=1)
    earlier = np.arange(logits.shape[1]) < targets[:, None]
    ranks = ((exact > chosen) | ((exact == chosen) & earlier)).sum(axis=1)
    return ranks, np.log(np.exp(exact).sum(axis=1)) - chosen[:, 0]


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax in float64, (N, classes)."""
    exact = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exact / exact.sum(axis=1, keepdims=True)
