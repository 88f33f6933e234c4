"""`export_model`: from a Keras model to a file that was reopened and found to compute the same."""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_vit.counting import known_counts
from keras_vit.errors import ExportError
from keras_vit.export import handover, sidecar
from keras_vit.export.child import ReloadError, run_child
from keras_vit.export.formats import resolve_format
from keras_vit.export.lowering import Converted, lower
from keras_vit.export.onnx_options import FALLBACK_OPSET, OnnxOptions
from keras_vit.export.outputs import with_outputs
from keras_vit.export.planning import Plan, plan_export
from keras_vit.export.precision import TARGET
from keras_vit.export.proving import prove
from keras_vit.export.report import ExportReport, Tensor
from keras_vit.export.serving_options import ServingOptions
from keras_vit.export.staging import data_path, folder_of, publish, sidecar_path, staging
from keras_vit.export.targets import require_runnable, settle, target_notes, use_of
from keras_vit.export.verify import Finding


def export_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    batch: int | str | None = None,
    preprocessing: str | keras.layers.Layer = "none",
    input_dtype: str | None = None,
    image_size: tuple[int, int] | str | None = None,
    input_size: tuple[int, int] | str | None = None,
    outputs: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    opset: int | None = None,
    attention: str | None = None,
    layout: str | None = None,
    endpoints: Sequence[str] | None = None,
    xla: bool = False,
    versioned: bool | int = False,
    precision: str = "float32",
    calibration: Any = None,
    target_agreement: float = TARGET,
    target: str | None = None,
    verify: bool = True,
    overwrite: bool = False,
) -> ExportReport:
    """Write a model as a SavedModel, TFLite or ONNX file in float32, and prove that it is right.

    ONNX is written here, from the layers and their weights. For the other formats, and for ONNX of a
    model with layers that are not known here (`report.writer` names them), a child process with Keras
    on TensorFlow converts, whatever the backend here. Another one reopens the file in its real
    runtime and compares it with the model as the backend here computes it, on structured images. Only
    then does it appear under its name, with `NAME.json` beside it. The input is called `images`
    (NHWC), the output `logits`, or `features` without classes. An ONNX file of more than 1.9 GB has its
    weights in `NAME.data`.

    Args:
        model: any Keras model with one image input.
        path: the file, or for a SavedModel the folder. Its parent has to exist.
        format: `"savedmodel"` (`"tf_saved_model"`), `"tflite"` (`"litert"`), `"onnx"`; None takes it
            from the suffix, and a name without one is a SavedModel.
        batch: a size, `"dynamic"`, or None: dynamic for SavedModel and ONNX, 1 for TFLite.
        preprocessing: `"none"`: the file takes normalised float32 images, like the model.
            `"normalize"`: it takes RGB of 0 to 255 at the model's size and normalises inside.
            `"baked"`: it takes RGB of 0 to 255 of `input_size` and does all that the checkpoint's
            evaluation does inside, equal to Pillow. A layer of your own: it takes what the layer takes.
        input_dtype: `"uint8"` or `"float32"`, of images of 0 to 255; None is uint8.
        image_size: (height, width), for a model or a layer that takes any; None is the
            configuration's. `"dynamic"`: a SavedModel or ONNX file of a model loaded with
            `dynamic_image_size=True` takes any size, too, and resizes its positions.
        input_size: for `"baked"`: (height, width) of the images before the resize. A SavedModel takes
            `"any"` too, its default: each batch has one size, and the next may have another.
        outputs: what the file gives, several of `"logits"`, `"probabilities"`, `"top5"` (or another
            number; `top5_classes` and `top5_probabilities`), `"features"`, `"attention"` (of every block)
            and names of layers, such as `"blocks_5"`; None is what the model gives.
        labels: one name a logit; None takes the model's own.
        opset: of an ONNX file: 17, 18, 20, 21, 22 or 23; None is 20. tf2onnx ends at 18.
        attention: in an ONNX file `"matmul"`: of products and a softmax, the default, or `"operator"`:
            ONNX's own, from opset 23.
        layout: of an ONNX file's images, `"nhwc"`, the default, or `"nchw"`: (batch, channels, height,
            width).
        endpoints: of a SavedModel, signatures beside `serving_default`: `"images"` takes uint8 images of
            any size, `"bytes"` JPEG or PNG files, of any sizes in a batch, and both do all that the
            checkpoint's evaluation does. None is both, where the preprocessing is known.
        xla: compile a SavedModel's model by XLA, when it is first called with a batch size.
        versioned: the path is a folder of versions, as TF Serving reads it, made if it is missing: True
            writes the next one (`path/1`), a number that one.
        precision: `"float32"`; `"float16"`: weights, and in ONNX products, in half the bytes;
            `"int8-dynamic"`: weights of products in int8, one scale an output, their inputs quantised
            as they come, a quarter of the bytes and the fastest on CPUs; `"int8"`: activations too, over
            ranges found on `calibration`, for NPUs; what costs decisions stays in float32, and the
            report's notes say what. TFLite and ONNX.
        calibration: images of the kind that the file will see, for int8 and to judge any lower precision
            on: a folder, a uint8 array (N, H, W, C), a tf.data dataset, `"tfds:NAME#SPLIT"`. At least 32,
            of which every second one is held out to judge by. Without them 75 drawn images judge.
        target_agreement: share of the held-out images on which the top-1 has to stay, 0..1.
        target: where the file shall run: `"server"`, `"mobile-cpu"`, `"mobile-gpu"`, `"browser"` or
            `"tensorrt"`. It chooses what is left out above, and a file with an operator that it does not
            have is refused (`keras_vit.export.targets`).
        verify: False skips reopening and comparing.
        overwrite: replace an output that exists.

    Returns:
        What was written and measured.

    Raises:
        UsageError: arguments that do not fit, or an output that exists. Nothing was begun.
        ExportError: the conversion failed, or the file is wrong. Nothing was left behind.
    """
    use = use_of(target, resolve_format(Path(path), format))
    settled = settle(
        target,
        use,
        {
            "batch": batch,
            "input_dtype": input_dtype,
            "opset": opset,
            "attention": attention,
            "layout": layout,
            "precision": precision,
        },
    )
    options = OnnxOptions.of(settled["opset"], settled["attention"], settled["layout"])
    serving = ServingOptions(None if endpoints is None else tuple(endpoints), xla, versioned)
    plan = plan_export(
        model,
        Path(path),
        format,
        settled["batch"],
        preprocessing,
        settled["input_dtype"],
        image_size,
        input_size,
        outputs,
        labels,
        options,
        serving,
        precision,
        calibration,
        target_agreement,
        overwrite,
    )
    start = time.perf_counter()
    with folder_of(plan.path), staging(plan.path) as folder:
        artifact = folder / plan.path.name
        plan, converted, notes = _convert(plan, artifact, folder)
        seconds = {"convert": time.perf_counter() - start}
        require_runnable(target, use, artifact, plan.format)
        finding = prove(plan, artifact, folder, converted["weight_bytes"]) if verify else None
        seconds["total"] = time.perf_counter() - start
        seconds["verify"] = seconds["total"] - seconds["convert"]
        if finding is not None:
            notes += target_notes(target, use, finding.operators, finding.comparison)
        report = _report(plan, artifact, converted, finding, seconds, notes)
        beside = folder / "sidecar"
        sidecar.write(beside, artifact, _metadata(plan), report, converted["versions"])
        publish([*_files(plan, artifact), (beside, sidecar_path(plan.path))], folder)
    return report


