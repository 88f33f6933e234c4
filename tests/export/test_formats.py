from pathlib import Path

import pytest

from keras_vit.errors import UsageError
from keras_vit.export.formats import recognise, resolve_format


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("m.tflite", None, "tflite"),
        ("m.ONNX", None, "onnx"),
        ("model", None, "savedmodel"),
        ("vit_tiny_patch16_224.augreg", None, "savedmodel"),
        ("m", "litert", "tflite"),
        ("m", "tf_saved_model", "savedmodel"),
        ("m", "TF-Saved-Model", "savedmodel"),
        ("m.bin", "onnx", "onnx"),
    ],
)
def test_format_of(name: str, format: str | None, expected: str) -> None:
    assert resolve_format(Path(name), format) == expected


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("m", "coreml", "unknown format 'coreml'"),
        ("m.tflite", "onnx", "named like tflite but the format is onnx"),
        ("m.keras", None, "no format ends in .keras"),
    ],
)
def test_refused(name: str, format: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_format(Path(name), format)


def test_recognised_by_content_under_any_name(tmp_path: Path) -> None:
    file = tmp_path / "thing.onnx"
    file.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(16))
    assert recognise(file) == "tflite"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        recognise(tmp_path / "missing.onnx")


def test_folder_that_is_no_saved_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a SavedModel"):
        recognise(tmp_path)
