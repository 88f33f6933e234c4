"""Checkpoints hold every bit, and their name only ever holds a whole one."""

import os

import keras
import numpy as np
import pytest

from keras_vit.errors import KerasVitError
from keras_vit.training.checkpoints import (
    Checkpoint,
    CheckpointFile,
    metrics_of,
    restore,
    values,
    variables_of,
)

ARRAYS = {
    "a": np.array(1.5, np.float32),
    "b": np.arange(6, dtype=np.uint32).reshape(2, 3),
    "c": np.array([True, False]),
    "d": np.zeros((0, 4), np.float64),
    "e": np.array([np.nan, -0.0, np.inf], np.float16),
    "f": np.array(2**60),
}


@pytest.fixture
def file(tmp_path):
    file = CheckpointFile(tmp_path / "last.safetensors")
    yield file
    file.close()


def _written(file: CheckpointFile, arrays, record) -> None:
    file.write(Checkpoint(arrays, record))
    file.wait()


def test_what_was_written_is_read_bit_for_bit(file):
    _written(file, ARRAYS, {"step": 3, "rows": [{"loss": 0.1}]})
    found = file.read()
    assert found.record == {"step": 3, "rows": [{"loss": 0.1}]}
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype and found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()


def test_there_is_none_at_first(file):
    assert file.read() is None


def test_the_newest_one_is_read(file):
    for step in range(3):
        file.write(Checkpoint(ARRAYS, {"step": step}))
    file.wait()
    assert file.read().record == {"step": 2}
    assert [p.name for p in file.path.parent.iterdir()] == ["last.safetensors"]


def test_others_may_read_it(file):
    _written(file, ARRAYS, {})
    plain = file.path.with_name("plain")
    plain.touch()
    assert file.path.stat().st_mode == plain.stat().st_mode


def test_one_that_cannot_be_written_leaves_the_old_one(file, monkeypatch):
    _written(file, ARRAYS, {"step": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    file.write(Checkpoint(ARRAYS, {"step": 2}))
    with pytest.raises(KerasVitError, match=r"cannot write .*last\.safetensors: .*No space left"):
        file.wait()
    assert file.read().record == {"step": 1}
    assert [p.name for p in file.path.parent.iterdir()] == ["last.safetensors"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_one_is_one_line(file, share):
    _written(file, ARRAYS, {"step": 1})
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(KerasVitError, match=r"last\.safetensors is damaged"):
        file.read()


@pytest.fixture
def compiled():
    """A function that makes the same small compiled model, with other values each time."""

    def make(units: int = 4) -> keras.Model:
        images = keras.Input((3,))
        x = keras.layers.Dropout(0.5)(keras.layers.Dense(units, name="first")(images))
        model = keras.Model(images, keras.layers.Dense(2, dtype="bfloat16", name="last")(x))
        model.compile(keras.optimizers.AdamW(0.1), "mse", metrics=["mae"])
        return model

    return make


def _fitted(model: keras.Model) -> keras.Model:
    draws = np.random.default_rng(0)
    data = draws.normal(size=(8, 3)), draws.normal(size=(8, 2))
    model.fit(*data, batch_size=4, verbose=0)
    return model


def test_variables_are_weights_seeds_and_the_optimizers(compiled):
    model = _fitted(compiled())
    names = list(variables_of(model))
    assert sum("seed" in variable.path for variable in variables_of(model).values()) == 1
    assert sum(name.startswith("model.") for name in names) == len(model.weights) + 1
    assert sum(name.startswith("optimizer.") for name in names) == len(model.optimizer.variables)
    assert names == sorted(names)
    assert len(metrics_of(model)) == 4


def test_a_model_gets_its_state_back_from_the_file(compiled, file):
    model = _fitted(compiled())
    kept = values(variables_of(model))
    _written(file, kept, {})
    other = compiled()
    restore(variables_of(other), file.read().arrays)
    for name, array in values(variables_of(other)).items():
        np.testing.assert_array_equal(array, kept[name], name)


def test_copies_do_not_follow_the_model(compiled):
    model = _fitted(compiled())
    kept = values(variables_of(model))
    before = {name: array.copy() for name, array in kept.items()}
    _fitted(model)
    for name, array in kept.items():
        np.testing.assert_array_equal(array, before[name], name)


def test_a_model_of_another_shape_is_refused_and_left_as_it_is(compiled):
    kept, other = values(variables_of(_fitted(compiled()))), compiled(5)
    before = values(variables_of(other))
    with pytest.raises(KerasVitError, match=r"another model: it has shape \(3, 4\) for .*kernel"):
        restore(variables_of(other), kept)
    for name, array in values(variables_of(other)).items():
        np.testing.assert_array_equal(array, before[name], name)


def test_a_model_with_more_variables_is_refused(compiled):
    kept = values(variables_of(compiled()))
    with pytest.raises(KerasVitError, match="it has nothing for"):
        restore({**variables_of(compiled()), "model.000099": keras.Variable(0.0)}, kept)


def test_a_model_with_fewer_variables_is_refused(compiled):
    kept = values(variables_of(compiled()))
    with pytest.raises(KerasVitError, match="arrays for"):
        restore(variables_of(compiled()), {**kept, "model.000099": np.zeros(())})
