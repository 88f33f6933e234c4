import importlib
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_vit.export import handover
from keras_vit.export.child import ReloadError
from keras_vit.export.reference import answers


def images_of(model: keras.Model) -> np.ndarray:
    shape = (2, *model.inputs[0].shape[1:])
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return answers(model, ["logits"], images)["logits"]


def test_model_comes_back_without_its_optimizer(build: Any, tmp_path: Path) -> None:
    model = build()
    model.compile("adamw", "mse")
    model.optimizer.build(model.trainable_variables)
    handover.save(model, tmp_path / "m.keras")
    weight_bytes = sum(4 * int(np.prod(weight.shape)) for weight in model.weights)
    assert (tmp_path / "m.keras").stat().st_size < 2 * weight_bytes
    images = images_of(model)
    back = handover.load(tmp_path / "m.keras")
    np.testing.assert_allclose(logits(back, images), logits(model, images), atol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_rebuilt_in_float32(build: Any, tmp_path: Path, dtype: str) -> None:
    """Float32 answers of the same weights; bfloat16 would be a hundredth off."""
    model = build(dtype=dtype)
    assert not handover.is_float32(model)
    rebuilt = handover.save_float32(model, tmp_path / "m.keras")
    assert handover.is_float32(rebuilt)
    assert rebuilt.dtype == "float32"
    twin = build()
    twin.set_weights([weight.astype("float32") for weight in model.get_weights()])
    images = images_of(twin)
    np.testing.assert_allclose(logits(rebuilt, images), logits(twin, images), atol=1e-5)


def test_float32_model_is_not_rebuilt(model: Any, tmp_path: Path) -> None:
    assert handover.save_float32(model, tmp_path / "m.keras") is model


def test_layers_of_the_users_own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not registered with Keras, and found by the module that the file names."""
    (tmp_path / "my_layers.py").write_text(
        "import keras\n"
        "class Twice(keras.layers.Layer):\n"
        "    def call(self, inputs):\n"
        "        return inputs * 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    layer = importlib.import_module("my_layers").Twice()
    images = keras.Input((4, 4, 3))
    handover.save(keras.Model(images, layer(images)), tmp_path / "m.keras")
    monkeypatch.delitem(sys.modules, "my_layers")
    ones = np.ones((1, 4, 4, 3), np.float32)
    np.testing.assert_array_equal(logits(handover.load(tmp_path / "m.keras"), ones), 2 * ones)


def test_layer_that_nobody_can_find(tmp_path: Path) -> None:
    class Hidden(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    images = keras.Input((4, 4, 3))
    handover.save(keras.Model(images, Hidden()(images)), tmp_path / "m.keras")
    with pytest.raises(ReloadError, match="Could not locate class 'Hidden'"):
        handover.load(tmp_path / "m.keras")


def test_users_folders_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with an `onnx.py` in it must not hide ONNX."""
    monkeypatch.setattr(sys, "path", ["/installed"])
    handover.extend_search_path(["/mine", "/installed"])
    assert sys.path == ["/installed", "/mine"]
