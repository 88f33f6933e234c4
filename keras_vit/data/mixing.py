"""Mixup and CutMix of a whole batch with its reverse, as `timm.data.Mixup` does in its batch mode.

Papers: mixup (arXiv:1710.09412), CutMix (arXiv:1905.04899).
"""

import math

import numpy as np

from keras_vit.data.augmentation import Augmentation

Box = tuple[int, int, int, int]


def mix(
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    augment: Augmentation,
    draws: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
    """Image i becomes a mixture with image -1 - i: all by one share, or all in one box.

    Args:
        images: float32 (B, h, w, C); changed in place.
        labels: integers (B,). classes: how many there are.
        augment: its mixing.
        draws: random numbers, in the order in which timm draws them.

    Returns:
        images, and the shares of classes, float32 (B, classes).
    """
    share, cut = _drawn(augment, draws)
    if cut:
        top, bottom, left, right = _box(images.shape[1:3], share, draws)
        images[:, top:bottom, left:right] = images[::-1, top:bottom, left:right].copy()
        share = 1 - (bottom - top) * (right - left) / float(images.shape[1] * images.shape[2])
    elif share != 1:
        _blend(images, share)
    return images, soft_labels(labels, classes, share, augment.label_smoothing)


def soft_labels(
    labels: np.ndarray, classes: int, share: float = 1.0, smoothing: float = 0.0
) -> np.ndarray:
    """Float32 (B, classes): `share` of each label, the rest of the label of the reversed batch.

    Smoothing gives each class `smoothing / classes` and the label what is left.
    """
    off = smoothing / classes
    hot = np.full((len(labels), classes), off, np.float32)
    hot[np.arange(len(labels)), labels] = 1 - smoothing + off
    return hot * np.float32(share) + hot[::-1] * np.float32(1 - share)


def _drawn(augment: Augmentation, draws: np.random.RandomState) -> tuple[float, bool]:
    """(share of an image that stays, whether the rest is cut out of it)."""
    if draws.rand() >= augment.mix_probability:
        return 1.0, False
    cut = augment.cutmix > 0
    if cut and augment.mixup > 0:
        cut = draws.rand() < augment.switch_probability
    alpha = augment.cutmix if cut else augment.mixup
    share = float(draws.beta(alpha, alpha))
    return share, cut and share != 1


def _box(size: tuple[int, ...], share: float, draws: np.random.RandomState) -> Box:
    """(top, bottom, left, right) of 1 - share of the area around a random point, cut at the border."""
    sides = [int(side * math.sqrt(1 - share)) for side in size]
    middles = [draws.randint(0, side) for side in size]
    bounds = [
        (max(middle - cut // 2, 0), min(middle + (cut + 1) // 2, side))
        for middle, cut, side in zip(middles, sides, size, strict=True)
    ]
    (top, bottom), (left, right) = bounds
    return top, bottom, left, right


def _blend(images: np.ndarray, share: float) -> None:
    """In place and pair by pair: a second batch would be as large as the first."""
    kept, given = np.float32(share), np.float32(1 - share)
    for i in range((len(images) + 1) // 2):
        first, last = images[i], images[-1 - i]
        from_first, from_last = first * given, last * given
        for image, other in ((first, from_last), (last, from_first)):
            if i != len(images) // 2 or image is first:  # the middle one of an odd batch, once
                image *= kept
                image += other
