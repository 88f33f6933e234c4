"""Open a `.keras`, SavedModel, TFLite or ONNX file and run it, whatever it is.

Only the runtime that a format needs is imported, and only when the file is opened: a TFLite or ONNX
file runs without TensorFlow and Keras.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.errors import ExportError, KerasVitError, UsageError
from keras_vit.export import tflite_metadata
from keras_vit.export.child import first_line
from keras_vit.export.formats import recognise
from keras_vit.export.report import Tensor
from keras_vit.export.sidecar import (
    SAVED_MODEL_METADATA,
    SIGNATURE,
    from_properties,
    metadata,
    preprocessing_of,
    read_sidecar,
)

_BATCH = 32  # images at a time, where the artifact's batch is free

Run = Callable[[np.ndarray], dict[str, np.ndarray]]
"""A batch of images -> every output by name."""

Endpoints = Mapping[str, Callable[[Any], dict[str, np.ndarray]]]
"""The signatures of a SavedModel by name; "bytes" takes a list of encoded files."""


@dataclass(frozen=True)
class Runtime:
    """A file opened by the runtime of its format.

    Attributes:
        inputs, outputs: its interface. run: runs one batch.
        embedded: the metadata inside the file, or None.
        endpoints: of a SavedModel.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    run: Run
    embedded: Mapping[str, Any] | None
    endpoints: Endpoints = field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """A model in a file, open and ready to run.

    Attributes:
        path, format: the file, and `"keras"`, `"savedmodel"`, `"tflite"` or `"onnx"`.
        inputs, outputs: its interface.
        metadata: what it says of itself, beside it or inside; empty for a file that is not ours.
        sidecar: the whole JSON beside it, or None.
        embedded: the metadata inside it, or None.
        endpoints: the signatures of a SavedModel by name, `serving_default` among them.
    """

    path: Path
    format: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, Any]
    sidecar: Mapping[str, Any] | None
    embedded: Mapping[str, Any] | None
    _run: Run
    endpoints: Endpoints = field(default_factory=dict)

    @property
    def config(self) -> Mapping[str, Any] | None:
        """The model's configuration as plain data (`ModelConfig.from_dict`), or None."""
        return self.metadata.get("config")

    @property
    def labels(self) -> tuple[str, ...] | None:
        """One name a logit, or None."""
        labels = self.metadata.get("labels")
        return tuple(labels) if labels else None

    @property
    def preprocessing_mode(self) -> str:
        """`"none"` (wants normalised images), `"normalize"`, `"baked"` or `"layer"`: see `export_model`."""
        return (self.metadata.get("preprocessing") or {}).get("mode", "none")

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What the checkpoint wants done to an image, or None where it is not known."""
        return preprocessing_of(self.metadata)

    @property
    def layout(self) -> str:
        """How the file itself has its images: `"nhwc"` or `"nchw"`; they are given as NHWC to both."""
        return (self.metadata.get("preprocessing") or {}).get("layout", "nhwc")

    @property
    def images(self) -> Tensor:
        """Its input as (batch, height, width, channels), whatever the layout."""
        return images_last(self.inputs[0], self.layout)

    @property
    def image_shape(self) -> tuple[int | None, int | None, int | None]:
        """(height, width, channels) of its images; None where any size is taken."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @property
    def batch(self) -> int | None:
        """The batch size that it was written for, or None where it is free."""
        return self.inputs[0].shape[0]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Run any number of images and return the `logits`, or else the first output.

        Args:
            images: (count, height, width, channels) in the artifact's own element type.

        Returns:
            (count, ...) float32.

        Raises:
            UsageError: images of another shape or type.
        """
        outputs = self.run(images)
        return outputs.get("logits", next(iter(outputs.values())))

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Every output by name, for any number of images; see `predict`."""
        images = self._fitting(np.asarray(images))
        size = self.batch or _BATCH
        batches = [
            self._run_padded(images[start : start + size]) for start in range(0, len(images), size)
        ]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

    def run_batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Every output by name, for exactly the batch that is given."""
        return self._run(self._stored(images))

    def call(self, endpoint: str, inputs: np.ndarray | Sequence[bytes]) -> dict[str, np.ndarray]:
        """Every output by name, of one endpoint; a file without endpoints has `serving_default` alone.

        Raises:
            UsageError: it has no such endpoint.
        """
        if endpoint == SIGNATURE:
            return self.run_batch(np.asarray(inputs))
        if endpoint not in self.endpoints:
            known = ", ".join(self.endpoints or [SIGNATURE])
            raise UsageError(f"{self.path.name} has no endpoint {endpoint!r}; it has {known}")
        return self.endpoints[endpoint](inputs)

    def _stored(self, images: np.ndarray) -> np.ndarray:
        """NHWC images as the file takes them."""
        nchw = self.layout == "nchw"
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if nchw else images

    def _run_padded(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """A last batch that is too short for a fixed batch size is filled up with its last image."""
        count = len(images)
        if self.batch is not None and count < self.batch:
            images = np.concatenate([images, np.repeat(images[-1:], self.batch - count, axis=0)])
        return {name: value[:count] for name, value in self.run_batch(images).items()}

    def _fitting(self, images: np.ndarray) -> np.ndarray:
        """The images, checked against the input; floats are cast, integers never become floats."""
        wanted = self.images
        fits = images.ndim == len(wanted.shape) and all(
            side in (None, given)
            for side, given in zip(wanted.shape[1:], images.shape[1:], strict=True)
        )
        if not fits or not len(images):
            raise UsageError(f"{self.path.name} takes {wanted}; received shape {images.shape}")
        floats = np.issubdtype(images.dtype, np.floating) and wanted.dtype.startswith("float")
        if images.dtype.name != wanted.dtype and not floats:
            raise UsageError(f"{self.path.name} takes {wanted}; received {images.dtype} images")
        return np.ascontiguousarray(images, wanted.dtype)


def open_artifact(path: str | os.PathLike[str], threads: int | None = None) -> Artifact:
    """Open a model file of any format.

    Args:
        path: a `.keras`, `.tflite` or `.onnx` file, or a SavedModel folder.
        threads: of a TFLite or ONNX file's runtime; None is its own choice. TensorFlow and Keras have one
            number for the whole process.

    Raises:
        UsageError: nothing is there. ExportError: its runtime cannot open it.
    """
    path = Path(path)
    format = recognise(path)
    sidecar = read_sidecar(path)
    try:
        runtime = _RUNTIMES[format](path, threads)
    except KerasVitError:
        raise
    except Exception as error:
        reason = first_line(error)[:300]
        raise ExportError(f"{path} cannot be opened as {format}: {reason}") from error
    if not runtime.inputs or not runtime.outputs:
        raise ExportError(f"{path} has no inputs or no outputs")
    return Artifact(
        path=path,
        format=format,
        inputs=runtime.inputs,
        outputs=runtime.outputs,
        metadata=sidecar or runtime.embedded or {},
        sidecar=sidecar,
        embedded=runtime.embedded,
        _run=runtime.run,
        endpoints=runtime.endpoints,
    )


def images_last(tensor: Tensor, layout: str) -> Tensor:
    """An input of a layout, as (batch, height, width, channels)."""
    if layout == "nhwc" or len(tensor.shape) != 4:
        return tensor
    batch, channels, height, width = tensor.shape
    return dataclasses.replace(tensor, shape=(batch, height, width, channels))


def _open_onnx(path: Path, threads: int | None) -> Runtime:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = threads or 0  # its own choice
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs, outputs = (
        tuple(
            Tensor(
                value.name,
                tuple(side if isinstance(side, int) else None for side in value.shape),
                _ONNX_TYPES.get(value.type, value.type),
            )
            for value in values
        )
        for values in (session.get_inputs(), session.get_outputs())
    )

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        values = session.run(None, {inputs[0].name: images})
        return {output.name: value for output, value in zip(outputs, values, strict=True)}

    properties = session.get_modelmeta().custom_metadata_map
    return Runtime(inputs, outputs, run, from_properties(properties))


_ONNX_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
}


def _open_tflite(path: Path, threads: int | None) -> Runtime:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads or os.cpu_count())
    signatures = interpreter.get_signature_list()
    key = SIGNATURE if SIGNATURE in signatures else next(iter(signatures), None)
    if key is None:
        raise ExportError(f"{path} has no signature, so that its inputs have no names")
    runner = interpreter.get_signature_runner(key)
    inputs, outputs = (
        tuple(
            Tensor(
                name,
                tuple(None if side < 0 else int(side) for side in detail["shape_signature"]),
                np.dtype(detail["dtype"]).name,
            )
            for name, detail in details.items()
        )
        for details in (runner.get_input_details(), runner.get_output_details())
    )

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return runner(**{inputs[0].name: images})

    return Runtime(inputs, outputs, run, tflite_metadata.read(path))


def _open_savedmodel(path: Path, _: int | None) -> Runtime:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    if SIGNATURE not in loaded.signatures:
        raise ExportError(f"{path} has no signature {SIGNATURE}")
    function = loaded.signatures[SIGNATURE]
    endpoints = {name: _caller(loaded, name) for name in loaded.signatures}
    specs = function.structured_input_signature[1]
    inputs = tuple(_from_spec(name, spec) for name, spec in specs.items())
    outputs = tuple(_from_spec(name, s) for name, s in function.structured_outputs.items())

    extra = path / SAVED_MODEL_METADATA
    embedded = json.loads(extra.read_text()) if extra.is_file() else None
    return Runtime(inputs, outputs, endpoints[SIGNATURE], embedded, endpoints)


def _caller(loaded: Any, signature: str) -> Callable[[Any], dict[str, np.ndarray]]:
    """A signature as a function of its one input."""
    import tensorflow as tf

    def run(values: Any) -> dict[str, np.ndarray]:
        # By way of `loaded`, which keeps the variables alive.
        function = loaded.signatures[signature]
        (name,) = function.structured_input_signature[1]
        return {k: value.numpy() for k, value in function(**{name: tf.constant(values)}).items()}

    return run


def _from_spec(name: str, spec: Any) -> Tensor:
    shape = spec.shape.as_list() if spec.shape.rank is not None else []
    return Tensor(name, tuple(shape), spec.dtype.name)


def _open_keras(path: Path, _: int | None) -> Runtime:
    import keras

    import keras_vit.models  # noqa: F401 registers the classes
    from keras_vit.counting import known_counts
    from keras_vit.export.interface import configuration, image_shape, named, output_names

    model: Any = keras.saving.load_model(path, compile=False)
    names = output_names(model)
    images = Tensor("images", (None, *image_shape(model)), model.inputs[0].dtype)
    outputs = tuple(
        Tensor(name, tuple(value.shape), value.dtype)
        for name, value in named(model.output, names).items()
    )

    def run(batch: np.ndarray) -> dict[str, np.ndarray]:
        return named(model.predict_on_batch(batch), names)

    config = configuration(model)
    embedded = metadata(
        name=model.name,
        config=config,
        labels=config.labels if config else None,
        mode="none",
        input_dtype=images.dtype,
        image_size=config.preprocessing.image_size if config else None,
        backend=keras.backend.backend(),
        counts=known_counts(model),
    )
    return Runtime((images,), outputs, run, embedded)


_RUNTIMES: Mapping[str, Callable[[Path, int | None], Runtime]] = {
    "keras": _open_keras,
    "savedmodel": _open_savedmodel,
    "tflite": _open_tflite,
    "onnx": _open_onnx,
}
