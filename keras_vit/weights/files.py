"""Opening a checkpoint: the format is recognised from what the file holds, not from its name.

| format         | what it starts with        | read by               |
|----------------|----------------------------|-----------------------|
| safetensors    | header length, then "{"    | `safetensors_file.py` |
| torch          | a zip with `data.pkl`      | `torch_zip.py`        |
| torch (legacy) | the pickle of a number     | `torch_legacy.py`     |
| npz            | a zip of `.npy` members    | `npz_file.py`         |

A file is hostile until read: no reader runs anything from it, believes a size that it states, or
needs much more memory than the tensor that is being read.
"""

import json
from contextlib import ExitStack
from pathlib import Path, PurePath

from keras_vit.errors import CheckpointError
from keras_vit.weights.checkpoint import Checkpoint, check_finite, join_names
from keras_vit.weights.npz_file import is_npz, open_npz, write_npz
from keras_vit.weights.safetensors_file import is_safetensors, open_safetensors, write_safetensors
from keras_vit.weights.stored_zip import StoredZip
from keras_vit.weights.torch_legacy import is_torch_legacy, open_torch_legacy
from keras_vit.weights.torch_zip import is_torch_zip, open_torch_zip

__all__ = ["Checkpoint", "check_finite", "open_checkpoint", "write_npz", "write_safetensors"]

# What a folder is searched for, the Hugging Face names, best first.
FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# torch.nn.DataParallel and torch.compile put these before every name.
_PREFIXES = ("module.", "_orig_mod.")
_MAX_INDEX = 16 * 2**20

# Files that people take for checkpoints, by their first bytes, and what to do about them.
_LOOKALIKES = {
    b"version https://git-lfs": "a Git LFS pointer, not the weights; run: git lfs pull",
    b"\x89HDF": "an HDF5 file; .keras, .safetensors, .pth, .bin and .npz can be read",
    b"<": "a web page, not weights; the download did not succeed",
    b"\x80": "a bare pickle, which is never read; with torch, save model.state_dict()",
    b"\x1f\x8b": "gzip-compressed; unpack it first",
}


def open_checkpoint(path: Path | str, *, key: str | None = None) -> Checkpoint:
    """Open a checkpoint for reading, tensor by tensor.

    Args:
        path: a .safetensors, torch (.pth, .bin, .pt, .pth.tar) or .npz file, or a folder with
            `model.safetensors` or `pytorch_model.bin`, whole or in shards with their index.
        key: for torch training checkpoints, the entry to take, such as "model_ema". None takes
            "state_dict", "model", "module" or "model_state_dict", whichever is there first.

    Returns:
        The open checkpoint, a context manager. Prefixes that wrappers put before every name
        (`module.`, `_orig_mod.`) are taken off.

    Raises:
        CheckpointError: one line that says what is wrong with the file and what to do.
    """
    path = Path(path)
    try:
        checkpoint = _open_folder(path, key) if path.is_dir() else _open_file(path, key)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return checkpoint.renamed(_without_prefixes)
    except CheckpointError:
        checkpoint.close()
        raise


def _open_file(path: Path, key: str | None) -> Checkpoint:
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is not a regular file")  # opening a pipe waits for a writer
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f"{path} is empty")
    if head.startswith(b"PK"):
        return _open_zip(path, key)
    if is_torch_legacy(head):
        return open_torch_legacy(path, key)
    if is_safetensors(head):
        return _flat(open_safetensors(path), key)
    for start, advice in _LOOKALIKES.items():
        if head.lstrip().startswith(start):
            raise CheckpointError(f"{path} is {advice}")
    raise CheckpointError(
        f"{path} is no checkpoint: not .safetensors, torch (.pth, .bin) or .npz by its content"
    )


def _open_zip(path: Path, key: str | None) -> Checkpoint:
    archive = StoredZip(path)
    archive.close()
    names = archive.names()
    if is_torch_zip(names):
        return open_torch_zip(path, key)
    if is_npz(names):
        return _flat(open_npz(path), key)
    if "model.weights.h5" in names:
        raise CheckpointError(
            f"{path} is a .keras model, not a checkpoint; open it with keras_vit.load"
        )
    raise CheckpointError(f"{path} is a zip archive without weights: {join_names(names, 3)}")


def _flat(checkpoint: Checkpoint, key: str | None) -> Checkpoint:
    if key is None:
        return checkpoint
    checkpoint.close()
    raise CheckpointError(f"{checkpoint.path}: key={key!r} is for torch checkpoints; leave it out")


def _open_folder(folder: Path, key: str | None) -> Checkpoint:
    name = next((name for name in FOLDER_FILES if (folder / name).is_file()), None)
    if name is None:
        raise CheckpointError(f"{folder} has none of: {', '.join(FOLDER_FILES)}")
    if not name.endswith(".json"):
        return _open_file(folder / name, key)
    return _open_shards(folder / name, key)


def _open_shards(index: Path, key: str | None) -> Checkpoint:
    """The checkpoint that an index splits over several files of its folder."""
    weight_map = _weight_map(index)
    with ExitStack() as stack:
        parts = {
            name: stack.enter_context(_open_file(index.parent / name, key))
            for name in sorted(set(weight_map.values()))
        }
        for name, shard in weight_map.items():
            if name not in parts[shard]:
                raise CheckpointError(
                    f"{parts[shard].path}: tensor {name!r} of the index is missing"
                )
        tensors = {name: parts[shard].tensors[name] for name, shard in weight_map.items()}
        close = stack.pop_all().close
    return Checkpoint(index, next(iter(parts.values())).format, tensors, {}, (), close)


def _weight_map(index: Path) -> dict[str, str]:
    """File name by tensor name, as the index says."""
    try:
        if index.stat().st_size > _MAX_INDEX:
            raise ValueError("too large")
        weight_map = dict(json.loads(index.read_bytes())["weight_map"])
        inside = all(name and PurePath(name).name == name for name in weight_map.values())
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{index} is no index of weight files") from error
    if not weight_map or not inside:
        raise CheckpointError(f"{index} names files outside its folder, or none")
    return weight_map


def _without_prefixes(name: str) -> str:
    while prefix := next((start for start in _PREFIXES if name.startswith(start)), None):
        name = name.removeprefix(prefix)
    return name
