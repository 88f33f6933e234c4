"""Work in a hidden sibling folder, then publish by renaming: a name only ever holds a whole artifact.

The folder lies beside the output, so that the last step is a rename within one file system. Whatever
ends the work early (an error, Ctrl-C, a full disk) removes it and leaves the old output as it was.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from keras_vit.errors import ExportError, UsageError


def sidecar_path(path: Path) -> Path:
    """Where the JSON beside an artifact lies: its full name and `.json` (`flowers.onnx.json`)."""
    return path.with_name(path.name + ".json")


def data_path(path: Path) -> Path:
    """Where the weights of an ONNX file lie that are too many for one file (`flowers.onnx.data`)."""
    return path.with_name(path.name + ".data")


def require_free(path: Path, format: str, overwrite: bool) -> None:
    """Refuse an output that exists, unless `overwrite` and it is an artifact of that kind.

    Raises:
        UsageError: the output or its sidecar exists, or overwriting would destroy something else.
    """
    if not path.name or path.name in {".", ".."}:
        raise UsageError(f"{path} is not a name for an artifact")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist")
    beside = [data_path(path)] if format == "onnx" else []
    for output in (path, sidecar_path(path), *beside):
        if not overwrite and (output.exists() or output.is_symlink()):
            raise UsageError(f"{output} exists; pass overwrite=True to replace it")
    if path.is_dir():
        replaceable = format == "savedmodel" and (
            (path / "saved_model.pb").is_file() or not any(path.iterdir())
        )
        if not replaceable:
            raise UsageError(f"{path} is a folder that is not a SavedModel; choose another name")
    elif path.exists() and format == "savedmodel":
        raise UsageError(f"{path} is a file and a SavedModel is a folder; choose another name")
    for output in (sidecar_path(path), *beside):
        if output.is_dir():
            raise UsageError(f"{output} is a folder; choose another name")


@contextmanager
def folder_of(path: Path) -> Iterator[None]:
    """The folder of `path`: made if it is missing, and removed again if nothing comes to lie in it."""
    made = not path.parent.exists()
    if made:
        path.parent.mkdir()
    try:
        yield
    finally:
        if made and not any(path.parent.iterdir()):
            path.parent.rmdir()


@contextmanager
def staging(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, removed at the end however it ends.

    Raises:
        ExportError: the folder cannot be written, or the disk filled up in the meantime.
    """
    try:
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    except OSError as error:
        raise ExportError(f"cannot write in {path.parent}: {error.strerror}") from error
    try:
        yield folder
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(moves: Sequence[tuple[Path | None, Path]], folder: Path) -> None:
    """Rename every (source, destination); on any failure put everything back as it was.

    A destination that exists is first moved into `folder`, because a folder cannot be renamed over
    a folder that holds something. With None for a source that is all: an old file goes.
    """
    done: list[tuple[Path, Path]] = []
    try:
        for index, (source, destination) in enumerate(moves):
            if destination.exists() or destination.is_symlink():
                old = folder / f"replaced.{index}"
                destination.rename(old)
                done.append((destination, old))
            if source is not None:
                source.rename(destination)
                done.append((source, destination))
    except BaseException:
        for before, after in reversed(done):
            after.rename(before)
        raise
