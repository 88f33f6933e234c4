"""Tensors that a library keeps jointly or apart, brought to those of a `Layout`'s table, and back.

A table has one tensor, or several side by side, for each variable. Some files hold a tensor for the
variables of several layers, or a sum's parts: a `Change` of the layout turns those into the table's
before they are read, and back before they are written. Nothing is read before its turn.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from keras_vit.errors import UsageError
from keras_vit.weights.checkpoint import Array, StoredTensor

Tensors = dict[str, StoredTensor]
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Change:
    """One way in which a library's tensors are not the table's.

    Attributes:
        unfold: from a file's tensors, under the table's spelling, to the table's. Where they are not as
            expected they stay as they are, and loading says what is missing.
        fold: from the table's tensors of a model to the library's.
    """

    unfold: Callable[[Tensors], Tensors]
    fold: Callable[[Arrays], Arrays]


def class_position(token: str, positions: str) -> Change:
    """The class token's position, added to the token: for models that add positions to patches alone.

    On the way out that position is zero.

    Args:
        token: (1, 1, dim). positions: (1, 1 + patches, dim) in the files, (1, patches, dim) in the table.
    """

    def unfold(tensors: Tensors) -> Tensors:
        one, all_ = tensors.get(token), tensors.get(positions)
        if one is None or all_ is None or len(all_.shape) != 3 or all_.shape[1] < 2:
            return tensors
        batch, count, dim = all_.shape
        added = StoredTensor(one.shape, one.dtype, lambda: one.read() + all_.read()[:, :1])
        rest = StoredTensor((batch, count - 1, dim), all_.dtype, lambda: all_.read()[:, 1:])
        return {**tensors, token: added, positions: rest}

    def fold(arrays: Arrays) -> Arrays:
        rest = arrays[positions]
        return {**arrays, positions: np.concatenate([np.zeros_like(rest[:, :1]), rest], axis=1)}

    return Change(unfold, fold)


def in_projection(joint: str, query: str, key_value: str) -> Change:
    """torch's joint projection of MultiheadAttention, where the table has one of queries, one of the rest.

    Args:
        joint: the name without `weight` or `bias`, as are `query` and `key_value`.
    """

    def unfold(tensors: Tensors) -> Tensors:
        found = dict(tensors)
        for part in ("weight", "bias"):
            whole = tensors.get(joint + part)
            if whole is not None and whole.shape and whole.shape[0] % 3 == 0:
                del found[joint + part]
                third = whole.shape[0] // 3
                found[query + part] = _rows(whole, 0, third)
                found[key_value + part] = _rows(whole, third, 3 * third)
        return found

    def fold(arrays: Arrays) -> Arrays:
        found = dict(arrays)
        for part in ("weight", "bias"):
            if query + part in arrays:
                pair = [found.pop(query + part), found.pop(key_value + part)]
                found[joint + part] = np.concatenate(pair)
        return found

    return Change(unfold, fold)


def _rows(whole: StoredTensor, start: int, stop: int) -> StoredTensor:
    shape = (stop - start, *whole.shape[1:])
    return StoredTensor(shape, whole.dtype, lambda: whole.read()[start:stop])


def gated_names(plain: tuple[str, str], gated: tuple[str, str]) -> Change:
    """The two products of a perceptron, where the library calls a gated one's otherwise.

    A perceptron is gated whose first product gives twice what the second takes.

    Args:
        plain: parts of the names of the first and the second product, such as `(".mlp.fc1.", ".mlp.fc2.")`,
            which the table has. gated: what stands in their place.
    """

    def unfold(tensors: Tensors) -> Tensors:
        return {_renamed(name, gated, plain): tensor for name, tensor in tensors.items()}

    def fold(arrays: Arrays) -> Arrays:
        first, second = (
            next((array for name, array in arrays.items() if name.endswith(f"{part}weight")), None)
            for part in plain
        )
        if first is None or second is None or first.shape[0] != 2 * second.shape[1]:
            return arrays
        return {_renamed(name, plain, gated): array for name, array in arrays.items()}

    return Change(unfold, fold)


def _renamed(name: str, old: tuple[str, str], new: tuple[str, str]) -> str:
    for one, other in zip(old, new, strict=True):
        name = name.replace(one, other)
    return name


def mask_token(name: str, like: str, axes: int = 2) -> Change:
    """A token that stood for masked patches in training: not read, and written as zeros.

    Args:
        name: (1, dim), or with more axes of one before. like: a tensor (..., dim). axes: of the token.
    """

    def unfold(tensors: Tensors) -> Tensors:
        return {key: tensor for key, tensor in tensors.items() if key != name}

    def fold(arrays: Arrays) -> Arrays:
        shape = (1,) * (axes - 1) + arrays[like].shape[-1:]
        return {**arrays, name: np.zeros(shape, arrays[like].dtype)}

    return Change(unfold, fold)


def joined(first: str, second: str, whole: str) -> Change:
    """Two tensors where the table has one, of the rows of both. They are written as one.

    Args:
        first: pattern of a name. second, whole: templates for `re.Match.expand` on it.
    """

    def unfold(tensors: Tensors) -> Tensors:
        found = dict(tensors)
        for name in tensors:
            match = re.fullmatch(first, name)
            if match is None or match.expand(second) not in tensors:
                continue
            one, other = found.pop(name), found.pop(match.expand(second))
            if one.shape[1:] == other.shape[1:] and one.shape and other.shape:
                shape = (one.shape[0] + other.shape[0], *one.shape[1:])
                found[match.expand(whole)] = StoredTensor(
                    shape, one.dtype, partial(_concatenated, one, other)
                )
        return found

    return Change(unfold, _as_they_are)


def _concatenated(one: StoredTensor, other: StoredTensor) -> Array:
    return np.concatenate([one.read(), other.read()])


def unstacked(stack: str, block: str) -> Change:
    """One tensor for all blocks, stacked along the first axis, as flax' scan keeps it.

    They are written block by block.

    Args:
        stack: pattern of a name. block: template on it, in which `{}` is the block's number.
    """

    def unfold(tensors: Tensors) -> Tensors:
        found: Tensors = {}
        for name, tensor in tensors.items():
            match = re.fullmatch(stack, name)
            if match is None or not tensor.shape:
                found[name] = tensor
                continue
            read = cache(tensor.read)
            for i in range(tensor.shape[0]):
                one = StoredTensor(tensor.shape[1:], tensor.dtype, partial(_nth, read, i))
                found[match.expand(block).format(i)] = one
        return found

    return Change(unfold, _as_they_are)


def _nth(read: Callable[[], Array], index: int) -> Array:
    return read()[index]


def without_bias(kernel: str, bias: str, axis: int) -> Change:
    """A product that has no bias in the library, and one in the table: zeros.

    Args:
        kernel: its name. axis: that of its outputs.
        bias: what the table calls the bias.
    """

    def unfold(tensors: Tensors) -> Tensors:
        if kernel not in tensors or len(tensors[kernel].shape) != 2:
            return tensors
        shape = (tensors[kernel].shape[axis],)
        zeros = StoredTensor(shape, np.dtype(np.float32), lambda: np.zeros(shape, np.float32))
        return {bias: zeros, **tensors}

    def fold(arrays: Arrays) -> Arrays:
        found = dict(arrays)
        values = found.pop(bias, None)
        if values is not None and values.any():
            raise UsageError(f"{kernel} has no bias there, and this model's classifier has one")
        return found

    return Change(unfold, fold)


def _as_they_are(arrays: Arrays) -> Arrays:
    return arrays
