"""What travels with an artifact: JSON beside it, and the same facts inside where a format has room.

The JSON beside `flowers.onnx` is `flowers.onnx.json`. It holds the metadata below, the artifact's
SHA-256, and the report of its verification. Inside an ONNX file the metadata are `metadata_props`
under `keras_vit.<entry>`, each a JSON value; inside a SavedModel they are
`assets.extra/keras_vit.json`, inside a TFLite file `keras_vit.json` in the archive at its end.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_vit import __version__
from keras_vit.config import ModelConfig, Preprocessing
from keras_vit.errors import ExportError
from keras_vit.export.report import ExportReport
from keras_vit.export.staging import data_path, sidecar_path
from keras_vit.weights.checksum import file_sha256

SCHEMA = 1
"""Of the JSON; a reader refuses a newer one."""

SIGNATURE = "serving_default"
"""The name of the signature in SavedModels and TFLite files."""

SAVED_MODEL_METADATA = Path("assets.extra", "keras_vit.json")
"""`assets.extra` is SavedModel's own place for a user's files."""

SAVED_MODEL_LABELS = Path("assets.extra", "labels.txt")
"""One label a line, for readers of other languages."""

_PREFIX = "keras_vit."  # of ONNX metadata_props


def metadata(
    *,
    name: str,
    config: ModelConfig | None,
    labels: tuple[str, ...] | None,
    mode: str,
    input_dtype: str,
    image_size: tuple[int, int] | None,
    backend: str,
    layout: str = "nhwc",
    precision: str = "float32",
    input_size: Sequence[int | None] | None = None,
    outputs: Sequence[str] | None = None,
    counts: tuple[int | None, int | None] = (None, None),
) -> dict[str, Any]:
    """What an artifact says of itself.

    Args:
        name: the model's. config: its configuration, if it has one.
        labels: one name a logit, or None.
        mode: `"none"`, `"normalize"`, `"baked"` or `"layer"`: what it does to its images itself.
        input_dtype: of the images it takes.
        image_size: (height, width) that the model sees; None is any.
        backend: Keras' backend when it was exported.
        precision: one of `PRECISIONS`.
        layout: `"nhwc"`, or `"nchw"` for an ONNX file that takes (batch, channels, height, width).
        input_size: (height, width) of the images it takes, None for any; None is `image_size`.
        outputs: what was asked of it, see `export_model`; None is what the model gives.
        counts: parameters and multiply-adds of the model (`keras_vit.counting.known_counts`).
    """
    values = config.preprocessing.to_dict() if config else {}
    return {
        "schema": SCHEMA,
        "keras_vit": __version__,
        "name": config.name if config else name,
        "config": config.to_dict() if config else None,
        "labels": labels,
        "preprocessing": {
            **values,
            "mode": mode,
            "input_dtype": input_dtype,
            "image_size": image_size,
            "input_size": image_size if input_size is None else list(input_size),
            "layout": layout,
        },
        "outputs": outputs,
        "weights": config.weights if config else None,
        "parameters": counts[0],
        "macs": counts[1],
        "backend": backend,
        "precision": precision,
    }


def preprocessing_of(data: Mapping[str, Any]) -> Preprocessing | None:
    """The checkpoint's preprocessing in an artifact's metadata, or None where it is not known."""
    values = data.get("preprocessing") or {}
    names = [field.name for field in dataclasses.fields(Preprocessing)]
    if not set(names) <= set(values):
        return None
    return Preprocessing.from_dict({name: values[name] for name in names})


def to_properties(data: Mapping[str, Any]) -> dict[str, str]:
    """Metadata as ONNX `metadata_props`."""
    return {_PREFIX + key: json.dumps(value) for key, value in data.items()}


def from_properties(properties: Mapping[str, str]) -> dict[str, Any] | None:
    """The inverse of `to_properties`; None for a file that is not ours.

    Raises:
        ValueError: an entry of ours that is not JSON.
    """
    ours = {key: value for key, value in properties.items() if key.startswith(_PREFIX)}
    return {key.removeprefix(_PREFIX): json.loads(value) for key, value in ours.items()} or None


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """The JSON beside an artifact; None where there is none of ours.

    Raises:
        ExportError: it is damaged, or from a newer version.
    """
    beside = sidecar_path(path)
    if not beside.is_file():
        return None
    try:
        data = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{beside} is not JSON: {error}") from error
    if not isinstance(data, dict) or "schema" not in data:
        return None
    if data["schema"] > SCHEMA:
        raise ExportError(f"{beside} was written by a newer keras_vit ({data.get('keras_vit')})")
    return data


def write(
    beside: Path,
    artifact: Path,
    data: Mapping[str, Any],
    report: ExportReport,
    versions: Mapping[str, str],
) -> None:
    """Write the JSON for an artifact: its metadata, its hash, and how it was verified."""
    names = {"path": Path(report.path).name, "files": [Path(file).name for file in report.files]}
    whole = {
        **data,
        "artifact": {"format": report.format, "bytes": report.size, "sha256": sha256(artifact)},
        "versions": versions,
        "report": {**report.to_dict(), **names},
    }
    beside.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Of a file; of several: of their names and hashes, in the order of the names."""
    files = list(files_of(path))
    if files == [path]:
        return file_sha256(path)
    root = path if path.is_dir() else path.parent
    lines = [f"{file.relative_to(root).as_posix()} {file_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def size_of(path: Path) -> int:
    """Bytes of an artifact, of all its files."""
    return sum(file.stat().st_size for file in files_of(path))


def files_of(path: Path) -> Iterator[Path]:
    """The file itself, with the weights beside it if there are any; or every file in the folder."""
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
        return
    yield path
    if data_path(path).is_file():
        yield data_path(path)
