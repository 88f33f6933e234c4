"""Write models as SavedModel, TFLite and ONNX files, verified, and open such files again.

Importing this package imports neither Keras nor TensorFlow; opening a TFLite or ONNX file does not
either.

    report = keras_vit.export_model(model, "flowers.onnx", preprocessing="normalize")
    keras_vit.export.open_artifact("flowers.onnx").predict(images)
"""

from typing import TYPE_CHECKING

from keras_vit._lazy import lazy
from keras_vit.export.formats import FORMATS
from keras_vit.export.report import CheckReport, Comparison, ExportReport, Tensor

if TYPE_CHECKING:
    from keras_vit.export.artifact import Artifact, open_artifact
    from keras_vit.export.benchmarking import Latency, Measurement, benchmark
    from keras_vit.export.checking import check
    from keras_vit.export.exporting import export_model

__all__ = [
    "FORMATS",
    "Artifact",
    "CheckReport",
    "Comparison",
    "ExportReport",
    "Latency",
    "Measurement",
    "Tensor",
    "benchmark",
    "check",
    "export_model",
    "open_artifact",
]

_LAZY = {
    "Artifact": "artifact",
    "open_artifact": "artifact",
    "benchmark": "benchmarking",
    "Latency": "benchmarking",
    "Measurement": "benchmarking",
    "check": "checking",
    "export_model": "exporting",
}

__getattr__ = lazy(__name__, _LAZY)
