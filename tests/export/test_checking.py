import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from keras_vit.errors import UsageError
from keras_vit.export import check

from_model = pytest.mark.parametrize("format", ["tflite", "onnx"])


@pytest.fixture
def copy(exported: Any, tmp_path: Path) -> Any:
    """A copy of an exported file and its JSON, to be changed."""

    def get(format: str) -> Path:
        path = exported(format).path
        shutil.copy(f"{path}.json", tmp_path)
        return Path(shutil.copy(path, tmp_path))

    return get


def change_sidecar(path: Path, **entries: Any) -> None:
    beside = Path(f"{path}.json")
    beside.write_text(json.dumps({**json.loads(beside.read_text()), **entries}))


@pytest.mark.parametrize("format", ["savedmodel", "tflite", "onnx"])
def test_exported_file_passes(exported: Any, format: str) -> None:
    report = check(exported(format).path)
    assert report.passed, report.problems
    assert report.labels == ("ant", "bee", "cow", "dog", "eel")
    assert report.preprocessing == "normalize"
    assert report.operators == exported(format).report.operators
    assert report.comparison is None
    assert report.notes == ()
    assert json.loads(json.dumps(report.to_dict()))["passed"] is True


@from_model
def test_against_the_model(exported: Any, format: str, model: Any) -> None:
    report = check(exported(format).path, against=model)
    assert report.passed
    assert report.comparison.relative_difference < 1e-4
    assert report.comparison.top1_agreement == 1.0


def test_against_another_file(exported: Any) -> None:
    report = check(exported("onnx").path, against=exported("tflite").path)
    assert report.passed
    assert 0 < report.comparison.relative_difference < 1e-4


def test_against_another_model(exported: Any, build: Any) -> None:
    report = check(exported("onnx").path, against=build(num_heads=4))
    assert not report.passed
    assert "logits differs from the model" in report.problems[0]


def test_against_a_model_of_another_size(exported: Any, build: Any) -> None:
    with pytest.raises(UsageError, match="take different images"):
        check(exported("onnx").path, against=build(image_size=16))


def test_file_that_was_changed(copy: Any) -> None:
    import onnx

    path = copy("onnx")
    proto = onnx.load(path)
    proto.doc_string = "edited"
    onnx.save(proto, path)
    report = check(path)
    assert [problem for problem in report.problems if "SHA-256" in problem]


def test_sidecar_that_was_changed(copy: Any) -> None:
    path = copy("onnx")
    change_sidecar(path, labels=["x"] * 4)
    report = check(path)
    assert any("4 labels for logits" in problem for problem in report.problems)
    assert any("another 'labels' than the file" in problem for problem in report.problems)


def test_file_without_metadata_is_noted(exported: Any, tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "alone.onnx"
    proto = onnx.load(exported("onnx").path)
    del proto.metadata_props[:]
    onnx.save(proto, path)
    report = check(path)
    assert report.passed
    assert report.notes == ("it has no metadata of keras_vit",)


@from_model
def test_truncated_file(copy: Any, format: str) -> None:
    path = copy(format)
    path.write_bytes(path.read_bytes()[:50_000])
    report = check(path)
    assert not report.passed
    assert f"cannot be read as {format}" in report.problems[0]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        check(tmp_path / "none.onnx")