def _files(plan: Plan, artifact: Path) -> list[tuple[Path | None, Path]]:
    """What is published where; weights that an older file had beside it go."""
    if plan.format != "onnx":
        return [(artifact, plan.path)]
    data = data_path(artifact)
    return [(artifact, plan.path), (data if data.is_file() else None, data_path(plan.path))]


def _metadata(plan: Plan) -> dict[str, Any]:
    return sidecar.metadata(
        name=plan.model.name,
        config=plan.config,
        labels=plan.labels,
        mode=plan.mode,
        input_dtype=plan.images.dtype,
        image_size=plan.seen,
        input_size=plan.images.shape[1:3],
        outputs=plan.wanted,
        backend=keras.backend.backend(),
        layout=plan.options.layout,
        precision=plan.precision.name,
        counts=known_counts(plan.model),
    )


def _convert(plan: Plan, artifact: Path, folder: Path) -> Converted:
    """Write the artifact in its precision."""
    if not plan.precision.is_lower:
        return _convert_float32(plan, artifact, folder, {})
    whole, notes = _rebuilt(plan, folder)
    whole, converted, more = lower(whole, artifact, folder, _convert_float32)
    return whole, converted, (*notes, *more, *whole.precision.notes(plan.format))


def _convert_float32(
    plan: Plan, artifact: Path, folder: Path, options: dict[str, Any]
) -> Converted:
    """Write the model as it is; options are those of TFLite's converter."""
    if plan.format != "onnx":
        return _convert_in_child(plan, artifact, folder, {**options, **_serving_options(plan)})
    from keras_vit.export import onnx_writer
    from keras_vit.export.onnx_graph import NoRule

    try:
        whole, notes = _rebuilt(plan, folder)
        converted = onnx_writer.write(
            with_outputs(whole.model, plan.own, plan.wanted),
            whole.front,
            plan.images,
            plan.outputs,
            _metadata(plan),
            artifact,
            plan.options,
        )
        return whole, {**converted, "writer": "direct"}, notes
    except (NoRule, ReloadError) as error:
        return _fall_back(plan, artifact, folder, str(error))


