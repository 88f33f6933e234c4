"""The formats by every name they go by, and how a path tells which one is meant."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from keras_vit.errors import UsageError
from keras_vit.export.serving_options import versions

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "savedmodel": "savedmodel",
        "saved_model": "savedmodel",
        "tf_saved_model": "savedmodel",
        "tflite": "tflite",
        "litert": "tflite",
        "onnx": "onnx",
    }
)
"""Every accepted name of a format, Keras' own included -> the name used here."""

SUFFIXES: Mapping[str, str] = MappingProxyType({".tflite": "tflite", ".onnx": "onnx"})
"""What a file's name says about its format; a SavedModel is a folder and has no suffix of its own."""

_TFLITE_MAGIC = b"TFL3"  # bytes 4..8: the flatbuffer's file identifier
_ZIP_MAGIC = b"PK\x03\x04"


def resolve_format(path: Path, format: str | None) -> str:
    """The format to write: what `format` says, or else the suffix of `path`.

    Raises:
        UsageError: an unknown format, or a suffix that belongs to another one.
    """
    by_suffix = SUFFIXES.get(path.suffix.lower())
    if format is None:
        if by_suffix is None and path.suffix.lower() in {".keras", ".h5", ".pb", ".pt", ".pth"}:
            raise UsageError(
                f"{path.name}: no format ends in {path.suffix}; use .tflite, .onnx, or a folder's "
                "name for a SavedModel"
            )
        return by_suffix or "savedmodel"
    resolved = FORMATS.get(format.lower().replace("-", "_"))
    if resolved is None:
        raise UsageError(f"unknown format {format!r}; the formats are {', '.join(FORMATS)}")
    if by_suffix not in (None, resolved):
        raise UsageError(f"{path.name} is named like {by_suffix} but the format is {resolved}")
    return resolved


def recognise(path: Path) -> str:
    """`"savedmodel"`, `"keras"`, `"tflite"` or `"onnx"`, by content and not by name.

    ONNX files have no magic number: what is none of the others is taken for one.

    Raises:
        UsageError: nothing is there, or a folder that is not a SavedModel.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "savedmodel"
        if found := versions(path):
            raise UsageError(
                f"{path} is a folder of versions; name one, such as {path / str(found[-1])}"
            )
        raise UsageError(f"{path} is a folder without saved_model.pb: not a SavedModel")
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    with path.open("rb") as file:
        head = file.read(8)
    if head[:4] == _ZIP_MAGIC and zipfile.is_zipfile(path):
        return "keras"
    if head[4:8] == _TFLITE_MAGIC:
        return "tflite"
    # A damaged file is better reported as a bad file of the kind that its name promises.
    return {".keras": "keras", ".tflite": "tflite"}.get(path.suffix.lower(), "onnx")
