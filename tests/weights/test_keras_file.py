"""Saved models that are damaged or hostile: each ends in one clear line, and nothing runs."""

import io
import json
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.errors import CheckpointError
from keras_vit.weights.keras_file import check_keras_file

NAME = "vit_tiny_patch16_224"
SMALL = {"image_size": 16, "patch_size": 8, "depth": 1, "embed_dim": 12, "num_heads": 3}
H5 = "model.weights.h5"
# What Keras takes for a small model beside the file's own size.
SPARE = 16 * 2**20


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = keras_vit.load(NAME, weights=None, num_classes=3, drop_rate=0.1, **SMALL)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.1, weight.shape))
    model.save(tmp_path_factory.mktemp("saved") / "x.keras")
    return tmp_path_factory.getbasetemp() / "saved0" / "x.keras"


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(path: Path, contents: dict[str, bytes], **options: int) -> Path:
    """An archive whose checksums are right, whatever it holds."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def refusal(path: Path) -> str:
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as error:
            keras_vit.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * path.stat().st_size + SPARE
    message = str(error.value)
    assert "\n" not in message and path.name in message
    return message


def with_weights(saved: Path, tmp_path: Path, change: Callable[[h5py.File], None]) -> Path:
    """A copy of the saved model whose HDF5 file was changed."""
    contents = members(saved)
    file = io.BytesIO(contents[H5])
    with h5py.File(file, "r+") as weights:
        change(weights)
    return rewritten(tmp_path / "x.keras", {**contents, H5: file.getvalue()})


def arrays(path: Path) -> list[str]:
    """The paths of all arrays."""
    found: list[str] = []
    with h5py.File(io.BytesIO(members(path)[H5])) as weights:
        weights.visititems(lambda n, o: found.append(n) if isinstance(o, h5py.Dataset) else None)
    return found


def replace(weights: h5py.File, name: str, array: np.ndarray) -> None:
    del weights[name]
    weights[name] = array


# --- what is read --------------------------------------------------------------------------------


def test_a_sound_file_comes_back(saved: Path) -> None:
    again = keras_vit.load(saved)
    assert check_keras_file(saved) == len(arrays(saved)) <= len(again.variables)


def test_a_model_with_an_optimizer_comes_back(saved: Path, tmp_path: Path) -> None:
    model = keras_vit.load(saved)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "x.keras")
    keras_vit.load(tmp_path / "x.keras")


def test_a_model_of_others_comes_back(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.save(tmp_path / "x.keras")
    again = keras_vit.load(tmp_path / "x.keras")
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])


# --- arrays --------------------------------------------------------------------------------------


def one(saved: Path) -> str:
    """The path of a kernel's array."""
    with h5py.File(io.BytesIO(members(saved)[H5])) as weights:
        return next(name for name in arrays(saved) if weights[name].ndim == 2)


DAMAGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "one-row-more": lambda a: np.concatenate([a, a[:1]]),
    "another-axis": lambda a: a[None],
    "flat": lambda a: a.reshape(-1, 1) if a.ndim == 1 else a.ravel(),
    "empty": lambda a: a[:0],
    "nan": lambda a: np.full_like(a, np.nan),
    "infinity": lambda a: np.full_like(a, np.inf),
    "words": lambda a: np.full(a.shape, b"x", "S4"),
}


def damage_array(saved: Path, tmp_path: Path, damage: str, name: str) -> Path:
    def change(weights: h5py.File) -> None:
        replace(weights, name, DAMAGES[damage](weights[name][()]))

    return with_weights(saved, tmp_path, change)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_array(saved: Path, tmp_path: Path, damage: str) -> None:
    refusal(damage_array(saved, tmp_path, damage, one(saved)))


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damaged_array(saved: Path, tmp_path: Path, damage: str) -> None:
    for name in arrays(saved):
        if "seed" not in name:
            refusal(damage_array(saved, tmp_path, damage, name))


def test_a_missing_array(saved: Path, tmp_path: Path) -> None:
    name = one(saved)
    refusal(with_weights(saved, tmp_path, lambda weights: weights.__delitem__(name)))


def test_a_renamed_array(saved: Path, tmp_path: Path) -> None:
    name = one(saved)
    refusal(with_weights(saved, tmp_path, lambda weights: weights.move(name, name + "_old")))


@pytest.mark.parametrize("name", ["other", "layers/other/vars/0"])
def test_an_additional_array(saved: Path, tmp_path: Path, name: str) -> None:
    extra = np.zeros(3, np.float32)

    def change(weights: h5py.File) -> None:
        for number in range(20):  # more than the variables that Keras does not save
            weights[f"{name}{number}"] = extra

    assert "arrays for the model's" in refusal(with_weights(saved, tmp_path, change))


@pytest.mark.parametrize("link", [h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink("/layers")])
def test_an_array_that_lies_elsewhere(saved: Path, tmp_path: Path, link: object) -> None:
    name = one(saved)
    path = with_weights(saved, tmp_path, lambda weights: replace(weights, name, link))
    assert "lies elsewhere" in refusal(path)


def test_an_array_in_another_file(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(1000))
    name = one(saved)

    def change(weights: h5py.File) -> None:
        shape = weights[name].shape
        del weights[name]
        external = [(str(tmp_path / "secret"), 0, 1000)]
        weights.create_dataset(name, shape, "f4", external=external)

    assert "lies elsewhere" in refusal(with_weights(saved, tmp_path, change))


def test_an_array_that_unpacks_to_a_hundred_times_the_file(saved: Path, tmp_path: Path) -> None:
    name = one(saved)

    def change(weights: h5py.File) -> None:
        del weights[name]
        weights.create_dataset(name, (10**4, 10**4), "f4", chunks=(10**3, 10**3), fillvalue=0)

    assert "claim" in refusal(with_weights(saved, tmp_path, change))


