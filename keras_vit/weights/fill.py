"""From an open checkpoint into a model's variables, tensor by tensor, strictly."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_vit.errors import CheckpointError
from keras_vit.weights.adapt import Geometry, adapt_patch_kernel, adapt_positions
from keras_vit.weights.checkpoint import Array, Checkpoint, check_finite, join_names
from keras_vit.weights.name_map import Layout, Row
from keras_vit.weights.report import LoadReport


def fill(
    variables: Iterable[Any],
    checkpoint: Checkpoint,
    layout: Layout,
    geometry: Geometry,
    *,
    source: str,
    layout_name: str,
    new_head: bool = False,
    partial: bool = False,
) -> LoadReport:
    """Assigns the checkpoint's tensors to the variables.

    Args:
        variables: Keras variables; their paths are looked up in the layout.
        checkpoint: open for reading.
        layout: whose names the checkpoint has; layout_name: what to call it in the report.
        geometry: the model's and the checkpoint's sizes.
        source: what to call the checkpoint in the report.
        new_head: a classifier that is missing or of another shape keeps its initialisation, since the
            caller asked for a number of classes.
        partial: so does any tensor that is missing or of another shape, and unused ones are no error.

    Raises:
        CheckpointError: for a tensor that is missing, unused, of another shape or not finite. Names and
            shapes are checked before anything is assigned.
    """
    pairs, unnamed = _pairs(variables, layout)
    missing = [row.theirs for _, row in pairs if row.theirs not in checkpoint]
    misfits = [
        (variable, row)
        for variable, row in pairs
        if row.theirs in checkpoint and not _fits(checkpoint, layout, row, variable.shape, geometry)
    ]
    wrong = {row.theirs for _, row in misfits} | set(missing)
    if new_head and any(layout.is_head(name) for name in wrong):
        wrong |= {row.theirs for _, row in pairs if layout.is_head(row.theirs)}
    used = {row.theirs for _, row in pairs}
    unused = [name for name in checkpoint.tensors if name not in used]
    if not partial:
        excused = layout.is_head if new_head else (lambda name: False)
        _check_names(
            checkpoint,
            [name for name in missing if not excused(name)] + unnamed,
            [name for name in unused if not (excused(name) or layout.is_ignored(name))],
        )
        _check_shapes(checkpoint, layout, [pair for pair in misfits if not excused(pair[1].theirs)])
    loaded, resized = [], []
    for variable, row in pairs:
        if row.theirs in wrong:
            continue
        array = checkpoint.read(row.theirs)
        check_finite(checkpoint.path, row.theirs, array)
        turned = layout.to_keras(row, _four_axes(row, array, geometry))
        fitted, method = _adapt(row, turned, tuple(variable.shape), geometry)
        variable.assign(fitted)
        loaded.append(row.theirs)
        if method:
            resized.append((row.theirs, turned.shape, fitted.shape, method))
    return LoadReport(
        source=source,
        layout=layout_name,
        loaded=tuple(loaded),
        resized=tuple(resized),
        reinitialised=tuple(variable.path for variable, row in pairs if row.theirs in wrong),
        unused=tuple(unused),
    )


def _pairs(variables: Iterable[Any], layout: Layout) -> tuple[list[tuple[Any, Row]], list[str]]:
    """Each variable with its row, and the paths that the layout has no name for."""
    found = [(variable, layout.find(variable.path)) for variable in variables]
    pairs = [(variable, row) for variable, row in found if row is not None]
    return pairs, [variable.path for variable, row in found if row is None]


def _fits(
    checkpoint: Checkpoint, layout: Layout, row: Row, shape: tuple[int, ...], geometry: Geometry
) -> bool:
    """Whether the stored tensor has the variable's shape, or can be resized to it."""
    stored = np.broadcast_to(np.float32(0), checkpoint.shape(row.theirs))
    try:
        found = layout.to_keras(row, _four_axes(row, stored, geometry)).shape
    except ValueError:  # not as many axes as the transposition needs
        return False
    kept = _kept_axes(row, geometry)
    if kept is not None:
        return len(found) == len(shape) and all(found[axis] == shape[axis] for axis in kept)
    return found == tuple(shape)


def _kept_axes(row: Row, geometry: Geometry) -> tuple[int, ...] | None:
    """The axes that must agree of a tensor that can be resized; None for the others.

    Channels are adapted in every family, sizes where the family has a method for it.
    """
    if row.kind == "positions" and geometry.pos_resize:
        return (-1,)
    if row.kind == "patch":
        return (-1,) if geometry.patch_resize else (0, 1, -1)
    return None


def _four_axes(row: Row, array: Array, geometry: Geometry) -> Array:
    """Old timm files hold the patch kernel as a matrix (dim, channels * height * width)."""
    if row.kind == "patch" and array.ndim == 2:
        return array.reshape(array.shape[0], -1, *geometry.file_patch)
    return array


def _adapt(
    row: Row, array: Array, shape: tuple[int, ...], geometry: Geometry
) -> tuple[Array, str | None]:
    if row.kind == "positions" and geometry.pos_resize:
        return adapt_positions(array, geometry, geometry.pos_resize)
    if row.kind == "patch":
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


def _check_shapes(checkpoint: Checkpoint, layout: Layout, misfits: list[tuple[Any, Row]]) -> None:
    if not misfits:
        return
    variable, row = misfits[0]
    stored, wanted = checkpoint.shape(row.theirs), tuple(variable.shape)
    if layout.is_head(row.theirs):
        classes = stored[-1] if layout.keras_arrays else stored[0]
        remedy = f"pass num_classes={classes}"
    else:
        remedy = "it is the checkpoint of another model, or pass partial=True to load what fits"
    raise CheckpointError(
        f"{checkpoint.path}: {row.theirs} has the shape {stored}, the model's {variable.path} "
        f"{wanted}: {remedy}"
    )
