"""Reading torch checkpoints (.pth, .bin, .pt, .pth.tar), without torch and without running them.

torch.save (1.6 and later) writes an uncompressed zip archive: `NAME/data.pkl` describes the objects
and `NAME/data/KEY` holds the bytes of one storage.
"""

from contextlib import ExitStack
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import CheckpointError
from keras_vit.weights.checkpoint import Checkpoint
from keras_vit.weights.plain_pickle import TensorRef, load_plain_pickle
from keras_vit.weights.stored_zip import StoredZip
from keras_vit.weights.torch_state import (
    ByteOrder,
    find_state_dict,
    split_tensors,
    stored_tensor,
)

# Real ones, optimizer state included, are well below 1 MB.
_MAX_PICKLE = 16 * 2**20
_BYTE_ORDERS: dict[bytes, ByteOrder] = {b"little": "<", b"big": ">"}


def open_torch_zip(path: Path, key: str | None = None) -> Checkpoint:
    """Open a checkpoint of torch.save.

    Args:
        path: the file.
        key: which entry of a training checkpoint to take, such as "state_dict_ema"; see
            `keras_vit.weights.torch_state.find_state_dict`.

    Raises:
        CheckpointError: when it is damaged, holds more than plain tensors and containers need, or has
            no state dict.
    """
    archive = StoredZip(path)
    with ExitStack() as stack:
        stack.callback(archive.close)
        folder = _folder(archive, path)
        tree = load_plain_pickle(_pickle(archive, f"{folder}/data.pkl", path), path)
        refs, skipped = split_tensors(find_state_dict(tree, key, path))
        order = _byte_order(archive, f"{folder}/byteorder", path)

        def read(storage: str, start: int, count: int) -> NDArray[np.uint8]:
            return archive.read(f"{folder}/data/{storage}", start, count)

        for name, ref in refs.items():
            _check_storage(archive, f"{folder}/data/{ref.storage.key}", name, ref, path)
        tensors = {
            name: stored_tensor(name, ref, path, order=order, read=read)
            for name, ref in refs.items()
        }
        stack.pop_all()
    return Checkpoint(path, "torch", tensors, {}, skipped, archive.close)


def is_torch_zip(names: list[str]) -> bool:
    """Whether an archive with these members is a checkpoint of torch.save."""
    return any(PurePosixPath(name).name == "data.pkl" for name in names)


def _folder(archive: StoredZip, path: Path) -> str:
    """The one folder that everything in the archive lies in."""
    folders = [
        name.removesuffix("/data.pkl") for name in archive.names() if name.endswith("/data.pkl")
    ]
    if len(folders) != 1:
        raise CheckpointError(f"{path}: damaged: {len(folders)} data.pkl in the archive, not 1")
    if f"{folders[0]}/constants.pkl" in archive:
        raise CheckpointError(
            f"{path}: a TorchScript program, not weights; save model.state_dict() instead"
        )
    return folders[0]


def _pickle(archive: StoredZip, member: str, path: Path) -> BytesIO:
    if archive.size(member) > _MAX_PICKLE:
        raise CheckpointError(f"{path}: its pickle is larger than any state dict's")
    return BytesIO(archive.read(member, 0, archive.size(member)).tobytes())


def _byte_order(archive: StoredZip, member: str, path: Path) -> ByteOrder:
    if member not in archive:
        return "<"
    written = archive.peek(member, 16)
    if written not in _BYTE_ORDERS:
        raise CheckpointError(f"{path}: damaged: unknown byte order {written!r}")
    return _BYTE_ORDERS[written]


def _check_storage(archive: StoredZip, member: str, name: str, ref: TensorRef, path: Path) -> None:
    storage = ref.storage
    if member not in archive:
        raise CheckpointError(f"{path}: damaged: the bytes of tensor {name!r} are missing")
    if archive.size(member) != storage.count * storage.type.itemsize:
        raise CheckpointError(
            f"{path}: damaged: tensor {name!r} needs {storage.count * storage.type.itemsize} bytes "
            f"and has {archive.size(member)}"
        )
