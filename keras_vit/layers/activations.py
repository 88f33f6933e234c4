"""The three GELUs that Vision Transformers were trained with, by catalogue name."""

from collections.abc import Callable
from typing import Any

import keras


@keras.saving.register_keras_serializable("keras_vit")
def gelu(x: Any) -> Any:
    """The exact GELU, `x Phi(x)` (arXiv:1606.08415): timm's and torch's default."""
    return keras.ops.gelu(x, approximate=False)


@keras.saving.register_keras_serializable("keras_vit")
def gelu_tanh(x: Any) -> Any:
    """The tanh form, at most 4.7e-4 from the exact one: flax' default, so Google's ViT weights."""
    return keras.ops.gelu(x, approximate=True)


@keras.saving.register_keras_serializable("keras_vit")
def quick_gelu(x: Any) -> Any:
    """`x sigmoid(1.702 x)`, at most 2.0e-2 from the exact form: OpenAI's CLIP and CvT."""
    return x * keras.ops.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
}


def activation(name: str) -> Callable[[Any], Any]:
    """The function of a catalogue name.

    Raises:
        ValueError: if the name is none of `ACTIVATIONS`.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"act must be one of {tuple(ACTIVATIONS)}. Received: {name!r}")
    return ACTIVATIONS[name]
