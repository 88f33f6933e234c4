"""One measure for Keras models and exported files, and clear refusals where it makes no sense."""

import csv
import json

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.config import Preprocessing
from keras_vit.data import load
from keras_vit.errors import ExportError, KerasVitError, UsageError
from keras_vit.training.scoring import measures


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


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def answers(model):
    """The classes of the validation images, and the model's answers, by its own `predict`."""
    digits = load("digits", "validation")
    best = keras_vit.predict(model, digits.images, top=1)
    return digits.labels, np.array([int(label) for ((label, _),) in best])


def test_accuracies_of_classes(model, answers):
    report, (labels, found) = keras_vit.evaluate(model, "digits"), answers
    assert [one.name for one in report.classes] == list("0123456789")
    assert [one.count for one in report.classes] == np.bincount(labels).tolist()
    shares = [(found[labels == k] == k).mean() for k in range(10)]
    assert [one.top1 for one in report.classes] == pytest.approx(shares)
    assert report.mean_per_class == pytest.approx(np.mean(shares))


def test_a_class_without_images_has_no_accuracy(model):
    digits = load("digits")
    few = digits.take(np.flatnonzero(digits.labels != 4)[:50])
    report = keras_vit.evaluate(model, few)
    assert (report.classes[4].count, report.classes[4].top1) == (0, None)
    shares = [one.top1 for one in report.classes if one.count]
    assert report.mean_per_class == pytest.approx(np.mean(shares))


def test_confusion_matrix(model, answers, tmp_path):
    labels, found = answers
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (labels, found), 1)
    report = keras_vit.evaluate(model, "digits", confusion=tmp_path / "c.csv")
    assert np.array_equal(report.confusion, expected)
    with (tmp_path / "c.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["class", *"0123456789"]
    assert [row[0] for row in rows] == list("0123456789")
    assert np.array_equal(np.array([row[1:] for row in rows], int), expected)


def test_confusion_matrix_is_not_overwritten(model, tmp_path):
    (tmp_path / "c.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"c\.csv exists; pass overwrite=True"):
        keras_vit.evaluate(model, "digits", confusion=tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text() == "mine"
    few = load("digits").take(np.arange(20))
    keras_vit.evaluate(model, few, confusion=tmp_path / "c.csv", overwrite=True)
    assert (tmp_path / "c.csv").read_text().startswith("class,0,1")


def test_the_report_is_plain_json(model):
    report = keras_vit.evaluate(model, load("digits").take(np.arange(40)))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["confusion"] == [list(row) for row in report.confusion]
    assert data["classes"][3] == {
        "name": "3",
        "count": report.classes[3].count,
        "top1": report.classes[3].top1,
    }


def test_the_cost_of_a_model(model, trained, tmp_path):
    few = load("digits").take(np.arange(5))
    width, tokens, hidden, classes = 96, 5, 4 * 96, 10  # TINY, of 32 x 32 images in 16 x 16 patches
    per_token = 4 * width**2 + 2 * width * hidden
    macs = 4 * 768 * width + tokens * per_token + 2 * tokens**2 * width + width * classes
    for one in (model, trained.path):
        report = keras_vit.evaluate(one, few)
        assert report.parameters == sum(w.size for w in model.get_weights())
        assert report.macs == macs
        assert report.images_per_second > 0


def test_a_file_knows_the_cost_of_its_model(model, tmp_path):
    few = load("digits").take(np.arange(5))
    keras_vit.export_model(model, tmp_path / "m.onnx", verify=False)
    (tmp_path / "m.onnx.json").unlink()  # it is inside the file, too
    expected, found = (keras_vit.evaluate(one, few) for one in (model, tmp_path / "m.onnx"))
    assert (found.parameters, found.macs) == (expected.parameters, expected.macs)
    assert found.macs is not None


def test_macs_that_cannot_be_counted_are_left_out():
    images = keras.Input((16, 16, 3))
    shared = keras.layers.Conv2D(3, 3, padding="same")
    pooled = keras.layers.GlobalAveragePooling2D()(shared(shared(images)))
    twice = keras.Model(images, keras.layers.Dense(10)(pooled), name="twice")
    report = keras_vit.evaluate(twice, "digits", preprocessing=Preprocessing((16, 16)))
    assert (report.parameters, report.macs) == (84 + 40, None)


def test_several_models_on_the_same_images(model, untrained):
    few = load("digits").take(np.arange(60))
    seen: list[tuple[int, int]] = []
    both = keras_vit.evaluate([model, untrained], few, progress=lambda *p: seen.append(p))
    alone = [keras_vit.evaluate(one, few) for one in (model, untrained)]
    for found, expected in zip(both, alone, strict=True):
        assert (found.model, found.confusion) == (expected.model, expected.confusion)
        assert found.loss == pytest.approx(expected.loss)
    assert seen == [(32, 120), (60, 120), (92, 120), (120, 120)]


def test_several_models_against_one(model, untrained):
    few = load("digits").take(np.arange(60))
    first, second = keras_vit.evaluate([model, untrained], few, against=model)
    assert (first.against.agreement, first.against.max_difference) == (1.0, 0.0)
    assert second.against.agreement < 1 and second.against.max_difference > 0


def test_one_that_does_not_fit_is_refused_before_the_first_one_works(model):
    seen: list[tuple[int, int]] = []
    other = keras_vit.load("test_vit.r160_in1k", weights=None, num_classes=3)
    with pytest.raises(UsageError, match="3 classes, the data 10"):
        keras_vit.evaluate([model, other], "digits", progress=lambda *p: seen.append(p))
    assert seen == []


def test_a_matrix_of_several_models_is_misuse(model, tmp_path):
    with pytest.raises(UsageError, match="one model"):
        keras_vit.evaluate([model, model], "digits", confusion=tmp_path / "c.csv")
    with pytest.raises(UsageError, match="needs a model"):
        keras_vit.evaluate([], "digits")


def test_records_of_encoded_images_are_as_good_as_arrays(model, tmp_path, monkeypatch):
    import tensorflow as tf

    monkeypatch.setenv("KERAS_VIT_CACHE", str(tmp_path / "cache"))
    few = load("digits").take(np.arange(50))
    with tf.io.TFRecordWriter(str(tmp_path / "few.tfrecord")) as file:
        for image, label in zip(few.images, few.labels, strict=True):
            encoded = tf.train.BytesList(value=[tf.io.encode_png(image).numpy()])
            features = {
                "image": tf.train.Feature(bytes_list=encoded),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            file.write(example.SerializeToString())
    records = load(str(tmp_path / "*.tfrecord"), classes=[*"0123456789"])
    found, expected = (keras_vit.evaluate(model, one, batch_size=16) for one in (records, few))
    assert found.confusion == expected.confusion
    assert found.loss == pytest.approx(expected.loss)


def test_the_folder_of_a_run_stands_for_its_model(trained, model, tmp_path):
    few = load("digits").take(np.arange(20))
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="has not come to its end"):
        keras_vit.evaluate(tmp_path, few)
    (tmp_path / "model.keras").write_bytes(trained.path.read_bytes())
    report = keras_vit.evaluate(tmp_path, few)
    assert report.loss == pytest.approx(keras_vit.evaluate(model, few).loss, abs=1e-5)
    assert report.model == str(tmp_path / "model.keras")
    found = keras_vit.fewshot(tmp_path, "digits", shots=[1], seeds=1, knn=[])
    assert found.model == report.model
