"""Checkpoints that are whole files of wrong contents: every one ends in one clear line.

Every tensor of a small ViT is damaged in every way, in every format, and read into variables; so are
files cut short and with flipped bits. Damage inside the containers, and pickles that want to run
something, are in test_files.py and test_torch_zip.py.
"""

import hashlib
import random
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from keras_vit.errors import CheckpointError, UsageError
from keras_vit.weights.adapt import Geometry
from keras_vit.weights.checksum import require_sha256
from keras_vit.weights.files import open_checkpoint
from keras_vit.weights.fill import fill
from keras_vit.weights.report import LoadReport
from keras_vit.weights.vision_transformer import TIMM

D, M, CLASSES = 6, 8, 3
GEOMETRY = Geometry((2, 2), (2, 2), (4, 4), 1, "bicubic", "bicubic")
SHAPES = {
    "embedding/cls_token": (1, 1, D),
    "embedding/pos_embed": (1, 5, D),
    "patch_embed/proj/kernel": (4, 4, 3, D),
    "patch_embed/proj/bias": (D,),
    "blocks_0/norm1/gamma": (D,),
    "blocks_0/norm1/beta": (D,),
    "blocks_0/attn/qkv/kernel": (D, 3 * D),
    "blocks_0/attn/qkv/bias": (3 * D,),
    "blocks_0/attn/proj/kernel": (D, D),
    "blocks_0/attn/proj/bias": (D,),
    "blocks_0/norm2/gamma": (D,),
    "blocks_0/norm2/beta": (D,),
    "blocks_0/mlp/fc1/kernel": (D, M),
    "blocks_0/mlp/fc1/bias": (M,),
    "blocks_0/mlp/fc2/kernel": (M, D),
    "blocks_0/mlp/fc2/bias": (D,),
    "norm/gamma": (D,),
    "norm/beta": (D,),
    "head/kernel": (D, CLASSES),
    "head/bias": (CLASSES,),
}
Tensors = Mapping[str, np.ndarray]
Write = Callable[[Path, Tensors], None]
# What a small file may take, beyond twice its size: the libraries' own buffers.
SPARE = 32 * 2**20


@dataclass
class Variable:
    """What `fill` needs of a Keras variable."""

    path: str
    shape: tuple[int, ...]
    value: np.ndarray | None = None

    def assign(self, value: np.ndarray) -> None:
        assert value.shape == self.shape
        self.value = value


def names() -> list[str]:
    return [row.names[0] for row in map(TIMM.find, SHAPES) if row is not None]


def whole() -> dict[str, np.ndarray]:
    """A sound checkpoint, in timm's names and shapes."""
    rng = np.random.default_rng(0)
    arrays = {}
    for path, shape in SHAPES.items():
        row = TIMM.find(path)
        assert row is not None
        (array,) = TIMM.from_keras(row, rng.normal(size=shape).astype(np.float32), {})
        arrays[row.names[0]] = np.ascontiguousarray(array)
    return arrays


def load(path: Path, **arguments: bool) -> tuple[LoadReport, list[Variable]]:
    variables = [Variable(name, shape) for name, shape in SHAPES.items()]
    with open_checkpoint(path) as checkpoint:
        report = fill(
            variables,
            checkpoint.renamed(TIMM.spelled),
            TIMM,
            GEOMETRY,
            {},
            source=path.name,
            layout_name="timm",
            **arguments,
        )
    return report, variables


def refusal(path: Path) -> str:
    """The one line with which a file is refused; what it takes in memory is bounded."""
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as error:
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * path.stat().st_size + SPARE
    message = str(error.value)
    assert "\n" not in message and path.name in message
    return message


def test_a_sound_file_is_read(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "x", whole())
    report, variables = load(tmp_path / "x")
    assert report.loaded == tuple(names())
    expected = whole()
    for name, variable in zip(names(), variables, strict=True):
        row = TIMM.find(variable.path)
        assert row is not None and variable.value is not None
        np.testing.assert_array_equal(variable.value, TIMM.to_keras(row, [expected[name]]))


# --- one tensor ----------------------------------------------------------------------------------


def one_row_more(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, array[:1]])


def last_axis_longer(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, array[..., :1]], axis=-1)


def another_axis(array: np.ndarray) -> np.ndarray:
    return array[None]


def flat(array: np.ndarray) -> np.ndarray:
    return array.ravel() if array.ndim > 1 else array.reshape(-1, 1)


def empty(array: np.ndarray) -> np.ndarray:
    return array[:0]


def scalar(array: np.ndarray) -> np.ndarray:
    return np.float32(1).reshape(())


