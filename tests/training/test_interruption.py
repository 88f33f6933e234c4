"""Ctrl-C in the middle of training: the process ends soon and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

CODE = """
import sys
import keras, numpy as np
import keras_vit
from keras_vit.config import Preprocessing

images = keras.Input((16, 16, 3))
model = keras.Model(images, keras.layers.Dense(10)(keras.layers.Flatten()(images)))
try:
    keras_vit.train(model, "digits", sys.argv[1], epochs=10_000,
                    preprocessing=Preprocessing((16, 16)),
                    progress=lambda epoch: print("epoch", epoch.number, flush=True))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A shell's background jobs ignore SIGINT, and what they start inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupted_run_leaves_nothing(tmp_path):
    output = tmp_path / "m.keras"
    with subprocess.Popen(
        [sys.executable, "-c", CODE, str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "epoch 1\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=60) == 130
    assert not list(tmp_path.iterdir())
