"""The folder of a run: what lies where, whether a run may begin or go on there, and `run.json`.

No Keras here: the command line asks before it imports anything heavy.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keras_vit.errors import KerasVitError, UsageError
from keras_vit.outputs import require_new_folder, require_output

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_FORMAT = 1
_LOCK = ".lock"


class RunFolder:
    """A folder that holds one training run.

    Args:
        path: the folder.

    Attributes:
        model: the trained model, once the run is finished. report: its page.
        log: one row an epoch. board: TensorBoard's event files.
        last: the newest checkpoint. best: the model of the most accurate epoch, once the run is
            finished; before, the number of the epoch is in its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = path / "run.json"
        self.model = path / "model.keras"
        self.report = path / "report.html"
        self.log = path / "log.csv"
        self.board = path / "tensorboard"
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.safetensors"
        self.best = self.checkpoints / "best.keras"

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.description.exists()

    @property
    def finished(self) -> bool:
        """Whether a run here has come to its end."""
        return self.exists and self.described()["result"] is not None

    @property
    def foreign(self) -> bool:
        """Whether the folder holds what no run has put there."""
        ours = {p.name for p in (*self._files, *self._folders)}
        return any(p.name not in ours and not _is_draft(p, ours) for p in self.path.iterdir())

    @property
    def _files(self) -> tuple[Path, ...]:
        # The description is the first to go: without it, there is no run.
        return self.description, self.model, self.report, self.log, self.path / _LOCK

    @property
    def _folders(self) -> tuple[Path, ...]:
        return self.board, self.checkpoints

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in the folder; the lock ends with the process.

        Raises:
            UsageError: one does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / _LOCK).open("w") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise UsageError(f"{self.path}: another process is training there") from None
            yield

    def tidy(self) -> None:
        """Remove what a killed process has left half written."""
        for folder in (self.path, self.checkpoints):
            names = {p.name for p in (*self._files, *self._folders, self.last, self.best)}
            for path in folder.iterdir():
                if _is_draft(path, names) and path.name != _LOCK:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def best_of(self, epoch: int) -> Path:
        """The model of the most accurate epoch so far, while the run goes on."""
        return self.checkpoints / f"best-{epoch:04}.keras"

    def keep_best(self, *epochs: int) -> None:
        """Remove the models of other epochs."""
        kept = set(map(self.best_of, epochs))
        for path in self.checkpoints.glob("best-*.keras"):
            if path not in kept:
                path.unlink()

    def begin(self, description: Mapping[str, Any]) -> None:
        """Remove what an older run has left, and nothing else, and describe the new one."""
        for path in self._files:
            if path.name != _LOCK:
                path.unlink(missing_ok=True)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        self.describe({"format": _FORMAT, **description})

    def described(self) -> dict[str, Any]:
        """What `run.json` says.

        Raises:
            KerasVitError: it cannot be read, or a later version has written it.
        """
        try:
            description = json.loads(self.description.read_text(encoding="utf-8"))
            if description["format"] != _FORMAT:
                raise KerasVitError(
                    f"{self.description} is of format {description['format']}, not {_FORMAT}: "
                    "another version of keras_vit has written it"
                )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KerasVitError(f"{self.description} cannot be read: {error}") from error
        return dict(description)

    def describe(self, description: Mapping[str, Any]) -> None:
        """Write `run.json`, whole or not at all."""
        text = json.dumps(plain(description), indent=2, ensure_ascii=False) + "\n"
        write_whole(self.description, text)

    def require_same(self, configuration: Mapping[str, Any]) -> None:
        """Refuse to go on with another configuration.

        Raises:
            UsageError: names the first field that differs, and both its values.
        """
        there = dict(_fields(self.described()["configuration"]))
        here = dict(_fields(plain(configuration)))
        for name in {**here, **there}:
            if there.get(name) != here.get(name) or (name in there) != (name in here):
                raise UsageError(
                    f"{self.path} is a run of another configuration: {name} is "
                    f"{_shown(there, name)} there and {_shown(here, name)} here"
                )


def is_folder(output: Path) -> bool:
    """Whether an output names a run folder, and not a `.keras` file."""
    return output.is_dir() or not output.suffix


def require_run(output: Path, resume: bool, overwrite: bool) -> None:
    """Refuse an output that can become neither a `.keras` file nor a run folder.

    Raises:
        UsageError: a file or run that exists, without `overwrite` or `resume`; a folder of other
            things; `resume` of a file; a name of another kind.
        ExportError: a folder that cannot be written.
    """
    if resume and overwrite:
        raise UsageError("resume continues a run and overwrite begins anew: choose one")
    if not is_folder(output):
        if resume:
            raise UsageError(
                f"{output} is a file, which keeps no checkpoints: give a run folder to resume"
            )
        require_output(output, [".keras"], overwrite)
        return
    require_new_folder(output)
    if output.exists() and RunFolder(output).foreign:
        raise UsageError(f"{output} holds other things than a run; choose another name")
    if RunFolder(output).exists and not (resume or overwrite):
        raise UsageError(
            f"{output} holds a run: pass resume=True to continue it, or overwrite=True to begin anew"
        )


def plain(value: Any) -> Any:
    """Data as JSON would give it back: tuples as lists, keys as text."""
    return json.loads(json.dumps(value, default=str))


def write_whole(path: Path, text: str) -> None:
    """Write a text file beside its name, and then rename it.

    Raises:
        KerasVitError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.tmp")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        replace_durably(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise KerasVitError(f"cannot write {path}: {error.strerror or error}") from error


def replace_durably(draft: Path, path: Path) -> None:
    """Rename a whole file to its name, its bytes on the disk first, so that a crash loses neither."""
    _flush(draft)
    draft.replace(path)
    if os.name != "nt":  # Windows cannot open a folder
        _flush(path.parent)


def _is_draft(path: Path, names: Collection[str]) -> bool:
    """Whether a file or folder is one that becomes one of `names` when it is whole."""
    return any(path.name.startswith(f".{name}.") for name in names)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fields(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested mappings by its dotted name."""
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(fields: Mapping[str, Any], name: str) -> str:
    if name not in fields:
        return "not set"
    text = json.dumps(fields[name], ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
