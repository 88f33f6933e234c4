"""What can be chosen of an ONNX file, and which choices go together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from keras_vit.errors import UsageError

OPSETS = (17, 18, 20, 21, 22, 23)
ATTENTIONS = ("matmul", "operator")
LAYOUTS = ("nhwc", "nchw")

FALLBACK_OPSET = 18
"""The newest that tf2onnx writes."""

_OPERATOR_OPSET = 23  # the first with an Attention operator


@dataclass(frozen=True)
class OnnxOptions:
    """How an ONNX file is written.

    Attributes:
        opset: of the operators, one of `OPSETS`.
        attention: `"matmul"`, of products and softmax, or `"operator"`, ONNX's own.
        layout: of the images, `"nhwc"` or `"nchw"`.
    """

    opset: int = 20
    attention: str = "matmul"
    layout: str = "nhwc"

    @classmethod
    def of(cls, opset: int | None, attention: str | None, layout: str | None) -> Self:
        """With the default for each that is None."""
        given: dict[str, Any] = {"opset": opset, "attention": attention, "layout": layout}
        return cls(**{name: value for name, value in given.items() if value is not None})

    def require_valid(self, format: str) -> None:
        """Check them for a format.

        Raises:
            UsageError: a value that is none of those above, choices that do not go together, or
                choices for a format that is not ONNX.
        """
        for name, known in (("opset", OPSETS), ("attention", ATTENTIONS), ("layout", LAYOUTS)):
            value = getattr(self, name)
            if isinstance(value, bool) or value not in known:
                raise UsageError(f"{name} has to be {one_of(known)}, not {value!r}")
        if self.attention == "operator" and self.opset < _OPERATOR_OPSET:
            raise UsageError(
                f'attention="operator" needs opset={_OPERATOR_OPSET}, not {self.opset}'
            )
        if format != "onnx" and self != OnnxOptions():
            raise UsageError(f"opset, attention and layout are ONNX's; the format is {format}")


def stored_shape(shape: Sequence[int | None], layout: str) -> tuple[int | None, ...]:
    """(batch, height, width, channels) as a file of this layout takes it."""
    batch, height, width, channels = shape
    return (batch, channels, height, width) if layout == "nchw" else (*shape,)


def one_of(values: Sequence[Any]) -> str:
    *first, last = map(repr, values)
    return f"{', '.join(first)} or {last}"
