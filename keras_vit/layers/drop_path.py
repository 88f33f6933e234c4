"""Stochastic depth (arXiv:1603.09382)."""

from typing import Any

import keras


def drop_path(rate: float, name: str, dtype: Any = None) -> keras.layers.Layer:
    """Drops a residual branch of whole samples and scales the rest by 1 / (1 - rate).

    It is Keras' Dropout with one mask value a sample, as timm/layers/drop.py `DropPath`.

    Args:
        rate: probability of dropping, in [0, 1).
        name: layer name.
        dtype: dtype policy.
    """
    return keras.layers.Dropout(rate, noise_shape=(None, 1, 1), name=name, dtype=dtype)