def _serving_options(plan: Plan) -> dict[str, Any]:
    if not plan.endpoints:
        return {}
    assert plan.preprocessing is not None
    return {"endpoints": plan.endpoints, "values": plan.preprocessing.to_dict()}


def _rebuilt(plan: Plan, folder: Path) -> tuple[Plan, tuple[str, ...]]:
    """The plan in float32, and a note where that took rebuilding."""
    whole = plan
    file = folder / "float32.keras"
    for part in ("model", "front"):
        network = getattr(plan, part)
        if network is not None and not handover.is_float32(network):
            whole = dataclasses.replace(whole, **{part: handover.save_float32(network, file)})
            file.unlink()
    return whole, _rebuilding_note(plan, whole)


def _rebuilding_note(plan: Plan, whole: Plan) -> tuple[str, ...]:
    if whole.model is plan.model:
        return ()
    kinds = ", ".join(sorted(handover.policies(plan.model) - {"float32"}))
    return (f"the model computes in {kinds} and was rebuilt in float32",)


def _fall_back(plan: Plan, artifact: Path, folder: Path, reason: str) -> Converted:
    """Write an ONNX file by tf2onnx.

    Raises:
        ExportError: it cannot be had so.
    """
    if None in plan.images.shape[1:]:
        raise ExportError(f'image_size="dynamic" cannot be written: {reason}')
    if plan.options.attention == "operator":
        raise ExportError(f'attention="operator" cannot be written: {reason}')
    opset = min(plan.options.opset, FALLBACK_OPSET)
    options = {"opset": opset, "layout": plan.options.layout}
    plan, converted, notes = _convert_in_child(plan, artifact, folder, options)
    written = f"written by tf2onnx, which is slower and ends at opset {FALLBACK_OPSET}: {reason}"
    return plan, {**converted, "writer": f"tf2onnx ({reason})"}, (*notes, written)


def _convert_in_child(
    plan: Plan, artifact: Path, folder: Path, options: dict[str, Any]
) -> Converted:
    """Write the artifact in a child process with Keras on TensorFlow."""
    files = {"model": folder / "model.keras", "front": folder / "front.keras"}
    request = {
        "format": plan.format,
        "artifact": str(artifact),
        "images": plan.images.to_dict(),
        "own": plan.own,
        "wanted": plan.wanted,
        "xla": plan.xla,
        "metadata": _metadata(plan),
        "options": options,
        "search_path": handover.search_path(),
        "model": str(files["model"]),
        "front": str(files["front"]) if plan.front is not None else None,
    }
    notes: tuple[str, ...] = ()
    try:
        whole = dataclasses.replace(plan, model=handover.save_float32(plan.model, files["model"]))
        notes = _rebuilding_note(plan, whole)
        plan = whole
        if plan.front is not None:
            front = handover.save_float32(plan.front, files["front"])
            plan = dataclasses.replace(plan, front=front)
        converted = run_child("keras_vit.export.convert_child", request, folder)
    except ReloadError as error:
        converted = _convert_here(plan, request, error)
        notes = (*notes, f"converted in this process, because {error}")
    finally:
        for file in files.values():
            file.unlink(missing_ok=True)  # the weights; the verification needs the room
    return plan, converted, notes


def _convert_here(plan: Plan, request: dict[str, Any], error: ReloadError) -> dict[str, Any]:
    """Convert without a child, where the model lives on TensorFlow already."""
    in_float32 = handover.is_float32(plan.model) and (
        plan.front is None or handover.is_float32(plan.front)
    )
    if keras.backend.backend() != "tensorflow" or not in_float32:
        raise ExportError(
            f"{error}; register its classes with keras.saving.register_keras_serializable in a module "
            "that can be imported"
        ) from error
    from keras_vit.export.convert_child import write

    return write(request, plan.model, plan.front)


def _report(
    plan: Plan,
    artifact: Path,
    converted: dict[str, Any],
    finding: Finding | None,
    seconds: dict[str, float],
    notes: tuple[str, ...],
) -> ExportReport:
    return ExportReport(
        path=str(plan.path),
        format=plan.format,
        files=(
            *(str(final) for source, final in _files(plan, artifact) if source is not None),
            str(sidecar_path(plan.path)),
        ),
        size=sidecar.size_of(artifact),
        weight_bytes=converted["weight_bytes"],
        inputs=(plan.input,),
        outputs=tuple(Tensor.from_dict(output) for output in converted["outputs"]),
        batch=plan.images.shape[0] or "dynamic",
        preprocessing=plan.mode,
        converter=converted["converter"],
        writer=converted.get("writer", ""),
        precision=plan.precision.name,
        operators=finding.operators if finding else {},
        verified=finding is not None,
        comparison=finding.comparison if finding else None,
        batches=finding.batches if finding else (),
        seconds={step: round(value, 2) for step, value in seconds.items()},
        notes=(*notes, *(finding.notes if finding else ())),
    )
