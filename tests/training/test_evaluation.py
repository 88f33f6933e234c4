"""One measure for Keras models and exported files, and clear refusals where it makes no sense."""

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.config import Preprocessing
from keras_vit.data import load
from keras_vit.errors import ExportError, KerasVitError, UsageError
from keras_vit.training.evaluation import measures


def test_measures_by_hand():
    logits = np.log([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.7, 0.1]])
    top1, top5, loss = measures(logits.astype(np.float32), np.array([0, 2, 1]))
    assert top1 == pytest.approx(2 / 3) and top5 is None
    assert loss == pytest.approx(-np.log([0.5, 0.3, 0.7]).mean(), abs=1e-6)


def test_top5_counts_the_five_largest():
    logits = np.tile(np.arange(7, 0, -1, dtype=np.float32), (7, 1))
    top1, top5, _ = measures(logits, np.arange(7))
    assert (top1, top5) == (pytest.approx(1 / 7), pytest.approx(5 / 7))


def test_huge_logits_have_a_finite_loss():
    assert measures(np.array([[1e4, -1e4]], np.float32), np.array([1]))[2] == pytest.approx(2e4)


def test_the_file_is_as_good_as_training_said(trained):
    report = keras_vit.evaluate(trained.path, "digits")
    assert (report.split, report.count, report.skipped) == ("validation", 359, 0)
    assert report.top1 == pytest.approx(trained.report.accuracy, abs=1e-6)
    assert report.loss == pytest.approx(trained.report.loss, abs=1e-4)
    assert report.top1 <= report.top5 <= 1


def test_a_model_in_memory_gives_what_its_file_gives(trained, model):
    ours, files = keras_vit.evaluate(model, "digits"), keras_vit.evaluate(trained.path, "digits")
    assert ours.top1 == files.top1 and ours.loss == pytest.approx(files.loss, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "preprocessing"),
    [
        ("m.tflite", "normalize"),
        ("m.onnx", "none"),
        pytest.param("m", "none", marks=pytest.mark.slow),
        pytest.param("m.onnx", "normalize", marks=pytest.mark.slow),
    ],
)
def test_exported_files_are_as_good(trained, model, tmp_path, name, preprocessing):
    path = tmp_path / name
    keras_vit.export_model(model, path, preprocessing=preprocessing, verify=False)
    report = keras_vit.evaluate(path, "digits", batch_size=50)
    assert report.top1 == pytest.approx(trained.report.accuracy, abs=1e-6)
    assert report.loss == pytest.approx(trained.report.loss, abs=1e-4)
    assert report.count == 359


def test_a_file_is_measured_against_its_model(model, tmp_path):
    keras_vit.export_model(model, tmp_path / "m.onnx", verify=False)
    report = keras_vit.evaluate(tmp_path / "m.onnx", "digits", against=model)
    assert report.against.top1 == report.top1
    assert report.against.agreement == 1
    assert 0 < report.against.relative_difference < 1e-5


def test_another_model_differs(model, untrained):
    report = keras_vit.evaluate(untrained, "digits", against=model)
    assert report.against.top1 > 0.9 > report.top1
    assert report.against.agreement == pytest.approx(report.top1, abs=0.1)
    assert report.against.relative_difference > 0.1


@pytest.mark.parametrize("input_size", ["any", (8, 8)])
def test_file_with_its_resize_inside_is_as_good(trained, model, tmp_path, input_size):
    path = tmp_path / "baked"
    keras_vit.export_model(
        model, path, preprocessing="baked", input_size=input_size, endpoints=(), verify=False
    )
    report = keras_vit.evaluate(path, "digits")
    assert report.top1 == pytest.approx(trained.report.accuracy, abs=1e-6)


def test_every_image_is_counted_once_whatever_the_batch(model):
    few = load("digits").take(np.arange(23))
    seen: list[tuple[int, int]] = []
    one = keras_vit.evaluate(model, few, batch_size=23)
    ten = keras_vit.evaluate(model, few, batch_size=10, progress=lambda *p: seen.append(p))
    assert seen == [(10, 23), (20, 23), (23, 23)]
    assert ten.top1 == one.top1 and ten.loss == pytest.approx(one.loss, abs=1e-5)


def test_arrays_are_measured_whole_and_splits_by_name(model):
    digits = load("digits")
    assert keras_vit.evaluate(model, (digits.images[:30], digits.labels[:30])).count == 30
    assert keras_vit.evaluate(model, "digits", split="all").count == 1797


def test_classes_are_matched_by_name_in_any_order(model):
    digits = load("digits").take(np.arange(100))
    order = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    names = [str(i) for i in order]
    shuffled = (digits.images, np.argsort(order)[digits.labels], names)
    assert keras_vit.evaluate(model, shuffled).top1 == keras_vit.evaluate(model, digits).top1


def test_some_of_the_models_classes_are_enough(model):
    digits = load("digits")
    threes = digits.take(np.flatnonzero(digits.labels == 3))
    only = (threes.images, np.zeros(len(threes), int), ["3"])
    assert keras_vit.evaluate(model, only).top1 == keras_vit.evaluate(model, threes).top1


def test_other_classes_are_misuse(model):
    data = (np.zeros((2, 8, 8, 3), np.uint8), [0, 1], ["cat", "dog"])
    with pytest.raises(
        UsageError, match=r"10 classes \(0, 1, 2, \.\.\.\), the data 2 \(cat, dog\)"
    ):
        keras_vit.evaluate(model, data)


def test_features_have_no_accuracy():
    features = keras_vit.load("test_vit.r160_in1k", weights=None, num_classes=0)
    with pytest.raises(UsageError, match="features, not classes"):
        keras_vit.evaluate(features, "digits")


def _plain(bias: float = 0.0) -> keras.Model:
    images = keras.Input((16, 16, 3))
    head = keras.layers.Dense(10, bias_initializer=keras.initializers.Constant(bias))
    return keras.Model(images, head(keras.layers.Flatten()(images)), name="plain")


def test_a_plain_model_needs_preprocessing_and_ours_takes_no_other(model):
    other = Preprocessing(image_size=(16, 16))
    assert keras_vit.evaluate(_plain(), "digits", preprocessing=other).count == 359
    with pytest.raises(UsageError, match="plain carries no preprocessing"):
        keras_vit.evaluate(_plain(), "digits")
    with pytest.raises(UsageError, match="carries its own preprocessing"):
        keras_vit.evaluate(model, "digits", preprocessing=Preprocessing((16, 16), crop_pct=0.5))


def test_logits_that_are_not_finite_are_an_error():
    with pytest.raises(KerasVitError, match="plain gives logits that are not finite"):
        keras_vit.evaluate(_plain(np.inf), "digits", preprocessing=Preprocessing((16, 16)))


def test_files_that_are_no_models_are_one_line(tmp_path):
    (tmp_path / "m.keras").write_bytes(b"nothing")
    with pytest.raises(ExportError, match=r"m\.keras cannot be opened"):
        keras_vit.evaluate(tmp_path / "m.keras", "digits")
    with pytest.raises(UsageError, match="does not exist"):
        keras_vit.evaluate(tmp_path / "n.onnx", "digits")
    with pytest.raises(UsageError):
        keras_vit.evaluate("vit_tinny_patch16_224", "digits")
