"""Labels and probabilities of files, folders and arrays."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import keras_vit
from keras_vit.data import load
from keras_vit.errors import KerasVitError, UsageError


@pytest.fixture(scope="module")
def digits():
    return load("digits", "validation").take(np.arange(6))


def test_most_answers_are_right(trained):
    data = load("digits", "validation")
    answers = keras_vit.predict(trained.path, data.images, top=1)
    right = [data.class_names[k] == a[0][0] for a, k in zip(answers, data.labels, strict=True)]
    assert np.mean(right) == pytest.approx(trained.report.accuracy, abs=1e-6)


def test_probabilities_fall_and_sum_to_one(model, digits):
    for answer in keras_vit.predict(model, digits.images, top=10):
        probabilities = [p for _, p in answer]
        assert sorted({label for label, _ in answer}) == list("0123456789")
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1)


def test_files_folders_and_arrays_give_the_same(model, digits, tmp_path):
    for i, image in enumerate(digits.images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    expected = keras_vit.predict(model, digits.images)
    files = sorted(tmp_path.iterdir())
    for images in (tmp_path, str(tmp_path), files, [tmp_path], list(digits.images)):
        _equal(keras_vit.predict(model, images), expected)
    _equal(keras_vit.predict(model, files[2]), expected[2:3])
    _equal(keras_vit.predict(model, digits.images[2]), expected[2:3])
    _equal(keras_vit.predict(model, digits.images, batch_size=4), expected)


def _equal(answers, expected):
    assert [[label for label, _ in a] for a in answers] == [[x for x, _ in e] for e in expected]
    probabilities = [[p for _, p in a] for a in answers]
    np.testing.assert_allclose(probabilities, [[p for _, p in e] for e in expected], atol=1e-5)


def test_a_model_without_labels_gives_indices(untrained, digits):
    answer = keras_vit.predict(untrained, digits.images[:1], top=10)[0]
    assert sorted(int(label) for label, _ in answer) == list(range(10))


@pytest.mark.slow
def test_an_onnx_file_is_used_without_keras(model, digits, tmp_path):
    keras_vit.export_model(model, tmp_path / "m.onnx", verify=False)
    Image.fromarray(digits.images[0]).save(tmp_path / "0.png")
    code = (
        "import sys, keras_vit; print(keras_vit.predict(sys.argv[1], sys.argv[2], top=1)[0][0][0])\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    )
    files = [str(tmp_path / "m.onnx"), str(tmp_path / "0.png")]
    child = subprocess.run(
        [sys.executable, "-c", code, *files], check=True, capture_output=True, text=True
    )
    assert child.stdout.strip() == keras_vit.predict(model, digits.images[0])[0][0][0]


def test_top_is_at_most_the_classes(model, digits):
    assert len(keras_vit.predict(model, digits.images[:1], top=99)[0]) == 10
    with pytest.raises(UsageError, match="at least 1"):
        keras_vit.predict(model, digits.images[:1], top=0)


def test_what_is_no_image_is_one_line(model, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(KerasVitError, match=r"bad\.jpg: not a readable image"):
        keras_vit.predict(model, tmp_path / "bad.jpg")
    with pytest.raises(UsageError, match="no such file"):
        keras_vit.predict(model, tmp_path / "none.jpg")
