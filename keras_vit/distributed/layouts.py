"""How the variables of our layers are split over devices for model parallelism.

Megatron-LM's way (arXiv:1909.08053, section 3): the first product of a pair is split by its columns, the
second by its rows, so that one sum over the devices follows each pair. Of a joint projection, whose
columns are queries, keys and values or a perceptron's gate and value, a part lies across their borders,
which costs a further exchange.
Whatever is not named here is whole on every device.
"""

from collections.abc import Mapping

import keras

AXIS = "model"

_ROWS: Mapping[str, tuple[str | None, ...]] = {
    r".*attn/(qkv|proj_[qkv]|[qkv]_proj)/kernel$": (None, AXIS),
    r".*attn/(qkv|proj_[qkv]|[qkv]_proj)/bias$": (AXIS,),
    r".*attn/proj/kernel$": (AXIS, None),
    r".*mlp/fc1(_[gx])?/kernel$": (None, AXIS),
    r".*mlp/fc1(_[gx])?/bias$": (AXIS,),
    r".*mlp/fc2/kernel$": (AXIS, None),
}


def layout_map(mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """For `keras.distribution.ModelParallel`, of a mesh with an axis `"model"`.

    The widths of the model, of its perceptrons, and of queries, keys and values must be multiples of
    that axis. Patterns are of whole paths, as `LayoutMap` matches them.
    """
    layouts = keras.distribution.LayoutMap(mesh)
    for pattern, axes in _ROWS.items():
        layouts[pattern] = axes
    return layouts
