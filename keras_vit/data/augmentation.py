"""What happens to training images, as plain data: it travels with recipes and runs as JSON."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from keras_vit.data.randaugment import rand_augment
from keras_vit.errors import UsageError

CROPS = ("eval", "inception", "simple")
INTERPOLATIONS = ("bilinear", "bicubic", "random")
_SHARES = ("flip", "color_jitter", "erasing", "mix_probability", "switch_probability")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images, in the order in which they are made.

    Attributes:
        shift: largest move, up, down, left and right, as a share of the image's side; the border's
            colour fills in.
        flip: mirror every second image. Not for digits, letters or traffic signs.
        crop: `"eval"` (the checkpoint's evaluation transform), `"inception"` (a random area of a random
            aspect ratio, resized: torchvision's RandomResizedCrop) or `"simple"` (DeiT-III: the shorter
            side resized, four pixels reflected around it, a random square cut out).
        scale: smallest and largest area of the inception crop, as shares of the image's.
        ratio: its smallest and largest width over height.
        interpolation: of the crop and of the policy's geometric changes: `"bilinear"`, `"bicubic"`,
            `"random"` (one of them by chance, as timm), or None for the checkpoint's.
        policy: `"rand-m9-mstd0.5-inc1"` (timm's RandAugment grammar), `"randaug(2,15)"` (big_vision's
            RandAugment: layers, magnitude), `"three"` (DeiT-III's ThreeAugment) or None.
        color_jitter: brightness, contrast and saturation each times 1 - x ... 1 + x, in random order.
        erasing: probability of a rectangle of noise.
        mixup, cutmix: alpha of the beta distribution that the shares of two images are drawn from; 0 is
            off. With either, labels become float32 (B, classes).
        mix_probability: of a batch to be mixed at all.
        switch_probability: of CutMix, where both are on.
        label_smoothing: of the mixed labels, 0 ... 1. (Without mixing, smooth in the loss.)
        repeats: how often each image comes in an epoch, differently changed; epochs keep their length,
            so that each sees the N-th part of the images (repeated augmentation).

    Raises:
        UsageError: a value out of its range.
    """

    shift: float = 0.0
    flip: bool = False
    crop: str = "eval"
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str | None = None
    policy: str | None = None
    color_jitter: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    switch_probability: float = 0.5
    label_smoothing: float = 0.0
    repeats: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 1:
            raise UsageError(f"shift is a share of the image's side, 0 to 1; got {self.shift}")
        if self.crop not in CROPS:
            raise UsageError(f"crop {self.crop!r} is not one of {', '.join(CROPS)}")
        if self.interpolation is not None and self.interpolation not in INTERPOLATIONS:
            raise UsageError(
                f"interpolation {self.interpolation!r} is not one of {', '.join(INTERPOLATIONS)}"
            )
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} lies between 0 and 1; got {getattr(self, name)}")
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"label_smoothing lies between 0 and 1; got {self.label_smoothing}")
        if min(self.mixup, self.cutmix) < 0:
            raise UsageError(f"mixup and cutmix are 0 or more; got {self.mixup} and {self.cutmix}")
        for name, most in (("scale", 1.0), ("ratio", float("inf"))):
            low, high = getattr(self, name)
            if not 0 < low <= high <= most:
                raise UsageError(f"{name} goes from low to high above 0; got {(low, high)}")
        if self.policy not in (None, "three"):
            rand_augment(self.policy, (), ())  # reads it
        if self.repeats < 1:
            raise UsageError(f"repeats is 1 or more; got {self.repeats}")

    @property
    def mixes(self) -> bool:
        """Whether labels become shares of classes."""
        return (self.mixup > 0 or self.cutmix > 0) and self.mix_probability > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            UsageError: an unknown name, or a value out of its range.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        unknown = [name for name in data if name not in names]
        if unknown:
            raise UsageError(f"augmentation has no {unknown[0]!r}; it has {', '.join(names)}")
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**plain)
