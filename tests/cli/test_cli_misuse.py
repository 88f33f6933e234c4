"""Wrong input ends in one line on stderr, exit code 2 or 1, and nothing is left behind.

All of it is noticed before Keras is imported, which takes seconds: here, importing it is an error.
"""

import os
import stat
import struct
from pathlib import Path

import numpy as np
import pytest

NAME = "vit_tiny_patch16_224"

UNKNOWN_NAMES = [
    ["info", "vit_tiny_patch16_225"],
    ["export", "onnx", "vit_tiny_patch16_225"],
    ["train", "vit_tiny_patch16_225", "--data", "digits", "--output", "x.keras"],
    ["evaluate", "vit_tiny_patch16_225", "--data", "digits"],
    ["fewshot", "vit_tiny_patch16_225", "--data", "digits"],
    ["predict", "vit_tiny_patch16_225", "x.png"],
    ["convert", "x.pth", "x.keras", "--model", "vit_tiny_patch16_225"],
]

MISUSES = {
    "unknown command": (["lsit"], "No such command 'lsit'"),
    "unknown option": (["list", "--tags", "x"], "No such option"),
    "missing argument": (["info"], "Missing argument 'NAME'. See keras-vit info --help"),
    "missing option": (["train", NAME, "--data", "digits"], "Missing option '--output'"),
    "unknown recipe": (
        ["train", NAME, "--data", "digits", "--output", "run", "--recipe", "finetun"],
        "there is no recipe 'finetun'; the nearest ones are finetune",
    ),
    "a file to resume": (
        ["train", NAME, "--data", "digits", "--output", "x.keras", "--resume"],
        "x.keras is a file, which keeps no checkpoints",
    ),
    "resume and force": (
        ["train", NAME, "--data", "digits", "--output", "run", "--resume", "--force"],
        "choose one",
    ),
    "an unknown teacher": (
        ["train", NAME, "--data", "digits", "--output", "x.keras", "--teacher", "t.onnx"],
        "there is no file t.onnx",
    ),
    "nothing to predict": (["predict", NAME], "give images, or --input FOLDER"),
    "a table of another kind": (
        ["predict", NAME, "--input", ".", "--output", "x.txt"],
        "has to end in .parquet or .csv or .jsonl",
    ),
    "a worker that is none": (
        ["predict", NAME, "x.png", "--output", "x.csv", "--shard", "2/2"],
        "'2/2' is not a worker such as",
    ),
    "an unknown experiment": (["experiment", "positions"], "there is no experiment 'positions'"),
    "nowhere to experiment": (["experiment", "resolution", "--small"], "give --output FOLDER"),
    "a change of no stage": (
        ["experiment", "resolution", "--set", "epochs=3"],
        "not of the form stage.key=value",
    ),
    "unknown family": (["list", "--family", "resnet"], "unknown family 'resnet'"),
    "unknown format": (["export", "torchscript", NAME], "'torchscript' is not one of"),
    "missing file": (["evaluate", "x.onnx", "--data", "digits"], "there is no file x.onnx"),
    "batch of zero": (["export", "onnx", NAME, "--batch", "0"], "'0' is not a positive number"),
    "no such opset": (["export", "onnx", NAME, "--opset", "19"], "'19' is not one of"),
    "operator before its opset": (
        ["export", "onnx", NAME, "--attention", "operator"],
        'attention="operator" needs opset=23, not 20',
    ),
    "no such target": (["export", "onnx", NAME, "--target", "phone"], "'phone' is not one of"),
    "a format of another target": (
        ["export", "onnx", NAME, "--target", "mobile-gpu"],
        "target mobile-gpu takes tflite, not onnx",
    ),
    "a layout of another target": (
        ["export", "onnx", NAME, "--target", "tensorrt", "--layout", "nhwc"],
        "target tensorrt takes layout='nchw', not 'nhwc'",
    ),
    "an opset of another format": (
        ["export", "tflite", NAME, "--opset", "18"],
        "opset, attention and layout are ONNX's; the format is tflite",
    ),
    "not a size": (["export", "onnx", NAME, "--image-size", "big"], "'big' is not a size"),
    "not an assignment": (["export", "onnx", NAME, "--set", "depth"], "not of the form key=value"),
    "no such folder": (["export", "onnx", NAME, "-o", "no/x.onnx"], "the folder no does not exist"),
    "another suffix": (
        ["convert", "x.pth", "x.h5", "--model", NAME],
        "has to end in .keras or .safetensors",
    ),
    "model not named": (["convert", "x.pth", "x.keras"], "pass --model NAME"),
}


