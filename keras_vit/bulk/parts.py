"""What of a long prediction is done, on the disk, so that a killed one goes on.

Beside the output lies a folder, `OUTPUT.parts`, until the output is whole: `job.json`, and a file of JSON
Lines for every so many images. Each is written under another name and renamed, so that whatever moment
the process is killed at, a part is there whole or not at all, and no image is ever in two.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keras_vit.bulk.tables import Row, line
from keras_vit.errors import KerasVitError, UsageError
from keras_vit.training.run_folder import plain, write_whole

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]


class Parts:
    """The parts of one output.

    Args:
        output: the file that they become.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.with_name(f"{output.name}.parts")
        self._job = self.folder / "job.json"

    @property
    def exist(self) -> bool:
        """Whether a prediction was begun and has not come to its end."""
        return self._job.exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes away; the lock ends with the process.

        Raises:
            UsageError: one is at work.
        """
        self.folder.mkdir(exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise UsageError(f"{self.folder}: another process is at work there") from None
            yield

    def begin(self, job: Mapping[str, Any], anew: bool) -> None:
        """Go on with a job, or begin it where there is none, or `anew`.

        Raises:
            UsageError: the parts are those of another job; says what differs.
        """
        wanted = plain(job)
        if self.exist and not anew:
            there = self._read_job()
            for name in {**wanted, **there}:
                if there.get(name) != wanted.get(name):
                    raise UsageError(
                        f"{self.folder} holds the parts of another job: {name} is {there.get(name)} "
                        f"there and {wanted.get(name)} here; pass overwrite=True to begin anew"
                    )
            return
        for path in self.folder.glob("*.json*"):
            path.unlink()
        write_whole(self._job, json.dumps(wanted, indent=2) + "\n")

    def has(self, number: int) -> bool:
        """Whether a part is done."""
        return self._path(number).exists()

    def add(self, number: int, rows: Sequence[Row]) -> None:
        """Keep a part.

        Raises:
            KerasVitError: it cannot be written.
        """
        write_whole(self._path(number), "".join(map(line, rows)))

    def rows(self, counts: Sequence[int]) -> Iterator[Row]:
        """All rows, in their order.

        Args:
            counts: how many rows each part has.

        Raises:
            KerasVitError: a part is missing or damaged.
        """
        for number, count in enumerate(counts):
            path = self._path(number)
            try:
                found = [json.loads(text) for text in path.open(encoding="utf-8")]
            except (OSError, ValueError) as error:
                raise KerasVitError(f"{path} cannot be read: {error}") from error
            if len(found) != count:
                raise KerasVitError(f"{path} has {len(found)} rows, not {count}: delete it")
            yield from found

    def remove(self) -> None:
        """The output is whole: they are of no use any more."""
        for path in self.folder.glob("*.jsonl"):
            path.unlink()
        self._job.unlink()  # last: while it is there, the same call makes the output whole again
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08}.jsonl"

    def _read_job(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._job.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise KerasVitError(f"{self._job} cannot be read: {error}") from error
