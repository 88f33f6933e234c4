"""Torch checkpoints: written by hand, without torch, and damaged in every way that came to mind.

What torch itself writes is in test_torch_files_parity.py.
"""

import pickle
import random
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from keras_vit.errors import CheckpointError
from keras_vit.weights.files import open_checkpoint

# --- pickle programs, spelled out ----------------------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def sequence(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def numbers(values: tuple[int, ...]) -> bytes:
    return sequence(*map(number, values))


def glob(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def call(name: str, *arguments: bytes) -> bytes:
    return glob(name) + sequence(*arguments) + b"R"


def mapping(items: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def storage(key: str, count: int, kind: str = "Float", rest: bytes = b"") -> bytes:
    pieces = (text("storage"), glob(f"torch.{kind}Storage"), text(key), text("cpu"), number(count))
    return sequence(*pieces, rest) + b"Q"


def tensor(
    key: str,
    shape: tuple[int, ...],
    *,
    stride: tuple[int, ...] | None = None,
    offset: int = 0,
    count: int | None = None,
    kind: str = "Float",
) -> bytes:
    size = int(np.prod(shape, dtype=object))
    if stride is None:
        stride = tuple(int(np.prod(shape[i + 1 :], dtype=object)) for i in range(len(shape)))
    stored = storage(key, size if count is None else count, kind)
    arguments = (stored, number(offset), numbers(shape), numbers(stride), b"\x89")
    hooks = call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", *arguments, hooks)


# --- files ---------------------------------------------------------------------------------------


def write_zip(path: Path, body: bytes, storages: dict[str, bytes], **members: bytes) -> Path:
    """A file as torch.save writes it since 1.6."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", program(body))
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return path


def write_legacy(path: Path, body: bytes, storages: dict[str, bytes]) -> Path:
    """A file as torch.save wrote it before 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    content = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)]
    content += [pickle.dumps(system, 2), program(body), pickle.dumps(list(storages), 2)]
    for data in storages.values():
        content += [struct.pack("<q", len(data) // 4), data]
    path.write_bytes(b"".join(content))
    return path


WRITERS: dict[str, Callable[[Path, bytes, dict[str, bytes]], Path]] = {
    "zip": write_zip,
    "legacy": write_legacy,
}
LAYOUTS = pytest.mark.parametrize("layout", WRITERS)

A = np.arange(12, dtype="<f4").reshape(3, 4) / 7
B = np.arange(5, dtype="<f4") - 2
STATE = {"a": tensor("0", (3, 4)), "block.b": tensor("1", (5,))}
STORAGES = {"0": A.tobytes(), "1": B.tobytes()}


def read_all(path: Path, key: str | None = None) -> dict[str, np.ndarray]:
    with open_checkpoint(path, key=key) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint}


def refusal(path: Path, key: str | None = None) -> str:
    """The one line with which a file is refused, on opening or on reading."""
    with pytest.raises(CheckpointError) as error:
        read_all(path, key)
    message = str(error.value)
    assert "\n" not in message and str(path) in message
    return message


# --- what is read --------------------------------------------------------------------------------


@LAYOUTS
def test_a_state_dict(tmp_path: Path, layout: str) -> None:
    path = WRITERS[layout](tmp_path / "x.pth", mapping(STATE), STORAGES)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == {"zip": "torch", "legacy": "torch (legacy)"}[layout]
        assert checkpoint.keys() == ["a", "block.b"]
        assert checkpoint.shape("a") == (3, 4)
        assert checkpoint.dtype("a") == np.float32
        np.testing.assert_array_equal(checkpoint.read("a"), A)
        np.testing.assert_array_equal(checkpoint.read("block.b"), B)


@LAYOUTS
def test_the_name_of_the_file_does_not_matter(tmp_path: Path, layout: str) -> None:
    path = WRITERS[layout](tmp_path / "x.safetensors", mapping(STATE), STORAGES)
    assert list(read_all(path)) == ["a", "block.b"]


def test_a_folder_with_torch_weights(tmp_path: Path) -> None:
    write_zip(tmp_path / "pytorch_model.bin", mapping(STATE), STORAGES)
    assert list(read_all(tmp_path)) == ["a", "block.b"]


@LAYOUTS
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_taken_off(tmp_path: Path, layout: str, prefix: str) -> None:
    state = {prefix + name: value for name, value in STATE.items()}
    path = WRITERS[layout](tmp_path / "x.pth", mapping(state), STORAGES)
    assert list(read_all(path)) == ["a", "block.b"]


def test_prefixes_that_make_two_names_one(tmp_path: Path) -> None:
    state = {"a": tensor("0", (3, 4)), "module.a": tensor("1", (5,))}
    assert "two tensors" in refusal(write_zip(tmp_path / "x.pth", mapping(state), STORAGES))


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "module", "model_state_dict"])
def test_training_checkpoints_are_unwrapped(tmp_path: Path, wrapper: str) -> None:
    averaged = mapping({"a": tensor("1", (5,))})
    content = {"epoch": number(3), "model_ema": averaged, wrapper: mapping(STATE)}
    path = write_zip(tmp_path / "x.pth", mapping(content), STORAGES)
    np.testing.assert_array_equal(read_all(path)["a"], A)


