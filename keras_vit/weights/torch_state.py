"""From the object that a torch checkpoint pickles to its named tensors."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import CheckpointError
from keras_vit.weights.checkpoint import Array, StoredTensor, join_names, widen_bfloat16
from keras_vit.weights.plain_pickle import TensorRef

# Under which name training scripts put the weights, in the order in which they are looked for. An
# average of the weights (`state_dict_ema`, `model_ema`) is taken on request only.
WRAPPERS = ("state_dict", "model", "module", "model_state_dict")
_MAX_DEPTH = 4
# More elements than any storage of any file; keeps numpy's own size arithmetic from overflowing.
_MAX_ELEMENTS = 2**40

ByteOrder = Literal["<", ">"]
ReadStorage = Callable[[str, int, int], NDArray[np.uint8]]


def find_state_dict(tree: Any, key: str | None, path: Path) -> dict[Any, Any]:
    """The dict of tensors inside the unpickled object of a checkpoint.

    Args:
        tree: what `load_plain_pickle` returned.
        key: the entry to take, such as "model_ema"; None takes the first of `WRAPPERS` that is there,
            again inside that, or the object itself.
        path: the file, for messages.

    Raises:
        CheckpointError: when there is none; the message names the entries that could be asked for.
    """
    state = _choose(tree, key)
    for _ in range(_MAX_DEPTH):
        if (inner := _wrapped(state)) is None:
            break
        state = inner
    if _holds_tensors(state):
        return state
    raise CheckpointError(f"{path}: {_advice(tree, key)}")


def stored_tensor(
    name: str, ref: TensorRef, path: Path, *, order: ByteOrder, read: ReadStorage
) -> StoredTensor:
    """Check what a pickle says of a tensor against its storage.

    Args:
        name: its name, for messages.
        ref: the description; its storage's count is already checked against the file.
        path: the file, for messages.
        order: byte order of the file, "<" or ">".
        read: read(storage key, first byte, count of bytes) gives these bytes.

    Raises:
        CheckpointError: when shape, strides and offset leave the storage or contradict each other.
    """
    shape, stride = _counts(ref.shape), _counts(ref.stride)
    offset = ref.offset if _is_count(ref.offset) else None
    if shape is None or stride is None or offset is None or len(shape) != len(stride):
        raise CheckpointError(f"{path}: damaged: tensor {name!r} has no valid shape")
    size = prod(shape)
    # From the first element to the last; a tensor with fewer cells than elements (expanded by a
    # stride of 0) would let a small file ask for any memory.
    span = 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) if size else 0
    if size > span or offset + span > ref.storage.count:
        raise CheckpointError(f"{path}: damaged: tensor {name!r} reaches beyond its storage")
    kind = ref.storage.type

    def read_tensor() -> Array:
        if not size:
            return np.zeros(shape, dtype)
        content = read(ref.storage.key, offset * kind.itemsize, span * kind.itemsize)
        elements = content.view(np.dtype(bits).newbyteorder(order))
        strides = [step * kind.itemsize for step in stride]
        view = np.lib.stride_tricks.as_strided(elements, shape, strides)
        dense = np.asarray(view, dtype=bits, order="C")
        return widen_bfloat16(dense) if kind.dtype == "bfloat16" else dense

    bits = "uint16" if kind.dtype == "bfloat16" else kind.dtype
    dtype = np.dtype("float32" if kind.dtype == "bfloat16" else kind.dtype)
    return StoredTensor(shape, dtype, read_tensor)


def split_tensors(state: dict[Any, Any]) -> tuple[dict[str, TensorRef], tuple[str, ...]]:
    """The tensors of a state dict, and the names of what else it holds."""
    tensors = {
        key: value
        for key, value in state.items()
        if isinstance(key, str) and isinstance(value, TensorRef)
    }
    return tensors, tuple(str(key) for key in state if key not in tensors)


def _choose(tree: Any, key: str | None) -> Any:
    if key is None:
        return tree
    return tree.get(key) if isinstance(tree, dict) else None


def _wrapped(state: Any) -> Any:
    if not isinstance(state, dict):
        return None
    return next((state[name] for name in WRAPPERS if isinstance(state.get(name), dict)), None)


def _holds_tensors(state: Any) -> bool:
    return isinstance(state, dict) and any(isinstance(v, TensorRef) for v in state.values())


def _advice(tree: Any, key: str | None) -> str:
    if not isinstance(tree, dict):
        return "holds no state dict; save model.state_dict()"
    usable = [str(name) for name, value in tree.items() if _holds_tensors(value)]
    missing = "holds no tensors" if key is None else f"holds no tensors under {key!r}"
    return f"{missing}; pass key= one of: {join_names(usable)}" if usable else missing


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_ELEMENTS


def _counts(values: Any) -> tuple[int, ...] | None:
    """`values` as lengths or strides of at most 32 axes, or None."""
    if not isinstance(values, tuple | list) or len(values) > 32:
        return None
    if not all(map(_is_count, values)) or prod(filter(None, values)) > _MAX_ELEMENTS:
        return None
    return tuple(values)
