"""`export_model`: from a Keras model to a file that was reopened and found to compute the same."""

import dataclasses
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_vit.config import ModelConfig
from keras_vit.errors import ExportError, UsageError
from keras_vit.export import handover, sidecar
from keras_vit.export.child import ReloadError, run_child
from keras_vit.export.formats import resolve_format
from keras_vit.export.front import build_front
from keras_vit.export.images import feed, structured_images
from keras_vit.export.interface import configuration, image_shape, output_names
from keras_vit.export.onnx_options import FALLBACK_OPSET, OnnxOptions, stored_shape
from keras_vit.export.reference import answers
from keras_vit.export.report import ExportReport, Tensor
from keras_vit.export.staging import data_path, publish, require_free, sidecar_path, staging
from keras_vit.export.verify import Finding, examine_in_child

_INPUT_TYPES = ("uint8", "float32")


@dataclass(frozen=True)
class _Plan:
    """An export that has been checked for sense and not begun."""

    model: keras.Model
    path: Path
    format: str
    batch: int | None
    images: Tensor
    mode: str
    front: keras.Model | None
    outputs: tuple[str, ...]
    config: ModelConfig | None
    labels: tuple[str, ...] | None
    options: OnnxOptions

    @property
    def input(self) -> Tensor:
        """The artifact's input, in its own layout."""
        shape = stored_shape(self.images.shape, self.options.layout)
        return dataclasses.replace(self.images, shape=shape)


