"""How far the answers of a file in a lower precision are from those of the model, and what passes.

A quantised file is not within a rounding error of its model, so that a largest difference says little.
What counts is whether the logits point the same way, and whether the same class wins.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """Two arrays of answers to the same images, compared.

    Attributes:
        images: how many.
        cosine_mean, cosine_min: of the angle between the two answers to an image, -1..1.
        top1_agreement: share of images whose largest logit is the same, 0..1; None where an answer is
            not one number a class.
        margin: median distance of the model's two largest logits, in standard deviations of its logits;
            None as above. Where it is small, the top-1 says little.
    """

    images: int
    cosine_mean: float
    cosine_min: float
    top1_agreement: float | None
    margin: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Agreement":
        """The inverse of `to_dict`."""
        return cls(**data)

    def __str__(self) -> str:
        text = f"cosine {self.cosine_mean:.5f} (lowest {self.cosine_min:.5f})"
        if self.top1_agreement is not None:
            text = f"top-1 agreement {100 * self.top1_agreement:.1f} %, {text}"
        return f"{text} over {self.images} images"


@dataclass(frozen=True)
class Bar:
    """What an `Agreement` has to reach.

    Attributes:
        cosine_mean, cosine_min: at least these.
        top1_agreement: at least this share, 0..1; None where the images are none of the user's, and the
            top-1 of a model on them decides nothing.
    """

    cosine_mean: float
    cosine_min: float
    top1_agreement: float | None = None

    @property
    def of_few(self) -> "Bar":
        """The same for a handful of images, of which a single one would decide on shares and means."""
        return Bar(self.cosine_min, self.cosine_min)


def agree(expected: np.ndarray, actual: np.ndarray) -> Agreement:
    """Compare two arrays of answers.

    Args:
        expected, actual: of one shape, (images, ...), finite.

    Raises:
        ValueError: they differ in shape, or hold no image.
    """
    if expected.shape != actual.shape or not len(expected):
        raise ValueError(f"answers of shapes {expected.shape} and {actual.shape}")
    want, have = (array.reshape(len(array), -1).astype(np.float64) for array in (expected, actual))
    lengths = np.linalg.norm(want, axis=1) * np.linalg.norm(have, axis=1)
    both_zero = ~want.any(axis=1) & ~have.any(axis=1)
    cosines = np.where(both_zero, 1.0, np.sum(want * have, axis=1) / np.maximum(lengths, 1e-300))
    same = margin = None
    if expected.ndim == 2 and expected.shape[1] > 1:
        same = float(np.mean(want.argmax(axis=1) == have.argmax(axis=1)))
        second, first = np.sort(want, axis=1)[:, -2:].T
        margin = float(np.median(first - second) / max(float(want.std()), 1e-300))
    return Agreement(len(want), float(cosines.mean()), float(cosines.min()), same, margin)


def shortfalls(agreement: Agreement, bar: Bar, name: str = "logits") -> list[str]:
    """In what an agreement stays below a bar, one line each; empty when it passes."""
    found = [
        f"{kind} cosine of {name} with the model's is {value:.5f} where {least} is required"
        for kind, value, least in (
            ("the mean", agreement.cosine_mean, bar.cosine_mean),
            ("the lowest", agreement.cosine_min, bar.cosine_min),
        )
        if not value >= least  # NaN is none
    ]
    same = agreement.top1_agreement
    if bar.top1_agreement is not None and same is not None and same < bar.top1_agreement:
        found.append(
            f"the top-1 is the model's for {100 * same:.1f} % of {agreement.images} images where "
            f"{100 * bar.top1_agreement:g} % are required"
        )
    return found
