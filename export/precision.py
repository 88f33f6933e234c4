"""The precisions that a file can be written in: what each needs, and what it has to keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from keras_vit.config import Preprocessing
from keras_vit.errors import UsageError
from keras_vit.export.agreement import Bar

PRECISIONS = ("float32", "float16", "int8-dynamic", "int8")

TARGET = 0.985
"""The share of images on which a file in a lower precision has to keep the model's top-1."""

WEIGHT_BYTES: Mapping[str, int] = MappingProxyType(
    {"float32": 4, "float16": 2, "int8-dynamic": 1, "int8": 1}
)
"""Bytes that a weight has at least."""

_COSINES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"float16": (0.9999, 0.999), "int8-dynamic": (0.995, 0.95), "int8": (0.95, 0.7)}
)
"""Mean and lowest cosine of the answers with the model's, below which a file is taken for broken.

On self-supervised features of ViT-S/14, int8-dynamic has 0.999 and 0.996, static int8 0.985 and 0.951.
"""


@dataclass(frozen=True, eq=False)
class Precision:
    """How exactly a file computes.

    Attributes:
        name: one of `PRECISIONS`.
        calibration: the user's images (`Calibration`), or None.
        target: top-1 agreement to keep on those that are held out, 0..1.
    """

    name: str = "float32"
    calibration: Any = None
    target: float = TARGET

    @property
    def is_lower(self) -> bool:
        """Whether it is lower than float32."""
        return self.name != "float32"

    @property
    def bar(self) -> Bar | None:
        """What a file in it has to reach; None in float32, where a difference is compared."""
        return bar_of(self.name, None if self.calibration is None else self.target)

    def notes(self, format: str) -> tuple[str, ...]:
        """What the user should know of a file of this format in it."""
        found = _NOTES.get((self.name, format))
        images = () if self.calibration is None else self.calibration.notes
        return (*([] if found is None else [found]), *images)


_NOTES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("float16", "onnx"): (
            "onnxruntime computes most of float16 in float32 on CPUs, where this file is no faster than "
            "float32; it is for GPUs and NPUs"
        ),
        ("int8", "tflite"): (
            "static int8 TFLite is slower than float32 on x86 CPUs; it is for NPUs and "
            "microcontrollers, and int8-dynamic is the fast one on CPUs"
        ),
    }
)


def bar_of(name: Any, target: float | None = None) -> Bar | None:
    """What a file in a precision has to reach; None in float32, or in none that is known."""
    return Bar(*_COSINES[name], target) if name in _COSINES else None


def require_precision(name: str, format: str, mode: str, calibration: Any, target: float) -> None:
    """Refuse what does not go together, before any image is read; `mode` is of the preprocessing.

    Raises:
        UsageError: an unknown precision, one that the format does not have, calibration images that are
            missing or not used, a target outside 0..1.
    """
    if name not in PRECISIONS:
        raise UsageError(f"precision has to be one of {', '.join(PRECISIONS)}, not {name!r}")
    if name != "float32" and format == "savedmodel":
        raise UsageError(
            f"a SavedModel is written in float32 only: TensorFlow has no {name} kernels for it on a "
            'CPU; use format="tflite" or "onnx"'
        )
    if name.startswith("int8") and format == "tflite" and mode == "baked":
        raise UsageError(
            "TFLite's converter would quantise the matrices of the resize too, so that images were no "
            'longer Pillow\'s; use preprocessing="normalize", precision="float16", or ONNX'
        )
    if name == "int8" and calibration is None:
        raise UsageError(
            "precision='int8' needs calibration=: a folder of images, an array, a tf.data dataset or "
            'a TFDS name; "int8-dynamic" needs none'
        )
    if name == "float32" and calibration is not None:
        raise UsageError("calibration is for the other precisions than float32")
    if not 0 <= target <= 1:
        raise UsageError(f"target_agreement is a share of the images, 0 to 1; got {target}")


def plan_precision(
    name: str,
    calibration: Any,
    target: float,
    shape: tuple[int | None, ...],
    mode: str,
    values: Preprocessing | None,
) -> Precision:
    """A precision with its images read.

    Args:
        calibration: see `keras_vit.export.calibration.calibration`. target: see `Precision`.
        shape: (height, width, channels) that the file takes. mode: of its preprocessing.
        values: the model's preprocessing, or None.

    Raises:
        UsageError: images that cannot be used.
    """
    if calibration is None:
        return Precision(name, None, target)
    from keras_vit.export import calibration as images

    height, width, channels = shape
    assert height and width and channels, "a lower precision takes images of one size"
    found = images.calibration(calibration, (height, width, channels), mode, values)
    return Precision(name, found, target)
