"""From an open checkpoint into a model's variables, tensor by tensor, strictly."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_vit.errors import CheckpointError
from keras_vit.weights.adapt import Geometry, adapt_patch_kernel, adapt_positions
from keras_vit.weights.checkpoint import Array, Checkpoint, check_finite, join_names
from keras_vit.weights.name_map import KINDS, Arguments, Layout, Row
from keras_vit.weights.report import LoadReport


@dataclass(frozen=True, eq=False)
class _Pair:
    """A variable, its row, and the shape that each of the row's tensors should have."""

    variable: Any
    row: Row
    shapes: tuple[tuple[int, ...], ...]


def fill(
    variables: Iterable[Any],
    checkpoint: Checkpoint,
    layout: Layout,
    geometry: Geometry,
    arguments: Arguments,
    *,
    source: str,
    layout_name: str,
    new_head: bool = False,
    partial: bool = False,
) -> LoadReport:
    """Assigns the checkpoint's tensors to the variables.

    Args:
        variables: Keras variables; their paths are looked up in the layout.
        checkpoint: open for reading, its names spelled as the layout's table has them.
        layout: whose names the checkpoint has; layout_name: what to call it in the report.
        geometry: the model's and the checkpoint's sizes.
        arguments: the model builder's, such as `num_heads`.
        source: what to call the checkpoint in the report.
        new_head: the caller asked for a number of classes: where the checkpoint's classifier, or the
            pre-training layer before it, is missing, of another shape or left out, the model's keeps its
            initialisation.
        partial: so does any tensor that is missing or of another shape, and unused ones are no error.

    Raises:
        CheckpointError: for a tensor that is missing, unused, of another shape, not of real numbers or
            not finite. All but the last are checked before anything is assigned.
    """
    pairs, unnamed = _pairs(variables, layout, arguments)
    missing = [name for pair in pairs for name in pair.row.names if name not in checkpoint]
    misfits = [
        (name, shape, pair)
        for pair in pairs
        for name, shape in zip(pair.row.names, pair.shapes, strict=True)
        if name in checkpoint and not _fits(checkpoint, layout, pair, name, shape, geometry)
    ]
    used = {name for pair in pairs for name in pair.row.names}
    unused = [name for name in checkpoint.tensors if name not in used]
    wrong = {name for name, _, _ in misfits} | set(missing)
    if new_head and any(layout.is_head(name) for name in (*wrong, *unused)):
        wrong |= {name for name in used if layout.is_classifier(name)}
    excused: Callable[[str], bool] = layout.is_head if new_head else (lambda name: False)
    if not partial:
        _check_names(
            checkpoint,
            [name for name in missing if not excused(name)] + unnamed,
            [name for name in unused if not (excused(name) or layout.is_ignored(name))],
        )
        _check_shapes(checkpoint, layout, [m for m in misfits if not excused(m[0])])
    read = [pair for pair in pairs if wrong.isdisjoint(pair.row.names)]
    _check_dtypes(checkpoint, [name for pair in read for name in pair.row.names])
    resized = [_assign(checkpoint, layout, pair, geometry) for pair in read]
    return LoadReport(
        source=source,
        layout=layout_name,
        loaded=tuple(name for pair in read for name in pair.row.names),
        resized=tuple(row for row in resized if row is not None),
        reinitialised=tuple(pair.variable.path for pair in pairs if pair not in read),
        unused=tuple(unused),
    )


def _pairs(
    variables: Iterable[Any], layout: Layout, arguments: Arguments
) -> tuple[list[_Pair], list[str]]:
    """Each variable with its row, and the paths that the layout has no name for."""
    pairs, unnamed = [], []
    for variable in variables:
        row = layout.find(variable.path)
        if row is None:
            unnamed.append(variable.path)
            continue
        nothing = np.broadcast_to(np.float32(0), tuple(variable.shape))
        parts = layout.from_keras(row, nothing, arguments)
        pairs.append(_Pair(variable, row, tuple(part.shape for part in parts)))
    return pairs, unnamed


