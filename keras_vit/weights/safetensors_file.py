"""Reading and writing .safetensors, by the safetensors library."""

import importlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.errors import CheckpointError
from keras_vit.weights.checkpoint import Array, Checkpoint, StoredTensor
from keras_vit.weights.whole_file import whole_file

# A header names each tensor in some 100 bytes, so real ones stay below 1 MB; the library itself
# would parse 100 MB of it into many times the memory.
_MAX_HEADER = 16 * 2**20

# What `read` returns for each dtype of the format. The 8-bit and 4-bit floats of quantized language
# models are left out: no vision transformer is published in them.
_DTYPES: dict[str, type[Any]] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.float32,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def is_safetensors(head: bytes) -> bool:
    """Whether a file that starts with `head` claims to be .safetensors.

    The format starts with the length of its JSON header, 8 bytes little-endian, and the header.
    """
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40


def open_safetensors(path: Path) -> Checkpoint:
    """Open a .safetensors file; the library checks the header against the size of the file.

    Raises:
        CheckpointError: for a file that is damaged or holds a dtype without a numpy form.
    """
    from safetensors import SafetensorError, safe_open

    _check_header_size(path)
    # backend="pread" reads each tensor into memory of its own. The default maps the file, and then
    # its pages count beside the arrays: filling 324 MB of variables from a file of that size peaked
    # at 331 MB by pread and at 655 MB by mapping.
    try:
        file = safe_open(path, framework="np", backend="pread")
        slices = {key: file.get_slice(key) for key in file.offset_keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged .safetensors file: {error}") from error
    tensors = {
        key: StoredTensor(
            tuple(part.get_shape()),
            _numpy_dtype(path, key, part.get_dtype()),
            partial(_read, file, path, key, part.get_dtype()),
        )
        for key, part in slices.items()
    }
    close = partial(file.__exit__, None, None, None)
    return Checkpoint(path, "safetensors", tensors, file.metadata() or {}, (), close)


def write_safetensors(
    path: Path | str, tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a .safetensors file, whole or not at all.

    Args:
        path: the file; one that exists is replaced.
        tensors: arrays by name, of the format's dtypes, in any memory layout.
        metadata: text by name, kept in the header. timm and Hugging Face want {"format": "pt"}.

    Raises:
        CheckpointError: when the folder is missing or cannot be written, or the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    dense = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    with whole_file(Path(path)) as draft:
        try:
            save_file(dense, draft, dict(metadata or {}))
        except SafetensorError as error:
            raise CheckpointError(f"cannot write {path}: {error}") from error


def _check_header_size(path: Path) -> None:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(_MAX_HEADER, path.stat().st_size - 8):
        raise CheckpointError(
            f"{path}: damaged .safetensors file: its header claims {length} bytes"
        )


def _numpy_dtype(path: Path, key: str, code: str) -> np.dtype[Any]:
    if code not in _DTYPES:
        raise CheckpointError(f"{path}: tensor {key!r} has the unsupported dtype {code}")
    return np.dtype(_DTYPES[code])


def _read(file: Any, path: Path, key: str, code: str) -> Array:
    from safetensors import SafetensorError

    if code == "BF16":
        importlib.import_module("ml_dtypes")  # teaches numpy, and so the library, the dtype
    try:
        array = file.get_tensor(key)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: cannot read tensor {key!r}: {error}") from error
    return array.astype(np.float32) if code == "BF16" else array
