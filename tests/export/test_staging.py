from pathlib import Path

import pytest

from keras_vit.errors import ExportError, UsageError
from keras_vit.export.staging import publish, require_free, sidecar_path, staging


def saved_model(path: Path, text: str = "old") -> Path:
    path.mkdir()
    (path / "saved_model.pb").write_text(text)
    return path


def test_sidecar_keeps_the_whole_name() -> None:
    assert sidecar_path(Path("a/flowers.onnx")) == Path("a/flowers.onnx.json")


def test_free_name_is_accepted(tmp_path: Path) -> None:
    require_free(tmp_path / "new.onnx", "onnx", overwrite=False)


@pytest.mark.parametrize("existing", ["m.onnx", "m.onnx.json"])
def test_existing_output_needs_overwrite(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    with pytest.raises(UsageError, match="exists; pass overwrite=True"):
        require_free(tmp_path / "m.onnx", "onnx", overwrite=False)
    require_free(tmp_path / "m.onnx", "onnx", overwrite=True)


def test_folder_is_replaced_only_if_it_is_a_saved_model(tmp_path: Path) -> None:
    require_free(saved_model(tmp_path / "model"), "savedmodel", overwrite=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("dear")
    with pytest.raises(UsageError, match="not a SavedModel"):
        require_free(tmp_path / "photos", "savedmodel", overwrite=True)
    with pytest.raises(UsageError, match="not a SavedModel"):
        require_free(tmp_path / "model", "onnx", overwrite=True)


def test_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("dear")
    with pytest.raises(UsageError, match="is a file"):
        require_free(tmp_path / "model", "savedmodel", overwrite=True)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the folder .*nowhere does not exist"):
        require_free(tmp_path / "nowhere" / "m.onnx", "onnx", overwrite=False)


def test_folder_that_cannot_be_written() -> None:
    path = Path("/proc/m.onnx")
    if not path.parent.is_dir():
        pytest.skip("needs /proc")
    with pytest.raises(ExportError, match="cannot write in /proc"), staging(path):
        pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_left_after_an_interruption(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), staging(tmp_path / "m.onnx") as folder:
        (folder / "m.onnx").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(ExportError, match=r"cannot write .*m\.onnx: No space left on device"),
        staging(tmp_path / "m.onnx"),
    ):
        raise OSError(28, "No space left on device", "x")
    assert list(tmp_path.iterdir()) == []


def test_publish_replaces_folder_and_file(tmp_path: Path) -> None:
    saved_model(tmp_path / "model")
    (tmp_path / "model.json").write_text("old")
    with staging(tmp_path / "model") as folder:
        new, beside = saved_model(folder / "model", "new"), folder / "sidecar"
        beside.write_text("new")
        publish([(new, tmp_path / "model"), (beside, tmp_path / "model.json")], folder)
    assert (tmp_path / "model" / "saved_model.pb").read_text() == "new"
    assert (tmp_path / "model.json").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.json"]


def test_publish_that_fails_half_way_puts_everything_back(tmp_path: Path) -> None:
    saved_model(tmp_path / "model")
    (tmp_path / "model.json").write_text("old")
    with staging(tmp_path / "model") as folder:
        new = saved_model(folder / "model", "new")
        with pytest.raises(FileNotFoundError):
            publish([(new, tmp_path / "model"), (folder / "none", tmp_path / "model.json")], folder)
    assert (tmp_path / "model" / "saved_model.pb").read_text() == "old"
    assert (tmp_path / "model.json").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.json"]
