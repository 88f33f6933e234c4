import numpy as np
import pytest

from keras_vit.config import Preprocessing
from keras_vit.export.images import feed, structured_images


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_shape_type_and_range(channels: int) -> None:
    images = structured_images(20, 34, channels)
    assert images.shape == (12, 20, 34, channels)
    assert images.dtype == np.uint8
    assert images.min() == 0 and images.max() == 255


def test_same_every_time() -> None:
    np.testing.assert_array_equal(structured_images(16, 16), structured_images(16, 16))


def test_all_images_differ() -> None:
    images = structured_images(16, 16).reshape(12, -1)
    assert len(np.unique(images, axis=0)) == 12


def test_first_seven_are_structured() -> None:
    """Batch 7 runs these: every one has contrast, between channels too, and neighbours that agree."""
    images = structured_images(64, 64)[:7].astype(float)
    assert (images.std(axis=(1, 2)) > 5).all()
    assert (np.abs(images - images.mean(-1, keepdims=True)).mean(axis=(1, 2, 3)) > 5).all()
    steps = np.abs(np.diff(images, axis=2)).mean(axis=(1, 2, 3))
    assert (steps < images.std(axis=(1, 2, 3))).all()


def test_edge_cases_are_there() -> None:
    black, white, flat = structured_images(8, 8)[-3:]
    assert black.max() == 0
    assert white.min() == 255
    assert np.ptp(flat, axis=(0, 1)).max() == 0 and len(np.unique(flat)) == 3


def test_feed_normalises_by_channel() -> None:
    raw = np.full((1, 2, 2, 3), 255, np.uint8)
    values = Preprocessing((2, 2), mean=(0.0, 0.5, 1.0), std=(0.5, 0.5, 0.25))
    fed = feed(raw, "float32", "none", values)
    assert fed.dtype == np.float32
    np.testing.assert_allclose(fed[0, 0, 0], [2, 1, 0])


def test_feed_leaves_what_the_artifact_normalises() -> None:
    raw = structured_images(4, 4)
    np.testing.assert_array_equal(feed(raw, "uint8", "normalize", None), raw)
    np.testing.assert_array_equal(feed(raw, "float32", "normalize", None), raw.astype(np.float32))