def _fits(
    checkpoint: Checkpoint,
    layout: Layout,
    pair: _Pair,
    name: str,
    shape: tuple[int, ...],
    geometry: Geometry,
) -> bool:
    """Whether the stored tensor has the shape that it should, or can be resized to it."""
    stored, kind = checkpoint.shape(name), KINDS[pair.row.kind]
    if stored == shape:
        return True
    if kind.loose and not layout.keras_arrays:
        return _without_ones(stored) == _without_ones(shape)
    if kind.resized is None:
        return False
    nothing = _four_axes(pair.row, np.broadcast_to(np.float32(0), stored), geometry)
    if nothing.ndim != len(shape):
        return False
    found, wanted = layout.to_keras(pair.row, [nothing]).shape, tuple(pair.variable.shape)
    free = _free_axes(kind.resized, geometry)
    return all(axis in free or found[axis] == wanted[axis] for axis in range(len(wanted)))


def _free_axes(resized: str, geometry: Geometry) -> tuple[int, ...]:
    """The axes of a variable that may differ in the checkpoint.

    Channels are adapted in every family, sizes where the family has a method for it.
    """
    if resized == "positions":
        return (1,) if geometry.pos_resize else ()
    return (0, 1, 2) if resized == "patch" and geometry.patch_resize else (2,)


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [side for side in shape if side != 1]


def _assign(
    checkpoint: Checkpoint, layout: Layout, pair: _Pair, geometry: Geometry
) -> tuple[str, tuple[int, ...], tuple[int, ...], str] | None:
    """Reads a variable; if it had to be resized, its line of the report."""
    array = _read(checkpoint, layout, pair, geometry)
    fitted, method = _adapt(pair.row, array, tuple(pair.variable.shape), geometry)
    pair.variable.assign(fitted)
    return (pair.row.names[0], array.shape, fitted.shape, method) if method else None


def _read(checkpoint: Checkpoint, layout: Layout, pair: _Pair, geometry: Geometry) -> Array:
    """The variable's array, as large as the checkpoint has it."""
    arrays = []
    for name, shape in zip(pair.row.names, pair.shapes, strict=True):
        array = checkpoint.read(name)
        check_finite(checkpoint.path, name, array)
        loose = array.size == math.prod(shape) and KINDS[pair.row.kind].loose
        arrays.append(array.reshape(shape) if loose else _four_axes(pair.row, array, geometry))
    return layout.to_keras(pair.row, arrays)


def _four_axes(row: Row, array: Array, geometry: Geometry) -> Array:
    """Old timm files hold the patch kernel as a matrix (dim, channels * height * width)."""
    if row.kind == "patch" and array.ndim == 2:
        pixels = math.prod(geometry.file_patch)
        if array.shape[1] % pixels == 0:
            return array.reshape(array.shape[0], -1, *geometry.file_patch)
    return array


def _adapt(
    row: Row, array: Array, shape: tuple[int, ...], geometry: Geometry
) -> tuple[Array, str | None]:
    resized = KINDS[row.kind].resized
    if resized == "positions" and geometry.pos_resize:
        return adapt_positions(array, geometry, geometry.pos_resize)
    if resized in ("patch", "channels"):
        return adapt_patch_kernel(array, shape, geometry)
    return array, None


def _check_names(checkpoint: Checkpoint, missing: list[str], unused: list[str]) -> None:
    problems = [
        f"{len(names)} tensors are {what}: {join_names(names)}"
        for what, names in (("missing", missing), ("of no use to this model", unused))
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{checkpoint.path}: {'; '.join(problems)}. It is the checkpoint of another model, "
            "or pass partial=True to load what fits"
        )


def _check_shapes(
    checkpoint: Checkpoint, layout: Layout, misfits: list[tuple[str, tuple[int, ...], _Pair]]
) -> None:
    if not misfits:
        return
    name, shape, pair = misfits[0]
    stored = checkpoint.shape(name)
    remedy = "it is the checkpoint of another model, or pass partial=True to load what fits"
    if layout.is_head(name) and len(stored) == len(shape):
        stand_in = np.broadcast_to(np.float32(0), stored)
        remedy = f"pass num_classes={layout.to_keras(pair.row, [stand_in]).shape[-1]}"
    raise CheckpointError(
        f"{checkpoint.path}: {name} has the shape {stored}, the model's {pair.variable.path} wants "
        f"{shape}: {remedy}"
    )


def _check_dtypes(checkpoint: Checkpoint, names: list[str]) -> None:
    for name in names:
        if checkpoint.dtype(name).kind != "f":
            raise CheckpointError(
                f"{checkpoint.path}: {name} holds {checkpoint.dtype(name)}, not real numbers: "
                "the file is damaged, or quantized by another library"
            )
