"""Convert in a lower precision than float32: smooth, write in float32, quantise what was written."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.export import handover
from keras_vit.export.child import ReloadError
from keras_vit.export.images import as_seen, feed, source_images
from keras_vit.export.planning import Plan, sides
from keras_vit.export.precision import WEIGHT_BYTES
from keras_vit.export.reference import answers
from keras_vit.export.sidecar import files_of

Converted = tuple[Plan, dict[str, Any], tuple[str, ...]]
"""The plan with the model in float32, what the converter said, and notes for the user."""

Write = Callable[[Plan, Path, Path, dict[str, Any]], Converted]
"""Writes a plan to a path in float32, with a folder for its files, and options of the converter."""

_SMOOTHING_IMAGES = 16
_STRUCTURED_SETS = 8  # of `structured_images`, each drawn otherwise
_FLAT = 3  # of which the last ones are flat, and the same in each


def lower(plan: Plan, artifact: Path, folder: Path, write: Write) -> Converted:
    """Write the artifact in `plan.precision`.

    Args:
        plan: with the model in float32.
        artifact: what to write. folder: for other files. write: see `Write`.
    """
    smoothed, notes = plan, ()
    if plan.precision.name.startswith("int8"):
        smoothed, notes = _smoothed(plan, folder)
    lowered = _lower_onnx if plan.format == "onnx" else _lower_tflite
    whole, converted, more = lowered(smoothed, artifact, folder, write)
    # It is compared with the model as it was, which in float32 computes the same.
    return dataclasses.replace(whole, model=plan.model), converted, (*notes, *more)


def judging_images(plan: Plan) -> np.ndarray:
    """What a file in a lower precision is judged by: the user's held-out images, or structured ones.

    Returns:
        (N, height, width, channels), N at least 16: uint8 of 0 to 255, or float32 as the model takes them.
    """
    if plan.precision.calibration is not None:
        return plan.precision.calibration.held_out
    size = sides(plan.images)
    first, *others = (source_images(*size, seed=seed) for seed in range(_STRUCTURED_SETS))
    return np.concatenate([first, *(images[:-_FLAT] for images in others)])


def images_for_model(plan: Plan, raw: np.ndarray) -> np.ndarray:
    """Images as a user has them, as the model takes them: resized by Pillow, normalised by NumPy."""
    if plan.mode == "layer":
        assert plan.front is not None
        return answers(plan.front, ["images"], raw.astype(plan.images.dtype))["images"]
    seen = as_seen(raw, plan.mode, plan.preprocessing)
    return feed(seen, plan.model.inputs[0].dtype, "none", plan.preprocessing)


def _smoothed(plan: Plan, folder: Path) -> tuple[Plan, tuple[str, ...]]:
    """The plan with a copy of the model whose activations have fewer outliers, where that helps."""
    from keras_vit.export.smoothing import has_blocks, smooth

    if not has_blocks(plan.model):
        return plan, ()
    file = folder / "smoothing.keras"
    try:
        handover.save(plan.model, file)
        copy = handover.load(file)
    except ReloadError:
        return plan, ("activations were not smoothed, because the model cannot be rebuilt",)
    finally:
        file.unlink(missing_ok=True)
    calibration = plan.precision.calibration
    raw = judging_images(plan) if calibration is None else calibration.calibrating
    chosen = raw[:: max(1, len(raw) // _SMOOTHING_IMAGES)][:_SMOOTHING_IMAGES]
    done, count = smooth(copy, images_for_model(plan, chosen))
    if not done:
        return plan, ()
    before, after = (np.mean([getattr(one, when) for one in done]) for when in ("before", "after"))
    note = (
        f"activations were smoothed before {len(done)} of {count} products, whose mean error in int8 "
        f"falls from {before:.1e} to {after:.1e} of their variance; in float32 they stay the same"
    )
    return dataclasses.replace(plan, model=copy), (note,)


def _lower_onnx(plan: Plan, artifact: Path, folder: Path, write: Write) -> Converted:
    """Write the file in float32, and from that the artifact."""
    source = folder / "float32.onnx"
    whole, converted, notes = write(plan, source, folder, {})
    try:
        held, more = _ONNX[plan.precision.name](source, artifact)
    finally:
        for file in list(files_of(source)):
            file.unlink(missing_ok=True)
    return whole, {**converted, "weight_bytes": held}, (*notes, *more)


def _onnx_float16(source: Path, artifact: Path) -> tuple[int, tuple[str, ...]]:
    from keras_vit.export import onnx_float16

    return onnx_float16.write(source, artifact), ()


def _onnx_dynamic(source: Path, artifact: Path) -> tuple[int, tuple[str, ...]]:
    from keras_vit.export import onnx_int8_dynamic

    held, share = onnx_int8_dynamic.write(source, artifact)
    if share > 0.9:
        return held, ()
    note = (
        f"int8 are the weights of matrix products, {share:.0%} of all; the others stay in float32"
    )
    return held, (note,)


_ONNX: dict[str, Callable[[Path, Path], tuple[int, tuple[str, ...]]]] = {
    "float16": _onnx_float16,
    "int8-dynamic": _onnx_dynamic,
}


def _lower_tflite(plan: Plan, artifact: Path, folder: Path, write: Write) -> Converted:
    """Have the converter quantise."""
    name = plan.precision.name
    whole, converted, notes = write(plan, artifact, folder, {"precision": name})
    held = converted["weight_bytes"] // WEIGHT_BYTES["float32"] * WEIGHT_BYTES[name]
    return whole, {**converted, "weight_bytes": held}, notes
