"""The activations that Vision Transformers were trained with, by catalogue name: three GELUs, and SiLU."""

from collections.abc import Callable
from typing import Any

import keras


@keras.saving.register_keras_serializable("keras_vit")
def gelu(x: Any) -> Any:
    """The exact GELU, `x Phi(x)` (arXiv:1606.08415): timm's and torch's default."""
    if keras.backend.backend() == "torch":
        return keras.ops.gelu(x, approximate=False)
    # Keras' exact form is erfc on the other backends, at twice this one's cost (benchmarks/README.md).
    wide = _wide(x)
    return keras.ops.cast(0.5 * wide * (1.0 + keras.ops.erf(wide * 0.5**0.5)), x.dtype)


@keras.saving.register_keras_serializable("keras_vit")
def gelu_tanh(x: Any) -> Any:
    """The tanh form, at most 4.7e-4 from the exact one: flax' default, so Google's ViT weights."""
    return keras.ops.cast(keras.ops.gelu(_wide(x), approximate=True), x.dtype)


@keras.saving.register_keras_serializable("keras_vit")
def quick_gelu(x: Any) -> Any:
    """`x sigmoid(1.702 x)`, at most 2.0e-2 from the exact form: OpenAI's CLIP and CvT."""
    wide = _wide(x)
    return keras.ops.cast(wide * keras.ops.sigmoid(1.702 * wide), x.dtype)


@keras.saving.register_keras_serializable("keras_vit")
def silu(x: Any) -> Any:
    """`x sigmoid(x)` (arXiv:1702.03118): the gate of SwiGLU in EVA-02, DINOv2 and DINOv3."""
    return keras.ops.cast(keras.ops.silu(_wide(x)), x.dtype)


def _wide(x: Any) -> Any:
    """`x` in at least float32, but for torch, whose kernels widen inside.

    Elsewhere each step of a formula in bfloat16 widens and rounds by itself, which takes two to three
    times as long as one cast at either end (benchmarks/README.md), and is less exact.
    """
    if keras.backend.backend() == "torch":
        return x
    return keras.ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "silu": silu,
}


def activation(name: str) -> Callable[[Any], Any]:
    """The function of a catalogue name.

    Raises:
        ValueError: if the name is none of `ACTIVATIONS`.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"act must be one of {tuple(ACTIVATIONS)}. Received: {name!r}")
    return ACTIVATIONS[name]
