"""Convert in a lower precision than float32: smooth, write in float32, quantise what was written."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.export import handover
from keras_vit.export.child import ReloadError, run_child
from keras_vit.export.images import as_seen, feed, source_images
from keras_vit.export.ladder import Samples
from keras_vit.export.outputs import expected_outputs
from keras_vit.export.planning import Plan
from keras_vit.export.precision import WEIGHT_BYTES
from keras_vit.export.reference import answers
from keras_vit.export.sidecar import files_of

Converted = tuple[Plan, dict[str, Any], tuple[str, ...]]
"""The plan with the model in float32, what the converter said, and notes for the user."""

Write = Callable[[Plan, Path, Path, dict[str, Any]], Converted]
"""Writes a plan to a path in float32, with a folder for its files, and options of the converter."""

_SMOOTHING_IMAGES = 16
_MOST = 0.9  # of the weights in int8: below it the rest is worth a note
_STRUCTURED_SETS = 8  # of `structured_images`, each drawn otherwise
_FLAT = 3  # of which the last ones are flat, and the same in each


def lower(plan: Plan, artifact: Path, folder: Path, write: Write) -> Converted:
    """Write the artifact in `plan.precision`.

    Args:
        plan: with the model in float32.
        artifact: what to write. folder: for other files. write: see `Write`.
    """
    is_int8 = plan.precision.name.startswith("int8")
    smoothed, notes = _smoothed(plan, folder) if is_int8 else (plan, ())
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
    first, *others = (source_images(*plan.tested, seed=seed) for seed in range(_STRUCTURED_SETS))
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
        held, more = _quantised_onnx(plan, source, artifact, folder)
    finally:
        for file in list(files_of(source)):
            file.unlink(missing_ok=True)
    return whole, {**converted, "weight_bytes": held}, (*notes, *more)


def _quantised_onnx(
    plan: Plan, source: Path, artifact: Path, folder: Path
) -> tuple[int, tuple[str, ...]]:
    """Write a float32 file in another precision: (bytes of its weights, notes)."""
    from keras_vit.export import onnx_float16, onnx_int8_dynamic

    match plan.precision.name:
        case "float16":
            return onnx_float16.write(source, artifact), ()
        case "int8-dynamic":
            held, share = onnx_int8_dynamic.write(source, artifact)
            return held, _rest_in_float(share)
        case _:
            samples = _samples(plan, folder)
            request = {"source": str(source), "artifact": str(artifact), "samples": str(samples)}
            found = run_child("keras_vit.export.onnx_int8", request, folder)
            samples.unlink()
            return found["weight_bytes"], (found["note"], *_rest_in_float(found["share"]))


def _rest_in_float(share: float) -> tuple[str, ...]:
    if share > _MOST:
        return ()
    return (f"{share:.0%} of the weights are in int8; the others stay in float32",)


def _lower_tflite(plan: Plan, artifact: Path, folder: Path, write: Write) -> Converted:
    """Have the converter quantise."""
    name, search = plan.precision.name, folder / "search.json"
    options: dict[str, Any] = {"precision": name}
    if name == "int8":
        options |= {"samples": str(_samples(plan, folder)), "search": str(search)}
    whole, converted, notes = write(plan, artifact, folder, options)
    if name == "int8":
        notes = (*notes, json.loads(search.read_text())["note"])
        for file in (search, Path(options["samples"])):
            file.unlink()
    held = converted["weight_bytes"] // WEIGHT_BYTES["float32"] * WEIGHT_BYTES[name]
    return whole, {**converted, "weight_bytes": held}, notes


def _samples(plan: Plan, folder: Path) -> Path:
    """A file of the user's images as the artifact takes them, and of what the model answers to those
    held out."""
    calibration, bar = plan.precision.calibration, plan.precision.bar
    assert calibration is not None and bar is not None
    calibrating, held_out = (
        feed(raw, plan.images.dtype, plan.mode, plan.preprocessing)
        for raw in (calibration.calibrating, calibration.held_out)
    )
    seen = images_for_model(plan, calibration.held_out)
    expected = expected_outputs(plan.model, plan.own, plan.wanted, seen)
    path = folder / "samples.npz"
    Samples(calibrating, held_out, expected, bar).save(path)
    return path
