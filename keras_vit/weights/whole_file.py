"""Writing a checkpoint under another name, so that its own only ever holds a whole file."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_vit.errors import CheckpointError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` when the block ends without an error.

    Raises:
        CheckpointError: when the folder is missing or cannot be written, or the disk is full.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            draft = Path(folder) / path.name
            draft.touch()
            mode = draft.stat().st_mode
            yield draft
            draft.chmod(mode)  # some libraries make files that only their owner may read
            draft.replace(path)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
