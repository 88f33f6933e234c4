import keras
import numpy as np
import pytest

from keras_vit.config import Preprocessing
from keras_vit.data.transforms import eval_batch, normalize
from keras_vit.layers import Preprocess

RNG = np.random.default_rng(0)
SIZES = [tuple(int(side) for side in RNG.integers(20, 400, 2)) for _ in range(8)]
HALVES = [(128, 128), (71, 31), (384, 192), (25, 25)]  # sums that end in a half, again and again


def picture(size: tuple[int, int]) -> np.ndarray:
    """A grating, a box with sharp edges and noise: edges are where bicubic overshoots."""
    y, x = np.mgrid[: size[0], : size[1]]
    image = 127 + 127 * np.sin(x / 5 + y / 9)[..., None] * np.array([1, 0.5, -1])
    image[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = (255, 0, 255)
    image += RNG.normal(0, 20, image.shape)
    return image.clip(0, 255).astype("uint8")[None]


def pixels(spec: Preprocessing, images: np.ndarray) -> np.ndarray:
    """What the layer gives, as grey levels; `spec` does not normalise."""
    levels = keras.ops.convert_to_numpy(Preprocess(**spec.to_dict())(images)) * 255
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    return np.rint(levels)


@pytest.mark.parametrize("size", SIZES + HALVES, ids=str)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_equals_pillow(size: tuple[int, int], interpolation: str) -> None:
    spec = Preprocessing((64, 64), (0.0,) * 3, (1.0,) * 3, interpolation, 0.9)
    image = picture(size)
    np.testing.assert_array_equal(pixels(spec, image), eval_batch(image, spec))


@pytest.mark.parametrize(("mode", "target"), [("squash", (48, 64)), ("center", (48, 64))])
def test_other_crops(mode: str, target: tuple[int, int]) -> None:
    spec = Preprocessing(target, (0.0,) * 3, (1.0,) * 3, "bicubic", 0.9, mode)
    image = picture((120, 97))
    np.testing.assert_array_equal(pixels(spec, image), eval_batch(image, spec))


def test_a_hundredfold_shrinking_equals_pillow() -> None:
    """The most pixels a window whose sums a float32 holds."""
    spec = Preprocessing((8, 8), (0.0,) * 3, (1.0,) * 3, "bicubic", 1.0)
    image = picture((8 * 120, 30))
    image[:, : 8 * 60] = 255
    np.testing.assert_array_equal(pixels(spec, image), eval_batch(image, spec))


def test_normalises() -> None:
    spec = Preprocessing((8, 8), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), crop_pct=1.0)
    image = picture((8, 8))
    ours = np.asarray(Preprocess(**spec.to_dict())(image))
    np.testing.assert_allclose(ours, normalize(image, spec), atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others know every size")
@pytest.mark.parametrize(
    "spec",
    [
        Preprocessing((64, 64), crop_pct=0.9),
        Preprocessing((48, 64), interpolation="bilinear", crop_pct=0.875),
        Preprocessing((48, 64), crop_pct=0.95, crop_mode="squash"),
        Preprocessing((40, 40), crop_pct=1.0),
    ],
    ids=["square", "wide", "squash", "whole"],
)
def test_sizes_that_the_graph_does_not_know_equal_pillow(spec: Preprocessing) -> None:
    """One graph for every size: tall and wide, smaller and larger, and the right one."""
    import tensorflow as tf

    images = tf.TensorSpec((None, None, None, 3), tf.uint8)
    run = tf.function(Preprocess(**spec.to_dict()), input_signature=[images])
    for size in [*SIZES, *HALVES, (300, 40), spec.image_size]:
        image = picture(size)
        expected = normalize(eval_batch(image, spec), spec)
        np.testing.assert_allclose(run(image), expected, atol=1e-5, err_msg=f"{size}")
