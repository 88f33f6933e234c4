"""What a run tells as it goes: `log.csv` and TensorBoard's event files.

Both are views of the run's history, which its checkpoints hold. A run that goes on writes them anew
from there, so that they have neither gaps nor what was done twice.
"""

import csv
import io
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_vit.training.run_folder import write_whole

Row = Mapping[str, Any]
"""The numbers of an epoch, or of a step, by name; `epoch` counts from 1."""

_VALIDATION = "val_"
_COUNTERS = ("epoch", "step")


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line a row, such as an epoch, under one line of names; numbers in full precision.

    Raises:
        KerasVitError: it cannot be written.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


class Board:
    """TensorBoard's files: `train` and `validation`, with the tags that Keras' own callback uses.

    The event protocol is TensorFlow's: a file of records, each one an `Event`, the first naming the
    version. TensorBoard itself is not needed to write it.

    Args:
        folder: made anew; what was there goes.
        epochs, steps: the history so far.
    """

    def __init__(self, folder: Path, epochs: Sequence[Row], steps: Sequence[Row]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._writers = {kind: _event_file(folder / kind) for kind in ("train", "validation")}
        for row in steps:
            self.add_step(row)
        for row in epochs:
            self.add_epoch(row)

    def add_step(self, row: Row) -> None:
        """Numbers in the middle of an epoch, at the run's step `row["step"]`."""
        for name, value in _measured(row):
            _write(self._writers["train"], f"batch_{name}", value, row["step"])

    def add_epoch(self, row: Row) -> None:
        """Numbers of a whole epoch, and to the disk with all of them."""
        for name, value in _measured(row):
            kind = "validation" if name.startswith(_VALIDATION) else "train"
            tag = f"epoch_{name.removeprefix(_VALIDATION)}"
            _write(self._writers[kind], tag, value, row["epoch"])
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Nothing comes after this."""
        for writer in self._writers.values():
            writer.close()


def _measured(row: Row) -> list[tuple[str, float]]:
    return [(name, float(value)) for name, value in row.items() if name not in _COUNTERS]


def _event_file(folder: Path) -> Any:
    """A new event file, named as TensorBoard looks for them."""
    import tensorflow as tf

    folder.mkdir(parents=True)
    now = time.time()
    writer = tf.io.TFRecordWriter(
        os.fspath(folder / f"events.out.tfevents.{int(now)}.keras-vit.{os.getpid()}")
    )
    header = tf.compat.v1.Event(wall_time=now, file_version="brain.Event:2")
    writer.write(header.SerializeToString())
    return writer


def _write(writer: Any, tag: str, value: float, step: int) -> None:
    import tensorflow as tf

    summary = tf.compat.v1.Summary(value=[tf.compat.v1.Summary.Value(tag=tag, simple_value=value)])
    event = tf.compat.v1.Event(wall_time=time.time(), step=step, summary=summary)
    writer.write(event.SerializeToString())