def test_averaged_weights_are_taken_on_request_only(tmp_path: Path) -> None:
    averaged = mapping({"a": tensor("1", (5,))})
    path = write_zip(
        tmp_path / "x.pth", mapping({"state_dict_ema": averaged, "model": mapping(STATE)}), STORAGES
    )
    np.testing.assert_array_equal(read_all(path, "state_dict_ema")["a"], B)
    path = write_zip(tmp_path / "y.pth", mapping({"state_dict_ema": averaged}), {"1": B.tobytes()})
    assert "key= one of: state_dict_ema" in refusal(path)


def test_a_wrapper_inside_a_wrapper(tmp_path: Path) -> None:
    content = mapping({"model": mapping({"state_dict": mapping(STATE)}), "best": tensor("1", (5,))})
    assert list(read_all(write_zip(tmp_path / "x.pth", content, STORAGES))) == ["a", "block.b"]


def test_a_key_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    content = mapping({"student": mapping(STATE), "teacher": mapping(STATE)})
    path = write_zip(tmp_path / "x.pth", content, STORAGES)
    assert list(read_all(path, "teacher")) == ["a", "block.b"]
    assert "key= one of: student, teacher" in refusal(path)
    assert "'ema'; pass key= one of: student, teacher" in refusal(path, "ema")


@pytest.mark.parametrize("content", [number(3), mapping({}), mapping({"a": number(1)}), b"]"])
def test_a_file_without_tensors(tmp_path: Path, content: bytes) -> None:
    refusal(write_zip(tmp_path / "x.pth", content, {}))


def test_what_is_no_tensor_is_listed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pth", mapping({**STATE, "epoch": number(3)}), STORAGES)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.skipped == ("epoch",)


@pytest.mark.parametrize(
    "beside",
    [
        glob("argparse.Namespace") + b")\x81" + mapping({"lr": number(1)}) + b"b",
        call("numpy.core.multiarray.scalar", glob("numpy.dtype"), text("x")),
        call("pathlib.PosixPath", text("out")),
        call("collections.defaultdict", glob("builtins.dict")),
        call("builtins.set", b"]" + number(1) + b"a"),
        call("torch.device", text("cpu")),
    ],
)
def test_what_training_scripts_leave_beside_the_weights(tmp_path: Path, beside: bytes) -> None:
    content = mapping({"args": beside, "model": mapping(STATE)})
    assert list(read_all(write_zip(tmp_path / "x.pth", content, STORAGES))) == ["a", "block.b"]


