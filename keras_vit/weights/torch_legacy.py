"""Reading the torch checkpoints of before 1.6: five pickles, then the bytes of each storage."""

from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import CheckpointError
from keras_vit.weights.checkpoint import Checkpoint
from keras_vit.weights.plain_pickle import StorageRef, load_plain_pickle
from keras_vit.weights.torch_state import (
    ByteOrder,
    find_state_dict,
    split_tensors,
    stored_tensor,
)

# The pickles: this number, the version of the layout, facts of the writing machine, the object, and
# the keys of the storages in the order in which they follow.
_MAGIC = 0x1950A86A20F9469CFC6C
_MAGIC_PICKLE = b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little") + b"."
_LAYOUT = 1001
_MAX_PICKLES = 16 * 2**20


def is_torch_legacy(head: bytes) -> bool:
    """Whether a file that starts with `head` is a checkpoint of an old torch.save."""
    return head.startswith(_MAGIC_PICKLE)


def open_torch_legacy(path: Path, key: str | None = None) -> Checkpoint:
    """Open a checkpoint of an old torch.save. The format has no checksums.

    Args:
        path: the file.
        key: as in `keras_vit.weights.torch_zip.open_torch_zip`.

    Raises:
        CheckpointError: when it is damaged, holds more than plain tensors and containers need, or has
            no state dict.
    """
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        stream = BytesIO(file.read(_MAX_PICKLES))
        order = _byte_order([load_plain_pickle(stream, path) for _ in range(3)], path)
        storages: dict[str, StorageRef] = {}
        tree = load_plain_pickle(stream, path, storages)
        keys = load_plain_pickle(stream, path)
        starts = _storage_starts(file, path, stream.tell(), keys, storages, order)

        def read(storage: str, start: int, count: int) -> NDArray[np.uint8]:
            content = np.empty(count, np.uint8)
            file.seek(starts[storage] + start)
            if file.readinto(content.data) != count:
                raise CheckpointError(f"{path}: the file is cut short")
            return content

        refs, skipped = split_tensors(find_state_dict(tree, key, path))
        tensors = {
            name: stored_tensor(name, ref, path, order=order, read=read)
            for name, ref in refs.items()
        }
        stack.pop_all()
    return Checkpoint(path, "torch (legacy)", tensors, {}, skipped, file.close)


def _byte_order(preamble: list[Any], path: Path) -> ByteOrder:
    match preamble:
        case [number, layout, {"little_endian": bool(little)}] if (
            number == _MAGIC and layout == _LAYOUT
        ):
            return "<" if little else ">"
    raise CheckpointError(f"{path}: damaged: not the preamble of a torch checkpoint")


def _storage_starts(
    file: BinaryIO,
    path: Path,
    position: int,
    keys: Any,
    storages: dict[str, StorageRef],
    order: ByteOrder,
) -> dict[str, int]:
    """Where the bytes of each storage begin. Every one follows its length, 8 bytes."""
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise CheckpointError(f"{path}: damaged: its storages are not those of its tensors")
    size = path.stat().st_size
    starts: dict[str, int] = {}
    for key in keys:
        file.seek(position)
        count = int.from_bytes(file.read(8), "little" if order == "<" else "big")
        position += 8
        starts[key] = position
        position += count * storages[key].type.itemsize
        if count != storages[key].count or position > size:
            raise CheckpointError(f"{path}: damaged or cut short: storage {key[:80]!r}")
    return starts
