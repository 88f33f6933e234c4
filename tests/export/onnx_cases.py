"""Write a Keras model directly and run it in onnxruntime, beside the model: for the tests of the writer."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime

from keras_vit.export import onnx_writer
from keras_vit.export.interface import named, output_names
from keras_vit.export.onnx_options import OnnxOptions
from keras_vit.export.reference import answers
from keras_vit.export.report import Tensor


def exaggerate(model: keras.Model, seed: int = 3) -> keras.Model:
    """Random weights all over, so that none is neutral; variances stay positive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = np.asarray(keras.ops.convert_to_numpy(weight)) + 0.2 * rng.normal(
            size=tuple(weight.shape)
        )
        weight.assign(np.abs(value) + 0.1 if "variance" in weight.path else value)
    return model


def written(
    model: keras.Model, folder: Path, images: np.ndarray, **options: Any
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """(the file, what onnxruntime answers by output name) for a model written directly.

    The full checker has passed, and the outputs have the shapes that the file declares.
    """
    path = folder / "written.onnx"
    chosen = OnnxOptions(**options)
    wanted = Tensor("images", (None, *images.shape[1:]), images.dtype.name)
    onnx_writer.write(model, None, wanted, output_names(model), {}, path, chosen)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    fed = images.transpose(0, 3, 1, 2) if chosen.layout == "nchw" else images
    names = [value.name for value in session.get_outputs()]
    values = session.run(None, {"images": np.ascontiguousarray(fed)})
    for value, output in zip(values, session.get_outputs(), strict=True):
        assert len(value.shape) == len(output.shape)
        assert all(
            s in (d, d) or isinstance(d, str)
            for s, d in zip(value.shape, output.shape, strict=True)
            if s == d or isinstance(d, str)
        )
    return onnx.load(path), dict(zip(names, values, strict=True))


def difference(model: keras.Model, folder: Path, images: np.ndarray, **options: Any) -> float:
    """Largest difference of any output to the model's, in standard deviations of that output."""
    _, actual = written(model, folder, images, **options)
    expected = answers(model, output_names(model), images)
    assert expected.keys() == actual.keys()
    return max(
        float(np.abs(actual[name] - value).max() / value.std()) for name, value in expected.items()
    )


def image_batch(height: int = 32, width: int = 32, channels: int = 3, count: int = 3) -> np.ndarray:
    """Normalised structured images."""
    from keras_vit.export.images import structured_images

    raw = structured_images(height, width, channels)[:count]
    return (raw / 127.5 - 1).astype(np.float32)


def wrapped(layer: Any, shape: tuple[int, ...] = (12, 12, 6)) -> keras.Model:
    """A layer behind a convolution that gives it a map of signed numbers of this shape."""
    images = keras.Input((32, 32, 3), name="images")
    channels = shape[-1]
    x = keras.layers.Conv2D(channels, 32 - shape[0] + 1 if len(shape) == 3 else 4)(images)
    return keras.Model(images, layer(x))


__all__ = ["difference", "exaggerate", "image_batch", "named", "wrapped", "written"]
