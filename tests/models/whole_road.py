"""What users do with a loaded model, to the end."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

import keras_vit
from keras_vit.models import VisionModel


def with_noise(model: VisionModel) -> VisionModel:
    """Weights large enough that every part shows."""
    rng = np.random.default_rng(1)
    for variable in model.weights:
        noise = rng.normal(0, 0.2, variable.shape)
        variable.assign(variable + (np.abs(noise) if "variance" in variable.path else noise))
    return model


def tuned_saved_exported(
    model: VisionModel, images: np.ndarray, folder: Path, still: Sequence[str] = ()
) -> None:
    """One step that moves every weight but `still`, saved, reloaded bit-equal, exported and verified."""
    before = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss=loss)
    model.fit(images, np.arange(4), batch_size=4, verbose=0)
    after = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}
    assert [path for path in before if np.array_equal(before[path], after[path])] == list(still)
    model.save(folder / "tuned.keras")
    again = keras_vit.load(folder / "tuned.keras")
    expected = model.predict(images, verbose=0)
    np.testing.assert_array_equal(again.predict(images, verbose=0), expected)
    for name in ("tuned", "tuned.tflite", "tuned.onnx"):
        report = keras_vit.export_model(again, folder / name)
        assert report.verified
        assert report.writer in ("", "direct")
