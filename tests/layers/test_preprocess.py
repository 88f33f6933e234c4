import numpy as np
import pytest

from keras_vit.config import Preprocessing
from keras_vit.data.transforms import eval_batch, normalize
from keras_vit.layers import Preprocess

RNG = np.random.default_rng(0)
SIZES = [tuple(int(side) for side in RNG.integers(20, 400, 2)) for _ in range(20)]


def picture(size: tuple[int, int]) -> np.ndarray:
    """A grating, a box with sharp edges and noise: edges are where bicubic overshoots."""
    y, x = np.mgrid[: size[0], : size[1]]
    image = 127 + 127 * np.sin(x / 5 + y / 9)[..., None] * np.array([1, 0.5, -1])
    image[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = (255, 0, 255)
    image += RNG.normal(0, 20, image.shape)
    return image.clip(0, 255).astype("uint8")[None]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_within_one_grey_level_of_pillow(size: tuple[int, int], interpolation: str) -> None:
    spec = Preprocessing((64, 64), (0.0,) * 3, (1.0,) * 3, interpolation, 0.9)
    ours = np.asarray(Preprocess(**spec.to_dict())(picture_of := picture(size))) * 255
    pillow = eval_batch(picture_of, spec).astype("float32")
    assert np.abs(ours - pillow).max() <= 1.01


@pytest.mark.parametrize(("mode", "target"), [("squash", (48, 64)), ("center", (48, 64))])
def test_other_crops(mode: str, target: tuple[int, int]) -> None:
    spec = Preprocessing(target, (0.0,) * 3, (1.0,) * 3, "bicubic", 0.9, mode)
    image = picture((120, 97))
    ours = np.asarray(Preprocess(**spec.to_dict())(image)) * 255
    assert np.abs(ours - eval_batch(image, spec)).max() <= 1.01


def test_normalises() -> None:
    spec = Preprocessing((8, 8), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), crop_pct=1.0)
    image = picture((8, 8))
    ours = np.asarray(Preprocess(**spec.to_dict())(image))
    np.testing.assert_allclose(ours, normalize(image, spec), atol=1e-5)
