"""What is known of an artifact: its tensors, what an export measured, what a check found."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Tensor:
    """An input or output of an artifact.

    Attributes:
        name: as the artifact calls it: `"images"`, `"logits"`.
        shape: one entry an axis, None where it is free.
        dtype: NumPy's name for the element type.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        axes = ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} {self.dtype} ({axes})"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(data["name"], tuple(data["shape"]), data["dtype"])


@dataclass(frozen=True)
class Comparison:
    """How far an artifact's outputs are from the expected ones.

    Attributes:
        images: how many images were compared.
        max_difference: largest absolute difference of any output.
        relative_difference: the same over the standard deviation of that output.
        top1_agreement: share of images with the same largest logit, in 0..1; None without logits.
        tolerance: the largest `relative_difference` that passes; None for a file in a lower precision
            than float32, where the following count (see `keras_vit.export.agreement`).
        cosine_mean, cosine_min: of the angle between the logits and the model's, over the images.
        margin: median distance of the model's two largest logits, in their standard deviations.
    """

    images: int
    max_difference: float
    relative_difference: float
    top1_agreement: float | None
    tolerance: float | None
    cosine_mean: float | None = None
    cosine_min: float | None = None
    margin: float | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From plain JSON data."""
        return cls(**data)


@dataclass(frozen=True)
class ExportReport:
    """What `export_model` wrote and measured.

    Attributes:
        path, format: of the artifact; the format as `savedmodel`, `tflite` or `onnx`.
        files: every published path, the JSON beside the artifact included.
        size: bytes of the artifact, the JSON beside it left out.
        weight_bytes: bytes of the weights that it has to hold.
        inputs, outputs: its interface.
        batch: `"dynamic"` or the fixed batch size.
        preprocessing: `"none"`, `"normalize"` or `"layer"`.
        converter: what wrote it, with its version.
        writer: of an ONNX file, `"direct"` or `"tf2onnx (WHY)"`; empty for other formats.
        precision: `"float32"`, `"float16"`, `"int8-dynamic"` or `"int8"`.
        operators: how often each operator occurs; empty when not verified.
        verified: whether the file was reopened and compared before it was published.
        comparison: the numbers of that comparison, or None.
        batches: the batch sizes at which it was run.
        seconds: wall time by step: `convert`, `verify`, `total`.
        notes: what the user should know, one line each.
    """

    path: str
    format: str
    files: tuple[str, ...]
    size: int
    weight_bytes: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batch: str | int
    preprocessing: str
    converter: str
    writer: str = ""
    precision: str = "float32"
    operators: Mapping[str, int] = field(default_factory=dict)
    verified: bool = False
    comparison: Comparison | None = None
    batches: tuple[int, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def max_difference(self) -> float | None:
        """Largest absolute difference to the model, or None when not verified."""
        return self.comparison.max_difference if self.comparison else None

    @property
    def relative_difference(self) -> float | None:
        """`max_difference` over the standard deviation of the logits."""
        return self.comparison.relative_difference if self.comparison else None

    @property
    def top1_agreement(self) -> float | None:
        """Share of the test images with the model's top-1, in 0..1."""
        return self.comparison.top1_agreement if self.comparison else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class CheckReport:
    """What `check` found in an artifact.

    Attributes:
        path, format: of the artifact.
        size: its bytes.
        inputs, outputs: its interface.
        operators: how often each operator (or, in a `.keras` file, layer class) occurs.
        labels, preprocessing: as stored with the artifact.
        comparison: against the model that was given, or None.
        batches: the batch sizes at which it was run.
        problems: what is wrong with it, one line each; empty when it passes.
        notes: what could not be checked, one line each.
    """

    path: str
    format: str
    size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: Mapping[str, int]
    labels: tuple[str, ...] | None
    preprocessing: str | None
    comparison: Comparison | None
    batches: tuple[int, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**dataclasses.asdict(self), "passed": self.passed}
