"""Plain Keras models, layers of one's own, and exports that go wrong half way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_vit.errors import ExportError
from keras_vit.export import export_model, open_artifact


def plain_model(*layers: keras.layers.Layer) -> keras.Model:
    """Patches, attention, an exact GELU and a head, all of Keras' own layers, and then `layers`."""
    keras.utils.set_random_seed(5)
    images = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(24, 4, 4)(images)
    x = keras.layers.Reshape((16, 24))(x)
    y = keras.layers.LayerNormalization(epsilon=1e-6)(x)
    x = x + keras.layers.MultiHeadAttention(3, 8)(y, y)
    x = x + keras.layers.Dense(24, activation="gelu")(x)
    x = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling1D()(x))
    for layer in layers:
        x = layer(x)
    return keras.Model(images, x)


@pytest.mark.slow
def test_plain_model_with_a_layer_in_front_and_any_batch(tmp_path: Path) -> None:
    model = plain_model()
    front = keras.layers.Rescaling(1 / 127.5, offset=-1)
    (tmp_path / "m.tflite").write_text("an older export")
    report = export_model(
        model,
        tmp_path / "m.tflite",
        batch="dynamic",
        preprocessing=front,
        labels="abcd",
        overwrite=True,
    )
    assert report.batches == (1, 2, 7)
    artifact = open_artifact(tmp_path / "m.tflite")
    assert (artifact.preprocessing_mode, artifact.labels) == ("layer", ("a", "b", "c", "d"))
    images = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    expected = np.asarray(model(images / np.float32(127.5) - 1))
    np.testing.assert_allclose(artifact.predict(images), expected, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.tflite", "m.tflite.json"]


ABORTING = """
import os, keras

@keras.saving.register_keras_serializable("tests")
class Aborting(keras.layers.Layer):
    "Ends every process but the one of the test, as a native converter's failed assertion does."
    def call(self, inputs):
        if os.environ["ABORTING_PARENT"] != str(os.getpid()):
            os.abort()
        return inputs
"""


@pytest.mark.slow
def test_native_abort_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules, output = tmp_path / "modules", tmp_path / "output"
    modules.mkdir()
    output.mkdir()
    (modules / "aborting.py").write_text(ABORTING)
    monkeypatch.syspath_prepend(modules)
    monkeypatch.setenv("ABORTING_PARENT", str(os.getpid()))
    from aborting import Aborting

    with pytest.raises(ExportError, match="convert_child was ended by SIGABRT in native code"):
        export_model(plain_model(Aborting()), output / "m.onnx")
    assert list(output.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("onnx", r"operator Erfinv \(node '.*strange.*'\) is not in opset 18 of ONNX"),
        ("tflite", r"TFLite has no builtin operator for Erfinv \(at .*strange"),
    ],
)
def test_operation_that_the_format_lacks(tmp_path: Path, format: str, message: str) -> None:
    """Named with its layer, by the converter's side of the hand-over, run here."""
    from keras_vit.export.convert_child import write
    from keras_vit.export.report import Tensor

    class Strange(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return keras.ops.erfinv(inputs)

    request = {
        "format": format,
        "artifact": str(tmp_path / "m"),
        "metadata": {},
        "images": Tensor("images", (1, 16, 16, 3), "float32").to_dict(),
        "own": ["logits"],
        "wanted": None,
        "xla": False,
    }
    with pytest.raises(ExportError, match=message):
        write(request, plain_model(Strange()), None)
    assert list(tmp_path.iterdir()) == []


INTERRUPTED = """
import signal, sys
import keras
import keras_vit
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's is ignored
images = keras.Input((16, 16, 3))
model = keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(images)))
try:
    keras_vit.export_model(model, sys.argv[1])
except KeyboardInterrupt:
    sys.exit(7)
"""


def test_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(tmp_path / "m.tflite")])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".m.tflite.*/*convert_child.log")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_class_of_no_module_is_converted_here(tmp_path: Path) -> None:
    class Local(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs + 1

    report = export_model(plain_model(Local()), tmp_path / "model")
    assert report.verified
    assert "converted in this process" in report.notes[0]
