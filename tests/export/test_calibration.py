from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from keras_vit.config import Preprocessing
from keras_vit.data.transforms import eval_batch
from keras_vit.errors import UsageError
from keras_vit.export.calibration import calibration, neighbour_correlation
from keras_vit.export.images import structured_images

VALUES = Preprocessing(image_size=(32, 32))
SHAPE = (32, 32, 3)


def pictures(count: int = 36, side: int = 40) -> np.ndarray:
    """Smooth ones, all different."""
    rng = np.random.default_rng(0)
    base = structured_images(side, side)[rng.integers(0, 7, count)].astype(float)
    return (base * rng.uniform(0.5, 1, (count, 1, 1, 1))).astype(np.uint8)


def take(source: Any, mode: str = "normalize", values: Preprocessing | None = VALUES) -> Any:
    return calibration(source, SHAPE, mode, values)


def test_as_the_models_evaluation_prepares_them() -> None:
    raw = pictures()
    found = take(raw)
    np.testing.assert_array_equal(found.images, eval_batch(raw, VALUES))
    assert len(found.calibrating) == len(found.held_out) == 18
    assert not {image.tobytes() for image in found.calibrating} & {
        image.tobytes() for image in found.held_out
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two class folders."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, image in enumerate(pictures()):
        (folder / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / "ab"[i % 2] / f"{i:02}.png")
    return folder


def dataset(batched: bool) -> Any:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((pictures(), np.zeros(36, int)))
    return data.batch(8) if batched else data


SOURCES: dict[str, Callable[[Path], Any]] = {
    "folder": lambda folder: folder,
    "folder's name": str,
    "tf.data, batched": lambda _: dataset(True),
    "tf.data, single": lambda _: dataset(False),
    "dicts": lambda _: [{"image": image, "label": 0} for image in pictures()],
    "arrays and labels": lambda _: (pictures(), np.zeros(36, int)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_source(name: str, folder: Path) -> None:
    found = take(SOURCES[name](folder))
    wanted = {image.tobytes() for image in eval_batch(pictures(), VALUES)}
    assert {image.tobytes() for image in found.images} == wanted
    assert len(found.images) == 36


def test_images_of_several_sizes() -> None:
    found = take([*pictures(20, 40), *pictures(20, 60)])
    assert found.images.shape == (40, *SHAPE)


def test_data_set_that_tfds_does_not_know() -> None:
    with pytest.raises(UsageError, match="TensorFlow Datasets has no 'no_such_data'"):
        take("tfds:no_such_data")


def test_many_images_are_spread_over_the_source() -> None:
    raw = np.repeat(pictures(30), 40, axis=0)
    found = take(raw)
    assert len(found.images) == 512
    assert len({image.tobytes() for image in found.images}) == len(
        {image.tobytes() for image in eval_batch(raw[::40], VALUES)}
    )


def test_floats_are_taken_as_the_model_takes_them() -> None:
    floats = pictures(36, 32) / 127.5 - 1
    np.testing.assert_array_equal(take(floats, "none").images, floats.astype(np.float32))


def noise(dtype: str = "uint8") -> np.ndarray:
    rng = np.random.default_rng(0)
    if dtype == "uint8":
        return rng.integers(0, 256, (40, 24, 24, 3)).astype(np.uint8)
    return rng.normal(size=(40, 32, 32, 3)).astype(np.float32)


REFUSED: dict[str, tuple[Any, str, str]] = {
    "noise": (noise(), "normalize", "looks like noise: neighbouring pixels correlate by -?0.0"),
    "normal noise": (noise("float32"), "none", "looks like noise"),
    "one colour": (np.full((40, 8, 8, 3), 7, np.uint8), "normalize", "one colour only"),
    "too few": (pictures(31), "normalize", "at least 32 images, and the array has 31"),
    "0 to 1": (pictures(36, 32) / 255, "none", "from 0 to 1 are not normalised"),
    "floats to 255": (pictures(36, 32) / 1.0, "none", "float64 from 0 to 2.*: give uint8"),
    "floats for a file of raw images": (
        pictures(36, 32) / 127.5 - 1,
        "normalize",
        "give uint8 of 0 to 255",
    ),
    "floats of another size": (
        pictures(36, 40) / 127.5 - 1,
        "none",
        r"have to be of \(32, 32, 3\)",
    ),
    "int64": (pictures().astype(np.int64), "normalize", "got int64"),
    "no such folder": ("no/such/folder", "normalize", "no such data"),
    "a number": (7, "normalize", "got int"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    source, mode, message = REFUSED[name]
    with pytest.raises(UsageError, match=message):
        take(source, mode)


def test_noise_in_files(tmp_path: Path) -> None:
    """Judged at the model's size, where that of these images has been averaged away in part."""
    large = np.random.default_rng(1).integers(0, 256, (40, 100, 100, 3)).astype(np.uint8)
    for i, image in enumerate(large):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    with pytest.raises(UsageError, match="looks like noise"):
        take(tmp_path)


def test_raw_images_for_a_model_without_preprocessing() -> None:
    with pytest.raises(UsageError, match="no preprocessing of its own"):
        take(pictures(36, 32), "none", None)
    assert take(pictures(36, 32), "layer", None).images.shape == (36, *SHAPE)
    with pytest.raises(UsageError, match="give calibration images of that size"):
        take(pictures(36, 40), "layer", None)


def test_few_images_are_noted() -> None:
    (note,) = take(pictures(40)).notes
    assert "40 images for calibration are few" in note and "5.0 %" in note
    assert not take(pictures(128)).notes


def test_correlation_of_neighbours() -> None:
    ramp = np.broadcast_to(np.arange(64.0)[:, None, None], (64, 64, 3))
    checks = np.indices((64, 64)).sum(axis=0)[..., None] % 2
    assert neighbour_correlation(ramp) == pytest.approx(1, abs=0.03)
    assert neighbour_correlation(checks) == pytest.approx(-1, abs=0.03)
    assert neighbour_correlation(np.zeros((4, 4, 3))) is None
