"""`check`: is a file still the one that was exported, does it run, does it compute what a model does."""

import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.errors import ExportError, UsageError
from keras_vit.export.artifact import images_last, open_artifact
from keras_vit.export.formats import recognise
from keras_vit.export.images import as_seen, feed, raw_images
from keras_vit.export.report import CheckReport, Tensor
from keras_vit.export.sidecar import preprocessing_of, read_sidecar, sha256, size_of
from keras_vit.export.verify import Finding, examine_in_child

if TYPE_CHECKING:
    import keras


def check(
    path: str | os.PathLike[str], against: "str | os.PathLike[str] | keras.Model | None" = None
) -> CheckReport:
    """Reopen an artifact in its own runtime, in a child process, and say what is wrong with it.

    Looked at are the operators, the interface, the labels and preprocessing, the SHA-256 in the JSON
    beside it, and what it answers to structured images at several batch sizes: finite, the same alone
    as in a batch, and the same as `against`.

    Args:
        path: a `.keras`, `.tflite` or `.onnx` file, or a SavedModel folder.
        against: a Keras model, or the path of any such file, that should compute the same. Each is
            fed the same images by its own preprocessing.

    Returns:
        The findings; `report.passed` is whether nothing is wrong.

    Raises:
        UsageError: nothing is there, or `against` cannot be fed the same images.
    """
    path = Path(path)
    format = recognise(path)
    try:
        beside = read_sidecar(path)
        with tempfile.TemporaryDirectory(prefix="keras_vit.check.") as folder:
            finding = _examine(path, format, beside, against, Path(folder))
    except ExportError as error:
        return _unopened(path, format, str(error))
    metadata = beside or finding.embedded or {}
    problems = [*finding.problems, *_metadata_problems(metadata, finding)]
    if beside is not None:
        problems += _sidecar_problems(path, beside, finding)
    notes = [*finding.notes, *([] if metadata else ["it has no metadata of keras_vit"])]
    return CheckReport(
        path=str(path),
        format=format,
        size=size_of(path),
        inputs=finding.inputs,
        outputs=finding.outputs,
        operators=finding.operators,
        labels=tuple(metadata["labels"]) if metadata.get("labels") else None,
        preprocessing=(metadata.get("preprocessing") or {}).get("mode"),
        comparison=finding.comparison,
        batches=finding.batches,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _examine(
    path: Path, format: str, beside: Mapping[str, Any] | None, against: Any, folder: Path
) -> Finding:
    """Run it on its own, and where there is something to compare it with, once more for that."""
    report = (beside or {}).get("report") or {}
    finding = examine_in_child(path, format, folder, weight_bytes=report.get("weight_bytes"))
    if against is None or not finding.inputs:
        return finding
    images, expected = _answers(finding, beside or finding.embedded or {}, against)
    return examine_in_child(
        path,
        format,
        folder,
        images=images,
        expected=expected,
        weight_bytes=report.get("weight_bytes"),
    )


def _answers(
    finding: Finding, metadata: Mapping[str, Any], against: Any
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(images for the artifact, what `against` answers to the same images)."""
    wanted, values = _images(finding, metadata), preprocessing_of(metadata)
    mode = _mode(metadata)
    raw = raw_images(wanted, values)
    if isinstance(against, str | os.PathLike):
        other = open_artifact(against)
        theirs = other.preprocessing or values
        seen = _seen(raw, mode, other.preprocessing_mode, values or theirs)
        _require_alike(mode, other.preprocessing_mode, _like(wanted, seen), other.images)
        given = other.run(feed(seen, other.images.dtype, other.preprocessing_mode, theirs))
        expected = _in_common(given, finding)
    else:
        from keras_vit.export.interface import configuration, output_names
        from keras_vit.export.outputs import expected_outputs

        config = configuration(against)
        theirs = config.preprocessing if config else values
        (one,) = against.inputs
        seen = _seen(raw, mode, "none", values or theirs)
        takes = Tensor("images", tuple(one.shape), one.dtype)
        _require_alike(mode, "none", _like(wanted, seen), takes)
        images = feed(seen, one.dtype, "none", theirs)
        asked = metadata.get("outputs")
        expected = expected_outputs(against, output_names(against), asked, images)
    return feed(raw, wanted.dtype, mode, values or theirs), expected


def _seen(raw: np.ndarray, mode: str, other_mode: str, values: Preprocessing | None) -> np.ndarray:
    """The images for `against`: resized by Pillow where the file resizes and it does not."""
    if mode == other_mode or "baked" not in (mode, other_mode):
        return raw
    if mode != "baked":
        raise UsageError(
            "what it is checked against resizes its images itself and the file does not: check the "
            "other against it"
        )
    return as_seen(raw, mode, values)


def _like(wanted: Tensor, images: np.ndarray) -> Tensor:
    """The input as if it took images of this size."""
    return dataclasses.replace(wanted, shape=(wanted.shape[0], *images.shape[1:]))


def _in_common(given: Mapping[str, np.ndarray], finding: Finding) -> dict[str, np.ndarray]:
    """The outputs that the file has too."""
    names = [output.name for output in finding.outputs]
    common = {name: value for name, value in given.items() if name in names}
    if not common:
        raise UsageError(f"nothing to compare: one gives {', '.join(given)}, the other {names}")
    return common


def _images(finding: Finding, metadata: Mapping[str, Any]) -> Tensor:
    """The input as (batch, height, width, channels)."""
    layout = (metadata.get("preprocessing") or {}).get("layout", "nhwc")
    return images_last(finding.inputs[0], layout)


def _mode(metadata: Mapping[str, Any]) -> str:
    return (metadata.get("preprocessing") or {}).get("mode", "none")


def _require_alike(mode: str, other_mode: str, images: Tensor, other: Tensor) -> None:
    """Both have to take the same images, up to the normalisation."""
    if (mode == "layer") != (other_mode == "layer"):
        raise UsageError(
            "one of the two holds a preprocessing layer of its own, so that they cannot be fed the "
            "same images"
        )
    sides = zip(images.shape[1:], other.shape[1:], strict=True)
    if any(None not in pair and pair[0] != pair[1] for pair in sides):
        raise UsageError(f"the two take different images: {images} and {other}")


def _metadata_problems(metadata: Mapping[str, Any], finding: Finding) -> list[str]:
    """Metadata that do not fit the tensors of the artifact."""
    if not finding.inputs:
        return []  # it could not be opened, which is a problem already
    problems = []
    images = _images(finding, metadata)
    values = metadata.get("preprocessing") or {}
    labels = metadata.get("labels")
    logits = [output for output in finding.outputs if output.name == "logits"]
    if len(finding.inputs) != 1:
        problems.append(f"it has {len(finding.inputs)} inputs")
    if labels and logits and logits[0].shape[-1] not in (None, len(labels)):
        problems.append(f"it has {len(labels)} labels for {logits[0]}")
    if values.get("input_dtype") not in (None, images.dtype):
        problems.append(f"its metadata say {values['input_dtype']} images, and it takes {images}")
    size = values.get("input_size", values.get("image_size"))
    if size and any(
        None not in (s, want) and s != want for s, want in zip(images.shape[1:3], size, strict=True)
    ):
        problems.append(f"its metadata say images of {tuple(size)}, and it takes {images}")
    return problems


def _sidecar_problems(path: Path, beside: Mapping[str, Any], finding: Finding) -> list[str]:
    """Where the artifact is not the one that the JSON beside it describes."""
    problems = []
    recorded = (beside.get("artifact") or {}).get("sha256")
    if recorded != sha256(path):
        problems.append("it is not the file that was exported: its SHA-256 differs from the JSON's")
    for key, value in (finding.embedded or {}).items():
        if beside.get(key) != value:
            problems.append(f"the JSON beside it has another {key!r} than the file itself")
    report = beside.get("report") or {}
    for kind, actual in (("inputs", finding.inputs), ("outputs", finding.outputs)):
        problems += _changed(kind, report.get(kind), actual)
    return problems


def _changed(kind: str, recorded: Sequence[Any] | None, actual: Sequence[Tensor]) -> list[str]:
    if recorded is None:
        return []
    wanted = {str(Tensor.from_dict(value)) for value in recorded}
    return [] if wanted == {str(v) for v in actual} else [f"its {kind} are not those exported"]


def _unopened(path: Path, format: str, problem: str) -> CheckReport:
    """The report on a file that could not be run at all."""
    return CheckReport(
        path=str(path),
        format=format,
        size=size_of(path),
        inputs=(),
        outputs=(),
        operators={},
        labels=None,
        preprocessing=None,
        comparison=None,
        batches=(),
        problems=(problem,),
        notes=(),
    )
