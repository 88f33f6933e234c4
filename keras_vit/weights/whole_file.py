"""Writing a file under another name, so that its own only ever holds a whole one."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_vit.errors import CheckpointError


@contextmanager
def draft_file(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` when the block ends without an error.

    Raises:
        OSError: when the folder is missing or cannot be written, or the disk is full.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        draft = Path(folder) / path.name
        draft.touch()
        mode = draft.stat().st_mode
        yield draft
        draft.chmod(mode)  # some libraries make files that only their owner may read
        draft.replace(path)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """`draft_file` of a checkpoint.

    Raises:
        CheckpointError: when the folder is missing or cannot be written, or the disk is full.
    """
    try:
        with draft_file(path) as draft:
            yield draft
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
