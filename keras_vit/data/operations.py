"""The changes that RandAugment chooses from, on Pillow's RGB images.

Each takes an image, a value (an angle, a factor, a number of pixels, ...), and for the geometric ones a
colour to fill with and a resampling filter; it does not draw random numbers.
"""

from collections.abc import Callable

from PIL import Image, ImageEnhance, ImageOps

Colour = tuple[int, int, int]
Change = Callable[[Image.Image, float], Image.Image]
Move = Callable[[Image.Image, float, Colour, Image.Resampling], Image.Image]

_LEVELS = 256
_MIDDLE = 128


def autocontrast(image: Image.Image, value: float = 0) -> Image.Image:
    """Each channel stretched to 0..255."""
    return ImageOps.autocontrast(image)


def equalize(image: Image.Image, value: float = 0) -> Image.Image:
    """Each channel's histogram made flat."""
    return ImageOps.equalize(image)


def invert(image: Image.Image, value: float = 0) -> Image.Image:
    """255 - x."""
    return ImageOps.invert(image)


def posterize(image: Image.Image, bits: float) -> Image.Image:
    """Only the highest `bits` of 8 stay; none is black, which Pillow's own refuses since version 13."""
    kept = min(max(int(bits), 0), 8)
    mask = _LEVELS - (1 << (8 - kept))
    return image.point([x & mask for x in range(_LEVELS)] * len(image.getbands()))


def solarize(image: Image.Image, threshold: float) -> Image.Image:
    """Values from `threshold` on are inverted."""
    return ImageOps.solarize(image, int(threshold))


def solarize_add(image: Image.Image, added: float) -> Image.Image:
    """`added` on values below 128."""
    table = [min(x + int(added), 255) if x < _MIDDLE else x for x in range(_LEVELS)]
    return image.point(table * len(image.getbands()))


def color(image: Image.Image, factor: float) -> Image.Image:
    """0 is grey, 1 the image, more is more colourful."""
    return ImageEnhance.Color(image).enhance(factor)


def contrast(image: Image.Image, factor: float) -> Image.Image:
    """0 is one grey, 1 the image."""
    return ImageEnhance.Contrast(image).enhance(factor)


def brightness(image: Image.Image, factor: float) -> Image.Image:
    """0 is black, 1 the image."""
    return ImageEnhance.Brightness(image).enhance(factor)


def sharpness(image: Image.Image, factor: float) -> Image.Image:
    """0 is smoothed, 1 the image, 2 sharpened."""
    return ImageEnhance.Sharpness(image).enhance(factor)


def cutout(image: Image.Image, hole: tuple[int, float, float]) -> Image.Image:
    """A grey square of `hole[0]` pixels to each side of the point (x, y), both as shares 0..1."""
    reach, x, y = hole
    column, row = int(x * image.width), int(y * image.height)
    image = image.copy()
    box = (
        max(column - reach, 0),
        max(row - reach, 0),
        min(column + reach, image.width),
        min(row + reach, image.height),
    )
    image.paste((_MIDDLE,) * len(image.getbands()), box)
    return image


def rotate(
    image: Image.Image, degrees: float, fill: Colour, resample: Image.Resampling
) -> Image.Image:
    """Counter-clockwise, around the middle."""
    return image.rotate(degrees, resample=resample, fillcolor=fill)


def shear_x(
    image: Image.Image, factor: float, fill: Colour, resample: Image.Resampling
) -> Image.Image:
    """Row y moves left by `factor * y` pixels."""
    return _affine(image, (1, factor, 0, 0, 1, 0), fill, resample)


def shear_y(
    image: Image.Image, factor: float, fill: Colour, resample: Image.Resampling
) -> Image.Image:
    """Column x moves up by `factor * x` pixels."""
    return _affine(image, (1, 0, 0, factor, 1, 0), fill, resample)


def translate_x(
    image: Image.Image, pixels: float, fill: Colour, resample: Image.Resampling
) -> Image.Image:
    """To the left."""
    return _affine(image, (1, 0, pixels, 0, 1, 0), fill, resample)


def translate_y(
    image: Image.Image, pixels: float, fill: Colour, resample: Image.Resampling
) -> Image.Image:
    """Up."""
    return _affine(image, (1, 0, 0, 0, 1, pixels), fill, resample)


def translate_x_share(
    image: Image.Image, share: float, fill: Colour, resample: Image.Resampling
) -> Image.Image:
    """To the left, by a share of the width."""
    return translate_x(image, share * image.width, fill, resample)


def translate_y_share(
    image: Image.Image, share: float, fill: Colour, resample: Image.Resampling
) -> Image.Image:
    """Up, by a share of the height."""
    return translate_y(image, share * image.height, fill, resample)


def _affine(
    image: Image.Image, matrix: tuple[float, ...], fill: Colour, resample: Image.Resampling
) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=fill
    )
