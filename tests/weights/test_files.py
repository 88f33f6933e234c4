"""Opening checkpoints: .safetensors, .npz, folders, shards, and files that are none of these."""

import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors import TensorSpec, safe_open, serialize_file

from keras_vit.errors import CheckpointError
from keras_vit.weights.files import check_finite, open_checkpoint, write_safetensors

A = np.arange(12, dtype="<f4").reshape(3, 4) / 7
TENSORS = {"a": A, "block.b": np.arange(5, dtype="<f4") - 2, "step": np.array(7, "<i8")}
DTYPES = [
    *("float64", "float32", "float16", "int64", "int32", "int16", "int8"),
    *("uint64", "uint32", "uint16", "uint8", "bool"),
]


def write_npz(path: Path, tensors: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **tensors)


Write = Callable[[Path, dict[str, np.ndarray]], None]
WRITERS: dict[str, Write] = {"safetensors": write_safetensors, "npz": write_npz}
FORMATS = pytest.mark.parametrize("name", WRITERS)


def read_all(path: Path) -> dict[str, np.ndarray]:
    with open_checkpoint(path) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint}


def refusal(path: Path) -> str:
    """The one line with which a file is refused, on opening or on reading."""
    with pytest.raises(CheckpointError) as error:
        read_all(path)
    message = str(error.value)
    assert "\n" not in message and str(path) in message
    return message


# --- what is read --------------------------------------------------------------------------------


@FORMATS
def test_tensors_are_read_as_they_were_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / "renamed.pth"
    WRITERS[name](path, TENSORS)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == name
        assert sorted(checkpoint.keys()) == sorted(TENSORS)
        assert len(checkpoint) == 3 and "a" in checkpoint and "z" not in checkpoint
        for key, array in TENSORS.items():
            assert checkpoint.shape(key) == array.shape
            assert checkpoint.dtype(key) == checkpoint.read(key).dtype == array.dtype
            np.testing.assert_array_equal(checkpoint.read(key), array)


@FORMATS
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(tmp_path: Path, name: str, dtype: str) -> None:
    array = np.array([[1, 0, 1]], dtype)
    WRITERS[name](tmp_path / "x", {"a": array})
    read = read_all(tmp_path / "x")["a"]
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@FORMATS
def test_memory_layouts(tmp_path: Path, name: str) -> None:
    arrays = {"t": A.T, "step": A[:, ::2], "none": np.zeros((0, 3), "f4"), "big": A.astype(">f4")}
    WRITERS[name](tmp_path / "x", arrays)
    read = read_all(tmp_path / "x")
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array)
        assert read[key].dtype == np.dtype("<f4")