def export_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    batch: int | str | None = None,
    preprocessing: str | keras.layers.Layer = "none",
    input_dtype: str | None = None,
    image_size: tuple[int, int] | None = None,
    labels: Sequence[str] | None = None,
    opset: int = 20,
    attention: str = "matmul",
    layout: str = "nhwc",
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
            `"normalize"`: it takes RGB of 0 to 255 at the model's size and normalises inside. A layer
            of your own: it takes what the layer takes.
        input_dtype: `"uint8"` or `"float32"`, of images of 0 to 255; None is uint8.
        image_size: (height, width), for a model or a layer that takes any; None is the
            configuration's.
        labels: one name a logit; None takes the model's own.
        opset: of an ONNX file: 17, 18, 20, 21, 22 or 23. tf2onnx ends at 18.
        attention: in an ONNX file `"matmul"`: of products and a softmax, or `"operator"`: ONNX's own,
            from opset 23.
        layout: of an ONNX file's images, `"nhwc"` or `"nchw"`: (batch, channels, height, width).
        verify: False skips reopening and comparing.
        overwrite: replace an output that exists.

    Returns:
        What was written and measured.

    Raises:
        UsageError: arguments that do not fit, or an output that exists. Nothing was begun.
        ExportError: the conversion failed, or the file is wrong. Nothing was left behind.
    """
    options = OnnxOptions(opset, attention, layout)
    plan = _plan(
        model,
        Path(path),
        format,
        batch,
        preprocessing,
        input_dtype,
        image_size,
        labels,
        options,
        overwrite,
    )
    start = time.perf_counter()
    with staging(plan.path) as folder:
        artifact = folder / plan.path.name
        plan, converted, notes = _convert(plan, artifact, folder)
        seconds = {"convert": time.perf_counter() - start}
        finding = _verify(plan, artifact, folder, converted["weight_bytes"]) if verify else None
        seconds["total"] = time.perf_counter() - start
        seconds["verify"] = seconds["total"] - seconds["convert"]
        report = _report(plan, artifact, converted, finding, seconds, notes)
        beside = folder / "sidecar"
        sidecar.write(beside, artifact, _metadata(plan), report, converted["versions"])
        publish([*_files(plan, artifact), (beside, sidecar_path(plan.path))], folder)
    return report


def _files(plan: _Plan, artifact: Path) -> list[tuple[Path | None, Path]]:
    """What is published where; weights that an older file had beside it go."""
    if plan.format != "onnx":
        return [(artifact, plan.path)]
    data = data_path(artifact)
    return [(artifact, plan.path), (data if data.is_file() else None, data_path(plan.path))]


def _plan(
    model: keras.Model,
    path: Path,
    format: str | None,
    batch: int | str | None,
    preprocessing: str | keras.layers.Layer,
    input_dtype: str | None,
    image_size: tuple[int, int] | None,
    labels: Sequence[str] | None,
    options: OnnxOptions,
    overwrite: bool,
) -> _Plan:
    """Check every argument; see `export_model`."""
    if not isinstance(model, keras.Model):
        raise UsageError(f"model has to be a keras.Model, not {type(model).__name__}")
    path = Path(os.path.abspath(path))  # noqa: PTH100 keeps a symbolic link's own name
    resolved = resolve_format(path, format)
    options.require_valid(resolved)
    require_free(path, resolved, overwrite)
    handover.require_floating(handover.policies(model))
    config = configuration(model)
    mode = _mode(preprocessing)
    size = _batch(batch, resolved)
    images = _images(model, config, mode, size, input_dtype, image_size)
    values = config.preprocessing if config else None
    front = build_front(preprocessing, values, _sides(images), images.dtype)
    if front is not None:
        _require_fit(front, model)
    outputs = output_names(model)
    return _Plan(
        model=model,
        path=path,
        format=resolved,
        batch=size,
        images=images,
        mode=mode,
        front=front,
        outputs=outputs,
        config=config,
        labels=_labels(model, labels, config, outputs),
        options=options,
    )


def _mode(preprocessing: str | keras.layers.Layer) -> str:
    if isinstance(preprocessing, keras.layers.Layer):
        return "layer"
    if preprocessing in ("none", "normalize"):
        return preprocessing
    raise UsageError(
        f'preprocessing has to be "none", "normalize" or a Keras layer, not {preprocessing!r}'
    )


def _batch(batch: int | str | None, format: str) -> int | None:
    """The fixed batch size, or None for a free one."""
    if batch is None:
        return 1 if format == "tflite" else None
    if batch == "dynamic":
        return None
    if isinstance(batch, int) and not isinstance(batch, bool) and batch > 0:
        return batch
    raise UsageError(f'batch has to be a positive number or "dynamic", not {batch!r}')


def _images(
    model: keras.Model,
    config: ModelConfig | None,
    mode: str,
    batch: int | None,
    input_dtype: str | None,
    image_size: tuple[int, int] | None,
) -> Tensor:
    """The input that the artifact will have."""
    height, width, channels = image_shape(model)
    own = (height, width)
    size = image_size or (config.preprocessing.image_size if config and None in own else own)
    if None in size:
        raise UsageError("the model takes images of any size; pass image_size=(height, width)")
    if mode != "layer" and any(
        side not in (None, given) for side, given in zip(own, size, strict=True)
    ):
        raise UsageError(f"the model takes images of {height} x {width}, not {size[0]} x {size[1]}")
    if mode == "none":
        dtype = model.inputs[0].dtype
        dtype = "float32" if "float" in dtype else dtype
        if input_dtype not in (None, dtype):
            raise UsageError(
                f'input_dtype={input_dtype!r} needs preprocessing="normalize" or a layer'
            )
    else:
        dtype = input_dtype or "uint8"
        if dtype not in _INPUT_TYPES:
            raise UsageError(f"input_dtype has to be one of {_INPUT_TYPES}, not {dtype!r}")
    return Tensor("images", (batch, *size, channels), dtype)


def _require_fit(front: keras.Model, model: keras.Model) -> None:
    """The layer has to give what the model takes."""
    given, wanted = tuple(front.output.shape[1:]), tuple(model.inputs[0].shape[1:])
    fits = len(given) == len(wanted) and all(
        want in (None, have) for have, want in zip(given, wanted, strict=True)
    )
    if not fits:
        raise UsageError(
            f"the preprocessing layer gives images of {given}, the model takes {wanted}"
        )


def _labels(
    model: keras.Model,
    labels: Sequence[str] | None,
    config: ModelConfig | None,
    outputs: tuple[str, ...],
) -> tuple[str, ...] | None:
    if labels is None:
        return config.labels if config else None
    classes = model.outputs[0].shape[-1]
    if outputs != ("logits",) or len(labels) != classes:
        raise UsageError(
            f"{len(labels)} labels for a model with {classes} outputs called {outputs}"
        )
    return tuple(str(label) for label in labels)


def _sides(images: Tensor) -> tuple[int, int, int]:
    """(height, width, channels) of an artifact's input, which are all fixed."""
    height, width, channels = images.shape[1:]
    assert height and width and channels
    return height, width, channels


def _metadata(plan: _Plan) -> dict[str, Any]:
    return sidecar.metadata(
        name=plan.model.name,
        config=plan.config,
        labels=plan.labels,
        mode=plan.mode,
        input_dtype=plan.images.dtype,
        image_size=_sides(plan.images)[:2],
        backend=keras.backend.backend(),
        layout=plan.options.layout,
    )


