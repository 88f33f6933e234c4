"""The child process that writes an artifact: a `.keras` file and a request in, a file out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_vit.config import Preprocessing
from keras_vit.export.child import serve
from keras_vit.export.handover import extend_search_path, load
from keras_vit.export.outputs import with_outputs
from keras_vit.export.report import Tensor
from keras_vit.export.serving import Serving


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Load what the parent handed over and write it."""
    extend_search_path(request["search_path"])
    model, front = (load(Path(p)) if p else None for p in (request["model"], request["front"]))
    assert model is not None
    return write(request, model, front)


def write(request: dict[str, Any], model: keras.Model, front: keras.Model | None) -> dict[str, Any]:
    """Write `request["format"]` to `request["artifact"]`.

    Returns:
        `converter`, `outputs`, the `versions` of what worked, and the `weight_bytes` that the
        artifact has to hold.
    """
    path, metadata = Path(request["artifact"]), request["metadata"]
    whole = with_outputs(model, request["own"], request["wanted"])
    images = Tensor.from_dict(request["images"])
    serving = Serving(whole, front, images, request["own"], request["xla"])
    converter = _WRITERS[request["format"]](serving, path, metadata, **request.get("options", {}))
    return {
        "converter": converter,
        "outputs": [output.to_dict() for output in serving.outputs],
        "weight_bytes": serving.weight_bytes,
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }


def _write_savedmodel(
    serving: Serving,
    path: Path,
    metadata: dict[str, Any],
    endpoints: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> str:
    from keras_vit.export import saved_model
    from keras_vit.export.endpoints import functions

    more = functions(endpoints, Preprocessing.from_dict(values), serving) if values else {}
    return saved_model.write(serving, path, metadata, more)


def _write_tflite(serving: Serving, path: Path, metadata: dict[str, Any], **options: Any) -> str:
    from keras_vit.export import tflite, tflite_metadata

    converter = tflite.write(serving, path, **options)
    tflite_metadata.write(path, metadata)
    return converter


def _write_onnx(serving: Serving, path: Path, metadata: dict[str, Any], **options: Any) -> str:
    from keras_vit.export import onnx_fallback

    return onnx_fallback.write(serving, path, metadata, **options)


_WRITERS: dict[str, Callable[..., str]] = {
    "savedmodel": _write_savedmodel,
    "tflite": _write_tflite,
    "onnx": _write_onnx,
}


if __name__ == "__main__":
    serve(main)
