"""Reading and writing .npz checkpoints, as Google publishes them, without pickle."""

import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from io import BytesIO
from math import prod
from pathlib import Path

import numpy as np

from keras_vit.errors import CheckpointError
from keras_vit.weights.checkpoint import Array, Checkpoint, StoredTensor, widen_bfloat16
from keras_vit.weights.stored_zip import StoredZip
from keras_vit.weights.whole_file import whole_file

_SUFFIX = ".npy"
# numpy writes a header of 128 bytes and refuses to parse more than 10,000.
_MAX_HEADER = 12_000
# big_vision writes bfloat16, which numpy has not, as its two raw bytes.
_RAW_BFLOAT16 = "|V2"


def open_npz(path: Path) -> Checkpoint:
    """Open a .npz file. Raw two-byte elements are read as bfloat16.

    Raises:
        CheckpointError: when it is damaged, compressed, or holds anything but numbers.
    """
    archive = StoredZip(path)
    with ExitStack() as stack:
        stack.callback(archive.close)
        tensors = {
            member.removesuffix(_SUFFIX): _stored(archive, member, path)
            for member in archive.names()
        }
        stack.pop_all()
    return Checkpoint(path, "npz", tensors, {}, (), archive.close)


def write_npz(path: Path | str, tensors: Mapping[str, Array]) -> None:
    """Write tensors to an uncompressed .npz file, whole or not at all.

    Args:
        path: the file; one that exists is replaced.
        tensors: arrays of numbers by name, in any memory layout.

    Raises:
        CheckpointError: when the folder is missing or cannot be written, or the disk is full.
    """
    with whole_file(Path(path)) as draft, zipfile.ZipFile(draft, "w") as archive:
        for name, array in tensors.items():
            # numpy.savez too leaves room for more than 4 GiB, since it does not know the size.
            with archive.open(name + _SUFFIX, "w", force_zip64=True) as member:
                dense = np.asarray(array, order="C")
                np.lib.format.write_array(member, dense, allow_pickle=False)


def is_npz(names: list[str]) -> bool:
    """Whether an archive with these members is a .npz file."""
    return bool(names) and all(name.endswith(_SUFFIX) for name in names)


def _stored(archive: StoredZip, member: str, path: Path) -> StoredTensor:
    header = BytesIO(archive.peek(member, _MAX_HEADER))
    try:
        version = np.lib.format.read_magic(header)
        parse = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, by_column, dtype = parse(header)
    # The header is a Python literal, and text that is none fails in any of the parser's ways.
    except Exception as error:
        raise CheckpointError(f"{path}: damaged: array {member!r} has no valid header") from error
    raw = dtype.str == _RAW_BFLOAT16
    if not raw and dtype.kind not in "biuf":
        raise CheckpointError(f"{path}: array {member!r} holds {dtype}, not numbers")
    start, count = header.tell(), prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or start + count != archive.size(member):
        raise CheckpointError(
            f"{path}: damaged: array {member!r} is not as long as its header says"
        )

    def read() -> Array:
        elements = archive.read(member, start, count).view(np.uint16 if raw else dtype)
        array = elements.reshape(shape, order="F" if by_column else "C")
        return widen_bfloat16(array) if raw else np.asarray(array, dtype.newbyteorder("="))

    kept = np.dtype(np.float32) if raw else dtype.newbyteorder("=")
    return StoredTensor(tuple(shape), kept, read)