def test_bfloat16_in_safetensors_is_read_as_float32(tmp_path: Path) -> None:
    array = np.array([1.0, -2.5, 3e38], ml_dtypes.bfloat16)
    path = tmp_path / "x.safetensors"
    spec = TensorSpec(dtype="bfloat16", shape=[3], data_ptr=array.ctypes.data, data_len=6)
    serialize_file({"a": spec}, path)
    # In a process where nobody has taught numpy this dtype before.
    code = (
        "import sys; from keras_vit.weights.files import open_checkpoint\n"
        "with open_checkpoint(sys.argv[1]) as c: print(c.dtype('a'), c.read('a').tolist())"
    )
    command = [sys.executable, "-P", "-c", code, str(path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip() == f"float32 {array.astype(np.float32).tolist()}"


def test_raw_bfloat16_in_npz_is_read_as_float32(tmp_path: Path) -> None:
    array = np.array([[1.0, -2.5], [3e38, 0]], ml_dtypes.bfloat16)
    write_npz(tmp_path / "x.npz", {"a": array.view("V2"), "t": np.asfortranarray(array.view("V2"))})
    read = read_all(tmp_path / "x.npz")
    assert read["a"].dtype == np.float32
    np.testing.assert_array_equal(read["a"], array.astype(np.float32))
    np.testing.assert_array_equal(read["t"], array.astype(np.float32))


def test_names_with_slashes_as_google_writes_them(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", {"Transformer/encoderblock_0/LayerNorm_0/scale": A})
    assert list(read_all(tmp_path / "x.npz")) == ["Transformer/encoderblock_0/LayerNorm_0/scale"]


def test_prefixes_of_wrappers_are_taken_off(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", {f"module.{key}": array for key, array in TENSORS.items()})
    assert sorted(read_all(tmp_path / "x")) == sorted(TENSORS)


def test_metadata(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", TENSORS, {"format": "pt"})
    with open_checkpoint(tmp_path / "x") as checkpoint:
        assert checkpoint.metadata == {"format": "pt"}


@FORMATS
def test_an_unknown_tensor(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / "x", TENSORS)
    with open_checkpoint(tmp_path / "x") as checkpoint:
        for ask in (checkpoint.read, checkpoint.shape, checkpoint.dtype):
            with pytest.raises(CheckpointError, match="no tensor is called 'z'"):
                ask("z")


@FORMATS
def test_a_key_is_for_torch_files(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / "x", TENSORS)
    with pytest.raises(CheckpointError, match="leave it out"):
        open_checkpoint(tmp_path / "x", key="model")


PEAK = """
import sys, numpy
from keras_vit.weights.files import open_checkpoint
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
open_checkpoint(sys.argv[1]).close()
before, total = peak(), 0
with open_checkpoint(sys.argv[2]) as checkpoint:
    for name in checkpoint:
        total += float(checkpoint.read(name)[-1])
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory as Linux does")
@FORMATS
def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path, name: str) -> None:
    one = 16 * 2**20
    WRITERS[name](tmp_path / "small", {"a": A})
    WRITERS[name](tmp_path / "x", {str(i): np.ones(one // 4, "f4") for i in range(6)})
    command = [sys.executable, "-P", "-c", PEAK, str(tmp_path / "small"), str(tmp_path / "x")]
    peak = int(subprocess.run(command, capture_output=True, check=True).stdout)
    # Two while one replaces the other would be 2.0; a mapped file would be 6.0.
    assert one / 2 < peak < 2.5 * one


# --- folders -------------------------------------------------------------------------------------


def test_a_folder(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", TENSORS)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never looked at")
    assert sorted(read_all(tmp_path)) == sorted(TENSORS)


def test_a_folder_without_weights_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    message = refusal(tmp_path)
    assert "model.safetensors" in message and "pytorch_model.bin" in message


def write_shards(folder: Path, weight_map: object) -> None:
    write_safetensors(folder / "model-1.safetensors", {"a": A})
    write_safetensors(folder / "model-2.safetensors", {"b": A + 1})
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": "model-1.safetensors", "b": "model-2.safetensors"})
    read = read_all(tmp_path)
    np.testing.assert_array_equal(read["a"], A)
    np.testing.assert_array_equal(read["b"], A + 1)


@pytest.mark.parametrize(
    "weight_map",
    [
        {"a": "model-2.safetensors"},
        {"a": "model-3.safetensors"},
        {"a": "../model-1.safetensors"},
        {"a": "/etc/passwd"},
        {"a": ""},
        {"a": 3},
        {"a": ["model-1.safetensors"]},
        {},
        [],
        "model-1.safetensors",
    ],
)
def test_an_index_that_makes_no_sense(tmp_path: Path, weight_map: object) -> None:
    write_shards(tmp_path, weight_map)
    refusal(tmp_path)


def test_an_index_that_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text("[" * 100_000)
    assert "no index" in refusal(tmp_path)


# --- what is not a checkpoint --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello, this is no checkpoint at all", "no checkpoint"),
        (b"\x00" * 1000, "no checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>404</html>", "web page"),
        (b"\x89HDF\r\n\x1a\n" + b"\x00" * 100, "HDF5"),
        (b"\x80\x04\x95\x00", "bare pickle"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04", "zip archive"),
        (b"PK\x05\x06" + b"\x00" * 18, "without weights"),
        (b"\xff" * 8 + b"{}", "no checkpoint"),
        ((2**30).to_bytes(8, "little") + b"{}", "header claims"),
        ((2).to_bytes(8, "little") + b"{", "header claims"),
        ((2).to_bytes(8, "little") + b"{]", "damaged"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert message in refusal(path)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.pth")
    assert "not a regular file" in refusal(tmp_path / "x.pth")


def test_a_header_larger_than_any_real_one(tmp_path: Path) -> None:
    header = b'{"__metadata__":{"x":"' + b" " * (17 * 2**20) + b'"}}'
    path = tmp_path / "x"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "header claims" in refusal(path)


def test_a_dtype_without_a_numpy_form(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}'
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "'a' has the unsupported dtype F8_E4M3" in refusal(tmp_path / "x")


def test_an_npz_with_objects_is_refused_without_unpickling(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.array([{"k": 1}], object))
    assert "not numbers" in refusal(tmp_path / "x.npz")


@pytest.mark.parametrize("array", [np.array(["x"]), np.array([1j]), np.zeros(2, "i4,f4")])
def test_an_npz_with_something_else_than_numbers(tmp_path: Path, array: np.ndarray) -> None:
    np.savez(tmp_path / "x.npz", a=array)
    assert "not numbers" in refusal(tmp_path / "x.npz")


def test_a_compressed_npz_says_how_to_save_it(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(10**6))
    assert "numpy.savez" in refusal(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2000000000,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775807, 9), }",
        b"{'descr': '<f4', 'fortran_order': False}",
        b"__import__('os').system('true')",
        b"(" * 5000,
        b"\xff\xfe",
    ],
)
def test_an_npz_with_a_lying_header(tmp_path: Path, header: bytes) -> None:
    member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", member)
    refusal(tmp_path / "x.npz")


# --- random damage -------------------------------------------------------------------------------


def damaged(content: bytes, seed: int) -> bytes:
    """`content` cut, flipped, overwritten, shortened or lengthened somewhere."""
    dice = random.Random(seed)
    result, place = bytearray(content), dice.randrange(len(content))
    match seed % 6:
        case 0:
            return bytes(result[:place])
        case 1:
            result[place] ^= 1 << dice.randrange(8)
        case 2:
            result[place : place + 8] = dice.randbytes(8)
        case 3:
            result[place : place + 4] = dice.choice([bytes(4), b"\xff" * 4])
        case 4:
            del result[place : place + dice.choice([1, 16])]
        case 5:
            result[place:place] = result[place : place + 16]
    return bytes(result)


@pytest.mark.parametrize(
    "seeds", [range(start, start + 50) for start in range(0, 300, 50)], ids=str
)
@FORMATS
def test_random_damage_ends_in_one_line(tmp_path: Path, name: str, seeds: range) -> None:
    path = tmp_path / "x"
    WRITERS[name](path, TENSORS)
    whole = path.read_bytes()
    header = whole.index(b"}}") if name == "safetensors" else 0
    for seed in seeds:
        content = damaged(whole, seed)
        path.write_bytes(content)
        try:
            read = read_all(path)
        except CheckpointError as error:
            assert "\n" not in str(error), seed
            continue
        if name == "npz":
            # Every member has a checksum.
            assert sorted(read) == sorted(TENSORS), seed
            for key, array in TENSORS.items():
                np.testing.assert_array_equal(read[key], array, err_msg=str(seed))
        elif content[:header] == whole[:header]:
            # No checksums: values may differ where bytes do, names and shapes may not.
            shapes = {key: array.shape for key, array in TENSORS.items()}
            assert {key: array.shape for key, array in read.items()} == shapes, seed


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values_that_are_not_finite(bad: float, dtype: str) -> None:
    array = np.zeros((3, 4), dtype)
    array[1, 2] = bad
    with pytest.raises(CheckpointError, match=r"x\.pth: tensor 'a' has 1 of 12 values"):
        check_finite("x.pth", "a", array)


@pytest.mark.parametrize(
    "array", [A, np.array(0.0), np.zeros((0, 3)), np.arange(3), np.array(True)]
)
def test_finite_values(array: np.ndarray) -> None:
    check_finite("x.pth", "a", array)


def test_the_largest_finite_values_are_finite() -> None:
    check_finite("x.pth", "a", np.full(10, np.finfo(np.float32).max, np.float32))


# --- writing -------------------------------------------------------------------------------------


def test_what_is_written_is_what_the_library_reads(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", {"t": A.T, **TENSORS}, {"format": "pt"})
    with safe_open(tmp_path / "x", "np") as file:
        assert file.metadata() == {"format": "pt"}
        np.testing.assert_array_equal(file.get_tensor("t"), A.T)
        assert file.get_tensor("step").shape == ()


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    write_safetensors(tmp_path / "x", TENSORS)
    assert sorted(read_all(tmp_path / "x")) == sorted(TENSORS)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device")])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise error

    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr("safetensors.numpy.save_file", fail)
    with pytest.raises((KeyboardInterrupt, CheckpointError)):
        write_safetensors(tmp_path / "x", TENSORS)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "missing" / "x", tmp_path / "file" / "x", tmp_path / "folder"):
        with pytest.raises(CheckpointError, match="cannot write") as error:
            write_safetensors(path, TENSORS)
        assert "\n" not in str(error.value)
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_dtype_that_the_format_has_not(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot write"):
        write_safetensors(tmp_path / "x", {"a": np.array(["text"])})
    assert list(tmp_path.iterdir()) == []
