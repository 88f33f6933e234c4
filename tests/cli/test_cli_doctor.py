"""`doctor`: versions, and whether everything works."""

import importlib.metadata
import json

import pytest


@pytest.fixture(scope="module")
def broken(cli, tmp_path_factory):
    """What it says where Keras cannot be imported."""
    folder = tmp_path_factory.mktemp("stubs")
    (folder / "keras.py").write_text("raise ImportError('keras is broken')\n")
    return cli("doctor", "--json", env={"PYTHONPATH": str(folder)})


def test_a_broken_keras_is_a_finding(broken):
    assert broken.code == 1
    assert broken.error == "keras: ImportError: keras is broken"
    assert [trial["name"] for trial in json.loads(broken.out)["trials"]] == ["keras"]


def test_versions_of_what_is_needed(broken):
    packages = {package["name"]: package for package in json.loads(broken.out)["packages"]}
    needed = ["keras", "tensorflow", "numpy", "onnx", "onnxruntime", "tf2onnx", "ai-edge-litert"]
    versions = {name: importlib.metadata.version(name) for name in needed}
    assert {name: packages[name]["version"] for name in needed} == versions


def test_optional_packages_have_their_pip_command(broken):
    for package in json.loads(broken.out)["packages"]:
        if package["extra"] and package["version"] is None:
            assert package["install"] == f"pip install 'keras-vit-zoo[{package['extra']}]'"


@pytest.mark.slow
def test_everything_works(cli):
    result = cli("doctor", "--json")
    report = result.json
    assert report["passed"] is True
    assert [trial["name"] for trial in report["trials"]] == [
        "keras", "model", "savedmodel", "tflite", "onnx",
    ]  # fmt: skip
    assert all(trial["passed"] for trial in report["trials"])
    assert report["devices"]
    assert result.err == ""