def test_ordered_dicts_with_attributes(tmp_path: Path) -> None:
    metadata = mapping({"_metadata": call("collections.OrderedDict")})
    items = b"(" + b"".join(text(key) + value for key, value in STATE.items()) + b"u"
    content = call("collections.OrderedDict") + items + metadata + b"b"
    assert list(read_all(write_zip(tmp_path / "x.pth", content, STORAGES))) == ["a", "block.b"]


def test_parameters(tmp_path: Path) -> None:
    hooks = call("collections.OrderedDict")
    parameter = call("torch._utils._rebuild_parameter", tensor("0", (3, 4)), b"\x88", hooks)
    path = write_zip(tmp_path / "x.pth", mapping({"a": parameter}), STORAGES)
    np.testing.assert_array_equal(read_all(path)["a"], A)


@LAYOUTS
def test_views_of_one_storage(tmp_path: Path, layout: str) -> None:
    state = {
        "transposed": tensor("0", (4, 3), stride=(1, 4), count=12),
        "inner": tensor("0", (2, 2), stride=(4, 1), offset=5, count=12),
        "scalar": tensor("0", (), offset=11, count=12),
        "row": tensor("0", (1, 4), stride=(999, 1), offset=4, count=12),
        "empty": tensor("0", (0, 3), count=12),
    }
    path = WRITERS[layout](tmp_path / "x.pth", mapping(state), {"0": A.tobytes()})
    read = read_all(path)
    np.testing.assert_array_equal(read["transposed"], A.T)
    np.testing.assert_array_equal(read["inner"], A[1:, 1:3])
    np.testing.assert_array_equal(read["scalar"], A[2, 3])
    np.testing.assert_array_equal(read["row"], A[1:2])
    assert read["empty"].shape == (0, 3)
    assert all(array.flags.c_contiguous for array in read.values())


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("Double", "<f8"),
        ("Half", "<f2"),
        ("Long", "<i8"),
        ("Int", "<i4"),
        ("Short", "<i2"),
        ("Char", "i1"),
        ("Byte", "u1"),
        ("Bool", "?"),
    ],
)
def test_dtypes(tmp_path: Path, kind: str, dtype: str) -> None:
    values = np.array([1, 0, 1, 1], dtype)
    state = mapping({"a": tensor("0", (4,), kind=kind)})
    read = read_all(write_zip(tmp_path / "x.pth", state, {"0": values.tobytes()}))["a"]
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)


def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3e38, np.inf, 1e-40], "<f4")
    upper_halves = values.view("<u2")[1::2]
    state = mapping({"a": tensor("0", (5,), kind="BFloat16")})
    path = write_zip(tmp_path / "x.pth", state, {"0": upper_halves.tobytes()})
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.dtype("a") == np.float32
        read = checkpoint.read("a")
    np.testing.assert_array_equal(read.view("<u4"), upper_halves.astype("<u4") << 16)


def test_a_big_endian_file(tmp_path: Path) -> None:
    storages = {"0": A.astype(">f4").tobytes(), "1": B.astype(">f4").tobytes()}
    path = write_zip(tmp_path / "x.pth", mapping(STATE), storages, byteorder=b"big")
    read = read_all(path)["a"]
    assert read.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(read, A)