def _convert(
    plan: _Plan, artifact: Path, folder: Path
) -> tuple[_Plan, dict[str, Any], tuple[str, ...]]:
    """Write the artifact.

    Returns:
        the plan with the model in float32, what the converter said, and notes for the user.
    """
    if plan.format != "onnx":
        return _convert_in_child(plan, artifact, folder, {})
    from keras_vit.export import onnx_writer
    from keras_vit.export.onnx_graph import NoRule

    try:
        whole, notes = _rebuilt(plan, folder)
        converted = onnx_writer.write(
            whole.model,
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


def _rebuilt(plan: _Plan, folder: Path) -> tuple[_Plan, tuple[str, ...]]:
    """The plan in float32, and a note where that took rebuilding."""
    whole = plan
    file = folder / "float32.keras"
    for part in ("model", "front"):
        network = getattr(plan, part)
        if network is not None and not handover.is_float32(network):
            whole = dataclasses.replace(whole, **{part: handover.save_float32(network, file)})
            file.unlink()
    return whole, _rebuilding_note(plan, whole)


def _rebuilding_note(plan: _Plan, whole: _Plan) -> tuple[str, ...]:
    if whole.model is plan.model:
        return ()
    kinds = ", ".join(sorted(handover.policies(plan.model) - {"float32"}))
    return (f"the model computes in {kinds} and was rebuilt in float32",)


def _fall_back(
    plan: _Plan, artifact: Path, folder: Path, reason: str
) -> tuple[_Plan, dict[str, Any], tuple[str, ...]]:
    """Write an ONNX file by tf2onnx.

    Raises:
        ExportError: it cannot be had so.
    """
    if plan.options.attention == "operator":
        raise ExportError(f'attention="operator" cannot be written: {reason}')
    opset = min(plan.options.opset, FALLBACK_OPSET)
    options = {"opset": opset, "layout": plan.options.layout}
    plan, converted, notes = _convert_in_child(plan, artifact, folder, options)
    written = f"written by tf2onnx, which is slower and ends at opset {FALLBACK_OPSET}: {reason}"
    return plan, {**converted, "writer": f"tf2onnx ({reason})"}, (*notes, written)


def _convert_in_child(
    plan: _Plan, artifact: Path, folder: Path, options: dict[str, Any]
) -> tuple[_Plan, dict[str, Any], tuple[str, ...]]:
    """Write the artifact in a child process with Keras on TensorFlow; else as `_convert`."""
    files = {"model": folder / "model.keras", "front": folder / "front.keras"}
    request = {
        "format": plan.format,
        "artifact": str(artifact),
        "images": plan.images.to_dict(),
        "outputs": plan.outputs,
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


def _convert_here(plan: _Plan, request: dict[str, Any], error: ReloadError) -> dict[str, Any]:
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


def _verify(plan: _Plan, artifact: Path, folder: Path, weight_bytes: int) -> Finding:
    """Reopen the artifact and compare it with the model.

    Raises:
        ExportError: what is wrong with it.
    """
    raw = structured_images(*_sides(plan.images))
    values = plan.config.preprocessing if plan.config else None
    images = feed(raw, plan.images.dtype, plan.mode, values)
    if plan.mode == "layer":
        expected = answers(plan.model, plan.outputs, images, plan.front)
    else:
        # Normalised here by NumPy, not by the layer in the artifact: that one is under test too.
        expected = answers(
            plan.model, plan.outputs, feed(raw, plan.model.inputs[0].dtype, "none", values)
        )
    batch = plan.images.shape[0]
    finding = examine_in_child(
        artifact,
        plan.format,
        folder,
        images=images,
        expected=expected,
        inputs=[plan.input],
        outputs=[
            Tensor(name, (batch, *value.shape[1:]), "float32") for name, value in expected.items()
        ],
        weight_bytes=weight_bytes,
    )
    if finding.problems:
        error = ExportError(f"{plan.path.name} is wrong and was not written: {finding.problems[0]}")
        for problem in finding.problems[1:]:
            error.add_note(problem)
        raise error
    return finding


def _report(
    plan: _Plan,
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
        operators=finding.operators if finding else {},
        verified=finding is not None,
        comparison=finding.comparison if finding else None,
        batches=finding.batches if finding else (),
        seconds={step: round(value, 2) for step, value in seconds.items()},
        notes=(*notes, *(finding.notes if finding else ())),
    )