@pytest.fixture
def refused(cli, without_keras, tmp_path):
    """Runs a command that has to fail, and returns (exit code, its one line)."""

    def run(*args: str | Path) -> tuple[int, str]:
        before = _everything_in(tmp_path)
        result = cli(*args, cwd=tmp_path, env=without_keras)
        assert result.out == ""
        assert _everything_in(tmp_path) == before
        return result.code, result.error

    return run


def _everything_in(folder: Path) -> dict[Path, bytes | None]:
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.mark.parametrize("args", UNKNOWN_NAMES, ids=lambda args: args[0])
def test_unknown_name(refused, args):
    code, line = refused(*args)
    assert code == 2
    assert line.startswith(
        "unknown model 'vit_tiny_patch16_225'; the nearest names are vit_tiny_patch16_224"
    )


@pytest.mark.parametrize("misuse", MISUSES)
def test_misuse(refused, misuse):
    args, expected = MISUSES[misuse]
    code, line = refused(*args)
    assert code == 2
    assert expected in line


OUTPUTS = {
    "export": (["export", "onnx", NAME, "--output"], "x.onnx"),
    "convert": (["convert", "in.safetensors", "--model", NAME], "x.keras"),
    "train": (["train", NAME, "--data", "digits", "--output"], "x.keras"),
}


@pytest.mark.parametrize("command", OUTPUTS)
def test_existing_output(refused, tmp_path, command):
    args, output = OUTPUTS[command]
    (tmp_path / output).write_text("precious")
    code, line = refused(*args, output)
    assert code == 2
    assert line == f"{output} exists; pass --force to replace it"


@pytest.mark.parametrize("command", OUTPUTS)
def test_unwritable_output(refused, tmp_path, command):
    args, output = OUTPUTS[command]
    _safetensors(tmp_path / "in.safetensors")
    folder = _unwritable(tmp_path)
    code, line = refused(*args, folder / output)
    assert code == 1
    assert line.startswith(f"cannot write in {folder}: ")


def _unwritable(parent: Path) -> Path:
    """A folder in which nobody can make a file: the administrator neither, who needs no permission."""
    if os.geteuid() == 0:
        if not Path("/proc").is_dir():
            pytest.skip("no folder is closed to the administrator here")
        return Path("/proc")
    folder = parent / "closed"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    return folder


def _safetensors(path: Path, size: int = 8) -> None:
    """A valid file with one tensor that no model has; `size` bytes of its 8 are there."""
    header = b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))


def _no_checkpoint(path: Path) -> None:
    path.write_text("not a checkpoint")


def _truncated(path: Path) -> None:
    _safetensors(path, size=5)


def _renamed(path: Path) -> None:
    """An image that is called a checkpoint."""
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))


def _empty(path: Path) -> None:
    path.touch()


def _pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def _pickled(path: Path) -> None:
    np.savez(path, weights=np.array([{"a": 1}], dtype=object))


CHECKPOINTS = {
    "text.safetensors": (_no_checkpoint, "is no checkpoint"),
    "truncated.safetensors": (_truncated, "truncated.safetensors"),
    "renamed.pth": (_renamed, "is no checkpoint"),
    "empty.bin": (_empty, "is empty"),
    "pointer.safetensors": (_pointer, "git lfs pull"),
    "pickled.npz": (_pickled, "pickled.npz"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoint_that_is_none(refused, tmp_path, name):
    make, expected = CHECKPOINTS[name]
    make(tmp_path / name)
    code, line = refused("convert", name, "x.keras", "--model", NAME)
    assert code == 1
    assert expected in line


def test_missing_checkpoint(refused):
    code, line = refused("convert", "x.pth", "x.keras", "--model", NAME)
    assert code == 1
    assert line == "cannot read x.pth: No such file or directory"


def test_a_saved_model_is_not_changed_by_converting(refused, tmp_path):
    (tmp_path / "a.keras").touch()
    code, line = refused("convert", "a.keras", "x.safetensors", "--num-classes", "3")
    assert code == 2
    assert "converted as it was saved; to change num_classes" in line


def test_an_unforeseen_error_is_one_line_too(cli, without_keras):
    result = cli("predict", NAME, __file__, env=without_keras)
    assert result.code == 1
    assert "keras was imported (this should not happen; KERAS_VIT_DEBUG=1" in result.error


def test_debugging_shows_the_traceback(cli, without_keras):
    result = cli("info", "nosuch", env={**without_keras, "KERAS_VIT_DEBUG": "1"})
    assert result.code == 2
    assert "UnknownModelError" in result.err
    assert result.err.splitlines()[-1].startswith("error: unknown model 'nosuch'")