def test_reading_is_lazy(tmp_path: Path) -> None:
    size = 4 * 2**20
    state = {str(i): tensor(str(i), (size // 4,)) for i in range(8)}
    path = write_zip(tmp_path / "x.pth", mapping(state), {key: bytes(size) for key in state})
    tracemalloc.start()
    with open_checkpoint(path) as checkpoint:
        for name in checkpoint:
            checkpoint.read(name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * size


# --- what must not run ---------------------------------------------------------------------------


def hostile_programs(command: str) -> dict[str, bytes]:
    """Pickles that run a shell command in Python's own unpickler."""
    command_tuple = sequence(text(command))
    short_text = b"\x8c" + bytes([len(command)]) + command.encode()
    namespace = glob("argparse.Namespace") + b")\x81"
    state = mapping({"__setstate__": glob("os.system")})
    return {
        "reduce": glob("os.system") + command_tuple + b"R",
        "posix": glob("posix.system") + command_tuple + b"R",
        "eval": call("builtins.eval", text(f"__import__('os').system({command!r})")),
        "subprocess": call("subprocess.check_call", text(command), *[]).replace(
            b"tR", b"J\xff\xff\xff\xffNNNNN\x88\x88tR"
        ),
        "instance": b"(" + text(command) + b"ios\nsystem\n",
        "object": b"(" + glob("os.system") + text(command) + b"o",
        "stack global": text("os") + text("system") + b"\x93" + short_text + b"\x85R",
        "dotted": b"\x80\x04"
        + text("os")
        + text("path.os.system")
        + b"\x93"
        + command_tuple
        + b"R",
        "in a dict": mapping({"model": mapping({"w": glob("os.system") + command_tuple + b"R"})}),
        "in attributes": namespace + mapping({"x": call("os.system", text(command))}) + b"b",
        "set state": namespace + state + b"b" + text(command) + b"b",
        "set state by slots": namespace + b"N" + state + b"\x86b" + text(command) + b"b",
        "popped": glob("os.system") + command_tuple + b"R0" + mapping({}),
        "memo": glob("os.system") + b"q\x000h\x00" + command_tuple + b"R",
    }


HOSTILE = list(hostile_programs(""))


@LAYOUTS
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_does_not_run(tmp_path: Path, layout: str, name: str) -> None:
    sentinel = tmp_path / "ran"
    body = hostile_programs(f"touch {sentinel}")[name]

    code = f"import pickle; pickle.loads({program(body)!r})"
    subprocess.run([sys.executable, "-P", "-c", code], capture_output=True)
    assert sentinel.exists(), "the program is not hostile, so it tests nothing"
    sentinel.unlink()

    assert "refused" in refusal(WRITERS[layout](tmp_path / "x.pth", body, {}))
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "name",
    ["torch.nn.modules.linear.Linear", "builtins.getattr", "torch.hub.load", "torch.jit.load"],
)
def test_another_global_is_named(tmp_path: Path, name: str) -> None:
    message = refusal(write_zip(tmp_path / "x.pth", mapping({"model": glob(name)}), {}))
    assert name in message and "state_dict()" in message


def test_a_global_cannot_put_lines_into_the_message(tmp_path: Path) -> None:
    body = text("os\nDone.") + text("x" * 5000) + b"\x93"
    assert len(refusal(write_zip(tmp_path / "x.pth", body, {}))) < 400


# --- what does not fit together ------------------------------------------------------------------


@LAYOUTS
@pytest.mark.parametrize(
    "wrong",
    [
        tensor("0", (3, 5), count=12),
        tensor("0", (3, 4), offset=1, count=12),
        tensor("0", (3, 4), offset=-1, count=12),
        tensor("0", (3, 4), stride=(5, 1), count=12),
        tensor("0", (3, 4), stride=(-4, 1), offset=8, count=12),
        tensor("0", (3, 4), stride=(0, 0), count=12),
        tensor("0", (10**9,), stride=(0,), count=12),
        tensor("0", (2**62, 2**62), stride=(1, 1), count=12),
        tensor("0", (0, 2**62), count=12),
        tensor("0", (3, 4), stride=(1,), count=12),
        tensor("0", (-3, -4), stride=(4, 1), count=12),
        tensor("0", (1,) * 40, count=12),
        tensor("0", (3, 4), kind="Double", count=12),
        tensor("0", (3, 4), count=13),
        tensor("0", (3, 4), count=-12),
        tensor("0", (2**40,), count=2**40),
        tensor("9", (3, 4)),
        tensor("../data.pkl", (3, 4)),
        tensor("0", (3, 4), kind="QInt8"),
        call("torch._utils._rebuild_tensor_v2", text("x"), number(0), numbers(()), numbers(())),
        call(
            "torch._utils._rebuild_tensor_v2", storage("0", 12), number(0), text("ab"), text("cd")
        ),
        call("torch._utils._rebuild_tensor_v2", storage("0", 12)),
        call("torch._utils._rebuild_parameter", text("x")),
        call("torch._utils._rebuild_parameter"),
    ],
)
def test_a_tensor_that_does_not_fit_its_storage(tmp_path: Path, layout: str, wrong: bytes) -> None:
    refusal(WRITERS[layout](tmp_path / "x.pth", mapping({"a": wrong}), {"0": A.tobytes()}))


def test_one_storage_with_two_types(tmp_path: Path) -> None:
    state = {"a": tensor("0", (12,)), "b": tensor("0", (12,), kind="Int")}
    path = write_zip(tmp_path / "x.pth", mapping(state), {"0": A.tobytes()})
    assert "two ways" in refusal(path)


@pytest.mark.parametrize(
    "body",
    [
        b"R",
        b"u",
        b"h\x07",
        b"}" + sequence(text("a")) + b"R",
        text("a") + text("b") + b"a",
        b"}(" + text("odd") + b"u",
        b"t",
        b"((((",
        b"]b",
        b"\xff",
        b"X\xff\xff\xff\x7f",
        b"\x8d" + b"\xff" * 8,
        b"I1e9\n",
        b"\x82\x01",
        text("persistent") + b"Q",
        b"Pid\n",
    ],
)
@LAYOUTS
def test_a_pickle_that_makes_no_sense(tmp_path: Path, layout: str, body: bytes) -> None:
    refusal(WRITERS[layout](tmp_path / "x.pth", body, {}))


@pytest.mark.parametrize(
    "body",
    [
        b"}" * 17_000_000,
        b"}" * 1_000_000,
        b"(" * 1_000_000,
        b")" + b"\x85" * 1_000_000,
        b"]q\x01" + b"h\x01h\x01e" * 300_000,
        b"]r\xff\xff\xff\x7f",
        b"](" + b"2" * 2_000_000 + b"e",
        mapping({"x": b"]q\x01" + (text("k") * 50_000)})
        + b"".join(b"ccollections\nOrderedDict\nh\x01\x85R0" for _ in range(100_000)),
    ],
    ids=["too long", "dicts", "marks", "nested", "self", "memo index", "dup", "copies"],
)
def test_a_pickle_cannot_take_much_memory(tmp_path: Path, body: bytes) -> None:
    path = write_zip(tmp_path / "x.pth", body, {})
    tracemalloc.start()
    refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * path.stat().st_size + 200 * 2**20


# --- archives ------------------------------------------------------------------------------------


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "x.pth"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", program(mapping({"a": tensor("0", (10**7,))})))
        archive.writestr("archive/data/0", bytes(4 * 10**7))
    assert "compressed" in refusal(bomb)


def test_a_checksum_that_is_wrong(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pth", mapping(STATE), STORAGES)
    content = bytearray(path.read_bytes())
    content[content.index(B.tobytes())] ^= 1
    path.write_bytes(content)
    with open_checkpoint(path) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("a"), A)
        with pytest.raises(CheckpointError, match="checksum"):
            checkpoint.read("block.b")


def test_the_checksum_is_verified_for_a_part_too(tmp_path: Path) -> None:
    state = {"part": tensor("0", (3,), count=12), "rest": tensor("0", (8,), offset=4, count=12)}
    path = write_zip(tmp_path / "x.pth", mapping(state), {"0": A.tobytes()})
    np.testing.assert_array_equal(read_all(path)["rest"], A.ravel()[4:])
    content = bytearray(path.read_bytes())
    content[content.index(A.tobytes()) + 47] ^= 1
    path.write_bytes(content)
    assert "checksum" in refusal(path)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.999])
@LAYOUTS
def test_a_file_cut_short(tmp_path: Path, layout: str, kept: float) -> None:
    path = WRITERS[layout](tmp_path / "x.pth", mapping(STATE), STORAGES)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    refusal(path)


def archive_of(*names: str) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, program(mapping({})))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive_of("a/data.pkl", "b/data.pkl"), "2 data.pkl"),
        (archive_of("a/data.pkl", "a/constants.pkl"), "TorchScript"),
        (archive_of("data.pkl"), "0 data.pkl"),
        (archive_of("notes.txt", "x/y.csv"), "without weights: notes.txt, x/y.csv"),
        (archive_of("config.json", "model.weights.h5"), "keras_vit.load"),
        (archive_of(), "without weights"),
    ],
)
def test_other_archives(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    assert message in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(archive_of("a/data.pkl", "a/data.pkl"))
    assert "twice" in refusal(path)


def test_a_directory_of_a_million_members(tmp_path: Path) -> None:
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", *[0] * 9, *[0] * 9)[:46]
    directory = entry * 200_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, len(directory), 4, 0)
    path = tmp_path / "x.pth"
    path.write_bytes(b"PK\x03\x04" + directory + end)
    tracemalloc.start()
    assert "directory" in refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * path.stat().st_size


