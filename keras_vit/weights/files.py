"""Opening a checkpoint: the format is recognised from what the file holds, not from its name."""

from pathlib import Path

from keras_vit.errors import CheckpointError
from keras_vit.weights.checkpoint import Checkpoint, check_finite
from keras_vit.weights.safetensors_file import is_safetensors, open_safetensors, write_safetensors

__all__ = ["Checkpoint", "check_finite", "open_checkpoint", "write_safetensors"]


def open_checkpoint(path: Path | str, *, key: str | None = None) -> Checkpoint:
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(64)
    if is_safetensors(head, path.stat().st_size):
        return open_safetensors(path)
    raise CheckpointError(f"{path}: not a checkpoint")
