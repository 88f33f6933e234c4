"""Stochastic depth (arXiv:1603.09382)."""

from typing import Any

import keras


def drop_path(rate: float, name: str, dtype: Any = None, axes: int = 3) -> keras.layers.Layer:
    """Drops a residual branch of whole samples and scales the rest by 1 / (1 - rate).

    It is Keras' Dropout with one mask value a sample, as timm/layers/drop.py `DropPath`.

    Args:
        rate: probability of dropping, in [0, 1).
        name: layer name.
        dtype: dtype policy.
        axes: of the input, the batch's too: 3 for tokens, 4 for feature maps.
    """
    noise_shape = (None, *(1,) * (axes - 1))
    return keras.layers.Dropout(rate, noise_shape=noise_shape, name=name, dtype=dtype)


def drop_path_rates(rate: float, depth: int, schedule: str = "linear") -> list[float]:
    """The rate of each block.

    Args:
        rate: of the last block.
        depth: number of blocks.
        schedule: `"linear"`, rising from 0 at the first block (arXiv:1603.09382; ViT, DeiT), or
            `"constant"`, the same for all (DeiT-III: deit models_v2.py:200).

    Raises:
        ValueError: for another schedule.
    """
    if schedule == "constant":
        return [rate] * depth
    if schedule != "linear":
        raise ValueError(
            f'drop_path_schedule must be "linear" or "constant". Received: {schedule!r}'
        )
    return [rate * i / max(depth - 1, 1) for i in range(depth)]


def dropped(dropout: keras.layers.Dropout, x: Any, training: bool | None) -> Any:
    """`dropout(x)`, without the call where it changes nothing.

    Calling a Keras layer costs the eager PyTorch backend more time than a small tensor's arithmetic.
    """
    return dropout(x, training=training) if training and dropout.rate else x
