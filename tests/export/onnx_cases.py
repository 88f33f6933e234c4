"""Write a Keras model directly and run it in onnxruntime, beside the model: for the tests of the writer."""

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime

import keras_vit
from keras_vit.export import onnx_writer
from keras_vit.export.images import structured_images
from keras_vit.export.interface import output_names
from keras_vit.export.onnx_options import OnnxOptions
from keras_vit.export.reference import answers
from keras_vit.export.report import Tensor

VIT = {"image_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 48, "num_classes": 7}
EVA = {**VIT, "num_heads": 3}
CVT = {
    "image_size": 64,
    "embed_dim": (8, 16, 32),
    "depth": (1, 2, 2),
    "num_heads": (1, 2, 4),
    "num_classes": 7,
}


def load(name: str, **arguments: Any) -> keras.Model:
    """A small model of a family, all of whose weights are random."""
    return exaggerate(keras_vit.load(name, weights=None, **arguments))


def exaggerate(model: keras.Model) -> keras.Model:
    """Noise on every weight, so that none is neutral; variances stay positive."""
    rng = np.random.default_rng(3)
    for weight in model.weights:
        value = keras.ops.convert_to_numpy(weight)
        value = value + 0.1 * rng.normal(size=value.shape)
        weight.assign(np.abs(value) + 0.1 if "variance" in weight.path else value)
    return model


def images_for(model: keras.Model, count: int = 3) -> np.ndarray:
    """Normalised structured images of a model's size."""
    height, width, channels = model.inputs[0].shape[1:]
    raw = structured_images(height, width, channels)[:count]
    return (raw / 127.5 - 1).astype(np.float32)


def write(
    model: keras.Model, path: Path, images: np.ndarray, metadata: Any = None, **options: Any
) -> OnnxOptions:
    """Write a model with a free batch, for images like these."""
    chosen = OnnxOptions(**options)
    wanted = Tensor("images", (None, *images.shape[1:]), images.dtype.name)
    onnx_writer.write(model, None, wanted, output_names(model), metadata or {}, path, chosen)
    return chosen


def run(path: Path, images: np.ndarray, layout: str = "nhwc") -> dict[str, np.ndarray]:
    """Every output of a file by name; they have the shapes that it declares."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    fed = images.transpose(0, 3, 1, 2) if layout == "nchw" else images
    values = session.run(None, {"images": np.ascontiguousarray(fed)})
    named = {}
    for output, value in zip(session.get_outputs(), values, strict=True):
        sizes = [len(images) if side == "batch" else side for side in output.shape]
        assert list(value.shape) == sizes
        named[output.name] = value
    return named


def written(
    model: keras.Model, folder: Path, images: np.ndarray, **options: Any
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """(the file, what onnxruntime answers by name); the full checker has passed it."""
    path = folder / "written.onnx"
    chosen = write(model, path, images, **options)
    onnx.checker.check_model(path, full_check=True)
    return onnx.load(path), run(path, images, chosen.layout)


def difference(
    model: keras.Model, folder: Path, images: np.ndarray | None = None, **options: Any
) -> float:
    """Largest difference of any output to the model's, in standard deviations of that output."""
    images = images_for(model) if images is None else images
    _, actual = written(model, folder, images, **options)
    expected = answers(model, output_names(model), images)
    assert expected.keys() == actual.keys()
    return max(
        float(np.abs(actual[name] - value).max() / value.std()) for name, value in expected.items()
    )


def operators(proto: onnx.ModelProto) -> dict[str, int]:
    """How often each operator occurs."""
    names = [node.op_type for node in proto.graph.node]
    return {name: names.count(name) for name in names}


def weight_bytes(proto: onnx.ModelProto) -> int:
    """Bytes of all initializers."""
    return sum(
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in proto.graph.initializer
    )