# --- the configuration ---------------------------------------------------------------------------


def with_config(saved: Path, tmp_path: Path, change: Callable[[str], str]) -> Path:
    contents = members(saved)
    config = change(contents["config.json"].decode())
    assert config.encode() != contents["config.json"]
    return rewritten(tmp_path / "x.keras", {**contents, "config.json": config.encode()})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"embed_dim": 12', '"embed_dim": 12000000'),
        ('"units": 3', '"units": 100000000'),
        ('"mlp_ratio": 4.0', '"mlp_ratio": 1e9'),
        ("TransformerBlock", "NoSuchBlock"),
        ('"num_heads": 3', '"num_heads": 5'),
        ('"num_heads": 3', '"num_heads": "three"'),
        ('"embed_dim": 12', '"embed_dim": 24'),
        ('{"module"', '{"modul'),
    ],
)
def test_a_configuration_that_does_not_fit(
    saved: Path, tmp_path: Path, before: str, after: str
) -> None:
    refusal(with_config(saved, tmp_path, lambda config: config.replace(before, after)))


@pytest.mark.parametrize("config", ["", "[" * 10**5, "3", "{}", "null", '{"class_name": "x"}'])
def test_a_configuration_that_makes_no_sense(saved: Path, tmp_path: Path, config: str) -> None:
    refusal(with_config(saved, tmp_path, lambda _: config))


def test_a_configuration_larger_than_any_real_one(saved: Path, tmp_path: Path) -> None:
    path = with_config(saved, tmp_path, lambda config: config + " " * (9 * 2**20))
    assert "configuration takes" in refusal(path)


HOSTILE = {
    "a function of os": {"module": "os", "class_name": "system", "config": "touch PLACE"},
    "a function of builtins": {"module": "builtins", "class_name": "eval", "config": "1"},
    "a Lambda": {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {
            "name": "l",
            "function": {
                "class_name": "__lambda__",
                "config": {"code": "4wAAAAA=", "defaults": None, "closure": None},
            },
        },
    },
    "a function of Keras": {
        "module": "keras.utils",
        "class_name": "get_file",
        "config": {"fname": "PLACE", "origin": "file:///etc/passwd"},
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_configuration_does_not_run(saved: Path, tmp_path: Path, name: str) -> None:
    text = json.dumps(HOSTILE[name]).replace("PLACE", str(tmp_path / "ran"))
    refusal(with_config(saved, tmp_path, lambda _: text))
    assert not (tmp_path / "ran").exists()


# --- the archive ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", H5])
def test_a_missing_member(saved: Path, tmp_path: Path, name: str) -> None:
    contents = members(saved)
    del contents[name]
    assert f"it has no {name}" in refusal(rewritten(tmp_path / "x.keras", contents))


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil"])
def test_a_member_that_would_lie_elsewhere(saved: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "inner").mkdir()
    path = rewritten(tmp_path / "inner" / "x.keras", {**members(saved), name: b"x"})
    assert "outside" in refusal(path)
    assert [file.name for file in tmp_path.rglob("*")] == ["inner", "x.keras"]


@pytest.mark.parametrize("name", ["config.json", H5, "metadata.json", "assets/x"])
def test_a_zip_bomb_is_not_unpacked(saved: Path, tmp_path: Path, name: str) -> None:
    contents = {**members(saved), name: bytes(64 * 2**20)}
    path = rewritten(tmp_path / "x.keras", contents, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    assert "compressed" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(4000)])
def test_weights_that_are_none(saved: Path, tmp_path: Path, content: bytes) -> None:
    assert "no HDF5" in refusal(rewritten(tmp_path / "x.keras", {**members(saved), H5: content}))


@pytest.mark.parametrize("share", [*np.arange(0.0, 1.0, 0.05).round(2), 0.999])
def test_a_file_cut_short(saved: Path, tmp_path: Path, share: float) -> None:
    content = saved.read_bytes()
    (tmp_path / "x.keras").write_bytes(content[: int(share * len(content))])
    refusal(tmp_path / "x.keras")


@pytest.mark.parametrize("seeds", [range(i, i + 50) for i in range(0, 200, 50)], ids=str)
def test_a_flipped_bit_is_seen_or_changes_no_member(
    saved: Path, tmp_path: Path, seeds: range
) -> None:
    """Every member has a checksum; beside them, the archive holds dates and the like."""
    content, expected = saved.read_bytes(), members(saved)
    path = tmp_path / "x.keras"
    for seed in seeds:
        dice = random.Random(seed)
        flipped = bytearray(content)
        # Half of them in the last part, where the archive's directory lies.
        first = 0 if seed % 2 else len(content) - 400
        flipped[dice.randrange(first, len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(flipped)
        try:
            check_keras_file(path)
        except CheckpointError as error:
            assert "\n" not in str(error), seed
            continue
        assert {**members(path), "metadata.json": b""} == {**expected, "metadata.json": b""}, seed


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(i, i + 50) for i in range(0, 200, 50)], ids=str)
def test_a_crafted_hdf5_file_ends_in_one_line(saved: Path, tmp_path: Path, seeds: range) -> None:
    """Bits flipped in its first half, where its structure lies, behind a checksum that is right."""
    contents = members(saved)
    for seed in seeds:
        dice = random.Random(seed)
        flipped = bytearray(contents[H5])
        for _ in range(dice.choice([1, 1, 2, 8])):
            flipped[dice.randrange(len(flipped) // 2)] ^= 1 << dice.randrange(8)
        path = rewritten(tmp_path / "x.keras", {**contents, H5: bytes(flipped)})
        try:
            keras_vit.load(path)
        except CheckpointError as error:
            assert "\n" not in str(error), seed
