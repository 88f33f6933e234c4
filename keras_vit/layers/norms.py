"""The norms of a Transformer's tokens, by catalogue name."""

from typing import Any

import keras

from keras_vit.layers.layer_norm import LayerNormalization

NORMS: dict[str, type[keras.layers.Layer]] = {
    "layer": LayerNormalization,  # arXiv:1607.06450
    "rms": keras.layers.RMSNormalization,  # arXiv:1910.07467: no mean, no beta
}


def norm(kind: str, epsilon: float, name: str, dtype: Any = None) -> keras.layers.Layer:
    """A norm over the last axis.

    Raises:
        ValueError: if `kind` is none of `NORMS`.
    """
    if kind not in NORMS:
        raise ValueError(f"norm must be one of {tuple(NORMS)}. Received: {kind!r}")
    return NORMS[kind](epsilon=epsilon, dtype=dtype, name=name)
