"""The main road in commands: train, evaluate, predict, export, check; on real handwritten digits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_vit
from keras_vit import data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("road")


@pytest.fixture(scope="module")
def trained(cli, tiny, folder):
    """A model after three epochs: `digits.keras` in `folder`."""
    return cli(
        "train", *tiny, "--data", "digits", "--epochs", "3", "--output", "digits.keras", cwd=folder
    )


@pytest.fixture(scope="module")
def onnx(cli, trained, folder):
    """The same model as `digits.onnx`."""
    return cli("export", "onnx", "digits.keras", "--json", cwd=folder)


@pytest.fixture(scope="module")
def picture(folder):
    """An image file of a handwritten digit."""
    Image.fromarray(data.load("digits").images[0]).save(folder / "zero.png")
    return "zero.png"


def _accuracy(trained) -> str:
    return trained.out.split("accuracy ")[1].split()[0]


def test_training_learns(trained):
    assert trained.code == 0, trained.err
    assert float(_accuracy(trained).rstrip("%")) > 30  # of ten classes, after three epochs


def test_training_ends_with_one_line_of_result(trained):
    assert trained.out.startswith("digits.keras: accuracy ")
    assert trained.out.count("\n") == 1


def test_training_reports_every_epoch_on_stderr(trained):
    lines = trained.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_the_saved_model_has_the_accuracy_that_training_reported(cli, trained, folder):
    result = cli("evaluate", "digits.keras", "--data", "digits", cwd=folder)
    assert result.code == 0, result.err
    assert f"top-1    {_accuracy(trained)}\n" in result.out
    assert result.err == ""


def test_export_reports_its_verification(onnx):
    report = onnx.json
    assert Path(report["path"]).name == "digits.onnx"
    assert report["verified"] is True
    assert report["comparison"]["relative_difference"] <= 1e-4
    assert report["inputs"] == [{"name": "images", "shape": [None, 16, 16, 3], "dtype": "uint8"}]


def test_export_says_nothing_on_stderr(onnx):
    assert onnx.err == ""


def test_export_lies_beside_the_model(onnx, folder):
    assert (folder / "digits.onnx").is_file()
    assert (folder / "digits.onnx.json").is_file()
    assert not list(folder.glob(".*"))


def test_check_of_a_good_file(cli, onnx, folder):
    result = cli("check", "digits.onnx", cwd=folder)
    assert result.code == 0, result.err
    assert result.out.startswith("digits.onnx: passed\n")


def test_check_against_the_model(cli, onnx, folder):
    report = cli("check", "digits.onnx", "--against", "digits.keras", "--json", cwd=folder).json
    assert report["passed"] is True
    assert report["comparison"]["top1_agreement"] == 1.0


def test_check_of_a_damaged_file(cli, onnx, folder):
    whole = (folder / "digits.onnx").read_bytes()
    (folder / "damaged.onnx").write_bytes(whole[: len(whole) // 2])
    result = cli("check", "damaged.onnx", cwd=folder)
    assert result.code == 1
    assert result.out.startswith("damaged.onnx: FAILED\n")
    assert result.error.startswith("damaged.onnx does not pass: ")


def test_the_file_has_the_accuracy_of_the_model(cli, trained, onnx, folder):
    report = cli("evaluate", "digits.onnx", "--data", "digits", "--json", cwd=folder).json
    assert f"{report['top1']:.2%}" == _accuracy(trained)


def test_the_file_is_evaluated_without_keras(cli, onnx, folder, without_keras):
    result = cli("evaluate", "digits.onnx", "--data", "digits", cwd=folder, env=without_keras)
    assert result.code == 0, result.err


def test_prediction_by_the_file_is_that_of_the_model(cli, onnx, folder, picture):
    answer = cli("predict", "digits.onnx", picture, "--top", "3", "--json", cwd=folder).json
    expected = keras_vit.predict(folder / "digits.keras", folder / picture, top=3)[0]
    assert [entry["label"] for entry in answer[0]["classes"]] == [label for label, _ in expected]
    np.testing.assert_allclose(
        [entry["probability"] for entry in answer[0]["classes"]],
        [probability for _, probability in expected],
        atol=1e-4,
    )


def test_prediction_in_words(cli, onnx, folder, picture):
    result = cli("predict", "digits.onnx", picture, "--top", "2", cwd=folder)
    image, first, second = result.out.splitlines()
    assert image == picture
    assert all(line.split()[0].endswith("%") for line in (first, second))
    assert {first.split()[1], second.split()[1]} <= set("0123456789")


def test_prediction_of_what_is_no_image(cli, onnx, folder):
    (folder / "notes.png").write_text("not an image")
    result = cli("predict", "digits.onnx", "notes.png", cwd=folder)
    assert (result.code, result.out) == (1, "")
    assert result.error.startswith("notes.png: not a readable image")


def test_prediction_of_a_missing_image(cli, onnx, folder):
    result = cli("predict", "digits.onnx", "nosuch.png", cwd=folder)
    assert result.code == 2
    assert result.error == "nosuch.png: no such file or folder"


def test_other_weights_for_a_file(cli, onnx, folder, picture):
    result = cli("predict", "digits.onnx", picture, "--weights", "none", cwd=folder)
    assert result.code == 2
    assert result.error == "digits.onnx has its own weights: leave out --weights"


def test_data_of_other_classes(cli, onnx, folder):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 8, 8, 3), np.uint8)
    names = np.array(["rose", "daisy", "tulip", "lily"])
    np.savez(folder / "other.npz", images=images, labels=np.arange(8) % 4, class_names=names)
    result = cli("evaluate", "digits.onnx", "--data", "other.npz", cwd=folder)
    assert result.code == 2
    assert result.error.startswith("digits.onnx has 10 classes (0, 1, 2, ...), the data 4")


def test_missing_optional_package(cli, onnx, folder, tmp_path):
    (tmp_path / "sklearn.py").write_text("raise ImportError('blocked')\n")
    result = cli(
        "evaluate", "digits.onnx", "--data", "digits", cwd=folder, env={"PYTHONPATH": str(tmp_path)}
    )
    assert result.code == 2
    assert result.error == "sklearn is not installed: pip install 'keras-vit-zoo[data]'"


def test_an_existing_artifact_is_replaced_only_by_force(cli, onnx, folder):
    before = (folder / "digits.onnx").read_bytes()
    result = cli("export", "onnx", "digits.keras", cwd=folder)
    assert result.code == 2
    assert result.error == "digits.onnx exists; pass --force to replace it"
    assert (folder / "digits.onnx").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "output"), [("tflite", "digits.tflite"), ("savedmodel", "digits_savedmodel")]
)
def test_the_other_formats(cli, trained, folder, format, output):
    report = cli("export", format, "digits.keras", "--json", cwd=folder).json
    assert Path(report["path"]).name == output
    checked = cli("check", output, "--against", "digits.keras", "--json", cwd=folder).json
    assert checked["passed"] is True
    evaluated = cli("evaluate", output, "--data", "digits", "--json", cwd=folder).json
    assert f"{evaluated['top1']:.2%}" == _accuracy(trained)
