"""Whether classes that a file ranks are those that the model ranks, up to differences that are allowed."""

import numpy as np


def ranking_problems(
    name: str, classes: np.ndarray, scores: np.ndarray, allowed: float
) -> list[str]:
    """What is wrong with the classes, one line or none.

    A class may stand in another's place where their scores are closer than twice `allowed`.

    Args:
        name: of the output. classes: int (images, k), the best first.
        scores: float (images, classes) by which they should be ranked; or the classes themselves.
        allowed: how far a file's score may be from the model's.
    """
    if scores.dtype.kind == "i":
        wrong = (classes != scores).any() if classes.shape == scores.shape else True
        return [f"{name} differs"] if wrong else []
    if classes.ndim != 2 or len(classes) != len(scores) or classes.shape[1] > scores.shape[1]:
        return [f"{name} has shape {classes.shape} for scores of shape {scores.shape}"]
    if classes.min() < 0 or classes.max() >= scores.shape[1]:
        return [f"{name} has a class outside 0..{scores.shape[1] - 1}"]
    twice = (np.diff(np.sort(classes, axis=1), axis=1) == 0).any(axis=1)
    best = -np.sort(-scores, axis=1)[:, : classes.shape[1]]
    off = (best - np.take_along_axis(scores, classes, axis=1) > 2 * allowed).any(axis=1)
    count = int((twice | off).sum())
    return [f"{name} of {count} of {len(scores)} images are not the best ones"] if count else []
