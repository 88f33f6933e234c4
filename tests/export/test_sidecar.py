import json
from pathlib import Path

import pytest

from keras_vit.config import ModelConfig, Preprocessing
from keras_vit.errors import ExportError
from keras_vit.export import sidecar


def example() -> dict:
    config = ModelConfig("vit.tag", "vit", {"depth": 2}, Preprocessing((32, 48)), weights="hub")
    return sidecar.metadata(
        name="ignored",
        config=config,
        labels=("ünïcode", "b"),
        mode="normalize",
        input_dtype="uint8",
        image_size=(32, 48),
        backend="tensorflow",
    )


def test_preprocessing_comes_back() -> None:
    data = json.loads(json.dumps(example()))
    assert sidecar.preprocessing_of(data) == Preprocessing((32, 48))


def test_preprocessing_of_a_plain_model_is_unknown() -> None:
    assert sidecar.preprocessing_of({"preprocessing": {"mode": "none"}}) is None
    assert sidecar.preprocessing_of({}) is None


def test_onnx_properties_come_back() -> None:
    plain = json.loads(json.dumps(example()))
    properties = {"author": "me", **sidecar.to_properties(plain)}
    assert sidecar.from_properties(properties) == plain
    assert sidecar.from_properties({"author": "me"}) is None


def test_no_sidecar_or_somebody_elses(tmp_path: Path) -> None:
    assert sidecar.read_sidecar(tmp_path / "m.onnx") is None
    (tmp_path / "m.onnx.json").write_text("[1, 2]")
    assert sidecar.read_sidecar(tmp_path / "m.onnx") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not JSON"), ('{"schema": 99, "keras_vit": "9.0"}', r"newer keras_vit \(9.0\)")],
)
def test_unreadable_sidecar(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.onnx.json").write_text(text)
    with pytest.raises(ExportError, match=message):
        sidecar.read_sidecar(tmp_path / "m.onnx")


def test_hash_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, str]) -> str:
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return sidecar.sha256(tmp_path / name)

    same = folder("a", {"x": "1", "sub/y": "2"}), folder("b", {"sub/y": "2", "x": "1"})
    assert same[0] == same[1]
    assert folder("c", {"x": "1", "sub/z": "2"}) != same[0]
    assert folder("d", {"x": "1", "sub/y": "3"}) != same[0]
