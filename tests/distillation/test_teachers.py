"""A teacher of any kind sees the student's pixels and gives logits of the student's classes."""

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.config import Preprocessing
from keras_vit.distillation import Teacher
from keras_vit.errors import KerasVitError, UsageError

STUDENT = Preprocessing(image_size=(8, 8))
OWN = Preprocessing((8, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), crop_pct=0.5)
NAMES = ("a", "b", "c", "d")


def _model(size: int = 8, activation: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(2)
    images = keras.Input((size, size, 3))
    x = keras.layers.Dense(4, activation)(keras.layers.Flatten()(images))
    return keras.Model(images, x, name="teacher")


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype("float32")


def _as_student(pixels: np.ndarray) -> np.ndarray:
    return (pixels / 255 - 0.5) / 0.5


def _expected(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    return model.predict_on_batch((pixels / 255 - np.array(OWN.mean)) / np.array(OWN.std))


def test_it_has_its_own_mean_and_deviation_and_no_crop(pixels):
    teacher = Teacher(_model(), STUDENT, NAMES, OWN)
    found = teacher(_as_student(pixels))
    np.testing.assert_allclose(found, _expected(_model(), pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "format", ["onnx", *(pytest.param(f, marks=pytest.mark.slow) for f in ("savedmodel", "tflite"))]
)
def test_a_file_of_another_runtime(format, pixels, tmp_path):
    path = tmp_path / {"onnx": "t.onnx", "savedmodel": "t", "tflite": "t.tflite"}[format]
    keras_vit.export_model(_model(), path, format, preprocessing="none", batch=None, verify=False)
    teacher = Teacher(path, STUDENT, NAMES, OWN)
    found = teacher(_as_student(pixels))
    np.testing.assert_allclose(found, _expected(_model(), pixels), rtol=1e-4, atol=1e-4)


def test_a_file_of_keras_own_export(pixels, tmp_path):
    _model().export(tmp_path / "t", verbose=False)
    teacher = Teacher(tmp_path / "t", STUDENT, NAMES, OWN)
    found = teacher(_as_student(pixels))
    np.testing.assert_allclose(found, _expected(_model(), pixels), rtol=1e-4, atol=1e-4)


def test_another_size_is_resized_to(pixels):
    from keras_vit.data.transforms import FILTERS, as_pillow

    model = _model(12)
    larger = Preprocessing((12, 12), OWN.mean, OWN.std)
    teacher = Teacher(model, STUDENT, NAMES, larger)
    pillow = [
        as_pillow(image.astype("uint8")).resize((12, 12), FILTERS["bicubic"]) for image in pixels
    ]
    expected = _expected(model, np.stack([np.asarray(image) for image in pillow]))
    # Pillow rounds to whole pixels there, and clips.
    np.testing.assert_allclose(teacher(_as_student(pixels)), expected, atol=0.25)
    assert np.corrcoef(teacher(_as_student(pixels)).ravel(), expected.ravel())[0, 1] > 0.999


def test_probabilities_become_logits(pixels):
    teacher = Teacher(_model(activation="softmax"), STUDENT, NAMES, OWN)
    logits = _expected(_model(), pixels).astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert teacher.probabilities and not Teacher(_model(), STUDENT, NAMES, OWN).probabilities
    np.testing.assert_allclose(teacher(_as_student(pixels)), expected, rtol=1e-3, atol=1e-3)


def test_classes_are_found_by_name(pixels, tmp_path):
    arguments = {"depth": 1, "embed_dim": 24, "num_heads": 2, "patch_size": 4}
    model = keras_vit.load(
        "vit_tiny_patch16_224", weights=None, image_size=8, labels=["d", "x", "b", "a"], **arguments
    )
    teacher = Teacher(model, STUDENT, ("a", "b"))
    expected = model.predict_on_batch(_as_student(pixels))[:, [3, 2]]
    np.testing.assert_allclose(teacher(_as_student(pixels)), expected, rtol=1e-4, atol=1e-5)


def test_other_classes_are_misuse():
    with pytest.raises(UsageError, match="teacher has 4 classes, the data 3"):
        Teacher(_model(), STUDENT, NAMES[:3], OWN)


def test_a_teacher_without_preprocessing_is_misuse():
    with pytest.raises(UsageError, match="teacher carries no preprocessing"):
        Teacher(_model(), STUDENT, NAMES)


def test_other_channels_are_misuse():
    with pytest.raises(UsageError, match="takes images of 3 channels, the student of 1"):
        Teacher(_model(), Preprocessing((8, 8), (0.5,), (0.5,)), NAMES, OWN)


def test_logits_that_are_not_finite_are_an_error():
    model = _model()
    model.layers[-1].kernel.assign(np.full(model.layers[-1].kernel.shape, np.nan))
    with pytest.raises(KerasVitError, match="the teacher teacher gives logits that are not finite"):
        Teacher(model, STUDENT, NAMES, OWN)
