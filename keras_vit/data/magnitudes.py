"""What a magnitude means for each change of RandAugment: the tables of timm and of big_vision.

A row turns a level (the magnitude / 10) into the value of a change: an angle, a factor, a number of bits.
Where timm's and big_vision's differ, the original is TensorFlow's `autoaugment.py` for EfficientNet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from PIL import Image

from keras_vit.data import operations as do

Value = Callable[[float, Random], Any]
"""The value of a change, of a level and random numbers."""


@dataclass(frozen=True)
class Row:
    """A change that can be chosen.

    Attributes:
        change: takes an image and a value, and if it `moves` pixels a colour and a filter.
        value: of a level.
    """

    change: Callable[..., Image.Image]
    value: Value
    moves: bool = False


def _signed(highest: float) -> Value:
    """`level * highest`, negative by every second chance."""

    def value(level: float, rng: Random) -> float:
        return -level * highest if rng.random() > 0.5 else level * highest

    return value


def _factor(level: float, rng: Random) -> float:
    return level * 1.8 + 0.1


def _factor_away(level: float, rng: Random) -> float:
    """Away from 1, which changes nothing, to either side."""
    return max(0.1, 1 + _signed(0.9)(level, rng))


def _nothing(level: float, rng: Random) -> float:
    return 0


def _whole(highest: int, level: float, rng: Random) -> float:
    return int(level * highest)


def _capped(highest: int, most: int, level: float, rng: Random) -> float:
    return min(most, int(level * highest))


def _bits_lost(level: float, rng: Random) -> float:
    return 4 - int(level * 4)


def _threshold_down(level: float, rng: Random) -> float:
    return 256 - _capped(256, 256, level, rng)


def _threshold_byte(level: float, rng: Random) -> float:
    """TensorFlow compared bytes with a byte, and NumPy before 1.24 made it one without a word."""
    return int(level * 256) % 256


def _hole(level: float, rng: Random) -> tuple[int, float, float]:
    return int(level * 40), rng.random(), rng.random()


def _bits_kept(level: float, rng: Random) -> float:
    """TensorFlow shifts a byte by 7 bits at most, so that one stays."""
    return max(1, int(level * 4))


_SAME = {
    "AutoContrast": Row(do.autocontrast, _nothing),
    "Equalize": Row(do.equalize, _nothing),
    "Invert": Row(do.invert, _nothing),
    "Rotate": Row(do.rotate, _signed(30), moves=True),
    "ShearX": Row(do.shear_x, _signed(0.3), moves=True),
    "ShearY": Row(do.shear_y, _signed(0.3), moves=True),
}
_ENHANCED = {  # below a level of 0.5 less colourful and so on, above it more
    "Color": Row(do.color, _factor),
    "Contrast": Row(do.contrast, _factor),
    "Brightness": Row(do.brightness, _factor),
    "Sharpness": Row(do.sharpness, _factor),
}
_BY_SHARE = {
    "TranslateXRel": Row(do.translate_x_share, _signed(0.45), moves=True),
    "TranslateYRel": Row(do.translate_y_share, _signed(0.45), moves=True),
}
TIMM = {
    **_SAME,
    **_ENHANCED,
    **_BY_SHARE,
    "Posterize": Row(do.posterize, partial(_whole, 4)),
    "Solarize": Row(do.solarize, partial(_capped, 256, 256)),
    "SolarizeAdd": Row(do.solarize_add, partial(_capped, 110, 128)),
}
"""With which timm's policies without `inc1` choose: Posterize and Solarize grow weaker."""

TIMM_INCREASING = {
    **_SAME,
    **_BY_SHARE,
    "PosterizeIncreasing": Row(do.posterize, _bits_lost),
    "SolarizeIncreasing": Row(do.solarize, _threshold_down),
    "SolarizeAdd": Row(do.solarize_add, partial(_capped, 110, 128)),
    "ColorIncreasing": Row(do.color, _factor_away),
    "ContrastIncreasing": Row(do.contrast, _factor_away),
    "BrightnessIncreasing": Row(do.brightness, _factor_away),
    "SharpnessIncreasing": Row(do.sharpness, _factor_away),
}
"""With which timm's policies with `inc1` choose."""

BIG_VISION = {
    **_SAME,
    **_ENHANCED,
    "Posterize": Row(do.posterize, _bits_kept),
    "Solarize": Row(do.solarize, _threshold_byte),
    "SolarizeAdd": Row(do.solarize_add, partial(_whole, 110)),
    "TranslateX": Row(do.translate_x, _signed(100), moves=True),
    "TranslateY": Row(do.translate_y, _signed(100), moves=True),
    "Cutout": Row(do.cutout, _hole),
}
"""big_vision's, of `big_vision/pp/archive/autoaugment.py`; levels go beyond 1."""
