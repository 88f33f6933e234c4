"""Whether images reach a model as its checkpoint was trained to see them."""

import numpy as np

from keras_vit.config import Preprocessing

_BLACK = 0.02  # of 1: how near to black and white pictures come that are scaled to 0..1
_NEARLY = 1.5  # of 255: what rounding and resizing may add
_DARK = 32.0  # of 255: a batch of real photographs or drawings is brighter somewhere
_FLAT = 4.0  # of 255: standard deviation of nearly empty images
_WRAPPED = 0.1  # share of values just beside black and white that no picture has


def range_warning(images: np.ndarray, preprocessing: Preprocessing) -> str | None:
    """What is wrong with a batch, or None where nothing is to be seen.

    Args:
        images: (B, h, w, C), normalised: what the model is given.
        preprocessing: of the model.

    Returns:
        One line: the batch has values that are not finite or that the normalisation cannot give; is
        scaled to 0..1 where 0..255 is expected, or was never normalised; holds one colour only, or one
        image only; is much too dark, hardly has contrast, or was cut to bytes after a normalisation.
    """
    seen = np.asarray(images, np.float64)
    if not np.isfinite(seen).all():
        return "the images hold values that are not finite"
    mean, std = (np.asarray(v, np.float64) for v in (preprocessing.mean, preprocessing.std))
    pixels = (seen * std + mean) * 255
    return _outside(seen, pixels, mean, std) or _inside(pixels)


def _outside(seen: np.ndarray, pixels: np.ndarray, mean: np.ndarray, std: np.ndarray) -> str | None:
    """Values that the normalisation does not give of 0..255."""
    wanted = f"{(-mean / std).min():.3g} to {((1 - mean) / std).max():.3g}"
    found = f"the values run from {seen.min():.3g} to {seen.max():.3g}, this model takes {wanted}"
    if pixels.min() < -_NEARLY or pixels.max() > 255 + _NEARLY:
        byte_like = seen.min() >= 0 and 2 < seen.max() <= 255 + _NEARLY
        cause = "they were not normalised" if byte_like else "they are normalised in another way"
        return f"the images are in the wrong range: {found}; perhaps {cause}"
    if 0 <= seen.min() < _BLACK and 1 - _BLACK < seen.max() <= 1:
        return f"the images are in the wrong range: {found}; perhaps they are scaled to 0..1 only"
    return None


def _inside(pixels: np.ndarray) -> str | None:
    """Values of 0..255 that are hardly those of pictures."""
    if np.ptp(pixels) < 0.5:
        return f"the images are empty: every pixel is {round(float(pixels.flat[0]))} of 255"
    if len(pixels) > 1 and np.ptp(pixels, axis=0).max() < 0.5:
        return f"the first {len(pixels)} images looked at are all the same"
    brightest = float(pixels.max())
    if brightest <= 1 + _NEARLY:
        return (
            f"the images are in the wrong range: the brightest pixel is {brightest:.0f} of 255; "
            "perhaps they are scaled to 0..1 and have to be multiplied by 255"
        )
    if brightest <= _DARK:
        return (
            f"the images are in the wrong range: the brightest pixel is {brightest:.0f} of 255; "
            "they have to be scaled to 0..255"
        )
    if pixels.std() < _FLAT:
        return f"the images have hardly any contrast: a standard deviation of {pixels.std():.1f} of 255"
    from_white = np.minimum(pixels, 255 - pixels)
    beside = (from_white > 0.5) & (from_white < 3.5)
    if (from_white < 3.5).mean() > 0.98 and beside.mean() > _WRAPPED:
        return (
            "the images are in the wrong range: nearly all values lie next to 0 or 255; perhaps they "
            "were normalised and then cut to bytes"
        )
    return None