def with_a(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def damage(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.flat[array.size // 2] = value
        return array

    return damage


def of_dtype(dtype: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: array.astype(dtype)


DAMAGES: dict[str, Callable[[np.ndarray], np.ndarray | None]] = {
    "missing": lambda array: None,
    "one-row-more": one_row_more,
    "last-axis-longer": last_axis_longer,
    "another-axis": another_axis,
    "flat": flat,
    "empty": empty,
    "scalar": scalar,
    "nan": with_a(np.nan),
    "infinity": with_a(-np.inf),
    "int64": of_dtype("int64"),
    "uint8": of_dtype("uint8"),
    "bool": of_dtype("bool"),
}


# Patches of another size are no damage: their kernel is resized.
RESIZED = ("last-axis-longer", "patch_embed.proj.weight")
CASES = [(d, name) for d in DAMAGES for name in names() if (d, name) != RESIZED]


def refused_with(tmp_path: Path, write: Write, damage: str, name: str) -> str:
    tensors: dict[str, np.ndarray] = whole()
    damaged = DAMAGES[damage](tensors.pop(name))
    if damaged is not None:
        tensors[name] = damaged
    write(tmp_path / "x", tensors)
    return refusal(tmp_path / "x")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_tensor(tmp_path: Path, write: Write, damage: str) -> None:
    name = "blocks.0.attn.qkv.weight"
    assert name in refused_with(tmp_path, write, damage, name)


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "name"), CASES)
def test_every_damaged_tensor(tmp_path: Path, write: Write, damage: str, name: str) -> None:
    """239 for each format."""
    assert name in refused_with(tmp_path, write, damage, name)


@pytest.mark.parametrize("name", names())
def test_a_renamed_tensor(tmp_path: Path, write: Write, name: str) -> None:
    tensors = whole()
    tensors[f"{name}_old"] = tensors.pop(name)
    write(tmp_path / "x", tensors)
    message = refusal(tmp_path / "x")
    assert f"missing: {name}" in message and f"no use to this model: {name}_old" in message


@pytest.mark.parametrize(
    "name", ["other", "blocks.1.norm1.weight", "blocks.x.norm1.weight", "", "ä"]
)
def test_an_additional_tensor(tmp_path: Path, write: Write, name: str) -> None:
    write(tmp_path / "x", {**whole(), name: np.zeros(3, np.float32)})
    assert "of no use to this model" in refusal(tmp_path / "x")


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_real_numbers_are_read(tmp_path: Path, write: Write, dtype: str) -> None:
    write(tmp_path / "x", {name: array.astype(dtype) for name, array in whole().items()})
    assert load(tmp_path / "x")[0].loaded == tuple(names())


# --- bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [*np.arange(0.0, 1.0, 0.05).round(2), 0.999])
def test_a_file_cut_short(tmp_path: Path, write: Write, share: float) -> None:
    write(tmp_path / "whole", whole())
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "x").write_bytes(content[: int(share * len(content))])
    refusal(tmp_path / "x")


def flips(content: bytes, count: int) -> list[bytes]:
    """Copies of a file with one bit flipped, each elsewhere."""
    dice = random.Random(0)
    copies = []
    for _ in range(count):
        place = dice.randrange(len(content))
        bit = 1 << dice.randrange(8)
        copies.append(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
    return copies


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_a_flipped_bit_is_seen_or_changes_no_name_or_shape(
    tmp_path: Path, write: Write, format_name: str
) -> None:
    """Zip archives have checksums, so that a weight is right or refused. The others have none."""
    write(tmp_path / "whole", whole())
    _, expected = load(tmp_path / "whole")
    for number, content in enumerate(flips((tmp_path / "whole").read_bytes(), 300)):
        (tmp_path / "x").write_bytes(content)
        try:
            _, variables = load(tmp_path / "x")
        except CheckpointError as error:
            assert "\n" not in str(error), number
            continue
        for ours, theirs in zip(variables, expected, strict=True):
            assert ours.value is not None and theirs.value is not None, number
            if format_name in ("npz", "torch"):
                np.testing.assert_array_equal(ours.value, theirs.value, err_msg=str(number))


def test_every_flipped_bit_is_seen_with_a_sha256(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "whole", whole())
    content = (tmp_path / "whole").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    require_sha256(tmp_path / "whole", sha256.upper())
    for flipped in flips(content, 50):
        (tmp_path / "x").write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"x is not the expected file"):
            require_sha256(tmp_path / "x", sha256)


@pytest.mark.parametrize("sha256", ["", "0" * 63, "g" * 64, "0" * 65])
def test_a_sha256_that_is_none(tmp_path: Path, sha256: str) -> None:
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        require_sha256(tmp_path / "x", sha256)


def test_a_folder_has_no_sha256(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        require_sha256(tmp_path, "0" * 64)


def test_a_file_that_is_not_there_has_no_sha256(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        require_sha256(tmp_path / "x", "0" * 64)


# --- archives ------------------------------------------------------------------------------------

TRICKS = [
    "../../x.npy",
    "/etc/x.npy",
    "C:\\x.npy",
    "a\\..\\..\\x.npy",
    "./cls_token.npy",
    "\x00.npy",
]


@pytest.mark.parametrize("member", TRICKS)
def test_a_path_in_an_npz_is_a_name_and_nothing_else(tmp_path: Path, member: str) -> None:
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "x"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in {**dict.fromkeys([member], np.zeros(3, "f4"))}.items():
            with archive.open(name, "w") as file:
                np.lib.format.write_array(file, array)
    refusal(path)
    assert [file.name for file in tmp_path.rglob("*")] == ["inner", "x"]


@pytest.mark.parametrize("member", ["archive/../../data/0", "/etc/passwd", "archive/data/../0"])
def test_a_path_in_a_torch_file_is_a_name_and_nothing_else(tmp_path: Path, member: str) -> None:
    path = tmp_path / "x"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr(member, bytes(12))
    refusal(path)
    assert [file.name for file in tmp_path.rglob("*")] == ["x"]


@pytest.mark.parametrize("member", ["cls_token.npy", "archive/data.pkl"])
def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, member: str) -> None:
    """200 MB of zeros in 200 kB."""
    path = tmp_path / "x"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(member, "w") as file,
    ):
        for _ in range(200):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**18
    assert "compressed" in refusal(path)
