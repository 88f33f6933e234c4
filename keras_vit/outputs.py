"""Whether an output can be written, asked before the work and before Keras is imported."""

from collections.abc import Sequence
from pathlib import Path

from keras_vit.errors import UsageError
from keras_vit.export.staging import staging


def require_output(path: Path, suffixes: Sequence[str], overwrite: bool) -> None:
    """Refuse a name that cannot become a file of one of the kinds.

    Raises:
        UsageError: another suffix, no such folder, a folder's name, or an existing file without
            `overwrite`.
        ExportError: the folder cannot be written.
    """
    if path.suffix not in suffixes:
        raise UsageError(f"the output has to end in {' or '.join(suffixes)}. Received: {path}")
    require_free(path, overwrite)
    require_folder(path)


def require_free(path: Path, overwrite: bool) -> None:
    """Refuse a folder's name, and an existing file without `overwrite`; see `require_output`."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; choose another name")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; pass overwrite=True to replace it")


def require_folder(path: Path) -> None:
    """Refuse a path whose folder is missing or cannot be written; see `require_output`."""
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist")
    with staging(path):
        """Proves it."""


def require_new_folder(path: Path) -> None:
    """Refuse a folder that is not there and cannot be made, with those above it that are missing.

    Raises:
        UsageError: a file has its name, or is above it.
        ExportError: the nearest folder above it that is there cannot be written.
    """
    if path.is_dir():
        return
    if path.exists():
        raise UsageError(f"{path} is a file; choose another name")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UsageError(f"{above} is a file; choose another name")
    require_folder(above / path.name)