# --- random damage -------------------------------------------------------------------------------


def cut(content: bytearray, dice: random.Random) -> bytearray:
    return content[: dice.randrange(len(content))]


def flip(content: bytearray, dice: random.Random) -> bytearray:
    for _ in range(dice.choice([1, 1, 2, 8])):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return content


def overwrite(content: bytearray, dice: random.Random) -> bytearray:
    start, length = dice.randrange(len(content)), dice.choice([1, 2, 4, 8, 32])
    value = dice.choice([b"\x00", b"\xff", b"\x7f", bytes([dice.randrange(256)])])
    content[start : start + length] = (value * length)[: len(content) - start]
    return content


def remove(content: bytearray, dice: random.Random) -> bytearray:
    start = dice.randrange(len(content))
    del content[start : start + dice.choice([1, 4, 64])]
    return content


def insert(content: bytearray, dice: random.Random) -> bytearray:
    start = dice.randrange(len(content))
    content[start:start] = dice.randbytes(dice.choice([1, 4, 64]))
    return content


def double(content: bytearray, dice: random.Random) -> bytearray:
    start = dice.randrange(len(content))
    content[start:start] = content[start : start + 40]
    return content


DAMAGES: list[Callable[[bytearray, random.Random], bytearray]] = [
    cut, flip, overwrite, remove, insert, double
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@LAYOUTS
def test_random_damage_ends_in_one_line(
    tmp_path: Path, layout: str, damage: Callable[[bytearray, random.Random], bytearray]
) -> None:
    path = WRITERS[layout](tmp_path / "x.pth", mapping({"model": mapping(STATE)}), STORAGES)
    whole = path.read_bytes()
    first_value = min(whole.index(content) for content in STORAGES.values())
    for seed in range(60):
        damaged = bytes(damage(bytearray(whole), random.Random(seed)))
        path.write_bytes(damaged)
        try:
            read = read_all(path)
        except CheckpointError as error:
            assert "\n" not in str(error), seed
            continue
        if layout == "zip":
            assert_equal_state(read, seed)
        elif damaged[:first_value] == whole[:first_value]:
            # No checksums: values may differ where bytes do, names and shapes may not.
            assert {name: array.shape for name, array in read.items()} == SHAPES, seed


SHAPES = {"a": (3, 4), "block.b": (5,)}


def assert_equal_state(read: dict[str, np.ndarray], seed: int) -> None:
    assert list(read) == ["a", "block.b"], seed
    np.testing.assert_array_equal(read["a"], A, err_msg=str(seed))
    np.testing.assert_array_equal(read["block.b"], B, err_msg=str(seed))
