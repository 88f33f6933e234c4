"""ImageNet's folders and its reassessed labels, with a model that reads the class off the colour."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import keras_vit
from keras_vit import catalogue
from keras_vit.config import Preprocessing
from keras_vit.errors import UsageError

PREPROCESSING = Preprocessing(image_size=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3, crop_pct=1.0)


def colour(place: int) -> tuple[int, int, int]:
    return 6 * (place // 32), 8 * (place % 32), 0


def reader(classes: int) -> keras.Model:
    """The class whose colour is nearest: -|x - c|^2 is linear in x but for what all share."""
    colours = np.array([colour(place) for place in range(classes)], np.float32) / 255
    images = keras.Input((8, 8, 3))
    head = keras.layers.Dense(classes)
    logits = head(keras.layers.GlobalAveragePooling2D()(images))
    head.set_weights([2 * colours.T, -(colours**2).sum(axis=1)])
    return keras.Model(images, logits, name="reader")


def save(path, place):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour(place)).save(path)


def evaluate(model, data, **options):
    return keras_vit.evaluate(model, data, split="all", preprocessing=PREPROCESSING, **options)


def test_folders_called_by_numbers_are_those_classes(tmp_path):
    for place in range(1000):
        save(tmp_path / str(place) / "0.png", place)
    report = evaluate(reader(1000), str(tmp_path), batch_size=250)
    assert (report.count, report.top1) == (1000, 1.0)
    assert [one.name for one in report.classes[:3]] == ["0", "1", "10"]


def test_folders_called_by_wordnet_are_those_classes(tmp_path):
    synsets = catalogue.labels("imagenet_synsets")
    for place in (574, 0, 217):
        save(tmp_path / synsets[place] / "a.png", place)
        save(tmp_path / synsets[place] / "b.png", place + 1)  # wrong
    report = evaluate(reader(1000), str(tmp_path))
    assert (report.count, report.top1) == (6, 0.5)
    # A class of the data for each row, and those that the data does not have in the last column.
    assert report.confusion == ((1, 0, 0, 1), (0, 1, 0, 1), (0, 0, 1, 1))


def test_other_names_of_as_few_classes_are_refused(tmp_path):
    save(tmp_path / "cat" / "a.png", 0)
    with pytest.raises(UsageError, match="reader has 1000 classes, the data 1"):
        evaluate(reader(1000), str(tmp_path))


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    """Forty images in class folders, half of them of the colour of another class."""
    folder, rng = tmp_path_factory.mktemp("val"), np.random.default_rng(0)
    for number, label in enumerate(rng.integers(0, 7, 40), 1):
        place = label if rng.random() < 0.5 else rng.integers(7)
        save(folder / f"class{label}" / f"ILSVRC2012_val_{number:08d}.png", place)
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """One to three labels of each image, or none."""
    rng = np.random.default_rng(1)
    entries = [rng.choice(7, rng.integers(0, 4), replace=False).tolist() for _ in range(40)]
    path = tmp_path_factory.mktemp("labels") / "real.json"
    path.write_text(json.dumps(entries))
    return path


def test_real_accuracy_is_that_of_the_authors_lines(validation, real):
    model, real_labels = reader(7), json.loads(real.read_text())
    report = evaluate(model, str(validation), real=real, batch_size=9)
    # README of google-research/reassessed-imagenet, images in the order of their names.
    files = sorted(validation.rglob("*.png"), key=lambda path: path.name)
    images = np.stack([np.asarray(Image.open(file)) for file in files])
    predictions = np.argmax(model.predict(images / np.float32(255), verbose=0), -1)
    is_correct = [pred in real_labels[i] for i, pred in enumerate(predictions) if real_labels[i]]
    assert report.real == np.mean(is_correct) != report.top1
    assert report.real_count == len(is_correct) < report.count


def test_without_reassessed_labels_there_is_no_such_accuracy(validation):
    report = evaluate(reader(7), str(validation))
    assert (report.real, report.real_count) == (None, None)


def test_reassessed_labels_of_other_images_are_refused(validation, real):
    digits = keras_vit.data.load("digits").take(np.arange(30))
    with pytest.raises(UsageError, match="has 40 images, the data 30"):
        evaluate(reader(10), digits, real=real)
