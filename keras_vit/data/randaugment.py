"""RandAugment (arXiv:1909.13719), as timm and as big_vision have it.

A policy is a few layers; each layer applies one change of a table, chosen by chance. timm draws the
magnitude around its mean, keeps it within 0..10 and skips every second change; big_vision (of AugReg,
arXiv:2106.10270) does none of that.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from PIL import Image

from keras_vit.data.magnitudes import BIG_VISION, TIMM, TIMM_INCREASING, Row
from keras_vit.data.operations import Colour
from keras_vit.errors import UsageError

_HIGHEST = 10.0
_GREY = (128, 128, 128)


@dataclass(frozen=True)
class RandAugment:
    """A policy, ready to change images of mode RGB. Threads may share it.

    Attributes:
        table: the changes. layers: how many are applied to an image, chosen independently.
        magnitude: mean strength. deviation: of a normal distribution around it; infinity is a uniform
            one from 0 to `magnitude`. highest: the bound of what was drawn, or None.
        probability: of each chosen change to be made.
        fill: colour of what comes in from outside. resamples: of changes that move pixels, one by chance.
    """

    table: Mapping[str, Row]
    layers: int
    magnitude: float
    deviation: float
    highest: float | None
    probability: float
    fill: Colour
    resamples: tuple[Image.Resampling, ...]

    def __call__(self, image: Image.Image, rng: Random) -> Image.Image:
        """Change one image."""
        rows = list(self.table.values())
        for row in [rows[rng.randrange(len(rows))] for _ in range(self.layers)]:
            image = self.apply(row, image, rng)
        return image

    def apply(self, row: Row, image: Image.Image, rng: Random) -> Image.Image:
        """One change, if chance will have it; random numbers are drawn in timm's order."""
        if self.probability < 1 and rng.random() > self.probability:
            return image
        value = row.value(self._magnitude(rng) / _HIGHEST, rng)
        if not row.moves:
            return row.change(image, value)
        many = len(self.resamples) > 1
        resample = rng.choice(self.resamples) if many else self.resamples[0]
        return row.change(image, value, self.fill, resample)

    def _magnitude(self, rng: Random) -> float:
        drawn = self.magnitude
        if self.deviation == math.inf:
            drawn = rng.uniform(0, self.magnitude)
        elif self.deviation > 0:
            drawn = rng.gauss(self.magnitude, self.deviation)
        return drawn if self.highest is None else max(0.0, min(drawn, self.highest))


def rand_augment(
    policy: str, mean: tuple[float, ...], resamples: tuple[Image.Resampling, ...]
) -> RandAugment:
    """Read a policy.

    Args:
        policy: `"rand-m9-mstd0.5-inc1"`, timm's grammar: sections in any order, m (magnitude, default
            10), n (layers, 2), p (probability, 0.5), mstd (deviation, 0; more than 100 is infinite), mmax
            (highest magnitude, 10), inc (1: changes that grow with the magnitude). Or
            `"randaug(2,15)"`, big_vision's: layers and magnitude.
        mean: of the model's normalisation, 0..1: the colour that timm fills with.
        resamples: that timm chooses from.

    Raises:
        UsageError: another string.
    """
    found = re.fullmatch(r"randaug\((\d+), ?(\d+)\)", policy)
    if found:
        layers, magnitude = map(int, found.groups())
        nearest = (Image.Resampling.NEAREST,)
        return RandAugment(BIG_VISION, layers, magnitude, 0, None, 1, _GREY, nearest)
    numbers = _sections(policy)
    deviation = numbers.get("mstd", 0.0)
    fill: Any = tuple(min(255, round(255 * x)) for x in mean)
    return RandAugment(
        table=TIMM_INCREASING if numbers.get("inc") else TIMM,
        layers=int(numbers.get("n", 2)),
        magnitude=numbers.get("m", _HIGHEST),
        deviation=math.inf if deviation > 100 else deviation,
        highest=numbers.get("mmax", _HIGHEST),
        probability=numbers.get("p", 0.5),
        fill=fill,
        resamples=resamples,
    )


def _sections(policy: str) -> dict[str, float]:
    first, *rest = policy.split("-")
    found = [re.fullmatch(r"(mstd|mmax|inc|m|n|p)(\d+(?:\.\d+)?)", section) for section in rest]
    if first != "rand" or not all(found):
        raise UsageError(
            f"policy {policy!r} is not one of rand-m9-mstd0.5-inc1 (timm's), randaug(2,15) "
            "(big_vision's) and three (DeiT-III's)"
        )
    return {match[1]: float(match[2]) for match in found if match}
